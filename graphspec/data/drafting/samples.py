"""The rows of a table that a first spec is drafted from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphspec.data.columns import is_text
from graphspec.data.tables import Table

ROWS = 20_000
"""How many rows are looked at, and up to twice as many where they are spread over a table."""
LETTERS = 2**16
"""Letters of a text that are looked at, the first ones."""
BYTES = 2**28
"""Bytes of the rows that are looked at, about: with them the look ends, however few rows that are."""
READ = 2**30
"""Bytes that are read to spread rows over a table, about: of a longer one they are its first."""


@dataclass(frozen=True, slots=True)
class SampledRows:
    """Every `step`-th of the first `count` rows of a table."""

    rows: pa.Table
    step: int
    count: int


def whole(table: Table) -> SampledRows:
    """All rows, as of a folder of images."""
    parts = [_shortened(part) for _, part in table.chunks(list(table.columns))]
    rows = _joined(parts)
    return SampledRows(rows, 1, rows.num_rows)


def first(table: Table) -> pa.Table:
    """The first rows, which follow one another."""
    parts: list[pa.Table] = []
    count = size = 0
    for _, part in table.chunks(list(table.columns)):
        parts.append(_shortened(part.slice(0, ROWS - count)))
        count += part.num_rows
        size += parts[-1].nbytes
        if count >= ROWS or size > BYTES:
            break
    return _joined(parts)


def spread(table: Table) -> SampledRows:
    """Rows that lie evenly in a table. The first ones of a sorted file may be of one month or user."""
    parts: list[pa.Table] = []
    step, count, read = 1, 0, 0
    for start, part in table.chunks(list(table.columns)):
        parts.append(_shortened(_every(part, -start % step, step)))
        count, read = start + part.num_rows, read + part.nbytes
        while sum(each.num_rows for each in parts) > 2 * ROWS:
            parts, step = [_every(_joined(parts), 0, 2)], 2 * step
        if read > READ or sum(each.nbytes for each in parts) > BYTES:
            break
    return SampledRows(_joined(parts), step, count)


def _every(part: pa.Table, start: int, step: int) -> pa.Table:
    """Every `step`-th row from one on."""
    return part if step == 1 else part.take(pa.array(np.arange(start, part.num_rows, step)))


def _joined(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def _shortened(part: pa.Table) -> pa.Table:
    """Rows with the beginnings of long texts alone."""
    for index, (name, column) in enumerate(zip(part.column_names, part.columns, strict=True)):
        if is_text(column.type) and (pc.max(pc.binary_length(column)).as_py() or 0) > LETTERS:
            part = part.set_column(index, name, pc.utf8_slice_codeunits(column, 0, LETTERS))
    return part
