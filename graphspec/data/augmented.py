"""Random augmentation of training images, reproducible from the seed, the epoch and the position.

What a batch draws depends on the seed, the epoch and the batch's place in it: so a resumed run draws what the
unbroken one would have, and the global random state is left as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.data.batches import Batch, Changed, Examples
from graphspec.data.features.following import boxed_pictures, followers, pictures
from graphspec.data.features.plan import Fill, FillPlan, plan_fills
from graphspec.data.moved_boxes import BoxTracker, positions
from graphspec.elaborated import BaseProgram

MOST = 255
"""The largest value of a picture."""
APART = 0x9E3779B97F4A7C15
"""The difference between the seeds of two consecutive layers."""


@dataclass(frozen=True, slots=True)
class Follower:
    """A target that moves with the pixels of an image, and the float channels that stand for it meanwhile.

    A mask of class numbers [n, height, width] has one for each class, and one more for those that are
    `ignored`. Where pixels are interpolated, the class with the largest share remains.
    """

    name: str
    channels: int
    mask: bool
    ignored: int | None = None

    def floats(self, values: Tensor) -> Tensor:
        if values.dim() == 4:
            return values.float()
        last = self.channels - 1
        ids = values if self.ignored is None else torch.where(values == self.ignored, last, values)
        return F.one_hot(ids.long(), self.channels).float()

    def restored(self, moved: Tensor, values: Tensor) -> Tensor:
        """The moved values, in the form of the `values` from which they were made."""
        if not self.mask:
            return _restored(moved, values)
        if self.channels == 1:
            return (moved >= 0.5).to(values.dtype)
        ids = moved.argmax(-1)
        if values.dim() == 4:
            return F.one_hot(ids, self.channels).to(values.dtype)
        kept = ids if self.ignored is None else torch.where(ids == self.channels - 1, self.ignored, ids)
        return kept.to(values.dtype)


@dataclass(frozen=True, slots=True)
class Augmented(Changed):
    """Examples with some inputs augmented by a module, and targets that follow. `pictures` are the numbers
    of what inputs show: those of one picture draw the same.
    """

    modules: Mapping[str, nn.Module]
    pictures: Mapping[str, int]
    followers: Mapping[str, tuple[Follower, ...]] = field(default_factory=dict)
    trackers: Mapping[str, BoxTracker] = field(default_factory=dict)

    def changed(self, batch: Batch, seed: int) -> Batch:
        device = next(iter(batch.arrays.values())).device
        arrays = dict(batch.arrays)
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            for name, module in self.modules.items():
                drawn = (seed + self.pictures[name]) % 2**63
                if name in self.trackers:
                    torch.manual_seed(drawn)
                    arrays |= self.trackers[name].moved(arrays, arrays[name])
                torch.manual_seed(drawn)
                self._augment(arrays, name, module)
        return replace(batch, arrays=arrays)

    def _augment(self, arrays: dict[str, Tensor], name: str, module: nn.Module) -> None:
        """Replaces the images of an input, and the targets that follow it, by augmented ones."""
        pictures, following = arrays[name], self.followers.get(name, ())
        parts = [pictures.float(), *(each.floats(arrays[each.name]) for each in following)]
        transformed = module(torch.cat(parts, -1) if following else parts[0])
        image, *moved = transformed.split([part.shape[-1] for part in parts], -1)
        arrays[name] = _restored(image, pictures)
        for each, values in zip(following, moved, strict=True):
            arrays[each.name] = each.restored(values, arrays[each.name])


def _restored(augmented: Tensor, pictures: Tensor) -> Tensor:
    """Augmented images in their original dtype, clipped to 0 to 255."""
    augmented = augmented.clamp(0, MOST)
    return (
        augmented.to(pictures.dtype) if pictures.is_floating_point() else augmented.round().to(pictures.dtype)
    )


def augmented(program: BaseProgram, training: Examples, device: torch.device) -> Augmented:
    """Training examples with the `augment` of the features of a program."""
    assert program.data is not None
    filled = plan_fills(program.inputs, program.outputs, program.data.features, program.ranges)
    by_input = followers(filled)
    numbers = {fill.field: number for number, group in enumerate(pictures(filled)) for fill in group}
    following = {name: tuple(_follower(program, fill) for fill in fills) for name, fills in by_input.items()}
    more = {name: sum(each.channels for each in targets) for name, targets in following.items()}
    modules = {name: _seeded(module.to(device)) for name, module in program.augmentations(more).items()}
    return Augmented(training, modules, numbers, following, _trackers(program, filled, device))


def _trackers(program: BaseProgram, filled: FillPlan, device: torch.device) -> dict[str, BoxTracker]:
    """By input, what moves the boxes in its pictures."""
    assert program.data is not None
    boxed = boxed_pictures(filled)
    trackers = {}
    for name, module in program.trackers(boxed).items():
        layers = getattr(program.data.features[name], "augment", [])
        trackers[name] = BoxTracker(_seeded(module.to(device), positions(layers)), boxed[name])
    return trackers


def _seeded(module: nn.Module, numbers: Sequence[int] | None = None) -> nn.Module:
    """A chain in which each layer has a seed: that of the layer before plus a constant. So a layer draws the
    same however much others draw, which may depend on the size of pictures. `numbers` are those of its layers
    among all, where some are left out.
    """
    layers = list(module.children())
    for place, (number, layer) in enumerate(zip(numbers or range(len(layers)), layers, strict=True)):
        steps = number - (-1 if place == 0 else (numbers or range(len(layers)))[place - 1])
        layer.register_forward_pre_hook(partial(_draw_anew, steps))
    return module


def _draw_anew(steps: int, *_: object) -> None:
    torch.manual_seed((torch.initial_seed() + steps * APART) % 2**63)


def _follower(program: BaseProgram, fill: Fill) -> Follower:
    channels = fill.tensor.shape[-1]
    if fill.tensor.rank == 4:
        assert isinstance(channels, int)
        return Follower(fill.field, channels, fill.mask)
    assert fill.limit is not None and fill.output is not None
    ignored = getattr(program.outputs[fill.output].loss, "ignore_class", None)
    return Follower(fill.field, fill.limit + (ignored is not None), True, ignored)
