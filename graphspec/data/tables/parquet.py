"""`.parquet`: columns with types of their own, in groups of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as reader

from graphspec.data import remote
from graphspec.data.files import DataFile
from graphspec.data.memory import VARIABLE, limit
from graphspec.data.mistakes import in_row
from graphspec.data.tables.base import CHUNK, KEPT, Table
from graphspec.diagnostics import Span, fail
from graphspec.diagnostics.text import first_line

LEAST, MOST = 2**20, 2**28
"""Bytes that a row may take whatever the memory, and more than which none may, unless its user says how much
memory there is.
"""
NUMBER = 8
"""Bytes of a number, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """The part of a row group in a column whose values differ in size: texts, or lists."""

    name: str
    about: Any
    rows: int
    text: bool


class Parquet(Table):
    """A Parquet file.

    A value that many rows share is stored once, so that a small file may hold more than the memory: such
    columns are read as numbers of values, and become text in parts of bounded size. Those within lists cannot
    be: as few rows are read at a time as could fill the memory.
    """

    def __init__(self, path: Path, options: DataFile, na_values: Sequence[str]):
        super().__init__(path, na_values)
        self.path = path
        with self._whole(), self._open() as file:
            self.schema, self._length = file.schema_arrow, file.metadata.num_rows
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            leaves = [file.schema.column(index) for index in range(len(file.schema))]
        texts = {leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"}
        names = self.schema.names
        self._shared = [field.name for field in self.schema if field.name in texts and _is_text(field.type)]
        """Columns of text, not in lists, whose equal values may be stored once."""
        self._chunks = [
            _Chunk(
                leaf.path if leaf.path in names else leaf.path.partition(".")[0],
                group.column(index),
                group.num_rows,
                leaf.path in texts,
            )
            for index, leaf in enumerate(leaves)
            if leaf.max_repetition_level or leaf.path in texts
            for group in groups
        ]
        size = sum(group.total_byte_size for group in groups)
        self._rows = min(2**16, max(1, CHUNK * self._length // max(size, 1)))
        self._runs = list(joined_groups([group.num_rows for group in groups], self._rows))
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise fail("data-column", f"`{self.file}` has two columns `{twice}`", "rename one of them")

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {field.name: field.type for field in self.schema}

    def span(self, row: int, name: str) -> Span | None:
        return in_row(self.file, row, f"column {name}")

    def holds_rows(self) -> bool:
        return bool(self._length)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        rows = self._few(columns)
        with self._whole(), self._open(self._shared) as file:
            for groups in self._runs:
                for batch in file.iter_batches(rows, row_groups=groups, columns=list(columns)):
                    for name in columns:
                        if batch.column(name).nbytes > _room():
                            self._need(_largest(batch.column(name)), name)
                    for name in {*columns}.intersection(self._shared):
                        batch.column(name).dictionary.validate(full=True)  # which reading does not
                    yield from parts(pa.table({name: batch.column(name) for name in columns}))

    def _few(self, columns: Sequence[str]) -> int:
        """How many rows are read at a time. Raises `SpecError` where one row alone would fill the memory."""
        most: int = self._rows
        room = _room()
        for chunk in self._chunks:
            name, about, rows = chunk.name, chunk.about, chunk.rows
            if name not in columns or not rows:
                continue
            row = about.total_uncompressed_size // rows
            if name not in self._shared:
                shared = chunk.text and about.has_dictionary_page
                value = about.total_uncompressed_size if shared else NUMBER
                most = min(most, room * rows // max(about.num_values * value, 1))
                row = max(row, about.num_values * NUMBER // rows)
            self._need(row, name)
        return max(most, 1)

    def _need(self, row: int, name: str) -> None:
        room = _room()
        if row > room:
            message = f"a row of column `{name}` of `{self.file}` takes {row >> 20:,} MiB"
            help = f"a row may take {room >> 20:,} MiB here; {VARIABLE} allows more"
            raise fail("data-format", message, help)

    def _open(self, shared: Sequence[str] = ()) -> Any:
        source, system = remote.located(self.path)
        return reader.ParquetFile(
            source, filesystem=system, page_checksum_verification=True, read_dictionary=list(shared)
        )

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Turns what a damaged file does to the reader into `SpecError`."""
        try:
            yield
        except (pa.ArrowException, EOFError, ValueError) as error:
            raise self._damaged(error) from None
        except OSError as error:
            if remote.is_remote(self.path):
                raise remote.unreadable(self.path, error) from None
            if error.errno is not None:
                raise
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> Exception:
        reason, help = first_line(error), "write or download it again"
        if "magic bytes" in reason:
            reason, help = "its end is not that of one", f"{help}; a table of text ends in .csv or .tsv"
        return fail("data-format", f"`{self.file}` is not a complete Parquet file: {reason}", help)


def parts(table: pa.Table, size: int = CHUNK) -> Iterator[pa.Table]:
    """Slices of a table, each of about `size` bytes once its dictionaries are spelled out."""
    taken = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and _is_text(column.type):
            taken += np.concatenate([_lengths(chunk) for chunk in column.chunks])
    ends = np.flatnonzero(np.diff(taken.cumsum() // size, append=-1)) + 1
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield table.slice(start, end - start)


def _room() -> int:
    """Bytes that a row may take."""
    room = limit() // KEPT
    return max(room if VARIABLE in os.environ else min(room, MOST), LEAST)


def _largest(array: pa.Array) -> int:
    """Bytes of the largest row of texts, or of lists within lists."""
    ends = np.arange(len(array) + 1)
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        ends, array = np.asarray(array.offsets)[ends], array.values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _is_text(array.type):
        lengths = np.asarray(pc.binary_length(array).fill_null(0)).astype(np.int64)
        return int(np.diff(np.append(0, lengths.cumsum())[ends]).max(initial=0))
    return int(np.diff(ends).max(initial=0)) * NUMBER


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _lengths(array: pa.DictionaryArray) -> np.ndarray:
    """The bytes of each value."""
    lengths = pc.binary_length(array.dictionary).take(array.indices)
    return np.asarray(lengths.fill_null(0)).astype(np.int64)


def joined_groups(counts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Row groups of these numbers of rows: small neighbours are joined while together they have at most
    `most`.
    """
    start, held = 0, 0
    for index, count in enumerate(counts):
        if held and held + count > most:
            yield list(range(start, index))
            start, held = index, 0
        held += count
    if held:
        yield list(range(start, len(counts)))
