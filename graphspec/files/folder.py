"""A directory that graphspec writes: what makes, replaces, appends to and deletes the files in it.

Names are relative. Neither a file nor a folder on the way to it may be a link, so that nothing outside of the
directory is written or deleted; the directory itself may be one, as its user named it.

A file appears complete or not at all: it is written under another name first, flushed to the disk, and
renamed; the directory is flushed, too, because a name is its content.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import safetensors

from graphspec.diagnostics import SpecError, fail
from graphspec.files.reading import need_no_device

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
        """What is in a folder; nothing if it is not there."""
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

    def remove_half(self, name: str) -> None:
        """Deletes what a process that was killed has left of a file that it was writing."""
        parts = parts_of(name)
        parent, half = "/".join(parts[:-1]), re.compile(rf"\.{re.escape(parts[-1])}\.[0-9]+")
        if self.holds(parent):
            with refusing(self.path / parent):
                for entry in list((self.path / parent).iterdir()):
                    if half.fullmatch(entry.name):
                        _discard(entry)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place for a file that then replaces the one at `path`; of a link it takes the place. Raises
    `OSError`, also where a pipe or a device has that name.

    It is in a folder of its own: what a library writes besides the file does not stay, however this ends.
    """
    need_no_device(path)
    with beside(path) as folder:
        temporary = folder / path.name
        yield temporary
        put(temporary, path)


def rewrite(path: Path, text: str) -> None:
    """Writes a text in place of a file: completely or not at all, with its line ends and its permissions.
    Raises `OSError`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A folder for files whose names begin with that of `path`, which is gone in the end; those that killed
    processes have left are gone first. Raises `OSError`.
    """
    for half in halves(path):
        _discard(half)
    folder = path.with_name(f".{path.name}.{os.getpid()}")
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    folder.mkdir()
    try:
        yield folder
    finally:
        _discard(folder)


def put(temporary: Path, path: Path) -> None:
    """Lets a written file replace the one at `path`, on the disk, too. Raises `OSError`."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def replacing_both(part: Path, main: Path) -> Iterator[tuple[Path, Path]]:
    """Places for two files that belong together: `main` is what users name, and is read with `part`.

    A process that is killed leaves no `main` beside a `part` that is not its own. Raises `OSError`.
    """
    with replacing(main) as new_main, replacing(part) as new_part:
        yield new_part, new_main
        sync(new_part)
        sync(new_main)
        main.unlink(missing_ok=True)


def is_half_written(path: Path) -> bool:
    """Whether a process that was killed was writing this file."""
    return any(halves(path))


def halves(path: Path) -> Iterator[Path]:
    """What killed processes have left of a file: folders as `beside` makes them, with nothing but
    that file and what begins with its name. One of a process that lives is left alone.
    """
    named = re.compile(rf"\.{re.escape(path.name)}\.([0-9]{{1,9}})")
    for entry in list(path.parent.iterdir()) if path.parent.is_dir() else ():
        match = named.fullmatch(entry.name)
        if match is None or entry.is_symlink() or not entry.is_dir():
            continue
        ours = all(inner.name.startswith(path.name) and not inner.is_dir() for inner in entry.iterdir())
        if ours and _is_gone(int(match[1])):
            yield entry


def _is_gone(process: int) -> bool:
    """Whether there is no process of this number but this one."""
    if process == os.getpid():
        return True
    if os.name != "posix":  # where a signal to ask with is one to end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _discard(folder: Path) -> None:
    """Deletes a folder with the files in it; of a link only itself."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        for entry in list(folder.iterdir()):
            entry.unlink()
        folder.rmdir()


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
    except (OSError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refused(f"`{path}` cannot be written: {reason}") from None


def refused(message: str, help: str | None = None) -> SpecError:
    """The error for a run directory that cannot be written."""
    return fail("run-directory", message, help)


def sync(path: Path) -> None:
    """Forces a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
