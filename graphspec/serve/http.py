"""HTTP over ASGI, as far as a few paths need it: requests, responses, rejections."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from graphspec.diagnostics import Diagnostic, SpecError, visible
from graphspec.diagnostics.terminal import for_json

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON = "application/json"
encode = json.JSONEncoder(allow_nan=False, default=str).encode
ONCE = ("content-encoding", "content-length", "content-type", "host")
"""Headers that a request has once: of two, a proxy may have read the other one."""
_AS_JSON = f"send it with the header `Content-Type: {JSON}`"
_OF_TABLES = f'{JSON} is read, as {{"rows": [...]}}; `graphspec predict RUN --data FILE -o FILE` reads tables'
OTHER_BODIES: Mapping[str, str] = {
    **dict.fromkeys(("text/csv", "text/tab-separated-values", "application/vnd.ms-excel"), _OF_TABLES),
    "application/vnd.apache.parquet": _OF_TABLES,
    **dict.fromkeys(("application/x-ndjson", "application/jsonl"), "send the rows as one list of JSON"),
    "multipart/form-data": f"send rows as {JSON}; a picture as the whole body: `curl --data-binary @FILE`",
}
"""Remedies for bodies of a type that is not read."""
ECHOED = 200
"""Letters of a request that an answer repeats."""


def echo(text: str) -> str:
    """A part of a request, as an answer repeats it."""
    return visible(text if len(text) <= ECHOED else text[: ECHOED - 3] + "...")[:ECHOED]


class Rejected(Exception):
    """A request that is not answered: its status, why, and what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        help: str | None = None,
        code: str | None = None,
    ):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        code = code or ("usage" if status != 400 else "data-format")
        self.diagnostics: Sequence[Diagnostic] = [Diagnostic(code, message, None, help=help)]

    @classmethod
    def of(cls, error: SpecError) -> Rejected:
        """A request with these mistakes."""
        rejected = cls(422, str(error))
        rejected.diagnostics = [replace(each, span=None) for each in error.diagnostics]
        return rejected

    def answer(self) -> Answer:
        told = [each.to_json() for each in self.diagnostics]
        return Answer.json({"diagnostics": told}, self.status, self.headers)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises `Rejected` for a key that is there twice, as one in a spec may not be."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise Rejected(400, f"an object of the body has the key `{echo(twice)}` twice", help="send it once")
    return made


parsed: Callable[[str], Any] = json.JSONDecoder(object_pairs_hook=_unique).decode


def value_of(body: bytes) -> Any:
    """The JSON of a body. Raises `Rejected`."""
    try:
        text = body.decode(json.detect_encoding(body))
        payload = parsed(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise Rejected(400, f"the body is not text in UTF-8: byte {error.start} is wrong") from None
    except UnicodeEncodeError:
        message = "the body holds half of a character: an escape \\ud... without its other half"
        raise Rejected(400, message) from None
    except (ValueError, RecursionError) as error:
        if not body.strip():
            raise Rejected(400, "the body is empty", help='send rows: {"COLUMN": value, ...}') from None
        quotes = body.lstrip()[:2] in (b"{'", b"['") or b"{'" in body[:100]
        help = "names and texts of JSON have double quotes" if quotes else None
        raise Rejected(400, f"the body is not JSON: {error}", help=help) from None
    return payload


class Gone(Exception):
    """The client has left before its request was answered."""


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """A request. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    client: str | None
    receive: Receive
    run: str = ""
    """The run that the path names."""
    size: int = 0
    """Bytes of its body that are here."""
    repeated: str | None = None
    """A header that is there twice, of those that may not be."""

    @classmethod
    def of(cls, scope: Mapping[str, Any], receive: Receive) -> Request:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        request = cls(scope["method"], scope["path"], headers, client[0] if client else None, receive)
        if len(headers) < len(scope["headers"]):
            counts = Counter(name.decode("latin-1") for name, _ in scope["headers"])
            request.repeated = next((name for name in ONCE if counts[name] > 1), None)
        return request

    @property
    def host(self) -> str:
        """The host that is asked, without its port."""
        host = self.headers.get("host", "")
        name, _, port = host.rpartition(":")
        return (name if port.isdigit() else host).strip("[]")

    @property
    def kind(self) -> str:
        """The media type of the body."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def plain_json(self) -> None:
        """Raises `Rejected` where the body says that it is something else than JSON."""
        self.uncoded()
        if self.kind != JSON:
            media_type = f"`{echo(self.kind)}`" if self.kind else "of no type"
            raise Rejected(415, f"the body is {media_type}", help=OTHER_BODIES.get(self.kind, _AS_JSON))

    def uncoded(self) -> None:
        """Raises `Rejected` where the body is compressed."""
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            message = f"the body is encoded as `{echo(encoding)}`: send it without that encoding"
            raise Rejected(415, message)

    async def gone(self) -> None:
        """Waits until the client leaves, or has its answer."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def body(self, most: int, hold: Callable[[int], None]) -> bytes:
        """The body; `hold` gets the size of each part. Raises `Rejected` where it has more than `most` bytes,
        and `Gone`.
        """
        length = self.headers.get("content-length", "")
        self._within(int(length) if length.isdigit() else 0, most)
        parts: list[bytes] = []
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            self.size += len(part)
            hold(len(part))
            self._within(self.size, most)
        return b"".join(parts)

    @staticmethod
    def _within(size: int, most: int) -> None:
        if size > most:
            help = "send fewer rows at a time, or start the server with more `--max-bytes`"
            raise Rejected(413, f"the body has more than {most:,} bytes", help=help)


@dataclass(slots=True, eq=False, repr=False)
class Answer:
    """The answer to a request."""

    status: int
    body: bytes
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """JSON has no infinity and no NaN: they are null."""
        try:
            text = encode(value)
        except ValueError:
            text = json.dumps(for_json(value), default=str)
        return cls(status, text.encode(), JSON, headers or {})

    async def sent(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self._coded()})
        await send({"type": "http.response.body", "body": self.body})

    def raw(self) -> bytes:
        """As the last one of a connection."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode())]
        lines += [name + b": " + value for name, value in (*self._coded(), (b"connection", b"close"))]
        return b"\r\n".join((*lines, b"", self.body))

    def _coded(self) -> list[tuple[bytes, bytes]]:
        coded = [
            (b"content-type", self.kind.encode("latin-1")),
            (b"content-length", b"%d" % len(self.body)),
            (b"x-content-type-options", b"nosniff"),
        ]
        for name, value in self.headers.items():
            coded.append((name.encode("latin-1"), value.encode("latin-1")))
        return coded


@dataclass(slots=True, eq=False, repr=False)
class Events(Answer):
    """Server-sent events, one after another."""

    kind: str = "text/event-stream"
    events: AsyncGenerator[str] | None = None

    async def sent(self, send: Send) -> None:
        assert self.events is not None
        headers = [pair for pair in self._coded() if pair[0] != b"content-length"]
        headers += [
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]  # proxies pass each on at once
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        async with aclosing(self.events) as events:
            async for event in events:
                body = f"data: {event}\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
