"""What the losses of `graphspec.objectives` compute: the formulas of Keras 3, on torch tensors.

Where an output ends in the activation that its loss wants, the loss is computed from what the activation
takes, which no rounding can turn into `log(0)`. Elsewhere probabilities are clipped at `EPSILON`, as in
Keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphspec.objectives import Loss
from graphspec.objectives.custom import OWN
from graphspec.objectives.losses import QuantileLoss, SparseCategoricalCrossentropy, SparseLoss
from graphspec.objectives.rare_losses import CTC, Circle, InBatchSoftmax, Region, Tversky
from graphspec.train import custom

EPSILON = 1e-7

Formula = Callable[[Any, Tensor, Tensor], Tensor]
Total = int | Tensor
"""How many positions count: known only from shapes, or a tensor on the device."""


def evaluate(
    loss: Loss,
    output: Tensor | Sequence[Tensor],
    target: Tensor | None,
    activation: str | None,
    weight: Tensor | None = None,
    counted: Tensor | None = None,
    total: Total | None = None,
) -> Tensor:
    """The loss of a batch, a scalar.

    `output` is what `forward(..., logits=True)` gave, which left off `activation`, or several of these where
    the loss compares them; `target` has the shape of `loss.target`. All start with the batch axis. `weight`
    multiplies each example's loss, [n]; `counted` says which have one, bool [n] or [n, steps]. The sum is
    divided by `total`, the number of positions that count: those of this batch, unless it is a part of a
    larger one.
    """
    values = _values(loss, output, target, activation, weight, counted)
    counted = known(loss, target, counted)
    if isinstance(loss, Region) and loss.over_batch:
        assert target is not None
        return _share(loss, values, target, weight, counted, total)
    if weight is None and counted is None and total is None and loss.reduction != "sum":
        return values.mean()  # that of means of equal size
    values = _at_positions(loss, values, counted)
    if total is None:
        total = divisor(loss, values.shape, weight, counted)
    if counted is not None:
        values = torch.where(aligned(counted, values), values, 0.0)
    if weight is not None:
        values = values * aligned(weight, values)
    return values.sum() / (total.masked_fill(total == 0, 1) if isinstance(total, Tensor) else total)


def _share(
    loss: Loss,
    values: Tensor,
    target: Tensor,
    weight: Tensor | None,
    counted: Tensor | None,
    total: Total | None,
) -> Tensor:
    """The mean of the values of a batch; for a part of a larger batch, its share of that mean."""
    if loss.reduction == "sum" or total is None:
        return values.sum() if loss.reduction == "sum" else values.mean()
    own = divisor(loss, positions(loss, target, len(target), counted), weight, counted)
    return values.mean() * (own / total)


def known(loss: Loss, target: Tensor | None, counted: Tensor | None) -> Tensor | None:
    """What counts: without positions of the class that `loss` ignores, and of examples that it compares with
    nothing; one for each example where it reads all of the steps together.
    """
    if isinstance(loss, Circle) and target is not None:
        same, other = _pairs(loss, target, counted)
        return same.any(1) & other.any(1)
    if counted is not None and isinstance(loss, CTC):
        return counted.flatten(1).any(1) if counted.dim() > 1 else counted
    if counted is not None and isinstance(loss, Region) and not loss.over_batch and target is not None:
        steps = [axis for axis in loss.summed(target.dim()) if axis < counted.dim()]
        return counted.any(steps) if steps else counted
    ignored = loss.ignore_class if isinstance(loss, SparseCategoricalCrossentropy) else None
    if ignored is None or target is None:
        return counted
    kept = target != ignored
    return kept if counted is None else kept & aligned(counted, kept)


def positions(
    loss: Loss, target: Tensor | None, count: int, counted: Tensor | None = None
) -> tuple[int, ...]:
    """The shape of what a loss averages: for each of `count` examples one value, or one for each position."""
    whole = loss.canonical in (*COMPARISONS, OWN) or (isinstance(loss, Region) and loss.over_batch)
    if target is None or whole or isinstance(loss, CTC | Circle):
        return (count,) if counted is None else tuple(counted.shape)
    shape = tuple(target.shape)
    if loss.elementwise:
        rank = 1 if counted is None else counted.dim()
        return shape[:-1] if len(shape) > rank else shape
    if isinstance(loss, SparseLoss | QuantileLoss):
        return shape
    if isinstance(loss, Region):
        summed = loss.summed(len(shape))
        return tuple(size for axis, size in enumerate(shape) if axis not in summed)
    axis = getattr(loss, "axis", -1) % len(shape)
    return shape[:axis] + shape[axis + 1 :]


def compares(loss: Loss) -> bool:
    """Whether the loss of an example depends on the other examples of its batch."""
    return isinstance(loss, InBatchSoftmax | Circle) or (isinstance(loss, Region) and loss.over_batch)


@torch.no_grad()
def is_one_number(
    loss: custom.BoundLoss,
    output: Tensor | Sequence[Tensor],
    target: Tensor | None,
    activation: str | None,
) -> bool:
    """Whether a custom loss gives one number for all examples, not one for each."""
    activated = activate(output, activation) if isinstance(output, Tensor) else output
    return custom.is_one_number(loss, activated, target)


def divisor(
    loss: Loss, shape: Sequence[int], weight: Tensor | None = None, counted: Tensor | None = None
) -> Total:
    """The divisor of the sum over positions of this shape, as in Keras; 0 if nothing counts."""
    if loss.reduction == "sum":
        return 1
    if loss.reduction == "mean_with_sample_weight" and weight is not None:
        weights = weight if counted is None else aligned(weight, counted) * counted
        return weights.sum() * (math.prod(shape) // math.prod(weights.shape))
    if counted is None:
        return math.prod(shape)
    return counted.sum() * (math.prod(shape) // max(1, counted.numel()))


def aligned(weight: Tensor, values: Tensor) -> Tensor:
    """A weight of leading axes, broadcast over the other axes of `values`."""
    return weight.reshape(weight.shape + (1,) * (values.dim() - weight.dim()))


def activate(output: Tensor, activation: str | None) -> Tensor:
    """The outputs of the model, computed from its outputs with `logits=True`."""
    if activation == "softmax":
        return output.softmax(-1)
    return output.sigmoid() if activation == "sigmoid" else output


def _values(
    loss: Loss,
    output: Tensor | Sequence[Tensor],
    target: Tensor | None,
    activation: str | None,
    weight: Tensor | None,
    counted: Tensor | None,
) -> Tensor:
    """A value for each position, or for each value of the output where the loss is a mean over them."""
    if isinstance(loss, custom.BoundLoss):
        activated = activate(output, activation) if isinstance(output, Tensor) else output
        return custom.values(loss, activated, target, weight is not None or counted is not None)
    if not isinstance(output, Tensor):
        return COMPARISONS[loss.canonical](loss, output, target)
    if target is None:
        return output
    name = loss.canonical
    if isinstance(loss, CTC):
        return _ctc(output, target, counted)
    if isinstance(loss, Circle):
        return _circle(loss, output, target, counted)
    if isinstance(loss, QuantileLoss):
        return _pinball(loss, activate(output, activation), target.to(output.dtype))
    if isinstance(loss, Region):
        values = activate(output, activation)
        return _region(loss, values, target.to(values.dtype), weight, counted)
    if not isinstance(loss, SparseLoss):
        target = target.to(output.dtype)
    if name in FROM_LOGITS and (loss.takes_logits or loss.activation == activation):
        return FROM_LOGITS[name](loss, output, target)
    return FROM_VALUES[name](loss, activate(output, activation), target)


def _at_positions(loss: Loss, values: Tensor, counted: Tensor | None) -> Tensor:
    """The values with one for each position: see `positions`."""
    rank = 1 if counted is None else counted.dim()
    if loss.canonical in ("mean", OWN) and values.dim() > rank:
        return values.flatten(rank).mean(-1)
    if loss.elementwise and values.dim() > rank:
        return values.mean(-1)
    return values


def _normalized(output: Tensor) -> Tensor:
    """Probabilities that sum to 1, clipped away from 0 and 1."""
    return (output / output.sum(-1, keepdim=True)).clamp(EPSILON, 1 - EPSILON)


def _smooth(loss: Any, target: Tensor) -> Tensor:
    """One-hot targets with a part of their mass spread over all classes."""
    smoothing = loss.label_smoothing
    return target * (1 - smoothing) + smoothing / target.shape[-1] if smoothing else target


def _smooth_binary(loss: Any, target: Tensor) -> Tensor:
    smoothing = loss.label_smoothing
    return target * (1 - smoothing) + 0.5 * smoothing if smoothing else target


def _hinge_target(target: Tensor) -> Tensor:
    """Targets of 0 and 1 as -1 and 1; others as they are."""
    binary = ((target == 0) | (target == 1)).all()
    return torch.where(binary, 2 * target - 1, target)


def _percentage(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return 100 * ((target - output) / target.abs().clamp(min=EPSILON)).abs()


def _squared_logarithm(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return (output.clamp(min=EPSILON).log1p() - target.clamp(min=EPSILON).log1p()).square()


def _pinball(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    """The mean over the levels."""
    levels = output.new_tensor(loss.levels)
    over = target.unsqueeze(-1) - output
    return torch.maximum(levels * over, (levels - 1) * over).mean(-1)


def _log_cosh(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    difference = output - target
    return difference + F.softplus(-2 * difference) - math.log(2)


def _divergence(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    target, output = target.clamp(EPSILON, 1), output.clamp(EPSILON, 1)
    return (target * (target / output).log()).sum(-1)


def _cosine(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return -(
        F.normalize(output, dim=loss.axis, eps=EPSILON) * F.normalize(target, dim=loss.axis, eps=EPSILON)
    ).sum(loss.axis)


def _categorical_hinge(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return (((1 - target) * output).amax(-1) - (target * output).sum(-1) + 1).clamp(min=0)


def _class_numbers(loss: Any, target: Tensor) -> Tensor:
    """Class numbers for torch, which skips -100."""
    return target if loss.ignore_class is None else target.masked_fill(target == loss.ignore_class, -100)


def _sparse_from_logits(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    target = _class_numbers(loss, target)
    if output.dim() == 2:
        return F.cross_entropy(output, target, reduction="none")
    flat = F.cross_entropy(output.flatten(0, -2), target.flatten(), reduction="none")
    return flat.view(target.shape)


def _sparse_from_values(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    log = _normalized(output).log().flatten(0, -2)
    return F.nll_loss(log, _class_numbers(loss, target).flatten(), reduction="none").view(target.shape)


def _categorical_from_logits(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return -(_smooth(loss, target) * output.log_softmax(-1)).sum(-1)


def _categorical_from_values(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return -(_smooth(loss, target) * _normalized(output).log()).sum(-1)


def _focal(loss: Any, log: Tensor, target: Tensor) -> Tensor:
    return -(_smooth(loss, target) * log * loss.alpha * (1 - log.exp()).clamp(min=0).pow(loss.gamma)).sum(-1)


def _binary_from_logits(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, _smooth_binary(loss, target), reduction="none")


def _binary_from_values(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    clipped = output.clamp(EPSILON, 1 - EPSILON)
    return F.binary_cross_entropy(clipped, _smooth_binary(loss, target), reduction="none")


def _binary_focal(loss: Any, crossentropy: Tensor, probability: Tensor, target: Tensor) -> Tensor:
    target = _smooth_binary(loss, target)
    right = target * probability + (1 - target) * (1 - probability)
    value = (1 - right).pow(loss.gamma) * crossentropy
    return (
        value * (target * loss.alpha + (1 - target) * (1 - loss.alpha))
        if loss.apply_class_balancing
        else value
    )


def _generalized(loss: Any, log: Tensor, target: Tensor) -> Tensor:
    """From the logarithms of probabilities."""
    right = log.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return -(loss.q * right).expm1() / loss.q


def _generalized_from_values(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    """From probabilities; one that is 0 has no gradient, which would be infinite."""
    right = output.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    power = torch.where(right > 0, right.where(right > 0, 1) ** loss.q, 0)
    return (1 - power) / loss.q


def _region(
    loss: Region, output: Tensor, target: Tensor, weight: Tensor | None, counted: Tensor | None
) -> Tensor:
    """A value for what is left of the shape when `loss.axis` is gone."""
    if counted is not None:
        there = aligned(counted, output)
        output, target = torch.where(there, output, 0.0), torch.where(there, target, 0.0)
    axes = loss.summed(output.dim())
    share = aligned(weight, output) if weight is not None and loss.over_batch else 1.0
    both = (target * output * share).sum(axes)
    if isinstance(loss, Tversky):
        left_out = ((1 - output) * target * share).sum(axes)
        added = (output * (1 - target) * share).sum(axes)
        return 1 - both / (both + loss.alpha * left_out + loss.beta * added + EPSILON)
    return 1 - 2 * both / ((target * share).sum(axes) + (output * share).sum(axes) + EPSILON)


def _ctc(output: Tensor, target: Tensor, counted: Tensor | None) -> Tensor:
    """A value for each example, from logits [n, steps, classes] and class numbers [n, length]."""
    steps = output.new_full((len(output),), output.shape[1], dtype=torch.int64)
    if counted is not None and counted.dim() > 1:  # those that count go to the front
        order = (~counted).to(torch.uint8).argsort(dim=1, stable=True)
        output = output.gather(1, order.unsqueeze(-1).expand_as(output))
        steps = counted.sum(1)
    elif counted is not None:
        steps = torch.where(counted, steps, 0)
    lengths = torch.where(steps > 0, (target != 0).sum(1), 0)
    return F.ctc_loss(output.log_softmax(-1).transpose(0, 1), target, steps, lengths, reduction="none")


def _pairs(loss: Circle, target: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which examples are of one class, and which of different ones, bool [n, n]."""
    same = target.unsqueeze(1) == target
    other = ~same
    if loss.remove_diagonal:
        same = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
    if counted is not None:
        both = counted.unsqueeze(1) & counted
        same, other = same & both, other & both
    return same, other


