"""How the rows that a server predicts differ from those that the run learned from, by what encoders know."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphspec.data.encoders import Encoders
from graphspec.data.features.settings import Number, text_of
from graphspec.data.rows.fields import IdsInRow, NumbersInRow
from graphspec.data.rows.numbers import NumberCurve
from graphspec.data.rows.reader import SINGLE, gaps
from graphspec.data.rows.values import row_number

RECENT = 1000
"""Numbers of a column of which the mean tells: the last ones."""
A_ROW = 8
"""Columns of a row that are looked at, on average: of tables with more, some rows are left out."""


class _Known:
    """A column: the texts that training rows have, or how its numbers were scaled."""

    def __init__(self, name: str, texts: Mapping[str, int] | None, curve: NumberCurve | None):
        self.name, self.texts, self.curve = name, texts, curve
        self.known = self.missing = self.unseen = 0
        self.numbers = deque[float](maxlen=RECENT)

    def count(self, value: Any, missing: frozenset[Any]) -> None:
        """One more value. A list is neither missing nor unseen."""
        plain = type(value) in SINGLE
        if plain and value in missing:
            self.missing += 1
            return
        if self.texts is not None and plain:
            text = value if type(value) is str else text_of(value)
            if text not in self.texts:
                self.unseen += 1
                return
        elif self.curve is not None and (number := row_number(value)) is not None:
            self.numbers.append(number)
        self.known += 1


class ColumnCounts:
    """Counts the values of the columns that features read. Its memory does not grow with rows."""

    def __init__(self, encoders: Encoders | None, na_values: Sequence[str]):
        self._columns = _columns(encoders) if encoders is not None else []
        self._missing, self._rows = gaps(na_values), 0
        self._every = max(1, math.ceil(len(self._columns) / A_ROW))

    def count(self, row: Mapping[str, Any]) -> None:
        """Counts a row that was predicted."""
        self._rows += 1
        if self._rows % self._every == 0:
            for column in self._columns:
                column.count(row.get(column.name), self._missing)

    @property
    def values(self) -> dict[tuple[str, str], int]:
        """How many values were known, missing or unseen, by column and this state."""
        states = ("known", "missing", "unseen")
        counts = {(each.name, state): getattr(each, state) for each in self._columns for state in states}
        return {key: count for key, count in counts.items() if count}

    @property
    def shifts(self) -> dict[str, float]:
        """How many deviations of training the mean of each scaled column is from that of training."""
        return {
            each.name: float(np.mean(each.curve(np.array(each.numbers, np.float64))))
            for each in self._columns
            if each.curve is not None and each.numbers
        }


def _columns(encoders: Encoders) -> list[_Known]:
    """Each column that features read, once."""
    found: dict[str, _Known] = {}
    for encoder in encoders.encoders.values():
        feature = encoder.feature
        if encoder.fill.target or feature is None or encoder.cell().kind == "picture":
            continue
        reads = encoder.in_row()
        ids = reads.ids if isinstance(reads, IdsInRow) else ()
        scaled = isinstance(feature, Number) and feature.scale == "standard"
        curves = reads.curves if scaled and isinstance(reads, NumbersInRow) else ()
        for index, name in enumerate(encoder.columns):
            if name not in found or ids or curves:
                found[name] = _Known(name, ids[index] if ids else None, curves[index] if curves else None)
    return [*found.values()]
