"""Examples as torch tensors, batch by batch, and the order in which training sees them.

Order and split depend on the seed, the epoch and an example's index alone: never on the global random state,
the device or what happened before. So a run can be repeated, and resumed in the middle of an epoch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphspec.data.ahead import ahead
from graphspec.data.padding import Padding, Rows, sent

GATHERED = 32 * 2**20
"""Bytes that are gathered at a time: several small batches in one indexing, or one large batch."""
SPLIT = -1
"""The stream of the validation split, among the epochs counted from 0."""
RANDOM = -2
"""The stream of what layers draw in processes beside the first one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of one step, on the device of the model.

    `arrays` holds inputs and targets by name, each [n, ...] in the dtype that the model needs, and under the
    name of a target followed by `UNIT` the shifts and scales that its numbers have in that row. By the name
    of an output, `weights` holds what multiplies the loss of each example, float32 [n], or of each position
    (sample and class weights; an output without an entry weighs all alike), and `masks` which targets there
    are, bool [n] or [n, steps] (missing and padded ones are False; an output without an entry has all). What
    is not counted is in no mean, and its value in `arrays` is legal but means nothing.

    Of a share of a process `counts` has the number of examples of each process, else it is None. A process
    without a share is `idle`: it runs an example of the others, which counts for nothing.
    """

    arrays: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    counts: Sequence[int] | None = field(default=None, kw_only=True)
    idle: bool = field(default=False, kw_only=True)

    def __len__(self) -> int:
        return 0 if self.idle else next(iter(self.arrays.values())).shape[0]  # `len` of a tensor is slow

    @property
    def total(self) -> int:
        """The number of examples of the step, over all processes."""
        return len(self) if self.counts is None else sum(self.counts)


@dataclass(frozen=True, slots=True)
class Shuffle:
    """The order of one epoch (counted from 0) of a run."""

    seed: int
    epoch: int

    def order(self, count: int) -> Tensor:
        """A permutation of `count` indices."""
        return permutation(count, generator(self.seed, self.epoch))


class Examples(Protocol):
    """A set of examples that can be read repeatedly, from memory or from files."""

    def __len__(self) -> int: ...

    @property
    def even(self) -> bool:
        """Whether every example has the same lengths, so that no batch is padded."""
        ...

    @property
    def epoch(self) -> int:
        """How many examples all batches of a shuffled order have: those of an epoch."""
        ...

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        """Batches in the order of `shuffle`, or in that of the file; the last may be smaller.

        `start` is how many examples are passed over, those of the batches that a resumed epoch has seen.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rebatched:
    """The base of examples that wrap other examples and change their batches."""

    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def even(self) -> bool:
        return self.examples.even

    @property
    def epoch(self) -> int:
        return self.examples.epoch


@dataclass(frozen=True, slots=True)
class Changed(Rebatched, ABC):
    """Examples whose batches are changed when read in shuffled order, as in training. In file order they are
    unchanged.
    """

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        first = start
        for batch in self.examples.batches(batch_size, shuffle, start):
            if shuffle is None:
                yield batch
            else:
                yield self.changed(batch, generator(shuffle.seed, shuffle.epoch, first).initial_seed())
            first += len(batch)

    @abstractmethod
    def changed(self, batch: Batch, seed: int) -> Batch:
        """The batch as a training sees it. `seed` depends on the run's seed, the epoch and the batch's place
        in it alone.
        """


