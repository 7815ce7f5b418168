"""Requests that arrive together are predicted together: in a thread, or at once where that takes no time."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

QUICK = 0.005
"""Seconds for which the loop may compute: others wait meanwhile, and a thread costs a tenth of that."""
KEPT = 0.9
"""How much of the seconds of a slow row is expected of the next one."""


class Worker(Protocol):
    """What predicts rows."""

    def predict(self, rows: list[Any]) -> list[Any]:
        """An answer for each row; a list of mistakes for one that is not predicted."""
        ...


@dataclass(frozen=True, slots=True)
class _Item:
    worker: Worker
    rows: Sequence[Any]
    light: bool
    future: asyncio.Future[list[Any]]


class Batcher:
    """Predicts one batch at a time: at most `most` rows of those that wait for one worker. The first row of a
    batch waits up to `wait` seconds for others; without, for those alone that are being read already.

    All but the computing thread belongs to the event loop.
    """

    def __init__(self, most: int, wait: float):
        self.most, self.wait = most, wait
        self.batches = 0
        self._waiting: deque[_Item] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "graphspec-predict")
        self._alone: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        """The seconds that a row by itself may take: of those before, the slow ones count longest."""

    async def compute(self, worker: Worker, rows: Sequence[Any], light: bool = False) -> list[Any]:
        """What a worker predicts for these rows; those of other requests may be in the same call. `light`
        says that they take no longer than others.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(worker, rows, light, future))
        if len(self._waiting) == 1 and not self._busy:
            self._soon()
        return await future

    def close(self) -> None:
        """Ends the thread after what it computes."""
        self._thread.shutdown()

    def _soon(self) -> None:
        """Lets the next batch begin after what is ready now: requests that came together."""
        loop = asyncio.get_running_loop()
        if self.wait:
            loop.call_later(self.wait, self._next)
        else:
            loop.call_soon(self._next)

    def _next(self) -> None:
        """Begins the next batch of what waits."""
        items = self._together() if self._waiting and not self._busy else []
        if not items:
            return
        self.batches += 1
        self._busy = True
        worker, rows = items[0].worker, [row for item in items for row in item.rows]
        expected = self._alone.get(worker, math.inf) * len(rows)
        if expected < QUICK and all(item.light for item in items):
            self._done(items, *_predicted(worker, rows))
            return
        found = asyncio.get_running_loop().run_in_executor(self._thread, _predicted, worker, rows)
        found.add_done_callback(lambda found: self._done(items, *found.result()))

    def _together(self) -> list[_Item]:
        """The items of a batch, the oldest and those that go with it, but those for which nobody waits."""
        found: list[_Item] = []
        left: deque[_Item] = deque()
        count = 0
        for item in self._waiting:
            if item.future.done():
                continue
            fits = not found or (item.worker is found[0].worker and count + len(item.rows) <= self.most)
            (found if fits else left).append(item)
            count += len(item.rows) if fits else 0
        self._waiting = left
        return found

    def _done(
        self, items: Sequence[_Item], answers: list[Any], error: BaseException | None, seconds: float
    ) -> None:
        """Answers a batch, and lets the next one begin."""
        self._busy, first = False, 0
        for item in items:
            part = answers[first : first + len(item.rows)]
            first += len(item.rows)
            if item.future.done():  # nobody waits any more
                continue
            if error is not None:
                item.future.set_exception(error)
            else:
                item.future.set_result(part)
        if first == 1 and error is None and not isinstance(answers[0], list):
            worker = items[0].worker  # a short row says nothing of a long one
            self._alone[worker] = max(seconds, KEPT * self._alone.get(worker, 0.0))
        if self._waiting:
            self._soon()


def _predicted(worker: Worker, rows: list[Any]) -> tuple[list[Any], BaseException | None, float]:
    """The answers or an error, and the seconds of this thread that they took: by the clock all rows of a busy
    machine is slow, and slower in a thread of its own.
    """
    began = time.thread_time()
    try:
        return worker.predict(rows), None, time.thread_time() - began
    except BaseException as error:
        return [], error, 0.0
