"""How files are opened that others have named: only regular ones. A pipe may wait for ever, a device have no
end.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

LARGEST = 2**26
"""How long a text may be that is read as a whole, in bytes."""


def opened(path: Path) -> BufferedReader:
    """A file to read. Raises `OSError`, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _need(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def content(path: Path, most: int = LARGEST) -> bytes:
    """The bytes of a file. Raises `OSError`, also where there are more than `most`."""
    with opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(most + 1) if size <= most else b""
        if max(size, len(data)) > most:
            raise OSError(
                errno.EFBIG, f"it has {size:,} bytes, more than the {most:,} that are read", str(path)
            )
        return data


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises `OSError`, `UnicodeDecodeError`."""
    return content(path).decode("utf-8")


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises `ValueError`, for too deep nesting, too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_within(path: Path, root: Path) -> bool:
    """Whether a path lies in a directory once links are followed; one to itself lies where it is."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    except ValueError:  # a name that holds a NUL is that of no file
        return False


def need_regular(path: Path) -> Path:
    """The path, for a library that opens it itself. Raises `OSError` where it is no regular file."""
    _need(path.stat().st_mode, path)
    return path


def need_no_device(path: Path) -> None:
    """Raises `OSError` for the name of a pipe or a device, or of a link to one: a file that takes its place
    would be in the way of all who use it. A path without a name is a directory.
    """
    if not path.name:
        _need(stat.S_IFDIR, path)
    if os.path.exists(path) and not os.path.isdir(path):
        need_regular(path)
    if path.is_symlink() and path.absolute().is_relative_to("/dev"):  # such as /dev/stdout
        _need(stat.S_IFCHR, path)


def _need(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with open(need_regular(path), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
