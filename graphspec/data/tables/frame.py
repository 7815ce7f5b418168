"""A table that is in memory already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from graphspec.data.tables.base import Table
from graphspec.data.tables.values import plain_type

ROWS = 2**16
"""Rows of a part."""


class FrameTable(Table):
    """The columns of a pandas or polars frame, or of a pyarrow table."""

    def __init__(self, table: pa.Table, name: str, na_values: Sequence[str]):
        super().__init__(Path(name), na_values)
        self.root = Path()
        self.table = table

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {field.name: plain_type(field.type) for field in self.table.schema}

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for first in range(0, self.table.num_rows, ROWS):
            yield self.table.select(columns).slice(first, ROWS)
