"""The candidates for queries: the keys of all training rows, each once, and the queries to which they belong.

A key, a movie for example, is the inputs of its tower in some row, whatever row that is; a query, a user,
likewise. Each is known by a fingerprint of these inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphspec.data.batches import Batch, Examples, Rebatched, Shuffle
from graphspec.elaborated import BaseProgram, Towers, towers
from graphspec.tensor import Tensor as Type

KEYS, SHARES = ".keys", ".shares"
"""The endings of two arrays' names, after that of an output: the fingerprint of each row's key, int64 [n],
and the share of training rows that have it, float32 [n].
"""
STATE = ("prints", "counts", "queries", "found")
"""The arrays in a file beside its rows."""
ROWS = 4096
"""Rows that are looked at together."""


def fingerprints(arrays: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """A number for what some inputs are in each row, int64 [n]: equal rows have equal ones, and zeros at the
    end of a row change none, so that padding does not.
    """
    total: Tensor | None = None
    for index, name in enumerate(names):
        array = arrays[name]
        flat = array.reshape(len(array), -1)
        whole = flat.double().view(torch.int64) if flat.is_floating_point() else flat.long()
        places = torch.arange(1, whole.shape[1] + 1, device=whole.device) * _GOLDEN + index * _OTHER
        mixed = whole * (_mixed(places) | 1)
        mixed = _mixed(mixed).sum(1)
        total = mixed if total is None else _mixed(total * _OTHER + mixed)
    assert total is not None
    return total


_GOLDEN, _OTHER = -7046029254386353131, -4265267296055464877
"""Odd numbers: 2**64 over the golden ratio, and a multiplier of hashes, as signed integers."""


def _mixed(x: Tensor) -> Tensor:
    """Numbers whose bits all depend on all bits of others; 0 stays 0."""
    x = (x ^ (x >> 32)) * _OTHER
    x = (x ^ (x >> 29)) * _GOLDEN
    return x ^ (x >> 32)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The keys of one output. `rows` are the inputs of a program in the first row that has each, by name;
    `prints` the fingerprints of the keys, rising, and `counts` how many training rows have each. `queries`
    are fingerprints of queries, rising, and `found` the number of a key that a training row has with each.
    """

    towers: Towers
    rows: Mapping[str, Tensor]
    prints: Tensor
    counts: Tensor
    queries: Tensor
    found: Tensor

    @classmethod
    def of(cls, examples: Examples, of: Towers, inputs: Sequence[str]) -> Candidates:
        """Those of training rows; `inputs` are all of the program."""
        kept: list[Mapping[str, Tensor]] = []
        pairs: list[Tensor] = []
        known = torch.zeros(0, dtype=torch.int64)
        for batch in examples.batches(ROWS):
            keys = fingerprints(batch.arrays, of.key).cpu()
            pairs.append(torch.stack((fingerprints(batch.arrays, of.query).cpu(), keys)))
            first = each_once(keys)[2].sort().values
            new = first[~torch.isin(keys[first], known)]
            known = torch.cat((known, keys[new]))
            kept.append({n: batch.arrays[n].cpu()[new] for n in inputs if n in batch.arrays})
        queries, keys = torch.cat(pairs, 1)
        order = known.argsort()
        prints = known[order]
        rows = {name: joined([each[name] for each in kept])[order] for name in kept[0]}
        found = torch.searchsorted(prints, keys.contiguous())
        counts = torch.bincount(found, minlength=len(prints))
        both = torch.stack((queries, found)).unique(dim=1)
        return cls(of, rows, prints, counts, both[0].contiguous(), both[1].contiguous())

    def state(self, name: str) -> dict[str, Tensor]:
        """The arrays for a file, under the name of its output."""
        rows = {f"{name}.row.{word}": array for word, array in self.rows.items()}
        return rows | {f"{name}.{word}": getattr(self, word) for word in STATE}

    @classmethod
    def restored(cls, program: BaseProgram, name: str, state: Mapping[str, Tensor]) -> Candidates:
        """That of an output of a program. Raises `ValueError` for what `state` did not give."""
        of = towers(program.graph, name)
        names = {word: f"{name}.{word}" for word in STATE}
        read = [w for w in program.inputs if w in (*of.query, *of.key) or f"{name}.row.{w}" in state]
        names |= {f"row.{word}": f"{name}.row.{word}" for word in read}
        missing = [word for word, key in names.items() if key not in state]
        if missing:
            raise ValueError(f"it holds no `{missing[0]}` of the output `{name}`")
        known = {word: state[names[word]] for word in STATE}
        rows = {word: state[names[f"row.{word}"]] for word in read}
        count, pairs, found = known["prints"].numel(), known["queries"].numel(), known["found"]
        for word, array in known.items():
            size = pairs if word in ("queries", "found") else count
            if array.dtype != torch.int64 or array.shape != (size,):
                raise ValueError(f"its `{word}` of the output `{name}` are not {size} integers")
        for word, array in rows.items():
            if not _fits(array, count, program.inputs[word]):
                raise ValueError(f"its rows of the input `{word}` are not {count} of {program.inputs[word]}")
        if not count or (pairs and not 0 <= int(found.min()) <= int(found.max()) < count):
            raise ValueError(f"a query of the output `{name}` has a key that is not there")
        return cls(of, rows, **known)

    def __len__(self) -> int:
        return len(self.prints)

    def numbers(self, prints: Tensor) -> Tensor:
        """The numbers of the keys with these fingerprints; -1 for one that no training row has."""
        known = self.prints.to(prints.device)
        places = torch.searchsorted(known, prints.contiguous()).clamp(max=len(known) - 1)
        return torch.where(known[places] == prints, places, -1)

    def shares(self, prints: Tensor) -> Tensor:
        """The share of training rows that have each key, float32; of an unknown one as if a row had it."""
        counts, numbers = self.counts.to(prints.device), self.numbers(prints)
        there = torch.where(numbers < 0, 1, counts[numbers.clamp(min=0)])
        return (there / self.counts.sum()).float()

    def seen(self, prints: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs of training rows of these queries: the place of a query among them, and the number of a
        key.
        """
        first = torch.searchsorted(self.queries, prints)
        count = torch.searchsorted(self.queries, prints, right=True) - first
        places = torch.arange(len(prints)).repeat_interleave(count)
        start = first.repeat_interleave(count)
        inner = torch.arange(len(places)) - (count.cumsum(0) - count).repeat_interleave(count)
        return places, self.found[start + inner]

    def batches(self, size: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
        """The inputs of rows with each key once, in the order of their numbers."""
        for first in range(0, len(self), size):
            yield {name: array[first : first + size].to(device) for name, array in self.rows.items()}


def _fits(array: Tensor, count: int, tensor: Type) -> bool:
    """Whether an array has so many rows of a type."""
    alike = len(array) == count and array.dim() == tensor.rank and str(array.dtype) == f"torch.{tensor.dtype}"
    sizes = zip(array.shape[1:], tensor.shape[1:], strict=False)
    return alike and all(size == there for there, size in sizes if isinstance(size, int))


def each_once(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The different values, sorted; the place of each value among them; and where each of them is first."""
    different, inverse = values.unique(return_inverse=True)
    first = torch.full((len(different),), len(values))
    return different, inverse, first.scatter_reduce(0, inverse, torch.arange(len(values)), "amin")


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Arrays of rows as one, padded with zeros to the longest."""
    most = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    padded = []
    for part in parts:
        whole = part.new_zeros(len(part), *most)
        whole[(slice(None), *(slice(size) for size in part.shape[1:]))] = part
        padded.append(whole)
    return torch.cat(padded)


def candidates_of(program: BaseProgram, training: Examples) -> dict[str, Candidates]:
    """The candidates of each output that reads them."""
    wanted = [name for name, output in program.outputs.items() if output.reads_candidates]
    inputs = tuple(program.inputs)
    return {name: Candidates.of(training, towers(program.graph, name), inputs) for name in wanted}


@dataclass(frozen=True, slots=True)
class WithShares(Rebatched):
    """Examples with the fingerprint of each row's key, and its share of the training rows, by output."""

    candidates: Mapping[str, Candidates]

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        for batch in self.examples.batches(batch_size, shuffle, start):
            arrays = dict(batch.arrays)
            for name, each in self.candidates.items():
                arrays[name + KEYS] = prints = fingerprints(batch.arrays, each.towers.key)
                arrays[name + SHARES] = each.shares(prints)
            yield replace(batch, arrays=arrays)


def with_shares(program: BaseProgram, examples: Examples, candidates: Mapping[str, Candidates]) -> Examples:
    """Examples with what the losses of a program read of its keys, where they read any."""
    read = {n: c for n, c in candidates.items() if (loss := program.outputs[n].loss) and loss.reads_shares}
    return WithShares(examples, read) if read else examples
