"""Functions that pick elements by indices, and windows along an axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.pytorch.functions import Out, handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.shaping import alone, part, resized, select
from graphspec.convert.pytorch.writer import LISTED, Known, NodeWriter
from graphspec.convert.refusals import Unsupported


@handles("index_select")
def taken(w: NodeWriter, self: Laid, dim: int, index: Any) -> Laid:
    """The elements at constant places along an axis."""
    i = dim % len(self.shape)
    if not isinstance(index, Known):
        raise Unsupported("it picks at places that are computed from data", "use torch.gather")
    x = alone(w, self, i)
    j = x.at(i)
    flat = index.map(lambda t: t.reshape(-1))
    if flat.tensor.numel() <= LISTED:
        node = w.node("op", "take", {"indices": flat.tensor.tolist(), "axis": j}, [("x", x.value)])
    else:
        node = w.node("op", "take", {"axis": j}, [("", x.value), ("", w.held(flat, "indices"))])
    elements = resized(x, node, {i: flat.tensor.numel()})
    shape = list(index.tensor.shape)
    return elements if len(shape) == 1 else w.split(elements, (*x.shape[:i], *shape, *x.shape[i + 1 :]))


@handles("index")
def _index(w: NodeWriter, self: Laid, indices: Any, out: Any) -> Laid:
    used = [i for i, index in enumerate(indices) if index is not None]
    if len(used) == 1 and isinstance(indices[used[0]], Known) and indices[used[0]].tensor.dtype != torch.bool:
        return taken(w, self, used[0], indices[used[0]])
    if (spread := _spread(self, indices, out)) is not None:
        return spread
    if (one := _one_each(w, self, indices)) is not None:
        return one
    raise Unsupported(
        "it is indexed by tensors", "pick with torch.gather, a slice, or constant places along one axis"
    )


def _spread(x: Laid, indices: Any, out: Any) -> Laid | None:
    """Indices that count whole axes, each along an axis of its own, only bring the axes to other places."""
    rank = len(out.shape)
    axes: list[tuple[int, ...]] = [()] * rank
    if len(indices) != len(x.shape) or not all(isinstance(index, Known) for index in indices):
        return None
    for i, index in enumerate(indices):
        varying = [a for a, size in enumerate(index.tensor.shape) if size > 1]
        if len(varying) != 1 or index.tensor.flatten().tolist() != list(range(index.tensor.numel())):
            return None
        place = varying[0] + rank - index.tensor.dim()
        if axes[place] or (isinstance(x.shape[i], int) and x.shape[i] != index.tensor.numel()):
            return None
        axes[place] = x.axes[i]
    return replace(x, axes=tuple(axes), shape=tuple(out.shape))


def _one_each(w: NodeWriter, x: Laid, indices: Any) -> Laid | None:
    """`x[torch.arange(len(x)), places]`: one element of each example, at a place that is data."""
    if len(indices) != 2 or not isinstance(indices[0], Known) or not isinstance(indices[1], Laid):
        return None
    rows, places = indices
    count = rows.tensor.numel()
    if not rows.batched or rows.tensor.flatten().tolist() != list(range(count)) or x.axes[0] != (0,):
        return None
    if len(places.shape) != 1 or places.axes[0] != (0,):
        return None
    wide = places
    for _ in x.shape[1:]:
        wide = wide.inserted(1)
    return select(w, _gather(w, x, 1, wide, Out((x.shape[0], 1, *x.shape[2:]))), 1, 0)


@handles("unfold")
def _unfold(w: NodeWriter, self: Laid, dimension: int, size: int, step: int, out: Any) -> Laid:
    """Windows along an axis, which become the last one."""
    i = dimension % len(self.shape)
    count = out.shape[i]
    if not isinstance(count, int) or count * size > 4096:
        raise Unsupported("it has windows along a size that stays open, or too many", "use F.unfold")
    x = self
    if step != size or count * size != x.shape[i]:
        x = alone(w, x, i)
        places = [start * step + k for start in range(count) for k in range(size)]
        node = w.node("op", "take", {"indices": places, "axis": x.at(i)}, [("x", x.value)])
        x = resized(x, node, {i: len(places)})
    parted = w.split(x, (*x.shape[:i], count, size, *x.shape[i + 1 :]))
    order = [k for k in range(len(parted.shape)) if k != i + 1]
    return parted.permuted([*order, i + 1])


@handles("gather")
def _gather(w: NodeWriter, self: Any, dim: int, index: Any, out: Any) -> Any:
    if not isinstance(self, Laid):
        if self.tensor.unique().numel() == 1 and not any(w.trains.get(name) for name in self.names):
            return Known(self.tensor.flatten()[0].reshape([1] * len(out.shape)))
        raise Unsupported("it gathers from a table at places that are data", "use nn.Embedding")
    i = dim % len(self.shape)
    if 0 in self.axes[i]:
        raise Unsupported("it gathers among the examples of a batch", "gather along another axis")
    index = index if isinstance(index, Laid) else w.batched(w.data(index))
    x, index = w.natural(self), w.natural(index)
    for k, size in enumerate(out.shape):  # PyTorch reads no more than there are indices
        if k not in (0, i) and size != x.shape[k]:
            x = part(w, x, k, 0, size)
    node = w.node("op", "take_along_axis", {"axis": i}, [("", x.value), ("", index.value)])
    return resized(x, node, {k: size for k, size in enumerate(out.shape) if k})
