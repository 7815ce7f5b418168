"""Numbers of one column: transformed, scaled and clipped for the model, and back; the numbers in a date."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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

    def cells(self, values: Any, shift: Numbers | None = None, scale: Numbers | None = None) -> Numbers:
        """As `undo`, of float32: of all numbers that become this one, that with the fewest digits. So 0 is 0,
        and 19.99 is no 19.990000152.
        """
        at = np.asarray(values, np.float64)
        half = np.spacing(np.abs(np.asarray(values, np.float32))).astype(np.float64) / 2
        low, exact, high = (self.undo(at + by, shift, scale) for by in (-half, 0.0, half))
        low, high = np.minimum(low, high), np.maximum(low, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            digits = np.log10(high - low)  # a power of ten as wide has one number there at most
            for power in (np.floor(digits), np.ceil(digits)):
                rounded = _rounded(exact, -power)
                exact = np.where((low <= rounded) & (rounded <= high), rounded, exact)
        return exact + 0.0  # -0.0 is 0

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


def _rounded(values: Numbers, digits: Numbers) -> Numbers:
    """Each number with its own digits behind the point."""
    rounded = np.array(values, np.float64)
    for some in np.unique(digits[np.abs(digits) < 300]):
        there = digits == some
        rounded[there] = np.round(rounded[there], int(some))
    return rounded


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


def in_units(
    curves: Sequence[NumberCurve],
    values: NDArray[Any],
    unit: Numbers | None = None,
    way: Callable[..., Numbers] = NumberCurve.undo,
) -> NDArray[Any]:
    """Numbers of a model, rows first, in the units of their columns: of any shape where there is one column,
    else [..., columns] and what follows them; fewer, which a loss of one's own compares with several columns,
    are in no unit of theirs. `unit` are the scales that rows have of their own.
    """
    if len(curves) == 1:
        return way(curves[0], values.astype(np.float64), *_spread(unit, 0, values.ndim))
    if values.ndim == 1 or values.shape[-1] < len(curves):
        return values
    unscaled = values.astype(np.float64)
    for position, curve in enumerate(curves):
        unscaled[..., position] = way(curve, values[..., position], *_spread(unit, position, values.ndim - 1))
    return unscaled


def _spread(unit: Numbers | None, column: int, axes: int) -> tuple[Numbers | None, Numbers | None]:
    """The shift and the scale of each row, for values of so many axes."""
    shift, scale = rows_of(unit, column)
    if shift is None or scale is None:
        return None, None
    wide = (-1, *[1] * (axes - 1))
    return shift.reshape(wide), scale.reshape(wide)


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
