"""A table whose rows all lack some keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import pyarrow as pa

from graphspec.data.tables.base import Table, WrappingTable


class Completed(WrappingTable):
    """A table with further columns, in which every value is missing."""

    def __init__(self, table: Table, absent: Sequence[str]):
        super().__init__(table)
        self.absent = absent

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {**self.table.columns, **dict.fromkeys(self.absent, pa.null())}

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        there = [name for name in columns if name not in self.absent] or list(self.table.columns)[:1]
        for _, part in self.table.chunks(there):
            gone = pa.nulls(part.num_rows)
            yield pa.table({name: gone if name in self.absent else part[name] for name in columns})
