"""Data that one process of a machine reads, and all have: its arrays lie in a file that all of them map.

The file loses its name before anything is written to it: no examples are left however a process ends.
The others wait in an exchange with the one that reads, which ends when that one does, however long it reads.
"""

from __future__ import annotations

import math
import os
import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from io import BytesIO, FileIO, RawIOBase
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch

from graphspec.data.memory import limit
from graphspec.data.store import Array, InFiles, bytes_of, folder, on_disk, read_at, write_out
from graphspec.diagnostics import SpecError

T = TypeVar("T")
V = TypeVar("V")
WHAT = "data that processes share go"
PAGE = 4096
"""Bytes from which an array is written apart; smaller ones are written with what holds them."""
ALIGNED = 64
"""Arrays begin at a multiple of so many bytes."""


class Processes(Protocol):
    """Those of one machine: this one is `rank` of `size`, counted from 0."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def gather(self, value: V) -> list[V]:
        """The value of each process, in order of rank. All call this, and wait for one another."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """A process that has its machine for itself."""

    rank: int = 0
    size: int = 1

    def gather(self, value: V) -> list[V]:
        return [value]


ALONE = Alone()


def read_once(processes: Processes, read: Callable[[], T]) -> T:
    """The result of `read` in the first process, for all: equal values, whose arrays are memory that they
    share until one of them writes to its own. All processes call this.

    Raises in all the `SpecError` of `read`, and data-space where the file cannot be written.
    """
    if processes.size == 1:
        return read()
    file = _nameless(processes)
    value: T = _SharedReader(of_first(processes, lambda: _written(read(), file)), file).load()
    return value


def of_first(processes: Processes, call: Callable[[], T]) -> T:
    """The result of a call in the first process, or its `SpecError`, in all."""
    return agreed(processes, lambda: call() if processes.rank == 0 else None)[0]  # type: ignore[return-value]


def agreed(processes: Processes, call: Callable[[], T]) -> list[T]:
    """The result of a call in each process. Raises the first `SpecError` by rank, in every process."""
    result, mistake = None, None
    try:
        result = call()
    except SpecError as error:
        mistake = tuple(error.diagnostics)
    outcomes = processes.gather((result, mistake))
    for _, diagnostics in outcomes:
        if diagnostics is not None:
            raise SpecError(diagnostics)
    return [value for value, _ in outcomes]  # type: ignore[misc]


def _nameless(processes: Processes) -> RawIOBase:
    """A temporary file that all have opened, and that has no name any more."""
    path, opened = of_first(processes, _created), list[RawIOBase]()

    def open_file() -> None:
        with on_disk(path.parent, what=WHAT):
            number = os.open(path, os.O_RDWR)
            opened.append(FileIO(number, "r+", closefd=False))
            weakref.finalize(opened[0], os.close, number)

    try:
        agreed(processes, open_file)
    finally:  # in every process, as one of them may have been killed
        path.unlink(missing_ok=True)
    return opened[0]


def _created() -> Path:
    with on_disk(folder(), what=WHAT):
        number, path = tempfile.mkstemp(dir=folder(), prefix="graphspec-")
        os.close(number)
        return Path(path)


@dataclass(frozen=True, slots=True)
class Placed:
    """An array of `kind` (ndarray, Tensor, InFiles), or bytes, in the file, from the byte `place` on."""

    kind: type
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int = 0


def _written(value: Any, file: RawIOBase) -> Placed:
    """Writes a value to the file: its arrays, and then the rest, whose place it returns. An exchange would
    make as many copies of the rest in each process as there are processes.
    """
    buffer = BytesIO()
    writer = _SharedWriter(buffer, file)
    writer.dump(value)
    rest = buffer.getbuffer()
    return writer.write(Placed(bytes, np.dtype(np.uint8), (len(rest),)), len(rest), [rest])


class _SharedWriter(pickle.Pickler):
    def __init__(self, rest: BytesIO, file: RawIOBase):
        super().__init__(rest, pickle.HIGHEST_PROTOCOL)
        self.file, self.end = file, 0
        self.known: dict[int, tuple[Any, Placed]] = {}
        """Each array that was written and where, by its id, which is its own as long as it is here."""

    def persistent_id(self, value: Any) -> Placed | None:
        if not isinstance(value, np.ndarray | torch.Tensor | InFiles):
            return None
        if not isinstance(value, InFiles) and value.nbytes < PAGE:
            return None
        if id(value) not in self.known:
            self.known[id(value)] = value, self._placed(value)
        return self.known[id(value)][1]

    def _placed(self, value: Array | torch.Tensor | InFiles) -> Placed:
        """Writes an array."""
        if isinstance(value, InFiles):
            shape, size = (value.length, *value.shape), value.length * value.row
            return self.write(Placed(InFiles, value.dtype, shape), size, map(bytes_of, value.blocks()))
        kind, array = (
            (torch.Tensor, value.numpy()) if isinstance(value, torch.Tensor) else (np.ndarray, value)
        )
        return self.write(Placed(kind, array.dtype, array.shape), array.nbytes, [bytes_of(array)])

    def write(self, placed: Placed, size: int, blocks: Iterable[memoryview]) -> Placed:
        """Writes the bytes of what is to be placed, and says where."""
        place = -(-self.end // ALIGNED) * ALIGNED
        with on_disk(folder(), size, WHAT):
            self.file.seek(place)
            for block in blocks:
                write_out(self.file, block)
        self.end = place + size
        return replace(placed, place=place)


class _SharedReader(pickle.Unpickler):
    def __init__(self, rest: Placed, file: RawIOBase):
        data = bytearray(*rest.shape)
        read_at(file, rest.place, memoryview(data))
        super().__init__(BytesIO(data))
        self.file: Any = file
        self.known: dict[Placed, Any] = {}
        self.whole: Array | None = None
        """The file, mapped once: each map is an open file. A system may refuse a copy of more than it has."""
        if 0 < file.seek(0, os.SEEK_END) <= limit():
            self.whole = np.asarray(np.memmap(self.file, np.uint8, "c"))

    def persistent_load(self, placed: Placed) -> Any:
        if placed not in self.known:
            self.known[placed] = self._array(placed)
        return self.known[placed]

    def _array(self, placed: Placed) -> Any:
        if placed.kind is InFiles:
            return FilePart(self.file, placed)
        size = math.prod(placed.shape) * placed.dtype.itemsize
        if self.whole is not None:
            flat = self.whole[placed.place : placed.place + size]
            array = flat.view(placed.dtype).reshape(placed.shape)
        else:
            mode: Literal["c", "r+"] = "c" if size <= limit() else "r+"
            array = np.asarray(np.memmap(self.file, placed.dtype, mode, placed.place, placed.shape))
        return array if placed.kind is np.ndarray else torch.from_numpy(array)


class FilePart(InFiles):
    """Rows in a part of a file."""

    def __init__(self, file: RawIOBase, placed: Placed):
        length, *shape = placed.shape
        super().__init__(placed.dtype, tuple(shape))
        self.file, self.place, self.length = file, placed.place, length

    def at(self, row: int) -> tuple[RawIOBase, int, int]:
        return self.file, self.place + row * self.row, self.length - row
