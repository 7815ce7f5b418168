"""Random augmentation of training images, reproducible from the seed, the epoch and the position.

What a batch draws depends on the seed, the epoch and the batch's place in it: so a resumed run draws what the
unbroken one would have, and the global random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch, Changed

MOST = 255
"""The largest value of a picture."""


@dataclass(frozen=True, slots=True)
class Augmented(Changed):
    """Examples with some inputs augmented by a module."""

    modules: Mapping[str, nn.Module]

    def changed(self, batch: Batch, seed: int) -> Batch:
        device = next(iter(batch.arrays.values())).device
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            changed = {name: _run(module, batch.arrays[name]) for name, module in self.modules.items()}
        return replace(batch, arrays={**batch.arrays, **changed})


def _run(module: nn.Module, pictures: Tensor) -> Tensor:
    """The augmented images, in their original dtype, clipped to 0 to 255."""
    found: Tensor = module(pictures.float()).clamp(0, MOST)
    return found.to(pictures.dtype) if pictures.is_floating_point() else found.round().to(pictures.dtype)
