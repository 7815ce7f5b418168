"""HTTP over ASGI, as far as a few paths need it: requests, responses, rejections."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from graphspec.diagnostics import Diagnostic, visible
from graphspec.diagnostics.terminal import for_json

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON = "application/json"
encode = json.JSONEncoder(allow_nan=False, default=str).encode
ONCE = ("content-encoding", "content-length", "content-type", "host")
"""Headers that a request has once: of two, a proxy may have read the other one."""
ECHOED = 200
"""Letters of a request that an answer repeats."""


def echo(text: str) -> str:
    """What a request says, as an answer repeats it."""
    return visible(text if len(text) <= ECHOED else text[: ECHOED - 3] + "...")[:ECHOED]


class Rejected(Exception):
    """A request that is not answered: its status, why, and what to do."""

    def __init__(
        self, status: int, message: str, headers: Mapping[str, str] | None = None, help: str | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.headers, self.help = status, message, headers or {}, help

    def answer(self) -> Answer:
        code = "usage" if self.status != 400 else "data-format"
        told = Diagnostic(code, self.message, None, help=self.help)
        return Answer.json({"diagnostics": [told.to_json()]}, self.status, self.headers)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises `Rejected` for a key that is there twice, as one in a spec may not be."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise Rejected(400, f"an object of the body has the key `{echo(twice)}` twice", help="send it once")
    return made


parsed: Callable[[str], Any] = json.JSONDecoder(object_pairs_hook=_unique).decode


class Gone(Exception):
    """The client has left before its request was whole."""


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """What is asked at a path. Names of headers are in lower case."""

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
    """What comes back."""

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
