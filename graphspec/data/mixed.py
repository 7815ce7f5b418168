"""Training batches whose examples are mixed with one another: `MixUp` and `CutMix`, as in Keras.

What a batch draws depends on the seed, the epoch and the batch's place in it, and on no device. Batches are
mixed whole, before processes share them: so the result is the same for any number of processes, and for a run
that was resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphspec.data.batches import Batch, Changed, Examples
from graphspec.data.features.settings import BoxesFeature
from graphspec.data.mixing import IMAGE, CutMix, Mixing, MixUp
from graphspec.data.moved_boxes import area
from graphspec.data.rows.boxes import FREE, VISIBLE
from graphspec.elaborated import BaseProgram


@dataclass(frozen=True, slots=True)
class Draw:
    """What one step draws for a batch of n examples.

    `partner` is the example that each is mixed with, int64 [n], and `weight` the share of its own values that
    it keeps, float32 [n]. `box` is the part of the partner's image that is pasted, float32 [n, 4]: top,
    bottom, left and right as shares of the image; None where images are blended.
    """

    partner: Tensor
    weight: Tensor
    box: Tensor | None = None

    def to(self, device: torch.device) -> Draw:
        box = self.box.to(device) if self.box is not None else None
        return Draw(self.partner.to(device), self.weight.to(device), box)


def draw(step: Mixing, count: int, random: np.random.Generator) -> Draw:
    """What a step draws for `count` examples."""
    partner = torch.from_numpy(random.permutation(count))
    if isinstance(step, MixUp):
        return Draw(partner, _floats(random.beta(step.alpha, step.alpha, count)))
    assert isinstance(step, CutMix)
    alpha = random.uniform(*step.range) + 1e-6
    side = np.sqrt(1 - random.beta(alpha, alpha, count))
    top, left = random.uniform(size=(2, count)) * (1 - side)
    box = np.stack([top, top + side, left, left + side], 1)
    return Draw(partner, _floats(1 - side**2), _floats(box))


def _floats(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def blended(values: Tensor, drawn: Draw) -> Tensor:
    """Each example with a share of its partner; integers are rounded."""
    weight = drawn.weight.reshape(-1, *[1] * (values.dim() - 1))
    others = values[drawn.partner]
    if values.is_floating_point():
        weight = weight.to(values.dtype)
        return weight * values + (1 - weight) * others
    return (weight * values + (1 - weight) * others).round().to(values.dtype)


def pasted(images: Tensor, drawn: Draw, height: int) -> Tensor:
    """Each image with a rectangle of its partner's; `height` is its axis, and the width is the next one."""
    assert drawn.box is not None
    rows = _inside(drawn.box[:, :2], images.shape[height])[:, :, None]
    columns = _inside(drawn.box[:, 2:], images.shape[height + 1])[:, None, :]
    mask = (rows & columns).unsqueeze(1 if height == 2 else 3)
    return torch.where(mask, images[drawn.partner], images)


def joined(boxes: Tensor, drawn: Draw, size: Sequence[int]) -> Tensor:
    """[n, 2 * most, 5]: the boxes of each picture, [n, most, 5], and those of its partner. Where a rectangle
    is pasted, what it hides of the first, and what it does not show of the others, is gone.
    """
    others = boxes[drawn.partner]
    if drawn.box is None:
        return torch.cat((boxes, others), 1)
    top, bottom, left, right = drawn.box.unbind(1)
    shares = torch.stack((left, top, right, bottom), 1)[:, None]
    rectangle = shares * shares.new_tensor([size[1], size[0], size[1], size[0]])
    seen = area(boxes) - area(_common(boxes, rectangle)) >= VISIBLE * area(boxes)
    shown = _common(others, rectangle)
    there = (area(shown) > 0) & (area(shown) >= VISIBLE * area(others)) & (others[..., 4] != FREE)
    kept = torch.where(seen[..., None], boxes, float(FREE))
    added = torch.where(there[..., None], torch.cat((shown, others[..., 4:]), -1), float(FREE))
    return torch.cat((kept, added), 1)


def _common(boxes: Tensor, other: Tensor) -> Tensor:
    """What boxes have in common with another one, as far as they meet."""
    first = torch.maximum(boxes[..., :2], other[..., :2])
    last = torch.minimum(boxes[..., 2:4], other[..., 2:4])
    return torch.cat((first, torch.maximum(first, last)), -1)


def _inside(ends: Tensor, size: int) -> Tensor:
    """Which of `size` pixels lie between two ends, shares [n, 2] of the size: bool [n, size]."""
    pixels = torch.arange(size, dtype=ends.dtype, device=ends.device)
    return (pixels >= ends[:, :1] * size) & (pixels < ends[:, 1:] * size)


def mixing(program: BaseProgram, examples: Examples) -> Examples:
    """The examples of a training, mixed as the `mix` of the program's data says."""
    steps = program.data.mix if program.data is not None else ()
    if not steps:
        return examples
    features = program.data.features if program.data is not None else {}
    boxes = [name for name, feature in features.items() if isinstance(feature, BoxesFeature)]
    pictures = [tensor.shape[1:3] for tensor in program.inputs.values() if tensor.rank == IMAGE]
    return Mixed(examples, steps, program.channels_first, tuple(boxes), pictures[0] if pictures else ())


@dataclass(frozen=True, slots=True)
class Mixed(Changed):
    """Examples mixed by `steps`.

    `CutMix` pastes parts of all images, inputs and targets, and blends the other arrays; images have their
    channels first in the arrays that `channels_first` names. An example counts for an output if its partner
    does, too; weights are blended.
    """

    steps: Sequence[Mixing]
    channels_first: Collection[str] = ()
    boxes: tuple[str, ...] = ()
    """The targets that are boxes: those of both pictures, as far as they are seen."""
    size: tuple[Any, ...] = ()
    """The height and width of the pictures that they lie in."""

    def changed(self, batch: Batch, seed: int) -> Batch:
        random = np.random.default_rng(seed)
        device = next(iter(batch.arrays.values())).device
        for step in self.steps:
            drawn = draw(step, len(batch), random).to(device)
            masks = {name: there & there[drawn.partner] for name, there in batch.masks.items()}
            weights = {name: blended(weight, drawn) for name, weight in batch.weights.items()}
            batch = replace(batch, arrays=self._arrays(batch.arrays, drawn), weights=weights, masks=masks)
        return batch

    def _arrays(self, arrays: Mapping[str, Tensor], drawn: Draw) -> dict[str, Tensor]:
        return {
            name: joined(values, drawn, self.size)
            if name in self.boxes
            else pasted(values, drawn, 2 if name in self.channels_first else 1)
            if drawn.box is not None and values.dim() == IMAGE
            else blended(values, drawn)
            for name, values in arrays.items()
        }
