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


def counted(ticks: Ticks, spacing: Spacing) -> NDArray[np.float64]:
    """How many steps lie between each time and the next; a fraction where it is no whole number."""
    if not spacing.months:
        return np.diff(ticks) / spacing.amount
    months, rest = _months(ticks)
    apart = np.diff(months) / spacing.amount
    return np.where(np.diff(rest) == 0, apart, np.where(apart % 1 == 0, apart + 0.5, apart))


def after(tick: Any, count: int, spacing: Spacing) -> Ticks:
    """The times of the `count` steps after one."""
    if not spacing.months:
        steps = np.arange(1, count + 1) * spacing.amount
        return np.asarray(
            tick + steps, np.asarray(tick).dtype if np.asarray(tick).dtype.kind == "f" else np.int64
        )
    ticks = np.array([tick], np.int64)
    months, rest = _months(ticks)
    into = int(rest[0])
    wanted = (int(months[0]) + np.arange(1, count + 1) * int(spacing.amount)).astype("datetime64[M]")
    first: Ticks = wanted.astype("datetime64[us]").astype(np.int64)
    last: Ticks = (wanted + 1).astype("datetime64[us]").astype(np.int64)
    if into < 0:  # counted from the end of the month
        return np.asarray(last + into)
    return np.asarray(np.minimum(first + into, last - 86_400_000_000 + into % 86_400_000_000))


def _months(ticks: Ticks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The month of each date, and how far it lies after its begin; of last days of months, before its end."""
    moments = np.asarray(ticks, np.int64).astype("datetime64[us]")
    months = moments.astype("datetime64[M]")
    into = np.asarray(ticks, np.int64) - months.astype("datetime64[us]").astype(np.int64)
    left = np.asarray(ticks, np.int64) - (months + 1).astype("datetime64[us]").astype(np.int64)
    at_end = (left >= -86_400_000_000).all() and (into >= 27 * 86_400_000_000).all()
    return months.astype(np.int64), left if at_end else into
