"""Functions that pick, move, repeat and join axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.aligning import arranged
from graphspec.convert.pytorch.functions import Out, handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.sizes import known_number
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.refusals import Unsupported


def dims_of(value: Any, rank: int) -> list[int]:
    """Axes as a list of numbers from 0."""
    if value is None or value in ([], ()):
        return list(range(rank))
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [int(i) % rank for i in listed]


@handles("view", "reshape", "flatten", "unflatten", "_unsafe_view", "view_as", "reshape_as")
def _view(w: NodeWriter, self: Laid, out: Any) -> Laid:
    return w.split(self, out.shape)


@handles("permute")
def _permute(w: NodeWriter, self: Laid, dims: Any) -> Laid:
    return self.permuted(dims_of(dims, len(self.shape)))


@handles("transpose", "swapaxes", "swapdims")
def _transpose(w: NodeWriter, self: Laid, **kwargs: Any) -> Laid:
    rank = len(self.shape)
    a, b = (int(value) % rank for value in list(kwargs.values())[:2])
    order = list(range(rank))
    order[a], order[b] = b, a
    return self.permuted(order)


@handles("t", "numpy_T", "mT", "adjoint")
def _t(w: NodeWriter, self: Laid) -> Laid:
    order = list(range(len(self.shape)))
    order[-2:] = order[-2:][::-1]
    return self.permuted(order)


@handles("movedim", "moveaxis")
def _movedim(w: NodeWriter, self: Laid, source: Any, destination: Any) -> Laid:
    rank = len(self.shape)
    a, b = dims_of(source, rank), dims_of(destination, rank)
    order: list[int | None] = [None] * rank
    for i, j in zip(a, b, strict=True):
        order[j] = i
    rest = iter(i for i in range(rank) if i not in a)
    return self.permuted([next(rest) if i is None else i for i in order])


@handles("squeeze")
def _squeeze(w: NodeWriter, self: Laid, dim: Any = None) -> Laid:
    places = dims_of(dim, len(self.shape))
    return self.without([i for i in places if self.shape[i] == 1 and 0 not in self.axes[i]])


@handles("unsqueeze")
def _unsqueeze(w: NodeWriter, self: Laid, dim: int) -> Laid:
    return self.inserted(dim % (len(self.shape) + 1))


@handles("expand", "expand_as", "broadcast_to")
def _expand(w: NodeWriter, self: Laid, out: Any) -> Laid:
    expanded = self
    while len(expanded.shape) < len(out.shape):
        expanded = expanded.inserted(0)
    for i, size in enumerate(out.shape):
        if size in w.batches and expanded.is_free:
            expanded = w.batched(expanded, i)
    axes = tuple(
        () if expanded.length(axis) == 1 and size != 1 and 0 not in axis else axis
        for axis, size in zip(expanded.axes, out.shape, strict=True)
    )
    return replace(expanded, axes=axes, shape=tuple(out.shape))


@handles("repeat", "tile", "repeat_interleave")
def _repeat(
    w: NodeWriter,
    self: Laid,
    out: Any,
    function: str,
    repeats: Any = None,
    dims: Any = None,
    dim: Any = None,
) -> Laid:
    if function == "repeat_interleave":
        i = int(dim) % len(self.shape)
        x = w.solid(self)
        if x.sole(i) in (None, 0):
            x = w.natural(x)
        j = x.sole(i)
        node = w.node("op", "repeat", {"repeats": int(repeats), "axis": j}, [("x", x.value)])
        return resized(x, node, {i: out.shape[i]})
    counts = list(repeats if repeats is not None else dims)
    x = self
    while len(x.shape) < len(counts):
        x = x.inserted(0)
    if all(c == 1 or size == 1 for c, size in zip(counts, x.shape, strict=True)):
        return _expand(w, x, out)
    if counts[0] in w.batches and x.is_free and all(c == 1 for c in counts[1:]):
        axes = ((0, *x.axes[0]), *x.axes[1:])
        return replace(x, axes=axes, sizes=(counts[0], *x.sizes[1:]), shape=tuple(out.shape))
    x = w.natural(x)
    if counts[0] != 1:
        raise Unsupported("it repeats the examples of a batch", "repeat another axis")
    if not all(isinstance(c, int) for c in counts):
        raise Unsupported("it repeats as often as an open size says", "give the size a number in --input")
    node = w.node("op", "tile", {"repeats": counts}, [("x", x.value)])
    return resized(x, node, dict(enumerate(out.shape)))


def resized(x: Laid, node: Any, changed: dict[int, Any], output: int = 0) -> Laid:
    """The result of a node that changes the sizes of some torch axes, each an axis of the value."""
    sizes, shape = list(x.sizes), list(x.shape)
    for i, size in changed.items():
        j = x.sole(i)
        shape[i] = size
        if j is not None:
            sizes[j] = size
    return replace(x, value=ConvertedValue(node, output), sizes=tuple(sizes), shape=tuple(shape))


def alone(w: NodeWriter, x: Laid, i: int) -> Laid:
    """With a torch axis as one axis of the value."""
    x = w.solid(x)
    if 0 in x.axes[i]:
        raise Unsupported("it picks among the examples of a batch", "pick along another axis")
    if x.sole(i) is not None:
        return x
    groups: list[tuple[int, ...]] = []
    kept = [k for k in range(len(x.axes)) if 0 not in x.axes[k]]
    for k in kept:
        groups += [x.axes[k]] if k == i else [(j,) for j in x.axes[k]]
    groups = [(j,) for axis in x.axes if 0 in axis for j in axis if j] + groups
    laid = w.lay(x, groups)
    if not x.axes[i]:
        axes = list(laid.axes)
        axes[i] = (1 + groups.index(()),)
        laid = replace(laid, axes=tuple(axes))
    return laid


def part(w: NodeWriter, x: Laid, i: int, start: Any, length: Any) -> Laid:
    """`length` elements of a torch axis, from `start` on."""
    end = known_number(start + length)
    shape = (*x.shape[:i], length, *x.shape[i + 1 :])
    return sliced(w, x, Out(shape), i, start, None if end == x.shape[i] else end)


@handles("narrow")
def _narrow(w: NodeWriter, self: Laid, out: Any, dim: int, start: Any, length: Any) -> Laid:
    return sliced(w, self, out, dim, start, start + length)


@handles("slice")
def sliced(
    w: NodeWriter, self: Laid, out: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Laid:
    """Elements of a torch axis, at the same distance from each other."""
    i = dim % len(self.shape)
    if out.shape[i] == self.shape[i]:
        return self
    if out.shape[i] == 0:
        return Known(torch.zeros(0))  # type: ignore[return-value]
    x = alone(w, self, i)
    j = x.at(i)
    size = x.shape[i]
    first, end = _from_end(start or 0, size), _from_end(end, size)
    if first == 0 and step == 1 and out.shape[i] in w.lengths and isinstance(size, int):
        from graphspec.convert.pytorch.computed import counted

        places = counted(w, out.shape[i])
        node = w.node("op", "take", {"axis": j}, [("", x.value), ("", places.value)])
        return resized(x, node, {i: out.shape[i]})
    if not isinstance(first, int) or not (isinstance(end, int) or end is None or end == size):
        raise Unsupported("it slices at a place that stays open", "give the size a number in --input")
    stop = "" if end is None or (not isinstance(end, int)) or end >= (1 << 60) or end == size else str(end)
    key = [":"] * len(x.sizes)
    key[j] = f"{first or ''}:{stop}" + (f":{step}" if step != 1 else "")
    return resized(x, picked(w, x, key), {i: out.shape[i]})


def _from_end(place: Any, size: Any) -> Any:
    """A place that an open size says as a number: counted from the end."""
    if isinstance(place, (int, type(None))) or place == size:
        return place
    behind = known_number(place - size)
    return behind if isinstance(behind, int) and behind < 0 else place


def picked(w: NodeWriter, x: Laid, key: list[str]) -> Any:
    """A node `get_item`; axes after the last that it picks of are left out."""
    while key[-1] == ":":
        key.pop()
    return w.node("op", "get_item", {"key": ", ".join(key)}, [("x", x.value)])


@handles("select")
def select(w: NodeWriter, self: Laid, dim: int, index: Any) -> Laid:
    i = dim % len(self.shape)
    x = alone(w, self, i)
    j = x.at(i)
    index = _from_end(index, self.shape[i])
    if not isinstance(index, int):
        raise Unsupported("it picks at a place that stays open", "pick at a number")
    key = [":"] * len(x.sizes)
    key[j] = str(index)
    return dropped(x, picked(w, x, key), i, j)


def dropped(x: Laid, node: Any, i: int, j: int | None) -> Laid:
    """Without a torch axis, which was axis `j` of the value."""
    axes = tuple(
        tuple(k - (j is not None and k > j) for k in axis) for n, axis in enumerate(x.axes) if n != i
    )
    sizes = tuple(size for k, size in enumerate(x.sizes) if k != j)
    shape = tuple(size for k, size in enumerate(x.shape) if k != i)
    return replace(x, value=ConvertedValue(node), sizes=sizes, axes=axes, shape=shape)


@handles("split", "chunk", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split")
def _split(w: NodeWriter, self: Laid, out: Any, function: str, dim: int = 0) -> Any:
    i = dim % len(self.shape)
    if function == "unbind":
        return tuple(select(w, self, i, n) for n in range(len(out)))
    if len(out) == 1:
        return (self,)
    x = alone(w, self, i)
    j = x.at(i)
    sizes = [part.shape[i] for part in out]
    if not all(isinstance(size, int) for size in sizes):
        raise Unsupported("it splits an axis whose size stays open", "give the size a number in --input")
    even = len(set(sizes)) == 1
    bounds = [sum(sizes[: n + 1]) for n in range(len(sizes) - 1)]
    arguments = {
        "indices_or_sections": len(sizes) if even else bounds,
        "axis": j if j != len(x.sizes) - 1 else -1,
    }
    names = tuple(f"part{n}" for n in range(1, len(sizes)))
    node = w.node("op", "split", arguments, [("x", x.value)], outputs=names)
    return tuple(resized(x, node, {i: size}, n) for n, size in enumerate(sizes))


@handles("cat", "concat", "concatenate")
def _cat(w: NodeWriter, tensors: Any, out: Any, dim: int = 0) -> Laid:
    i = dim % len(out.shape)
    if len(tensors) == 1 and isinstance(tensors[0], Laid):
        return tensors[0]
    tensors = [x for x in tensors if not (isinstance(x, Known) and x.tensor.numel() == 0)]
    if all(isinstance(x, Laid) and not x.axes[i] and x.shape[i] == 1 for x in tensors):
        return _stack(w, [x.without([i]) for x in tensors], out, i)
    if (grown := _padded(w, tensors, i, out)) is not None:
        return grown
    laid = [w.solid(x) for x in tensors if isinstance(x, Laid)]
    if any(0 in x.axes[i] for x in laid):
        raise Unsupported("it joins examples along the batch", "join along another axis")
    leader = alone(w, laid[0], i)
    if any(x.axes != leader.axes for x in laid):
        natural = [w.natural(x) for x in laid]
        if all(len(x.axes) == 4 for x in laid) and any(x.axes == leader.axes for x in laid):
            natural = [w.spatial(x) for x in laid]
        laid = natural
        leader = laid[0]
    j = leader.at(i)
    remaining = iter(laid)
    reads: list[tuple[str, ConvertedValue]] = []
    for x in tensors:
        if isinstance(x, Laid):
            value = next(remaining).value
        else:
            sizes = list(leader.sizes)
            sizes[j] = x.tensor.shape[i]
            layout = replace(leader, sizes=tuple(sizes))
            operand = arranged(x, layout)
            shape = [int(size) for size in sizes[1:]]
            value = w.held(operand.map(_expanding(shape)))
        reads.append(("", value))
    axis = -1 if j == len(leader.sizes) - 1 else j
    node = w.node("merge", "concatenate", {"axis": axis}, reads)
    return resized(leader, node, {i: out.shape[i]})


def _padded(w: NodeWriter, tensors: Any, i: int, out: Any) -> Laid | None:
    """Tensors joined with one number before or behind them: a `pad`."""
    places = [k for k, x in enumerate(tensors) if isinstance(x, Laid)]
    first, last = places[0], places[-1] + 1
    ends = [*tensors[:first], *tensors[last:]]
    if not ends or len(places) < last - first or not out.dtype.is_floating_point:
        return None
    if any(x.names or x.open or x.tensor.unique().numel() != 1 for x in ends):
        return None
    number = ends[0].tensor.flatten()[0].item()
    if any(x.tensor.flatten()[0] != number for x in ends):
        return None
    counts = [sum(x.tensor.shape[i] for x in part) for part in (tensors[:first], tensors[last:])]
    between = (*out.shape[:i], out.shape[i] - sum(counts), *out.shape[i + 1 :])
    joined = _cat(w, tensors[first:last], Out(known_number(between), out.dtype), i)
    x = alone(w, joined, i)
    widths = [[0, 0] for _ in x.sizes]
    widths[x.at(i)] = counts
    words: dict[str, Any] = {"pad_width": widths, **({"constant_values": number} if number else {})}
    return resized(x, w.node("op", "pad", words, [("x", x.value)]), {i: out.shape[i]})


def _expanding(shape: list[int]) -> Any:
    return lambda tensor: tensor.expand(shape)


@handles("stack")
def _stack(w: NodeWriter, tensors: Any, out: Any, dim: int = 0) -> Laid:
    i = dim % len(out.shape)

    def widened(x: Any) -> Any:
        return x.inserted(i) if isinstance(x, Laid) else x.map(lambda t: t.unsqueeze(i))

    laid = [w.natural(x) for x in tensors if isinstance(x, Laid)]
    if len(laid) == len(tensors) and i > 0:
        node = w.node("merge", "stack", {"axis": i}, [("", x.value) for x in laid])
        axes = tuple((k,) for k in range(len(out.shape)))
        sizes = (laid[0].sizes[0], *out.shape[1:])
        return Laid(ConvertedValue(node), sizes, axes, tuple(out.shape), laid[0].dtype)
    if len(laid) == len(tensors):
        node = w.node("merge", "stack", {}, [("", x.value) for x in laid])
        rest = tuple((k + 1,) for k in range(1, len(out.shape) - 1))
        sizes = (laid[0].sizes[0], len(laid), *laid[0].sizes[1:])
        return Laid(ConvertedValue(node), sizes, ((1,), (0,), *rest), tuple(out.shape), laid[0].dtype)
    return _cat(w, [widened(x) for x in tensors], out, i)


@handles("roll")
def _roll(w: NodeWriter, self: Laid, shifts: Any, dims: Any) -> Laid:
    places = dims_of(dims, len(self.shape))
    x = self
    for i in places:
        x = alone(w, x, i)
    axes = [x.sole(i) for i in places]
    steps = [int(s) for s in shifts]
    arguments: dict[str, Any] = {"shift": steps, "axis": axes}
    if len(axes) == 1:
        arguments = {"shift": steps[0], "axis": axes[0]}
    return w.of(x, "roll", **arguments)


@handles("flip")
def _flip(w: NodeWriter, self: Laid, dims: Any) -> Laid:
    places = dims_of(dims, len(self.shape))
    x = self
    for i in places:
        x = alone(w, x, i)
    axes = [x.sole(i) for i in places]
    return w.of(x, "flip", axis=axes[0] if len(axes) == 1 else axes)
