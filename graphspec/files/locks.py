"""Locks between processes, also of several containers or machines that share a folder."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from graphspec.files.owners import is_gone, owner, silence

NAME = ".graphspec.lock"
"""The name of the lock of a folder."""
SHORT = 200
"""Bytes of the name of an owner, at most."""
POLL = 0.05
"""Seconds between two looks at a lock that the file system does not keep."""


class Lock:
    """A file that one process at a time has. The file system ends the lock with the process, however that
    ends; the file holds the name of the process. Raises `OSError`.

    Where the file system has no locks, the process that the file names has it for as long as it lives.
    """

    def __init__(self, path: Path):
        self.path, self.owner = path, ""
        self._file: int | None = None

    def take(self, wait: bool = False) -> bool:
        """Whether this process has the lock now; it can `wait` for that."""
        while not self.owner:
            descriptor = self._opened()
            kept, holder = _locked(descriptor, wait), self.holder()
            if kept is False:
                os.close(descriptor)
                return False
            if kept is None and holder and not is_gone(holder, silence(self.path.parent)):
                os.close(descriptor)
                if not wait:
                    return False
                time.sleep(POLL)
            elif not self._is(descriptor):  # who had it deleted the file
                os.close(descriptor)
            else:
                self._note(descriptor, kept is not None)
        return True

    @property
    def is_kept(self) -> bool:
        """Whether the file system keeps it: no other process can have it."""
        return self._file is not None

    def holder(self) -> str:
        """The name of the process that has the lock; "" where the file tells none."""
        with suppress(OSError, UnicodeDecodeError), self.path.open("rb") as stream:
            return stream.read(SHORT).decode()
        return ""

    def release(self) -> None:
        """Lets others have it, and deletes the file."""
        if self.owner:
            with suppress(OSError):
                self.path.unlink()
        if self._file is not None:
            os.close(self._file)
        self.owner, self._file = "", None

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.path, flags, 0o666)
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:  # what is written would be elsewhere, too
            os.close(descriptor)
            raise OSError(errno.EMLINK, "this is not a file, or has another name", str(self.path))
        return descriptor

    def _is(self, descriptor: int) -> bool:
        """Whether a descriptor is that of the file."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _note(self, descriptor: int, kept: bool) -> None:
        name = owner()
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, name.encode())
        except OSError:
            os.close(descriptor)
            raise
        self.owner = name
        if kept:
            self._file = descriptor
        else:
            os.close(descriptor)


def _locked(descriptor: int, wait: bool) -> bool | None:
    """Whether a file is this process' now; None where the file system, or the system, has no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (ImportError, OSError):
        return None
    return True
