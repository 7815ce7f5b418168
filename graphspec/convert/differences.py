"""Differences between the outputs of two modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def flat(value: Any) -> list[Tensor]:
    """The tensors of an output, in order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def apart(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, relative to the largest value; infinite where shapes differ, or one is NaN."""
    if len(actual) != len(expected):
        return float("inf")
    worst = 0.0
    for a, b in zip(actual, expected, strict=True):
        if a.shape != b.shape:
            return float("inf")
        a, b = a.detach().double(), b.detach().double()
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0, (a - b).abs()).nan_to_num(float("inf"))
        scale = b[b.isfinite()].abs().amax() if b.isfinite().any() else b.new_ones(())
        worst = max(worst, float(gap.amax() / scale.clamp(min=1e-30))) if a.numel() else worst
    return worst
