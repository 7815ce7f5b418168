"""Feeds the updates of a step: with batches of all training rows, or of the sources that a step names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from graphspec.data.batches import Batch, Examples, Shuffle, generator
from graphspec.data.loading import Data
from graphspec.train.config import TrainConfig

AGAIN = -2
"""The stream of the seeds of further rounds, among the epochs from 0; those of other streams go down."""


@dataclass(frozen=True, slots=True)
class BatchStream:
    """Examples in batches of `size`, of which a step reads `together`. The streams of a phase have a `number`
    each, and orders of their own.
    """

    examples: Examples
    size: int
    together: int
    number: int

    @property
    def steps(self) -> int:
        """Those of a round."""
        return -(-self.examples.epoch // (self.size * self.together))

    def batches(self, shuffle: Shuffle, step: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch from `step` on, round after round, each in another order."""
        number, step = divmod(step, self.steps)
        while True:
            start = step * self.size * self.together
            yield from _together(
                self.examples.batches(self.size, self._order(shuffle, number), start), self.together
            )
            number, step = number + 1, 0

    def _order(self, shuffle: Shuffle, number: int) -> Shuffle:
        """The order of a round, counted from 0; the first of the first stream is that of the run."""
        if self.number == number == 0:
            return shuffle
        return Shuffle(generator(shuffle.seed, AGAIN - 1 - self.number, number).initial_seed(), shuffle.epoch)


@dataclass(frozen=True, slots=True)
class Feed:
    """The streams of a phase, and for each update of a step the number of the one that it reads. Updates
    that read the same rows in batches of one size read the same batches.
    """

    streams: tuple[BatchStream, ...]
    read: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Those of an epoch, in which each stream is read once at least."""
        return max(stream.steps for stream in self.streams)

    def shared(self, share: Callable[[Examples], Examples]) -> Feed:
        """The same for one of several processes."""
        streams = (
            BatchStream(share(each.examples), each.size, each.together, each.number) for each in self.streams
        )
        return Feed(tuple(streams), self.read)

    def batches(self, shuffle: Shuffle, step: int, until: int) -> Iterator[tuple[list[Batch], ...]]:
        """For each step of an epoch, from one to before another, the batches of each stream."""
        return islice(
            zip(*(stream.batches(shuffle, step) for stream in self.streams), strict=True), until - step
        )

    def full(self, step: int, until: int) -> int:
        """How many steps follow, from one to before another, in which all batches are full."""
        left = until - step
        for stream in self.streams:
            whole = stream.examples.epoch // (stream.size * stream.together)
            left = min(left, max(0, whole - step % stream.steps))
        return left


def feed(config: TrainConfig, data: Data) -> Feed:
    """The batches that a phase with these settings reads."""
    wanted = [(step.data, step.batch_size or config.batch_size) for step in config.updates]
    together = config.optimizers[0].gradient_accumulation_steps or 1
    distinct = list(dict.fromkeys(wanted))
    streams = (
        BatchStream(data.of_sources[names] if names else data.training, size, together, number)
        for number, (names, size) in enumerate(distinct)
    )
    turns = zip(config.updates, wanted, strict=True)
    return Feed(
        tuple(streams), tuple(distinct.index(each) for step, each in turns for _ in range(step.repeat))
    )


def steps_of(config: TrainConfig, data: Data) -> int:
    """The steps of an epoch, the same in all phases: those of the one that takes most."""
    return max(feed(part, data).steps for part in config.parts)


def _together(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    """The batches whose gradients one step accumulates: `count` of them, at the end perhaps fewer."""
    while parts := list(islice(batches, count)):
        yield parts
