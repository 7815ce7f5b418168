"""Encodes a table in one pass, part by part, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from graphspec.data.batches import InMemory
from graphspec.data.columns import Mask, TablePart
from graphspec.data.encoders import Encoded, Encoders
from graphspec.data.fields import Checker, Field
from graphspec.data.padding import Padding, Rows
from graphspec.data.ragged import Ragged
from graphspec.data.shareable import shareable
from graphspec.data.splits import TRAINING
from graphspec.data.store import Array, Budget, Name, Store
from graphspec.data.streamed import Streamed
from graphspec.data.tables import CHUNK, Table
from graphspec.data.workers import Over, Workers
from graphspec.diagnostics import fail

GROUPS = ("arrays", "weights", "masks")
LABELS = ("training", "validation", "test")
"""Names of the parts, by their number."""


def learn(table: Table, encoders: Encoders, parts: Array | None, rows: int) -> None:
    """Let the encoders learn from the training rows among the first `rows` rows of a table.

    `parts` says of each row which part it is for. Raises `SpecError` with the first mistake of each field.
    """
    if not encoders.fit(training_parts(table, encoders, parts, rows)):
        raise fail("data-empty", f"`{table.file}` holds no examples", table.empty_help)


def training_parts(table: Table, encoders: Encoders, parts: Array | None, rows: int) -> Iterator[TablePart]:
    """The training rows among the first `rows` rows of a table, as much as the encoders read of them."""
    for first, part in sliced(table.chunks(encoders.columns), rows, 1):
        numbers = np.arange(first, first + part.num_rows)
        if parts is not None:
            chosen = parts[numbers] == TRAINING
            numbers, part = numbers[chosen], part.filter(pa.array(chosen))
        if len(numbers):
            yield part_of(table, numbers, part)


def part_of(table: Table, rows: NDArray[np.int64], part: pa.Table) -> TablePart:
    return TablePart(part, rows, table.file, table.place, table.decimal, table.root, table.span)


def encode(
    table: Table,
    encoders: Encoders,
    checker: Checker,
    parts: Array | None,
    rows: int,
    label: str,
    budget: Budget,
    together: bool = False,
    more: TablePart | None = None,
    after: Sequence[Store] | None = None,
    workers: Workers | None = None,
) -> Sequence[Store]:
    """The first `rows` rows of a table, encoded, each in the store of its part. `parts` says which;
    without it all are in the first store, and count for `label`. `together` puts all into the first store,
    and `more` rows, which the table lacks, come after them. They come `after` those of other tables, where
    there are some, and have the types of their fields. `workers` encode them, maybe in other processes, whose
    notes are lost.

    Raises `SpecError` with the first mistake of each field.
    """
    stores, length = [Store(budget) for _ in LABELS] if after is None else after, 0
    chunks = sliced(table.chunks(encoders.columns), rows, row_bytes(checker.wanted.values()))
    table_parts = (part_of(table, np.arange(first, first + part.num_rows), part) for first, part in chunks)
    every = chain(table_parts, [more] if more is not None else [])
    labelled = ((p, np.full(len(p), LABELS.index(label)) if parts is None else parts[p.rows]) for p in every)
    for (part, of), encoded in _encoded(encoders, checker, labelled, workers):
        named = by_name(encoded if after is None else typed(encoded, checker.wanted))
        for number, chosen in _chosen(None if parts is None or together else of):
            if chosen is None:
                stores[number].add(named, len(part))
            else:
                some = {name: rows_of(array, chosen) for name, array in named.items()}
                stores[number].add(some, len(chosen))
        length += len(part)
    checker.finish(dict.fromkeys(checker.wanted, length))
    return stores


Labelled = tuple[TablePart, Array]
"""Some rows, and of each the part of the data that it is for."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What another process needs to encode rows: the fields, and the least and largest sizes."""

    encoders: Encoders
    wanted: tuple[Field, ...]
    sizes: tuple[Mapping[str, int], Mapping[str, int]]


def _encoded(
    encoders: Encoders, checker: Checker, parts: Iterator[Labelled], workers: Workers | None
) -> Iterator[tuple[Labelled, Encoded]]:
    """Rows, each part with what it is encoded as."""
    if workers is not None:
        sizes = dict(checker.minimum), dict(checker.maximum)
        work = _Work(encoders, tuple(checker.wanted.values()), sizes)
        yield from workers.results(Over(_alone, work), parts)
        return
    for part, of in parts:
        labels = {name: of == number for number, name in enumerate(LABELS)}
        yield (part, of), checked(encoders, checker, part, labels)


def _alone(work: _Work, labelled: Labelled) -> Encoded:
    """Encodes some rows, which are checked by themselves."""
    part, _ = labelled
    checker = Checker(part.file, part.place, work.wanted, *work.sizes, span=part.span)
    encoded = checked(work.encoders, checker, part)
    checker.finish(dict.fromkeys(checker.wanted, len(part)))
    return encoded


