"""Prepared data: encoded examples in a folder, which trainings read without encoding them again.

The folder has `index.json`, written last, and shards: Arrow files, one for each part of the data in each
range of rows of the source. A shard is in blocks of rows, each with a checksum, which is compared when the
block is read. The files are mapped, few at a time: a training has in memory what it is reading.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import numpy as np
from pydantic import ConfigDict, Strict
from pydantic import Field as Limits

from graphspec.data import remote
from graphspec.data.fields import UNIT, Checker, Field
from graphspec.data.mistakes import row_in_words
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
FILES, KEPT = 48, 128 * 2**20
"""Files of a part of the data that are open together, and bytes of blocks: twice what is read at a time."""
AGAIN = "delete the file, and run `graphspec prepare` again: it makes what is missing"
"""Remedy for a shard that is damaged or missing."""
LABELS = ("training", "validation", "test")
LINE, TICKS = "line", "ticks"
"""The group of what is about series, and in it the time of each row of a timeline."""
Label = Annotated[str, Limits(pattern="^(training|validation|test)$")]
Size = Annotated[int, Limits(ge=0, lt=2**31)]
T = TypeVar("T")
Items = Annotated[tuple[T, ...], Strict(False)]
Check = Callable[[str, str, Any], bool]
"""Whether the values of an array, by group and name, are those that a training takes."""


class PreparedRecord(StoredRecord):
    """A record in a file of prepared data."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KeptArray(PreparedRecord):
    """One array: its group and name, and the dtype and shape of a row; `ragged` rows have lengths of their
    own.
    """

    group: Annotated[str, Limits(pattern="^(arrays|weights|masks|line)$")]
    name: str
    dtype: Annotated[str, Limits(pattern=r"^(<[iuf][248]|\|[iu]1|\|b1)$")]
    shape: Items[Size]
    ragged: bool = False

    def empty(self) -> Array | Ragged:
        """No rows of it."""
        values = np.empty((0, *self.shape), self.dtype)
        return Ragged(values, offsets_of(())) if self.ragged else values


class ShardFile(PreparedRecord):
    """The rows of one part of the data in a shard: the file, and the rows and checksum of each block."""

    file: Annotated[str, Limits(pattern=r"^(training|validation|test)-([0-9]{5,9}|series)\.arrow$")]
    blocks: Annotated[
        tuple[Annotated[tuple[Annotated[int, Limits(gt=0, lt=2**31)], int], Strict(False)], ...],
        Limits(min_length=1),
        Strict(False),
    ]
    unseen: Annotated[int, Limits(ge=0)] = 0
    """Of tokens, how many were not seen in training."""

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.blocks)


class Shard(PreparedRecord):
    """A range of rows of the source, encoded: its parts, how they are kept, and the digest of what made
    it.
    """

    key: str
    parts: dict[Label, ShardFile]
    columns: Items[KeptArray] = ()
    files: str = ""
    """The digest of the files that its rows name."""
    source: str = ""
    """The name of the source of its rows, where there are several."""


class KeptLine(PreparedRecord):
    """The timeline of a table of windows: the file of its series, how it is kept, and of the column of time a
    cell and the format. `masks` says which outputs lack targets.
    """

    file: ShardFile
    columns: Items[KeptArray]
    masks: Items[str]
    stamp: str
    format: str | None


