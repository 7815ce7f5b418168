"""Prepared data: encoded examples in a folder, which trainings read without encoding them again.

The folder has `index.json`, written last, and shards: Arrow files, one for each part of the data in each
range of rows of the source. A shard is in blocks of rows, each with a checksum, which is compared when the
block is first read. The files are mapped: a training has in memory what it is reading.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict

from graphspec.data import remote
from graphspec.data.ragged import Ragged, offsets_of
from graphspec.data.store import Array, Name
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.files.reading import parse_json
from graphspec.files.records import StoredRecord, record_of

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "index.json"
FORMAT = "graphspec prepared data"
VERSION = 1
ROWS = 65_536
"""Rows of the source in a shard."""
BLOCK_ROWS = 4096
"""Rows of a block."""
AGAIN = "delete the file, and run `graphspec prepare` again: it makes what is missing"
"""What to do about a shard that is damaged, or not there."""
LABELS = ("training", "validation", "test")


class PreparedRecord(StoredRecord):
    """A record in a file of prepared data."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


class KeptArray(PreparedRecord):
    """One array: its group and name, and the dtype and shape of a row; `ragged` rows have lengths of their
    own.
    """

    group: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    ragged: bool = False


class ShardFile(PreparedRecord):
    """The rows of one part of the data in a shard: the file, and the rows and checksum of each block."""

    file: str
    blocks: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.blocks)


class Shard(PreparedRecord):
    """A range of rows of the source, encoded: its parts, how they are kept, and the digest of what made
    it.
    """

    key: str
    parts: dict[str, ShardFile]
    columns: tuple[KeptArray, ...] = ()


class Index(PreparedRecord):
    """What a folder of prepared data holds. `key` has the digest of each thing that decides it."""

    format: str
    version: int
    key: dict[str, str]
    encoders: dict[str, Any]
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    columns: tuple[KeptArray, ...]
    shards: tuple[Shard, ...]
    fingerprint: str

    def size(self, folder: Path) -> int:
        """The bytes of all shards. Raises `SpecError` (data-format) where one is missing."""
        files = [folder / part.file for shard in self.shards for part in shard.parts.values()]
        total = 0
        for file in files:
            size = remote.size_of(file)
            if size is None:
                raise fail("data-format", f"`{remote.shown(file)}` is missing", AGAIN)
            total += size
        return total

    def rows(self, label: str) -> int:
        """The rows of a part of the data."""
        return sum(shard.parts[label].rows for shard in self.shards if label in shard.parts)


def is_prepared(path: object) -> bool:
    """Whether a path is a folder of prepared data."""
    if not isinstance(path, Path) or path.suffix in (".parquet", ".csv"):
        return False
    return remote.size_of(path / INDEX) is not None


def key_of(program: BaseProgram) -> dict[str, str]:
    """The digest of each thing in a spec that decides what its data become."""
    config = program.data
    settings: dict[str, Any] = {} if config is None else config.model_dump(mode="json")
    inputs = {name: str(tensor) for name, tensor in program.inputs.items()}
    targets = {name: f"{out.target} {out.tensors[0]} {out.loss!r}" for name, out in program.outputs.items()}
    parts = {
        "features": {name: settings.get(name) for name in ("features", "na_values", "key")},
        "validation": [settings.get("validation"), program.training.seed],
        "inputs": inputs,
        "outputs": targets,
    }
    return {name: digest_of(value) for name, value in parts.items()}


def digest_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_index(folder: Path) -> Index:
    """The index of a folder of prepared data. Raises `SpecError` (data-format)."""
    help = "prepare it again: `graphspec prepare SPEC -o FOLDER`"
    try:
        content = read_record(folder / INDEX)
        if isinstance(content, dict) and content.get("format") == FORMAT and content["version"] != VERSION:
            of = content["version"]
            message = f"`{remote.shown(folder)}` has version {of} of the format, and this reads {VERSION}"
            raise fail("data-format", message, help)
        index = record_of(Index, content)
    except (OSError, ValueError) as error:
        raise fail("data-format", f"`{remote.shown(folder / INDEX)}` cannot be read: {error}", help) from None
    if index.format != FORMAT:
        raise fail("data-format", f"`{remote.shown(folder)}` holds no prepared data", help)
    return index


def read_record(path: Path) -> Any:
    """The content of a file of JSON. Raises `OSError`, `ValueError`."""
    with remote.opened(path) as file:
        return parse_json(bytes(file.read()).decode())


def need_same(program: BaseProgram, index: Index, folder: Path) -> None:
    """Raises `SpecError` (data-column) where data were prepared for something else than a spec asks for."""
    own = key_of(program)
    differ = [name for name, digest in own.items() if index.key.get(name) != digest]
    if differ:
        what = " and ".join(differ)
        message = f"`{remote.shown(folder)}` was prepared for other {what} than the spec has"
        raise fail("data-column", message, "prepare it again: `graphspec prepare SPEC -o FOLDER`")


