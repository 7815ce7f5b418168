"""Processes that are killed at a change of a folder. Whoever forks them has imported what takes long."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir"}


def ended_owner() -> str:
    """The name of a process that has ended, as of an owner of files."""
    code = "from graphspec.files.owners import owner; print(owner(), end='')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def forked(run: Callable[[], int], folder: str, moment: int | None = None) -> int:
    """The exit code of a fork that runs a function, and is killed when it is about to change what is in a
    folder of this name for the `moment`th time.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    changes = 0

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal changes
        if event in CHANGES and folder in os.path.abspath(str(given[0])).split(os.sep):
            changes += 1
            if changes == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    code = 1
    try:
        code = run()
    finally:
        os._exit(code)
