"""Requests that arrive together are predicted together, in one thread."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Work = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class _Item:
    work: Work
    rows: Sequence[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Any]]


class Batcher:
    """A thread that computes. It takes what waits: at most `most` rows, and for the first row of a batch it
    waits up to `wait` seconds for others.
    """

    def __init__(self, most: int, wait: float):
        self.most, self.wait = most, wait
        self.batches = 0
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="graphspec-predict", daemon=True)
        self._thread.start()

    async def compute(self, work: Work, rows: Sequence[Any]) -> list[Any]:
        """What `work` returns for these rows, one each; those of other requests may be in the same call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self._items.put(_Item(work, rows, loop, future))
        return await future

    def close(self) -> None:
        """Ends the thread after what waits."""
        self._items.put(None)
        self._thread.join()

    def _run(self) -> None:
        held: _Item | None = None
        while True:
            item = held if held is not None else self._items.get()
            if item is None:
                return
            together, held, closing = self._together(item)
            self._answer(together)
            if closing:
                return

    def _together(self, first: _Item) -> tuple[list[_Item], _Item | None, bool]:
        """The items of a batch; one that came too late for it, or belongs to another run; whether to end."""
        found, count, until = [first], len(first.rows), time.monotonic() + self.wait
        while count < self.most:
            left = until - time.monotonic()
            try:
                item = self._items.get(timeout=left) if left > 0 else self._items.get_nowait()
            except queue.Empty:
                return found, None, False
            if item is None:
                return found, None, True
            if item.work != first.work or count + len(item.rows) > self.most:
                return found, item, False
            found.append(item)
            count += len(item.rows)
        return found, None, False

    def _answer(self, items: list[_Item]) -> None:
        self.batches += 1
        waiting = [item for item in items if not item.future.cancelled()]
        try:
            answers = waiting[0].work([row for item in waiting for row in item.rows]) if waiting else []
        except BaseException as error:
            for item in waiting:
                item.loop.call_soon_threadsafe(_fail, item.future, error)
            return
        first = 0
        for item in waiting:
            part = answers[first : first + len(item.rows)]
            first += len(item.rows)
            item.loop.call_soon_threadsafe(_give, item.future, part)


def _give(future: asyncio.Future[list[Any]], answers: list[Any]) -> None:
    if not future.done():
        future.set_result(answers)


def _fail(future: asyncio.Future[list[Any]], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
