"""What every table can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Share:
    """What one of `size` processes reads of a table: of its parts, counted from 0, those number `rank`,
    `rank + size`, ...

    `skips` says that the others are not even read; else all are read, and only its own parts are used.
    """

    rank: int = 0
    size: int = 1
    skips: bool = False

    def has(self, number: int) -> bool:
        return number % self.size == self.rank

    def after(self, count: int) -> Share:
        """The same share, counted from 0 again after `count` parts."""
        return replace(self, rank=(self.rank - count) % self.size)


WHOLE = Share()


class Table(ABC):
    """Rows of named columns. Rows count from 0, in the order of the file; a folder's shards by name."""

    keeps = True
    """Whether a small table is kept in memory between passes."""
    decimal = "."
    """The decimal mark of numbers in columns of text."""

    empty_help: str | None = None
    """What a file of this kind without rows has, and what it lacks."""

    def __init__(self, path: Path, na_values: Sequence[str]):
        self.file = shown(path)
        """What messages call it."""
        self.root = path.parent
        """What paths in its columns are relative to."""
        self.na_values = tuple(na_values)
        self.asked: set[str] = set()
        """The columns whose values are texts where some are; where a schema says their types, it is right."""
        self._length: int | None = None
        self._kept: dict[Share, list[tuple[int, pa.Table]]] = {}
        self.parts = 0
        """How many parts the table has, once it was read to its end."""

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, pa.DataType]:
        """The type of each column, from header or schema alone. A text format gives strings."""

    def place(self, row: int) -> str:
        """Where a row stands, in words. May read the file again."""
        return row_in_words(row)

    def span(self, row: int, name: str) -> Span | None:
        """Where a cell stands: in a text its characters, or those of its row; None where there is no file.
        May read the file again.
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
        """Whether there is a row. Reads no more than the first part."""
        return any(part.num_rows for part in self._scan(list(self.columns)[:1]))

    @property
    def blocks(self) -> int | None:
        """How many blocks of rows can be read without the others; None where every row must be read."""
        return None

    def share(self, rank: int, size: int) -> Share:
        """What process `rank` of `size` reads: whole blocks where there are enough of them."""
        return Share(rank, size, skips=(self.blocks or 0) >= size)

    @abstractmethod
    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows, part by part, each of bounded size. Raises `SpecError` for what cannot be read."""

    def __len__(self) -> int:
        if self._length is None:
            for _ in self.chunks(list(self.columns)[:1]):
                pass
        return self._length or 0

    def chunks(
        self, columns: Sequence[str], size: int = CHUNK, share: Share = WHOLE
    ) -> Iterator[tuple[int, pa.Table]]:
        """All rows of a share, part by part of about `size` bytes: the row that each begins with, and the
        part. Where a part begins and ends is the same for any number of processes.
        """
        for first, part in self._parts(columns, share):
            rows = max(1, part.num_rows * size // max(part.nbytes, 1))
            for start in range(0, part.num_rows, rows):
                yield first + start, part.slice(start, rows)

    def read(self, columns: Sequence[str], rows: np.ndarray | None = None) -> pa.Table:
        """Whole columns, of all rows or of `rows` in their order."""
        parts = [part for _, part in self.chunks(columns)]
        if not parts:
            return pa.table({name: pa.array([], self.columns[name]) for name in columns})
        whole = pa.concat_tables(parts, promote_options="permissive")
        return whole if rows is None else whole.take(pa.array(rows))

    def _parts(self, columns: Sequence[str], share: Share) -> Iterator[tuple[int, pa.Table]]:
        known = self._kept.get(share)
        if known is not None and all(set(columns) <= set(part.column_names) for _, part in known):
            yield from ((first, part.select(columns)) for first, part in known)
            return
        kept: list[tuple[int, pa.Table]] | None = [] if self.keeps else None
        size, most = 0, limit() // (KEPT * share.size)
        for first, part in self._dealt(columns, share):
            made = plain(part, self.na_values)
            size += made.nbytes
            if kept is not None and size <= most:
                kept.append((first, made))
            else:
                kept = None
            yield first, made
        self._kept.pop(share, None)
        if kept is not None:
            self._kept[share] = kept

    def _dealt(self, columns: Sequence[str], share: Share) -> Iterator[tuple[int, pa.Table]]:
        """The parts of a share, and the row that each begins with."""
        first = parts = 0
        for part in self._scan(columns):
            if share.has(parts):
                yield first, part
            first, parts = first + part.num_rows, parts + 1
        self._length, self.parts = first, parts
