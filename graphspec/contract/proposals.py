"""Remedies for wrong shapes: both shapes, and a layer that converts one to the other.

In each text, `{inputN}` stands for the reference to input N.
"""

from __future__ import annotations

import re

from graphspec.contract.layer import LayerError
from graphspec.tensor import Dim, Tensor, names_of, show_size, value_of

OF_AXES = (
    "`Reshape` adds and removes axes, global pooling and `Flatten` remove them; a `shape` leaves out the "
    "batch axis"
)
"""Layers that give a tensor another number of axes."""
ONE_CLASS = "put `Flatten` or `GlobalAveragePooling2D` before the last layer for a class for each image"
"""Layers that make one vector of an image."""
HALVED = 16
"""By how much a size may be smaller that was halved and doubled: four times, by at most 15."""
FACTORS = range(2, 129)
"""Multiples that are tried for a size: 128 where seven layers halve it."""


def of_ids(x: Tensor | None) -> str | None:
    """The layer that makes vectors of a tensor that may contain the ids of sequences."""
    if x is None or x.rank != 2 or x.dtype not in ("int64", "int32"):
        return None
    return "ids become vectors by {layer: Embedding, input_dim: ..., output_dim: ...}"


def misfit(name: str, inputs: tuple[Tensor, ...], i: int, j: int, joins: int | None = None) -> LayerError:
    """The error of a merge `name` whose inputs `i` and `j` have different shapes.

    `joins` is an axis along which they may differ.
    """
    shapes = f"{{input{i}}} is {inputs[i]} and {{input{j}}} is {inputs[j]}"
    return LayerError(
        "shapes-differ",
        f"`{name}` gets tensors of different shapes: {shapes}",
        help=propose(inputs, i, j, joins),
        inputs=(i, j),
    )


def propose(inputs: tuple[Tensor, ...], i: int, j: int, joins: int | None = None) -> str | None:
    """A remedy for inputs `i` and `j` that differ; None if no single layer is enough.

    `joins` is the axis along which they may differ, for a concatenation.
    """
    a, b = inputs[i], inputs[j]
    if a.rank != b.rank:
        return _of_rank(inputs, i, j)
    differing = [axis for axis in range(1, a.rank) if axis != joins and a.shape[axis] != b.shape[axis]]
    if not differing:
        return None
    joined = None
    if joins is not None and len(differing) == 1 and a.shape[joins] == b.shape[joins]:
        joined = f"join them along the axis where they differ: `axis: {differing[0]}`"
    unknown = sorted({*names_of(a.shape[differing[0]]), *names_of(b.shape[differing[0]])})
    if unknown:
        pairs = [(a.shape[axis], b.shape[axis]) for axis in differing]
        return _of_multiples(pairs) or joined or _of_names(*pairs[0])
    if joined is not None:
        return joined
    last = a.rank - 1
    spatial = [axis for axis in differing if axis != last]
    if not spatial:
        return _of_constant(inputs, i, j) or _dense_or_conv(a, b, i, j)
    strided = _strided(a, b, i, j, keep=joins == last) or _strided(b, a, j, i, keep=joins == last)
    return strided or _halved([(_number(a.shape[axis]), _number(b.shape[axis])) for axis in spatial])


def _of_rank(inputs: tuple[Tensor, ...], i: int, j: int) -> str:
    small, large = (i, j) if inputs[i].rank < inputs[j].rank else (j, i)
    if fixed := _of_axis(inputs, small, large):
        return fixed
    if inputs[small].rank == 2:
        pool = {3: "GlobalAveragePooling1D", 4: "GlobalAveragePooling2D"}.get(inputs[large].rank, "Flatten")
        if set(inputs[large].shape[1:-1]) == {1}:
            pool = "Flatten"
        return f"make a vector of {{input{large}}}: {{layer: {pool}, from: {{input{large}}}}}"
    sizes = "1" if inputs[small].rank == 1 and inputs[large].rank == 2 else "..."
    reshape = f"{{layer: Reshape, from: {{input{small}}}, target_shape: [{sizes}]}}"
    return f"give {{input{small}}} the axes that it lacks: {reshape}"


def _of_axis(inputs: tuple[Tensor, ...], small: int, large: int) -> str | None:
    """How the values of a tensor that is the same for every example come to the axis that is as long."""
    (first, *sizes), wanted = inputs[small].shape, inputs[large].shape
    if first != 1 or len(sizes) != 1 or sizes[0] not in wanted[1:]:
        return None
    behind = len(wanted) - 1 - wanted.index(sizes[0], 1)
    name = f"{{input{small}}}"
    reshape = f"{{layer: Reshape, from: {name}, target_shape: {[sizes[0]] + [1] * behind}}}"
    slice = f"`[:, :{', None' * behind}]` after it in a formula" if behind else ""
    return f"its elements come to the axis of this size by {reshape}" + (f", or {slice}" if slice else "")


