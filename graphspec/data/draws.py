"""Draws for a batch by the steps of `mix`, and applies the draws to its arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphspec.data.mixing import IMAGE, CutMix, Mixing, MixUp, Mosaic
from graphspec.data.moved_boxes import area
from graphspec.data.rows.boxes import FREE, VISIBLE


class Draw(ABC):
    """The draw of one step for a batch of n examples."""

    pastes: bool
    """Whether parts of images are pasted; else these are blended as all arrays are."""

    @abstractmethod
    def to(self, device: torch.device) -> Draw:
        """The same draws on a device."""

    @abstractmethod
    def blended(self, values: Tensor) -> Tensor:
        """Each example with its share of others; integers are rounded."""

    @abstractmethod
    def pasted(self, images: Tensor, height: int) -> Tensor:
        """Each image with parts of others; `height` is its axis, and the width is the next one."""

    @abstractmethod
    def boxes(self, boxes: Tensor, size: Sequence[int]) -> Tensor:
        """The boxes of each picture of this height and width, [n, most, 5], and of what it is mixed with, as
        far as they are seen: [n, k * most, 5].
        """

    @abstractmethod
    def all(self, there: Tensor) -> Tensor:
        """Whether all that an example is mixed of is there."""


@dataclass(frozen=True, slots=True)
class Partners(Draw):
    """Draws of `MixUp` and `CutMix`: each example and another one.

    `partner` is the example that each is mixed with, int64 [n], and `weight` the share of its own values that
    it keeps, float32 [n]. `box` is the part of the partner's image that is pasted, float32 [n, 4]: top,
    bottom, left and right as shares of the image; None where images are blended.
    """

    partner: Tensor
    weight: Tensor
    box: Tensor | None = None

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        return self.box is not None

    def to(self, device: torch.device) -> Partners:
        box = self.box.to(device) if self.box is not None else None
        return Partners(self.partner.to(device), self.weight.to(device), box)

    def blended(self, values: Tensor) -> Tensor:
        weight = self.weight.reshape(-1, *[1] * (values.dim() - 1))
        others = values[self.partner]
        if values.is_floating_point():
            weight = weight.to(values.dtype)
            return weight * values + (1 - weight) * others
        return (weight * values + (1 - weight) * others).round().to(values.dtype)

    def pasted(self, images: Tensor, height: int) -> Tensor:
        assert self.box is not None
        rows = _inside(self.box[:, :2], images.shape[height])[:, :, None]
        columns = _inside(self.box[:, 2:], images.shape[height + 1])[:, None, :]
        mask = (rows & columns).unsqueeze(1 if height == 2 else 3)
        return torch.where(mask, images[self.partner], images)

    def boxes(self, boxes: Tensor, size: Sequence[int]) -> Tensor:
        others = boxes[self.partner]
        if self.box is None:
            return torch.cat((boxes, others), 1)
        top, bottom, left, right = self.box.unbind(1)
        shares = torch.stack((left, top, right, bottom), 1)[:, None]
        rectangle = shares * shares.new_tensor([size[1], size[0], size[1], size[0]])
        seen = area(boxes) - area(_common(boxes, rectangle)) >= VISIBLE * area(boxes)
        kept = torch.where(seen[..., None], boxes, float(FREE))
        return torch.cat((kept, _seen(others, others, rectangle)), 1)

    def all(self, there: Tensor) -> Tensor:
        return there & there[self.partner]


@dataclass(frozen=True, slots=True)
class Mosaics(Draw):
    """Draws of `Mosaic`: four examples a canvas.

    `parts` are the examples at the top left, top right, bottom left and bottom right, int64 [n, 4]. They
    meet at `center`, shares of the height and the width, float32 [n, 2], and their sides are multiplied by
    `scale`, float32 [n]. An image that stays as it is has its own parts, a center of 1 and a scale of 1.
    """

    parts: Tensor
    center: Tensor
    scale: Tensor
    pastes = True

    def to(self, device: torch.device) -> Mosaics:
        return Mosaics(self.parts.to(device), self.center.to(device), self.scale.to(device))

    def blended(self, values: Tensor) -> Tensor:
        down, right = self.center.double().unbind(1)
        shares = torch.stack([y * x for y in (down, 1 - down) for x in (right, 1 - right)], 1)
        weights = shares.reshape(-1, 4, *[1] * (values.dim() - 1))
        found = (values[self.parts] * weights).sum(1)
        return (found if values.is_floating_point() else found.round()).to(values.dtype)

    def pasted(self, images: Tensor, height: int) -> Tensor:
        """Images are interpolated, and class numbers, [n, height, width], are those of the nearest pixels."""
        (below, y), (beside, x) = (self._places(axis, images.shape[height + axis]) for axis in (0, 1))
        numbers = 2 * below[:, :, None] + beside[:, None, :]
        part = self.parts.gather(1, numbers.flatten(1)).reshape(numbers.shape)
        if images.dim() < IMAGE:
            return images[part, y.long()[:, :, None], x.long()[:, None, :]]
        images = images.movedim(1, 3) if height == 2 else images
        found = _interpolated(images, part, y, x)
        found = (found if images.is_floating_point() else found.round()).to(images.dtype)
        return found.movedim(3, 1) if height == 2 else found

    def boxes(self, boxes: Tensor, size: Sequence[int]) -> Tensor:
        scale, moved = self.scale[:, None], []
        (top, left), (height, width) = (self._meeting(axis, size[axis])[:, None] for axis in (0, 1)), size
        for number in range(4):
            below, beside = divmod(number, 2)
            x, y = (left if beside else left - width * scale), (top if below else top - height * scale)
            inside = torch.cat(
                (
                    left if beside else torch.zeros_like(left),
                    top if below else torch.zeros_like(top),
                    torch.full_like(left, width) if beside else left,
                    torch.full_like(top, height) if below else top,
                ),
                1,
            )
            found = boxes[self.parts[:, number]]
            there = found[..., :4] * scale[..., None] + torch.cat((x, y, x, y), 1)[:, None]
            moved.append(_seen(found, there, inside[:, None]))
        return torch.cat(moved, 1)

    def all(self, there: Tensor) -> Tensor:
        return there[self.parts].all(1)

    def _meeting(self, axis: int, size: int) -> Tensor:
        """Where the images meet along the height (0) or the width (1), in whole pixels."""
        return (self.center[:, axis] * size).round()

    def _places(self, axis: int, size: int) -> tuple[Tensor, Tensor]:
        """For each pixel along an axis, whether it is beyond the place where images meet, and its place in
        the image that it shows, in pixels: both [n, size].
        """
        meeting = self._meeting(axis, size)[:, None]
        pixels = torch.arange(size, dtype=meeting.dtype, device=meeting.device) + 0.5
        beyond = pixels > meeting
        places = (pixels - meeting) / self.scale[:, None] + torch.where(beyond, 0, size)
        return beyond.long(), places.clamp(0, size - 0.5)


def _interpolated(images: Tensor, part: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values of images, [n, height, width, channels], at the places y, [n, rows], and x, [n, columns], of the
    images with the numbers `part`, [n, rows, columns]: between the centers of the four pixels around.
    """
    height, width = images.shape[1:3]
    y, x = y[:, :, None] - 0.5, x[:, None, :] - 0.5
    above, left = y.floor(), x.floor()
    down, right = (y - above)[..., None], (x - left)[..., None]
    rows = [(above + step).clamp(0, height - 1).long() for step in (0, 1)]
    columns = [(left + step).clamp(0, width - 1).long() for step in (0, 1)]
    upper, lower = (
        images[part, row, columns[0]] * (1 - right) + images[part, row, columns[1]] * right for row in rows
    )
    return upper * (1 - down) + lower * down


