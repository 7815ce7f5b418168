"""Boxes as x1, y1, x2, y2 on the last axis: how far two overlap, and which of several remain.

torch is imported inside of functions: a spec is checked without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from graphspec.objectives.formulas import EPSILON

if TYPE_CHECKING:
    from torch import Tensor as Values

CROWD = -2
"""The class of a target that is a crowd of class 0; that of class k is `CROWD - k`."""
Overlap = Literal["iou", "giou", "diou", "ciou"]


def area(boxes: Values) -> Values:
    """The areas, 0 of a box that ends before it begins."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def overlap(kind: Overlap, a: Values, b: Values) -> Values:
    """How far boxes overlap those at the same place, which are broadcast: the intersection relative to the
    union, and in other kinds than `iou` less what lies apart (Rezatofighi et al., 2019; Zheng et al., 2020).
    """
    import torch

    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    sides = (high - low).clamp(min=0)
    both = sides[..., 0] * sides[..., 1]
    union = area(a) + area(b) - both
    iou = both / (union + EPSILON)
    if kind == "iou":
        return iou
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    if kind == "giou":
        hull = around[..., 0] * around[..., 1]
        return iou - (hull - union) / (hull + EPSILON)
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = apart.square().sum(-1) / (around.square().sum(-1) + EPSILON)
    if kind == "diou":
        return iou - distance
    shape = (_slope(a) - _slope(b)).square() * 4 / math.pi**2
    with torch.no_grad():
        share = shape / (1 - iou + shape + EPSILON)
    return iou - distance - share * shape


def _slope(boxes: Values) -> Values:
    """The angle of the diagonal."""
    import torch

    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.atan2(sides[..., 0], sides[..., 1].clamp(min=EPSILON))


def pairs(a: Values, b: Values) -> Values:
    """The IoU of each box of `a` [..., n, 4] with each of `b` [..., m, 4]: [..., n, m]."""
    import torch

    areas = area(a).unsqueeze(-1) + area(b).unsqueeze(-2)
    a, b = a.unsqueeze(-2), b.unsqueeze(-3)  # a coordinate at a time: vectors of two are slow
    width, height = (
        (torch.minimum(a[..., i + 2], b[..., i + 2]) - torch.maximum(a[..., i], b[..., i])).clamp(min=0)
        for i in range(2)
    )
    both = width * height
    return both / (areas - both + EPSILON)


def from_centers(boxes: Values) -> Values:
    """Corners of boxes that are given by their center, width and height."""
    import torch

    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((center - half, center + half), -1)


def to_centers(boxes: Values) -> Values:
    """Center, width and height of boxes that are given by their corners."""
    import torch

    return torch.cat(((boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]), -1)


def clipped(boxes: Values, size: Sequence[int]) -> Values:
    """The part of boxes that is inside a picture of this height and width."""
    import torch

    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x, y), -1).flatten(-2)


def selected(boxes: Values, classes: Values, scores: Values, limit: float, top: int) -> tuple[Values, Values]:
    """The places and scores, [n, top], of the boxes [n, k, 4] that non-maximum suppression leaves, best
    first: no box that overlaps a better one of its class by more than `limit`. A score of 0 is no box.
    """
    import torch

    left, upper, right, lower = (boxes[..., i].contiguous() for i in range(4))
    sizes, places, best = area(boxes), [], []
    for _ in range(top):
        score, place = scores.max(1, keepdim=True)
        places.append(place)
        best.append(score)
        if not score.any():
            break
        x1, y1, x2, y2, size, kind = (x.gather(1, place) for x in (left, upper, right, lower, sizes, classes))
        width = (torch.minimum(right, x2) - torch.maximum(left, x1)).clamp(min=0)
        both = width * (torch.minimum(lower, y2) - torch.maximum(upper, y1)).clamp(min=0)
        over = both > limit * (sizes + size - both)
        scores = torch.where(over & (classes == kind), 0.0, scores).scatter(1, place, 0.0)
    return torch.cat(places, 1), torch.cat(best, 1)
