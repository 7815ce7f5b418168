"""What a training draws of features: values that others have, in each epoch other ones.

They depend on the seed, the epoch and the batch's place in it, and on no device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from graphspec.data.batches import Batch, Changed, Examples
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.drawn import DrawnEncoder


@dataclass(frozen=True, slots=True)
class Redrawn(Changed):
    """Examples of which the ids of some fields are drawn from these ranges."""

    ranges: Mapping[str, tuple[int, int]]

    def changed(self, batch: Batch, seed: int) -> Batch:
        source, arrays = torch.Generator().manual_seed(seed), dict(batch.arrays)
        for name, (low, high) in self.ranges.items():
            drawn = torch.randint(low, max(low + 1, high), arrays[name].shape, generator=source)
            arrays[name] = drawn.to(arrays[name])
        return replace(batch, arrays=arrays)


def redrawn(examples: Examples, encoders: Encoders | None) -> Examples:
    """The examples of a training, drawn again where features are drawn."""
    every = encoders.encoders.items() if encoders is not None else ()
    ranges = {name: encoder.range for name, encoder in every if isinstance(encoder, DrawnEncoder)}
    return Redrawn(examples, ranges) if ranges else examples
