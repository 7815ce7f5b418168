"""A directory that graphspec writes: what makes, replaces, appends to and deletes the files in it.

Names are relative. Neither a file nor a folder on the way to it may be a link, so that nothing outside of the
directory is written or deleted; the directory itself may be one, as its user named it. Files are written
whole (whole.py).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from graphspec.diagnostics import SpecError, fail
from graphspec.files.locks import NAME, Lock
from graphspec.files.whole import discard, left_in, replacing

LINKED = "remove it; to keep runs elsewhere, give another directory: `--run-dir DIR`"


class Folder:
    """The directory at `path`. Everything here raises `SpecError` (run-directory)."""

    def __init__(self, path: Path):
        self.path = path

    def file(self, name: str) -> Path:
        """The path of a file, which need not be there; the folders on the way are made."""
        parts = parts_of(name)
        if not parts:
            raise refused(f"`{name}` names no file")
        parent = self.folder("/".join(parts[:-1]))
        path = parent / parts[-1]
        _need(path, stat.S_ISREG, "file")
        return path

    def folder(self, name: str) -> Path:
        """The path of a folder, which is made if it is not there."""
        path = self.path
        with refusing(path):
            path.mkdir(parents=True, exist_ok=True)
        for part in parts_of(name):
            path = path / part
            if not _need(path, stat.S_ISDIR, "folder"):
                with refusing(path):
                    path.mkdir(exist_ok=True)
        return path

    def holds(self, name: str) -> bool:
        """Whether a file or a folder of this name is there, with no link on the way to it."""
        path = self.path
        for part in parts_of(name):
            path = path / part
            mode = _mode(path)
            if mode is None:
                return False
            _need(path, lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode), "file or folder")
        return True

    def listed(self, name: str) -> list[Path]:
        """The files of a folder; none if it does not exist."""
        path = self.path / name
        if not (self.holds(name) and _need(path, stat.S_ISDIR, "folder")):
            return []
        with refusing(path):
            return list(path.iterdir())

    def write(self, name: str, write: Callable[[Path], Any]) -> None:
        """Lets `write` write a file that then has this name."""
        path = self.file(name)
        with refusing(path), replacing(path) as temporary:
            write(temporary)

    def text(self, name: str, content: str) -> None:
        """Writes a text file."""
        self.write(name, lambda temporary: temporary.write_text(content, encoding="utf-8"))

    @contextmanager
    def appending(self, name: str) -> Iterator[TextIO]:
        """The end of a text file, which is visible to readers at once."""
        path = self.file(name)
        with refusing(path):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with open(
                path, "a", encoding="utf-8", newline="", opener=lambda p, _: os.open(p, flags, 0o666)
            ) as s:
                if os.fstat(s.fileno()).st_nlink > 1:  # it is a file elsewhere, too
                    raise refused(
                        f"`{path}` has another name, and what is appended would be there, too", LINKED
                    )
                yield s

    @contextmanager
    def alone(self, name: str = NAME) -> Iterator[None]:
        """Where no other process does the same, with a file of this name as the lock."""
        lock = Lock(self.path / name)
        with refusing(lock.path):
            lock.take(wait=True)
        try:
            yield
        finally:
            lock.release()

    def remove(self, name: str) -> None:
        """Deletes a file, if it is there, and the folders that have held it and nothing else."""
        if not self.holds(name):
            return
        path = self.path / name
        with refusing(path):
            path.unlink()
            for parent in list(path.parents)[: len(parts_of(name)) - 1]:
                if any(parent.iterdir()):
                    break
                parent.rmdir()

    def remove_folder(self, name: str, ours: re.Pattern[str]) -> None:
        """Deletes the files of a folder whose names match `ours`, and the folder if it is empty then."""
        if not self.holds(name):
            return
        path, entries = self.path / name, self.listed(name)
        with refusing(path):
            for entry in entries:
                if ours.fullmatch(entry.name) and not entry.is_dir():
                    entry.unlink()
            if not any(path.iterdir()):
                path.rmdir()

    def remove_halves(self, name: str, named: Callable[[str], object], alone: bool = False) -> None:
        """Deletes what processes that have ended left in a folder of files that are `named` so, and of
        folders that hold only files; what all processes left, if this one is `alone` there.
        """
        if self.holds(name):
            with refusing(self.path / name):
                for half in left_in(self.path / name, named, alone):
                    discard(half)


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a relative name."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or parts[:1] == ("/",) or ":" in "".join(parts[:1]):
        raise refused(f"`{name}` leads out of the directory")
    return parts


def _mode(path: Path) -> int | None:
    """The mode of what is at a path, of a link its own; None if nothing is there."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(f"`{path}` cannot be read: {error.strerror}") from None


def _need(path: Path, fits: Callable[[int], bool], kind: str) -> bool:
    """Whether something is there. Raises where it is another thing than a `kind`."""
    mode = _mode(path)
    if mode is None:
        return False
    if stat.S_ISLNK(mode):
        raise refused(f"`{path}` is a link, and nothing is written or deleted through it", LINKED)
    if not fits(mode):
        raise refused(f"`{path}` is not a {kind}, as it has to be here", "remove it")
    return True


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns a failure to write `path` into a diagnostic."""
    try:
        yield
    except OSError as error:
        raise refused(f"`{path}` cannot be written: {error.strerror or error}") from None


def refused(message: str, help: str | None = None) -> SpecError:
    """The error for a run directory that cannot be written."""
    return fail("run-directory", message, help)
