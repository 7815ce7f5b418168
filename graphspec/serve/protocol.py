"""uvicorn's HTTP with limits for heads and waiting."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from graphspec.serve.connections import Connections
from graphspec.serve.http import Rejected

PIPELINED = 16
"""Requests that may wait for the answer to another one of their connection."""


class ClientConnection(HttpToolsProtocol):
    """The connection of a client. It waits some time for a head, for the next request, or for the client to
    read an answer. While a request is answered, its body included, the time is that of the request.
    """

    def __init__(self, connections: Connections, **settings: Any):
        super().__init__(**settings)
        self._all, self.limits = connections, connections.limits
        self.address = ""
        self.since = 0.0
        """When it began to wait."""
        self._waits = "head"
        self._bytes = 0
        """Those since the last head or part of a body: of an unfinished head, or of what trails a body."""
        self._progress = False
        self._wrong: Rejected | None = None
        """Why the parser was stopped."""

    # --- what uvicorn and the parser call

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.since = self.loop.time()
        if not self._all.add(self):
            message = "the server has as many connections as it takes"
            help = "ask again a second later, or start the server with more `--max-connections`"
            self._refuse(Rejected(503, message, {"retry-after": "1"}, help), "refused")

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """In pieces, so that nothing longer than a head may be is ever held in the parser."""
        while data and not self.transport.is_closing():
            part, data = (
                data[: self.limits.max_head - self._bytes],
                data[self.limits.max_head - self._bytes :],
            )
            self._progress = False
            super().data_received(part)
            self._bytes = 0 if self._progress else self._bytes + len(part)
            if self._bytes >= self.limits.max_head and not self.transport.is_closing():
                help = "send fewer headers, or start the server with more `--max-head`"
                message = f"the head of the request has more than {self.limits.max_head:,} bytes"
                self._refuse(Rejected(431, message, help=help), "head-size")
        self._update()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self._stop(Rejected(400, f"more than {PIPELINED} requests wait for an answer before them"))
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.max_target:
            help = "start the server with more `--max-target`"
            message = f"the path of the request has more than {self.limits.max_target:,} bytes"
            self._stop(Rejected(414, message, help=help))

    def on_headers_complete(self) -> None:
        self._progress = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # `look` is what ends it
        self._update()

    def send_400_response(self, msg: str) -> None:
        wrong = self._wrong or Rejected(400, "the request is not HTTP/1.1")
        self._refuse(wrong, {414: "target-size"}.get(wrong.status, "malformed"))

    # --- limits

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def unread(self) -> int:
        """Bytes of answers that the client has not read."""
        return int(self.transport.get_write_buffer_size())

    def look(self, now: float) -> None:
        """Ends the connection where the time is over for which it may wait."""
        self._update()
        waited, limits = now - self.since, self.limits
        allowed = {"head": limits.head_timeout, "idle": limits.idle_timeout, "answer": limits.timeout}
        if waited <= allowed.get(self._waits, waited):
            return
        if self._waits == "head" and self._bytes:
            message = f"the head of the request has not come within {limits.head_timeout:g} seconds"
            self._refuse(Rejected(408, message), "head-time")
        else:
            self.end(f"{self._waits}-time")

    def end(self, reason: str) -> None:
        """Ends the connection at once; what the client has not read is lost."""
        self._all.closed[reason] += 1
        self.transport.abort()

    def _update(self) -> None:
        """Sets the clock where the connection waits for something else than before."""
        if self.unread:
            waits = "answer"
        elif self.is_busy:
            waits = "nothing"
        else:
            waits = "head" if self._bytes or self.cycle is None else "idle"
        if waits != self._waits:
            self._waits, self.since = waits, self.loop.time()

    def _stop(self, wrong: Rejected) -> None:
        """Stops the parser, in one of its calls."""
        self._wrong = wrong
        raise wrong

    def _refuse(self, wrong: Rejected, reason: str) -> None:
        """Answers, unless that would come amid another answer, and closes the connection."""
        self._all.closed[reason] += 1
        if not self.is_busy:
            self.transport.write(wrong.answer().raw())
        self.transport.close()
