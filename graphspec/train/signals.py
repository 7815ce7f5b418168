"""SIGINT and SIGTERM during a training: a flag that the loop polls, so that no step is cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from graphspec.diagnostics.terminal import at_once
from graphspec.train.parallel.world import World

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class StopSignal:
    """The signal that asked the training to stop; 0 if there was none.

    Processes that train together stop at the same step: what one has `heard` counts once they agreed on it.
    """

    world: World = World()  # noqa: RUF009 - a frozen value
    heard: int = 0
    _agreed: int = 0

    @property
    def number(self) -> int:
        return self.heard if self.world.alone else self._agreed

    def __bool__(self) -> bool:
        return self.number != 0

    def agree(self, value: float = 0.0, due: bool = False) -> tuple[float, bool]:
        """Ask all processes for the signals that they heard. With that go a value, which is added up, and
        whether something is due in one of them.
        """
        mine = [self.heard == number for number in SIGNALS]
        total, (*heard_somewhere, due_somewhere) = self.world.agree(value, *mine, due)
        self._agreed = max(
            n for n, found in zip((0, *SIGNALS), (True, *heard_somewhere), strict=True) if found
        )
        return total, due_somewhere


@contextmanager
def watched(world: World, stopping: Callable[[], None]) -> Iterator[StopSignal]:
    """A `StopSignal` that signals set, whose handler calls `stopping`. A second Ctrl-C raises
    `KeyboardInterrupt` at once.
    """
    stop = StopSignal(world)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may have handlers
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.heard == signal.SIGINT == number:
            at_once("interrupted")
            raise KeyboardInterrupt
        stop.heard = number
        stopping()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
