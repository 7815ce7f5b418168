"""What the metrics of `graphspec.objectives` compute: the formulas of Keras 3, on torch tensors.

A metric is a vector of sums over the examples seen (`statistics`), and what follows from them (`result`).
Sums of batches add up to the sums of an epoch, and those of several processes to the sums of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from graphspec.objectives import Metric
from graphspec.train import losses

EPSILON = losses.EPSILON

Sums = Callable[[Any, Tensor, Tensor, Tensor | None], Tensor]


def statistics(metric: Metric, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The sums of a metric over a batch, float64; of an exact curve, all points of it.

    `output` is what the model returns, `target` has the shape of `metric.target`; the batch axis comes first.
    `weight` is what each example, or step of one, counts: [n] or [n, steps], 0 or False for nothing.
    """
    if weight is not None:
        weight = weight.double()
    return SUMS[metric.canonical](metric, output, target, weight).double()


def add(metric: Metric, sums: Tensor, more: Tensor) -> Tensor:
    """The sums of two batches together."""
    return torch.cat((sums, more), 1) if _is_exact(metric) else sums + more


def result(metric: Metric, sums: Tensor) -> float | list[float]:
    """The metric's value, or its values where it has several (one for each class or threshold)."""
    finish = RESULTS.get(metric.canonical, _ratio)
    value = finish(metric, sums).tolist()
    return value[0] if isinstance(value, list) and len(value) == 1 else value


# --- means


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """[2]: the weighted sum of the values, and the sum of the weights."""
    if weight is None:
        count = values.new_tensor(values.numel(), dtype=torch.float64)
        return torch.stack((values.sum(dtype=torch.float64), count))
    weight = losses.aligned(weight, values).expand(values.shape)
    return torch.stack((_weighted(values, weight).sum(), weight.sum()))


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Values times weights; what weighs nothing is 0, whatever it was."""
    return torch.where(weight == 0, 0.0, values.double() * weight)


def _ratio(metric: Any, sums: Tensor) -> Tensor:
    return _divide(sums[0], sums[1])


def _of(loss: str) -> Sums:
    """The mean of a loss' formula."""
    return lambda metric, y, t, w: _mean(losses.FROM_VALUES[loss](metric, y, t.to(y.dtype)), w)


def _in_top(metric: Any, output: Tensor, target: Tensor) -> Tensor:
    """Whether fewer than `k` values are larger than that of the right class; not when it is not finite."""
    right = output.gather(-1, target.unsqueeze(-1))
    return ((output > right).sum(-1) < metric.k) & right.squeeze(-1).isfinite()


