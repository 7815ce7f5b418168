"""Windows as views: rows of a long table are kept once, and gathered when a batch needs them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphspec.data.padding import Rows


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
