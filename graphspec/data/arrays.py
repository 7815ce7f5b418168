"""`.npz` and `.npy` as named arrays, the first axis of each counting examples. Needs numpy, not torch.

A `.npz` holds an array for each input and target, by name, and a folder of them is shards. A `.npy` holds
one, of the name of the file, and a folder of them is an unpacked archive. What is not compressed is mapped
into memory and read as it is used. Pickled arrays are refused, and what an archive declares is checked before
any of it is read.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.folders import Found
from graphspec.data.in_memory_source import HeldArrays
from graphspec.data.memory import machine
from graphspec.data.mistakes import in_row, lacks, remedy, row_in_words, unreadable
from graphspec.diagnostics import Span, fail

Array = NDArray[Any]
MEMBERS = 10_000
"""The most arrays that an archive may hold."""
LOCAL = 30
"""Bytes of the header before a member of an archive, without its name and what follows that."""


@dataclass(frozen=True, slots=True)
class Member:
    """The place of an array: its own file, or an entry of an archive."""

    path: Path
    entry: zipfile.ZipInfo | None = None


@dataclass(frozen=True, slots=True)
class ArrayArchive:
    """Arrays by name, each in as many parts as there are shards."""

    file: str
    members: Mapping[str, Sequence[Member]]

    def read(self, name: str) -> Array:
        """The array `name`; memory-mapped, copy on write, if it is a single uncompressed one. Raises
        `SpecError`.
        """
        if name not in self.members:
            raise lacks(self.file, "array", name, self.members, remedy("array", name))
        parts = [self._read(name, member) for member in self.members[name]]
        if len(parts) == 1:
            return parts[0]
        kinds = {
            (part.dtype, part.shape[1:]): member
            for part, member in zip(parts, self.members[name], strict=True)
        }
        if len(kinds) > 1 or not parts[0].ndim:
            names = " and ".join(f"`{member.path.name}`" for member in list(kinds.values())[:2])
            raise fail("data-shape", f"array `{name}` differs in type or shape between {names}")
        return np.concatenate(parts)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of an array without reading it; of several shards, that of the first."""
        member = self.members[name][0]
        with self._damage(name, member), self._stream(member) as (stream, size):
            shape, _, dtype = self._header(name, stream, size)
        return shape, dtype

    def may_hold_rows(self, name: str) -> bool:
        """Whether an array has a row; of several shards, none is opened."""
        return len(self.members[name]) > 1 or self.header(name)[0][:1] != (0,)

    def place(self, row: int) -> str:
        shard, row = self._shard(row)
        return row_in_words(row) if shard is None else f"{row_in_words(row)}, of `{shard.name}`"

    def span(self, row: int, name: str) -> Span:
        """Where a row of an array stands."""
        shard, row = self._shard(row)
        return in_row(self.file if shard is None else str(shard), row, f"array {name}")

    def _shard(self, row: int) -> tuple[Path | None, int]:
        """The shard that has a row, and the row's number in it; None for a single file."""
        shards = next(iter(self.members.values()), ())
        for member in shards if len(shards) > 1 else ():
            shape, _ = ArrayArchive(self.file, {"": [member]}).header("")
            if row < shape[0]:
                return member.path, row
            row -= shape[0]
        return None, row

    def _read(self, name: str, member: Member) -> Array:
        with self._damage(name, member):
            if member.entry is not None and member.entry.compress_type == zipfile.ZIP_STORED:
                return self._stored(name, member.path, member.entry)
            with self._stream(member) as (stream, size):
                if member.entry is None:
                    return self._mapped(name, stream, 0, size)
                return self._unpacked(name, stream, size)

    @contextmanager
    def _stream(self, member: Member) -> Iterator[tuple[Any, int]]:
        """The bytes of a .npy, and how many there are."""
        if member.entry is None:
            with member.path.open("rb") as stream:
                yield stream, member.path.stat().st_size
        else:
            with zipfile.ZipFile(member.path) as archive, archive.open(member.entry) as packed:
                yield packed, member.entry.file_size

    @contextmanager
    def _damage(self, name: str, member: Member) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise fail("data-format", f"array `{name}` of `{self.file}` is damaged: {error}") from None
        except OSError as error:
            raise unreadable(member.path, error) from None

    def _header(self, name: str, stream: Any, size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        """Shape, Fortran order and type of a .npy stream, which must agree with its `size`."""
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"unknown version {version} of the .npy format")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of headers that Python 2 wrote
                shape, fortran, dtype = readers[version](stream)
        except Exception as error:  # the header is a Python literal, and damaged it raises whatever it likes
            raise ValueError(f"its header cannot be read: {type(error).__name__}") from None
        if any(size < 0 for size in shape):
            raise ValueError("its header has a negative size")
        if dtype.hasobject:
            raise fail(
                "data-dtype",
                f"array `{name}` of `{self.file}` holds Python objects, which are never unpickled",
                "save it as an array of numbers",
            )
        if _bytes(shape, dtype) > size:
            raise ValueError("its header declares more data than it holds")
        return shape, fortran, dtype

    def _stored(self, name: str, path: Path, entry: zipfile.ZipInfo) -> Array:
        """A member that is not compressed; its checksum is compared."""
        with path.open("rb") as stream:
            stream.seek(entry.header_offset)
            local = stream.read(LOCAL)
            if len(local) < LOCAL or local[:4] != b"PK\x03\x04":
                raise zipfile.BadZipFile("its header is damaged")
            start = (
                entry.header_offset
                + LOCAL
                + sum(int.from_bytes(local[i : i + 2], "little") for i in (26, 28))
            )
            stream.seek(start)
            array = self._mapped(name, stream, start, entry.file_size)
            if _checksum(stream, start, entry.file_size) != entry.CRC:
                raise zipfile.BadZipFile("its checksum differs")
        return array

    def _mapped(self, name: str, stream: Any, start: int, size: int) -> Array:
        shape, fortran, dtype = self._header(name, stream, size)
        offset = stream.tell()
        if offset - start + _bytes(shape, dtype) > size:
            raise ValueError("its header declares more data than it holds")
        if not _bytes(shape, dtype):
            return np.zeros(shape, dtype)
        mapped = np.memmap(stream, dtype, "c", offset, shape, "F" if fortran else "C")
        return np.asarray(mapped)

    def _unpacked(self, name: str, stream: Any, size: int) -> Array:
        shape, fortran, dtype = self._header(name, stream, size)
        data = bytearray(stream.read(_bytes(shape, dtype)))
        rest = stream.read()  # to the end, where the checksum is compared
        if rest:
            raise ValueError("it holds more data than its header declares")
        return np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")