def _hits(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _mean((output.argmax(-1) == target).float(), weight)


def _binary_hits(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _mean(((output > metric.threshold).to(target.dtype) == target).float(), weight)


# --- counts of true and false positives and negatives


def _confusion(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[4, thresholds]: true positives, false positives, true negatives, false negatives."""
    if getattr(metric, "class_id", None) is not None:
        output, target = output[..., metric.class_id], target[..., metric.class_id]
    thresholds = output.new_tensor(metric.thresholds)
    called = output.reshape(1, -1) > thresholds.unsqueeze(1)
    positive = (target != 0).reshape(1, -1)
    cells = [a & b for a, b in _four(positive, called)]
    if weight is None:
        return torch.stack([cell.sum(1) for cell in cells])
    flat = losses.aligned(weight, output).expand(output.shape).reshape(-1)
    return torch.stack([cell.double() @ flat for cell in cells])


def _four(positive: Tensor, called: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(positive, called), (~positive, called), (~positive, ~called), (positive, ~called)]


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 where `b` is 0."""
    return torch.where(b == 0, torch.zeros_like(a), a / b.where(b != 0, torch.ones_like(b)))


# --- curves


def _is_exact(metric: Any) -> bool:
    """Whether a curve has a point at every value, and not at thresholds."""
    return metric.canonical == "auc" and metric.num_thresholds is None and metric.thresholds is None


def _curve(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[2, thresholds, labels]: positives and negatives above each threshold; of an exact curve, [3, n,
    labels]: values, and what is positive and negative about them.
    """
    target = target.to(output.dtype)
    weights = torch.ones_like(target, dtype=torch.float64)
    if weight is not None:
        weights = weights * losses.aligned(weight, target)
    labels = output.shape[-1] if metric.multi_label else 1
    values, target, weights = (x.reshape(-1, labels) for x in (output, target, weights))
    cells = torch.stack((target * weights, (1 - target) * weights))
    if _is_exact(metric):
        return torch.cat((values.double().unsqueeze(0), cells))
    below = torch.bucketize(values.contiguous(), _thresholds(metric, output))
    count = len(_thresholds(metric, output)) + 1
    histogram = cells.new_zeros(2, count, labels).scatter_add_(1, below.expand(2, -1, -1), cells)
    return histogram.flip(1).cumsum(1).flip(1)[:, 1:]


def _thresholds(metric: Any, output: Tensor) -> Tensor:
    """Keras' thresholds: those given, or evenly spaced, between one below 0 and one above 1."""
    if metric.thresholds is not None:
        inner = output.new_tensor(sorted(metric.thresholds), dtype=torch.float64)
    else:
        count = metric.num_thresholds
        inner = torch.arange(1, count - 1, device=output.device, dtype=torch.float64) / (count - 1)
    ends = inner.new_tensor([-EPSILON, 1 + EPSILON])
    return torch.cat((ends[:1], inner, ends[1:])).to(output.dtype)


def _area(metric: Any, sums: Tensor) -> Tensor:
    """The area under each label's curve: one, or the mean of several."""
    areas = []
    for label in range(sums.shape[-1]):
        tp, fp = _every_point(sums[..., label]) if _is_exact(metric) else sums[..., label]
        areas.append(_area_of(metric, tp, fp))
    found = torch.stack(areas)
    if not metric.multi_label:
        return found[0]
    weights = found.new_tensor(metric.label_weights or [1.0] * len(found))
    return _divide((found * weights).sum(), weights.sum())


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
    recall = _divide(tp, tp[0].expand_as(tp))
    x, y = (
        (_divide(fp, fp[0].expand_as(fp)), recall)
        if metric.curve == "ROC"
        else (recall, _divide(tp, tp + fp))
    )
    a, b = y[:-1], y[1:]
    heights = {"interpolation": (a + b) / 2, "minoring": torch.minimum(a, b), "majoring": torch.maximum(a, b)}
    return ((x[:-1] - x[1:]) * heights[metric.summation_method]).sum()


def _interpolated_area(tp: Tensor, fp: Tensor) -> Tensor:
    """The area under the precision-recall curve by Davis and Goadrich's interpolation, as in Keras."""
    called = tp + fp
    gained, step = tp[:-1] - tp[1:], called[:-1] - called[1:]
    slope = _divide(gained, step)
    intercept = tp[1:] - slope * called[1:]
    ratio = torch.where(
        (called[:-1] > 0) & (called[1:] > 0), _divide(called[:-1], called[1:]), torch.ones_like(slope)
    )
    return _divide(slope * (gained + intercept * ratio.log()), tp[0].expand_as(slope)).sum()


# --- sums for each class


def _r2_sums(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[4, classes]: targets, squared targets, squared errors, count."""
    t, y = target.double(), output.double()
    return _by_class((t, t.square(), (t - y).square(), torch.ones_like(t)), weight)


def _by_class(values: Iterable[Tensor], weight: Tensor | None) -> Tensor:
    if weight is None:
        return torch.stack([v.sum(0) for v in values])
    return torch.stack([_weighted(v, losses.aligned(weight, v)).sum(0) for v in values])


def _r2(metric: Any, sums: Tensor) -> Tensor:
    total, squares, errors, count = sums
    spread = squares - total * total / count
    scores = 1 - errors / spread
    scores = torch.where(scores.isinf(), torch.zeros_like(scores), scores)
    if metric.class_aggregation == "uniform_average":
        return scores.mean()
    return (spread * scores).sum() / spread.sum() if metric.class_aggregation else scores


def _f_sums(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[4, classes]: true positives, false positives, false negatives, positives."""
    if metric.threshold is None:
        called = (output >= output.amax(-1, keepdim=True)) & (output.abs() > 1e-9)
    else:
        called = output > metric.threshold
    c, t = called.double(), target.double()
    return _by_class((c * t, c * (1 - t), (1 - c) * t, t), weight)


def _f_score(metric: Any, sums: Tensor) -> Tensor:
    if metric.average == "micro":
        sums = sums.sum(1, keepdim=True)
    tp, fp, fn, positives = sums
    precision, recall = tp / (tp + fp + EPSILON), tp / (tp + fn + EPSILON)
    beta = getattr(metric, "beta", 1.0) ** 2
    scores = (1 + beta) * precision * recall / (beta * precision + recall + EPSILON)
    if metric.average == "weighted":
        return (scores * positives / (positives.sum() + EPSILON)).sum()
    return scores.mean() if metric.average else scores


SUMS: dict[str, Sums] = {
    "binary_accuracy": _binary_hits,
    "categorical_accuracy": lambda metric, y, t, w: _hits(metric, y, t.argmax(-1), w),
    "sparse_categorical_accuracy": _hits,
    "top_k_categorical_accuracy": lambda metric, y, t, w: _mean(_in_top(metric, y, t.argmax(-1)).float(), w),
    "sparse_top_k_categorical_accuracy": lambda metric, y, t, w: _mean(_in_top(metric, y, t).float(), w),
    "mean_squared_error": _of("mean_squared_error"),
    "root_mean_squared_error": _of("mean_squared_error"),
    "mean_absolute_error": _of("mean_absolute_error"),
    "mean_absolute_percentage_error": _of("mean_absolute_percentage_error"),
    "mean_squared_logarithmic_error": _of("mean_squared_logarithmic_error"),
    "cosine_similarity": lambda metric, y, t, w: _mean(
        -losses.FROM_VALUES["cosine_similarity"](metric, y, t.to(y.dtype)), w
    ),
    "r2_score": _r2_sums,
    "f_beta_score": _f_sums,
    "f1_score": _f_sums,
    "auc": _curve,
    "precision": _confusion,
    "recall": _confusion,
    "true_positives": _confusion,
    "false_positives": _confusion,
    "true_negatives": _confusion,
    "false_negatives": _confusion,
}

RESULTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "root_mean_squared_error": lambda metric, sums: _ratio(metric, sums).sqrt(),
    "r2_score": _r2,
    "f_beta_score": _f_score,
    "f1_score": _f_score,
    "auc": _area,
    "precision": lambda metric, sums: _divide(sums[0], sums[0] + sums[1]),
    "recall": lambda metric, sums: _divide(sums[0], sums[0] + sums[3]),
    "true_positives": lambda metric, sums: sums[0],
    "false_positives": lambda metric, sums: sums[1],
    "true_negatives": lambda metric, sums: sums[2],
    "false_negatives": lambda metric, sums: sums[3],
}
"""What is not the ratio of two sums."""
