"""A table of which the rows of some time are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.config import DataConfig
from graphspec.data.files import DataFile
from graphspec.data.reading import part_of
from graphspec.data.rows.values import ticks_of
from graphspec.data.tables.base import Table, WrappingTable
from graphspec.data.windows.stamps import Stamps
from graphspec.diagnostics import fail


def rows_of_time(table: Table, file: DataFile, config: DataConfig) -> Table:
    """The rows of a table of the time that `since` and `until` of its file say, all where neither is given.
    Raises `SpecError` as `Between` does.
    """
    if not file.bounds:
        return table
    time = file.time or (config.windows.order if config.windows is not None else "")
    return Between(table, file, time, config.date_format(time))


class Between(WrappingTable):
    """The rows of a table whose time is not before `since` of the file, and before its `until`."""

    def __init__(self, table: Table, file: DataFile, time: str, format: str | None):
        """`time` is the column, and `format` that of its dates. Raises `SpecError` (data-column, data-dtype)
        where the column is not there, or holds other times than the bounds are.
        """
        super().__init__(table)
        self.time = time
        if time not in table.columns:
            raise table.lacks(time)
        self.said = " and ".join(f"{key} {value}" for key, value in file.bounds.items())
        """The bounds in words."""
        self.empty_help = f"no row is of the time {self.said}"
        _, sample = next(table.chunks([time]), (0, pa.table({time: pa.array([], pa.string())})))
        self.stamps = Stamps.of(time, sample.column(0).combine_chunks(), format)
        bounds = {key: self._tick(key, value) for key, value in file.bounds.items()}
        self.since, self.until = bounds.get("since", -math.inf), bounds.get("until", math.inf)
        self._rows: list[NDArray[np.int64]] = []
        """The numbers, in the whole table, of the rows that the last pass has read."""

    def _tick(self, key: str, value: str | int | float) -> float:
        """A bound as the times of the column are counted."""
        if not self.stamps.dated and not isinstance(value, str):
            return value
        for format in (None, self.stamps.format) if self.stamps.dated else ():
            try:
                return ticks_of(str(value), format)
            except (ValueError, OverflowError):
                continue
        kind, example = ("dates", "2024-12-31") if self.stamps.dated else ("numbers", "20241231")
        message = f"`{key}` is `{value}`, and column `{self.time}` of `{self.file}` holds {kind}"
        raise fail("data-dtype", message, f"write it as {key}: {example}")

    def original(self, row: int) -> int:
        return int(np.concatenate(self._rows)[row])

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        self._rows = []
        read = list(dict.fromkeys([*columns, self.time]))
        for first, part in self.table.chunks(read):
            numbers = np.arange(first, first + part.num_rows)
            ticks = self.stamps.ticks(part_of(self.table, numbers, part))
            there = (ticks >= self.since) & (ticks < self.until)
            self._rows.append(numbers[there])
            yield part.select(columns).filter(pa.array(there))
