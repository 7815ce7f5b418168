"""Numbers of one column: transformed, scaled and clipped for the model, and back; the numbers in a date."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.rows.values import EPOCH, Transform

Numbers = NDArray[np.float64]
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class NumberCurve:
    """The conversion of the numbers of one column, in this order: `fill`, the transform, `(x - shift) /
    scale`, clip. A `scale` of 0 is a column of one value, which becomes 0.
    """

    fill: float | None = None
    transform: Transform | None = None
    quantiles: tuple[float, ...] = field(default=(), repr=False)
    shift: float = 0.0
    scale: float = 1.0
    clip: float | None = None

    def __call__(
        self, values: Numbers, shift: Numbers | None = None, scale: Numbers | None = None
    ) -> Numbers:
        """The numbers for the model; missing ones (NaN) are filled. `shift` and `scale` are those of each
        number, where it has its own.
        """
        if self.fill is not None:
            values = np.where(np.isnan(values), self.fill, values)
        values = self.transformed(values)
        if shift is not None and scale is not None:
            even = (values - shift) / np.where(scale == 0, 1.0, scale)
            values = np.where((scale == 0) & ~np.isnan(values), 0.0, even)
        elif self.scale == 0:
            values = np.where(np.isnan(values), values, 0.0)
        elif self.shift != 0 or self.scale != 1:
            values = (values - self.shift) / self.scale
        return values if self.clip is None else np.clip(values, -self.clip, self.clip)

    def of_one(self, value: float) -> float | None:
        """As the call, of one finite number; None where it is not in the domain of the transform."""
        if outside(self.transform, value):
            return None
        if self.transform is not None:
            value = float(self.transformed(np.asarray(value)))
        if self.scale == 0:
            value = 0.0
        elif self.shift != 0 or self.scale != 1:
            value = (value - self.shift) / self.scale
        if self.clip is not None:
            value = min(max(value, -self.clip), self.clip)
        return value if abs(value) <= LARGEST else None

    def transformed(self, values: Numbers) -> Numbers:
        with np.errstate(invalid="ignore", divide="ignore"):  # of what `legal` refuses
            if self.transform == "log1p":
                return np.log1p(values)
            if self.transform == "sqrt":
                return np.sqrt(values)
        if self.transform == "quantile":
            curve, share = np.array(self.quantiles), np.linspace(0, 1, len(self.quantiles))
            up = np.interp(values, curve, share)  # of equal quantiles the last
            down = np.interp(-values, -curve[::-1], -share[::-1])  # and the first
            return (up - down) / 2
        return values

    def undo(self, values: Numbers, shift: Numbers | None = None, scale: Numbers | None = None) -> Numbers:
        """The inverse: numbers of the model in the units of the column."""
        if shift is not None and scale is not None:
            values = values * scale + shift
        else:
            values = values * self.scale + self.shift
        if self.transform == "log1p":
            return np.expm1(values)
        if self.transform == "sqrt":
            return np.square(np.maximum(values, 0))
        if self.transform == "quantile":
            return np.interp(values, np.linspace(0, 1, len(self.quantiles)), self.quantiles)
        return values

    @property
    def changes(self) -> bool:
        """Whether the numbers of the model differ from those of the column."""
        return self.transform is not None or self.shift != 0 or self.scale != 1

    def to_json(self) -> dict[str, Any]:
        """The settings that differ from the identity."""
        settings = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            one.name: list(value) if isinstance(value, tuple) else value
            for one in fields(self)
            if (value := settings[one.name]) != one.default
        }


def outside(transform: Transform | None, values: Any) -> Any:
    """Where a transform has no value."""
    if transform == "log1p":
        return values <= -1
    return values < (0 if transform == "sqrt" else -math.inf)


def rows_of(unit: Numbers | None, column: int) -> tuple[Numbers | None, Numbers | None]:
    """The shift and the scale of each row, for the numbers of one column."""
    if unit is None:
        return None, None
    return unit[:, column], unit[:, unit.shape[1] // 2 + column]


PERIODS = {"month": 12, "day": 31, "weekday": 7, "day_of_year": 366, "hour": 24, "minute": 60, "second": 60}
"""How many steps each cyclic part has; those of a year and of a month count from 1."""
FROM_ONE = ("month", "day", "day_of_year")


def part_of_date(ticks: NDArray[np.int64], wanted: str) -> Numbers:
    """A part of dates that are microseconds since 1970. Monday is weekday 0."""
    base = wanted.removesuffix("_sin").removesuffix("_cos")
    values = _plain_part(ticks.astype("datetime64[us]"), ticks, base).astype(np.float64)
    if base == wanted:
        return values
    angle = 2 * np.pi * (values - (base in FROM_ONE)) / PERIODS[base]
    return np.sin(angle) if wanted.endswith("_sin") else np.cos(angle)


def part_of_one(ticks: int, wanted: str) -> float:
    """As `part_of_date`, of one date."""
    base = wanted.removesuffix("_sin").removesuffix("_cos")
    if base == "timestamp":
        return ticks / 1e6
    moment = EPOCH + timedelta(microseconds=ticks)
    if base == "weekday":
        value = moment.weekday()
    elif base == "day_of_year":
        value = moment.timetuple().tm_yday
    else:
        value = getattr(moment, base)
    if base == wanted:
        return float(value)
    angle = 2 * np.pi * float(value - (base in FROM_ONE)) / PERIODS[base]
    return float(np.sin(angle) if wanted.endswith("_sin") else np.cos(angle))


def _plain_part(moments: Any, ticks: NDArray[np.int64], part: str) -> NDArray[Any]:
    def whole(unit: str) -> Any:
        return moments.astype(f"datetime64[{unit}]")

    if part == "timestamp":
        return ticks / 1e6
    if part == "year":
        return np.asarray(whole("Y"), np.int64) + 1970
    if part == "month":
        return np.asarray(whole("M") - whole("Y"), np.int64) + 1
    if part == "day":
        return np.asarray(whole("D") - whole("M").astype("datetime64[D]"), np.int64) + 1
    if part == "day_of_year":
        return np.asarray(whole("D") - whole("Y").astype("datetime64[D]"), np.int64) + 1
    if part == "weekday":
        return (np.asarray(whole("D"), np.int64) + 3) % 7
    seconds = np.floor_divide(ticks, 1_000_000)
    return {"hour": seconds // 3600 % 24, "minute": seconds // 60 % 60, "second": seconds % 60}[part]
