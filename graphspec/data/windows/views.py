"""Windows as views: rows of a long table are kept once, and gathered when a batch needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphspec.data.padding import Rows
from graphspec.data.ragged import Ragged, offsets_of
from graphspec.data.store import RowsInFiles

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """For each example the rows of `values` at its origin plus `offsets`: [n, offsets, ...].

    Without `offsets` it is the one row of the origin, [n, ...]. `single` drops the axis of steps, whose size
    is 1.
    """

    values: Tensor
    origins: Tensor
    offsets: Tensor | None = None
    single: bool = False

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.origins.nbytes

    @property
    def device(self) -> torch.device:
        return self.values.device

    def to(self, device: torch.device) -> View:
        offsets = self.offsets.to(device) if self.offsets is not None else None
        return replace(self, values=self.values.to(device), origins=self.origins.to(device), offsets=offsets)

    def index_select(self, axis: int, index: Tensor) -> Tensor:
        """The examples at `index`."""
        at = self.origins[index]
        if self.offsets is None:
            return self.values.index_select(0, at)
        rows = (at[:, None] + self.offsets).reshape(-1)
        values = self.values.index_select(0, rows)
        shape = (len(at), *([] if self.single else [len(self.offsets)]), *self.values.shape[1:])
        return values.view(shape)

    def __getitem__(self, part: slice) -> Tensor:
        return self.index_select(0, torch.arange(*part.indices(len(self)), device=self.device))


@dataclass(frozen=True, slots=True)
class RowsView(Rows):
    """Rows of different lengths; each example has the row at its origin."""

    origins: Tensor

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()[self.origins.cpu()]

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.offsets.nbytes + self.origins.nbytes

    def to(self, where: torch.device | torch.dtype) -> RowsView:
        return RowsView(self.values.to(where), self.offsets, self.origins)

    def select(self, index: Tensor) -> Rows:
        return Rows(self.values, self.offsets).select(self.origins[index.cpu()])

    def part(self, first: int, stop: int) -> Rows:
        return self.select(torch.arange(first, stop))


@dataclass(frozen=True, slots=True)
class Runs:
    """Positions that rise, as runs: one begins at each of `firsts` and has as many as the differences of
    `starts` say, [runs + 1], each `stride` after the one before it.
    """

    firsts: Positions
    starts: Positions
    stride: int

    @classmethod
    def of(cls, positions: Positions, stride: int) -> Runs:
        begins = np.flatnonzero(np.diff(positions, prepend=positions[:1] - stride - 1) != stride)
        return cls(positions[begins], np.append(begins, len(positions)), stride)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def at(self, numbers: Positions) -> Positions:
        """The positions with these numbers, counted from 0."""
        run = np.searchsorted(self.starts, numbers, side="right") - 1
        found: Positions = self.firsts[run] + (numbers - self.starts[run]) * self.stride
        return found

    @property
    def all(self) -> Positions:
        return self.at(np.arange(len(self)))


@dataclass(frozen=True, slots=True)
class ViewsInFiles:
    """For each example the rows of `source` at its place in `runs` plus `offsets`, which rise; without these
    the one there. A `RowsInFiles` that reads each row once.
    """

    source: RowsInFiles
    runs: Runs
    offsets: Tensor | None = None
    single: bool = False

    @property
    def ragged(self) -> bool:
        return self.source.ragged

    @property
    def length(self) -> int:
        return len(self.runs)

    @property
    def row(self) -> int:
        """About how many bytes are read for an example among its neighbours."""
        return self.source.row * self.runs.stride

    def read(self, ranges: Sequence[tuple[int, int]]) -> View | Ragged:
        """The examples of ranges (start and stop), in sequence."""
        numbers = [np.arange(*each) for each in ranges]
        positions = self.runs.at(np.concatenate(numbers) if numbers else np.empty(0, np.int64))
        before, after = (0, 0) if self.offsets is None else (int(self.offsets[0]), int(self.offsets[-1]))
        lows, ends = positions + before, positions + after + 1
        apart = (lows[1:] > ends[:-1] + (1 + after - before)) | (lows[1:] < lows[:-1])
        begins = np.flatnonzero(np.concatenate((np.ones(len(lows[:1]), bool), apart)))
        starts, stops = lows[begins], ends[np.append(begins[1:], len(ends)) - 1]
        values = self.source.read(list(zip(starts.tolist(), stops.tolist(), strict=True)))
        sizes = np.diff(np.append(begins, len(lows)))
        origins = positions + np.repeat(offsets_of(stops - starts)[:-1] - starts, sizes)
        if isinstance(values, Ragged):
            return values.select(origins)
        return View(torch.from_numpy(values), torch.from_numpy(origins), self.offsets, self.single)
