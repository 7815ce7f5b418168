"""SIGINT and SIGTERM during a training: a flag that the loop polls, so that no step is cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Stop:
    """Which signal asked the training to stop; 0 as long as none did."""

    number: int = 0

    def __bool__(self) -> bool:
        return self.number != 0


@contextmanager
def watched() -> Iterator[Stop]:
    """A `Stop` that signals set. A second Ctrl-C raises `KeyboardInterrupt` at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may have handlers
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.number == signal.SIGINT == number:
            raise KeyboardInterrupt
        stop.number = number

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
