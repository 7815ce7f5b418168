"""Encoded examples as they are collected: in memory while they fit, else in temporary files.

Files are flat, an array each, and have no name: nothing is left behind however the process ends. They are
read in ranges of rows.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.mistakes import fail
from graphspec.data.ragged import Ragged

Array = NDArray[Any]
Name = tuple[str, str]
"""A group (`arrays`, `weights` or `counted`) and a name in it."""
SPARED = 2**28
"""Bytes of a disk that stay free."""


class Filed:
    """An array in a file, rows along the first axis."""

    def __init__(self, like: Array, folder: Path):
        self.dtype, self.shape = like.dtype, like.shape[1:]
        self.row = like[:1].nbytes
        self.length = 0
        self._file = tempfile.TemporaryFile(dir=folder, prefix="graphspec-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def append(self, array: Array) -> None:
        view = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
        while view:
            view = view[self._file.write(view) :]
        self.length += len(array)

    def read(self, ranges: Sequence[tuple[int, int]]) -> Array:
        """The rows of ranges (start and stop), in sequence."""
        data = np.empty((sum(stop - start for start, stop in ranges), *self.shape), self.dtype)
        view = data.data.cast("B") if data.size else memoryview(b"")
        for start, stop in ranges:
            left = (stop - start) * self.row
            self._file.seek(start * self.row)
            while left:
                count = self._file.readinto(view[:left])
                if not count:
                    raise OSError(errno.EIO, "a temporary file of encoded examples is cut off")
                view, left = view[count:], left - count
        return data


class FiledRows:
    """Rows of different lengths: their elements in a file, where each begins in memory."""

    def __init__(self, like: Ragged, folder: Path):
        self.values = Filed(like.values, folder)
        self.parts: list[Array] = [np.zeros(1, np.int64)]
        self.length = 0

    @property
    def row(self) -> int:
        """About how many bytes a row has."""
        return self.values.length * self.values.row // max(1, self.length)

    def append(self, ragged: Ragged) -> None:
        self.parts.append(ragged.offsets[1:] + self.values.length)
        self.values.append(ragged.values)
        self.length += len(ragged)

    def read(self, ranges: Sequence[tuple[int, int]]) -> Ragged:
        """The rows of ranges (start and stop), in sequence."""
        if len(self.parts) > 1:
            self.parts = [np.concatenate(self.parts)]
        offsets = self.parts[0]
        values = self.values.read([(int(offsets[start]), int(offsets[stop])) for start, stop in ranges])
        lengths = [np.diff(offsets[start : stop + 1]) for start, stop in ranges]
        return Ragged(values, np.concatenate(([0], np.cumsum(np.concatenate(lengths)))))


class Budget:
    """Memory that several stores share, in bytes."""

    def __init__(self, left: int):
        self.left = left

    def take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True


class Store:
    """Arrays by name, to which rows are added; where the budget is spent, they go to files."""

    def __init__(self, budget: Budget):
        self.budget, self.size, self.length = budget, 0, 0
        self.parts: dict[Name, list[Array | Ragged]] = {}
        self.files: dict[Name, Any] = {}  # a `Filed`, or `FiledRows`
        self._digests: dict[Name, Any] = {}
        self._folder = folder()

    @property
    def filed(self) -> bool:
        """Whether the arrays are in files."""
        return bool(self.files)

    def add(self, arrays: Mapping[Name, Array | Ragged], count: int) -> None:
        """More rows: `count` of every array, always of the same ones."""
        self.length += count
        size = sum(array.nbytes for array in arrays.values())
        for name, array in arrays.items():
            values = array.values if isinstance(array, Ragged) else array
            if name not in self._digests:
                text = f"{name} {values.dtype.str} {values.shape[1:]}"
                self._digests[name] = hashlib.blake2b(text.encode(), digest_size=16)
            self._digests[name].update(np.ascontiguousarray(values).data)
            if isinstance(array, Ragged):
                lengths = (name[0], f"lengths of {name[1]}")
                self._digests.setdefault(lengths, hashlib.blake2b(digest_size=16)).update(array.lengths.data)
        if not self.files and self.budget.take(size):
            for name, array in arrays.items():
                self.parts.setdefault(name, []).append(array)
        else:
            self._file(arrays)
        self.size += size

    def _file(self, arrays: Mapping[Name, Array | Ragged]) -> None:
        needed = sum(array.nbytes for array in arrays.values()) + (0 if self.files else self.size)
        try:
            if shutil.disk_usage(self._folder).free < needed + SPARED:
                raise OSError(errno.ENOSPC, "the disk is full")
            if not self.files:
                self.files = {name: _filed(array, self._folder) for name, array in arrays.items()}
                for name, parts in self.parts.items():
                    for part in parts:
                        self.files[name].append(part)
                self.parts.clear()
                self.budget.left += self.size
            for name, array in arrays.items():
                self.files[name].append(array)
        except OSError as error:
            reason = error.strerror or error
            message = (
                f"data that do not fit in memory go to `{self._folder}`, which cannot be written: {reason}"
            )
            raise fail("data-space", message, "name another directory in the variable TMPDIR") from None

    def group(self, name: str) -> dict[str, Any]:
        """The whole arrays of a group; their parts are given up. They must be in memory."""
        found: dict[str, Any] = {}
        for key in [key for key in self.parts if key[0] == name]:
            parts: list[Any] = self.parts.pop(key)
            joined = Ragged.joined if isinstance(parts[0], Ragged) else np.concatenate
            found[key[1]] = parts[0] if len(parts) == 1 else joined(parts)
        return found

    @property
    def digest(self) -> str:
        """What was added: of equal arrays it is equal, however they were cut."""
        whole = hashlib.blake2b(str(self.length).encode(), digest_size=16)
        for name in sorted(self._digests):
            whole.update(self._digests[name].digest())
        return whole.hexdigest()


def _filed(like: Array | Ragged, folder: Path) -> Filed | FiledRows:
    return FiledRows(like, folder) if isinstance(like, Ragged) else Filed(like, folder)


def folder() -> Path:
    """Where temporary files go: what TMPDIR says, else /var/tmp, as /tmp is often kept in memory."""
    disk = Path("/var/tmp")
    if not os.environ.get("TMPDIR") and os.access(disk, os.W_OK):
        return disk
    return Path(tempfile.gettempdir())
