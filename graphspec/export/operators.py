"""Operators of PyTorch that onnxscript has no function for, in those of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphspec.objectives import boxes


@torch.library.custom_op("graphspec::selected", mutates_args=())
def selected(
    corners: Tensor, classes: Tensor, scores: Tensor, limit: float, top: int
) -> tuple[Tensor, Tensor]:
    """`boxes.selected`, for which ONNX has an operator."""
    return boxes.selected(corners, classes, scores, limit, top)


@selected.register_fake
def _(corners: Tensor, classes: Tensor, scores: Tensor, limit: float, top: int) -> tuple[Tensor, Tensor]:
    places = scores.new_empty((scores.shape[0], top), dtype=torch.int64)
    return places, scores.new_empty((scores.shape[0], top))


def translations() -> dict[Any, Callable[..., Any]]:
    """A function for each operator, from tensors of ONNX and PyTorch's other arguments."""
    from onnxscript import opset20

    op: Any = opset20  # its types know no constant

    def axes(*places: int) -> Any:
        return op.Constant(value_ints=list(places))

    def stable_sort(x: Any, dim: int = -1, descending: bool = False, stable: bool | None = None) -> Any:
        """By TopK, in which equal elements keep their order."""
        size = op.Gather(op.Shape(x), axes(dim))
        return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)

    def cumprod(x: Any, dim: int, dtype: Any = None) -> Any:
        """At each place the product of a row of the elements up to it, and of 1 behind it."""
        rank = len(x.shape)
        dim %= rank
        size = op.Gather(op.Shape(x), axes(dim))
        places = op.Range(op.Constant(value_int=0), op.Squeeze(size), op.Constant(value_int=1))
        before = op.LessOrEqual(op.Unsqueeze(places, axes(0)), op.Unsqueeze(places, axes(1)))
        others = [axis for axis in range(rank + 1) if axis not in (dim, dim + 1)]
        before = op.Unsqueeze(before, axes(*others))
        rows = op.Where(before, op.Unsqueeze(x, axes(dim)), op.CastLike(op.Constant(value_float=1.0), x))
        return op.ReduceProd(rows, axes(dim + 1), keepdims=0)

    def fmax(x: Any, y: Any) -> Any:
        return op.Where(op.IsNaN(x), y, op.Where(op.IsNaN(y), x, op.Max(x, y)))

    def fmin(x: Any, y: Any) -> Any:
        return op.Where(op.IsNaN(x), y, op.Where(op.IsNaN(y), x, op.Min(x, y)))

    def hypot(x: Any, y: Any) -> Any:
        return op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))

    def uniform(x: Any, low: float = 0.0, high: float = 1.0, generator: Any = None) -> Any:
        return op.RandomUniformLike(x, low=low, high=high)

    def suppressed(corners: Any, classes: Any, scores: Any, limit: float, top: int) -> Any:
        return _suppressed(op, corners, classes, scores, limit, top)

    aten = torch.ops.aten
    return {
        torch.ops.graphspec.selected.default: suppressed,
        aten.sort.stable: stable_sort,
        aten.cumprod.default: cumprod,
        aten.fmax.default: fmax,
        aten.fmin.default: fmin,
        aten.hypot.default: hypot,
        aten.uniform.default: uniform,
    }


def _suppressed(op: Any, corners: Any, classes: Any, scores: Any, limit: float, top: int) -> Any:
    """By NonMaxSuppression, to which each class of a picture is one of its own: those there, counted
    from 0, of the picture with the most.
    """
    count = op.Add(op.ReduceMax(classes, keepdims=0), op.Constant(value_int=1))
    count = op.Max(count, op.Constant(value_int=1))
    numbers = op.Range(op.Constant(value_int=0), count, op.Constant(value_int=1))
    same = op.Equal(
        op.Unsqueeze(classes, op.Constant(value_ints=[1])),
        op.Unsqueeze(numbers, op.Constant(value_ints=[0, 2])),
    )
    zero = op.Constant(value_float=0.0)
    by_class = op.Where(same, op.Unsqueeze(scores, op.Constant(value_ints=[1])), zero)
    most, least = op.Constant(value_ints=[top]), op.Constant(value_floats=[0.0])
    found = op.NonMaxSuppression(corners, by_class, most, op.Constant(value_floats=[limit]), least)
    places = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Expand(op.Constant(value_float=1.0), op.Gather(op.Shape(places), op.Constant(value_ints=[0])))
    kept = op.ScatterND(op.Mul(scores, zero), places, ones)
    best, order = op.TopK(op.Mul(scores, kept), most, axis=1, largest=1, sorted=1)
    return order, best