def _circle(loss: Circle, output: Tensor, target: Tensor, counted: Tensor | None) -> Tensor:
    """A value for each example, 0 for those without others of their class or of another."""
    distance = (1 - output @ output.mT).clamp(min=0)
    same, other = _pairs(loss, target, counted)
    near = -loss.gamma * (loss.margin + distance) * (loss.margin - distance)
    far = loss.gamma * (1 + loss.margin - distance).clamp(min=0) * (1 - loss.margin - distance)
    nothing = torch.finfo(output.dtype).min / 4  # -inf has no gradient
    return F.softplus(
        torch.where(same, near, nothing).logsumexp(1) + torch.where(other, far, nothing).logsumexp(1)
    )


def _distance(loss: Any, a: Tensor, b: Tensor) -> Tensor:
    if loss.distance == "cosine":
        return 1 - F.cosine_similarity(a, b, dim=-1, eps=EPSILON)
    return (a - b).square().sum(-1) if loss.distance == "squared_euclidean" else (a - b).norm(dim=-1)


def _contrastive(loss: Any, outputs: Sequence[Tensor], target: Tensor | None) -> Tensor:
    assert target is not None
    left, right = outputs
    distance = _distance(loss, left, right)
    together, apart = distance.square(), (loss.margin - distance).clamp(min=0).square()
    return target * together + (1 - target) * apart