def checked(
    encoders: Encoders, checker: Checker, part: TablePart, labels: Mapping[str, Mask] | None = None
) -> Encoded:
    """Encodes some rows, and checks every value. Raises `SpecError` with the first mistake of each field."""
    encoded = encoders.encode(part, labels)
    for name in [name for name in encoded.arrays if name in checker.wanted]:
        array = checker.check(name, encoded.arrays[name], int(part.rows[0]))
        if array is not None:
            encoded.arrays[name] = array
    if checker.problems:
        checker.finish({})
    return encoded


def typed(encoded: Encoded, wanted: Mapping[str, Field]) -> Encoded:
    """Encoded rows whose numbers have the types of their fields, as those of every other table."""
    for name, field in wanted.items():
        array = encoded.arrays.get(name)
        dtype = np.dtype("float32" if field.tensor.dtype == "bfloat16" else field.tensor.dtype)
        if isinstance(array, Ragged):
            encoded.arrays[name] = Ragged(array.values.astype(dtype, copy=False), array.offsets)
        elif array is not None:
            encoded.arrays[name] = array.astype(dtype, copy=False)
    return encoded


def _chosen(of: Array | None) -> Iterator[tuple[int, NDArray[np.int64] | None]]:
    """The parts of the data that rows are for, and which rows; None for all of them."""
    if of is None:
        yield 0, None
        return
    for number in range(len(LABELS)):
        chosen = np.flatnonzero(of == number)
        if len(chosen):
            yield number, chosen


def rows_of(array: Array | Ragged, chosen: NDArray[np.int64]) -> Array | Ragged:
    return array.select(chosen) if isinstance(array, Ragged) else array[chosen]


@dataclass(frozen=True, slots=True)
class CountedRows:
    """How many rows a table has, and all of them with one of its columns."""

    rows: int
    whole: TablePart | None


def column(table: Table, read: Sequence[str], name: str | None, rows: int) -> CountedRows:
    """The first pass over a table: counts its first `rows` rows and keeps the column `name`.

    All columns in `read` are read, so that a small table need not be read again.
    """
    count, parts = 0, []
    for _, part in sliced(table.chunks(read), rows, 1):
        count += part.num_rows
        if name is not None:
            parts.append(part.select([name]))
    if name is None:
        return CountedRows(count, None)
    empty = pa.table({name: pa.array([], pa.string())})
    kept = pa.concat_tables(parts, promote_options="permissive") if parts else empty
    return CountedRows(count, part_of(table, np.arange(count), kept))


def sliced(chunks: Iterable[tuple[int, pa.Table]], rows: int, size: int) -> Iterator[tuple[int, pa.Table]]:
    """The first `rows` rows, in parts that become at most `CHUNK` bytes where a row becomes `size`."""
    most = max(1, CHUNK // size)
    for first, part in chunks:
        part = part.slice(0, max(0, rows - first))
        for start in range(0, part.num_rows, most):
            yield first + start, part.slice(start, most)
        if first + part.num_rows >= rows:
            return


def row_bytes(wanted: Iterable[Field]) -> int:
    """Bytes of an encoded row, as far as shapes tell."""
    total = 1
    for field in wanted:
        sizes = [size for size in field.tensor.shape[1:] if isinstance(size, int)]
        total += int(np.prod(sizes, dtype=np.int64)) * 4
    return total


def examples(store: Store, wanted: Iterable[Field], padding: Padding) -> InMemory | Streamed:
    """The collected rows, as examples on the CPU."""
    dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in wanted}
    if store.filed:
        files: list[dict[str, Any]] = [
            {name: file for (kind, name), file in store.files.items() if kind == group} for group in GROUPS
        ]
        dtypes |= {name: torch.float32 for name in files[0].keys() - dtypes.keys()}
        return Streamed(files[0], dtypes, files[1], files[2], padding=padding)
    return held([store.group(group) for group in GROUPS], dtypes, padding)


def held(
    groups: Sequence[Mapping[str, Array | Ragged]], dtypes: Mapping[str, torch.dtype], padding: Padding
) -> InMemory:
    """Arrays, weights and masks as examples in memory."""
    arrays, weights, every = map(tensors, groups)
    dtypes = {**dict.fromkeys(arrays, torch.float32), **dtypes}  # scales of rows have no type of their own
    masks = {name: mask for name, mask in every.items() if isinstance(mask, Rows) or not mask.all()}
    return InMemory(arrays, dtypes, None, weights, masks, padding=padding)


def by_name(encoded: Encoded) -> dict[Name, Array | Ragged]:
    groups: dict[str, Mapping[str, Array | Ragged]] = {
        "arrays": encoded.arrays,
        "weights": encoded.weights,
        "masks": encoded.masks,
    }
    return {(group, name): array for group, found in groups.items() for name, array in found.items()}


def tensors(arrays: Mapping[str, Array | Ragged]) -> dict[str, Any]:
    """Arrays as tensors that share their memory."""
    return {
        name: Rows.of(array) if isinstance(array, Ragged) else torch.from_numpy(shareable(array))
        for name, array in arrays.items()
    }