Arrays = ArrayArchive | HeldArrays


def open_arrays(source: Found) -> Arrays:
    """The arrays of one file, of a folder of `.npy`, or of shards that are `.npz` with the same arrays.

    Raises `SpecError`: data-missing, data-format, data-column.
    """
    if source.held is not None:
        return HeldArrays(source.held.arrays)
    endings = {file.suffix.lower() for file in source.files}
    try:
        if endings == {".npy"}:
            return ArrayArchive(str(source.path), {file.stem: [Member(file)] for file in source.files})
        if len(endings) > 1:
            raise fail("data-format", f"`{source.path}` holds .npz and .npy", "keep one of them")
        shards = [_members(file) for file in source.files]
    except OSError as error:
        raise unreadable(source.path, error) from None
    for file, shard in zip(source.files, shards, strict=True):
        for name in sorted(shards[0].keys() ^ shard.keys()):
            names = f"`{source.files[0].name}` and `{file.name}`"
            raise fail(
                "data-column",
                f"the shards of `{source.path}` differ: array `{name}` is not in both of {names}",
            )
    return ArrayArchive(str(source.path), {name: [shard[name] for shard in shards] for name in shards[0]})


def _members(path: Path) -> dict[str, Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, io.UnsupportedOperation):
        raise fail("data-format", f"`{path}` is not an .npz archive", "write it with numpy.savez") from None
    if len(entries) > MEMBERS:
        raise fail("data-format", f"`{path}` holds {len(entries)} arrays, more than {MEMBERS}")
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    size = sum(entry.file_size for entry in packed)
    if size > machine() // 2:
        amount = f"{size / 2**30:.1f} GiB"
        help = "write it without compression (numpy.savez): then it need not fit into memory"
        message = f"`{path}` unpacks to {amount}, more than half of this machine's memory"
        raise fail("data-format", message, help)
    arrays = [entry for entry in entries if entry.filename.endswith(".npy")]
    return {entry.filename.removesuffix(".npy"): Member(path, entry) for entry in arrays}


def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(map(int, shape)) * dtype.itemsize


def _checksum(stream: Any, start: int, size: int) -> int:
    stream.seek(start)
    checksum = 0
    while size > 0:
        data = stream.read(min(size, 2**24))
        if not data:
            raise EOFError("it is cut off")
        checksum, size = zlib.crc32(data, checksum), size - len(data)
    return checksum
