"""Examples in memory as torch tensors, and the order in which training sees them.

Order and split depend on the seed, the epoch and an example's index alone: never on the global random state,
the device or what happened before. So a run can be repeated, and resumed in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

GATHERED = 32 * 2**20
"""Bytes that are gathered at a time: several small batches in one indexing, or one large batch."""
SPLIT = -1
"""The stream of the validation split, among the epochs counted from 0."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Arrays by name, all with the same number of examples along the first axis.

    `dtypes` are the types that the model wants; an array may be kept in a smaller one until a batch is made.
    `index` selects examples, an int64 vector; without it there are all.
    """

    arrays: Mapping[str, Tensor]
    dtypes: Mapping[str, torch.dtype]
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index) if self.index is not None else len(next(iter(self.arrays.values())))

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device."""
        index = self.index.to(device) if self.index is not None else None
        return Examples({name: array.to(device) for name, array in self.arrays.items()}, self.dtypes, index)

    def select(self, index: Tensor) -> Examples:
        """Those of the examples that stand at `index`; the arrays are shared, not copied."""
        return Examples(self.arrays, self.dtypes, index if self.index is None else self.index[index])

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches by name in `order`, a permutation of the examples; the last may be smaller."""
        rows = self.index if order is None else order if self.index is None else self.index[order]
        sizes = [array[:1].numel() * self.dtypes[name].itemsize for name, array in self.arrays.items()]
        chunk = batch_size * max(1, GATHERED // max(1, sum(sizes) * batch_size))
        for start in range(0, len(self), chunk):
            stop = min(start + chunk, len(self))
            gathered = []
            for name, array in self.arrays.items():
                part = array[start:stop] if rows is None else array.index_select(0, rows[start:stop])
                gathered.append(part.to(self.dtypes[name]).split(batch_size))
            for tensors in zip(*gathered, strict=True):
                yield dict(zip(self.arrays, tensors, strict=True))


def generator(seed: int, stream: int) -> torch.Generator:
    """A generator of its own for each seed and stream (an epoch, or `SPLIT`)."""
    # The odd constant, 2**64 over the golden ratio, keeps neighbouring seeds' streams apart.
    return torch.Generator().manual_seed((seed + (stream + 2) * 0x9E3779B97F4A7C15) % 2**63)


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch (counted from 0): a permutation of `count` indices, int64."""
    return torch.randperm(count, generator=generator(seed, epoch))


def split(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices for training and for validation: `fraction` of the examples, drawn at random from the seed.

    Keras keeps the last ones instead, which is the wrong sample of data in any order of their own. As many
    are kept as in Keras, and both parts stay in the order of the file.
    """
    training = int(count * (1 - fraction))
    drawn = torch.randperm(count, generator=generator(seed, SPLIT))
    return drawn[:training].sort().values, drawn[training:].sort().values
