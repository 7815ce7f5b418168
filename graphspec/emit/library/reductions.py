"""Reductions that skip NaN."""

import torch
from torch import Tensor


def nan_argmax(x: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The index of the largest non-NaN value along an axis; -1 if there is none."""
    nan = x.isnan()
    places = x.masked_fill(nan, -torch.inf).argmax(axis, keepdim)
    return places.masked_fill(nan.all(axis, keepdim), -1)


def nan_max(x: Tensor, axis: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    """The largest non-NaN value along axes; NaN if there is none."""
    nan = x.isnan()
    largest = x.masked_fill(nan, -torch.inf).amax(axis, keepdim)
    return largest.masked_fill(nan.all(axis, keepdim), torch.nan)


def nan_var(x: Tensor, axis: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    """The variance of the non-NaN values along axes, without Bessel's correction."""
    nan = x.isnan()
    distance = (x - x.nanmean(axis, keepdim=True)).masked_fill(nan, 0)
    return distance.square().sum(axis, keepdim) / (~nan).sum(axis, keepdim)
