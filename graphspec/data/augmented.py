"""Random augmentation of training images, reproducible from the seed, the epoch and the position.

What a batch draws depends on the seed, the epoch and the batch's place in it: so a resumed run draws what the
unbroken one would have, and the global random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch, Examples, Shuffle, generator

MOST = 255
"""The largest value of a picture."""


@dataclass(frozen=True, slots=True)
class Augmented:
    """Examples with some inputs augmented by a module, when read in shuffled order, as in training. In file
    order they are unchanged.
    """

    examples: Examples
    modules: Mapping[str, nn.Module]

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def even(self) -> bool:
        return self.examples.even

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        first = start
        for batch in self.examples.batches(batch_size, shuffle, start):
            yield batch if shuffle is None else self._changed(batch, shuffle, first)
            first += len(batch)

    def _changed(self, batch: Batch, shuffle: Shuffle, first: int) -> Batch:
        device = next(iter(batch.arrays.values())).device
        state = generator(shuffle.seed, shuffle.epoch, first).initial_seed()
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(state)
            changed = {name: _run(module, batch.arrays[name]) for name, module in self.modules.items()}
        return replace(batch, arrays={**batch.arrays, **changed})


def _run(module: nn.Module, pictures: Tensor) -> Tensor:
    """The augmented images, in their original dtype, clipped to 0 to 255."""
    found: Tensor = module(pictures.float()).clamp(0, MOST)
    return found.to(pictures.dtype) if pictures.is_floating_point() else found.round().to(pictures.dtype)
