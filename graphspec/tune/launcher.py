"""Starts the processes of trials: forks of one that has imported torch on Linux, fresh ones elsewhere."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from graphspec.data.memory import CORES
from graphspec.files.interpreter import PYTHON

SERVER = "from graphspec.tune.fork_server import main; main()"


def launcher(spec: Path, cores: int, modules: Sequence[str] = ()) -> Launcher:
    """The fastest launcher of this system for trainings of `spec` on so many cores each, which import
    `modules`.

    Forks are for Linux: libraries of macOS do not survive them, and Windows has none.
    """
    return ForkLauncher(spec, cores, modules) if sys.platform == "linux" else Launcher(cores)


def _environment(cores: int) -> dict[str, str]:
    """The environment of a process that may use this many cores, from which it chooses its threads
    (`device.threads`). Until then it has one, so that libraries start none that a fork would lose. A number
    of threads that is set already stays.
    """
    if os.environ.get("OMP_NUM_THREADS") and not os.environ.get(CORES):
        return dict(os.environ)
    return os.environ | {"OMP_NUM_THREADS": "1", CORES: str(cores)}


class Launcher:
    """Starts an interpreter for each process."""

    def __init__(self, cores: int):
        self._cores = cores

    def start(self, arguments: Sequence[str]) -> Child:
        """Starts Python with these arguments."""
        return FreshChild(arguments, _environment(self._cores))

    def close(self) -> None:
        """Ends what has been kept ready."""


class Child:
    """A process, which leads a process group of its own; `output` and `errors` are what it writes."""

    def __init__(self, pid: int, output: IO[str], errors: IO[str]):
        self.pid, self.output, self.errors = pid, output, errors

    @abstractmethod
    def wait(self) -> int | None:
        """The exit code once it has ended, negative for a signal; None if it got lost."""


class FreshChild(Child):
    """A process with an interpreter of its own."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]):
        self._process = subprocess.Popen(
            [*PYTHON, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # the search passes Ctrl-C on
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        super().__init__(self._process.pid, self._process.stdout, self._process.stderr)

    def wait(self) -> int | None:
        return self._process.wait()


class ForkLauncher(Launcher):
    """Has processes forked by `graphspec.tune.fork_server`, which it starts with the first one."""

    def __init__(self, spec: Path, cores: int, modules: Sequence[str] = ()):
        super().__init__(cores)
        self._spec, self._modules = spec, modules
        self._server: tuple[socket.socket, subprocess.Popen[bytes]] | None = None

    def start(self, arguments: Sequence[str]) -> Child:
        pipes = [os.pipe() for _ in range(3)]
        ends = [write for _, write in pipes]
        try:
            socket.send_fds(self._connected(), [json.dumps(list(arguments)).encode()], ends)
        except BrokenPipeError:
            pass  # as if it had ended after the request: there is no news
        finally:
            for write in ends:
                os.close(write)
        output, errors, news = (os.fdopen(read, errors="replace") for read, _ in pipes)
        pid = news.readline()
        if pid:
            return ForkedChild(int(pid), output, errors, news)
        for stream in (output, errors, news):
            stream.close()
        self.close()  # the next process gets another server
        return super().start(arguments)

    def _connected(self) -> socket.socket:
        """The connection to the server."""
        if self._server is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [*PYTHON, "-c", SERVER, str(self._spec), *self._modules],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what matters there, a fresh process says again
                    env=_environment(self._cores),
                    start_new_session=True,
                )
            self._server = ours, process
        return self._server[0]

    def close(self) -> None:
        if self._server is not None:
            connection, process = self._server
            connection.close()
            process.wait()
            self._server = None


class ForkedChild(Child):
    """A process that the server has forked, which tells its exit code through `news`."""

    def __init__(self, pid: int, output: IO[str], errors: IO[str], news: IO[str]):
        super().__init__(pid, output, errors)
        self._news = news

    def wait(self) -> int | None:
        with self._news as news:
            line = news.readline()
        return int(line) if line else None
