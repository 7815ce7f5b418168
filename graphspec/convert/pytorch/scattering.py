"""Writes into a part of a tensor: a new tensor, joined of what was written and of what is left."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from graphspec.convert.pytorch.functions import HANDLERS, handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import number
from graphspec.convert.pytorch.products import rank_of, shape_of
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.refusals import Unsupported

AT_DATA = "write with torch.where, or join the parts with torch.cat"


@handles("slice_scatter")
def _slice_scatter(
    w: NodeWriter,
    self: Any,
    src: Any,
    out: Any,
    dim: int = 0,
    start: Any = None,
    step: int = 1,
    **_: Any,
) -> Any:
    i = dim % len(out.shape)
    size, count = out.shape[i], shape_of(src)[i]
    first = start or 0
    first = first + size if isinstance(first, int) and first < 0 else first
    left = size - first - count
    if step != 1:
        raise Unsupported("it writes into a tensor in steps", AT_DATA)
    if not isinstance(first, int) or not (isinstance(left, int) or left.is_Integer):
        raise Unsupported("it writes at a place that stays open", "give the size a number in --input")
    parts = [*_pieces(w, self, i, 0, first), src, *_pieces(w, self, i, size - int(left), size)]
    if len(parts) == 1:
        return src
    joined: Laid = HANDLERS["cat"](w, parts, out=out, dim=i)
    w.joined[joined] = (i, parts)
    return joined


@handles("select_scatter")
def _select_scatter(w: NodeWriter, self: Any, src: Any, out: Any, dim: int, index: int, **_: Any) -> Any:
    i = dim % len(out.shape)
    row = src.inserted(i) if isinstance(src, Laid) else src.map(lambda t: t.unsqueeze(i))
    return _slice_scatter(w, self, row, out, i, index)


def _pieces(w: NodeWriter, x: Any, i: int, start: Any, stop: Any) -> Iterator[Any]:
    """What lies in a range of an axis: the parts that the tensor was joined of, where these are known."""
    if start == stop:
        return
    axis, parts = w.joined.get(x, (i, [x])) if isinstance(x, Laid) else (i, [x])
    sizes = [shape_of(part)[i] for part in parts]
    if axis != i or not all(isinstance(size, int) for size in sizes):
        parts, sizes = [x], [shape_of(x)[i]]
    here = 0
    for part, size in zip(parts, sizes, strict=True):
        one = len(parts) == 1  # of any size
        first, last = (start, stop) if one else (max(start, here), min(stop, here + size))
        if one or first < last:
            yield _cut(w, part, i, first - here, last - here)
        here += size


def _cut(w: NodeWriter, part: Any, i: int, first: Any, last: Any) -> Any:
    if isinstance(part, Known):
        return part.map(lambda t: t.narrow(i, first, last - first))
    shape = list(part.shape)
    size, shape[i] = shape[i], last - first
    behind = None if last == size else last
    first = first if isinstance(first, int) else first - size  # from the end of an open size
    out = SimpleNamespace(shape=tuple(shape), dtype=part.dtype)
    return HANDLERS["slice"](w, part, out=out, dim=i, start=first, end=behind)


@handles("copy")
def _copy(w: NodeWriter, self: Any, src: Any, out: Any, **_: Any) -> Any:
    """What is written, in the shape and the type of the part that it is written into."""
    if isinstance(src, Known):
        return src.map(lambda t: _stretched(t.to(out.dtype), out.shape))
    return HANDLERS["to"](w, HANDLERS["expand"](w, src, out=out), out=out)


@handles("fill", "zero")
def _fill(w: NodeWriter, self: Any, out: Any, value: Any = 0, **_: Any) -> Known:
    return Known(_stretched(torch.tensor(number(value), dtype=out.dtype), out.shape))


def _stretched(x: torch.Tensor, shape: tuple[Any, ...]) -> torch.Tensor:
    """A tensor in this shape; along sizes that stay open it keeps its own, or is one element wide."""
    x = x.reshape(*[1] * (len(shape) - x.dim()), *x.shape)
    return x.expand(
        [size if isinstance(size, int) else have for size, have in zip(shape, x.shape, strict=True)]
    )


@handles("index_put")
def _index_put(
    w: NodeWriter, self: Laid, indices: Any, values: Any, out: Any, accumulate: bool = False, **_: Any
) -> Laid:
    """A number written where a mask is true, or at constant places along one axis."""
    value, used = number(values), [i for i, index in enumerate(indices) if index is not None]
    if isinstance(value, (Laid, Known)) or accumulate or len(used) != 1:
        raise Unsupported("it writes at places that are data", AT_DATA)
    i, mask = used[0], indices[used[0]]
    if not _is_mask(mask):
        if not isinstance(mask, Known) or not isinstance(out.shape[i], int):
            raise Unsupported("it writes at places that are data", AT_DATA)
        mask = Known(torch.zeros(out.shape[i], dtype=torch.bool).index_fill(0, mask.tensor.flatten(), True))
    for place in range(i + rank_of(mask), len(out.shape)):
        mask = mask.inserted(place - i) if isinstance(mask, Laid) else mask.map(lambda t: t.unsqueeze(-1))
    like: Laid = HANDLERS["where"](w, function="where", condition=mask, self=value, other=self, out=out)
    return like


def _is_mask(index: Any) -> bool:
    return index.tensor.dtype == torch.bool if isinstance(index, Known) else index.dtype == "bool"
