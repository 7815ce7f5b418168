"""Which masks a model carries by itself: Keras writes them into a config as calls, and a spec does not.

A mask is described by what it is computed of, so that the one Keras wrote and the one that the language
carries can be compared: `("unlike", tensor, 0)`, `("steps", tensor, 0.0)`, `("or", a, b)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

from graphspec.contract.layer import Derived, Layer
from graphspec.contract.masks import MaskAny, MaskConcat, MaskNotEqual
from graphspec.convert.config import Call, KerasLayer, KerasTensor
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
    """A mask that `Layer.mask` gave, in the words of this module; one that a layer was given, as it is."""
    if not isinstance(mask, Derived):
        return mask.source if isinstance(mask, MaskedInput) else mask
    sources = tuple(item.source if isinstance(item, MaskedInput) else describe(item) for item in mask.sources)
    if isinstance(mask.layer, MaskNotEqual):
        return ("steps" if mask.layer.steps else "unlike", sources[0], float(mask.layer.value))
    if isinstance(mask.layer, MaskAny):
        description = sources[0]
        for other in sources[1:]:
            description = ("or", description, other)
        return description
    if isinstance(mask.layer, MaskConcat):
        return ("joined", *sources)
    return ("all", sources[0])


def written(layer: KerasLayer, call: Call, known: dict[KerasTensor, Description]) -> Description | None:
    """Describes an operation of Keras, as computations of masks use it; `known` are those before it."""
    kind, axis = layer.class_name, layer.config.get("axis")
    args = [item for arg in call.args for item in (arg if isinstance(arg, list) else [arg])]
    descriptions = [known.get(arg) if isinstance(arg, KerasTensor) else None for arg in args]
    if kind == "NotEqual" and len(args) == 2 and isinstance(args[0], KerasTensor):
        return ("unlike", args[0], float(args[1])) if isinstance(args[1], (int, float)) else None
    if kind in ("ZerosLike", "OnesLike") and isinstance(args[0], KerasTensor):
        filled = {"ZerosLike": ("nowhere",), "OnesLike": ("wide", ("all", args[0]))}
        return filled[kind] if _bool(layer.config.get("dtype")) else None
    if not descriptions or any(part is None for part in descriptions):
        return None
    first: Any = descriptions[0]
    last = axis in (-1, [-1]) or (kind == "Concatenate" and axis == 2)
    match kind:
        case "ConvertToTensor":
            return first
        case "Any" if first[0] == "unlike":
            return ("steps", first[1], first[2])
        case "Any" if first[0] == "wide" and last:
            return first[1]
        case "ExpandDims" if last:
            return ("wide", first)
        case "LogicalOr" if ("nowhere",) in descriptions:  # the same, in as many features as a tensor has
            return first if descriptions[1] == ("nowhere",) else descriptions[1]
        case "LogicalOr":
            return ("or", first, descriptions[1])
        case "Concatenate" if first[0] == "wide":
            parts = [part[1] for part in descriptions if part is not None]
            return ("wide", reduce(lambda a, b: ("or", a, b), parts) if last else ("joined", *parts))
        case "Concatenate":
            return ("joined", *descriptions)
    return None


def _bool(dtype: Any) -> bool:
    """Whether a dtype of a config is that of masks: a name, or a policy."""
    return dtype == "bool" or (isinstance(dtype, dict) and dtype.get("config", {}).get("name") == "bool")
