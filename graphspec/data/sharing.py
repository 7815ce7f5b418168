"""Examples for one of several processes: a share of each batch, so that what a step sees stays the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from graphspec.data.batches import Batch, Rebatched, Shuffle


@dataclass(frozen=True, slots=True)
class Shared(Rebatched):
    """The share of process `rank` (from 0) of `size`: neighbours in each batch, whose order is that of one
    process.

    Shares differ by one example at most, the larger ones first. Where a batch has fewer examples than there
    are processes, the last ones are idle: every process makes the same number of steps.
    """

    rank: int
    size: int

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        for batch in self.examples.batches(batch_size, shuffle, start):
            yield self._share(batch)

    def _share(self, batch: Batch) -> Batch:
        count = len(batch)
        counts = shares(count, self.size)
        first = sum(counts[: self.rank])
        stop = first + counts[self.rank]
        idle = first == stop
        part = slice(0, 1) if idle else slice(first, stop)

        def of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[part] for name, tensor in tensors.items()}

        return Batch(of(batch.arrays), of(batch.weights), of(batch.masks), counts=counts, idle=idle)


def shares(count: int, size: int) -> list[int]:
    """How many of `count` examples of a batch are those of each process."""
    return [count // size + (rank < count % size) for rank in range(size)]
