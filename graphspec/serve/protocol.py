"""uvicorn's HTTP, which sends the head and the body of an answer together."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Joining:
    """A transport that sends two things in one piece where one is written after the other: each would be a
    system call, a packet, and a waking of the client. One that is alone is sent before the loop waits.
    """

    def __init__(self, transport: asyncio.Transport):
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._held.append(data)
        if len(self._held) == 1:
            self._loop.call_soon(self._send)
        else:
            self._send()

    def _send(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.writelines(held)

    def close(self) -> None:
        self._send()
        self._transport.close()


class JoiningProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """That of httptools, or of h11."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(Joining(transport))
