"""The meaning of a detector's output: which point or query answers for which target, its boxes and its
losses.

A head has the settings of a `Detector`. Targets are [n, most, 5], corners in pixels and the class; class -1
is no box. All shapes are known from settings, so that steps compile and wait for nothing, but for the
matching of `hungarian`. torch is imported inside of functions: a spec is checked without it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphspec.objectives.boxes import area, from_centers, overlap, pairs, to_centers
from graphspec.objectives.formulas import EPSILON
from graphspec.objectives.matching import matched

if TYPE_CHECKING:
    from torch import Tensor as Values

    from graphspec.objectives.detection_settings import Detector

WIDEST = math.log(1000 / 16)
"""The largest logarithm of how much wider than its anchor a box is."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The target of each point: a row of the targets, [n, points, 5], which counts as much as its `weight`,
    [n, points], 0 for none; and the points whose class counts, all where that is None.
    """

    rows: Values
    weight: Values
    counted: Values | None = None


class Head(ABC):
    """The meaning of an output for one `assign`."""

    suppresses = True
    """Whether several of its boxes may be of one thing."""

    def __init__(self, loss: Detector):
        self.loss = loss
        assert loss.size is not None
        self.height, self.width = loss.size

    def of_class(self, output: Values) -> Values:
        """The logits of classes, [n, points, classes]."""
        return output[..., self.loss.box_values :]

    @abstractmethod
    def boxes(self, output: Values) -> Values:
        """The boxes in pixels, [n, points, 4]."""

    @abstractmethod
    def scores(self, output: Values) -> Values:
        """The probability of each class, [n, points, classes]."""

    @abstractmethod
    def losses(self, output: Values, target: Values) -> Values:
        """A value for each picture, [n]."""


class DenseHead(Head):
    """A head with answers at the points of several levels."""

    def levels(self, like: Values) -> list[Values]:
        """x and y of the points of each level in pixels, [points, 2]."""
        import torch

        found = []
        for stride, grid in zip(self.loss.strides, self.loss.grids, strict=True):
            y, x = (
                (torch.arange(count, device=like.device, dtype=like.dtype) + self.loss.offset) * stride
                for count in grid
            )
            found.append(torch.cartesian_prod(y, x).flip(-1))
        return found

    def points(self, like: Values) -> tuple[Values, Values]:
        """x and y of all points in pixels, [points, 2], and the stride of each, [points]."""
        import torch

        levels = self.levels(like)
        strides = [
            points.new_full((len(points),), s) for points, s in zip(levels, self.loss.strides, strict=True)
        ]
        return torch.cat(levels), torch.cat(strides)

    @abstractmethod
    def assigned(self, boxes: Values, output: Values, target: Values) -> Assigned:
        """Assigns targets to points; nothing here has a gradient."""

    def scores(self, output: Values) -> Values:
        if self.loss.has_background:
            return self.of_class(output).softmax(-1)[..., :-1]
        return self.of_class(output).sigmoid()

    def losses(self, output: Values, target: Values) -> Values:
        import torch

        boxes, logits = self.boxes(output), self.of_class(output)
        with torch.no_grad():
            found = self.assigned(boxes, output, target)
            right = found.rows[..., :4]
            goal = found.weight
            if self.loss.goals == "quality_focal" and self.loss.assign != "task_aligned":
                goal = goal * overlap("iou", boxes, right)
            kind = found.rows[..., 4:].clamp(min=0)
            numbers = torch.arange(logits.shape[-1], device=logits.device, dtype=kind.dtype)
            goals = torch.where(kind == numbers, goal.unsqueeze(-1), 0.0)
            total = found.weight.sum(1).clamp(min=1)
        if self.loss.has_background:
            of_class = self._beside_background(logits, kind.squeeze(-1), found.weight > 0)
        else:
            of_class = self._of_classes(logits, goals).sum(-1)
        if found.counted is not None:
            of_class = torch.where(found.counted, of_class, 0.0)
        of_box = self._of_boxes(output, boxes, right) * found.weight
        return (of_class.sum(1) + of_box.sum(1)) / total

    def _of_classes(self, logits: Values, goals: Values) -> Values:
        """The cross-entropy of each class, which counts more the farther it is from its goal."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        value = binary_cross_entropy_with_logits(logits, goals, reduction="none")
        if self.loss.goals == "binary_crossentropy":
            return value
        value = value * (logits.sigmoid() - goals).abs().pow(self.loss.gamma)
        if self.loss.goals == "quality_focal":
            return value
        return value * (goals * self.loss.alpha + (1 - goals) * (1 - self.loss.alpha))

    def _beside_background(self, logits: Values, kind: Values, answers: Values) -> Values:
        """The cross-entropy of each point, where the last class is no box: of points that answer, and of as
        many of the worst others for each, in a picture without boxes for one (SSD; Liu et al., 2016).
        """
        import torch
        from torch.nn.functional import cross_entropy

        right = torch.where(answers, kind, logits.shape[-1] - 1).long()
        value = cross_entropy(logits.transpose(1, 2), right, reduction="none")
        most = (self.loss.negatives * answers.sum(1, keepdim=True).clamp(min=1)).floor()
        order = torch.where(answers, -math.inf, value.detach()).argsort(1, descending=True).argsort(1)
        return torch.where(answers | (order < most), value, 0.0)

    def _of_boxes(self, output: Values, boxes: Values, right: Values) -> Values:
        """The loss of each point's box beside the right one, [n, points]."""
        assert self.loss.boxes != "l1"
        return self.loss.box_weight * (1 - overlap(self.loss.boxes, boxes, right))


