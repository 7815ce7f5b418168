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
from graphspec.objectives.custom import OWN
from graphspec.objectives.loss_metrics import OfLoss
from graphspec.settings import leaves
from graphspec.train import custom, losses
from graphspec.train.curves import area, attained, curve, divide, is_exact

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
    return torch.cat((sums, more), 1) if is_exact(metric) else sums + more


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
    """Values times weights; values of weight 0 are 0, also NaN."""
    return torch.where(weight == 0, 0.0, values.double() * weight)


def _ratio(metric: Any, sums: Tensor) -> Tensor:
    return divide(sums[0], sums[1])


def _of_loss(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of a loss."""
    loss = metric.loss
    if metric.level is not None:
        output = output[..., metric.level]
    table = losses.FROM_LOGITS if loss.takes_logits else losses.FROM_VALUES
    kept = losses.known(loss, target, None)
    if kept is not None:
        weight = kept.double() if weight is None else losses.aligned(weight, kept) * kept
    target = target.to(output.dtype) if target.is_floating_point() else target
    return _mean(table[loss.canonical](loss, output, target), weight)


def _covered(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _mean(((target >= output[..., 0]) & (target <= output[..., -1])).float(), weight)


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
    thresholds = metric.thresholds or (0.5,)
    if getattr(metric, "top_k", None) is not None:
        best = output.topk(metric.top_k).indices
        output = torch.full_like(output, -torch.inf).scatter(-1, best, output.gather(-1, best))
        thresholds = metric.thresholds or (torch.finfo(output.dtype).min,)
    if getattr(metric, "class_id", None) is not None:
        output, target = output[..., metric.class_id], target[..., metric.class_id]
    thresholds = output.new_tensor(thresholds)
    called = output.reshape(1, -1) > thresholds.unsqueeze(1)
    positive = (target != 0).reshape(1, -1)
    cells = [a & b for a, b in _four(positive, called)]
    if weight is None:
        return torch.stack([cell.sum(1) for cell in cells])
    flat = losses.aligned(weight, output).expand(output.shape).reshape(-1)
    return torch.stack([cell.double() @ flat for cell in cells])


def _four(positive: Tensor, called: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(positive, called), (~positive, called), (~positive, ~called), (positive, ~called)]


# --- sums for each class


def _r2_sums(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[5, classes]: targets, squared targets, squared errors, what they weigh, and how many there are."""
    t, y = target.double(), output.double()
    sums = _by_class((t, t.square(), (t - y).square(), torch.ones_like(t)), weight)
    there = torch.ones_like(t) if weight is None else (losses.aligned(weight, t) != 0).expand_as(t)
    return torch.cat((sums, there.sum(0, keepdim=True, dtype=torch.float64)))


def _by_class(values: Iterable[Tensor], weight: Tensor | None) -> Tensor:
    if weight is None:
        return torch.stack([v.sum(0) for v in values])
    return torch.stack([_weighted(v, losses.aligned(weight, v)).sum(0) for v in values])


def _r2(metric: Any, sums: Tensor) -> Tensor:
    total, squares, errors, count, examples = sums
    spread = squares - total * total / count
    scores = 1 - errors / spread
    scores = torch.where(scores.isinf(), torch.zeros_like(scores), scores)
    if metric.class_aggregation == "uniform_average":
        scores = scores.mean()
    elif metric.class_aggregation:
        scores = (spread * scores).sum() / spread.sum()
    free = examples.max() - 1 - metric.num_regressors
    if metric.num_regressors and free > 0:
        return 1 - (1 - scores) * (examples.max() - 1) / free
    return scores


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


# --- correlations


def _joint_sums(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[6, values]: weights, outputs, targets, their squares and products over the examples; along another
    axis, the mean of what they give.
    """
    y, t = output.double(), target.double()
    if metric.axis == 0:
        return _by_class((torch.ones_like(y), y, t, y.square(), t.square(), y * t), weight)
    moments = (v.mean(metric.axis) for v in (torch.ones_like(y), y, t, y.square(), t.square(), y * t))
    return _mean(_correlation(metric, torch.stack(list(moments))), weight)


def _correlation(metric: Any, sums: Tensor) -> Tensor:
    """What follows from sums of outputs, targets, their squares and products."""
    count, y, t, yy, tt, yt = sums
    y, t = y / count, t / count
    var_y, var_t, together = yy / count - y * y, tt / count - t * t, yt / count - y * t
    if metric.canonical == "pearson_correlation":
        return together / (var_y.clamp(min=0) * var_t.clamp(min=0)).sqrt()
    return 2 * together / (var_y + var_t + (y - t).square() + EPSILON)


def _correlated(metric: Any, sums: Tensor) -> Tensor:
    return _correlation(metric, sums).mean() if metric.axis == 0 else _ratio(metric, sums)


# --- regions


def _agreement(metric: Any, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """[classes, classes]: how often a target of one class (row) was called another (column)."""
    if metric.canonical == "binary_iou":
        called, classes = output >= metric.threshold, 2
    else:
        called = output if metric.sparse_y_pred else output.argmax(-1)
        target = target if metric.sparse_y_true else target.argmax(-1)
        classes = metric.num_classes
    called, target = called.long(), target.long()
    there = (called >= 0) & (called < classes) & (target >= 0) & (target < classes)
    if getattr(metric, "ignore_class", None) is not None:
        there &= target != metric.ignore_class
    counts = there.double() if weight is None else there * losses.aligned(weight, there)
    cells = torch.where(there, target * classes + called, 0).flatten()
    return counts.new_zeros(classes * classes).index_add_(0, cells, counts.flatten()).view(classes, classes)


def _overlap(metric: Any, sums: Tensor) -> Tensor:
    """The mean over the classes asked for, without those that nothing is."""
    kept = list(metric.target_class_ids if metric.canonical == "binary_iou" else metric.classes())
    both = sums.diagonal()[kept]
    either = (sums.sum(0) + sums.sum(1) - sums.diagonal())[kept]
    there = either > 0
    return divide(divide(both, either).sum(), there.sum().double())


SUMS: dict[str, Sums] = {
    OWN: lambda metric, y, t, w: _mean(custom.values(metric, y, t, w is not None), w),
    "binary_accuracy": _binary_hits,
    "coverage": _covered,
    "categorical_accuracy": lambda metric, y, t, w: _hits(metric, y, t.argmax(-1), w),
    "sparse_categorical_accuracy": _hits,
    "top_k_categorical_accuracy": lambda metric, y, t, w: _mean(_in_top(metric, y, t.argmax(-1)).float(), w),
    "sparse_top_k_categorical_accuracy": lambda metric, y, t, w: _mean(_in_top(metric, y, t).float(), w),
    "cosine_similarity": lambda metric, y, t, w: _mean(
        -losses.FROM_VALUES["cosine_similarity"](metric, y, t.to(y.dtype)), w
    ),
    "r2_score": _r2_sums,
    "f_beta_score": _f_sums,
    "f1_score": _f_sums,
    "auc": curve,
    "precision": _confusion,
    "recall": _confusion,
    "true_positives": _confusion,
    "false_positives": _confusion,
    "true_negatives": _confusion,
    "false_negatives": _confusion,
    "sensitivity_at_specificity": curve,
    "specificity_at_sensitivity": curve,
    "precision_at_recall": curve,
    "recall_at_precision": curve,
    "iou": _agreement,
    "mean_iou": _agreement,
    "one_hot_iou": _agreement,
    "one_hot_mean_iou": _agreement,
    "binary_iou": _agreement,
    "pearson_correlation": _joint_sums,
    "concordance_correlation": _joint_sums,
}
SUMS |= {cls.names()[0]: _of_loss for cls in leaves(OfLoss)}

RESULTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "root_mean_squared_error": lambda metric, sums: _ratio(metric, sums).sqrt(),
    "r2_score": _r2,
    "f_beta_score": _f_score,
    "f1_score": _f_score,
    "auc": area,
    "precision": lambda metric, sums: divide(sums[0], sums[0] + sums[1]),
    "recall": lambda metric, sums: divide(sums[0], sums[0] + sums[3]),
    "true_positives": lambda metric, sums: sums[0],
    "false_positives": lambda metric, sums: sums[1],
    "true_negatives": lambda metric, sums: sums[2],
    "false_negatives": lambda metric, sums: sums[3],
    "sensitivity_at_specificity": attained,
    "specificity_at_sensitivity": attained,
    "precision_at_recall": attained,
    "recall_at_precision": attained,
    "iou": _overlap,
    "mean_iou": _overlap,
    "one_hot_iou": _overlap,
    "one_hot_mean_iou": _overlap,
    "binary_iou": _overlap,
    "pearson_correlation": _correlated,
    "concordance_correlation": _correlated,
}
"""What is not the ratio of two sums."""
