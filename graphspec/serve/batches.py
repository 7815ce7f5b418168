"""Requests that arrive together are predicted together: in a thread, or at once where that takes no time."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Protocol

QUICK = 0.005
"""Seconds for which the loop may compute: others wait meanwhile, and a thread costs a tenth of that."""
KEPT = 0.9
"""How much of the seconds of a slow row is expected of the next one."""


class Worker(Protocol):
    """Predicts rows."""

    seconds: float
    """The time of a row by itself: of those before, the slow ones count longest."""

    def predict(self, rows: list[Any]) -> list[Any]:
        """An answer for each row; a list of mistakes for one that is not predicted."""
        ...


@dataclass(slots=True, eq=False, repr=False)
class _Item:
    worker: Worker
    rows: Sequence[Any]
    light: bool
    future: asyncio.Future[list[Any]]


class Batcher:
    """Predicts one batch at a time: at most `most` rows of those that wait for one worker. The first row of a
    batch waits up to `wait` seconds for others. If `wait` is 0, it waits only for requests that are already
    being read.

    All but the computing thread belongs to the event loop.
    """

    def __init__(self, most: int, wait: float):
        self.most, self.wait = most, wait
        self.batches = 0
        self.open: Collection[object] = ()
        """The requests that have begun, if the server tells: one alone does not look for others."""
        self._waiting: deque[_Item] = deque()
        self._busy_since: float | None = None
        self._thread = ThreadPoolExecutor(1, "graphspec-predict")

    async def compute(self, worker: Worker, rows: Sequence[Any], light: bool = False) -> list[Any]:
        """A worker's predictions for some rows; rows of other requests may be in the same call. `light` says
        that these rows take no longer than others.
        """
        alone = len(self.open) == 1 and not (self.wait or self.is_busy or self._waiting)
        if alone and light and worker.seconds * len(rows) < QUICK:
            return self._at_once(worker, rows)
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(worker, rows, light, future))
        if len(self._waiting) == 1 and not self.is_busy:
            self._soon()
        return await future

    @property
    def is_busy(self) -> bool:
        return self._busy_since is not None

    def busy_for(self) -> float:
        """The seconds that the current batch has taken so far."""
        return time.monotonic() - self._busy_since if self._busy_since is not None else 0.0

    def close(self) -> None:
        """Ends the thread after what it computes."""
        self._thread.shutdown()

    def _at_once(self, worker: Worker, rows: Sequence[Any]) -> list[Any]:
        """Answers a request that is alone. After a slow row the next one is computed in the thread."""
        self.batches += 1
        began = time.perf_counter()
        answers = worker.predict(list(rows))
        self._learn(worker, answers, min(time.perf_counter() - began, QUICK))
        return answers

    def _soon(self) -> None:
        """Lets the next batch begin after what is ready now: requests that came together."""
        loop = asyncio.get_running_loop()
        if self.wait:
            loop.call_later(self.wait, self._next)
        else:
            loop.call_soon(self._next)

    def _next(self) -> None:
        """Begins the next batch of what waits."""
        items = self._together() if self._waiting and not self.is_busy else []
        if not items:
            return
        self.batches += 1
        self._busy_since = time.monotonic()
        worker, parts = items[0].worker, [item.rows for item in items]
        expected = worker.seconds * sum(map(len, parts))
        if expected < QUICK and all(item.light for item in items):
            self._done(items, *_predicted(worker, parts))
            return
        future = asyncio.get_running_loop().run_in_executor(self._thread, _predicted, worker, parts)
        future.add_done_callback(lambda computed: self._done(items, *computed.result()))

    def _together(self) -> list[_Item]:
        """The items of a batch: the oldest, and those that go with it. Items for which nobody waits are
        dropped.
        """
        batch: list[_Item] = []
        left: deque[_Item] = deque()
        count = 0
        for item in self._waiting:
            if item.future.done():
                continue
            fits = not batch or (item.worker is batch[0].worker and count + len(item.rows) <= self.most)
            (batch if fits else left).append(item)
            count += len(item.rows) if fits else 0
        self._waiting = left
        return batch

    def _done(
        self, items: Sequence[_Item], outcomes: Sequence[list[Any] | BaseException], seconds: float
    ) -> None:
        """Answers a batch, and lets the next one begin."""
        self._busy_since = None
        for item, outcome in zip(items, outcomes, strict=True):
            if item.future.done():  # nobody waits any more
                continue
            if isinstance(outcome, BaseException):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(outcome)
        if len(items) == 1 and isinstance(outcomes[0], list):
            self._learn(items[0].worker, outcomes[0], seconds)
        if self._waiting:
            self._soon()

    @staticmethod
    def _learn(worker: Worker, answers: Sequence[Any], seconds: float) -> None:
        """From a row by itself: how long the next may take. A short row says nothing of a long one."""
        if len(answers) == 1 and not isinstance(answers[0], list):
            known = 0.0 if worker.seconds == math.inf else KEPT * worker.seconds
            worker.seconds = max(seconds, known)


def _predicted(
    worker: Worker, parts: Sequence[Sequence[Any]]
) -> tuple[list[list[Any] | BaseException], float]:
    """The answers to each part or its error, and the seconds that they took. What fails with others fails
    alone: their rows are none of its fault.
    """
    began = time.perf_counter()
    try:
        answers = worker.predict([row for part in parts for row in part])
    except BaseException as error:
        alone = len(parts) == 1 or not isinstance(error, Exception)
        return ([error] * len(parts) if alone else [_predicted(worker, [part])[0][0] for part in parts]), 0.0
    seconds, ends = time.perf_counter() - began, [*accumulate(map(len, parts), initial=0)]
    return [answers[first:last] for first, last in pairwise(ends)], seconds
