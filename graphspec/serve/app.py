"""The paths of a server: predictions, health, counts, and a page to try it by hand."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.diagnostics.terminal import for_json
from graphspec.serve.batches import Batcher
from graphspec.serve.counts import ServerCounts
from graphspec.serve.openapi import document
from graphspec.serve.served import Served

LOCAL = ("127.0.0.1", "::1", "localhost")
LIGHT = 16_384
"""Bytes of a body whose rows take about as long as those before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for."""

    bytes: int = 16 * 2**20
    rows: int = 10_000
    seconds: float = 60.0
    batch: int = 256
    """Rows of several requests that are predicted together."""
    wait: float = 0.0
    """Seconds for which the first row of a batch waits for others."""


class Server:
    """Runs by name, and what answers requests for them."""

    def __init__(self, runs: Mapping[str, Served], limits: Limits):
        self.runs, self.limits = dict(runs), limits
        self.batcher = Batcher(limits.batch, limits.wait)
        self.counts = ServerCounts()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Future[Any]] = set()

    # --- predictions

    async def predict(self, request: Request) -> Response:
        began, served = time.monotonic(), self._served(request)
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._body(request)
                rows, single = self._rows(request, served, body)
                light = len(body) < LIGHT
                answers = await self.batcher.compute(served, list(enumerate(rows)), light)
        except TimeoutError:
            raise _refused(503, f"no answer within {self.limits.seconds:g} seconds") from None
        self.counts.timed(time.monotonic() - began)
        return self._answered(served, answers, single)

    def _served(self, request: Request) -> Served:
        name = request.path_params.get("run") or next(iter(self.runs))
        if name not in self.runs:
            raise _refused(404, f"there is no run `{name}` here; there are {', '.join(self.runs)}")
        request.scope["graphspec"] = name
        return self.runs[name]

    def _rows(self, request: Request, served: Served, body: bytes) -> tuple[list[Any], bool]:
        """The rows of a request, and whether it is one row by itself."""
        rows, single = self._found(request, served, body)
        if len(rows) > self.limits.rows:
            raise _refused(413, f"the request has {len(rows):,} rows; at most {self.limits.rows:,} are read")
        return rows, single

    def _found(self, request: Request, served: Served, body: bytes) -> tuple[list[Any], bool]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("image/") or kind == "application/octet-stream":
            if served.picture is None:
                raise _refused(415, "this run does not read a picture alone: send rows as JSON")
            return [{served.picture: body}], True
        if kind != "application/json":
            raise _refused(415, "send `Content-Type: application/json`")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _refused(400, f"the body is not JSON: {error}") from None
        if isinstance(found, dict) and isinstance(found.get("rows"), list) and len(found) == 1:
            return found["rows"], False
        if isinstance(found, list):
            return found, False
        if isinstance(found, dict):
            return [found], True
        raise _refused(400, 'the body is neither a row, nor a list of rows, nor {"rows": [...]}')

    async def _body(self, request: Request) -> bytes:
        length, parts, size = request.headers.get("content-length", ""), [], 0
        most = self.limits.bytes
        if length.isdigit() and int(length) > most:
            raise _refused(413, f"the body has more than {most:,} bytes")
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _refused(413, f"the body has more than {most:,} bytes")
            parts.append(part)
        return b"".join(parts)

    def _answered(self, served: Served, answers: list[Any], single: bool) -> Response:
        wrong = [index for index, answer in enumerate(answers) if isinstance(answer, list)]
        self.counts.rows[served.name, "refused"] += len(wrong)
        self.counts.rows[served.name, "predicted"] += len(answers) - len(wrong)
        found: dict[str, Any] = {"predictions": [None if isinstance(a, list) else a for a in answers]}
        if wrong:
            found["diagnostics"] = [
                {"row": index, **each.to_json()} for index in wrong for each in answers[index]
            ]
        elif single:
            found = answers[0]
        failed = any(each.code == "run-failed" for index in wrong for each in answers[index])
        return _json(found, 500 if failed else 422 if wrong else 200)

    # --- reload

    async def reload(self, request: Request) -> Response:
        if request.client is None or request.client.host not in LOCAL:
            raise _refused(403, "runs are reloaded from the machine of the server alone")
        served = self._served(request)
        mistakes = await self.read_again(served.name)
        if mistakes:
            return _json({"diagnostics": [each.to_json() for each in mistakes]}, 500)
        return _json({"reloaded": served.name})

    def listen_for_hangup(self) -> None:
        """From now on SIGHUP reads all runs again; on Windows there is none."""
        number = getattr(signal, "SIGHUP", None)
        if number is not None and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(number, self._hung_up)

    def _hung_up(self) -> None:
        for name in self.runs:
            task = asyncio.ensure_future(self.read_again(name))
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

    async def health(self, request: Request) -> Response:
        return _json({"ok": True})

    async def ready(self, request: Request) -> Response:
        return _json({"ok": True, "runs": list(self.runs)})

    async def list(self, request: Request) -> Response:
        about = [
            {"name": n, "run_dir": str(s.path), "engine": s.model.engine.name} for n, s in self.runs.items()
        ]
        return _json({"runs": about})

    async def metrics(self, request: Request) -> Response:
        return PlainTextResponse(self.counts.text(self.batcher.batches))

    async def openapi(self, request: Request) -> Response:
        return _json(document(self.runs))

    async def page(self, request: Request) -> Response:
        text = files("graphspec.serve").joinpath("page.html").read_text("utf-8")
        policy = "default-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def application(server: Server, hosts: list[str]) -> Starlette:
    """The application of a server, which answers requests for these hosts."""
    counted = _counting(server)
    routes = [
        Route("/predict", counted(server.predict), methods=["POST"]),  # first: paths are tried in this order
        Route("/runs/{run}/predict", counted(server.predict), methods=["POST"]),
        Route("/", server.page),
        Route("/health", server.health),
        Route("/ready", server.ready),
        Route("/metrics", server.metrics),
        Route("/openapi.json", server.openapi),
        Route("/runs", server.list),
        Route("/reload", counted(server.reload), methods=["POST"]),
        Route("/runs/{run}/reload", counted(server.reload), methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        server.listen_for_hangup()
        yield
        await asyncio.to_thread(server.batcher.close)

    guard = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)]
    return Starlette(routes=routes, middleware=guard, lifespan=lifespan, exception_handlers=HANDLERS)


Handler = Callable[[Request], Awaitable[Response]]


def _counting(server: Server) -> Callable[[Handler], Handler]:
    """Counts what a path answers, by run and status."""

    def counting(handler: Handler) -> Handler:
        async def counted(request: Request) -> Response:
            status = 500
            try:
                response = await handler(request)
                status = response.status_code
            except HTTPException as error:
                status = error.status_code
                raise
            finally:
                server.counts.requests[request.scope.get("graphspec", ""), status] += 1
            return response

        return counted

    return counting


def _refused(status: int, message: str) -> HTTPException:
    return HTTPException(status, message)


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "usage" if error.status_code != 400 else "data-format"
    told = Diagnostic(code, str(error.detail), None)
    return _json({"diagnostics": [told.to_json()]}, error.status_code, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _failed(request: Request, error: Exception) -> Response:
    told = Diagnostic("run-failed", f"the server has failed: {type(error).__name__}", None)
    return _json({"diagnostics": [told.to_json()]}, 500)


HANDLERS: dict[Any, Any] = {HTTPException: _told, ClientDisconnect: _gone, Exception: _failed}


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON has no infinity and no NaN: they are null."""
    try:
        text = json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(for_json(value), default=str)
    known = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    return Response(text, status, known, media_type="application/json")
