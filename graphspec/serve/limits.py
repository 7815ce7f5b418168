"""What a request may ask for, and what those that have begun take together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphspec.serve.http import Rejected
from graphspec.serve.options import ServeOptions

USUAL = ServeOptions([])
TOGETHER = 16
"""Bodies of the largest size that are held at once."""


@dataclass(eq=False, repr=False)
class Limits:
    """What a request may ask for."""

    bytes: int = USUAL.max_bytes
    rows: int = USUAL.max_rows
    seconds: float = USUAL.timeout
    batch: int = USUAL.batch
    """Rows of several requests that are predicted together."""
    wait: float = USUAL.batch_wait
    """Seconds for which the first row of a batch waits for others."""
    head: int = USUAL.max_head
    """Bytes of the head of a request."""
    target: int = USUAL.max_target
    """Bytes of its path and query."""
    head_seconds: float = USUAL.head_timeout
    """In which the head has to come."""
    idle: float = USUAL.idle_timeout
    """Seconds after an answer in which a connection waits for the next request."""
    connections: int = USUAL.max_connections
    client_connections: int = USUAL.max_client_connections
    """Those from one address."""


class OpenRequests:
    """The requests for predictions that have begun. One timer serves all, as the oldest ends first: one for
    each would take as long as to read a row.
    """

    def __init__(self, limits: Limits, unread: Callable[[], int]):
        self.limits, self.unread = limits, unread
        self.held = 0
        """Bytes of their bodies."""
        self._begun: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def are_full(self) -> bool:
        return self._taken >= self.most

    @property
    def most(self) -> int:
        return TOGETHER * self.limits.bytes

    @property
    def _taken(self) -> int:
        """Bytes of bodies, and of answers that are not read."""
        return self.held + self.unread()

    def begin(self) -> asyncio.Task[Any]:
        """The request that this task answers; it is cancelled when its time is over."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._begun[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self.limits.seconds, self._look)
        return task

    def hold(self, count: int) -> None:
        """So many bytes more. Raises `Rejected` where that is too much."""
        self.held += count
        if self._taken > self.most:
            message = f"the server holds {self.most:,} bytes of other requests already, its limit"
            raise Rejected(503, message, {"retry-after": "1"}, help="ask again a second later")

    def end(self, task: asyncio.Task[Any], count: int) -> bool:
        """A request of so many bytes has ended: whether it was cancelled since its time was over."""
        self.held -= count
        del self._begun[task]
        if task not in self._late:
            return False
        self._late.remove(task)
        task.uncancel()
        return True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for task, began in self._begun.items():
            left = began + self.limits.seconds - loop.time()
            if left > 0:
                self._timer = loop.call_later(left, self._look)
                return
            if task not in self._late:
                self._late.add(task)
                task.cancel()
