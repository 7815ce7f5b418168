"""Examples that do not fit in memory, read from files while training goes on.

The order of an epoch is that of `order.windows`. Files are read in long ranges, one window is in memory and
the next one is read meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphspec.data.ahead import ahead
from graphspec.data.batches import Batch, Examples, Shuffle, cut, even_borders, generator, sent_ahead
from graphspec.data.order import BLOCKS, LANES, Numbers, Window, windows
from graphspec.data.padding import Padding, Rows
from graphspec.data.ragged import Ragged
from graphspec.data.sharing import Shared
from graphspec.data.store import RowsInFiles
from graphspec.data.windows.views import View

Groups = Sequence[Mapping[str, Any]]
"""Arrays, weights and what counts, by name."""
Ranges = Sequence[tuple[int, int]]
WINDOW = 64 * 2**20
"""Bytes of examples that are read at a time."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Arrays in files, all with the same number of rows. `Examples` of `batches`."""

    arrays: Mapping[str, RowsInFiles]
    dtypes: Mapping[str, torch.dtype]
    weights: Mapping[str, RowsInFiles] = field(default_factory=dict)
    masks: Mapping[str, RowsInFiles] = field(default_factory=dict)
    device: torch.device | None = None
    padding: Padding = Padding()  # noqa: RUF009 - a frozen value
    rows: tuple[int, int] | None = None
    """From which row to before which; without it there are all."""
    process: tuple[int, int] = (0, 1)
    """Which of how many processes this is that train together: it has its share of each batch."""

    def __len__(self) -> int:
        first, stop = self._range
        return stop - first

    @property
    def _range(self) -> tuple[int, int]:
        return (0, next(iter(self.arrays.values())).length) if self.rows is None else self.rows

    @property
    def epoch(self) -> int:
        return len(self)

    @property
    def even(self) -> bool:
        return not any(array.ragged for array in self.arrays.values())

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        rank, size = self.process
        if size > 1 and shuffle is None:
            return Shared(replace(self, process=(0, 1)), rank, size).batches(batch_size, None, start)
        return sent_ahead(self._batches(batch_size, shuffle, start), self.device)

    def _batches(self, batch_size: int, shuffle: Shuffle | None, start: int) -> Generator[Batch, None, None]:
        left: Groups | None = None
        begun: Any = 0
        for window, groups in ahead(self._read(shuffle, start)):
            order, pieces = torch.from_numpy(window.rows), _Pieces.of(window, batch_size, self.process[1])
            if shuffle is not None and self.padding.bucket is not None:  # brought together within a window
                first = pieces.edges[pieces.continues]
                mixed = generator(shuffle.seed, shuffle.epoch, window.begin + first)
                near = self.padding.bucketed(order[first:], groups[0], batch_size, mixed)
                order = torch.cat((order[:first], near))
            last = window.begin + window.count == len(self)
            whole = len(pieces.sizes) - (pieces.ends and not last)
            if pieces.continues and left is not None:  # else the batch that was begun before is seen
                left, begun = joined(left, chosen(groups, order[: pieces.edges[1]])), begun + pieces.counts[0]
                if not whole:
                    continue
                yield from self._cut(left, [length_of(left)], [begun])
            # cut as in a whole epoch: see `InMemory`
            step = max(1, window.count // (8 * batch_size))
            for piece in range(pieces.continues, whole, step):
                stop = min(piece + step, whole)
                seen = -(-max(0, start - window.begin - pieces.marks[piece]) // batch_size)
                if seen < stop - piece:
                    some = chosen(groups, order[pieces.edges[piece] : pieces.edges[stop]])
                    batches = self._cut(some, pieces.sizes[piece:stop], pieces.counts[piece:stop])
                    yield from islice(batches, seen, None)
            left = None
            if whole < len(pieces.sizes):
                left, begun = chosen(groups, order[pieces.edges[whole] :]), pieces.counts[whole]

    def _cut(self, groups: Groups, sizes: Sequence[int], counts: Sequence[Any]) -> Iterator[Batch]:
        """Batches of these sizes; `counts` has those of all processes."""
        batches = cut(sizes, groups, self.dtypes, self.device, self.padding)
        if self.process[1] == 1:
            yield from batches
            return
        for batch, size, every in zip(batches, sizes, counts, strict=True):
            if not size:  # an example of another process, which counts for nothing
                first = self._range[0]
                groups = self.arrays, self.weights, self.masks
                read = [_read(group, [(first, first + 1)]) for group in groups]
                one = chosen(read, torch.zeros(1, dtype=torch.int64))
                (batch,) = cut(1, one, self.dtypes, self.device, self.padding)
            yield replace(batch, counts=every.tolist(), idle=not size)

    def windows(self, shuffle: Shuffle, start: int = 0) -> Iterator[Groups]:
        """The rows in the order of `shuffle`, some at a time, without the first `start`."""
        for window, groups in ahead(self._read(shuffle, start)):
            yield chosen(groups, torch.from_numpy(window.rows[max(0, start - window.begin) :]))

    def _read(self, shuffle: Shuffle | None, start: int) -> Generator[tuple[Window, Groups], None, None]:
        """The windows of an epoch, but for those before `start`, and their rows."""
        by = None if shuffle is None else (shuffle.seed, shuffle.epoch)
        for window in windows(self._borders, by, *self.process, start=start):
            yield window, [_read(group, window.ranges) for group in (self.arrays, self.weights, self.masks)]

    @property
    def _borders(self) -> Numbers:
        """Where blocks begin, and the last one ends."""
        groups: tuple[Mapping[str, Any], ...] = (self.arrays, self.weights, self.masks)
        row = sum(int(array.row) for group in groups for array in group.values())
        return even_borders(*self._range, max(1, WINDOW // (BLOCKS * max(1, row))))


def share_of(examples: Examples, rank: int, size: int) -> Examples:
    """The share of process `rank` of `size` in each batch. Of files in a shuffled order it reads its share
    alone, unless rows are brought together by their length, or there are more processes than lanes.
    """
    if isinstance(examples, Streamed) and size <= LANES and examples.padding.bucket is None:
        return replace(examples, process=(rank, size))
    return Shared(examples, rank, size)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A window where batches begin. `marks` are the places in it of all processes at which pieces begin, and
    the last one ends, and `edges` those of this one; a piece is of one batch, with `sizes` rows here, and
    `counts` [pieces, processes] of each process.
    """

    marks: list[int]
    edges: list[int]
    sizes: list[int]
    counts: Any
    continues: bool
    """Whether the first piece is of a batch that began before."""
    ends: bool
    """Whether the last one is of a batch that goes on."""

    @classmethod
    def of(cls, window: Window, batch_size: int, processes: int) -> _Pieces:
        end = window.begin + window.count
        marks = np.arange(-window.begin % batch_size, window.count, batch_size)
        marks = np.unique(np.concatenate(([0], marks, [window.count])))
        edges = np.searchsorted(window.places, marks)
        ranks = np.arange(processes)
        rounds, rest = np.divmod(marks[:, None], LANES)
        before = rounds * -(-(LANES - ranks) // processes) + -(-np.maximum(0, rest - ranks) // processes)
        sizes, counts = np.diff(edges).tolist(), np.diff(before, axis=0)
        goes_on = end % batch_size > 0
        return cls(marks.tolist(), edges.tolist(), sizes, counts, window.begin % batch_size > 0, goes_on)


def _read(group: Mapping[str, RowsInFiles], ranges: Ranges) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name, filed in group.items():
        rows = filed.read(ranges)
        if not isinstance(rows, View):
            rows = Rows.of(rows) if isinstance(rows, Ragged) else torch.from_numpy(rows)
        arrays[name] = rows
    return arrays


def chosen(window: Groups, order: Tensor) -> Groups:
    return [
        {
            name: rows.select(order) if isinstance(rows, Rows) else rows.index_select(0, order)
            for name, rows in group.items()
        }
        for group in window
    ]


def joined(first: Groups, second: Groups) -> Groups:
    return [
        {
            name: Rows.joined([rows, more[name]]) if isinstance(rows, Rows) else torch.cat([rows, more[name]])
            for name, rows in group.items()
        }
        for group, more in zip(first, second, strict=True)
    ]


def length_of(groups: Groups) -> int:
    return len(next(iter(groups[0].values())))