def _seen(boxes: Tensor, there: Tensor, rectangle: Tensor) -> Tensor:
    """Boxes that lie `there`, as far as they are in a rectangle; rows of those too little of which is seen
    are free.
    """
    shown = _common(there, rectangle)
    kept = (area(shown) > 0) & (area(shown) >= VISIBLE * area(there)) & (boxes[..., 4] != FREE)
    return torch.where(kept[..., None], torch.cat((shown, boxes[..., 4:]), -1), float(FREE))


def _common(boxes: Tensor, other: Tensor) -> Tensor:
    """The intersections of boxes with another one."""
    first = torch.maximum(boxes[..., :2], other[..., :2])
    last = torch.minimum(boxes[..., 2:4], other[..., 2:4])
    return torch.cat((first, torch.maximum(first, last)), -1)


def _inside(ends: Tensor, size: int) -> Tensor:
    """Which of `size` pixels lie between two ends, shares [n, 2] of the size: bool [n, size]."""
    pixels = torch.arange(size, dtype=ends.dtype, device=ends.device)
    return (pixels >= ends[:, :1] * size) & (pixels < ends[:, 1:] * size)


def draw(step: Mixing, count: int, random: np.random.Generator) -> Draw:
    """Draws for `count` examples."""
    if isinstance(step, Mosaic):
        return _mosaics(step, count, random)
    partner = torch.from_numpy(random.permutation(count))
    if isinstance(step, MixUp):
        return Partners(partner, _floats(random.beta(step.alpha, step.alpha, count)))
    assert isinstance(step, CutMix)
    alpha = random.uniform(*step.range) + 1e-6
    side = np.sqrt(1 - random.beta(alpha, alpha, count))
    top, left = random.uniform(size=(2, count)) * (1 - side)
    box = np.stack([top, top + side, left, left + side], 1)
    return Partners(partner, _floats(1 - side**2), _floats(box))


def _mosaics(step: Mosaic, count: int, random: np.random.Generator) -> Mosaics:
    own = np.arange(count)
    parts = np.stack([own, *(random.permutation(count) for _ in range(3))], 1)
    center = random.uniform(min(step.center), max(step.center), (count, 2))
    scale = random.uniform(*step.scales, count)
    whole = random.uniform(size=count) >= step.probability
    parts[whole], center[whole] = own[whole, None], 1.0
    return Mosaics(torch.from_numpy(parts), _floats(center), _floats(np.maximum(scale, covering(center))))


def covering(center: NDArray[Any]) -> NDArray[Any]:
    """The least scale of images that meet at a center, [n, 2], in which each fills its part of the canvas."""
    return np.asarray(np.maximum(center, 1 - center).max(1))


def _floats(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
