"""Rows of different lengths: lists, texts, sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Offsets = NDArray[np.int64]


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
        """[rows, length], zeros behind each row; no row may be longer."""
        made = np.zeros((len(self), length, *self.values.shape[1:]), self.values.dtype)
        made[np.arange(length) < self.lengths[:, None]] = self.values
        return made

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
        made = np.empty((len(new), *self.values.shape[1:]), self.values.dtype)
        made[~new] = self.values
        made[new] = np.tile(values, int(rows.sum()))
        return Ragged(made, offsets)

    @staticmethod
    def joined(parts: list[Ragged]) -> Ragged:
        """The rows of all parts, in their order."""
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = offsets_of(lengths)
        return Ragged(np.concatenate([part.values for part in parts]), offsets)
