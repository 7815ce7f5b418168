"""Boxes that move with the pixels of their pictures: where layers put them, and what is left of them.

What layers do to pixels is seen from two channels with the place of each pixel, which go through the same
layers with the same draws. A projective map through these places says where any point of the picture is now:
all layers that move pixels are such maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.data.augmentation import chain
from graphspec.data.features.vision import MOVING
from graphspec.data.rows.boxes import FREE, VISIBLE
from graphspec.tensor import Tensor as TensorType

CHANNELS = 3
"""Of what is tracked: the place of each pixel, x and y from -1 to 1, and where there is one."""
POINTS = 24
"""Places along each side that the map goes through."""
FEWEST = 12
"""Places that have to be left of a picture; of fewer no box is."""
WHOLE = 0.999
"""How much of a place comes from inside of the picture where none comes from what fills the rest."""
RIDGE = 1e-12
"""Keeps the equations of a picture without a place solvable."""


def tracking(layers: list[dict[str, Any]], picture: TensorType) -> str:
    """The text of a spec of the layers that move pixels, in which nothing of what fills the rest looks like a
    picture; `picture` is the type of what they move.
    """
    found = []
    for layer in layers:
        if layer["layer"] in MOVING:
            plain = layer["layer"] in ("RandomFlip", "RandomCrop")
            exact: dict[str, Any] = {} if plain else {"interpolation": "bilinear"}
            exact |= {"fill_value": 0.0} if exact else {}
            exact |= {"fill_mode": "constant"} if exact and layer["layer"] != "RandomPerspective" else {}
            found.append({**layer, **exact})
    return chain(found, TensorType((*picture.shape[:3], CHANNELS), "float32"))


def positions(layers: list[dict[str, Any]]) -> list[int]:
    """The numbers, among all layers, of those that move pixels."""
    return [number for number, layer in enumerate(layers) if layer["layer"] in MOVING]


@dataclass(frozen=True, slots=True)
class BoxTracker:
    """Moves the boxes of an input as `module`, made of `tracking`, moves its pixels; of the targets of these
    names, [n, most, 5].
    """

    module: nn.Module
    names: tuple[str, ...]

    def moved(self, arrays: Mapping[str, Tensor], pictures: Tensor) -> dict[str, Tensor]:
        """The targets after pictures, [n, height, width, channels], were moved by the same draws."""
        count, height, width, _ = pictures.shape
        y, x = (_places(size, pictures.device) for size in (height, width))
        shown = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)
        whole = torch.cat((shown, torch.ones_like(shown[..., :1])), -1)
        tracked = self.module(whole.expand(count, -1, -1, -1))
        maps = _maps(tracked)
        return {name: _moved(arrays[name], maps, (height, width), tracked.shape[1:3]) for name in self.names}


def _places(size: int, device: torch.device) -> Tensor:
    """The centers of so many pixels, from -1 to 1."""
    return (torch.arange(size, dtype=torch.float32, device=device) + 0.5) * 2 / size - 1


def _maps(tracked: Tensor) -> Tensor:
    """[n, 3, 3], from the places of a picture to those after it was moved; of zeros where nothing is left."""
    count, height, width, _ = tracked.shape
    rows, columns = (
        torch.linspace(0, size - 1, min(size, POINTS)).round().long() for size in (height, width)
    )
    some = tracked[:, rows.to(tracked.device)][:, :, columns.to(tracked.device)].double()
    x, y, there = some.flatten(1, 2).unbind(-1)
    to_y = _places(height, tracked.device)[rows].double()[:, None].expand(len(rows), len(columns)).flatten()
    to_x = _places(width, tracked.device)[columns].double().expand(len(rows), len(columns)).flatten()
    weight = (there > WHOLE).double()
    one, none = torch.ones_like(x), torch.zeros_like(x)
    of_x = torch.stack((x, y, one, none, none, none, -x * to_x, -y * to_x), -1)
    of_y = torch.stack((none, none, none, x, y, one, -x * to_y, -y * to_y), -1)
    left = torch.cat((of_x * weight[..., None], of_y * weight[..., None]), 1)
    right = torch.cat((to_x * weight, to_y * weight), 1)[..., None]
    square = left.mT @ left + RIDGE * torch.eye(8, dtype=left.dtype, device=left.device)
    solved = torch.linalg.solve(square, left.mT @ right)[..., 0]
    found = torch.cat((solved, torch.ones_like(solved[:, :1])), 1).reshape(count, 3, 3)
    return torch.where((weight.sum(1) >= FEWEST)[:, None, None], found, 0.0)


def _moved(boxes: Tensor, maps: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Boxes as they lie in moved pictures: around their moved corners, cut off at the edges."""
    left, top, right, bottom = boxes[..., :4].double().unbind(-1)
    x, y = (torch.stack(sides, -1) for sides in ((left, right, right, left), (top, top, bottom, bottom)))
    corners = torch.stack((x * 2 / before[1] - 1, y * 2 / before[0] - 1, torch.ones_like(x)), -1)
    there = corners.flatten(1, 2) @ maps.mT
    depth = there[..., 2:]
    behind = (depth <= 0).reshape(*boxes.shape[:2], 4).any(-1)
    places = (there[..., :2] / depth.clamp(min=1e-9)).reshape(*boxes.shape[:2], 4, 2)
    pixels = (places + 1) / 2 * places.new_tensor([after[1], after[0]])
    sides = torch.cat((pixels.amin(2), pixels.amax(2)), -1)
    inside, kept = clipped(sides, after[1], after[0])
    kept &= (boxes[..., 4] != FREE) & ~behind
    moved = torch.cat((inside.to(boxes.dtype), boxes[..., 4:]), -1)
    return torch.where(kept[..., None], moved, float(FREE))


def clipped(boxes: Tensor, width: float, height: float) -> tuple[Tensor, Tensor]:
    """The parts of boxes, [..., 4], in a picture, and of which enough is left to be seen."""
    limits = boxes.new_tensor([width, height, width, height])
    inside = torch.minimum(boxes.clamp(min=0), limits)
    whole, left = area(boxes), area(inside)
    return inside, (left > 0) & (left >= VISIBLE * whole)


def area(boxes: Tensor) -> Tensor:
    """The areas of boxes, 0 of those without one."""
    return (boxes[..., 2:4] - boxes[..., :2]).clamp(min=0).prod(-1)
