"""Encoded examples as they are collected: in memory while they fit, else in temporary files.

Files are flat, an array each, and have no name: nothing is left however the process ends. They are
read in ranges of rows.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graphspec.data.ragged import Ragged
from graphspec.diagnostics import fail

Array = NDArray[Any]
Name = tuple[str, str]
"""A group (`arrays`, `weights` or `masks`) and a name in it."""
DIGESTED = {"masks": "counted"}
"""Groups that have another word in digests: checkpoints hold these, and go on only with equal ones."""
BLOCK = 8 * 2**20
"""Bytes that are copied at a time."""
SPARED = 2**28
"""Bytes of a disk that stay free."""
_reading = threading.Lock()
"""Held from where a thread seeks a place in a file until it has read there."""


class RowsInFiles(Protocol):
    """Rows in files, of one shape or `ragged`: `length` of them, of about `row` bytes."""

    ragged: bool
    length: int

    @property
    def row(self) -> int: ...

    def read(self, ranges: Sequence[tuple[int, int]]) -> Any:
        """The rows of ranges (start and stop), in sequence: an array, or `Ragged`."""
        ...


class InFiles(ABC):
    """An array in files, rows along the first axis."""

    ragged = False

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...]):
        """`shape` is that of a row."""
        self.dtype, self.shape = dtype, shape
        self.row = dtype.itemsize * math.prod(shape)
        """Bytes of a row."""
        self.length = 0

    @abstractmethod
    def at(self, row: int) -> tuple[RawIOBase, int, int]:
        """The file that holds a row, the byte at which it begins, and how many rows it has from there."""

    def read(self, ranges: Sequence[tuple[int, int]]) -> Array:
        """The rows of ranges (start and stop), in sequence."""
        data = np.empty((sum(stop - start for start, stop in ranges), *self.shape), self.dtype)
        view = data.data.cast("B") if data.size else memoryview(b"")
        for start, stop in ranges:
            while start < stop:
                file, place, count = self.at(start)
                count = min(count, stop - start)
                read_at(file, place, view[: count * self.row])
                view, start = view[count * self.row :], start + count
        return data

    def blocks(self) -> Iterator[Array]:
        """All rows, some at a time."""
        step = max(1, BLOCK // max(1, self.row))
        for start in range(0, self.length, step):
            yield self.read([(start, min(start + step, self.length))])


def read_at(file: RawIOBase, place: int, view: memoryview) -> None:
    """Fills a view with what is at a place of a file. Threads may read one file together."""
    with _reading:
        file.seek(place)
        while view:
            count = file.readinto(view)
            if not count:
                raise OSError(errno.EIO, "a temporary file of encoded examples is truncated")
            view = view[count:]


def write_out(file: RawIOBase, view: memoryview) -> None:
    """Writes all of a view."""
    while view:
        view = view[file.write(view) :]


def bytes_of(array: Array) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")


class Filed(InFiles):
    """An array in one file, to which rows are added."""

    def __init__(self, like: Array, folder: Path):
        super().__init__(like.dtype, like.shape[1:])
        self._file = tempfile.TemporaryFile(dir=folder, prefix="graphspec-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def append(self, array: Array) -> None:
        write_out(self._file, bytes_of(array))
        self.length += len(array)

    def at(self, row: int) -> tuple[RawIOBase, int, int]:
        return self._file, row * self.row, self.length - row

    def scatter(self, array: Array, places: NDArray[Any], count: int) -> None:
        """Writes rows at `places` of the file, which has `count` rows in all."""
        self._file.truncate(max(1, self.row * count))
        np.memmap(self._file, self.dtype, "r+", 0, (count, *self.shape))[places] = array
        self.length = count


class FiledRows:
    """Rows of different lengths: their elements in a file, where each begins in memory."""

    ragged = True

    def __init__(self, values: InFiles):
        self.values = values
        self.parts: list[Array] = [np.zeros(1, np.int64)]
        self.length = 0

    @property
    def row(self) -> int:
        """About how many bytes a row has."""
        return self.values.length * self.values.row // max(1, self.length)

    def append(self, ragged: Ragged) -> None:
        assert isinstance(self.values, Filed)
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


class MemoryOrDisk:
    """Where the arrays of a store are: in memory while the budget lasts, then in files."""

    def __init__(self, budget: Budget):
        self.budget, self.size, self.filed = budget, 0, False

    def add(self, size: int) -> bool:
        """Whether all are in files once so many bytes are added."""
        if not self.filed and not self.budget.take(size):
            self.filed = True
            self.budget.left += self.size
        self.size += size
        return self.filed


class Store:
    """Arrays by name, to which rows are added; where the budget is spent, they go to files."""

    def __init__(self, budget: Budget):
        self.room, self.length = MemoryOrDisk(budget), 0
        self.parts: dict[Name, list[Array | Ragged]] = {}
        self.files: dict[Name, Any] = {}  # a `Filed`, or `FiledRows`
        self._digests: dict[Name, Any] = {}
        self._folder = folder()

    @property
    def filed(self) -> bool:
        """Whether the arrays are in files."""
        return self.room.filed

    @property
    def size(self) -> int:
        """The bytes of all arrays."""
        return self.room.size

    def add(self, arrays: Mapping[Name, Array | Ragged], count: int) -> None:
        """More rows: `count` of every array, always of the same ones."""
        self.length += count
        size = sum(array.nbytes for array in arrays.values())
        for name, array in arrays.items():
            values = array.values if isinstance(array, Ragged) else array
            if name not in self._digests:
                known = DIGESTED.get(name[0], name[0]), name[1]
                about = f"{known} {values.dtype.str} {values.shape[1:]}"
                self._digests[name] = hashlib.blake2b(about.encode(), digest_size=16)
            self._digests[name].update(np.ascontiguousarray(values).data)
            if isinstance(array, Ragged):
                lengths = name[0], f"lengths of {name[1]}"
                self._digests.setdefault(lengths, hashlib.blake2b(digest_size=16)).update(array.lengths.data)
        if self.room.add(size):
            self._file(arrays)
        else:
            for name, array in arrays.items():
                self.parts.setdefault(name, []).append(array)

    def _file(self, arrays: Mapping[Name, Array | Ragged]) -> None:
        needed = sum(array.nbytes for array in arrays.values()) if self.files else self.size
        with on_disk(self._folder, needed):
            if not self.files:
                self.files = {name: _filed(array, self._folder) for name, array in arrays.items()}
                for name, parts in self.parts.items():
                    for part in parts:
                        self.files[name].append(part)
                self.parts.clear()
            for name, array in arrays.items():
                self.files[name].append(array)

    def group(self, name: str) -> dict[str, Any]:
        """The whole arrays of a group; their parts are given up. They must be in memory."""
        arrays: dict[str, Any] = {}
        for key in [key for key in self.parts if key[0] == name]:
            parts: list[Any] = self.parts.pop(key)
            joined = Ragged.joined if isinstance(parts[0], Ragged) else np.concatenate
            arrays[key[1]] = parts[0] if len(parts) == 1 else joined(parts)
        return arrays

    def whole(self, group: str, name: str) -> Any:
        """An array, or its file; None where there is no such."""
        return self.files.get((group, name)) if self.filed else self.group(group).get(name)

    @property
    def digest(self) -> str:
        """A digest of all added arrays: of equal ones it is equal, however they were cut."""
        hasher = hashlib.blake2b(str(self.length).encode(), digest_size=16)
        for name in sorted(self._digests):
            hasher.update(self._digests[name].digest())
        return hasher.hexdigest()


@contextmanager
def on_disk(folder: Path, needed: int = 0, what: str = "data that do not fit in memory go") -> Iterator[None]:
    """Turns errors of writing temporary files to a folder into `SpecError`; `needed` bytes must be free."""
    try:
        if needed and shutil.disk_usage(folder).free < needed + SPARED:
            raise OSError(errno.ENOSPC, "the disk is full")
        yield
    except OSError as error:
        message = f"{what} to `{folder}`, which cannot be written: {error.strerror or error}"
        raise fail("data-space", message, "name another directory in the variable TMPDIR") from None


def _filed(like: Array | Ragged, folder: Path) -> Filed | FiledRows:
    return FiledRows(Filed(like.values, folder)) if isinstance(like, Ragged) else Filed(like, folder)


def folder() -> Path:
    """Where temporary files go: what TMPDIR says, else /var/tmp, as /tmp is often kept in memory."""
    disk = Path("/var/tmp")
    if not os.environ.get("TMPDIR") and os.access(disk, os.W_OK):
        return disk
    return Path(tempfile.gettempdir())
