"""Examples that do not fit in memory, read from files while training goes on.

The order of an epoch has two levels. The examples stand in blocks of neighbours; the blocks are shuffled, and
`BLOCKS` of them at a time are a window, whose examples are shuffled among themselves. So files are read in
long ranges, one window is in memory and the next one is read meanwhile, and what an epoch sees where depends
on the seed, the epoch and the number of examples alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from graphspec.data.ahead import ahead
from graphspec.data.batches import BLOCKS, Batch, Shuffle, cut, generator, sent_ahead
from graphspec.data.padding import Padding, Rows
from graphspec.data.ragged import Ragged
from graphspec.data.store import RowsInFiles

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
        return sent_ahead(self._batches(batch_size, shuffle, start), self.device)

    def _batches(self, batch_size: int, shuffle: Shuffle | None, start: int) -> Generator[Batch, None, None]:
        left: Groups | None = None
        for begin, window, order in ahead(self._read(shuffle, start)):
            missing = -begin % batch_size  # of a batch begun before, which is seen where nothing is left
            if missing and left is not None:
                left = joined(left, chosen(window, order[:missing]))
                if length_of(left) < batch_size:
                    continue
                yield from cut(batch_size, left, self.dtypes, self.device, self.padding)
            begin, order = begin + missing, order[missing:]
            if shuffle is not None and self.padding.bucket is not None:  # brought together within a window
                mixed = generator(shuffle.seed, shuffle.epoch, begin)
                order = self.padding.bucketed(order, window[0], batch_size, mixed)
            end = len(order) - len(order) % batch_size
            step = batch_size * max(1, self._block * BLOCKS // (8 * batch_size))
            for first in range(0, end, step):  # cut as in a whole epoch: see `InMemory`
                stop, seen = min(first + step, end), max(0, start - begin - first)
                if seen < stop - first:
                    some = chosen(window, order[first:stop])
                    batches = cut(batch_size, some, self.dtypes, self.device, self.padding)
                    yield from islice(batches, -(-seen // batch_size), None)
            left = chosen(window, order[end:]) if end < len(order) else None
        if left is not None:
            yield from cut(batch_size, left, self.dtypes, self.device, self.padding)

    def windows(self, shuffle: Shuffle, start: int = 0) -> Iterator[Groups]:
        """The rows in the order of `shuffle`, some at a time, without the first `start`."""
        for begin, window, order in ahead(self._read(shuffle, start)):
            yield chosen(window, order[max(0, start - begin) :])

    def _read(self, shuffle: Shuffle | None, start: int) -> Generator[tuple[int, Groups, Tensor], None, None]:
        """The windows of `_windows`, read."""
        for begin, ranges, order in self._windows(shuffle, start):
            yield begin, [_read(group, ranges) for group in (self.arrays, self.weights, self.masks)], order

    def _windows(self, shuffle: Shuffle | None, start: int) -> Iterator[tuple[int, Ranges, Tensor]]:
        """Of each window the number of examples before it, the ranges of its rows, and their order; those
        that lie before `start` are passed over.
        """
        (offset, _), count, size = self._range, len(self), max(1, self._block)
        blocks = -(-count // size)
        order = torch.arange(blocks)
        if shuffle is not None:
            order = torch.randperm(blocks, generator=generator(shuffle.seed, shuffle.epoch))
        begin = 0
        for window, first in enumerate(range(0, blocks, BLOCKS)):
            numbers = order[first : first + BLOCKS].tolist()
            ranges = [(number * size, min((number + 1) * size, count)) for number in numbers]
            rows = sum(stop - begin for begin, stop in ranges)
            if begin + rows > start:
                mixed = torch.arange(rows)
                if shuffle is not None:
                    mixed = torch.randperm(rows, generator=generator(shuffle.seed, shuffle.epoch, window))
                yield begin, [(offset + first, offset + stop) for first, stop in ranges], mixed
            begin += rows

    @property
    def _block(self) -> int:
        """Examples in a block."""
        groups: tuple[Mapping[str, Any], ...] = (self.arrays, self.weights, self.masks)
        row = sum(int(array.row) for group in groups for array in group.values())
        return WINDOW // (BLOCKS * max(1, row))


def _read(group: Mapping[str, RowsInFiles], ranges: Ranges) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name, filed in group.items():
        rows = filed.read(ranges)
        arrays[name] = Rows.of(rows) if isinstance(rows, Ragged) else torch.from_numpy(rows)
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