def _triplet(loss: Any, outputs: Sequence[Tensor], target: Tensor | None) -> Tensor:
    anchor, positive, negative = outputs
    return (_distance(loss, anchor, positive) - _distance(loss, anchor, negative) + loss.margin).clamp(min=0)


def _in_batch_softmax(loss: Any, outputs: Sequence[Tensor], target: Tensor | None) -> Tensor:
    query, key = outputs
    if loss.similarity == "cosine":
        query, key = F.normalize(query, dim=-1, eps=EPSILON), F.normalize(key, dim=-1, eps=EPSILON)
    logits = query @ key.mT / loss.temperature
    own = torch.arange(len(query), device=query.device)
    values = F.cross_entropy(logits, own, reduction="none")
    return (values + F.cross_entropy(logits.mT, own, reduction="none")) / 2 if loss.symmetric else values


FROM_LOGITS: dict[str, Formula] = {
    "sparse_categorical_crossentropy": _sparse_from_logits,
    "categorical_crossentropy": _categorical_from_logits,
    "categorical_generalized_cross_entropy": lambda loss, x, t: _generalized(loss, x.log_softmax(-1), t),
    "categorical_focal_crossentropy": lambda loss, x, t: _focal(loss, x.log_softmax(-1), t),
    "binary_crossentropy": _binary_from_logits,
    "binary_focal_crossentropy": lambda loss, x, t: _binary_focal(
        loss, _binary_from_logits(loss, x, t), x.sigmoid(), t
    ),
}
"""A value for each position, from what the activation that the loss wants would take."""

