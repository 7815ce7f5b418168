"""Writes into a part of a tensor: a new tensor, joined of what was written and of what is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.pytorch.attention import is_boolean
from graphspec.convert.pytorch.computed import counted
from graphspec.convert.pytorch.functions import Out, handles, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import number, pair, scalar, uniform
from graphspec.convert.pytorch.products import rank_of, shape_of
from graphspec.convert.pytorch.sizes import dtype_of
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
    end: Any = None,
    step: int = 1,
) -> Any:
    i = dim % len(out.shape)
    size, count = out.shape[i], shape_of(src)[i]
    first = start or 0
    if (first, step) == (0, 1) and (end is None or end == size or end == sys.maxsize):
        return src
    first = first + size if isinstance(first, int) and first < 0 else first
    if step != 1 and not isinstance(size, int) and end in (None, size, sys.maxsize):
        return _written_in_steps(w, self, src, i, first, step, out)
    if step != 1:
        return _written_at(w, self, src, i, [first + step * k for k in range(_fixed(count))], out)
    left = size - first - count
    if not isinstance(first, int) or not (isinstance(left, int) or left.is_Integer):
        raise Unsupported("it writes at a place that stays open", "give the size a number in --input")
    parts = [*_pieces(w, self, i, 0, first), src, *_pieces(w, self, i, size - int(left), size)]
    if len(parts) == 1:
        return src
    joined = write(w, "cat", tensors=parts, out=out, dim=i)
    w.joined[joined] = (i, parts)
    return joined


def _written_in_steps(w: NodeWriter, x: Any, src: Any, i: int, first: Any, step: int, out: Any) -> Laid:
    """One number written at every so many places of an axis of any length."""
    value, size = uniform(src), out.shape[i]
    if not isinstance(first, int) or isinstance(value, (Laid, Known)):
        raise Unsupported("it writes at places that stay open", "give the size a number in --input")
    places = counted(w, size)
    behind = scalar(w, "subtract", places, first) if first else places
    mask = scalar(w, "equal", scalar(w, "mod", behind, step), 0)
    if first:
        mask = pair(w, "logical_and", mask, scalar(w, "greater_equal", behind, 0), (size,))
    for _ in out.shape[i + 1 :]:
        mask = mask.inserted(len(mask.shape))
    return write(w, "where", condition=replace(mask, dtype="bool"), self=value, other=x, out=out)


@handles("select_scatter")
def _select_scatter(w: NodeWriter, self: Any, src: Any, out: Any, dim: int, index: int) -> Any:
    i = dim % len(out.shape)
    row = src.inserted(i) if isinstance(src, Laid) else src.map(lambda t: t.unsqueeze(i))
    return _slice_scatter(w, self, row, out, i, index, index + 1)


def _pieces(w: NodeWriter, x: Any, i: int, start: Any, stop: Any) -> Iterator[Any]:
    """The parts of a range of an axis: those that the tensor was joined of, where these are known."""
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
    shape, size = (*part.shape[:i], last - first, *part.shape[i + 1 :]), part.shape[i]
    first = first if isinstance(first, int) else first - size  # from the end of an open size
    behind = None if last == size else last
    return write(w, "slice", self=part, out=Out(shape), dim=i, start=first, end=behind)


@handles("copy")
def _copy(w: NodeWriter, self: Any, src: Any, out: Any) -> Any:
    """The written value, in the shape and the type of the part that it is written into."""
    if isinstance(src, Known):
        return src.map(lambda t: _stretched(t.to(out.dtype), out.shape))
    return w.cast(write(w, "expand", self=src, out=out), dtype_of(out))


@handles("fill", "zero")
def _fill(w: NodeWriter, self: Any, out: Any, value: Any = 0) -> Known:
    return Known(_stretched(torch.tensor(number(value), dtype=out.dtype), out.shape))


def _stretched(x: torch.Tensor, shape: tuple[Any, ...]) -> torch.Tensor:
    """A tensor in this shape; along sizes that stay open it keeps its own, or is one element wide."""
    x = x.reshape(*[1] * (len(shape) - x.dim()), *x.shape)
    return x.expand(
        [size if isinstance(size, int) else have for size, have in zip(shape, x.shape, strict=True)]
    )


def _fixed(size: Any) -> int:
    """A size that does not stay open. Raises `Unsupported`."""
    if not isinstance(size, int):
        raise Unsupported("it writes at places that stay open", "give the size a number in --input")
    return size


def _written_at(w: NodeWriter, x: Any, src: Any, i: int, places: list[int], out: Any) -> Laid:
    """Writes at constant places along an axis: one number where a mask is true, or the elements of both
    tensors, joined, in their order.
    """
    size = _fixed(out.shape[i])
    if len({*places}) < len(places):
        raise Unsupported("it writes twice at one place", AT_DATA)
    value = uniform(src)
    if not isinstance(value, (Laid, Known)):
        along = [size if k == i else 1 for k in range(i, len(out.shape))]
        mask = Known(
            torch.zeros(size, dtype=torch.bool).index_fill(0, torch.tensor(places), True).reshape(along)
        )
        return write(w, "where", condition=mask, self=value, other=x, out=out)
    order = list(range(size))
    for k, place in enumerate(places):
        order[place] = size + k
    joined = _joined(w, x, src, i, places, out)
    return write(w, "index_select", self=joined, dim=i, index=Known(torch.tensor(order)))


def _joined(w: NodeWriter, x: Any, rows: Any, i: int, places: list[int], out: Any) -> Laid:
    """A tensor with a row for each place behind its own, along an axis."""
    shape = (*out.shape[:i], out.shape[i] + len(places), *out.shape[i + 1 :])
    return write(w, "cat", tensors=[x, rows], out=Out(shape, out.dtype), dim=i)


@handles("index_put", "_unsafe_index_put")
def _index_put(
    w: NodeWriter, self: Any, indices: Any, values: Any, out: Any, accumulate: bool = False
) -> Laid:
    """Written where a mask is true, or at constant places along one axis."""
    used = [i for i, index in enumerate(indices) if index is not None]
    if len(used) != 1:
        raise Unsupported("it writes at places of several axes", AT_DATA)
    i, index = used[0], indices[used[0]]
    if isinstance(index, Known) and index.tensor.dim() == 1:
        places = _places(index, out.shape[i])
        rows = _copy(w, self, values, Out((*out.shape[:i], len(places), *out.shape[i + 1 :]), out.dtype))
        return (_added_at if accumulate else _written_at)(w, self, rows, i, places, out)
    value = number(values)
    if not is_boolean(index) or accumulate or isinstance(value, (Laid, Known)):
        raise Unsupported("it writes at places that are data", AT_DATA)
    mask = index
    for place in range(i + rank_of(mask), len(out.shape)):
        mask = mask.inserted(place - i) if isinstance(mask, Laid) else mask.map(lambda t: t.unsqueeze(-1))
    return write(w, "where", condition=mask, self=value, other=self, out=out)


def _places(index: Any, size: Any) -> list[int]:
    """The places along an axis that a constant names. Raises `Unsupported`."""
    if not isinstance(index, Known):
        raise Unsupported("it writes at places that are data", AT_DATA)
    found = index.tensor.nonzero() if index.tensor.dtype == torch.bool else index.tensor
    return [int(place) % _fixed(size) for place in found.flatten()]


@handles("index_fill")
def _index_fill(w: NodeWriter, self: Any, dim: int, index: Any, value: Any, out: Any) -> Laid:
    i = dim % len(out.shape)
    filled = Known(torch.full((1,), number(value), dtype=out.dtype))
    return _written_at(w, self, filled, i, _places(index, out.shape[i]), out)


@handles("scatter", "scatter_add")
def _scatter(
    w: NodeWriter, self: Any, dim: int, index: Any, out: Any, function: str, src: Any = None, **given: Any
) -> Laid:
    """Along an axis, at constant places that are the same along the others, or at places that are data."""
    i = dim % len(out.shape)
    if not isinstance(index, Known):
        if given.get("reduce") is not None:
            raise Unsupported("it writes at places that are data", AT_DATA)
        return _at_data(w, self, i, index, given["value"] if src is None else src, out, function)
    first = index.tensor.movedim(i, 0).flatten(1)[:, 0]
    shape = [len(first) if k == i else 1 for k in range(len(out.shape))]
    whole = all(
        k == i or n in (size, 1) or size in w.batches
        for k, (n, size) in enumerate(zip(index.tensor.shape, out.shape, strict=False))
    )
    if given.get("reduce") is not None or not whole or not (index.tensor == first.reshape(shape)).all():
        raise Unsupported("it writes at places that differ along other axes", AT_DATA)
    rows = src if src is not None else Known(torch.full((1,), number(given["value"]), dtype=out.dtype))
    places = _places(Known(first), out.shape[i])
    return (_added_at if function == "scatter_add" else _written_at)(w, self, rows, i, places, out)


def _at_data(w: NodeWriter, x: Any, i: int, index: Any, rows: Any, out: Any, function: str) -> Laid:
    """Along an axis, at places that are data, by a mask of the places with an axis more. Where several meet,
    they are added; PyTorch leaves open which of them a `scatter` writes.
    """
    rank, size, value = len(out.shape), _fixed(out.shape[i]), number(rows)
    if any(n != m for k, (n, m) in enumerate(zip(index.shape, out.shape, strict=True)) if k != i):
        raise Unsupported("it writes at places that are data", AT_DATA)
    to_last = [*(k for k in range(rank) if k != i), i]
    places = index.permuted(to_last)
    wide = Out((*places.shape, size), torch.float32)
    mask = w.cast(write(w, "one_hot", self=places, num_classes=size, out=wide), "float32")

    def along(function: str, parts: Laid) -> Laid:
        one: Laid = write(w, function, self=parts, dim=[rank - 1], out=Out((), torch.float32))
        return one.permuted([*range(i), rank - 1, *range(i, rank - 1)])

    if isinstance(value, (Laid, Known)):
        given = w.laid(value).permuted(to_last).inserted(rank)
        value = along("sum", pair(w, "multiply", mask, given, wide.shape))
    elif function == "scatter_add":
        value = scalar(w, "multiply", along("sum", mask), value)
    if function == "scatter_add":
        return pair(w, "add", x, value, out.shape)
    seen = replace(scalar(w, "greater", along("amax", mask), 0), dtype="bool")
    return write(w, "where", condition=seen, self=value, other=x, out=out)


@handles("index_add")
def _index_add(w: NodeWriter, self: Any, dim: int, index: Any, source: Any, out: Any, alpha: Any = 1) -> Laid:
    rows = pair(w, "multiply", source, alpha, shape_of(source)) if alpha != 1 else source
    i = dim % len(out.shape)
    return _added_at(w, self, rows, i, _places(index, out.shape[i]), out)


def _added_at(w: NodeWriter, x: Any, rows: Any, i: int, places: list[int], out: Any) -> Laid:
    """A tensor with rows added at constant places along an axis, where several may meet."""
    size = _fixed(out.shape[i])
    sums = [[place] for place in range(size)]
    for k, place in enumerate(places):
        sums[place].append(size + k)
    return summed(w, _joined(w, x, rows, i, places, out), i, sums)


def summed(w: NodeWriter, x: Laid, i: int, sums: list[list[int]]) -> Laid:
    """Along an axis, sums of the elements at the places of each list: a 0 fills those that are shorter."""
    size, most = _fixed(x.shape[i]), max(map(len, sums))
    if any(len(places) < most for places in sums):
        pad = [0, 0] * (len(x.shape) - 1 - i) + [0, 1]
        x = write(w, "pad", self=x, pad=pad)
    flat = [place for places in sums for place in [*places, *[size] * (most - len(places))]]
    x = write(w, "index_select", self=x, dim=i, index=Known(torch.tensor(flat)))
    if most == 1:
        return x
    parted = w.split(x, (*x.shape[:i], len(sums), most, *x.shape[i + 1 :]))
    return write(w, "sum", self=parted, dim=[i + 1], out=Out((), getattr(torch, x.dtype)))


@handles("col2im")
def _col2im(
    w: NodeWriter,
    self: Laid,
    output_size: Any,
    kernel_size: Any,
    dilation: Any,
    padding: Any,
    stride: Any,
    out: Any,
) -> Laid:
    """`fold`: each pixel is the sum of the places of windows that meet there."""
    height, width = (int(n) for n in output_size)
    pixels = torch.arange(1.0, height * width + 1).reshape(1, 1, height, width)
    windows = torch.nn.functional.unfold(pixels, kernel_size, dilation, padding, stride)
    sums: list[list[int]] = [[] for _ in range(height * width)]
    for place, pixel in enumerate(windows.flatten().int().tolist()):
        if pixel:
            sums[pixel - 1].append(place)
    channels = out.shape[1]
    flat = w.split(self, (self.shape[0], channels, windows.numel()))
    return w.split(summed(w, flat, 2, sums), out.shape)
