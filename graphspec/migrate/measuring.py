"""Measures a migration: the outputs and the losses of both modules on the run's validation data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch, Rebatched, Shuffle
from graphspec.data.fields import Field, fields
from graphspec.fold.weights import TOLERANCE
from graphspec.migrate.tracking import Indices
from graphspec.tensor import sizes_of

if TYPE_CHECKING:
    from graphspec.program import Program


@dataclass(frozen=True, slots=True)
class Measured:
    """The largest difference of an output that both have, relative to the largest output where that is above
    1; on how many examples, and of which data. `before` and `after` are the values of the validation.
    """

    difference: float
    examples: int
    data: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def same(self) -> bool:
        return self.difference <= TOLERANCE

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "same_function": self.same,
            "examples": self.examples,
            "data": self.data,
            "before": dict(self.before),
            "after": dict(self.after),
        }


@dataclass(frozen=True, slots=True)
class Renumbered(Rebatched):
    """Examples of the run as the new spec has them: ids and classes under their new numbers, fields under
    their new names.
    """

    numbers: Mapping[str, Indices]
    names: Mapping[str, str]

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        for batch in self.examples.batches(batch_size, shuffle, start):
            yield self.batch(batch)

    def batch(self, batch: Batch) -> Batch:
        return replace(batch, arrays=self.arrays(batch.arrays))

    def arrays(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        renumbered = dict(arrays)
        for name, indices in self.numbers.items():
            if name in renumbered and not renumbered[name].is_floating_point():
                renumbered[name] = _inverse(indices, renumbered[name])
        return renumbered | {new: renumbered[old] for new, old in self.names.items() if old in renumbered}


def _inverse(indices: Indices, values: Tensor) -> Tensor:
    """Old numbers as new ones; a name that is gone has the number 0."""
    largest = max([int(values.max()) if values.numel() else 0, *indices])
    table = torch.zeros(largest + 1, dtype=values.dtype, device=values.device)
    for new, old in reversed(list(enumerate(indices))):
        if old >= 0:
            table[old] = new
    return table[values.long()]


def reads(program: Program, arrays: Mapping[str, Tensor], names: Collection[str]) -> bool:
    """Whether a program reads these arrays as those of its inputs or targets that are called `names`."""
    known = {field.name: field for field in fields(program) if field.name in names}
    if not all(
        _fits(field, arrays[name]) if name in arrays else name in program.defaults
        for name, field in known.items()
    ):
        return False
    present = {name: field.tensor for name, field in known.items() if name in arrays}
    sizes = sizes_of(present, {name: arrays[name].shape for name in present})
    least, most = program.minimum_sizes, program.maximum_sizes
    return all(least.get(name, 1) <= size <= most.get(name, size) for name, size in sizes.items())


def _fits(field: Field, array: Tensor) -> bool:
    """Whether an array has the type and the sizes of a field, and values in its range."""
    wanted, sizes = field.tensor, zip(field.tensor.shape[1:], array.shape[1:], strict=False)
    if wanted.rank != array.dim() or any(isinstance(a, int) and a != b for a, b in sizes):
        return False
    if field.role == "input" and str(array.dtype) != f"torch.{wanted.dtype}":
        return False
    if field.high is None or array.is_floating_point():
        return wanted.is_float == array.is_floating_point()
    known = array if field.ignored is None else array.masked_fill(array == field.ignored, 0)
    return bool((known <= torch.from_numpy(field.bounds[1])).all())


@torch.no_grad()
def difference(
    old: nn.Module,
    new: nn.Module,
    batches: Iterator[tuple[list[Tensor | None], list[Tensor | None]]],
    channels: Mapping[str, Indices],
) -> tuple[float, int]:
    """The largest difference of the outputs, where both have a channel, and the number of examples."""
    worst, largest, count = 0.0, 1.0, 0
    for theirs, ours in batches:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            before = _named(old.eval()(*theirs))
            torch.manual_seed(0)
            after = _named(new.eval()(*ours))
        count += next(len(x) for x in theirs if x is not None)
        both = [name for name in after if name in before] or [""]
        for name in both:
            a, b = (next(iter(each.values())) if name == "" else each[name] for each in (before, after))
            indices = channels.get(name)
            if indices is not None and a.dim() and b.shape[-1] == len(indices):
                kept = [place for place, index in enumerate(indices) if 0 <= index < a.shape[-1]]
                a, b = a[..., [indices[place] for place in kept]], b[..., kept]
            if a.shape != b.shape:
                return float("inf"), count
            if a.numel():
                worst = max(worst, float((a.double() - b.double()).abs().max()))
                largest = max(largest, float(a.double().abs().max()))
    return worst / largest, count


def _named(value: Any) -> dict[str, Tensor]:
    return dict(value) if isinstance(value, dict) else {"": value}
