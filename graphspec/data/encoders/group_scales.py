"""Scales of one's own for the rows of each value of a column: `scale: {standard: store}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.columns import Mask, TablePart, texts
from graphspec.data.encoders.base import restored
from graphspec.data.rows.numbers import Numbers

Scaler = Callable[[Numbers], tuple[float, float]]
NULL = "\0missing"
"""The group of rows whose cell is missing; no text of a file is this."""


class GroupScales:
    """Shift and scale by the text of the column `name`. Rows of an unseen value have those of all rows."""

    def __init__(self, name: str):
        self.name = name
        self.ids: dict[str, int] = {}
        self.known: dict[str, tuple[list[float], list[float]]] = {}
        """The shifts and the scales of the columns, by value."""

    def learn(self, part: TablePart) -> Numbers:
        """The number of each row's value, [n, 1]: what `finish` takes."""
        indices, values = self._values(part)
        numbers = [self.ids.setdefault(value, len(self.ids)) for value in values]
        return np.array(numbers, np.float64)[indices][:, None]

    def finish(self, ids: Numbers, columns: Sequence[Numbers], scaler: Scaler) -> None:
        """Learns from the training rows: their numbers, and the values of each column, NaN where missing."""
        order = np.argsort(ids, kind="stable")
        bounds = np.flatnonzero(np.diff(ids[order])) + 1
        names = list(self.ids)
        for rows in np.split(order, bounds):
            shifts, scales = [], []
            for column in columns:
                there = column[rows][~np.isnan(column[rows])]
                shift, scale = scaler(there) if len(there) else scaler(column[~np.isnan(column)])
                shifts.append(shift + 0.0)
                scales.append(scale)
            self.known[names[int(ids[rows[0]])]] = (shifts, scales)

    def unit(self, part: TablePart, shifts: Sequence[float], scales: Sequence[float]) -> NDArray[np.float64]:
        """[n, 2 * columns]: of each row the shifts, then the scales; of unseen values those given."""
        indices, values = self._values(part)
        rows = [[*both[0], *both[1]] for both in (self.known.get(v, (shifts, scales)) for v in values)]
        return np.array(rows, np.float64)[indices]

    def unseen(self, part: TablePart) -> Mask:
        indices, values = self._values(part)
        return np.array([value not in self.known for value in values])[indices]

    def _values(self, part: TablePart) -> tuple[NDArray[np.int64], list[str]]:
        encoded = texts(part, self.name).fill_null(NULL).dictionary_encode()
        return np.asarray(encoded.indices, np.int64), encoded.dictionary.to_pylist()

    def state(self) -> dict[str, Any]:
        return {name: [shifts, scales] for name, (shifts, scales) in self.known.items()}

    def restore(self, state: Any) -> None:
        self.known = restored(dict[str, tuple[list[float], list[float]]], state)
