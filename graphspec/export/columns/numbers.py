"""Numbers and dates of columns to what the model takes, and back to the units of the column, in doubles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphspec.data.encoders.group_scales import NULL
from graphspec.data.encoders.numbers import DateEncoder, Floats, NumberEncoder
from graphspec.data.rows.values import numbers_among
from graphspec.export.columns.dates import parts_of
from graphspec.export.columns.graph import FLOAT, NUMBER, TEXT, WHOLE, GraphWriter
from graphspec.export.columns.traced import GraphValue, functions, where


def number(g: GraphWriter, name: str, na_values: Sequence[str]) -> GraphValue:
    """A column of numbers, NaN where one is missing. Infinite ones end the run."""
    x = GraphValue(g, g.column(name, NUMBER))
    x = functions(name).refuse(x, x.made("IsInf", x.name), "not a finite number")
    return with_nan(x, na_values)


def with_nan(x: GraphValue, na_values: Sequence[str]) -> GraphValue:
    """Doubles, NaN where one stands for a missing value."""
    for value in numbers_among(na_values):
        x = where(x == value, np.nan, x)
    return x


def numbers(g: GraphWriter, encoder: NumberEncoder, na_values: Sequence[str]) -> str:
    """[batch, n] float32 of an `encode: number`."""
    values = [number(g, name, na_values) for name in encoder.columns]
    missing = [functions().isnan(x) for x in values]
    columns = _as_the_model_takes(g, encoder, values, scales(g, encoder, na_values))
    marks = [g.cast(g.expanded(mask.name), FLOAT) for mask in missing] if encoder.feature.indicator else []
    return g.joined([columns, *marks])


RowScale = Sequence[GraphValue | None]
"""The shift and the scale of each row, doubles [batch], where rows have their own."""


def scales(
    g: GraphWriter, encoder: Floats, na_values: Sequence[str], rounded: bool = False
) -> list[RowScale]:
    """The scales of the rows, for each column: by the text of a column, and of an unseen one those of all
    rows. Targets have `rounded` ones, of 32 bits.
    """
    if encoder.groups is None:
        return [(None, None)] * len(encoder.curves)
    (name,), known = encoder.beside, encoder.groups.known
    steps, g.steps = g.steps, None
    text, numbered = g.column(name, TEXT), {group: index for index, group in enumerate(known)}
    missing = numbered.pop(NULL, len(known))
    numbered |= dict.fromkeys(na_values, missing)
    index = GraphValue(g, g.look_up(text, list(numbered), list(numbered.values()), len(known)), WHOLE)
    if steps is not None:
        index = repeated(index, steps.count)
    g.steps = steps
    row_scales: list[RowScale] = []
    for position, curve in enumerate(encoder.curves):
        rows = [(shifts[position], scales[position]) for shifts, scales in known.values()]
        table = np.array([*rows, (curve.shift, curve.scale)], np.float32 if rounded else np.float64)
        constants = [GraphValue(g, g.constant(each, np.float64)) for each in table.T]
        row_scales.append([each.made("Gather", each.name, index.name) for each in constants])
    return row_scales


def repeated(value: GraphValue, count: int) -> GraphValue:
    """[batch * count] of [batch]: each as often."""
    wide = value.made("Expand", value.expanded().name, value.g.constant([1, count], np.int64))
    return wide.made("Reshape", wide.name, wide.g.constant([-1], np.int64))


def dates(g: GraphWriter, encoder: DateEncoder, na_values: Sequence[str]) -> str:
    """[batch, n] float32 of an `encode: date`."""
    columns: list[GraphValue] = []
    for name in encoder.columns:
        text = g.column(name, TEXT)
        missing = GraphValue(g, g.is_text(text, list(na_values)))
        parts = parts_of(g, name, text, missing.name, encoder.feature)
        columns += [where(missing, np.nan, value) for value in parts]
    return _as_the_model_takes(g, encoder, columns, scales(g, encoder, na_values))


def _as_the_model_takes(
    g: GraphWriter, encoder: Floats, columns: Sequence[GraphValue], row_scales: Sequence[RowScale]
) -> str:
    """[batch, n] float32 of columns, filled or refused where a value is missing."""
    made = []
    for position, (curve, x, row_scale) in enumerate(zip(encoder.curves, columns, row_scales, strict=True)):
        xp = functions(encoder.column_of(position))
        if curve.fill is None:
            x = xp.refuse(x, xp.isnan(x), "a value is missing")
        made.append(g.expanded(curve(x, *row_scale, xp=xp).name))
    return g.cast(g.joined(made), FLOAT)
