"""The base of every table, and of those that are another one with other rows or columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from graphspec.data.memory import limit
from graphspec.data.mistakes import lacks, remedy, row_in_words
from graphspec.data.remote import shown
from graphspec.data.tables.values import plain
from graphspec.diagnostics import Span, SpecError

CHUNK = 8 * 2**20
"""Bytes of a part that `chunks` yields, about."""
KEPT = 8
"""A table is kept in memory between passes where it takes at most this part of what examples may take."""


class Table(ABC):
    """Rows of named columns. Rows count from 0, in the order of the file; a folder's shards by name."""

    keeps = True
    """Whether a small table is kept in memory between passes."""
    decimal = "."
    """The decimal mark of numbers in columns of text."""

    unnamed: Sequence[int] = ()
    """The places, counted from 1, of columns that the header gives no name: they cannot be read."""
    empty_help: str | None = None
    """Describes a file of this kind without rows: its content, and its lack."""

    def __init__(self, path: Path, na_values: Sequence[str]):
        self.file = shown(path)
        """Its name in messages."""
        self.root = path.parent
        """The directory to which paths in its columns are relative."""
        self.na_values = tuple(na_values)
        self.asked: set[str] = set()
        """The columns whose values are texts where some are; where a schema says their types, it is right."""
        self._length: int | None = None
        self._kept: list[tuple[int, pa.Table]] | None = None

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, pa.DataType]:
        """The type of each column, from header or schema alone. A text format gives strings."""

    def place(self, row: int) -> str:
        """Where a row stands, in words. May read the file again."""
        return row_in_words(row)

    def span(self, row: int, name: str) -> Span | None:
        """The place of a cell: in a text its characters, or those of its row; None without a file. May read
        the file again.
        """
        return None

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        """The error of a column that is not there; `span` is where the spec asks for it."""
        help = remedy("column", name) if help is None else help
        return lacks(self.file, "column", name, self.columns, help, span)

    def read_as_text(self, names: Iterable[str]) -> None:
        """Says that all values of these columns are texts where some are."""
        self.asked.update(names)

    def holds_rows(self) -> bool:
        """Whether there is a row, with a column. Reads no more than the first part."""
        first = list(self.columns)[:1]
        return bool(first) and any(part.num_rows for part in self._scan(first))

    @abstractmethod
    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows, part by part, each of bounded size. Raises `SpecError` for what cannot be read."""

    def __len__(self) -> int:
        if self._length is None:
            for _ in self.chunks(list(self.columns)[:1]) if self.columns else ():
                pass
        return self._length or 0

    def chunks(self, columns: Sequence[str], size: int = CHUNK) -> Iterator[tuple[int, pa.Table]]:
        """All rows, part by part of about `size` bytes: the row that each begins with, and the part."""
        for first, part in self._parts(columns):
            rows = max(1, part.num_rows * size // max(part.nbytes, 1))
            for start in range(0, part.num_rows, rows):
                yield first + start, part.slice(start, rows)

    def read(self, columns: Sequence[str], rows: np.ndarray | None = None) -> pa.Table:
        """Whole columns, of all rows or of `rows` in their order."""
        parts = [part for _, part in self.chunks(columns)]
        if not parts:
            return pa.table({name: pa.array([], self.columns[name]) for name in columns})
        table = pa.concat_tables(parts, promote_options="permissive")
        return table if rows is None else table.take(pa.array(rows))

    def _parts(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        known = self._kept
        if known is not None and all(set(columns) <= set(part.column_names) for _, part in known):
            yield from ((first, part.select(columns)) for first, part in known)
            return
        kept: list[tuple[int, pa.Table]] | None = [] if self.keeps else None
        first = size = 0
        for part in self._scan(columns):
            cleaned = plain(part, self.na_values)
            size += cleaned.nbytes
            if kept is not None and size <= limit() // KEPT:
                kept.append((first, cleaned))
            else:
                kept = None
            yield first, cleaned
            first += cleaned.num_rows
        self._length, self._kept = first, kept


class WrappingTable(Table):
    """The base of tables that are another one with other rows or columns. That one has its missing values
    replaced, and this one is kept in memory in its place.
    """

    def __init__(self, table: Table):
        super().__init__(Path(table.file), ())
        table.keeps = False
        self.table = table
        self.file, self.root, self.decimal = table.file, table.root, table.decimal

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        return self.table.columns

    def original(self, row: int) -> int:
        """The number that a row has in the other table."""
        return row

    def place(self, row: int) -> str:
        return self.table.place(self.original(row))

    def span(self, row: int, name: str) -> Span | None:
        return self.table.span(self.original(row), name)

    def read_as_text(self, names: Iterable[str]) -> None:
        self.table.read_as_text(name for name in names if name in self.table.columns)
