"""Processes of Python that need no second to import torch: forks of one that has, which lasts as long as the
tests of its worker.

What a test says of imports, or of the first moments of a process, needs an interpreter of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from graphspec.tune import launcher as launchers
from graphspec.tune.launcher import Child, ForkLauncher, Launcher
from tests import faults

BECOME = Path(__file__).with_name("become.py")
WARM = Path(__file__).parents[1] / "specs" / "transformer_classifier.yaml"
"""What the server compiles before it forks: layers and code of most kinds are then made."""
PARENT = "import os; print(os.getppid())"
ALONE = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Without these the libraries of numpy and pyarrow start threads when they are imported."""
ENDLESS = 600
"""Seconds after which a test gives up on what would never end, however busy the machine is."""


PARALLEL = "import torch._dynamo, torch.distributed.checkpoint.state_dict, torch.distributed.fsdp"
"""What trainings in several processes import, for as long as torch takes."""
imported = ["import pandas, pyarrow.parquet, pytest, graphspec.data.reading, graphspec.custom.adapting"]
"""What is imported besides torch where no process has been started yet: what trainings, pyarrow and the
modules of `tests` import sooner or later."""


@cache
def _launcher() -> Launcher:
    """The launcher of a search, which has started its server: a thread of this would not outlive a fork."""
    made = launchers.launcher(WARM, 1)
    atexit.register(made.close)
    server = mock.patch.object(launchers, "SERVER", "; ".join([*imported, launchers.SERVER]))
    preloaded = {"LD_PRELOAD": str(library)} if (library := faults.library()) is not None else {}
    with server, mock.patch.dict(os.environ, {**ALONE, **preloaded}):
        child = made.start([str(BECOME), json.dumps(told(["-c", PARENT], {}, None))])
    with child.output as output, child.errors as errors:
        parent = output.read()
        assert child.wait() == 0, errors.read()
    if isinstance(made, ForkLauncher):
        assert psutil.Process(int(parent)).num_threads() == 1, imported
    return made


def told(command: Sequence[str], environment: Mapping[str, str], terminal: str | None) -> dict[str, Any]:
    return {
        "command": list(command),
        "folder": os.getcwd(),
        "environment": {**os.environ, **environment},
        "terminal": terminal,
    }


def _meanwhile(call: Callable[[], Any]) -> Future[Any]:
    """A call in a thread that nobody waits for at the end: a test that failed has left it."""
    found: Future[Any] = Future()

    def work() -> None:
        try:
            found.set_result(call())
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return found


class Shared:
    """The launcher of a search whose processes are forks of the same server."""

    def start(self, arguments: Sequence[str]) -> Child:
        return _launcher().start([str(BECOME), json.dumps(told(arguments, {}, None))])

    def close(self) -> None:
        """The server stays for others."""


class Process:
    """`python *command` in the working directory, with the environment of this moment and `environment`; in
    `terminal`, if one is named. Its methods are those of `subprocess.Popen`.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        terminal: str | None = None,
    ):
        child = _launcher().start([str(BECOME), json.dumps(told(command, environment or {}, terminal))])
        self.command, self.pid, self.stdout, self.stderr = command, child.pid, child.output, child.errors
        self._code = _meanwhile(child.wait)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._code.result() if self._code.done() else None

    def wait(self, timeout: float = ENDLESS) -> int | None:
        try:
            return self._code.result(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(list(self.command), timeout) from None

    def communicate(self, timeout: float = ENDLESS) -> tuple[str, str]:
        """All that it writes, once it has ended."""
        with self.stdout, self.stderr:
            streams = [_meanwhile(stream.read) for stream in (self.stdout, self.stderr)]
            output, errors = (stream.result(timeout) for stream in streams)
        self.wait(timeout)
        return output, errors

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, which is not told yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """What becomes of `python *command`."""
    process = Process(command, **options)
    output, errors = process.communicate()
    code = process.wait()
    assert code is not None, "the process got lost"
    return subprocess.CompletedProcess([sys.executable, *command], code, output, errors)