class Index(PreparedRecord):
    """The content of a folder of prepared data. `key` has the digest of each thing that decides it."""

    format: str
    version: int
    key: dict[str, str]
    encoders: dict[str, Any]
    absent: Items[str]
    notes: Items[str]
    columns: Items[KeptArray]
    shards: Items[Shard]
    fingerprint: str
    lines: dict[Label, KeptLine] = {}
    """By the part of the data that a table is named for, its timeline, where examples are windows."""

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

    def rows(self, label: Label) -> int:
        """The rows of a part of the data."""
        return sum(self.by_source(label).values())

    def by_source(self, label: Label) -> dict[str, int]:
        """The rows of a part of the data in each source; that of a single one has no name."""
        rows: dict[str, int] = {}
        for shard in self.shards:
            if label in shard.parts:
                rows[shard.source] = rows.get(shard.source, 0) + shard.parts[label].rows
        return rows


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
    test = settings.get("test")
    first = None if config is None or config.sources else config.first
    sources = [] if config is None else [[name, file.bounds] for name, file in config.sources.items()]
    parts = {
        "features": {name: settings.get(name) for name in ("features", "na_values", "key")},
        **({"windows": settings["windows"]} if settings.get("windows") else {}),
        **({"bounds": first.bounds} if first is not None and first.bounds else {}),
        **({"sources": sources} if sources else {}),
        "validation": [settings.get("validation"), program.training.seed, *([test] if test else [])],
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
        of = content.get("version") if isinstance(content, dict) else None
        if isinstance(of, int) and content.get("format") == FORMAT and of != VERSION:
            message = f"`{remote.shown(folder)}` has version {of} of the format, and this reads {VERSION}"
            raise fail("data-format", message, help)
        index = record_of(Index, content)
    except (OSError, ValueError) as error:
        raise fail("data-format", f"`{remote.shown(folder / INDEX)}` cannot be read: {error}", help) from None
    if index.format != FORMAT:
        raise fail("data-format", f"`{remote.shown(folder)}` holds no prepared data", help)
    arrays = {(column.group, column.name) for column in index.columns}
    digests = index.key.get("encoders"), index.fingerprint
    if len(arrays) < len(index.columns) or digests != (
        digest_of(index.encoders),
        fingerprint(index.shards, index.lines),
    ):
        raise fail("data-format", f"`{remote.shown(folder / INDEX)}` is not what was written", help)
    return index


def fingerprint(shards: Sequence[Shard], lines: Mapping[str, KeptLine] = MappingProxyType({})) -> str:
    """The digest of what shards hold, and of timelines."""
    held: Any = [shard.model_dump(mode="json") for shard in shards]
    return digest_of([held, {k: v.model_dump(mode="json") for k, v in lines.items()}] if lines else held)


def read_record(path: Path) -> Any:
    """The content of a file of JSON. Raises `OSError`, `ValueError`."""
    with remote.opened(path) as file:
        return parse_json(bytes(file.read()).decode())


def need_same(program: BaseProgram, index: Index, folder: Path) -> None:
    """Raises `SpecError` (data-column) where data were prepared for something else than a spec asks for."""
    own = key_of(program)
    names = {**own, **index.key}
    differ = [name for name in names if name != "encoders" and own.get(name) != index.key.get(name)]
    if differ:
        what = " and ".join(differ)
        message = f"`{remote.shown(folder)}` was prepared for other {what} than the spec has"
        raise fail("data-column", message, "prepare it again: `graphspec prepare SPEC -o FOLDER`")


def checked(program: BaseProgram, index: Index, wanted: Sequence[Field], folder: Path) -> Check:
    """Checks values against the inputs of a program. Raises `SpecError` (data-column, data-shape, data-dtype)
    where the arrays differ.
    """
    sizes = program.minimum_sizes, program.maximum_sizes
    checker = Checker(remote.shown(folder), row_in_words, wanted, *sizes, typed=True)
    known = {*checker.wanted, *program.outputs}
    about = [column for column in index.columns if column.group == LINE]
    odd = {
        column.name
        for column in index.columns
        if column not in about and column.name.removesuffix(UNIT) not in known
    }
    if [(each.name, each.ragged, each.shape) for each in about] != [(TICKS, False, ())] * bool(index.lines):
        odd.add(TICKS)
    lacking = checker.wanted.keys() - {each.name for each in index.columns if each.group == "arrays"}
    for name in sorted(odd | lacking | set(index.absent) - program.defaults.keys()):
        raise other_arrays(folder, name)
    for column in index.columns:
        if column.group == "arrays" and column.name in checker.wanted and not column.ragged:
            checker.check_header(column.name, (1, *column.shape), np.dtype(column.dtype))

    def check(group: str, name: str, values: Array | Ragged) -> bool:
        flat = values.values if isinstance(values, Ragged) else values
        if flat.dtype.kind == "b":
            return is_mask(flat)
        if group == "arrays" and name in checker.wanted:
            kept = checker.check(name, values)
            return (
                kept is not None and (kept.values if isinstance(kept, Ragged) else kept).dtype == flat.dtype
            )
        legal = np.isfinite(flat) & ((flat >= 0) | (group != "weights"))
        if group == LINE:
            return bool(legal.all())
        return flat.dtype.kind == "f" and bool(legal.all())

    return check


def other_arrays(folder: Path, name: str) -> SpecError:
    """The error of prepared data with arrays that the spec has not."""
    message = f"`{remote.shown(folder)}` was prepared for a spec with other arrays: see `{name}`"
    return fail("data-column", message, "prepare it again: `graphspec prepare SPEC -o FOLDER`")


def is_mask(values: Array) -> bool:
    """Whether values that came as booleans are 0 and 1."""
    return bool((values.view(np.uint8) < 2).all())


class Recent(Generic[T]):
    """Values by their keys, as many of those that were used last as have at most the size `most` together,
    or one.
    """

    def __init__(self, most: int):
        self.most = most
        self._size = 0
        self._kept: dict[Any, tuple[T, int]] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], tuple[T, int]]) -> T:
        """The value of a key; `make` gives one that is not kept, and its size."""
        with self._lock:
            if key in self._kept:
                known = self._kept[key] = self._kept.pop(key)  # the last one now
                return known[0]
        value, size = make()
        with self._lock:
            self._size += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = value, size
            while self._size > self.most and len(self._kept) > 1:
                self._size -= self._kept.pop(next(iter(self._kept)))[1]
        return value


