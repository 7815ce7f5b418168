"""Numbers and dates: filled, transformed, scaled and clipped, in float64 until the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.columns import Mask, TablePart, Writing, dates, numbers
from graphspec.data.encoders.base import (
    Array,
    Column,
    ColumnCells,
    Encoder,
    any_of,
    damaged,
    each,
    restored,
    scattered,
    shaped,
)
from graphspec.data.encoders.group_scales import GroupScales
from graphspec.data.features.plan import Fill
from graphspec.data.features.settings import Date, Number, Scale, Statistic
from graphspec.data.rows.calendar import DateParts
from graphspec.data.rows.cells import CellType
from graphspec.data.rows.fields import DatesInRow, InRow, NumbersInRow
from graphspec.data.rows.numbers import NumberCurve, Numbers, in_units, outside, spread
from graphspec.data.rows.values import TICKS
from graphspec.diagnostics import fail

KEPT = 2**22
"""Rows from which statistics are taken; of more, so many are drawn."""
ROUNDING = float(np.finfo(np.float64).eps)
QUANTILES = 1001
"""Points of the curve of `transform: quantile`, as many at most."""


class Sample:
    """Values of training rows: all, or a sample drawn by row number, independent of the parts."""

    def __init__(self) -> None:
        self.parts: list[Numbers] = []
        self.rows: list[NDArray[np.int64]] = []
        self.seen = self.kept = 0
        self.most: np.uint64 | None = None
        """Once rows were drawn, what one has at most as its number of `scattered`."""

    def add(self, rows: NDArray[np.int64], values: Numbers) -> None:
        """More rows, [n, columns]."""
        self.seen += len(values)
        if self.most is not None:
            near = scattered(rows) <= self.most
            rows, values = rows[near], values[near]
        self.parts.append(values)
        self.rows.append(rows)
        self.kept += len(values)
        if self.kept > KEPT + KEPT // 4:
            self._draw()

    def _draw(self) -> None:
        if len(self.parts) == 1 and self.kept <= KEPT:
            return
        rows = np.concatenate(self.rows)
        self.rows.clear()
        if len(rows) <= KEPT:
            values = np.concatenate(self.parts)
        else:
            drawn = scattered(rows)
            self.most = np.partition(drawn, KEPT - 1)[KEPT - 1]
            near = drawn <= self.most
            rows, lengths = rows[near], [len(part) for part in self.parts]
            kept = np.split(near, np.cumsum(lengths[:-1]))
            values = np.concatenate([part[some] for part, some in zip(self.parts, kept, strict=True)])
        self.rows, self.parts, self.kept = [rows], [values], len(rows)

    def values(self) -> Numbers:
        """[rows, columns], in the order of the file."""
        self._draw()
        return self.parts[0]


def statistic(values: Numbers, wanted: Statistic | float | None) -> float | None:
    """The fill for missing values; `values` are those that are not missing."""
    if wanted == "mean":
        return float(values.mean())
    if wanted == "median":
        return float(np.median(values))
    return 0.0 if wanted == "zero" else wanted


def scaling(values: Numbers, scale: Scale) -> tuple[float, float]:
    """Shift and scale of the values; the scale is 0 if all are equal."""
    if scale == "none":
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 0.0
    if scale == "min_max":
        return low, high - low
    if scale == "standard":
        # The squares of huge numbers, and of tiny ones, are no floats.
        unit = 2.0 ** (math.frexp(max(-low, high))[1] - 1)
        return unit * float((values / unit).mean()), unit * float((values / unit).std())
    first, middle, third = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    # Half are one value, but for rounding, so the range is used.
    if third - first <= ROUNDING * (high - low):
        return middle, high - low
    return middle, third - first


class Floats(Encoder):
    """The base of numbers and dates: columns of floats, [n, width]."""

    labels: tuple[str, ...]
    """The name of each float in messages."""
    feature: Number | Date

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.curves: list[NumberCurve] = []
        self.sample = Sample()
        beside = self.feature.beside
        self.groups = GroupScales(beside[0]) if beside else None

    @property
    def beside(self) -> tuple[str, ...]:
        return self.feature.beside

    def read(self, part: TablePart) -> Numbers:
        """The values of the columns, [n, width]; NaN where missing."""
        raise NotImplementedError

    def column_of(self, position: int) -> str:
        """The column that a float comes from."""
        return self.columns[position]

    def learn(self, part: TablePart) -> None:
        values = self.read(part)
        groups = [self.groups.learn(part)] if self.groups is not None else []
        self.sample.add(part.rows, np.concatenate([values, *groups], 1))

    def finish(self) -> None:
        values = self.sample.values()
        transformed: list[Numbers] = []
        for position, label in enumerate(self.labels):
            column: Numbers = values[:, position]
            there = column[~np.isnan(column)]
            if not len(there):
                what = f"column `{self.column_of(position)}` is missing in every training row"
                raise fail("data-gap", what, "take it out of the feature")
            curve = self.curve(position, there)
            filled = column if curve.fill is None else np.where(np.isnan(column), curve.fill, column)
            scaled = curve.transformed(filled)
            if self.groups is not None:
                transformed.append(scaled)
            shift, scale = scaling(scaled[~np.isnan(filled)], self.feature.scaling)
            if scale == 0:
                only = f"`{label}` is {there[0]:g} in every training row"
                self.notes.append(f"warning: {self.name}: {only}, and becomes 0")
            self.curves.append(replace(curve, shift=shift + 0.0, scale=scale))  # -0.0 is 0, as in JSON
        if self.groups is not None:
            self.groups.finish(values[:, -1], transformed, lambda some: scaling(some, self.feature.scaling))
        if self.sample.seen > len(values):
            taken = f"{len(values):,} of {self.sample.seen:,} training rows"
            self.notes.append(f"{self.name}: statistics from {taken}")
        self.sample = Sample()

    def curve(self, position: int, there: Numbers) -> NumberCurve:
        """The conversion before scaling; `there` are the training values that are not missing."""
        raise NotImplementedError

    def encode(self, part: TablePart) -> Column:
        values = self.read(part)
        if values.shape[1] != len(self.curves):
            raise damaged(f"`{self.name}` has {len(self.curves)} curves for {values.shape[1]} columns")
        missing: Mask = np.isnan(values)
        gone: Mask | None = None
        for position, curve in enumerate(self.curves):
            if missing[:, position].any() and curve.fill is None:
                if not self.ignore:
                    raise self.gap(part, self.column_of(position), missing[:, position])
                gone = any_of(missing)
        row_units = self._row_units(part)
        scaled = np.stack(
            [curve(values[:, i], *spread(row_units, i)) for i, curve in enumerate(self.curves)], 1
        )
        if gone is not None:
            scaled[gone] = 0
        marks = {"filled": any_of(missing)} if gone is None and missing.any() else {}
        if self.groups is not None and (unseen := self.groups.unseen(part)).any():
            marks["unseen"] = unseen
        unit = row_units.astype(np.float32) if row_units is not None else None
        return Column(shaped(self.fill, self.finished(scaled, missing)), gone, marks, unit=unit)

    def _row_units(self, part: TablePart) -> Numbers | None:
        """[n, 2 * columns]: the shift and the scale of each row, where rows have their own."""
        if self.groups is None:
            return None
        return self.groups.unit(part, [c.shift for c in self.curves], [c.scale for c in self.curves])

    def unit(self, part: TablePart) -> NDArray[np.float32] | None:
        row_units = self._row_units(part)
        return None if row_units is None else row_units.astype(np.float32)

    def finished(self, made: Numbers, missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        return made.astype(np.float32)

    def cells(self) -> list[ColumnCells]:
        """Numbers in the units of their columns; of rows with scales of their own, as the model has them."""
        curves = [NumberCurve() for _ in self.curves] if self.beside else self.curves
        width = len(curves) // len(self.columns)
        return [
            ColumnCells(name, self._places(i, width), partial(self._cells, curves[i * width :][:width]))
            for i, name in enumerate(self.columns)
        ]

    def _places(self, column: int, width: int) -> tuple[int, ...] | None:
        return self.place(column)

    def _cells(self, curves: Sequence[NumberCurve], values: Array) -> list[Any]:
        """The cells of one column, of its numbers."""
        return each(in_units(curves, values, way=NumberCurve.cells), float)

    def state(self) -> dict[str, Any]:
        groups = {"groups": self.groups.state()} if self.groups is not None else {}
        return {"curves": [curve.to_json() for curve in self.curves], **groups}

    def restore(self, state: Mapping[str, Any]) -> None:
        if self.groups is not None:
            self.groups.restore(state["groups"])
        self.curves, self.sample = [_curve(item) for item in state["curves"]], Sample()


class NumberEncoder(Floats):
    """`encode: number`."""

    feature: Number
    fill_help = "write `fill: mean` (or median, zero, a number) at the feature"

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.labels = self.columns
        feature = self.feature
        self.writing = Writing(feature.prefix, feature.unit, feature.thousands, feature.decimal)
        self.measured: tuple[str, ...] = ()
        """The columns whose training rows have other numbers than 0 and 1: `true` is none of theirs."""

    def finish(self) -> None:
        values = self.sample.values()[:, : len(self.columns)]
        others = ((values != 0) & (values != 1) & ~np.isnan(values)).any(0)
        self.measured = tuple(name for name, other in zip(self.columns, others, strict=True) if other)
        super().finish()

    def read(self, part: TablePart) -> Numbers:
        values = np.stack([numbers(part, name, self.writing) for name in self.columns], 1)
        self.legal(part, values)
        return values

    def cell(self, column: int = 0) -> CellType:
        return CellType("number")

    def in_row(self) -> InRow:
        return NumbersInRow(self.columns, tuple(self.curves), self.feature.indicator, self.is_single)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "measured": list(self.measured)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.measured = tuple(state.get("measured", ()))

    def legal(self, part: TablePart, values: Numbers) -> None:
        """Raises `SpecError` for a number that has no transform."""
        for position, name in enumerate(self.columns):
            transform = self.feature.transform_of(name)
            low = outside(transform, values[:, position])
            if low.any():
                index = int(low.argmax())
                kind = "more than -1" if transform == "log1p" else "at least 0"
                what = f"{values[index, position]:g} has no {transform}, which takes numbers of {kind}"
                help = "leave the `transform` of this column out"
                raise part.fail("data-range", name, index, what, help, "give such a number")

    def curve(self, position: int, there: Numbers) -> NumberCurve:
        transform = self.feature.transform_of(self.columns[position])
        quantiles: tuple[float, ...] = ()
        if transform == "quantile":
            ordered, points = np.sort(there), min(QUANTILES, len(there))
            at = np.arange(points) * (len(ordered) - 1) / max(1, points - 1)
            quantiles = tuple(np.interp(at, np.arange(len(ordered)), ordered).tolist())
        return NumberCurve(statistic(there, self.feature.fill), transform, quantiles, clip=self.feature.clip)

    def _places(self, column: int, width: int) -> tuple[int, ...] | None:
        return (column, len(self.columns) + column) if self.feature.indicator else self.place(column)

    def _cells(self, curves: Sequence[NumberCurve], values: Array) -> list[Any]:
        if not self.feature.indicator:
            return super()._cells(curves, values)
        known = in_units(curves, values[..., 0], way=NumberCurve.cells)
        missing = values[..., 1] > 0.5
        return each(np.where(missing, np.nan, known), lambda number: None if math.isnan(number) else number)

    def finished(self, made: Numbers, missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # an infinity is refused, as every one
            floats = made.astype(np.float32)
        return np.concatenate((floats, missing.astype(np.float32)), 1) if self.feature.indicator else floats


class DateEncoder(Floats):
    """`encode: date`: the floats of all parts of the first column, then those of the next."""

    feature: Date
    fill_help = "write `fill: mean` (or median, zero, a number) at the feature"

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.labels = tuple(f"{part} of {name}" for name in self.columns for part in self.feature.parts)

    def column_of(self, position: int) -> str:
        return self.columns[position // len(self.feature.parts)]

    def read(self, part: TablePart) -> Numbers:
        parts = []
        for name in self.columns:
            ticks, missing = dates(part, name, self.feature.format)
            moments = DateParts(*divmod(ticks, TICKS))
            parts += [np.where(missing, np.nan, moments.part(wanted)) for wanted in self.feature.parts]
        return np.stack(parts, 1)

    def cell(self, column: int = 0) -> CellType:
        return CellType("date", format=self.feature.format)

    def in_row(self) -> InRow:
        feature, curves = self.feature, tuple(self.curves)
        return DatesInRow(self.columns, feature.format, tuple(feature.parts), curves, self.is_single)

    def _places(self, column: int, width: int) -> tuple[int, ...] | None:
        return None if self.is_single else tuple(range(column * width, (column + 1) * width))

    def _cells(self, curves: Sequence[NumberCurve], values: Array) -> list[Any]:
        """The numbers of the parts by their names."""
        parts = self.feature.parts
        stacked = values[..., None] if len(parts) == 1 else values
        numbers = in_units(curves, stacked, way=NumberCurve.cells)
        rows = [dict(zip(parts, row, strict=True)) for row in numbers.reshape(-1, len(parts)).tolist()]
        return each(np.array(rows, object).reshape(numbers.shape[:-1]), dict)

    def curve(self, position: int, there: Numbers) -> NumberCurve:
        return NumberCurve(statistic(there, self.feature.fill))


def _curve(value: Mapping[str, Any]) -> NumberCurve:
    """Of what `NumberCurve.to_json` said. Raises `ValueError`."""
    curve: NumberCurve = restored(NumberCurve, value)
    if curve.transform == "quantile" and not curve.quantiles:
        raise ValueError("a curve of quantiles has none")
    return curve
