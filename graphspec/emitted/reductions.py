"""Reductions that skip NaN."""

import torch
from torch import Tensor


def nan_argmax(x: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """Where the largest along an axis stands that is not NaN; else -1."""
    nan = x.isnan()
    places = x.masked_fill(nan, -torch.inf).argmax(axis, keepdim)
    return places.masked_fill(nan.all(axis, keepdim), -1)


def nan_max(x: Tensor, axis, keepdim: bool = False) -> Tensor:
    """The largest along axes that is not NaN; NaN where there is none."""
    nan = x.isnan()
    largest = x.masked_fill(nan, -torch.inf).amax(axis, keepdim)
    return largest.masked_fill(nan.all(axis, keepdim), torch.nan)


def nan_var(x: Tensor, axis, keepdim: bool = False) -> Tensor:
    """The variance along axes of what is not NaN, without Bessel's correction."""
    nan = x.isnan()
    distance = (x - x.nanmean(axis, keepdim=True)).masked_fill(nan, 0)
    return distance.square().sum(axis, keepdim) / (~nan).sum(axis, keepdim)
