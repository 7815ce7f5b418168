"""Tensors that meet in one function, brought to one layout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.sizes import Size
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.refusals import Unsupported


def value(w: NodeWriter, x: Laid | Known) -> ConvertedValue:
    """The node of an operand that is in the axes of the others already."""
    return x.value if isinstance(x, Laid) else w.held(x)


def layout_of(a: Laid | Known, b: Laid | Known, shape: tuple[Size, ...]) -> Laid:
    """The layout of what two operands in one layout give."""
    widest = max(
        (x for x in (a, b) if isinstance(x, Laid)),
        key=lambda x: (len(x.sizes), not x.is_free, sum(s != 1 for s in x.sizes)),
    )
    sizes = list(widest.sizes)
    sizes[0] = next((x.sizes[0] for x in (a, b) if isinstance(x, Laid) and x.sizes[0] != 1), 1)
    for other in (a, b):
        other_sizes = other.sizes[1:] if isinstance(other, Laid) else tuple(other.tensor.shape) or (1,)
        sizes += [1] * (len(other_sizes) + 1 - len(sizes))
        for k, size in enumerate(reversed(other_sizes)):
            if size != 1 and k < len(sizes) - 1:
                sizes[-1 - k] = size
    axes = list(widest.axes)
    return replace(widest, sizes=tuple(sizes), axes=tuple(axes), shape=tuple(shape))


def padded(x: Laid, rank: int) -> Laid:
    """With as many torch axes, of size 1 in front."""
    while len(x.axes) < rank:
        x = x.inserted(0)
    return x


def together(
    w: NodeWriter, operands: list[Laid | Known], shape: tuple[Size, ...], full: bool = False
) -> list[Laid | Known]:
    """The operands brought to one layout, as Keras' merges align them: the batch, and the last axes. Ops
    align by the last axes alone, and need them `full`.
    """
    rank = len(shape)
    if all(x.is_free for x in operands if isinstance(x, Laid)):
        operands = [w.data(x) if isinstance(x, Known) else x for x in operands]
    laid = [padded(x, rank) for x in operands if isinstance(x, Laid)]
    place = next((x.batch for x in laid if not x.is_free), -1)
    if any(x.batch != place for x in laid if not x.is_free):
        raise Unsupported("it mixes the examples of a batch", "combine tensors of one example")
    leader = next((x for x in laid if _covers(x, shape)), None)
    if leader is not None:
        leader = _refined(w, leader, laid)
    if leader is None:
        order = [i for i in range(rank) if i != place]
        leader = Laid(
            laid[0].value,
            tuple(shape[i] if i >= 0 else 1 for i in (place, *order)),
            tuple((0,) if i == place else (order.index(i) + 1,) for i in range(rank)),
            tuple(shape),
        )
        chosen: Laid | None = None
    else:
        chosen = leader
    aligned: list[Laid | Known] = []
    for x in operands:
        if isinstance(x, Known):
            aligned.append(arranged(x, leader, full))
        elif (
            chosen is not None
            and padded(x, rank).value == chosen.value
            and padded(x, rank).axes == chosen.axes
        ):
            aligned.append(chosen)
        else:
            aligned.append(_followed(w, padded(x, rank), leader, full))
    leader = _shortened(
        leader, max(len(x.sizes) if isinstance(x, Laid) else x.tensor.dim() + 1 for x in aligned)
    )
    return [_as(x, leader) if isinstance(x, Laid) else x for x in aligned]


def _shortened(leader: Laid, count: int) -> Laid:
    """The axes of a result without those after its batch that no operand has, of size 1: it has `count`."""
    gone = len(leader.sizes) - count
    if gone <= 0:
        return leader
    axes = tuple(tuple(max(j - gone, 0) for j in axis if j == 0 or j > gone) for axis in leader.axes)
    return replace(leader, sizes=(leader.sizes[0], *leader.sizes[1 + gone :]), axes=axes)


def _as(x: Laid, leader: Laid) -> Laid:
    """An operand in the axes of the result: those that it lacks are of size 1, after the batch."""
    missing = len(leader.sizes) - len(x.sizes)
    return replace(x, axes=leader.axes, sizes=(x.sizes[0], *[1] * missing, *x.sizes[1:]))


def _covers(x: Laid, shape: tuple[Size, ...]) -> bool:
    return all(x.length(axis) == size for axis, size in zip(x.axes, shape, strict=True)) and all(
        size == 1 or any(j in axis for axis in x.axes) for j, size in enumerate(x.sizes)
    )


def _refined(w: NodeWriter, leader: Laid, others: list[Laid]) -> Laid:
    """The leader with its axes split where another operand has them apart in a way it can take."""
    for x in others:
        for i, axis in enumerate(x.axes):
            mine, its = leader.real(i), tuple(j for j in axis if x.sizes[j] != 1)
            if len(its) > len(mine) == 1 and 0 not in its and x.length(axis) == leader.length(leader.axes[i]):
                shape = list(leader.shape)
                shape[i : i + 1] = [x.sizes[j] for j in its]
                parted = w.split(leader, shape)
                axes = list(parted.axes)
                axes[i : i + len(its)] = [tuple(j for a in axes[i : i + len(its)] for j in a)]
                leader = replace(parted, axes=tuple(axes), shape=leader.shape)
    return leader


def _followed(w: NodeWriter, x: Laid, leader: Laid, full: bool) -> Laid:
    """A tensor brought to the axes of another one, to which it stretches."""
    if x.axes == leader.axes and x.sizes == leader.sizes:
        return x
    x = replace(x, shape=tuple(x.length(axis) for axis in x.axes))
    if any(
        tuple(x.sizes[j] for j in axis if x.sizes[j] != 1)
        != tuple(leader.sizes[j] for j in other if leader.sizes[j] != 1)
        for axis, other in zip(x.axes, leader.axes, strict=True)
        if x.length(axis) != 1
    ):
        x = _apart(w, x, leader)
    parts: dict[int, int] = {}
    for axis, other in zip(x.axes, leader.axes, strict=True):
        real = [j for j in axis if x.sizes[j] != 1 and j]
        if real:
            parts |= dict(zip([j for j in other if leader.sizes[j] != 1 and j], real, strict=True))
    order = [parts.get(j) for j in range(1, len(leader.sizes))]
    if _is_aligned(x, order) and not (full and len(x.sizes) < len(leader.sizes)):
        return x
    while order and order[0] is None and not full:
        order.pop(0)
    return w.lay(x, [() if j is None else (j,) for j in order], stretch=True)


def _is_aligned(x: Laid, order: list[int | None]) -> bool:
    """Whether the axes of a value are already where a merge aligns them, from the last on."""
    axes_left = list(range(1, len(x.sizes)))
    for wanted in reversed(order):
        if wanted is None:
            if axes_left and x.sizes[axes_left[-1]] == 1:
                axes_left.pop()
            elif axes_left:
                return False
        elif not axes_left or axes_left.pop() != wanted:
            return False
    return not axes_left


def _apart(w: NodeWriter, x: Laid, leader: Laid) -> Laid:
    """A tensor with its axes split as those of the leader."""
    groups = [axis for axis in x.axes if 0 not in axis and x.length(axis) != 1]
    joined = w.lay(x, groups)
    shape: list[Size] = []
    counts = []
    for axis, other in zip(joined.axes, leader.axes, strict=True):
        real = [leader.sizes[j] for j in other if leader.sizes[j] != 1]
        if joined.length(axis) == 1 or 0 in axis:
            real = [joined.length(axis)]
        counts.append(len(real))
        shape += real
    parted = w.split(joined, shape)
    axes, start = [], 0
    for count in counts:
        axes.append(tuple(j for a in parted.axes[start : start + count] for j in a))
        start += count
    return replace(parted, axes=tuple(axes), shape=joined.shape)


def arranged(known: Known, leader: Laid, full: bool = False) -> Known:
    """A known tensor in the axes of a value that it meets, without the batch."""
    rank = len(leader.axes)

    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.reshape(*([1] * (rank - tensor.dim())), *tensor.shape)
        place = leader.batch
        tensor = _of_one(tensor, place, [leader.sizes[j] if j else 0 for j in leader.axes[place]])
        if tensor.shape[place] != 1 and len(leader.axes[place]) == 1:
            if not (tensor.narrow(place, 0, 1) == tensor).all():
                raise Unsupported(
                    "a constant has a value for each example of the batch", "pass it as an input"
                )
            tensor = tensor.narrow(place, 0, 1)
        sizes, order = [], []
        for i, axis in enumerate(leader.axes):
            for j in axis:
                varies = tensor.shape[i] != 1
                sizes.append(leader.sizes[j] if varies and j else 1)
                order.append(j)
        tensor = tensor.reshape([int(s) for s in sizes])
        missing = [j for j in range(len(leader.sizes)) if j not in order]
        tensor = tensor.reshape(*tensor.shape, *[1] * len(missing))
        order += missing
        tensor = tensor.permute([order.index(j) for j in range(len(leader.sizes))])[0]
        while tensor.dim() > 1 and tensor.shape[0] == 1 and not full:
            tensor = tensor[0]
        return tensor

    return known.map(change)


def _of_one(tensor: torch.Tensor, place: int, sizes: list[Any]) -> torch.Tensor:
    """A tensor with the part of one example of an axis in which the batch, 0 in `sizes`, is merged with
    others. Raises `Unsupported` where examples have other values.
    """
    others = math.prod(size for size in sizes if isinstance(size, int) and size)
    if len(sizes) < 2 or tensor.shape[place] in (1, others):
        return tensor
    count = tensor.shape[place] // others
    k = place + sizes.index(0)
    parted: torch.Tensor = tensor.unflatten(place, [size or count for size in sizes])
    if not (parted.narrow(k, 0, 1) == parted).all():
        raise Unsupported("a constant has a value for each example of the batch", "pass it as an input")
    return parted.narrow(k, 0, 1).flatten(place, place + len(sizes) - 1)
