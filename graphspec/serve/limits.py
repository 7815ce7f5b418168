"""Limits on the requests in progress together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from graphspec.serve.http import Rejected, Request
from graphspec.serve.options import ServeOptions

TOGETHER = 16
"""Bodies of the largest size that are held at once."""


class OpenRequests:
    """The requests for predictions that have begun. One timer serves all, as the oldest ends first: one for
    each would take as long as to read a row.
    """

    def __init__(self, limits: ServeOptions, unread: Callable[[], int]):
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
        return TOGETHER * self.limits.max_bytes

    @property
    def _taken(self) -> int:
        """Bytes of bodies, and of answers that are not read."""
        return self.held + self.unread()

    @contextmanager
    def timed(self, request: Request, help: str) -> Iterator[None]:
        """While a request has this time. Raises `Rejected` when that is over; its bytes are let go."""
        task = self.begin()
        try:
            yield
        finally:
            size, request.size = request.size, 0
            if self.end(task, size):
                message = f"no answer within {self.limits.timeout:g} seconds"
                raise Rejected(503, message, help=help) from None

    def begin(self) -> asyncio.Task[Any]:
        """The request that this task answers; it is cancelled when its time is over."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._begun[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self.limits.timeout, self._look)
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
            left = began + self.limits.timeout - loop.time()
            if left > 0:
                self._timer = loop.call_later(left, self._look)
                return
            if task not in self._late:
                self._late.add(task)
                task.cancel()
