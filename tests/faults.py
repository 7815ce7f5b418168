"""Commands that fail at the Nth change of a file: they are killed, the disk is full, or the change fails.

`faults.c` is preloaded by the processes of `tests/processes.py`, where there is a compiler for it. In one of
them runs `main`, whose forks run a command, each with a fault of its own.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_suffix(".c")
FAULTS = {"killed": b"k", "full": b"f", "failed": b"e"}
MOST = 10_000
"""Changes that a command makes, at most."""


@cache
def library() -> Path | None:
    """The library, compiled; None where that cannot be done."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return None
    folder = Path(os.environ["GRAPHSPEC_TESTS"])
    made, temporary = folder / "faults.so", folder / f"faults.{os.getpid()}.so"
    if not made.exists():
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(temporary), str(SOURCE), "-ldl"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        temporary.rename(made)  # which another worker may have done meanwhile
    return made


def tree(folder: Path) -> dict[str, str]:
    """The files of a folder with the digests of what they hold, and its folders with none."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def ran(arguments: Sequence[str]) -> int:
    """The exit code of a command, and of a server that reads a run anew: `reload RUN`."""
    from graphspec.cli import main

    sys.argv = ["graphspec", *arguments]
    try:
        if arguments[0] == "reload":
            _reload(Path(arguments[1]))
        else:
            _later_language("--spec" in arguments)
            main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _reload(run: Path) -> None:
    """Reads a run as a server does, which keeps its export and what was compared."""
    from graphspec.cli.printing import reporting
    from graphspec.serve.options import ServeOptions
    from graphspec.serve.served import Served

    with reporting():
        Served("run", run, ServeOptions([run], engine="onnxruntime", device="cpu")).reloaded()


def _later_language(is_later: bool) -> None:
    """A language whose next version has another word for `title`."""
    from graphspec.language import versions

    if is_later:
        vars(versions)["LANGUAGE"] = 2
        vars(versions)["CHANGES"] = {1: (versions.renamed("title", new="name"),)}


def forked(run: Callable[[], int], place: Path, fault: str = "", moment: int = 0) -> tuple[int, str, int]:
    """The exit code of a fork in a folder, what it says, and how many changes it made there; at the
    `moment`th comes the fault.
    """
    said, counted = place.with_name("said"), place.with_name("counted")
    counted.write_text(str(moment))
    child = os.fork()
    if not child:
        code = 99
        try:
            for number in (1, 2):
                os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)
            os.chdir(place)
            changes = ctypes.CDLL(None)
            how = ctypes.c_char(FAULTS.get(fault, b"-"))
            changes.faults_arm(os.fsencode(place), how, ctypes.c_long(moment))
            code = run()
            sys.stdout.flush()
            counted.write_text(str(changes.faults_seen()))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said.read_text("utf-8", "replace"), int(counted.read_text())


def survey(command: Sequence[str], again: Sequence[str], begin: Path, fault: str, step: int) -> Any:
    """What a command comes to with a fault at each `step`th change: its exit code, what it says, and what it
    leaves; then the same of `again`, without a fault.
    """
    place = begin.with_name("place")

    def begun() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(begin, place)

    def run(arguments: Sequence[str], *how: Any) -> tuple[int, str, int]:
        return forked(lambda: ran(arguments), place, *how)

    begun()
    os.chdir(place)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        ran(command)  # what it imports and keeps is there for all forks
    begun()
    whole = [*run(command), tree(place)]
    found = []
    for moment in range(1, MOST, step):
        begun()
        code, said, changes = run(command, fault, moment)
        if changes < moment:
            break
        left = tree(place)
        code_again, said_again, _ = run(again)
        found.append([moment, code, said, left, code_again, said_again, tree(place)])
    return [tree(begin), whole, found]


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command, again, begin, fault, step = json.loads(sys.argv[-1])
    print(json.dumps(survey(command, again, Path(begin), fault, step)))
