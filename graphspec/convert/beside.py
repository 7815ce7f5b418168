"""Tensors without a batch, beside those with one: in a traced model weights that a layer adds itself,
constants, and what is computed of these alone.

A spec gives each a batch axis of 1, which stretches. In Keras it has none, or one of 1 that it brought:

    Keras (4, 8)       spec (1, 4, 8)    the tensor, whole: axis 0 of Keras is axis 1
    Keras (1, 4, 8)    spec (1, 4, 8)    aligned: axes have the same numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphspec.convert.config import Call, KerasLayer, KerasTensor, function_name, tensors_in
from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.convert.refusals import Unsupported

AXES = frozenset(["axis", "axes", "axis1", "axis2", "source", "destination"])
FLATTENED = frozenset(["argmax", "argmin", "cumsum", "cumprod", "take", "repeat", "roll", "sort", "argsort"])
"""Functions that without an axis make a vector of a tensor first."""
MOVED = frozenset(["ExpandDims", "Squeeze", "Reshape", "GetItem"])
"""Functions that may do no more than give a tensor a batch axis of 1, or take it."""


@dataclass(frozen=True, slots=True)
class Lone:
    """A tensor without a batch in the place of an argument, whole or aligned."""

    tensor: KerasTensor
    aligned: bool = False

    @property
    def depth(self) -> int:
        return len(self.tensor.shape or ())

    def beside(self, rank: int | None) -> Lone:
        """As it meets a tensor of so many axes. Raises `Unsupported`."""
        if rank is None or self.depth < rank:
            return self
        if self.depth > rank or (self.tensor.shape or (0,))[0] != 1:
            help = "give it the axes of one example, or one more of size 1"
            raise Unsupported("a tensor without a batch has a value for each example", help)
        return replace(self, aligned=True)


class Besides:
    """Which tensors have no batch, and their values in both forms."""

    def __init__(self, values: Mapping[KerasTensor, ConvertedValue]):
        self.values = values
        self.aligned: set[KerasTensor] = set()
        self.made: dict[KerasTensor, ConvertedValue] = {}

    def holds(self, tensor: KerasTensor) -> bool:
        return tensor.shape is not None and None not in tensor.shape

    def value(self, tensor: KerasTensor, aligned: bool) -> ConvertedValue:
        """Its value, whole or aligned. Raises `Unsupported`."""
        if (tensor in self.aligned) == aligned:
            return self.values[tensor]
        if tensor not in self.made:
            if aligned:
                Lone(tensor).beside(len(tensor.shape or ()))
            word, what = ("row", "squeeze") if aligned else ("whole", "expand_dims")
            read = [("x", self.values[tensor])]
            node = ConvertedNode(f"{tensor.layer}_{word}", "op", what, {"axis": 1}, read)
            self.made[tensor] = ConvertedValue(node)
        return self.made[tensor]

    def same(self, layer: KerasLayer, call: Call, shape: tuple[int | None, ...] | None) -> bool | None:
        """Whether a function that gives this shape only names a tensor's batch axis: true where its result is
        aligned then, false where it is whole, None where the function does something.
        """
        first = next(tensors_in(call.args))
        if layer.class_name not in MOVED or shape is None or first.shape is None:
            return None
        if first not in self.aligned and shape == (1, *first.shape):
            return True
        if first in self.aligned and first.shape == (1, *shape):
            return False
        return None


def shifted(layer: KerasLayer, call: Call) -> tuple[KerasLayer, Call]:
    """A function of whole tensors alone as a spec counts their axes: one more, in front. Raises
    `Unsupported`.
    """
    name = function_name(layer.class_name)
    first = next(tensors_in(call.args))
    rank = len(first.shape or ())

    def axis(value: Any) -> Any:
        if isinstance(value, list):
            return [axis(item) for item in value]
        if isinstance(value, int):
            return value + 1 if value >= 0 else value
        if name in FLATTENED:
            help = f"call `{name}` with an axis"
            raise Unsupported("it makes a vector of a tensor without a batch", help)
        return list(range(1, rank + 1))

    def moved(key: str, value: Any) -> Any:
        if name == "transpose" and key == "axes":
            return [0, *(item + 1 for item in (value or range(rank - 1, -1, -1)))]
        if name == "squeeze" and key == "axis" and value is None:
            return [place + 1 for place, size in enumerate(first.shape or ()) if size == 1]
        if key in AXES:
            return axis(value)
        if key in ("newshape", "shape"):
            return [-1, *value]
        if key == "pad_width" and isinstance(value, list) and isinstance(value[0], list):
            return [[0, 0], *value]
        if key == "start_indices":
            return [0, *value]
        if key == "subscripts":
            return _lettered(value)
        if key == "key":
            whole = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
            return [whole, *(value if isinstance(value, list) else [value])]
        return value

    config = {key: moved(key, value) for key, value in layer.config.items()}
    args = list(call.args)
    second = {"get_item": "key", "slice": "start_indices"}.get(name)
    if second is not None and len(args) > 1:
        args[1] = moved(second, args[1])
    kwargs = {key: moved(key, value) for key, value in call.kwargs.items()}
    return (
        KerasLayer(layer.name, layer.class_name, layer.module, config, layer.calls),
        Call(tuple(args), kwargs),
    )


def _lettered(subscripts: str) -> str:
    """Subscripts with a letter for the batch in front of each operand."""
    letter = next(each for each in "zyxwvutsrqponmlkjihgfedcba" if each not in subscripts)
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    return ",".join(letter + part for part in left.split(",")) + arrow + letter + right


def with_batch(subscripts: str, lone: list[bool]) -> str:
    """Subscripts in which operands without a batch begin with the letter of the batch, too."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    parts = left.split(",")
    letter = next(part[0] for part, alone in zip(parts, lone, strict=True) if not alone)
    return ",".join(letter + part if alone else part for part, alone in zip(parts, lone, strict=True)) + arrow + right
