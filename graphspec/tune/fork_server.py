"""A process that has imported what a training needs, and forks itself for each command it is asked to run: a
short trial takes 1.7 s of processor time, with an interpreter of its own 4.2 s.

`python -P -c "from graphspec.tune.fork_server import main; main()" SPEC MODULE...` takes requests from
standard input, a Unix socket that keeps messages apart. A request is a JSON list, the arguments of `python`
(`-m module ...` or `file ...`), and comes with three open files: standard output, standard error, and a pipe
for the news of the process. The server writes two lines into that pipe: the process id, and at the end the
exit code, negative for a signal. It exits when the socket is closed, and then tells the processes that still
run to stop.

Nothing that it imports initializes CUDA or starts a thread that a fork would lose: a forked process could use
neither. So its environment gives it one thread, and each training chooses its own number.

The server of `multiprocessing` would do with a fifth of this, and does not do what a search promises:

- Where the search is killed, that server ends, and the processes that it has forked go on; here they are told
  to stop.
- Its processes are in the group of the search: a signal to the processes of one trial reaches the others.
- It imports the main module of the caller again, in each process: a search in a script without
  `if __name__ == "__main__"` would begin again.
- It is one for the whole process, takes the environment of that, with its number of threads, and has no files
  for the output of each process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

LARGEST = 1 << 20
"""The largest request, in bytes."""


def main() -> None:
    """Serves; in a forked process, runs the command, whose end is then that of the interpreter."""
    with contextlib.suppress(ImportError):  # the command will miss the package, too, and say so
        preload(Path(sys.argv[1]), sys.argv[2:])
    with socket.socket(fileno=os.dup(0)) as connection:
        arguments = _serve(connection)
    if arguments is None:
        return
    sys.argv = [word for place, word in enumerate(arguments) if place or word != "-m"]
    if arguments[0] == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def preload(spec: Path, modules: Sequence[str]) -> None:
    """Imports what training needs, and the `modules` of its command; compiles `spec`: classes of layers are
    made when they are named.
    """
    import graphspec.train.loop  # noqa: F401
    from graphspec import compiler
    from graphspec.diagnostics import Diagnostics, SpecError

    for module in modules:
        import_module(module)
    with contextlib.suppress(SpecError):  # each command reports it
        program = compiler.check(spec, Diagnostics(), {})
        if program is not None:
            program.source  # noqa: B018 - for what emission imports and keeps
    gc.freeze()  # collections in forked processes pass over these objects, so that their memory stays shared


def _serve(connection: socket.socket) -> list[str] | None:
    """Forks a process for each request. Returns its arguments there, and None once the socket is closed."""
    running: dict[int, int] = {}
    """The pipe for the news of each process."""
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    waited: list[Any] = [connection, woken]
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select(waited, [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(running)
        if connection not in ready:
            continue
        request, files, _, _ = socket.recv_fds(connection, LARGEST, 3)
        if not request:
            _stop(running)
            return None
        child = os.fork()
        if child == 0:
            _become_command(files, [woken, waker, *running.values()])
            return list(json.loads(request))
        with contextlib.suppress(PermissionError, ProcessLookupError):  # the process was faster
            os.setpgid(child, child)
        output, errors, news = files
        os.close(output)
        os.close(errors)
        running[child] = news
        _tell(news, child)


def _become_command(files: list[int], others: list[int]) -> None:
    """In a forked process: closes the files of the server, and takes its own as the standard ones."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for standard, given in enumerate((nothing, *files[:2])):
        os.dup2(given, standard)
    for file in (nothing, *files, *others):
        os.close(file)
    sys.stdout, sys.stderr = _reopened(sys.stdout, 1), _reopened(sys.stderr, 2)


def _reopened(stream: TextIO, number: int) -> TextIO:
    """A stream like `stream`, of a file that has taken the number of its own: what `stream` knows, such as
    that it can be rewound, is true of the old file alone.
    """
    assert isinstance(stream, io.TextIOWrapper)
    unbuffered = stream.write_through
    return io.TextIOWrapper(
        open(number, "wb", buffering=0 if unbuffered else -1, closefd=False),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )


def _reap(running: dict[int, int]) -> None:
    """Tells the exit codes of the processes that have ended."""
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        news = running.pop(child)
        _tell(news, os.waitstatus_to_exitcode(status))
        os.close(news)


def _stop(running: dict[int, int]) -> None:
    for child in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGTERM)


def _tell(news: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked has gone: the socket is closed, too
        os.write(news, b"%d\n" % number)
