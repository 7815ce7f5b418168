"""How files are opened that others have named: only regular ones. A pipe may wait for ever, a device have no
end.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

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
        found = stream.read(most + 1)
        if len(found) > most:
            size = os.fstat(stream.fileno()).st_size
            raise OSError(
                errno.EFBIG, f"it has {size:,} bytes, more than the {most:,} that are read", str(path)
            )
        return found


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises `OSError`, `UnicodeDecodeError`."""
    return content(path).decode("utf-8")


def need_regular(path: Path) -> Path:
    """The path, for a library that opens it itself. Raises `OSError` where it is no regular file."""
    _need(path.stat().st_mode, path)
    return path


def _need(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and only files are read", str(path))
