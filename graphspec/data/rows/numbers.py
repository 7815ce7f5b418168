"""Numbers of one column: transformed, scaled and clipped for the model, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.rows.functions import ARRAYS, ONE, Functions
from graphspec.data.rows.values import Transform

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

    def __call__(self, x: Any, shift: Any = None, scale: Any = None, *, xp: Functions = ARRAYS) -> Any:
        """The numbers for the model; missing ones (NaN) are filled. `shift` and `scale` are those of each
        number, where it has its own.
        """
        if self.fill is not None:
            x = xp.where(xp.isnan(x), self.fill, x)
        x = self.transformed(x, xp)
        if scale is not None:
            even = scale == 0
            x = xp.where(even, xp.where(xp.isnan(x), x, 0.0), (x - shift) / xp.where(even, 1.0, scale))
        elif self.scale == 0:
            x = xp.where(xp.isnan(x), x, 0.0)
        elif self.shift != 0 or self.scale != 1:
            x = (x - self.shift) / self.scale
        return x if self.clip is None else xp.clip(x, -self.clip, self.clip)

    def of_one(self, value: float) -> float | None:
        """As the call, of one finite number; None where it is not in the domain of the transform."""
        try:
            made: float = self(value, xp=ONE)
        except ArithmeticError:
            return None
        return made if abs(made) <= LARGEST else None

    def transformed(self, x: Any, xp: Functions = ARRAYS) -> Any:
        if self.transform in ("log1p", "sqrt"):
            x = xp.refuse(x, outside(self.transform, x), f"a number that has no {self.transform}")
            return xp.log1p(x) if self.transform == "log1p" else xp.sqrt(x)
        if self.transform == "quantile":
            curve, share = np.array(self.quantiles), np.linspace(0, 1, len(self.quantiles))
            up = xp.interp(x, curve, share)  # of equal quantiles the last
            down = xp.interp(-x, -curve[::-1], -share[::-1])  # and the first
            return (up - down) / 2.0
        return x

    def undo(self, x: Any, shift: Any = None, scale: Any = None, *, xp: Functions = ARRAYS) -> Any:
        """The inverse: numbers of the model in the units of the column."""
        x = x * self.scale + self.shift if scale is None else x * scale + shift
        if self.transform == "log1p":
            return xp.expm1(x)
        if self.transform == "sqrt":
            x = xp.clip(x, 0.0, math.inf)
            return x * x
        if self.transform == "quantile":
            return xp.interp(x, np.linspace(0, 1, len(self.quantiles)), np.array(self.quantiles))
        return x

    def cells(self, values: Any, shift: Numbers | None = None, scale: Numbers | None = None) -> Numbers:
        """As `undo`, of float32: of all numbers that become this one, that with the fewest digits. So 0 is 0,
        and 19.99 is no 19.990000152.
        """
        at = np.asarray(values, np.float64)
        half = np.spacing(np.abs(np.asarray(values, np.float32))).astype(np.float64) / 2
        low, exact, high = (self.undo(at + by, shift, scale) for by in (-half, 0.0, half))
        low, high = np.minimum(low, high), np.maximum(low, high)
        if shift is not None and scale is not None:  # those of rows are float32
            wide = (np.abs(shift) + np.abs(at * scale)) * 2.0**-24
            low, high = low - wide, high + wide
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            digits = np.log10(high - low)  # a power of ten as wide has one number there at most
            for power in (np.floor(digits), np.ceil(digits)):
                rounded = _rounded(exact, -power)
                exact = np.where((low <= rounded) & (rounded <= high), rounded, exact)
        return np.asarray(exact + 0.0)  # -0.0 is 0

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
        return way(curves[0], values.astype(np.float64), *spread(unit, 0, values.ndim))
    if values.ndim == 1 or values.shape[-1] < len(curves):
        return values
    unscaled = values.astype(np.float64)
    for position, curve in enumerate(curves):
        unscaled[..., position] = way(curve, values[..., position], *spread(unit, position, values.ndim - 1))
    return unscaled


def spread(unit: Any, column: int, axes: int = 1) -> tuple[Any, Any]:
    """The shift and the scale of each row, for the numbers of one column, of so many axes."""
    if unit is None:
        return None, None
    wide = (-1, *[1] * (axes - 1))
    return unit[:, column].reshape(wide), unit[:, unit.shape[1] // 2 + column].reshape(wide)
