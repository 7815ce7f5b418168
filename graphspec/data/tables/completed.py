"""A table whose rows all lack some keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from graphspec.data.tables.base import Table
from graphspec.diagnostics import Span


class Completed(Table):
    """A table with further columns, in which every value is missing."""

    def __init__(self, table: Table, absent: Sequence[str]):
        super().__init__(Path(table.file), ())  # the table has its missing values replaced
        table.keeps = False  # this one keeps it
        self.table, self.absent = table, absent
        self.file, self.root, self.decimal = table.file, table.root, table.decimal

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {**self.table.columns, **dict.fromkeys(self.absent, pa.null())}

    def place(self, row: int) -> str:
        return self.table.place(row)

    def span(self, row: int, name: str) -> Span | None:
        return self.table.span(row, name)

    def read_as_text(self, names: Iterable[str]) -> None:
        self.table.read_as_text(name for name in names if name not in self.absent)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        there = [name for name in columns if name not in self.absent] or list(self.table.columns)[:1]
        for _, part in self.table.chunks(there):
            gone = pa.nulls(part.num_rows)
            yield pa.table({name: gone if name in self.absent else part[name] for name in columns})
