"""Numbers and dates of columns to what the model takes, and back to the units of the column, in doubles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphspec.data.encoders.group_scales import NULL
from graphspec.data.encoders.numbers import DateEncoder, Floats, NumberEncoder
from graphspec.data.rows.numbers import NumberCurve
from graphspec.data.rows.values import numbers_among
from graphspec.export.columns.dates import parts_of
from graphspec.export.columns.graph import FLOAT, NUMBER, TEXT, WHOLE, GraphWriter


def number(g: GraphWriter, name: str, na_values: Sequence[str]) -> str:
    """A column of numbers, NaN where one is missing. Infinite ones end the run."""
    x = g.column(name, NUMBER)
    x = g.guarded(x, NUMBER, g.op("Not", g.op("IsInf", x)), f"column {name}: not a finite number")
    return with_nan(g, x, na_values)


def with_nan(g: GraphWriter, x: str, na_values: Sequence[str]) -> str:
    """Doubles, NaN where one stands for a missing value."""
    for value in numbers_among(na_values):
        x = g.where(g.op("Equal", x, g.constant([value], np.float64)), g.constant([np.nan], np.float64), x)
    return x


def numbers(g: GraphWriter, encoder: NumberEncoder, na_values: Sequence[str]) -> str:
    """[batch, n] float32 of an `encode: number`."""
    values = [number(g, name, na_values) for name in encoder.columns]
    missing = [g.op("IsNaN", x) for x in values]
    row_scales = scales(g, encoder, na_values)
    columns = [_known(g, encoder, i, x, missing[i], row_scales[i]) for i, x in enumerate(values)]
    matrix = g.cast(g.joined([g.expanded(x) for x in columns]), FLOAT)
    if encoder.feature.indicator:
        marks = g.joined([g.expanded(g.cast(mask, FLOAT)) for mask in missing])
        matrix = g.joined([matrix, marks])
    return matrix


RowScale = tuple[str, str] | None
"""The shift and the scale of each row, doubles [batch], where rows have their own."""


def scales(
    g: GraphWriter, encoder: Floats, na_values: Sequence[str], rounded: bool = False
) -> list[RowScale]:
    """The scales of the rows, for each column: by the text of a column, and of an unseen one those of all
    rows. Targets have `rounded` ones, of 32 bits.
    """
    if encoder.groups is None:
        return [None] * len(encoder.curves)
    (name,), known = encoder.beside, encoder.groups.known
    steps, g.steps = g.steps, None
    text, numbered = g.column(name, TEXT), {group: index for index, group in enumerate(known)}
    missing = numbered.pop(NULL, len(known))
    numbered |= dict.fromkeys(na_values, missing)
    index = g.look_up(text, list(numbered), list(numbered.values()), len(known))
    if steps is not None:
        index = repeated(g, index, steps.count)
    g.steps = steps
    row_scales: list[RowScale] = []
    for position, curve in enumerate(encoder.curves):
        rows = [(shifts[position], scales[position]) for shifts, scales in known.values()]
        table = np.array([*rows, (curve.shift, curve.scale)], np.float32 if rounded else np.float64)
        shift, scale = (g.op("Gather", g.constant(column, np.float64), index) for column in table.T)
        row_scales.append((shift, scale))
    return row_scales


def repeated(g: GraphWriter, value: str, count: int) -> str:
    """[batch * count] of [batch]: each as often."""
    wide = g.op("Expand", g.expanded(value), g.constant([1, count], np.int64))
    return str(g.op("Reshape", wide, g.constant([-1], np.int64)))


def dates(g: GraphWriter, encoder: DateEncoder, na_values: Sequence[str]) -> str:
    """[batch, n] float32 of an `encode: date`."""
    columns: list[str] = []
    for name in encoder.columns:
        text = g.column(name, TEXT)
        missing = g.is_text(text, list(na_values))
        for value in parts_of(g, name, text, missing, encoder.feature):
            nan = g.where(missing, g.constant([np.nan], np.float64), value)
            columns.append(_known(g, encoder, len(columns), nan, missing, None))
    return g.cast(g.joined([g.expanded(x) for x in columns]), FLOAT)


def _known(g: GraphWriter, encoder: Floats, position: int, x: str, missing: str, row_scale: RowScale) -> str:
    """A column, filled or refused where a value is missing, as the model takes it."""
    curve, name = encoder.curves[position], encoder.column_of(position)
    if curve.fill is None:
        x = g.guarded(x, NUMBER, g.op("Not", missing), f"column {name}: a value is missing")
    else:
        x = g.where(missing, g.constant([curve.fill], np.float64), x)
    if curve.transform in ("log1p", "sqrt"):
        least = g.constant([-1.0 if curve.transform == "log1p" else 0.0], np.float64)
        fits = g.op("Greater" if curve.transform == "log1p" else "GreaterOrEqual", x, least)
        x = g.guarded(x, NUMBER, fits, f"column {name}: a number that has no {curve.transform}")
    x = _transformed(g, curve, x)
    if row_scale is not None:
        shift, scale = row_scale
        zero, one = g.constant([0.0], np.float64), g.constant([1.0], np.float64)
        even = g.op("Equal", scale, zero)
        x = g.where(even, zero, g.op("Div", g.op("Sub", x, shift), g.where(even, one, scale)))
    elif curve.scale == 0:
        x = g.op("Sub", x, x)
    elif curve.shift != 0 or curve.scale != 1:
        x = g.op("Sub", x, g.constant([curve.shift], np.float64))
        x = g.op("Div", x, g.constant([curve.scale], np.float64))
    if curve.clip is not None:
        x = g.op("Clip", x, g.constant(-curve.clip, np.float64), g.constant(curve.clip, np.float64))
    return x


def _transformed(g: GraphWriter, curve: NumberCurve, x: str) -> str:
    if curve.transform == "log1p":
        return _log1p(g, x)
    if curve.transform == "sqrt":
        return str(g.op("Sqrt", x))
    if curve.transform == "quantile":
        points, shares = np.array(curve.quantiles), np.linspace(0, 1, len(curve.quantiles))
        up = _interpolated(g, x, points, shares)
        down = _interpolated(g, g.op("Neg", x), -points[::-1], -shares[::-1])
        return str(g.op("Div", g.op("Sub", up, down), g.constant([2.0], np.float64)))
    return x


def _log1p(g: GraphWriter, x: str) -> str:
    """log(1 + x) to the last digits, of small numbers too: what 1 + x loses is made good by its quotient."""
    one = g.constant([1.0], np.float64)
    u = g.op("Add", x, one)
    lost = g.op("Sub", u, one)
    same = g.op("Equal", lost, g.constant([0.0], np.float64))
    exact = g.op("Div", g.op("Mul", g.op("Log", u), x), g.where(same, one, lost))
    return g.where(same, x, exact)


def _expm1(g: GraphWriter, x: str) -> str:
    """exp(x) - 1, in the same way."""
    one, zero = g.constant([1.0], np.float64), g.constant([0.0], np.float64)
    u = g.op("Exp", x)
    lost, log = g.op("Sub", u, one), g.op("Log", u)
    same, far = g.op("Equal", lost, zero), g.op("Greater", g.op("Abs", x), one)
    exact = g.op("Div", g.op("Mul", lost, x), g.where(g.op("Equal", log, zero), one, log))
    return g.where(same, x, g.where(far, lost, exact))


def _interpolated(g: GraphWriter, x: str, points: np.ndarray, values: np.ndarray) -> str:
    """`numpy.interp`: of equal points the last one."""
    if len(points) == 1:
        return str(g.op("Add", g.op("Sub", x, x), g.constant([values[0]], np.float64)))
    above = g.op("GreaterOrEqual", g.expanded(x), g.constant(points[None, :], np.float64))
    count = g.op("ReduceSum", g.cast(above, WHOLE), g.constant([1], np.int64), keepdims=0)
    last = len(points) - 2
    low = g.op("Sub", count, g.constant([1], np.int64))
    low = g.op("Clip", low, g.constant(0, np.int64), g.constant(last, np.int64))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(values) / np.diff(points)
    slopes[~np.isfinite(slopes)] = 0.0
    start, base, slope = (
        g.op("Gather", g.constant(array, np.float64), low) for array in (points, values, slopes)
    )
    inside = g.op("Add", g.op("Mul", slope, g.op("Sub", x, start)), base)
    least, most = g.constant([points[0]], np.float64), g.constant([points[-1]], np.float64)
    below = g.where(g.op("Less", x, least), g.constant([values[0]], np.float64), inside)
    return g.where(g.op("GreaterOrEqual", x, most), g.constant([values[-1]], np.float64), below)


def undone(g: GraphWriter, curve: NumberCurve, x: str, row_scale: RowScale = None) -> str:
    """Doubles of the model in the units of the column; `row_scale` are as wide as they are."""
    shift, scale = row_scale or (g.constant([curve.shift], np.float64), g.constant([curve.scale], np.float64))
    x = g.op("Add", g.op("Mul", x, scale), shift)
    if curve.transform == "log1p":
        return _expm1(g, x)
    if curve.transform == "sqrt":
        low = g.op("Max", x, g.constant([0.0], np.float64))
        return str(g.op("Mul", low, low))
    if curve.transform == "quantile":
        points = np.array(curve.quantiles)
        shape = g.op("Shape", x)
        flat = g.op("Reshape", x, g.constant([-1], np.int64))
        return str(g.op("Reshape", _interpolated(g, flat, np.linspace(0, 1, len(points)), points), shape))
    return x
