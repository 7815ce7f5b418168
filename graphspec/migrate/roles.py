"""The roles of axes of a layer's weights: channels that it reads, channels that it gives, rows of a table.

Nothing is listed by layer: the channels of each input, and each argument that is a number, are doubled in
turn, and the sizes that then double depend on it. Of `Dense(units=32)` on 8 channels the kernel [32, 8]
doubles along axis 0 with `units`, as the output does, and along axis 1 with the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from graphspec.contract.layer import Layer, LayerError, Weight
from graphspec.tensor import Tensor, is_size

Kind = Literal["in", "out", "inner", "rows", "fixed"]


@dataclass(frozen=True, slots=True)
class Role:
    """An axis: channels of the input number `source` (in), of the output (out), of what is between both, such
    as the heads of attention (inner), entries that integers name (rows), or what no size changes (fixed).
    `parts` are the sizes that are joined in it, the last of them the channels: gates, heads.
    """

    kind: Kind
    source: int = 0
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerRoles:
    """The roles of the axes of each weight, by name. `follows` is the input whose channels the output has;
    None where the layer's arguments say how many there are.
    """

    axes: dict[str, tuple[Role, ...]]
    follows: int | None


def channel_axis(layer: Layer, rank: int) -> int:
    """The axis of channels of an input or output of this rank."""
    return 1 if layer.layout == "channels_first" and rank > 2 else rank - 1


def roles(layer: Layer, inputs: tuple[Any, ...]) -> LayerRoles:
    """The roles of a layer's weights, called on inputs of these types."""
    weights = layer.weights(*inputs)
    changes = dict(_changes(layer, inputs, weights))
    of_output = {source for source, (_, doubled) in changes.items() if doubled}
    axes = {}
    for number, weight in enumerate(weights):
        axis_roles = []
        for axis, size in enumerate(weight.shape):
            sources = {source for source, (shapes, _) in changes.items() if shapes[number][axis] != size}
            axis_roles.append(_role(layer, inputs, weight, axis, sources, of_output))
        if len(axis_roles) > 1 and axis_roles[0].kind == "out" == axis_roles[1].kind and _is_kernel(weight):
            axis_roles[1] = Role("inner", 0, axis_roles[1].parts)  # a state that is read again
        axes[weight.name] = tuple(axis_roles)
    followed = [source for source in of_output if isinstance(source, int)]
    return LayerRoles(axes, min(followed) if followed and not _says_width(of_output) else None)


def _says_width(sources: set[int | str]) -> bool:
    return any(isinstance(source, str) and source != "depth_multiplier" for source in sources)


def _is_kernel(weight: Weight) -> bool:
    return "kernel" in weight.keras.rpartition("/")[2]


def _role(
    layer: Layer,
    inputs: tuple[Any, ...],
    weight: Weight,
    axis: int,
    sources: set[int | str],
    of_output: set[int | str],
) -> Role:
    read = [source for source in sources if isinstance(source, int)]
    size = weight.shape[axis]
    if read:
        between = axis == 0 and len(weight.shape) > 1 and weight.shape[1] == 1  # a kernel for each channel
        gives = axis == 0 and set(read) & of_output and not _says_width(of_output)
        if not _is_kernel(weight) or between or gives:
            return Role("out", read[0], (size,))
        return Role("in", read[0], (size,))
    fields = sorted(str(source) for source in sources)
    if not fields:
        return Role("fixed")
    if set(fields) & of_output:
        count = getattr(layer, fields[0])
        parts = (size // count, count) if isinstance(count, int) and size % count == 0 else (size,)
        return Role("out", 0, parts)
    if _is_kernel(weight) or weight.keras.endswith("bias"):
        joined = weight.unmerged
        if joined is not None and len(joined) > len(
            weight.shape
        ):  # [heads, size, features], or features last
            front = joined[:2] if axis == 0 else joined[-2:]
            return Role("inner", 0, tuple(front))
        return Role("inner", 0, (size,))
    return Role("rows", 0, (size,))


Change = tuple[list[tuple[int, ...]], bool]
"""The shapes of the weights after something is doubled, and whether the channels of the output double."""


def _changes(
    layer: Layer, inputs: tuple[Any, ...], weights: tuple[Weight, ...]
) -> Iterator[tuple[int | str, Change]]:
    for number, tensor in enumerate(inputs):
        if isinstance(tensor, Tensor) and tensor.rank > 1 and tensor.is_float:
            axis = channel_axis(layer, tensor.rank)
            size = tensor.shape[axis]
            if isinstance(size, int):
                shape = [2 * size if place == axis else each for place, each in enumerate(tensor.shape)]
                others = (*inputs[:number], tensor.with_shape(*shape), *inputs[number + 1 :])
                change = _shapes(layer, others, layer, inputs, weights)
                if change is not None:
                    yield number, change
    for name in type(layer).model_fields:
        value = getattr(layer, name)
        if is_size(value):
            change = _shapes(layer.model_copy(update={name: 2 * value}), inputs, layer, inputs, weights)
            if change is not None:
                yield name, change


def _shapes(
    changed: Layer,
    inputs: tuple[Any, ...],
    layer: Layer,
    before: tuple[Any, ...],
    weights: tuple[Weight, ...],
) -> Change | None:
    """The effect of a change; None where the layer refuses it, or has other weights then."""
    try:
        output = first_tensor(changed.infer(*inputs))
        known = first_tensor(layer.infer(*before))
        shapes = [weight.shape for weight in changed.weights(*inputs)]
    except LayerError:
        return None
    if len(shapes) != len(weights):
        return None
    axis = channel_axis(layer, known.rank)
    doubled = output.rank == known.rank and output.shape[axis] != known.shape[axis]
    return shapes, doubled


def first_tensor(outputs: Any) -> Tensor:
    """The first of what `infer` gives."""
    tensor: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return tensor
