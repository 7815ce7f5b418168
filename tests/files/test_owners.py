"""Names of processes, by which others know whether one lives: here, in a container, on another machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphspec.files import owners, whole
from graphspec.files.locks import Lock
from tests.killing import ended_owner

LATE = 2 * owners.PATIENCE


def named(process: int, started: str, place: str) -> str:
    return f"{process}-{started}-{place}-0"


def test_a_process_has_ended_where_that_is_known_and_else_after_long_silence() -> None:
    mine = owners.OWNER.fullmatch(owners.owner())
    assert mine is not None
    process, started, place = int(mine["process"]), mine["started"], mine["place"]
    cases = {
        "this one": (named(process, started, place), False, False),
        "one that ended": (ended_owner(), True, True),
        "one that had this number before": (named(process, "1", place), True, True),
        "of an unknown start": (named(process, owners.UNKNOWN, place), False, False),
        "too large a number": (named(9_999_999_999, "1", place), True, True),
        "this number elsewhere": (named(process, started, "00000000"), False, True),
        "another number elsewhere": (named(9_999_999, "1", "00000000"), False, True),
        "of an earlier version": (str(process), False, True),
        "no name": ("nobody", False, True),
    }
    found = {
        case: (owners.is_gone(name, 0.0), owners.is_gone(name, LATE)) for case, (name, *_) in cases.items()
    }
    assert found == {case: (at_once, late) for case, (_, at_once, late) in cases.items()}


def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    code = "from graphspec.files.owners import owner; print(owner(), flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.read().strip()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owners.is_gone(name, 0.0)
    process.communicate()


CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
"""A PID namespace of its own."""
WRITER = """
import sys
from pathlib import Path
from graphspec.files.whole import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text(sys.argv[2])
    print(temporary.parent.name, flush=True)
    sys.stdin.read()
"""


def writing(path: Path, text: str, *within: str) -> subprocess.Popen[str]:
    """A process that writes a file, and has half written it when this returns."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*within, sys.executable, "-c", WRITER, str(path), text], **pipes)  # type: ignore[call-overload]
    process.half = process.stdout.readline().strip()
    return process


@pytest.mark.parametrize("within", [[], CONTAINER])
def test_two_that_write_a_file_at_once_do_not_delete_what_the_other_writes(
    tmp_path: Path, within: list[str]
) -> None:
    if within and subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    path = tmp_path / "f.txt"
    first, second = writing(path, "first", *within), writing(path, "second", *within)
    assert {half.name for half in tmp_path.iterdir()} == {first.half, second.half}  # type: ignore[attr-defined]
    for process, text in ((second, "second"), (first, "first")):
        process.communicate("")
        assert process.returncode == 0 and path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.txt"]


def test_threads_do_not_delete_what_others_write(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    with whole.replacing(path) as first, whole.replacing(path) as second:
        for number, temporary in enumerate((first, second)):
            temporary.write_text(str(number))
    assert path.read_text() == "0" and [*tmp_path.iterdir()] == [path]


def test_a_file_that_must_be_new_is_that_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.txt"
    for links in (True, False):
        if not links:
            monkeypatch.setattr(os, "link", no_links)
        with pytest.raises(FileExistsError), whole.creating(path) as late:
            late.write_text("late")
            with whole.creating(path) as first:
                first.write_text("first")
        assert path.read_text() == "first"
        path.unlink()


def no_links(*_: object) -> None:
    raise OSError(1, "Operation not permitted")


def test_of_two_files_the_main_one_stays_where_the_other_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, main = tmp_path / "m.bin", tmp_path / "m.txt"
    for path in (part, main):
        path.write_text("before")

    def broken(temporary: Path, path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(whole, "put", broken)
    with pytest.raises(OSError), whole.replacing_both(part, main) as both:
        for temporary in both:
            temporary.write_text("after")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "m.bin": "before",
        "m.txt": "before",
    }


# --- locks


@pytest.mark.parametrize("kept", [True, False])
def test_one_process_has_a_lock_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Also where the file system has no locks: then by the process that the file names."""
    import fcntl

    if not kept:
        monkeypatch.setattr(fcntl, "flock", no_links_here)
    path = tmp_path / "lock"
    first, second = Lock(path), Lock(path)
    assert first.take() and first.is_kept == kept and not second.take()
    assert re.fullmatch(owners.OWNER, first.holder())
    first.release()
    assert not path.exists() and second.take()
    second.release()
    path.write_text(ended_owner())
    assert first.take()
    first.release()
    path.write_text(named(os.getpid(), "1", "00000000"))  # of another machine, a moment ago
    assert first.take() == kept
    first.release()


def no_links_here(*_: object) -> None:
    raise OSError(38, "Function not implemented")


def test_a_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "symbolic").symlink_to("notes")
    os.link(tmp_path / "notes", tmp_path / "hard")
    os.mkfifo(tmp_path / "pipe")
    for name in ("symbolic", "hard", "pipe"):
        with pytest.raises(OSError):
            Lock(tmp_path / name).take()
    assert (tmp_path / "notes").read_text() == "mine"


def test_what_a_killed_process_left_of_a_file_within_a_file_is_deleted(tmp_path: Path) -> None:
    """As of an export, which is written whole in the place where an engine is written whole."""
    file = tmp_path / "best.onnx"
    half = tmp_path / f".best.onnx.{ended_owner()}"
    inner = half / f".best.onnx.{ended_owner()}"
    inner.mkdir(parents=True)
    (inner / "best.onnx").write_text("half")
    other = tmp_path / f".best.onnx.{ended_owner()}0"
    (other / "folder").mkdir(parents=True)
    whole.sweep([file])
    assert not half.exists() and other.exists()
