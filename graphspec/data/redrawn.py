"""Features that a training draws again in each epoch, from values that others have.

They depend on the seed, the epoch and the batch's place in it, and on no device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from graphspec.data.batches import Batch, Changed, Examples

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders


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
    if encoders is None:
        return examples
    from graphspec.data.encoders.drawn import DrawnEncoder  # pyarrow, which starts a thread

    every = encoders.encoders.items()
    ranges = {name: encoder.range for name, encoder in every if isinstance(encoder, DrawnEncoder)}
    return Redrawn(examples, ranges) if ranges else examples