class Mapped:
    """One shard's file: its blocks, each compared with its checksum when it is read, and its values with what
    a training takes when that is for the first time. `files` has the open files of a part of the data, and
    `kept` its blocks.
    """

    def __init__(
        self,
        folder: Path,
        shard: ShardFile,
        columns: Sequence[KeptArray],
        check: Check | None = None,
        files: Recent[Any] | None = None,
        kept: Recent[pa.RecordBatch] | None = None,
    ):
        self.path, self.blocks = folder / shard.file, shard.blocks
        self.columns, self.check = columns, check
        self.starts = offsets_of([rows for rows, _ in shard.blocks])
        self._files, self._kept = files or Recent(1), kept or Recent(0)
        self._checked = np.zeros(len(shard.blocks), bool)

    def batch(self, number: int) -> pa.RecordBatch:
        """A block. Raises `SpecError` (data-format) for a damaged one."""
        return self._kept.get((self.path, number), partial(self._read, number))

    def _read(self, number: int) -> tuple[pa.RecordBatch, int]:
        import pyarrow as pa

        try:
            batch = self._files.get(self.path, partial(self._open, number)).get_batch(number)
            batch.validate(full=True)
        except (OSError, pa.ArrowException, ValueError, IndexError) as error:
            raise self._damaged(number, f"cannot be read: {error}") from None
        rows, checksum = self.blocks[number]
        if batch.num_rows != rows or checksum_of(batch) != checksum:
            raise self._damaged(number, "is not what was written")
        if not self._checked[number]:
            self._need_values(number, batch)
            self._checked[number] = True
        return batch, batch.nbytes

    def _open(self, number: int) -> tuple[Any, int]:
        import pyarrow as pa

        reader = pa.ipc.open_file(remote.opened(self.path))
        if reader.schema != schema_of(self.columns):
            raise self._damaged(number, "has other arrays than the index says")
        return reader, 1

    def whole(self) -> bool:
        """Whether all blocks are what was written."""
        try:
            for number in range(len(self.blocks)):
                self.batch(number)
        except SpecError:
            return False
        return True

    def _need_values(self, number: int, batch: pa.RecordBatch) -> None:
        for place, column in enumerate(self.columns):
            array = batch.column(place)
            while array is not None:
                if array.null_count:
                    raise self._damaged(number, f"lacks values of `{column.name}`")
                array = getattr(array, "values", None)
            values = rows_of(column, batch.column(place), 0, len(batch))
            if self.check is not None and not self.check(column.group, column.name, values):
                raise self._damaged(number, f"has values of `{column.name}` that no training takes")

    def _damaged(self, number: int, what: str) -> SpecError:
        return fail("data-format", f"block {number} of `{remote.shown(self.path)}` {what}", AGAIN)

    def cuts(self, start: int, stop: int) -> Any:
        """The blocks of a range of rows, each with the rows of it."""
        number = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            first, end = int(self.starts[number]), int(self.starts[number + 1])
            yield self.batch(number), start - first, min(stop, end) - first
            start, number = end, number + 1


def checksum_of(batch: pa.RecordBatch) -> int:
    """The checksum of all values of a block, which nobody can keep for others."""
    total = hashlib.blake2b(digest_size=7)
    for array in batch.columns:
        for buffer in array.buffers():
            if buffer is not None:
                total.update(buffer)
    return int.from_bytes(total.digest(), "big")


class ShardedRows:
    """An array of prepared data: rows of one shape, or of lengths of their own."""

    def __init__(self, column: KeptArray, files: Sequence[Mapped], place: int, most: int | None):
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
                yield rows_of(self.column, batch.column(self.place), begin, last)
            start, number = end, number + 1


def rows_of(column: KeptArray, array: Any, begin: int, last: int) -> Array | Ragged:
    """Rows of a block."""
    if not column.ragged:
        return _values(column, array.slice(begin, last - begin))
    offsets = array.offsets.to_numpy()[begin : last + 1].astype(np.int64)
    values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return Ragged(_values(column, values), offsets - offsets[0])


def _values(column: KeptArray, array: Any) -> Array:
    width, count = math.prod(column.shape), len(array)
    if column.shape:
        array = array.values.slice(array.offset * width, count * width)
    flat: Array = array.to_numpy(zero_copy_only=True).view(column.dtype)
    return flat.reshape(count, *column.shape)


def arrays_of(
    folder: Path, index: Index, label: Label, most: int | None, check: Check, room: int
) -> dict[str, dict[str, Any]] | None:
    """The arrays of a part of prepared data, by group and name; None where it has no rows. They have `most`
    rows, the first ones. `check` gets the values of each block when it is first read; blocks of so many bytes
    as there is `room` for stay open.
    """
    parts = [shard.parts[label] for shard in index.shards if label in shard.parts]
    opened, kept = Recent[Any](FILES), Recent[Any](room)
    files = [Mapped(folder, part, index.columns, check, opened, kept) for part in parts]
    if not files:
        return None
    groups: dict[str, dict[str, Any]] = {"arrays": {}, "weights": {}, "masks": {}, LINE: {}}
    for place, column in enumerate(index.columns):
        groups[column.group][column.name] = ShardedRows(column, files, place, most)
    return groups


def schema_of(columns: Sequence[KeptArray]) -> pa.Schema:
    """How Arrow keeps arrays."""
    return table_of(columns, {(each.group, each.name): each.empty() for each in columns}).schema


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
