"""Examples that do not fit in memory, read from files while training goes on.

The order of an epoch has two levels. The examples stand in blocks of neighbours; the blocks are shuffled, and
`BLOCKS` of them at a time are a window, whose examples are shuffled among themselves. So files are read in
long ranges, one window is in memory, and what an epoch sees where depends on the seed, the epoch and the
number of examples alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphspec.data.batches import Batch, Shuffle, cut, generator
from graphspec.data.padding import Padding, Rows
from graphspec.data.ragged import Ragged
from graphspec.data.store import Filed, FiledRows

WINDOW = 64 * 2**20
"""Bytes of examples in memory at a time."""
BLOCKS = 64
"""Blocks in a window."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Arrays in files, all with the same number of rows. `Examples` of `batches`."""

    arrays: Mapping[str, Filed | FiledRows]
    dtypes: Mapping[str, torch.dtype]
    weights: Mapping[str, Filed] = field(default_factory=dict)
    counted: Mapping[str, Filed] = field(default_factory=dict)
    device: torch.device | None = None
    padding: Padding = Padding()  # noqa: RUF009 - a frozen value

    def __len__(self) -> int:
        return next(iter(self.arrays.values())).length

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        left: list[dict[str, Any]] = []
        for ranges, order in self._windows(shuffle, start):
            groups = [_read(group, ranges, order) for group in (self.arrays, self.weights, self.counted)]
            if left:
                groups = [
                    {name: _joined(before[name], a) for name, a in group.items()}
                    for before, group in zip(left, groups, strict=True)
                ]
            count = len(next(iter(groups[0].values())))
            whole = count - count % batch_size
            left = [{name: _part(a, whole, count) for name, a in group.items()} for group in groups]
            if whole:
                groups = [{name: _part(a, 0, whole) for name, a in group.items()} for group in groups]
                yield from cut(batch_size, groups, self.dtypes, self.device, self.padding)
        if left and len(next(iter(left[0].values()))):
            yield from cut(batch_size, left, self.dtypes, self.device, self.padding)

    def _windows(
        self, shuffle: Shuffle | None, start: int
    ) -> Iterator[tuple[list[tuple[int, int]], Tensor | None]]:
        """The ranges of rows of each window, and the order of its rows; the first `start` are left out."""
        count = len(self)
        size = max(1, self._block)
        blocks = -(-count // size)
        order = torch.arange(blocks)
        if shuffle is not None:
            order = torch.randperm(blocks, generator=generator(shuffle.seed, shuffle.epoch))
        for window, first in enumerate(range(0, blocks, BLOCKS)):
            numbers = order[first : first + BLOCKS].tolist()
            ranges = [(number * size, min((number + 1) * size, count)) for number in numbers]
            rows = sum(stop - begin for begin, stop in ranges)
            if start >= rows:
                start -= rows
                continue
            mixed = torch.arange(rows)
            if shuffle is not None:
                mixed = torch.randperm(rows, generator=generator(shuffle.seed, shuffle.epoch, window))
            yield ranges, mixed[start:] if start or shuffle is not None else None
            start = 0

    @property
    def _block(self) -> int:
        """Examples in a block."""
        groups: tuple[Mapping[str, Any], ...] = (self.arrays, self.weights, self.counted)
        row = sum(array.row for group in groups for array in group.values())
        return WINDOW // (BLOCKS * max(1, row))


def _read(
    group: Mapping[str, Filed | FiledRows], ranges: list[tuple[int, int]], order: Tensor | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, filed in group.items():
        if isinstance(filed, FiledRows):
            rows = Rows.of(Ragged.joined([filed.rows(begin, stop) for begin, stop in ranges]))
            found[name] = rows if order is None else rows.select(order)
        else:
            array = torch.from_numpy(np.concatenate([filed.rows(begin, stop) for begin, stop in ranges]))
            found[name] = array if order is None else array.index_select(0, order)
    return found


def _part(array: Any, first: int, stop: int) -> Any:
    return array.part(first, stop) if isinstance(array, Rows) else array[first:stop]


def _joined(before: Any, after: Any) -> Any:
    return Rows.joined([before, after]) if isinstance(after, Rows) else torch.cat([before, after])
