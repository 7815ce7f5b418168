"""Computations of metrics on curves: areas, and the best rate under a bound on another.

Their sums are positives and negatives above each threshold, or every value that occurs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphspec.objectives.confusion import CurveMetric
from graphspec.train import losses

EPSILON = losses.EPSILON


def divide(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 where `b` is 0."""
    return torch.where(b == 0, torch.zeros_like(a), a / b.where(b != 0, torch.ones_like(b)))


def is_exact(metric: Any) -> bool:
    """Whether a curve has a point at every value instead of at thresholds."""
    given = getattr(metric, "thresholds", None)
    return isinstance(metric, CurveMetric) and metric.num_thresholds is None and given is None


def curve(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[2, thresholds, labels]: positives and negatives above each threshold; of an exact curve, [3, n,
    labels]: values, and what is positive and negative about them.
    """
    if getattr(metric, "from_logits", False):
        output = output.sigmoid()
    if getattr(metric, "class_id", None) is not None:
        output, target = output[..., metric.class_id], target[..., metric.class_id]
    target = target.to(output.dtype)
    weights = torch.ones_like(target, dtype=torch.float64)
    if weight is not None:
        weights = weights * losses.aligned(weight, target)
    multi_label = getattr(metric, "multi_label", False)
    given = getattr(metric, "label_weights", None)
    if given is not None and not multi_label:
        weights = weights * weights.new_tensor(given)
    labels = output.shape[-1] if multi_label else 1
    values, target, weights = (x.reshape(-1, labels) for x in (output, target, weights))
    cells = torch.stack((target * weights, (1 - target) * weights))
    if is_exact(metric):
        return torch.cat((values.double().unsqueeze(0), cells))
    below = torch.bucketize(values.contiguous(), _thresholds(metric, output))
    count = len(_thresholds(metric, output)) + 1
    histogram = cells.new_zeros(2, count, labels).scatter_add_(1, below.expand(2, -1, -1), cells)
    return histogram.flip(1).cumsum(1).flip(1)[:, 1:]


def _thresholds(metric: Any, output: Tensor) -> Tensor:
    """Keras' thresholds: those given, or evenly spaced. Before them comes one that all values are above. The
    ends of an area are beyond 0 and 1, those of a rate, which is read off at a threshold, are 0 and 1.
    """
    if getattr(metric, "thresholds", None) is not None:
        inner = output.new_tensor(sorted(metric.thresholds), dtype=torch.float64)
    else:
        count = metric.num_thresholds
        inner = torch.arange(1, count - 1, device=output.device, dtype=torch.float64) / (count - 1)
    below, above = ([-EPSILON], [1 + EPSILON]) if metric.canonical == "auc" else ([-EPSILON, 0.0], [1.0])
    return torch.cat((inner.new_tensor(below), inner, inner.new_tensor(above))).to(output.dtype)


def area(metric: Any, sums: Tensor) -> Tensor:
    """The area under each label's curve: one, or the mean of several."""
    areas = []
    for label in range(sums.shape[-1]):
        tp, fp = _every_point(sums[..., label]) if is_exact(metric) else sums[..., label]
        areas.append(_area_of(metric, tp, fp))
    found = torch.stack(areas)
    if not metric.multi_label:
        return found[0]
    weights = found.new_tensor(metric.label_weights or [1.0] * len(found))
    return divide((found * weights).sum(), weights.sum())


def _every_point(points: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives at or above each value that occurs, ascending, and none at the end."""
    values, order = points[0].sort()
    cells = points[1:, order].flip(1).cumsum(1).flip(1)
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = values[1:] != values[:-1]
    tp, fp = torch.cat((cells[:, first], cells.new_zeros(2, 1)), 1)
    return tp, fp


def _area_of(metric: Any, tp: Tensor, fp: Tensor) -> Tensor:
    if metric.curve == "PR" and metric.summation_method == "interpolation":
        return _interpolated_area(tp, fp)
    recall = divide(tp, tp[0].expand_as(tp))
    x, y = (
        (divide(fp, fp[0].expand_as(fp)), recall) if metric.curve == "ROC" else (recall, divide(tp, tp + fp))
    )
    a, b = y[:-1], y[1:]
    heights = {"interpolation": (a + b) / 2, "minoring": torch.minimum(a, b), "majoring": torch.maximum(a, b)}
    return ((x[:-1] - x[1:]) * heights[metric.summation_method]).sum()


def _interpolated_area(tp: Tensor, fp: Tensor) -> Tensor:
    """The area under the precision-recall curve by Davis and Goadrich's interpolation, as in Keras."""
    called = tp + fp
    gained, step = tp[:-1] - tp[1:], called[:-1] - called[1:]
    slope = divide(gained, step)
    intercept = tp[1:] - slope * called[1:]
    ratio = torch.where(
        (called[:-1] > 0) & (called[1:] > 0), divide(called[:-1], called[1:]), torch.ones_like(slope)
    )
    return divide(slope * (gained + intercept * ratio.log()), tp[0].expand_as(slope)).sum()


def attained(metric: Any, sums: Tensor) -> Tensor:
    """The largest of one rate at the thresholds where the other is at least what the metric demands."""
    tp, fp = _every_point(sums[..., 0]) if is_exact(metric) else sums[..., 0]
    rates = {
        "recall": divide(tp, tp[0].expand_as(tp)),
        "precision": divide(tp, tp + fp),
        "specificity": divide(fp[0] - fp, fp[0].expand_as(fp)),
    }
    rates["sensitivity"] = rates["recall"]
    wanted, _, demanded = metric.canonical.partition("_at_")
    reached = rates[demanded] >= getattr(metric, demanded)
    found = torch.where(reached, rates[wanted], 0.0)
    return found.max() if is_exact(metric) else found[1:].max()
