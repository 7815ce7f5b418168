"""Connections: how many there are, and how long each may wait for its client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from graphspec.serve.options import ServeOptions

LOOKS = 8
"""Looks at all connections while the shortest of their times passes."""
SELDOM = 1.0
"""Seconds between two looks, at most."""


class Connection(Protocol):
    """A connection, as `protocol.py` has it."""

    address: str
    since: float
    """When it began to wait."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        ...

    @property
    def unread(self) -> int:
        """Bytes of answers that the client has not read."""
        ...

    def look(self, now: float) -> None:
        """Ends the connection where the time is over for which it may wait."""
        ...

    def end(self, reason: str) -> None:
        """Ends the connection at once."""
        ...


class Connections:
    """Those that are open. Where one is too many, the one that has waited longest for its client makes room:
    clients that never send a head keep no others out.

    One timer serves all: a look at each costs less than a timer for each request.
    """

    def __init__(self, limits: ServeOptions):
        self.limits = limits
        self.open: dict[Connection, None] = {}
        """In the order in which they came, as the clock may stand still meanwhile."""
        self.closed: Counter[str] = Counter()
        """How many were closed before their clients did so, by the reason."""
        self.unread = 0
        """Bytes of answers that clients have not read, at the last look."""
        self._clients: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def are_full(self) -> bool:
        """Whether no other has room: all are being answered."""
        return self.limits.max_connections <= sum(each.is_busy for each in self.open)

    def add(self, new: Connection) -> bool:
        """Whether there is room for another one."""
        of_client = self._clients[new.address] >= self.limits.max_client_connections
        if of_client and not self._made_room(each for each in self.open if each.address == new.address):
            return False
        if len(self.open) >= self.limits.max_connections and not self._made_room(self.open):
            return False
        self.open[new] = None
        self._clients[new.address] += 1
        if self._timer is None:
            self._look()
        return True

    def remove(self, old: Connection) -> None:
        if old in self.open:
            del self.open[old]
            self._clients[old.address] -= 1
            if not self._clients[old.address]:
                del self._clients[old.address]

    def _made_room(self, among: Iterable[Connection]) -> bool:
        waiting = [each for each in among if not each.is_busy]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda each: each.since)
        self.remove(oldest)
        oldest.end("full")
        return True

    def _look(self) -> None:
        """Ends the connections whose time is over."""
        loop = asyncio.get_running_loop()
        for each in list(self.open):
            each.look(loop.time())
        self.unread = sum(each.unread for each in self.open)
        shortest = min(self.limits.head_timeout, self.limits.idle_timeout, self.limits.timeout)
        soon = min(shortest / LOOKS, SELDOM)
        self._timer = loop.call_later(soon, self._look) if self.open else None
