"""The entry point, of `graphspec` and of `python -m graphspec`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):
    del sys.path[0]  # `-m` puts the working directory there, and nothing in it may run unasked

import gc
import signal
from contextlib import suppress
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, whatever it is doing.

    Imports make many objects and no garbage: none is collected, until a command that works for long wants it.
    """
    gc.disable()
    try:
        signal.signal(signal.SIGINT, _interrupt)
        from graphspec.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, _leave)  # the interpreter is closing down: nothing is left to save
        gc.freeze()  # it would look for garbage once more, among everything that was imported


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C, but for a training, which has a handler of its own. An import cannot be interrupted cleanly."""
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            _tell()
            _leave(number, frame)
        inner = inner.f_back
    _tell()
    raise KeyboardInterrupt


def _tell() -> None:
    """As `at_once` in `graphspec.diagnostics.terminal`, which is perhaps what is being imported."""
    with suppress(OSError):
        os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
