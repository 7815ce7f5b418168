"""Rows of different lengths as tensors, and the length that a batch of them is padded to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from graphspec.data.ragged import Ragged, padded_lengths
from graphspec.tensor import Dim, names_of

WINDOW = 50
"""Batches within which rows are sorted by their length."""


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Copies values from the host to a device. The host does not wait for a GPU: it has pinned memory for
    this.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Rows:
    """The elements of all rows in sequence, [elements, ...]; offsets, int64 [rows + 1], stay on the
    CPU, where batches are made.
    """

    values: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, ragged: Ragged) -> Rows:
        return cls(torch.from_numpy(ragged.values), torch.from_numpy(ragged.offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.offsets.nbytes

    @property
    def device(self) -> torch.device:
        return self.values.device

    def to(self, where: torch.device | torch.dtype) -> Rows:
        values = sent(self.values, where) if isinstance(where, torch.device) else self.values.to(where)
        return Rows(values, self.offsets)

    def select(self, index: Tensor) -> Rows:
        """The rows at `index`, int64, in its order."""
        index = index.cpu()
        lengths = self.lengths[index]
        offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        starts = torch.repeat_interleave(self.offsets[index] - offsets[:-1], lengths)
        elements = starts + torch.arange(len(starts))
        return Rows(self.values.index_select(0, sent(elements, self.device)), offsets)

    def part(self, first: int, stop: int) -> Rows:
        """The rows from `first` to before `stop`."""
        offsets = self.offsets[first : stop + 1]
        return Rows(self.values[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])

    def padded(self, length: int) -> Tensor:
        """[rows, length, ...], zeros after each row; no row may be longer."""
        shape = self.values.shape[1:]
        dense = self.values.new_zeros(len(self) * length, *shape)
        places = self.there(length).view(-1).nonzero().squeeze(1)  # where a GPU looked, the host would wait
        return dense.index_copy_(0, sent(places, self.device), self.values).view(len(self), length, *shape)

    def there(self, length: int) -> Tensor:
        """Which elements of `padded` are the rows' own, bool [rows, length] on the CPU."""
        return torch.arange(length) < self.lengths[:, None]

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        """The rows of all parts, in their order."""
        lengths = torch.cat([part.lengths for part in parts])
        offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        return Rows(torch.cat([part.values for part in parts]), offsets)


@dataclass(frozen=True, slots=True)
class Padding:
    """To which length the fields of a batch are padded, and which outputs count their steps.

    `sizes` are the fields' lengths as the program says them; `least` the smallest legal values of the names
    in those; `steps` has for an output the field of its target, and `targets` also for one whose model knows
    where a row ends.
    """

    sizes: Mapping[str, Dim] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    bucket: str | None = None
    """A name of a size by which rows are brought together."""

    def bucketed(self, order: Tensor, arrays: Mapping[str, Any], batch_size: int, seed: Generator) -> Tensor:
        """An order of rows in which batches hold rows of about one length: sorted within `WINDOW` batches,
        and whole batches shuffled.
        """
        named = (
            a for n, a in arrays.items() if isinstance(a, Rows) and self.bucket in names_of(self.sizes[n])
        )
        rows = next(named, None)
        if rows is None:
            return order
        lengths = rows.lengths[order.cpu()].to(order.device)
        parts = order.split(WINDOW * batch_size)
        keys = lengths.split(WINDOW * batch_size)
        ordered = torch.cat([p[k.argsort(stable=True)] for p, k in zip(parts, keys, strict=True)])
        end = len(ordered) - len(ordered) % batch_size
        batches = ordered[:end].view(-1, batch_size)
        mixed = batches[torch.randperm(len(batches), generator=seed).to(order.device)]
        return torch.cat((mixed.reshape(-1), ordered[end:]))

    def lengths(self, rows: Mapping[str, Rows]) -> dict[str, int]:
        """The length of each field: of the batch's longest row, or what fits all fields of that size."""
        longest = {name: int(r.lengths.max()) if len(r) else 0 for name, r in rows.items()}
        return padded_lengths(self.sizes, self.least, longest)