class Distances(DenseHead):
    """Each point gives the distances of the sides of its box, in strides, or how likely is each of `bins`."""

    def _bins(self, output: Values) -> Values:
        """The logits of the distances of each side, [n, points, 4, bins]."""
        return output[..., : self.loss.side_values].reshape(*output.shape[:-1], 4, -1)

    def _distances(self, output: Values) -> Values:
        """Left, top, right and bottom, [n, points, 4]."""
        import torch

        given = output[..., : self.loss.side_values]
        if self.loss.bins is None:
            return given.clamp(min=0)
        numbers = torch.arange(self.loss.bins, device=given.device, dtype=given.dtype)
        return (self._bins(output).softmax(-1) * numbers).sum(-1)

    def boxes(self, output: Values) -> Values:
        import torch

        points, strides = self.points(output)
        sides = self._distances(output) * strides.unsqueeze(-1)
        return torch.cat((points - sides[..., :2], points + sides[..., 2:]), -1)

    def inside(self, target: Values) -> tuple[Values, Values]:
        """The least and the largest distance from each point to the sides of each target, in pixels,
        [n, points, most]: a point is inside where the least is positive, and inside nothing that is no box.
        """
        import torch

        points, _ = self.points(target)
        x, y = (points[:, i, None] for i in (0, 1))
        left, top, right, bottom = (target[:, None, :, i] for i in range(4))
        sides = torch.stack((x - left, y - top, right - x, bottom - y))
        there = target[:, None, :, 4] >= 0
        return torch.where(there, sides.amin(0), -1.0), sides.amax(0)

    def _of_boxes(self, output: Values, boxes: Values, right: Values) -> Values:
        """With `bins` also the cross-entropy of the two bins that a distance lies between (distribution focal
        loss; Li et al., 2020).
        """
        import torch

        value = super()._of_boxes(output, boxes, right)
        if self.loss.bins is None:
            return value
        points, strides = self.points(output)
        sides = torch.cat((points - right[..., :2], right[..., 2:] - points), -1) / strides.unsqueeze(-1)
        sides = sides.clamp(0, self.loss.bins - 1 - 0.01)
        low = sides.floor()
        logs = self._bins(output).log_softmax(-1)
        place = low.long().unsqueeze(-1)
        near, far = (logs.gather(-1, place + step).squeeze(-1) for step in (0, 1))
        parts = (low + 1 - sides) * near + (sides - low) * far
        return value - self.loss.bins_weight * parts.mean(-1)


