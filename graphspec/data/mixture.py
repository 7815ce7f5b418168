"""Training examples of several sources, whose rows come to batches by weights.

An epoch shows every row of the source that lasts longest, by its weight, once; shorter ones go round again,
each round in another order. Which source a place of an epoch belongs to is the same in every epoch: of its
first rows each source has its share, to about a row. Orders depend on the seed, the epoch, the source and its
round alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from graphspec.data.batches import Batch, InMemory, Shuffle, cut, generator
from graphspec.data.streamed import Groups, Streamed, chosen, joined, length_of

ROUND = -3
"""The stream of the seeds of a source's rounds, among the epochs counted from 0; those of others go down."""


def turns(counts: Sequence[int], weights: Sequence[float]) -> Tensor:
    """For each place of an epoch the number of the source whose row is there, int16.

    Row j of a source whose share of all weights is s has its place at (j + 1/2) / s among the others.
    The epoch ends with the last row of the source that lasts longest.
    """
    shares = torch.tensor(weights, dtype=torch.float64)
    shares /= shares.sum()
    rows = torch.tensor(counts, dtype=torch.float64)
    longest = int((rows / shares).argmax())
    places, numbers = [], []
    for number, share in enumerate(shares.tolist()):
        most = int(counts[longest] * share / float(shares[longest])) + 2
        places.append((torch.arange(most, dtype=torch.float64) + 0.5) / share)
        numbers.append(torch.full((most,), number, dtype=torch.int16))
    order = torch.cat(places).argsort(stable=True)
    found = torch.cat(numbers)[order]
    last = (found == longest).nonzero()[counts[longest] - 1]
    return found[: int(last) + 1]


def round_of(shuffle: Shuffle, source: int, number: int) -> Shuffle:
    """The order of a round of a source in an epoch, both counted from 0; the first of the first source is
    that of the run.
    """
    if source == number == 0:
        return shuffle
    return Shuffle(generator(shuffle.seed, ROUND - source, number).initial_seed(), shuffle.epoch)


@dataclass(frozen=True)
class Mixture:
    """The rows of some sources, of `whole`, which has those of all, one source after another. `Examples` of
    `batches`. `ranges` has the rows of each, by their place there, and `numbers` which of all sources it is.
    """

    whole: InMemory | Streamed
    ranges: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(
        cls, whole: InMemory | Streamed, counts: Mapping[str, int], weights: Mapping[str, float]
    ) -> Mixture:
        """All sources, each with `counts` of the rows."""
        ends = torch.tensor([0, *counts.values()]).cumsum(0).tolist()
        ranges = tuple(pairwise(ends))
        return cls(whole, ranges, tuple(weights[name] for name in counts), tuple(range(len(counts))))

    def only(self, those: Sequence[int]) -> Mixture:
        """Some of the sources."""
        ranges = tuple(self.ranges[number] for number in those)
        return Mixture(self.whole, ranges, tuple(self.weights[number] for number in those), tuple(those))

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def even(self) -> bool:
        return self.whole.even

    @property
    def epoch(self) -> int:
        return len(self._turns)

    @property
    def _counts(self) -> list[int]:
        return [stop - start for start, stop in self.ranges]

    @cached_property
    def _turns(self) -> Tensor:
        return turns(self._counts, self.weights)

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        if isinstance(self.whole, InMemory):
            yield from self._in_memory(self.whole, batch_size, shuffle, start)
        elif shuffle is not None:
            yield from self._streamed(self.whole, batch_size, shuffle, start)
        else:
            for first, stop in _joined(self.ranges):
                count = stop - first
                part = replace(self.whole, rows=(first, stop))
                yield from part.batches(batch_size, None, min(start, count))
                start = max(0, start - count)

    def _in_memory(
        self, whole: InMemory, batch_size: int, shuffle: Shuffle | None, start: int
    ) -> Iterator[Batch]:
        if shuffle is None:
            order = torch.cat([torch.arange(*range) for range in self.ranges]).to(whole.home)
        else:
            order = self._order(shuffle).to(whole.home)
            if whole.padding.bucket is not None:
                mixed = generator(shuffle.seed, shuffle.epoch, 0)
                order = whole.padding.bucketed(order, whole.arrays, batch_size, mixed)
        yield from whole.select(order).batches(batch_size, None, start)

    def _order(self, shuffle: Shuffle) -> Tensor:
        """The rows of an epoch, int64."""
        order = torch.empty(self.epoch, dtype=torch.int64)
        for index, (first, stop) in enumerate(self.ranges):
            places = (self._turns == index).nonzero().squeeze(1)
            count = stop - first
            rounds = [
                first + round_of(shuffle, self.numbers[index], number).order(count).long()
                for number in range(-(-len(places) // count))
            ]
            order[places] = torch.cat(rounds)[: len(places)]
        return order

    def _streamed(self, whole: Streamed, batch_size: int, shuffle: Shuffle, start: int) -> Iterator[Batch]:
        before = torch.bincount(self._turns[:start], minlength=len(self.ranges)).tolist()
        readers = [
            _SourceRows(replace(whole, rows=rows), shuffle, self.numbers[index], before[index])
            for index, rows in enumerate(self.ranges)
        ]
        for turn in self._turns[start:].split(batch_size):
            counts = torch.bincount(turn, minlength=len(readers)).tolist()
            parts = [reader.take(count) for reader, count in zip(readers, counts, strict=True) if count]
            groups = parts[0]
            for part in parts[1:]:
                groups = joined(groups, part)
            # they come source by source, and belong to their turns
            groups = chosen(groups, turn.argsort(stable=True).argsort(stable=True))
            yield from cut(batch_size, groups, whole.dtypes, whole.device, whole.padding)


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same rows, neighbouring ranges as one."""
    found = [ranges[0]]
    for first, stop in ranges[1:]:
        if found[-1][1] == first:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((first, stop))
    return found


class _SourceRows:
    """The rows of one source in files, round after round, from the row `start` of all rounds on."""

    def __init__(self, examples: Streamed, shuffle: Shuffle, source: int, start: int):
        self._windows = self._all(examples, shuffle, source, start)
        self._left: Groups | None = None

    @staticmethod
    def _all(examples: Streamed, shuffle: Shuffle, source: int, start: int) -> Iterator[Groups]:
        number, start = divmod(start, len(examples))
        while True:
            yield from examples.windows(round_of(shuffle, source, number), start)
            number, start = number + 1, 0

    def take(self, count: int) -> Groups:
        """The next rows."""
        while self._left is None or length_of(self._left) < count:
            more = next(self._windows)
            self._left = more if self._left is None else joined(self._left, more)
        rows = torch.arange(length_of(self._left))
        taken, self._left = chosen(self._left, rows[:count]), chosen(self._left, rows[count:])
        return taken
