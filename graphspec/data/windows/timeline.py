"""The rows of a long table in the order of each series' time: what follows what, and where a gap is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data import reading
from graphspec.data.columns import TablePart, texts
from graphspec.data.features.windows import Spacing, Windows
from graphspec.data.mistakes import CLOCKS, shown
from graphspec.data.tables import Table
from graphspec.data.windows.stamps import Stamps, Ticks, after, anchors, counted
from graphspec.diagnostics import SpecError, fail

Rows = NDArray[np.int64]
Order = NDArray[Any]
"""Row numbers, int32 where that is enough."""
Codes = NDArray[Any]
"""The number of the series of each row, in the smallest type that holds them."""
TOGETHER = 2**20
"""Rows that are looked at together."""
SHOWN = 3
"""Series that a note names."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Series one after the other, each in the order of time: a place in this order is a position.

    `order` is the row of each position, where that is not the position itself; rows from `rows` on are
    `inserted`, steps that the file lacks. A run of steps without a gap begins at each of `begins` (the length
    of all is the last of them), and a series at each of `starts`. `names` has a row for each series.
    """

    rows: int
    ticks: Ticks
    starts: Rows
    begins: Rows
    names: pa.Table
    stamps: Stamps
    order: Order | None = None
    inserted: TablePart | None = None

    def __len__(self) -> int:
        return len(self.ticks)

    def row_at(self, positions: Rows) -> Rows:
        return positions if self.order is None else self.order[positions].astype(np.int64)

    def series_of(self, positions: Rows) -> Rows:
        """The number of the series at each position."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def anchors(self, spacing: Spacing) -> Rows:
        """The day of the month of each series whose steps are months; 0 of others."""
        return (
            anchors(self.ticks, self.starts) if spacing.months else np.zeros(len(self.starts) - 1, np.int64)
        )

    def in_order(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Values by row, in the order of positions."""
        return rows if self.order is None else rows[self.order]

    def by_row(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values by position, in the order of rows."""
        if self.order is None:
            return values
        row_values = np.empty_like(values)
        row_values[self.order] = values
        return row_values

    def origins(self, before: int, behind: int, stride: int = 1) -> Rows:
        """The positions with `before` steps up to themselves and `behind` steps after, without a gap."""
        runs = zip(self.begins[:-1].tolist(), self.begins[1:].tolist(), strict=True)
        ranges = [range(first + before - 1, stop - behind, stride) for first, stop in runs]
        ends = np.cumsum([0, *map(len, ranges)])
        positions = np.empty(ends[-1], np.int64)
        for some, first, end in zip(ranges, ends[:-1], ends[1:], strict=True):
            positions[first:end] = np.arange(some.start, some.stop, stride)[: end - first]
        return positions

    @property
    def keys(self) -> list[str]:
        """The name of each series as one text."""
        return [json.dumps(list(row.values()), ensure_ascii=False) for row in self.names.to_pylist()]

    def name(self, series: int) -> str:
        """A series in words."""
        values = [shown(value) for value in self.names.slice(series, 1).to_pylist()[0].values()]
        return ", ".join(values)

    def left_out(self, origins: Rows, steps: int) -> list[str]:
        """The notes about series of which there is no window: those that are too short, and those that gaps
        divide.
        """
        lengths = np.diff(self.starts)
        without = np.bincount(self.series_of(origins), minlength=len(lengths)) == 0
        short, torn = (np.flatnonzero(without & kind) for kind in (lengths < steps, lengths >= steps))
        notes = []
        if len(short):
            notes.append(f"left out, as no window of {steps} steps is in it: series {self._named(short)}")
        if len(torn):
            share = lengths[torn].sum() / len(self)
            what = f"no window of {steps} steps without a gap is in series {self._named(torn)}"
            help = "correct the times, or `every`; `gaps: fill` fills gaps"
            notes.append(f"warning: {what}: {share:.1%} of all rows are left out; {help}")
        return notes

    def _named(self, series: Rows) -> str:
        """The first of some series, with their lengths."""
        lengths, shown = np.diff(self.starts), series[:SHOWN].tolist()
        names = ", ".join(f"{self.name(each)} ({lengths[each]:,} rows)" for each in shown)
        return names + (f" and {len(series) - SHOWN:,} more" if len(series) > SHOWN else "")

    def late(self, origins: Rows, ahead: int) -> str | None:
        """The note about series that are forecast from before their last row, the last but `ahead`, as their
        last window without a gap ends there. `origins` has one of each series.
        """
        last = self.starts[1:][self.series_of(origins)] - 1 - ahead
        early = np.flatnonzero(origins < last)
        if not len(early):
            return None
        some = early[:SHOWN]
        texts = [self.stamps.column(self.ticks[at[some]]).to_pylist() for at in (origins, last)]
        names = [self.name(series) for series in self.series_of(origins[some]).tolist()]
        parts = [
            f"{name} from {shown(first)} in place of {shown(then)}"
            for name, first, then in zip(names, *texts, strict=True)
        ]
        more = f" and {len(early) - SHOWN:,} more" if len(early) > SHOWN else ""
        return (
            f"forecast from before the last row, as a gap lies in the steps up to it: series "
            f"{', '.join(parts)}{more}; `gaps: fill` fills gaps"
        )


@dataclass(slots=True)
class _Numbers:
    """The number of each distinct name of a series, in the order in which they appear."""

    known: dict[tuple[str | None, ...], int]

    def of(
        self, indices: Sequence[NDArray[np.int32]], values: Sequence[Sequence[str]], rows: int
    ) -> NDArray[np.int32]:
        """The number of each row's series. A row has an index into the `values` of each column."""
        if not indices:
            self.known.setdefault((), 0)
            return np.zeros(rows, np.int32)
        joint = np.zeros(rows, np.int64)
        for index, distinct in zip(indices, values, strict=True):
            joint = joint * max(1, len(distinct)) + index
        keys, first, back = np.unique(joint, return_index=True, return_inverse=True)
        numbers = np.empty(len(keys), np.int32)
        for place in np.argsort(first, kind="stable"):
            name = tuple(
                distinct[index[first[place]]] for index, distinct in zip(indices, values, strict=True)
            )
            numbers[place] = self.known.setdefault(name, len(self.known))
        return numbers[back]


def timeline(table: Table, windows: Windows, format: str | None, rows: int) -> Timeline:
    """The timeline of the first `rows` rows of a table; `format` is that of its dates.

    Raises `SpecError`: data-column, data-gap, data-dtype, data-order.
    """
    for name in windows.columns:
        if name not in table.columns:
            raise table.lacks(name, None, "`windows` names it")
    _, sample = next(table.chunks([windows.order]), (0, None))
    if sample is None or not sample.num_rows:
        raise fail("data-empty", f"`{table.file}` holds no examples", table.empty_help)
    stamps = Stamps.of(windows.order, sample.column(0).combine_chunks(), windows.format or format)
    codes, ticks, names, stamps = _read(table, windows, stamps, rows)
    return _checked(table, windows, stamps, codes, ticks, names)


def _read(table: Table, windows: Windows, stamps: Stamps, rows: int) -> tuple[Codes, Ticks, pa.Table, Stamps]:
    """The number of the series and the time of each row, the names of the series, and how the latest row says
    its time.
    """
    numbers = _Numbers({})
    codes, ticks, latest = [], [], None
    for first, part in reading.sliced(table.chunks(windows.columns), rows, 1):
        table_part = reading.part_of(table, np.arange(first, first + part.num_rows), part)
        encoded = [_named(table_part, name) for name in windows.by]
        indices = [np.asarray(each.indices, np.int32) for each in encoded]
        values = [each.dictionary.to_pylist() for each in encoded]
        found_codes = numbers.of(indices, values, part.num_rows)
        codes.append(found_codes.astype(np.min_scalar_type(len(numbers.known))))
        ticks.append(stamps.ticks(table_part))
        if len(ticks[-1]) and (latest is None or ticks[-1].max() > latest):
            latest = ticks[-1].max()
            stamps = stamps.like(table_part.column(windows.order)[int(ticks[-1].argmax())].as_py())
    columns = {name: [key[i] for key in numbers.known] for i, name in enumerate(windows.by)}
    names = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    if not windows.by:
        names = pa.table({"series": pa.array([table.file])})
    return np.concatenate(codes), np.concatenate(ticks), names, stamps


def _named(part: TablePart, name: str) -> pa.DictionaryArray:
    column = texts(part, name)
    if column.null_count:
        row = int(np.asarray(column.is_null()).argmax())
        raise part.fail(
            "data-gap", name, row, "the name of the series is missing", "fill it, or remove the row"
        )
    return column.dictionary_encode()


def _checked(
    table: Table, windows: Windows, stamps: Stamps, codes: Codes, ticks: Ticks, names: pa.Table
) -> Timeline:
    rows = len(codes)
    starts = _starts(codes)
    order = _order_of(codes, starts)
    times = ticks if order is None else ticks[order]
    line = Timeline(rows, times, starts, starts, names, stamps, order)
    _rising(table, line)
    spacing = windows.spacing
    if spacing is None:
        return line
    apart = counted(times, spacing, starts)
    apart[starts[1:-1] - 1] = 1
    gaps = np.flatnonzero(apart != 1)
    if not len(gaps):
        return line
    if windows.gaps == "error":
        raise _gap(table, windows, line, gaps, apart)
    if windows.gaps == "skip":
        begins = np.union1d(starts, gaps + 1)
        return Timeline(rows, times, starts, begins, names, stamps, order)
    odd = gaps[apart[gaps] % 1 != 0]
    if len(odd):
        raise _gap(table, windows, line, odd, apart)
    series, more = _lacking(line, gaps, apart, spacing)
    inserted = _inserted(table, windows, line, series, more)
    codes, ticks = np.concatenate((codes, series.astype(np.int32))), np.concatenate((ticks, more))
    order = np.lexsort((ticks, codes))
    starts = _starts(codes)
    return Timeline(rows, ticks[order], starts, starts, names, stamps, order, inserted)


def _starts(codes: Codes) -> Rows:
    """Where each series begins once all are one after the other, and the number of rows."""
    counts = np.zeros(int(codes.max()) + 1, np.int64)
    for first in range(0, len(codes), TOGETHER):
        counts += np.bincount(codes[first : first + TOGETHER], minlength=len(counts))
    return np.concatenate(([0], np.cumsum(counts)))


def _order_of(codes: Codes, starts: Rows) -> Order | None:
    """The rows series by series; None where they are so already. Sorts by counting, in little memory."""
    if (codes[1:] >= codes[:-1]).all():
        return None
    order = np.empty(len(codes), np.int32 if len(codes) < 2**31 else np.int64)
    filled = starts[:-1].copy()
    for first in range(0, len(codes), TOGETHER):
        some = codes[first : first + TOGETHER]
        counts = np.bincount(some, minlength=len(filled))
        within = np.arange(len(some)) - np.repeat(np.cumsum(counts) - counts, counts)
        order[np.repeat(filled, counts) + within] = np.argsort(some, kind="stable") + first
        filled += counts
    return order


def _rising(table: Table, line: Timeline) -> None:
    """Raises `SpecError` where time repeats or falls within a series."""
    wrong = line.ticks[1:] <= line.ticks[:-1]
    wrong[line.starts[1:-1] - 1] = False
    if not wrong.any():
        return
    position = int(wrong.argmax()) + 1
    repeated = line.ticks[position] == line.ticks[position - 1]
    verb = "repeats" if repeated else "lies before"
    help = "sort the rows by time"
    if repeated:
        help = "keep one row for each time; or name the column that tells series apart: `windows: {by: ...}`"
        help += f"; {CLOCKS}" if line.stamps.dated else ""
    raise _wrong(table, line, position, f"{verb} the time of", "", help)


def _gap(table: Table, windows: Windows, line: Timeline, gaps: Rows, apart: NDArray[np.float64]) -> SpecError:
    position = int(gaps[0]) + 1
    more = f"; there are {len(gaps) - 1:,} more gaps" if len(gaps) > 1 else ""
    said = f", {apart[position - 1]:g} steps of `every: {windows.every}` apart{more}"
    help = "`gaps: skip` makes no window across a gap, `gaps: fill` fills it by the `fill` of each feature"
    if apart[position - 1] % 1:
        help = "correct `every`, or the times; `gaps: skip` makes no window across them"
    return _wrong(table, line, position, "comes after", said, help)


def _wrong(table: Table, line: Timeline, position: int, verb: str, more: str, help: str) -> SpecError:
    row, before = (int(each) for each in line.row_at(np.array([position, position - 1])))
    name = line.stamps.name
    series = int(line.series_of(np.array([position]))[0])
    of = f" of series {line.name(series)}" if len(line.starts) > 2 else ""
    message = (
        f"column `{name}` of `{table.file}`, {table.place(row)}: {line.stamps.shown(line.ticks[position])}"
        f"{of} {verb} {line.stamps.shown(line.ticks[position - 1])}, {table.place(before)}{more}"
    )
    return fail("data-order", message, help, span=table.span(row, name))


def _lacking(line: Timeline, gaps: Rows, apart: NDArray[np.float64], spacing: Spacing) -> tuple[Rows, Ticks]:
    """The series and the time of each step that lacks in a gap."""
    counts = apart[gaps].astype(np.int64) - 1
    series = line.series_of(gaps)
    days = line.anchors(spacing)[series]
    each = zip(line.ticks[gaps], counts.tolist(), days.tolist(), strict=True)
    ticks = [after(tick, count, spacing, day) for tick, count, day in each]
    return np.repeat(series, counts), np.concatenate(ticks)


def _inserted(table: Table, windows: Windows, line: Timeline, series: Rows, ticks: Ticks) -> TablePart:
    """The steps that the file lacks, as rows: their series and time, and nothing else."""
    stamps = line.stamps.column(ticks)
    columns: dict[str, pa.Array] = {}
    for name, kind in table.columns.items():
        if name == windows.order:
            columns[name] = stamps
        elif name in windows.by:
            columns[name] = line.names.column(name).combine_chunks().take(pa.array(series))
        else:
            columns[name] = pa.nulls(len(series), kind)
    texts = stamps.cast(pa.string()) if not pa.types.is_string(stamps.type) else stamps

    def place(row: int) -> str:
        return f"the step {shown(texts[row - line.rows].as_py())}, which the file lacks"

    rows = np.arange(line.rows, line.rows + len(series))
    return TablePart(pa.table(columns), rows, table.file, place, table.decimal, table.root)
