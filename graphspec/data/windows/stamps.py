"""The column of time of a long table, as numbers that can be compared, counted on, and written again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart, dates, is_text, missing_in, numbers
from graphspec.data.features.windows import Spacing
from graphspec.data.mistakes import shown

Ticks = NDArray[Any]
"""Microseconds since 1970, int64; or the numbers of a column of numbers, float64."""
Rows = NDArray[np.int64]
DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamps:
    """How the column `name` says time: `sample` is one of its cells, `kind` its type."""

    name: str
    kind: pa.DataType
    sample: Any
    format: str | None = None

    @classmethod
    def of(cls, name: str, column: pa.Array, format: str | None) -> Stamps:
        first = next((value for value in column.slice(0, 1000).to_pylist() if value is not None), None)
        return cls(name, column.type, first, format)

    def like(self, cell: Any) -> Stamps:
        """Times as this cell says its own: the offset of summer ends with it."""
        return replace(self, sample=cell) if self.dated and is_text(self.kind) else self

    @property
    def dated(self) -> bool:
        """Whether it holds dates, and not numbers."""
        if self.format is not None or pa.types.is_date(self.kind) or pa.types.is_timestamp(self.kind):
            return True
        return is_text(self.kind) and not _is_number(self.sample)

    def ticks(self, part: TablePart) -> Ticks:
        """The times of some rows. Raises `SpecError`: data-gap, data-dtype."""
        gone = missing_in(part.column(self.name))
        if gone.any():
            what = "the time is missing, which tells the order of the rows"
            raise part.fail("data-gap", self.name, int(gone.argmax()), what, "fill it, or remove the row")
        if self.dated:
            return dates(part, self.name, self.format)[0]
        return numbers(part, self.name)

    def column(self, ticks: Ticks) -> pa.Array:
        """Times in the way that the column has them."""
        if not self.dated:
            ints = pa.types.is_integer(self.kind) or (is_text(self.kind) and float(self.sample).is_integer())
            values = pa.array(np.asarray(ticks, np.int64) if ints else np.asarray(ticks, np.float64))
            return values.cast(self.kind)
        if is_text(self.kind):
            return pa.array([self._text(int(tick)) for tick in ticks], self.kind)
        zone = self.kind.tz if pa.types.is_timestamp(self.kind) else None
        moments = pa.array(np.asarray(ticks, np.int64), pa.timestamp("us", "UTC" if zone else None))
        return moments.cast(self.kind, safe=False)

    def _text(self, tick: int) -> str:
        moment = EPOCH + timedelta(microseconds=tick)
        if self.format is not None:
            return moment.strftime(self.format)
        sample = str(self.sample).strip()
        zone = datetime.fromisoformat(sample).tzinfo
        moment = moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)
        if len(sample) <= 10 and moment.time() == datetime.min.time():
            return moment.date().isoformat()
        separator = sample[10:11] or "T"
        unit = "minutes" if sample.count(":") == 1 + (zone is not None and sample[-3:-2] == ":") else "auto"
        unit = "auto" if moment.second or moment.microsecond else unit
        text = moment.isoformat(sep=separator, timespec=unit)
        return text.replace("+00:00", "Z") if sample.endswith("Z") else text

    def shown(self, tick: Any) -> str:
        return shown(self.column(np.array([tick]))[0].as_py())


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def counted(ticks: Ticks, spacing: Spacing, starts: Rows) -> NDArray[np.float64]:
    """How many steps lie between each time and the next; a fraction where it is no whole number. `starts` is
    where each series begins, and the number of times.
    """
    if not spacing.months:
        return np.diff(ticks) / spacing.amount
    months, day, last, rest = _months(ticks)
    wanted = np.repeat(anchors(ticks, starts), np.diff(starts))
    day = np.where(day == np.minimum(wanted, last), wanted, day)
    apart = np.diff(months) / spacing.amount
    same = (np.diff(day) == 0) & (np.diff(rest) == 0)
    return np.where(same, apart, np.where(apart % 1 == 0, apart + 0.5, apart))


def anchors(ticks: Ticks, starts: Rows) -> Rows:
    """The day of the month, from 0, of each series that counts in months: its latest, in whose place shorter
    months have their last; the 31st where all are last days.
    """
    _, day, last, _ = _months(ticks)
    at_end = np.logical_and.reduceat(day == last, starts[:-1])
    return np.where(at_end, 30, np.maximum.reduceat(day, starts[:-1]))


def after(tick: Any, count: int, spacing: Spacing, anchor: int) -> Ticks:
    """The times of the `count` steps after one; where these are months, of a series with this anchor."""
    if not spacing.months:
        steps = np.arange(1, count + 1) * spacing.amount
        return np.asarray(
            tick + steps, np.asarray(tick).dtype if np.asarray(tick).dtype.kind == "f" else np.int64
        )
    (month,), (day,), (last,), (rest,) = _months(np.array([tick], np.int64))
    wanted = anchor if day == min(anchor, last) else day
    months = (month + np.arange(1, count + 1) * int(spacing.amount)).astype("datetime64[M]")
    first, lasts = _begin(months), _begin(months + 1) // DAY - _begin(months) // DAY - 1
    return np.asarray(first + np.minimum(wanted, lasts) * DAY + rest)


def _months(ticks: Ticks) -> tuple[Rows, Rows, Rows, Rows]:
    """The month of each date, its day in it, from 0, the last day of that month, and the time of the day."""
    moments = np.asarray(ticks, np.int64)
    months = moments.astype("datetime64[us]").astype("datetime64[M]")
    first, end = _begin(months), _begin(months + 1)
    return months.astype(np.int64), (moments - first) // DAY, (end - first) // DAY - 1, moments % DAY


def _begin(months: NDArray[np.datetime64]) -> Rows:
    return months.astype("datetime64[us]").astype(np.int64)