class Center(Distances):
    """A point answers for a box that it is inside, near to its center, on the level of its size; of several
    for the smallest (FCOS; Tian et al., 2019).
    """

    def assigned(self, boxes: Values, output: Values, target: Values) -> Assigned:
        import torch

        points, strides = self.points(target)
        least, most = self.inside(target)
        centers = (target[..., :2] + target[..., 2:4]) / 2
        away = (points[:, None] - centers[:, None]).abs().amax(-1)  # [n, points, most]
        low, high = 4 * strides, 8 * strides
        low = torch.where(strides == self.loss.strides[0], 0, low)
        high = torch.where(strides == self.loss.strides[-1], math.inf, high)
        takes = (least > 0) & (away < self.loss.radius * strides[:, None])
        takes &= (most > low[:, None]) & (most < high[:, None])
        sizes = torch.where(takes, area(target[..., :4])[:, None], math.inf)
        size, place = sizes.min(-1)
        return Assigned(rows_at(target, place), size.isfinite().to(boxes.dtype))

    def scores(self, output: Values) -> Values:
        found = super().scores(output)
        if not self.loss.centerness:
            return found
        return (found * output[..., self.loss.side_values, None].sigmoid()).sqrt()

    def _of_boxes(self, output: Values, boxes: Values, right: Values) -> Values:
        """With `centerness` also its cross-entropy: 1 in the middle of a box, 0 at its sides."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        value = super()._of_boxes(output, boxes, right)
        if not self.loss.centerness:
            return value
        points, _ = self.points(output)
        first, last = points - right[..., :2], right[..., 2:] - points
        near, far = torch.minimum(first, last), torch.maximum(first, last)
        goal = (near / far.clamp(min=EPSILON)).clamp(0, 1).prod(-1).sqrt()
        logits = output[..., self.loss.side_values]
        return value + binary_cross_entropy_with_logits(logits, goal, reduction="none")


class TaskAligned(Distances):
    """The points that answer for a box are those inside it whose class and box are right already; how right
    they are is what they count (Feng et al., 2021).
    """

    def assigned(self, boxes: Values, output: Values, target: Values) -> Assigned:
        import torch

        least, _ = self.inside(target)
        scores = self.scores(output)
        kinds = target[..., 4].clamp(0, scores.shape[-1] - 1).long()
        chances = scores.gather(-1, kinds[:, None].expand(-1, scores.shape[1], -1))
        near = pairs(boxes, target[..., :4])
        aligned = chances.pow(self.loss.class_power) * near.pow(self.loss.box_power)
        count = min(self.loss.points_per_box, aligned.shape[1])
        best = torch.where(least > 0, aligned, -1.0).topk(count, 1).indices
        takes = torch.zeros_like(least, dtype=torch.bool).scatter_(1, best, True) & (least > 0)
        place = torch.where(takes, near, -1.0).argmax(-1)
        mine = takes & (torch.arange(takes.shape[-1], device=takes.device) == place.unsqueeze(-1))
        aligned, near = (torch.where(mine, each, 0.0) for each in (aligned, near))
        scale = near.amax(1) / (aligned.amax(1) + EPSILON**2)
        return Assigned(rows_at(target, place), (aligned * scale.unsqueeze(1)).amax(-1))


class Anchors(DenseHead):
    """Each point has boxes of several sizes and shapes, which the output moves and scales; one answers for
    the box that it overlaps most (Faster R-CNN, Ren et al., 2015; RetinaNet, Lin et al., 2017).
    """

    def anchors(self, like: Values) -> Values:
        """[points * shapes, 4], the shapes of a point together: as listed, or by ratio, then by scale."""
        import torch

        found = []
        for level, points in enumerate(self.levels(like)):
            half = points.new_tensor(self.loss.shapes_of(level)) / 2
            found.append(torch.cat((points[:, None] - half, points[:, None] + half), -1).flatten(0, 1))
        return torch.cat(found)

    def boxes(self, output: Values) -> Values:
        import torch

        anchors = to_centers(self.anchors(output))
        move, grow = output[..., :2], output[..., 2:4].clamp(max=WIDEST)
        center = anchors[:, :2] + move * anchors[:, 2:]
        return from_centers(torch.cat((center, grow.exp() * anchors[:, 2:]), -1))

    def assigned(self, boxes: Values, output: Values, target: Values) -> Assigned:
        import torch

        there = target[:, None, :, 4] >= 0
        near = torch.where(there, pairs(self.anchors(output).unsqueeze(0), target[..., :4]), -1.0)
        most, place = near.max(-1)
        best = near.amax(1, keepdim=True)  # each box has an anchor, whatever it overlaps
        best_of = ((near == best) & (best > 0)).any(-1)
        takes = (most >= self.loss.foreground) | best_of
        counted = takes | (most < self.loss.background)
        return Assigned(rows_at(target, place), takes.to(boxes.dtype), counted)

    def _of_boxes(self, output: Values, boxes: Values, right: Values) -> Values:
        if self.loss.boxes != "l1":
            return super()._of_boxes(output, boxes, right)
        import torch

        anchors, goal = to_centers(self.anchors(output)), to_centers(right)
        move = (goal[..., :2] - anchors[:, :2]) / anchors[:, 2:]
        grow = (goal[..., 2:].clamp(min=EPSILON) / anchors[:, 2:]).log()
        return self.loss.box_weight * (output[..., :4] - torch.cat((move, grow), -1)).abs().sum(-1)


class Hungarian(Head):
    """Queries, each for at most one box, in the pairing that costs least (DETR; Carion et al., 2020)."""

    suppresses = False

    def _shares(self, output: Values) -> Values:
        """Center, width and height of the boxes, as shares of the picture's sides."""
        return output[..., :4].sigmoid()

    def _sides(self, like: Values) -> Values:
        return like.new_tensor([self.width, self.height] * 2)

    def boxes(self, output: Values) -> Values:
        return from_centers(self._shares(output)) * self._sides(output)

    def scores(self, output: Values) -> Values:
        return self.of_class(output).softmax(-1)[..., :-1]

    def losses(self, output: Values, target: Values) -> Values:
        import torch
        from torch.nn.functional import cross_entropy

        logits, shares = self.of_class(output), self._shares(output)
        goal = target[..., :4] / self._sides(output)
        kinds = target[..., 4].clamp(min=0).long()
        costs = self._costs(logits.detach(), shares.detach(), goal, kinds)
        place = matched(costs, target[..., 4] >= 0)  # [n, most]
        there, place = place >= 0, place.clamp(min=0)
        none = logits.shape[-1] - 1
        spare = torch.full_like(logits[..., :1], none, dtype=torch.int64).squeeze(-1)
        behind = torch.cat((spare, spare[:, :1]), 1)  # a place for what is no box
        held = torch.where(there, place, output.shape[1])
        right = behind.scatter(1, held, torch.where(there, kinds, none))[:, :-1]
        weight = torch.where(right == none, self.loss.no_object, 1.0)
        of_class = cross_entropy(logits.transpose(1, 2), right, reduction="none") * weight
        given = shares.gather(1, place.unsqueeze(-1).expand(-1, -1, 4))
        apart = (given - to_centers(goal)).abs().sum(-1)
        far = self._far(from_centers(given), goal)
        of_box = torch.where(there, self.loss.l1_weight * apart + self.loss.box_weight * far, 0.0)
        return of_class.sum(1) / weight.sum(1) + of_box.sum(1) / there.sum(1).clamp(min=1)

    def _far(self, a: Values, b: Values) -> Values:
        assert self.loss.boxes != "l1"
        return 1 - overlap(self.loss.boxes, a, b)

    def _costs(self, logits: Values, shares: Values, goal: Values, kinds: Values) -> Values:
        """The costs of assigning targets to queries: [n, most, queries]."""
        chance = (
            logits.softmax(-1)
            .transpose(1, 2)
            .gather(1, kinds.clamp(max=logits.shape[-1] - 2).unsqueeze(-1).expand(-1, -1, logits.shape[1]))
        )
        apart = (to_centers(goal).unsqueeze(2) - shares.unsqueeze(1)).abs().sum(-1)
        far = self._far(from_centers(shares).unsqueeze(1), goal.unsqueeze(2))
        return self.loss.l1_weight * apart + self.loss.box_weight * far - chance


def rows_at(target: Values, place: Values) -> Values:
    """The row of the targets at each place, [n, points, 5]."""
    return target.gather(1, place.unsqueeze(-1).expand(-1, -1, target.shape[-1]))
