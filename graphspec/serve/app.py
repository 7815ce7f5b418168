"""The paths of a server: predictions, health, counts, and a page to try it by hand."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from graphspec.diagnostics import Diagnostic, SpecError, did_you_mean
from graphspec.serve.batches import Batcher
from graphspec.serve.completions import refusal
from graphspec.serve.connections import Connections
from graphspec.serve.counts import ServerCounts
from graphspec.serve.http import JSON, Answer, Gone, Receive, Rejected, Request, Send, echo, value_of
from graphspec.serve.limits import OpenRequests
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.serve.texts import TextPaths

LOCAL = ("127.0.0.1", "::1", "localhost")
INDIRECT = ("forwarded", "via", "x-forwarded-", "x-real-ip", "origin", "sec-fetch-site")
"""How headers begin of what a proxy has passed on, from wherever it came, or a page in a browser asks."""
UNREADABLE = 503
"""The status where a run cannot be read again: nothing is wrong with the request."""
ROWS = frozenset(
    ["data", "dataframe_records", "examples", "inputs", "instances", "items", "records", "samples"]
)
"""What other servers call `rows`."""
BOOLEANS = (b"true", b"false", b"\0")
"""Bytes of each body with a boolean; bodies of UTF-16 and UTF-32 are not looked at further."""
PNG = "image/png"
"""The type of an answer that is a picture."""
LATE = "send fewer rows at a time, or start the server with a longer `--timeout`"
"""Remedy where an answer took too long."""
LIGHT = 16_384
"""Bytes of a body whose rows take about as long as those before."""


class Server:
    """Runs by name, and what answers requests for them."""

    def __init__(self, runs: Mapping[str, Served], limits: ServeOptions):
        self.runs, self.limits = dict(runs), limits
        self.batcher = Batcher(limits.batch_size, limits.batch_wait / 1000)
        self.connections = Connections(limits)
        self.open = OpenRequests(limits, lambda: self.connections.unread)
        self.counts = ServerCounts()
        self.texts = TextPaths(self.runs, limits, self.open, self.counts, self._served)
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Future[Any]] = set()

    # --- predictions

    async def predict(self, request: Request) -> Answer:
        began, served = time.monotonic(), self._served(request)
        with self.open.timed(request, LATE):
            body = await request.body(self.limits.max_bytes, self.open.hold)
            rows, single = self._rows(request, served, body)
            if served.history:
                rows, single = [rows], True
            light = len(body) < LIGHT
            answers = await self.batcher.compute(served, list(enumerate(rows)), light)
        served.count(rows, answers)
        self.counts.timed(time.monotonic() - began)
        answer = self._answered(served, answers, single)
        if answer.status != 200 or PNG not in request.headers.get("accept", ""):
            return answer
        if served.drawings is None or not single or not isinstance(rows[0].get(served.picture), bytes):
            help = (
                "send a picture to a run that predicts masks or boxes; without `Accept: image/png` it is JSON"
            )
            raise Rejected(406, "the answer is not a picture", help=help)
        return Answer(200, await asyncio.to_thread(served.png, body, answers[0]), PNG)

    def _served(self, request: Request) -> Served:
        name = request.run or next(iter(self.runs))
        if name not in self.runs:
            request.run = ""  # counts are of runs that are here
            raise Rejected(404, f"there is no run `{echo(name)}` here; there are {', '.join(self.runs)}")
        request.run = name
        return self.runs[name]

    def _rows(self, request: Request, served: Served, body: bytes) -> tuple[list[Any], bool]:
        """The rows of a request, and whether it is one row by itself."""
        request.uncoded()
        rows, single = self._parsed(request, served, body)
        if request.kind == JSON and any(word in body for word in BOOLEANS):
            rows = [served.spelled(row) for row in rows]
        if len(rows) > self.limits.max_rows:
            message = f"the request has {len(rows):,} rows; at most {self.limits.max_rows:,} are read"
            raise Rejected(
                413, message, help="send fewer at a time, or start the server with more `--max-rows`"
            )
        return rows, single

    def _parsed(self, request: Request, served: Served, body: bytes) -> tuple[list[Any], bool]:
        if request.kind.startswith("image/") or request.kind == "application/octet-stream":
            if served.picture is None:
                raise Rejected(415, "this run does not read a picture alone: send rows as JSON")
            return [{served.picture: body}], True
        request.plain_json()
        payload = value_of(body)
        if isinstance(payload, dict) and isinstance(payload.get("rows"), list) and len(payload) == 1:
            return payload["rows"], False
        if isinstance(payload, dict) and len(payload) == 1:
            ((word, listed),) = payload.items()
            if word in ROWS and isinstance(listed, list) and listed and isinstance(listed[0], dict):
                raise Rejected(400, f"rows are called `rows`, and not `{word}`", help='send {"rows": [...]}')
        if isinstance(payload, list):
            return payload, False
        if isinstance(payload, dict):
            return [payload], True
        message = 'the body is neither a row, nor a list of rows, nor {"rows": [...]}'
        raise Rejected(400, message, help='send {"COLUMN": value, ...}, or a list of these')

    def _answered(self, served: Served, answers: list[Any], single: bool) -> Answer:
        """The answer to a request. Its status is 500 if the module fails, and 422 if rows are wrong."""
        name = served.name
        wrong = [index for index, answer in enumerate(answers) if isinstance(answer, list)]
        self.counts.rows[name, "refused"] += len(wrong)
        self.counts.rows[name, "predicted"] += len(answers) - len(wrong)
        if not wrong:
            return Answer.json(answers[0] if single else {"predictions": answers})
        told = [{"row": index, **each.to_json()} for index in wrong for each in answers[index]]
        status = 500 if any(each["code"] == "run-failed" for each in told) else 422
        if served.history:
            return Answer.json({"diagnostics": [each.to_json() for each in answers[0]]}, status)
        predictions = [None if isinstance(answer, list) else answer for answer in answers]
        return Answer.json({"predictions": predictions, "diagnostics": told}, status)

    # --- reload

    async def reload(self, request: Request) -> Answer:
        if request.client not in LOCAL or any(name.startswith(INDIRECT) for name in request.headers):
            asked = "only from the server's own machine, not through a proxy or by a web page"
            raise Rejected(403, f"runs are reloaded {asked}")
        served = self._served(request)
        mistakes = await self.read_again(served.name)
        if mistakes:
            raise SpecError(mistakes)
        return Answer.json({"reloaded": served.name})

    def listen_for_hangup(self) -> None:
        """From now on SIGHUP reads all runs again; on Windows there is none."""
        number = getattr(signal, "SIGHUP", None)
        if number is not None and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(number, self._hung_up)

    def _hung_up(self) -> None:
        for name in self.runs:
            self.later(self.read_again(name))

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begins something for which nobody waits."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def read_again(self, name: str) -> tuple[Diagnostic, ...]:
        """Reads a run again; requests meanwhile, and all after a mistake, have the one before."""
        async with self._reloading:
            try:
                self.runs[name] = await asyncio.to_thread(self.runs[name].reloaded)
            except SpecError as error:
                self.counts.reloads[name, "failed"] += 1
                return error.diagnostics
            self.counts.reloads[name, "done"] += 1
            return ()

    # --- the rest

    async def health(self, request: Request) -> Answer:
        return Answer.json({"ok": True})

    async def ready(self, request: Request) -> Answer:
        """Not while any row would wait in vain."""
        full = self.open.are_full or self.connections.are_full
        if full or self.batcher.busy_for() > self.limits.timeout:
            message = "the server is full" if full else "a batch takes too long"
            raise Rejected(503, f"rows cannot be answered now: {message}", help="ask again a second later")
        return Answer.json({"ok": True, "runs": list(self.runs)})

    async def list(self, request: Request) -> Answer:
        about = [
            {"name": n, "run_dir": str(s.path), "engine": s.answering.engine.name}
            for n, s in self.runs.items()
        ]
        return Answer.json({"runs": about})

    async def metrics(self, request: Request) -> Answer:
        drift = {name: served.drift for name, served in self.runs.items()}
        text = self.counts.text(self.batcher.batches, self.connections, self.texts.going, drift)
        return Answer(200, text.encode(), "text/plain; charset=utf-8")

    async def openapi(self, request: Request) -> Answer:
        from graphspec.serve.openapi import document

        return Answer.json(document(self.runs))

    async def page(self, request: Request) -> Answer:
        from importlib.resources import files

        text = files("graphspec.serve").joinpath("page.html").read_bytes()
        policy = (
            "default-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {"content-security-policy": policy, "x-frame-options": "DENY"}
        return Answer(200, text, "text/html; charset=utf-8", headers)


Handler = Callable[[Request], Awaitable[Answer]]


class Application:
    """The paths of a server as ASGI. Requests for other hosts are refused; None allows all."""

    def __init__(self, server: Server, hosts: Collection[str] | None):
        self.server, self.hosts = server, hosts
        self.of_runs: dict[str, Handler] = {
            "/predict": server.predict,
            "/generate": server.texts.generate,
            "/reload": server.reload,
        }
        """Also of each run, as /runs/NAME/predict."""
        self.posts: dict[str, Handler] = {**self.of_runs, "/v1/completions": server.texts.completions}
        self.gets: dict[str, Handler] = {
            "/": server.page,
            "/health": server.health,
            "/ready": server.ready,
            "/metrics": server.metrics,
            "/openapi.json": server.openapi,
            "/runs": server.list,
            "/v1/models": server.texts.models,
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request, failure = Request.of(scope, receive), None
        try:
            answer = await self._answer(request)
        except Rejected as rejected:
            answer = rejected.answer()
        except Gone:
            answer = Answer(400, b"")
        except SpecError as error:  # of a run that cannot be read
            answer = Answer.json({"diagnostics": [each.to_json() for each in error.diagnostics]}, UNREADABLE)
        except Exception as error:
            told = Diagnostic("run-failed", f"the server has failed: {type(error).__name__}", None)
            answer, failure = Answer.json({"diagnostics": [told.to_json()]}, 500), error
        if request.path.startswith("/v1/") and answer.status >= 400 and answer.body:
            answer = refusal(answer)
        if request.method == "POST":
            self.server.counts.requests[request.run, answer.status] += 1
        await answer.sent(send)
        if failure is not None:
            raise failure  # for the log

    async def _answer(self, request: Request) -> Answer:
        if request.repeated is not None:
            raise Rejected(400, f"the request has the header `{request.repeated}` twice")
        if self.hosts is not None and request.host.lower() not in self.hosts:
            message = f"this server does not answer for the host `{echo(request.host)}`"
            raise Rejected(400, message, help="start it with `--host`, or ask it by its own address")
        path = request.path.rstrip("/") or "/"
        run, _, last = path.removeprefix("/runs/").rpartition("/")
        if path.startswith("/runs/") and run and f"/{last}" in self.of_runs:
            path, request.run = f"/{last}", run
        if path.startswith("/v1/models/"):
            path, request.run = "/v1/models", path.removeprefix("/v1/models/")
        handler = (self.posts if request.method == "POST" else self.gets).get(path)
        if handler is not None and request.method in ("GET", "HEAD", "POST"):
            return await handler(request)
        request.run = ""
        if path in self.posts or path in self.gets:
            allowed = "POST" if path in self.posts else "GET"
            send = "send rows to `/predict` with POST" if path == "/" else f"ask it with {allowed}"
            raise Rejected(405, f"`{path}` is for {allowed}", {"allow": allowed}, send)
        known = (*self.posts, *self.gets, "/runs/NAME/predict")
        help = did_you_mean(path, known, "`/openapi.json` describes them all")
        message = f"there is no path `{echo(path)}` here; there are {', '.join(known)}"
        raise Rejected(404, message, help=help)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Until the server ends."""
        await receive()
        self.server.listen_for_hangup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.server.batcher.close)
        await asyncio.to_thread(self.server.texts.close)
        await send({"type": "lifespan.shutdown.complete"})
