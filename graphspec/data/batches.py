"""Examples as torch tensors, batch by batch, and the order in which training sees them.

Order and split depend on the seed, the epoch and an example's index alone: never on the global random state,
the device or what happened before. So a run can be repeated, and resumed in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

GATHERED = 32 * 2**20
"""Bytes that are gathered at a time: several small batches in one indexing, or one large batch."""
SPLIT = -1
"""The stream of the validation split, among the epochs counted from 0."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of one step, on the device of the model.

    `arrays` holds inputs and targets by name, each [n, ...] in the type that the model wants. By the name of
    an output, `weights` holds what multiplies each example's loss, float32 [n] (sample and class weights; an
    output without an entry weighs all alike), and `counted` which targets there are, bool [n] or [n, steps]
    (missing and padded ones are False; an output without an entry has all). What is not counted is in no
    mean, and its value in `arrays` is legal but means nothing.
    """

    arrays: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    counted: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True, slots=True)
class Shuffle:
    """The order of one epoch (counted from 0) of a run."""

    seed: int
    epoch: int

    def order(self, count: int) -> Tensor:
        """A permutation of `count` indices, int64."""
        return torch.randperm(count, generator=generator(self.seed, self.epoch))


class Examples(Protocol):
    """A set of examples that can be read again and again: in memory, or from files as it goes."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        """Batches in the order of `shuffle`, or in that of the file; the last may be smaller.

        `start` is how many examples are passed over, those of the batches that a resumed epoch has seen.
        """
        ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """Arrays by name, all with the same number of examples along the first axis.

    `dtypes` are the types that the model wants; an array may be kept in a smaller one until a batch is made.
    `index` selects examples, an int64 vector; without it there are all. `weights` and `counted` are those of
    `Batch`, for all examples.
    """

    arrays: Mapping[str, Tensor]
    dtypes: Mapping[str, torch.dtype]
    index: Tensor | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    counted: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index) if self.index is not None else len(next(iter(self.arrays.values())))

    def to(self, device: torch.device) -> InMemory:
        """The same examples on another device."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return InMemory(
            moved(self.arrays),
            self.dtypes,
            self.index.to(device) if self.index is not None else None,
            moved(self.weights),
            moved(self.counted),
        )

    def select(self, index: Tensor) -> InMemory:
        """Those of the examples that stand at `index`; the arrays are shared, not copied."""
        return replace(self, index=index if self.index is None else self.index[index])

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        rows = self.index
        if shuffle is not None:
            order = shuffle.order(len(self)).to(self._device)
            rows = order if rows is None else rows[order]
        sizes = [array[:1].numel() * self.dtypes[name].itemsize for name, array in self.arrays.items()]
        chunk = batch_size * max(1, GATHERED // max(1, sum(sizes) * batch_size))
        for first in range(start, len(self), chunk):
            part = slice(first, min(first + chunk, len(self)))
            arrays = {
                name: array.to(self.dtypes[name]) for name, array in _gather(self.arrays, rows, part).items()
            }
            yield from _cut(
                batch_size, arrays, _gather(self.weights, rows, part), _gather(self.counted, rows, part)
            )

    @property
    def _device(self) -> torch.device:
        return next(iter(self.arrays.values())).device


def _gather(arrays: Mapping[str, Tensor], rows: Tensor | None, part: slice) -> dict[str, Tensor]:
    if rows is None:
        return {name: array[part] for name, array in arrays.items()}
    index = rows[part]
    return {name: array.index_select(0, index) for name, array in arrays.items()}


def _cut(batch_size: int, *groups: dict[str, Tensor]) -> Iterator[Batch]:
    """Batches of at most `batch_size` from arrays, weights and what counts, which are as long as another."""
    count = len(next(iter(groups[0].values())))
    pieces = [{name: array.split(batch_size) for name, array in group.items()} for group in groups]
    for index in range(-(-count // batch_size)):
        yield Batch(*({name: parts[index] for name, parts in group.items()} for group in pieces))


def generator(seed: int, stream: int) -> torch.Generator:
    """A generator of its own for each seed and stream (an epoch, or `SPLIT`)."""
    # The odd constant, 2**64 over the golden ratio, keeps neighbouring seeds' streams apart.
    return torch.Generator().manual_seed((seed + (stream + 2) * 0x9E3779B97F4A7C15) % 2**63)


def split(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices for training and for validation: `fraction` of the examples, drawn at random from the seed.

    Keras keeps the last ones instead, which is the wrong sample of data in any order of their own. As many
    are kept as in Keras, and both parts stay in the order of the file.
    """
    training = int(count * (1 - fraction))
    drawn = torch.randperm(count, generator=generator(seed, SPLIT))
    return drawn[:training].sort().values, drawn[training:].sort().values