def _of_multiples(pairs: list[tuple[Dim, Dim]]) -> str | None:
    """Remedy for sizes that are rounded multiples and differ by the rounding."""
    written: dict[str, int] = {}
    for a, b in pairs:
        names = names_of(a) | names_of(b)
        name = next(iter(names), "?")
        if len(names) != 1 or name.startswith("?"):
            return None
        fitting = (
            factor
            for factor in FACTORS
            if all(value_of(a, {name: factor * n}) == value_of(b, {name: factor * n}) for n in (1, 2, 3, 5))
        )
        factor = next(fitting, None)
        if factor is None:
            return None
        written[name] = max(factor, written.get(name, 1))
    words = " and ".join(f"`{factor} * {name}` for `{name}`" for name, factor in written.items())
    return f"they are equal for multiples: write {words} in `inputs`"


def multiples(help: str | None) -> dict[str, int]:
    """The sizes of which a proposal asks for multiples, each with the factor."""
    return {name: int(factor) for factor, name in re.findall(r"`(\d+) \* (\w+)` for `\2`", help or "")}


def _of_names(a: Dim, b: Dim) -> str:
    if isinstance(a, int) or isinstance(b, int) or "?" in f"{show_size(a)}{show_size(b)}":
        return "if the sizes are always equal, give them the same number or name in `inputs`"
    if str(a).isidentifier() and str(b).isidentifier():
        return f"where `{a}` and `{b}` are always equal, give both inputs the same name for this size"
    return "use the same padding and strides on both paths, so that the lengths stay equal"


def _of_constant(inputs: tuple[Tensor, ...], i: int, j: int) -> str | None:
    """If one is the same for all examples, such as a constant or a parameter: the size that it needs."""
    for position, other in ((i, j), (j, i)):
        fixed, examples = inputs[position].shape[0], inputs[other].shape[0]
        if isinstance(fixed, int) and not isinstance(examples, int):
            return f"give {{input{position}}} the size {inputs[other].shape[-1]} in its last axis"
    return None


def _dense_or_conv(a: Tensor, b: Tensor, i: int, j: int) -> str:
    """If tensors differ only in channels, a layer that gives the smaller one as many as the other has."""
    narrow, wide = (i, b) if _number(a.shape[-1]) < _number(b.shape[-1]) else (j, a)
    units = wide.shape[-1]
    layer = f"layer: Conv2D, from: {{input{narrow}}}, filters: {units}, kernel_size: 1"
    if a.rank != 4:
        layer = f"layer: Dense, from: {{input{narrow}}}, units: {units}"
    instead = f"bring {{input{narrow}}} to the same shape: {{{layer}}}"
    sizes = [_number(a.shape[-1]), _number(b.shape[-1])]
    near = abs(sizes[0] - sizes[1]) == 1 and min(sizes) > 1
    return f"give both the same number of features, or {instead}" if near else instead


def _strided(large: Tensor, small: Tensor, position: int, other: int, keep: bool) -> str | None:
    """A convolution that reduces `large` to the size of `small`, or None; `keep` keeps its channels."""
    if large.rank not in (3, 4):
        return None
    strides: list[int] = []
    for a, b in zip(large.shape[1:-1], small.shape[1:-1], strict=True):
        if a == b:
            strides.append(1)
        elif isinstance(a, int) and isinstance(b, int) and a > b and -(-a // -(-a // b)) == b:
            strides.append(-(-a // b))
        else:
            return None
    filters = large.shape[-1] if keep else small.shape[-1]
    if not isinstance(filters, int):
        return None
    text = str(strides[0]) if len({*strides}) == 1 else str(strides)
    return (
        f"bring {{input{position}}} to the shape of {{input{other}}}: {{layer: Conv{large.rank - 2}D, "
        f"from: {{input{position}}}, filters: {filters}, kernel_size: 1, strides: {text}}}"
    )


def _halved(pairs: list[tuple[int, int]]) -> str | None:
    """Remedy where sizes were halved and doubled again, and are a little smaller than before."""
    if not all(min(pair) % 2 == 0 and max(pair) - min(pair) in range(HALVED) for pair in pairs):
        return None
    return (
        "an odd size that is halved and doubled is smaller: give the input sizes that can be halved as often"
    )


def _number(size: Dim) -> int:
    return size if isinstance(size, int) else 0
