"""Files that appear complete or not at all: each is written in a folder beside its place, flushed to the
disk, and renamed; the directory is flushed, too, because a name is its content.

The folder is named `.FILE.OWNER`. What a process that has ended left in one is deleted by the next command
that writes the file, or looks at it to write it (`sweep`); what one that lives is writing is left alone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphspec.files.owners import OWNER, is_gone, owner, silence
from graphspec.files.reading import need_no_device

HALF = re.compile(rf"\.(?P<file>.+)\.(?P<owner>{OWNER.pattern})", re.DOTALL)
"""The names of folders with files that are being written."""
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EACCES}
"""How file systems without hard links refuse one."""


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


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """The same for a file that must not be there yet. Raises `FileExistsError`, also where another process
    was faster.
    """
    _need_nothing(path)
    with beside(path) as folder:
        temporary = folder / path.name
        yield temporary
        sync(temporary)
        try:
            os.link(temporary, path)
        except OSError as error:
            _need_nothing(path)
            if error.errno not in NO_LINKS:
                raise
            temporary.rename(path)
        sync(path.parent)


def _need_nothing(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def rewrite(path: Path, text: str) -> None:
    """Writes a text in place of a file: completely or not at all, with its line ends and its permissions.
    Raises `OSError`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
        temporary.chmod(stat.S_IMODE(path.stat().st_mode))


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A folder for files whose names begin with that of `path`, which is gone in the end; those that ended
    processes have left are gone first. Raises `OSError`.
    """
    sweep([path])
    while True:
        folder = half_of(path)
        try:
            folder.mkdir()
            break
        except FileExistsError:  # planted, or of a process of the same name
            continue
    try:
        yield folder
    finally:
        discard(folder)


def put(temporary: Path, path: Path) -> None:
    """Lets a written file replace the one at `path`, on the disk, too. Raises `OSError`."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def replacing_both(part: Path, main: Path) -> Iterator[tuple[Path, Path]]:
    """Places for two files that belong together: `main` is what users name, and is read with `part`.

    However this ends, no `main` is beside a `part` that is not its own. Raises `OSError`.
    """
    for path in (main, part):
        need_no_device(path)
    with beside(main) as folder, beside(part) as part_folder:
        new_part, new_main, before = part_folder / part.name, folder / main.name, folder / f"{main.name}.old"
        yield new_part, new_main
        sync(new_part)
        sync(new_main)
        if os.path.lexists(main):
            main.rename(before)
        try:
            put(new_part, part)
        except OSError:
            if new_part.exists() and os.path.lexists(before):
                before.rename(main)
            raise
        put(new_main, main)


def half_of(path: Path) -> Path:
    """A folder for what is to be at `path`, which no other process and no other thread has."""
    return path.with_name(f".{path.name}.{owner()}")


def is_half_written(path: Path) -> bool:
    """Whether a process that has ended was writing this file."""
    return any(halves(path))


def halves(path: Path) -> Iterator[Path]:
    """The remains of a file that processes which have ended left: folders as `beside` makes them."""
    yield from filter(_is_ours, left_in(path.parent, path.name.__eq__))


def sweep(paths: Iterable[Path]) -> None:
    """Deletes what processes that have ended left of files."""
    names: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        names[path.parent].add(path.name)
    for parent, wanted in names.items():
        with suppress(OSError):  # it is in nobody's way
            for folder in filter(_is_ours, left_in(parent, wanted.__contains__)):
                discard(folder)


def left_in(parent: Path, named: Callable[[str], object], alone: bool = False) -> list[Path]:
    """The folders that processes which have ended left in a directory, of files or folders that are `named`
    so; those of all processes, if this one is `alone` there.
    """
    if not parent.is_dir():
        return []
    with os.scandir(parent) as entries:
        found = [
            parent / entry.name
            for entry in entries
            if (match := HALF.fullmatch(entry.name)) is not None
            and named(match["file"])
            and entry.is_dir(follow_symlinks=False)
        ]
    return [folder for folder in found if alone or is_gone(_half(folder)["owner"], silence(folder))]


def discard(folder: Path) -> None:
    """Deletes a folder with the files in it, as far as that can be done: what stays is deleted by the next
    command that sweeps.
    """
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            if HALF.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                discard(entry)  # a file that was written while writing this one
            else:
                entry.unlink()
        folder.rmdir()


def _half(folder: Path) -> re.Match[str]:
    match = HALF.fullmatch(folder.name)
    assert match is not None
    return match


def _is_ours(folder: Path) -> bool:
    """Whether a folder with such a name holds nothing but files, and folders of the same kind, as of what was
    writing a file in it; where the name is one of earlier versions, which others might give to theirs, but
    files whose names begin with that of the file.
    """
    half = HALF.fullmatch(folder.name)
    if half is None:
        return False
    start = "" if half["place"] else half["file"]
    with suppress(OSError), os.scandir(folder) as entries:
        return all(
            _is_ours(folder / e.name) if e.is_dir(follow_symlinks=False) else e.name.startswith(start)
            for e in entries
        )
    return False


def sync(path: Path) -> None:
    """Forces a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