@dataclass(frozen=True, slots=True)
class InMemory:
    """Arrays by name, all with the same number of examples along the first axis.

    An array is a tensor, or `Rows` of different lengths, which `padding` says how to pad in each batch.
    `dtypes` are the types that the model wants; an array may be kept in a smaller one until a batch is made.
    `index` selects examples, an int64 vector; without it there are all. `weights` and `masks` are those of
    `Batch`, for all examples.
    """

    arrays: Mapping[str, Any]
    dtypes: Mapping[str, torch.dtype]
    index: Tensor | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | None = None
    """Where batches go, if that is not where the arrays are."""
    padding: Padding = Padding()  # noqa: RUF009 - a frozen value

    def __len__(self) -> int:
        return len(self.index) if self.index is not None else len(next(iter(self.arrays.values())))

    @property
    def even(self) -> bool:
        return not any(isinstance(array, Rows) for array in self.arrays.values())

    @property
    def epoch(self) -> int:
        return len(self)

    def to(self, device: torch.device) -> Self:
        """The same examples on another device."""

        def moved(tensors: Mapping[str, Any]) -> dict[str, Any]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return replace(
            self,
            arrays=moved(self.arrays),
            index=self.index.to(device) if self.index is not None else None,
            weights=moved(self.weights),
            masks=moved(self.masks),
        )

    def feeding(self, device: torch.device) -> Self:
        """The same examples for a model on `device`: moved there once, where they fill at most half of its
        free memory, else batch by batch.
        """
        if device.type == "cuda" and self.size > torch.cuda.mem_get_info(device)[0] // 2:
            return replace(self, device=device)
        return self.to(device)

    @property
    def size(self) -> int:
        """The bytes that the arrays take."""
        groups: tuple[Mapping[str, Any], ...] = (self.arrays, self.weights, self.masks)
        return sum(array.nbytes for group in groups for array in group.values())

    def select(self, index: Tensor) -> InMemory:
        """The examples at `index`; the arrays are shared, not copied."""
        index = index.to(self.home)
        return replace(self, index=index if self.index is None else self.index[index])

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        return sent_ahead(self._batches(batch_size, shuffle, start), self.device)

    def _batches(self, batch_size: int, shuffle: Shuffle | None, start: int) -> Generator[Batch, None, None]:
        rows = self.index
        if shuffle is not None:
            order = shuffle.order(len(self)).to(self.home)
            rows = order if rows is None else rows[order]
            del order  # of many rows much memory
            if self.padding.bucket is not None:
                mixed = generator(shuffle.seed, shuffle.epoch, 0)
                rows = self.padding.bucketed(rows, self.arrays, batch_size, mixed)
        sizes = [row_bytes(array, self.dtypes[name]) for name, array in self.arrays.items()]
        chunk = batch_size * max(1, GATHERED // max(1, sum(sizes) * batch_size))
        # A chunk begins where it does in a whole epoch: where a batch lies in memory decides its last bits.
        for first in range(start - start % chunk, len(self), chunk):
            part = slice(first, min(first + chunk, len(self)))
            groups = [_gather(group, rows, part) for group in (self.arrays, self.weights, self.masks)]
            batches = cut(batch_size, groups, self.dtypes, self.device, self.padding)
            seen = -(-max(0, start - first) // batch_size)
            yield from islice(batches, seen, None)

    @property
    def home(self) -> torch.device:
        """The device of the arrays."""
        device: torch.device = next(iter(self.arrays.values())).device
        return device


def sent_ahead(batches: Generator[Batch, None, None], device: torch.device | None) -> Iterator[Batch]:
    """Batches that go from the host to `device`. Where that is a GPU, a thread sends the next one on a stream
    of its own while the last one is used; else they are as they come.
    """
    if device is None or device.type != "cuda":
        return batches
    return _sent_ahead(batches, device)


def _sent_ahead(batches: Generator[Batch, None, None], device: torch.device) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)

    def sending() -> Generator[tuple[Batch, torch.cuda.Event], None, None]:
        with torch.cuda.stream(stream):  # of this thread, in which all of the generator runs
            for batch in batches:
                yield batch, stream.record_event()

    for batch, event in ahead(sending()):
        used_on = torch.cuda.current_stream(device)
        used_on.wait_event(event)
        for group in (batch.arrays, batch.weights, batch.masks):
            for tensor in group.values():
                tensor.record_stream(used_on)  # its memory is not that of the next batch before it was used
        yield batch


def row_bytes(array: Tensor | Rows, dtype: torch.dtype) -> int:
    """The approximate number of bytes of a row."""
    if isinstance(array, Rows):
        return array.values.numel() * dtype.itemsize // max(1, len(array))
    return array[:1].numel() * dtype.itemsize


def _gather(arrays: Mapping[str, Any], rows: Tensor | None, part: slice) -> dict[str, Any]:
    gathered = {}
    for name, array in arrays.items():
        if isinstance(array, Rows):
            gathered[name] = array.part(part.start, part.stop) if rows is None else array.select(rows[part])
        else:
            gathered[name] = array[part] if rows is None else array.index_select(0, rows[part])
    return gathered


def cut(
    batch_size: int | Sequence[int],
    groups: Sequence[Mapping[str, Any]],
    dtypes: Mapping[str, torch.dtype],
    device: torch.device | None,
    padding: Padding,
) -> Iterator[Batch]:
    """Batches of at most `batch_size`, or of these sizes, from arrays, weights and what counts, which are as
    long as another.

    Arrays go to `device` first, in the type that they are kept in, and then become `dtypes`. Rows of
    different lengths are padded, each batch on its own.
    """
    if device is not None:
        groups = [{name: _on(array, device) for name, array in group.items()} for group in groups]
    arrays = {name: array.to(dtypes[name]) for name, array in groups[0].items()}
    rows = {name: array for name, array in arrays.items() if isinstance(array, Rows)}
    counted = {name: mask for name, mask in groups[2].items() if isinstance(mask, Rows)}
    count = len(next(iter(arrays.values())))
    masks = {name: mask for name, mask in groups[2].items() if name not in counted}
    even = ({name: a for name, a in arrays.items() if name not in rows}, groups[1], masks)
    if isinstance(batch_size, int):
        batch_size = [min(batch_size, count - first) for first in range(0, count, batch_size)]
    pieces = (_split(group, batch_size) for group in even)
    stop = 0
    for size, *groups in zip(batch_size, *pieces, strict=True):
        batch = Batch(*groups)
        first, stop = stop, stop + size
        if rows:
            parts, those = ({n: r.part(first, stop) for n, r in each.items()} for each in (rows, counted))
            batch = _padded(batch, parts, those, padding)
        yield batch


def _on(array: Tensor | Rows, device: torch.device) -> Tensor | Rows:
    return array.to(device) if isinstance(array, Rows) else sent(array, device)


def _split(group: Mapping[str, Tensor], sizes: Sequence[int]) -> Iterable[Mapping[str, Tensor]]:
    """The arrays of a group, cut into batches."""
    if not group:
        return repeat({}, len(sizes))
    pieces = zip(*(array.split(sizes) for array in group.values()), strict=True)
    return [dict(zip(group, parts, strict=True)) for parts in pieces]


def _padded(batch: Batch, rows: Mapping[str, Rows], counted: Mapping[str, Rows], padding: Padding) -> Batch:
    """The batch with its rows of different lengths, each field padded to one length, and which steps of them
    are counted where not all are.
    """
    lengths = padding.lengths(rows)
    arrays = {name: part.padded(lengths[name]) for name, part in rows.items()}
    masks = {
        output: sent(rows[name].there(lengths[name]), rows[name].device)
        for output, name in padding.steps.items()
        if name in rows
    }
    masks |= {output: mask.padded(lengths[padding.targets[output]]) for output, mask in counted.items()}
    return Batch({**batch.arrays, **arrays}, batch.weights, {**batch.masks, **masks})


def even_borders(first: int, stop: int, size: int) -> NDArray[np.int64]:
    """Where blocks of `size` rows begin from a row to before another, and where the last one ends."""
    return np.append(np.arange(first, stop, size), stop)


def generator(seed: int, stream: int, part: int | None = None) -> torch.Generator:
    """A generator of its own for each seed and stream (an epoch, or `SPLIT`), and for each part of one."""
    # The odd constant, 2**64 over the golden ratio, keeps neighbouring seeds' streams apart; the other one,
    # a multiplier of linear congruential generators, the parts of different streams.
    state = seed + (stream + 2) * 0x9E3779B97F4A7C15
    if part is not None:
        state = state * 0xD1342543DE82EF95 + (part + 1) * 0x9E3779B97F4A7C15
    return torch.Generator().manual_seed(state % 2**63)


def held_out(count: int, fraction: float, seed: int) -> Tensor:
    """Which examples are for validation, bool: `fraction` of them, drawn at random from the seed.

    Keras keeps the last ones instead, which is the wrong sample of data in any order of their own. As many
    are kept as in Keras.
    """
    held = torch.zeros(count, dtype=torch.bool)
    held[permutation(count, generator(seed, SPLIT))[int(count * (1 - fraction)) :]] = True
    return held


def permutation(count: int, drawn: torch.Generator) -> Tensor:
    """The numbers below `count` in an order drawn at random, in half of the memory where that is enough."""
    kind = torch.int32 if count < 2**31 else torch.int64  # the same numbers of both
    return torch.randperm(count, generator=drawn, dtype=kind)
