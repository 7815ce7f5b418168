"""Examples of which each has many targets, pixels or steps, and weights by their classes.

They follow from the targets of a batch, after what changed these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphspec.data.batches import Batch, Examples, Rebatched, Shuffle
from graphspec.data.features.plan import Fill

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders


@dataclass(frozen=True, slots=True)
class ClassWeights:
    """The weights of the classes of a target by their numbers. A target is class numbers, or their shares
    along the last axis; `one_unit` is the probability of the second of two.
    """

    target: str
    weights: Tensor
    shares: bool
    one_unit: bool

    @classmethod
    def by(cls, fill: Fill, table: Callable[[int], Any]) -> ClassWeights:
        """The weights for a target that `fill` fills; `table` returns the weights of a number of classes."""
        shares = fill.tensor.is_float and fill.tensor.shape[-1] == fill.limit
        one_unit = fill.tensor.is_float and not shares
        weights = torch.as_tensor(table(2 if one_unit else fill.limit or 0))
        return cls(fill.field, weights, shares, one_unit)

    def of(self, target: Tensor) -> Tensor:
        """A weight for each position."""
        weights = self.weights.to(target.device)
        if self.shares:
            return (target * weights).sum(-1)
        if self.one_unit:
            part = target.squeeze(-1).float()
            return weights[0] + part * (weights[1] - weights[0])
        return weights[target.long().clamp(0, len(weights) - 1)]  # others are ignored, or padding


@dataclass(frozen=True, slots=True)
class Weighed(Rebatched):
    """Examples with the weights of the classes of their positions, by output."""

    tables: Mapping[str, ClassWeights]

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        for batch in self.examples.batches(batch_size, shuffle, start):
            yield self._weighed(batch)

    def _weighed(self, batch: Batch) -> Batch:
        weights = dict(batch.weights)
        for name, table in self.tables.items():
            if table.target not in batch.arrays:
                continue
            weight = table.of(batch.arrays[table.target])
            rows = weights.get(name)
            weights[name] = weight if rows is None else weight * rows.reshape(-1, *[1] * (weight.dim() - 1))
        return replace(batch, weights=weights)


def weighed(examples: Examples, encoders: Encoders | None) -> Examples:
    """Examples with the weights that outputs give the classes of pixels and steps, if any does."""
    if encoders is None:
        return examples
    tables = {}
    for name, weigher in encoders.weights.items():
        if not weigher.by_position:
            continue
        fill = encoders.plan.of(encoders.outputs[name].target)
        tables[name] = ClassWeights.by(fill, weigher.table)
    return Weighed(examples, tables) if tables else examples
