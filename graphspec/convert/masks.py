"""Which masks a model carries by itself: Keras writes them into a config as calls, and a spec does not.

A mask is described by what it is computed of, so that the one Keras wrote and the one that the language
carries can be compared: `("unlike", tensor, 0)`, `("steps", tensor, 0.0)`, `("or", a, b)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphspec.contract.layer import Derived, Layer
from graphspec.contract.masks import MaskAny, MaskConcat, MaskNotEqual
from graphspec.convert.config import Call, KerasTensor
from graphspec.tensor import Tensor

Description = Any


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """An input as `Layer.mask` sees it."""

    source: KerasTensor
    tensor: Tensor


def seen(tensor: KerasTensor) -> MaskedInput:
    rank = len(tensor.shape) if tensor.shape is not None else 3
    return MaskedInput(tensor, Tensor((1,) * rank, "float32"))


def carried(layer: Layer, grouped: tuple[Any, ...], masks: tuple[Any, ...]) -> Description | None:
    """The mask of what a layer gives, as the language carries it."""
    inputs = tuple(
        tuple(map(seen, item)) if isinstance(item, tuple) else None if item is None else seen(item)
        for item in grouped
    )
    return describe(layer.mask(inputs, masks))


def describe(mask: Any) -> Description | None:
    """A mask that `Layer.mask` gave, in the words of this module."""
    if not isinstance(mask, Derived):
        return mask
    sources = tuple(item.source if isinstance(item, MaskedInput) else describe(item) for item in mask.sources)
    if isinstance(mask.layer, MaskNotEqual):
        return ("steps" if mask.layer.steps else "unlike", sources[0], float(mask.layer.value))
    if isinstance(mask.layer, MaskAny):
        found = sources[0]
        for other in sources[1:]:
            found = ("or", found, other)
        return found
    if isinstance(mask.layer, MaskConcat):
        return ("joined", *sources)
    return ("all", sources[0])


def written(class_name: str, call: Call, known: dict[KerasTensor, Description]) -> Description | None:
    """What an operation of Keras computes, where masks are computed so; `known` are those before it."""
    args = list(call.args)
    if class_name == "NotEqual" and len(args) == 2 and isinstance(args[0], KerasTensor):
        value = args[1] if not isinstance(args[1], KerasTensor) else None
        return ("unlike", args[0], float(value)) if isinstance(value, (int, float)) else None
    if class_name == "Any" and args and isinstance(args[0], KerasTensor):
        inner = known.get(args[0])
        if isinstance(inner, tuple) and inner[0] == "unlike":
            return ("steps", inner[1], inner[2])
    if class_name == "LogicalOr" and len(args) == 2:
        a, b = (known.get(arg) if isinstance(arg, KerasTensor) else None for arg in args)
        if a is not None and b is not None:
            return ("or", a, b)
    if class_name == "Concatenate" and args and isinstance(args[0], list):
        parts = [known.get(item) if isinstance(item, KerasTensor) else None for item in args[0]]
        if all(part is not None for part in parts):
            return ("joined", *parts)
    return None
