"""Encoded examples of several processes of one machine, in files that all of them read.

Each process writes the rows that it encodes to a file of its own, in whatever order they come. Then all tell
one another what lies where. Examples that fit in memory are copied to one more file, in the order of rows,
which all processes map: the machine holds them once. Others stay where they are.

Files lose their names before anything is written to them: no examples are left behind however a process ends.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import RawIOBase
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.processes import Found, Processes, agreed
from graphspec.data.ragged import Ragged, offsets_of
from graphspec.data.store import (
    Array,
    Budget,
    FiledRows,
    InFiles,
    MemoryOrDisk,
    Name,
    bytes_of,
    digest_for,
    folder,
    lengths_of,
    on_disk,
    read_into,
    whole_digest,
    write_out,
)

WHAT = "data that processes share go"
COPIED = 8 * 2**20
"""Bytes that are copied or hashed at a time."""
ALIGNED = 64
"""Arrays in memory begin at a multiple of so many bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of an array, or the elements of some ragged rows, in the file of process `rank`."""

    rank: int
    place: int
    count: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """That of a row."""
    lengths: NDArray[np.int64] | None = None
    """The number of elements of each row, where rows are ragged."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """Rows of a part of the data (training, validation or test), and the pieces that hold them."""

    part: int
    rows: int
    size: int
    pieces: Mapping[Name, Piece]


class Files(list[RawIOBase]):
    """Open files, closed when nothing refers to the list any more."""

    def __init__(self, paths: Sequence[Path]):
        super().__init__()
        with ExitStack() as stack:
            self += [stack.enter_context(path.open("r+b", buffering=0)) for path in paths]
            weakref.finalize(self, stack.pop_all().close)


class Pieced(InFiles):
    """An array in pieces of files."""

    def __init__(self, pieces: Sequence[Piece], files: Files):
        super().__init__(pieces[0].dtype, pieces[0].shape)
        self.pieces, self.files = pieces, files
        self.starts = np.array(list(accumulate((piece.count for piece in pieces), initial=0)))
        self.length = int(self.starts[-1])

    def at(self, row: int) -> tuple[RawIOBase, int, int]:
        index = int(np.searchsorted(self.starts, row, side="right")) - 1
        piece, within = self.pieces[index], row - int(self.starts[index])
        return self.files[piece.rank], piece.place + within * self.row, piece.count - within

    def blocks(self) -> Iterator[Array]:
        """All rows, some at a time."""
        step = max(1, COPIED // max(1, self.row))
        for start in range(0, self.length, step):
            yield self.read([(start, min(start + step, self.length))])


class Spool:
    """The files of the processes: to that of this one, arrays are added; those of the others are read."""

    def __init__(self, processes: Processes):
        self.processes, self.end = processes, 0
        made: list[Path] = agreed(processes, self._folder)
        self.folder = made[0].parent
        path = made[0]
        try:
            agreed(processes, lambda: self._created(path))
            agreed(processes, lambda: self._opened(path))
        finally:  # in every process, as one of them may have been killed
            shutil.rmtree(path, ignore_errors=True)

    def _folder(self) -> Path:
        """A new folder of temporary files, that of the first process."""
        if self.processes.rank:
            return Path()
        with on_disk(folder(), what=WHAT):
            return Path(tempfile.mkdtemp(dir=folder(), prefix="graphspec-"))

    def _created(self, path: Path) -> None:
        with on_disk(self.folder, what=WHAT):
            (path / str(self.processes.rank)).touch(0o600)
            if self.processes.rank == 0:
                (path / "joined").touch(0o600)

    def _opened(self, path: Path) -> None:
        with on_disk(self.folder, what=WHAT):
            self.files = Files([path / str(rank) for rank in range(self.processes.size)])
            self.joined = Files([path / "joined"])

    def add(self, part: int, arrays: Mapping[Name, Array | Ragged], rows: int) -> Spooled:
        """Writes some rows of all arrays. Raises `SpecError` (data-space)."""
        size = sum(array.nbytes for array in arrays.values())
        with on_disk(self.folder, size, WHAT):
            pieces = {name: self._write(array) for name, array in arrays.items()}
        return Spooled(part, rows, size, pieces)

    def _write(self, array: Array | Ragged) -> Piece:
        lengths = array.lengths if isinstance(array, Ragged) else None
        values = array.values if isinstance(array, Ragged) else array
        piece = Piece(self.processes.rank, self.end, len(values), values.dtype, values.shape[1:], lengths)
        file = self.files[self.processes.rank]
        file.seek(self.end)
        write_out(file, bytes_of(values))
        self.end += values.nbytes
        return piece

    def stores(self, found: Sequence[Found[Spooled]], parts: int, budget: Budget) -> list[SharedStore]:
        """The examples of each part, of all processes: in memory as far as the budget goes, in the order of
        rows. All processes call this with the same arguments.
        """
        rooms = [MemoryOrDisk(budget) for _ in range(parts)]
        for _, written in found:
            rooms[written.part].add(written.size)
        stores = [
            SharedStore([one for _, one in found if one.part == number], room, self.files)
            for number, room in enumerate(rooms)
        ]
        self._digest(stores)
        self._join([store for store in stores if not store.filed])
        return stores

    def _digest(self, stores: Sequence[SharedStore]) -> None:
        """Digests of all arrays, of which each process computes some."""
        jobs = [(number, name) for number, store in enumerate(stores) for name in sorted(store.values)]
        own = jobs[self.processes.rank :: self.processes.size]
        mine = [(number, stores[number].digests(name)) for number, name in own]
        for each in self.processes.gather(mine):
            for number, digests in each:
                stores[number].known |= digests

    def _join(self, stores: Sequence[SharedStore]) -> None:
        """Brings the arrays of stores together in one file, and maps it."""
        end, places = 0, []
        for array in (array for store in stores for array in store.values.values()):
            places.append(end)
            end += -(-array.length * array.row // ALIGNED) * ALIGNED
        agreed(self.processes, lambda: self._allocated(end))
        arrays = [(store, name) for store in stores for name in store.values]
        for place, (store, name) in zip(places, arrays, strict=True):
            self._copy(store.values[name], place)
        self.processes.gather(None)
        for place, (store, name) in zip(places, arrays, strict=True):
            store.mapped[name] = _mapped(store.values[name], self.joined[0], place)

    def _allocated(self, size: int) -> None:
        """Takes the room on the disk at once: a mapped file cannot say later that there is none."""
        if self.processes.rank == 0 and size:
            with on_disk(self.folder, size, WHAT):
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(self.joined[0].fileno(), 0, size)
                else:
                    os.truncate(self.joined[0].fileno(), size)

    def _copy(self, array: Pieced, place: int) -> None:
        """The pieces of this process to where they belong in an array that begins at `place`."""
        own = self.files[self.processes.rank]
        for piece, start in zip(array.pieces, array.starts[:-1].tolist(), strict=True):
            if piece.rank != self.processes.rank:
                continue
            data = memoryview(bytearray(piece.count * array.row))
            own.seek(piece.place)
            read_into(own, data)
            self.joined[0].seek(place + start * array.row)
            write_out(self.joined[0], data)


class SharedStore:
    """What a `Store` is for one process: the examples of a part of the data."""

    def __init__(self, found: Sequence[Spooled], room: MemoryOrDisk, files: Files):
        self.size, self.filed = room.size, room.filed
        self.length = sum(written.rows for written in found)
        names = found[0].pieces if found else ()
        pieces = {name: [written.pieces[name] for written in found] for name in names}
        self.values = {name: Pieced(each, files) for name, each in pieces.items()}
        self.offsets = {name: _offsets(each) for name, each in pieces.items() if each[0].lengths is not None}
        self.mapped: dict[Name, Array] = {}
        self.known: dict[Name, bytes] = {}

    @property
    def files(self) -> dict[Name, InFiles | FiledRows]:
        """The arrays that are read as they are used."""
        return {
            name: FiledRows(values, self.offsets[name]) if name in self.offsets else values
            for name, values in self.values.items()
        }

    def group(self, name: str) -> dict[str, Array | Ragged]:
        """The whole arrays of a group, in memory that the processes share; what one writes it alone sees."""
        return {
            key[1]: Ragged(array, self.offsets[key]) if key in self.offsets else array
            for key, array in self.mapped.items()
            if key[0] == name
        }

    def digests(self, name: Name) -> dict[Name, bytes]:
        """The digests of an array, those of `Store`."""
        values = self.values[name]
        digest = digest_for(name, values.dtype, values.shape)
        for block in values.blocks():
            digest.update(block.data)
        found = {name: digest.digest()}
        if name in self.offsets:
            lengths = np.diff(self.offsets[name])
            found[lengths_of(name)] = hashlib.blake2b(lengths.data, digest_size=16).digest()
        return found

    @property
    def digest(self) -> str:
        return whole_digest(self.length, self.known)


def _offsets(pieces: Sequence[Piece]) -> NDArray[np.int64]:
    """Where each ragged row begins among the elements of all."""
    lengths = np.concatenate([piece.lengths for piece in pieces if piece.lengths is not None])
    return offsets_of(lengths)


def _mapped(array: Pieced, file: RawIOBase, place: int) -> Array:
    """An array in a file, which this process may change for itself."""
    shape = (array.length, *array.shape)
    if not array.length * array.row:
        return np.empty(shape, array.dtype)
    return np.asarray(np.memmap(file, array.dtype, "c", place, shape))
