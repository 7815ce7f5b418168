"""The tensors of a plan: from those of the old run, and from the new spec's initial ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphspec.migrate.tracking import WeightPlan


def fill(plan: WeightPlan, old: Mapping[str, Tensor], initial: Tensor, epsilon: float = 0.0) -> Tensor:
    """A weight of the new spec. `initial` is what it would be in a new training."""
    if plan.identity is not None:
        return _identity(plan, initial, epsilon)
    source = old.get(plan.source or "")
    if source is None:
        return _scaled(plan, initial.clone())
    indices = [torch.tensor(axis.indices, dtype=torch.long) for axis in plan.axes]
    there = [index >= 0 for index in indices]
    gathered = source.double()
    for axis, index in enumerate(indices):
        gathered = gathered.index_select(axis, index.clamp(min=0))
    result = initial.double().clone()
    mask = _outer(there, result.shape)
    result = torch.where(mask, gathered, torch.zeros_like(result) if plan.zero else result)
    result = _shared(plan, indices, there, result, initial.double())
    if plan.factor != 1.0:
        result = torch.where(mask, result * plan.factor, result)
    if plan.bias is not None:
        result = torch.where(mask, result, torch.full_like(result, plan.bias))
    return _scaled(plan, result.to(initial.dtype))


def _outer(there: list[Tensor], shape: torch.Size) -> Tensor:
    """Where all axes come from old ones."""
    mask = torch.ones(shape, dtype=torch.bool)
    for axis, known in enumerate(there):
        mask &= known.reshape([-1 if place == axis else 1 for place in range(len(shape))])
    return mask


def _shared(
    plan: WeightPlan, indices: list[Tensor], there: list[Tensor], result: Tensor, initial: Tensor
) -> Tensor:
    """Fills the columns that read new channels. Old outputs read 0 of them; copies of a channel share its
    column, and their parts differ as they would have at first, so that they do not stay alike in training.
    """
    for axis, part in enumerate(plan.axes):
        if not part.read:
            continue
        others = [torch.ones_like(known) if place == axis else known for place, known in enumerate(there)]
        old_rows = _outer(others, result.shape)
        new = (~there[axis]).reshape([-1 if place == axis else 1 for place in range(result.dim())])
        result = torch.where(old_rows & new, torch.zeros_like(result), result)
        counts = Counter(part.indices)
        for index, count in counts.items():
            if index < 0 or count == 1:
                continue
            copies = (indices[axis] == index).nonzero().flatten()
            spread = initial.index_select(axis, copies)
            spread = spread - spread.mean(axis, keepdim=True)
            values = result.index_select(axis, copies) / count + spread
            result = result.index_copy(axis, copies, values)
    return result


def _scaled(plan: WeightPlan, value: Tensor) -> Tensor:
    if plan.scale is None:
        return value
    factors = torch.tensor(plan.scale, dtype=value.dtype)
    return value * factors.reshape([-1] + [1] * (value.dim() - 1))


def _identity(plan: WeightPlan, initial: Tensor, epsilon: float) -> Tensor:
    values = torch.zeros_like(initial)
    if plan.identity == "one":
        variance = plan.key.endswith("running_var")
        return values + (1 - epsilon) if variance else values + 1 if plan.key.endswith("weight") else initial
    if plan.identity == "kernel" and initial.dim() > 1:
        middle: tuple[Any, ...] = tuple(size // 2 for size in initial.shape[2:])
        for channel in range(initial.shape[0]):
            values[(channel, channel, *middle)] = 1
    return values