class _Mapped:
    """One shard's file: its blocks, each compared with its checksum when it is first read."""

    def __init__(self, folder: Path, shard: ShardFile):
        self.path, self.blocks = folder / shard.file, shard.blocks
        self.starts = offsets_of([rows for rows, _ in shard.blocks])
        self._reader: Any = None
        self._batches: dict[int, pa.RecordBatch] = {}

    def batch(self, number: int) -> pa.RecordBatch:
        """A block. Raises `SpecError` (data-format) for a damaged one."""
        import pyarrow as pa

        if number not in self._batches:
            try:
                if self._reader is None:
                    self._reader = pa.ipc.open_file(remote.opened(self.path))
                batch = self._reader.get_batch(number)
            except (OSError, pa.ArrowException, IndexError) as error:
                raise self._damaged(number, f"cannot be read: {error}") from None
            rows, checksum = self.blocks[number]
            if batch.num_rows != rows or checksum_of(batch) != checksum:
                raise self._damaged(number, "is not what was written")
            self._batches[number] = batch
        return self._batches[number]

    def _damaged(self, number: int, what: str) -> SpecError:
        message = f"block {number} of `{remote.shown(self.path)}` {what}"
        return fail(
            "data-format",
            message,
            "delete the file, and run `graphspec prepare` again: it makes what is lacking",
        )

    def cuts(self, start: int, stop: int) -> Any:
        """The blocks of a range of rows, each with the rows of it."""
        number = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            first, end = int(self.starts[number]), int(self.starts[number + 1])
            yield self.batch(number), start - first, min(stop, end) - first
            start, number = end, number + 1


def checksum_of(batch: pa.RecordBatch) -> int:
    """The checksum of all values of a block."""
    total = 0
    for array in batch.columns:
        for buffer in array.buffers():
            if buffer is not None:
                total = zlib.crc32(buffer, total)
    return total


class ShardedRows:
    """An array of prepared data: rows of one shape, or of lengths of their own."""

    def __init__(self, column: KeptArray, files: Sequence[_Mapped], place: int, most: int | None):
        self.column, self.place, self.files, self.ragged = column, place, files, column.ragged
        self.starts = offsets_of([int(file.starts[-1]) for file in files])
        self.length = min(int(self.starts[-1]), most or sys.maxsize)
        self.dtype, self.shape = np.dtype(column.dtype), column.shape

    @property
    def row(self) -> int:
        """About how many bytes a row has."""
        size: int = self.dtype.itemsize * math.prod(self.shape)
        if not self.column.ragged or not self.length:
            return size
        batch = self.files[0].batch(0)
        elements = len(batch.column(self.place).flatten())
        return size * elements // max(1, int(batch.num_rows))

    def read(self, ranges: Sequence[tuple[int, int]]) -> Any:
        """The rows of ranges (start and stop), in sequence."""
        parts = [part for start, stop in ranges for part in self._parts(start, stop)]
        if self.column.ragged:
            return Ragged.joined(parts)
        return np.concatenate(parts) if parts else np.empty((0, *self.shape), self.dtype)

    def _parts(self, start: int, stop: int) -> Any:
        number = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            first, end = int(self.starts[number]), int(self.starts[number + 1])
            for batch, begin, last in self.files[number].cuts(start - first, min(stop, end) - first):
                yield self._rows(batch.column(self.place), begin, last)
            start, number = end, number + 1

    def _rows(self, array: Any, begin: int, last: int) -> Any:
        if not self.column.ragged:
            return self._values(array.slice(begin, last - begin))
        offsets = array.offsets.to_numpy()[begin : last + 1].astype(np.int64)
        values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        return Ragged(self._values(values), offsets - offsets[0])

    def _values(self, array: Any) -> Array:
        width = math.prod(self.shape)
        if self.shape:
            array = array.values.slice(array.offset * width, len(array) * width)
        flat: Array = array.to_numpy(zero_copy_only=True).view(self.dtype)
        return flat.reshape(-1, *self.shape)


def arrays_of(
    folder: Path, index: Index, label: str, most: int | None = None
) -> dict[str, dict[str, Any]] | None:
    """The arrays of a part of prepared data, by group and name; None where it has no rows. They have `most`
    rows, the first ones.
    """
    files = [_Mapped(folder, shard.parts[label]) for shard in index.shards if label in shard.parts]
    if not files:
        return None
    groups: dict[str, dict[str, Any]] = {"arrays": {}, "weights": {}, "masks": {}}
    for place, column in enumerate(index.columns):
        groups[column.group][column.name] = ShardedRows(column, files, place, most)
    return groups


def table_of(columns: Sequence[KeptArray], arrays: Mapping[Name, Array | Ragged]) -> pa.Table:
    """Arrays as a table of Arrow, a column each."""
    import pyarrow as pa

    def flat(values: Array) -> pa.Array:
        numbers = values.view(np.uint8) if values.dtype == np.bool_ else values
        width = math.prod(values.shape[1:])
        array = pa.array(np.ascontiguousarray(numbers).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(array, width) if values.ndim > 1 else array

    made = {}
    for column in columns:
        array = arrays[column.group, column.name]
        if isinstance(array, Ragged):
            offsets = pa.array(array.offsets)
            made[f"{column.group}.{column.name}"] = pa.LargeListArray.from_arrays(offsets, flat(array.values))
        else:
            made[f"{column.group}.{column.name}"] = flat(array)
    return pa.table(made)


def columns_of(arrays: Mapping[Name, Array | Ragged]) -> tuple[KeptArray, ...]:
    """How arrays are kept."""
    found = []
    for (group, name), array in sorted(arrays.items()):
        values = array.values if isinstance(array, Ragged) else array
        shape = tuple(map(int, values.shape[1:]))
        found.append(
            KeptArray(
                group=group, name=name, dtype=values.dtype.str, shape=shape, ragged=isinstance(array, Ragged)
            )
        )
    return tuple(found)
