"""Rows of different lengths: lists, texts, sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.tensor import Dim, names_of, value_of

Array = NDArray[Any]
Offsets = NDArray[np.int64]
LONGEST = 2**31
"""No row is longer."""


def offsets_of(lengths: Any) -> Offsets:
    """Where rows of these lengths begin in sequence, and where the last one ends."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


@dataclass(frozen=True, slots=True)
class Ragged:
    """The elements of all rows in sequence; row `i` is `values[offsets[i]:offsets[i + 1]]`."""

    values: Array
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Offsets:
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes + self.offsets.nbytes)

    def row_of(self, element: int) -> int:
        """The row that an element belongs to."""
        return int(np.searchsorted(self.offsets, element, side="right")) - 1

    def cut(self, length: int, end: bool = True) -> Ragged:
        """Rows of at most `length` elements, their end cut off, or their start."""
        lengths = np.minimum(self.lengths, length)
        return self._taken(self.offsets[:-1] if end else self.offsets[1:] - lengths, lengths)

    def padded(self, length: int) -> Array:
        """[rows, length], zeros after each row; no row may be longer."""
        dense = np.zeros((len(self), length, *self.values.shape[1:]), self.values.dtype)
        dense[np.arange(length) < self.lengths[:, None]] = self.values
        return dense

    def select(self, rows: Offsets) -> Ragged:
        """The rows of these numbers, in their order."""
        return self._taken(self.offsets[rows], self.lengths[rows])

    def _taken(self, starts: Offsets, lengths: Offsets) -> Ragged:
        """Rows of these lengths, whose elements begin at `starts`."""
        offsets = offsets_of(lengths)
        index = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.values[index], offsets)

    def filled(self, rows: NDArray[np.bool_], values: Array) -> Ragged:
        """The same with `values` in the marked rows, which must be empty."""
        lengths = np.where(rows, len(values), self.lengths)
        offsets = offsets_of(lengths)
        new = np.repeat(rows, lengths)
        elements = np.empty((len(new), *self.values.shape[1:]), self.values.dtype)
        elements[~new] = self.values
        elements[new] = np.tile(values, int(rows.sum()))
        return Ragged(elements, offsets)

    @staticmethod
    def joined(parts: list[Ragged]) -> Ragged:
        """The rows of all parts, in their order."""
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = offsets_of(lengths)
        return Ragged(np.concatenate([part.values for part in parts]), offsets)


def padded_lengths(
    sizes: Mapping[str, Dim], least: Mapping[str, int], longest: Mapping[str, int]
) -> dict[str, int]:
    """The length of each field of a batch: of its longest row, or what fits all fields of that size.

    `sizes` are the fields' lengths as the program says them, `least` the smallest legal values of the names
    in those, `longest` the length of each field's longest row.
    """
    named: dict[str, int] = {}
    for name, most in longest.items():
        for unit in names_of(sizes[name]):  # one, or the lengths would not be known
            lowest = max(named.get(unit, 0), least.get(unit, 1))
            named[unit] = _reaching(sizes[name], unit, lowest, most)
    return {name: value_of(sizes[name], named) for name in longest}


def _reaching(size: Dim, unit: str, least: int, wanted: int) -> int:
    """The smallest value of a name, at least `least`, with which `size` is `wanted` or more."""
    low, high = least, max(least, 1)
    while value_of(size, {unit: high}) < wanted and high < LONGEST:
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if value_of(size, {unit: middle}) >= wanted else (middle + 1, high)
    return high