FROM_VALUES: dict[str, Formula] = {
    "mean_squared_error": lambda loss, y, t: (y - t).square(),
    "mean_absolute_error": lambda loss, y, t: (y - t).abs(),
    "mean_absolute_percentage_error": _percentage,
    "mean_squared_logarithmic_error": _squared_logarithm,
    "huber": lambda loss, y, t: F.huber_loss(y, t, reduction="none", delta=loss.delta),
    "log_cosh": _log_cosh,
    "poisson": lambda loss, y, t: y - t * (y + EPSILON).log(),
    "cosine_similarity": _cosine,
    "hinge": lambda loss, y, t: (1 - _hinge_target(t) * y).clamp(min=0),
    "squared_hinge": lambda loss, y, t: (1 - _hinge_target(t) * y).clamp(min=0).square(),
    "categorical_hinge": _categorical_hinge,
    "kl_divergence": _divergence,
    "sparse_categorical_crossentropy": _sparse_from_values,
    "categorical_crossentropy": _categorical_from_values,
    "categorical_generalized_cross_entropy": _generalized_from_values,
    "categorical_focal_crossentropy": lambda loss, y, t: _focal(loss, _normalized(y).log(), t),
    "binary_crossentropy": _binary_from_values,
    "binary_focal_crossentropy": lambda loss, y, t: _binary_focal(
        loss, _binary_from_values(loss, y, t), y, t
    ),
}
"""A value for each position, or for each value of the output where the loss is a mean over the last axis."""

COMPARISONS: dict[str, Callable[[Any, Sequence[Tensor], Tensor | None], Tensor]] = {
    "contrastive": _contrastive,
    "triplet": _triplet,
    "in_batch_softmax": _in_batch_softmax,
}
"""A value for each example, from several vectors of it."""
