"""Common parts of the formulas of losses and metrics, on torch tensors.

torch is imported inside of functions: a spec is checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor as Values

EPSILON = 1e-7
"""Where probabilities are clipped, and what is added to divisors, as in Keras."""


def activate(output: Values, activation: str | None) -> Values:
    """The outputs of the model, computed from its outputs with `logits=True`."""
    if activation == "softmax":
        return output.softmax(-1)
    return output.sigmoid() if activation == "sigmoid" else output


def aligned(weight: Values, values: Values) -> Values:
    """A weight of leading axes, broadcast over the other axes of `values`."""
    return weight.reshape(weight.shape + (1,) * (values.dim() - weight.dim()))


def mean_at(values: Values, mask: Values | None) -> Values:
    """One value for each example, or for each position that a mask tells of: the mean of its values."""
    rank = 1 if mask is None else mask.dim()
    return values.flatten(rank).mean(-1) if values.dim() > rank else values


def normalized(output: Values) -> Values:
    """Probabilities that sum to 1, clipped away from 0 and 1."""
    return (output / output.sum(-1, keepdim=True)).clamp(EPSILON, 1 - EPSILON)


def cosine(output: Values, target: Values, axis: int) -> Values:
    """The cosine of the angle between vectors along an axis."""
    from torch.nn.functional import normalize

    return (normalize(output, dim=axis, eps=EPSILON) * normalize(target, dim=axis, eps=EPSILON)).sum(axis)


def divide(a: Values, b: Values) -> Values:
    """`a / b`, and 0 where `b` is 0."""
    import torch

    return torch.where(b == 0, torch.zeros_like(a), a / b.where(b != 0, torch.ones_like(b)))


def mean_sums(values: Values, weight: Values | None) -> Values:
    """[2]: the weighted sum of the values, and the sum of the weights."""
    import torch

    if weight is None:
        count = values.new_full((), values.numel(), dtype=torch.float64)
        return torch.stack((values.sum(dtype=torch.float64), count))
    weight = aligned(weight, values).expand(values.shape)
    return torch.stack((_weighted(values, weight).sum(), weight.sum()))


def sums_by_class(values: Iterable[Values], weight: Values | None) -> Values:
    """The weighted sums of each of `values` over the examples."""
    import torch

    if weight is None:
        return torch.stack([v.sum(0) for v in values])
    return torch.stack([_weighted(v, aligned(weight, v)).sum(0) for v in values])


def _weighted(values: Values, weight: Values) -> Values:
    """Values times weights; values of weight 0 are 0, also NaN."""
    import torch

    return torch.where(weight == 0, 0.0, values.double() * weight)
