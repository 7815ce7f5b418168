"""Calls of Keras' layers as those of ours: which class a layer is, and which argument each tensor."""

from __future__ import annotations

from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.keras_names import ALIASES, LAYERS
from graphspec.contract.layer import Layer
from graphspec.convert.config import Call, KerasLayer, KerasTensor, tensors_in
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import nearest

MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")
CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer")
"""Layers that are code; a file holds it as bytes, or not at all."""


def class_of(layer: KerasLayer) -> type[Layer]:
    """The class of ours for a layer of Keras."""
    name = ALIASES.get(layer.class_name, layer.class_name)
    if layer.class_name in CODE:
        raise Unsupported(
            "it is code, which an import neither reads nor runs",
            "replace it by layers and functions of keras.ops, save the model again",
        )
    if layer.module == "?":
        raise Unsupported(
            f"`{layer.class_name}` is a custom class, whose code is not in the file",
            "build the model of Keras' layers, or write this part of the spec by hand",
        )
    if layer.class_name == "StochasticDepth":
        name = "Dropout"
    if layer.class_name in MERGES:
        return REGISTRY["merge"][name.lower()]
    if name in LAYERS:
        raise Unsupported(f"`{name}` is not a layer of a spec: {LAYERS[name][0]}", LAYERS[name][1])
    if name not in REGISTRY["layer"]:
        near = nearest(name, REGISTRY["layer"])
        help = "build the model without it, or write this part of the spec by hand"
        raise Unsupported(
            f"the language has no layer `{name}`", help + (f"; `{near}` is near" if near else "")
        )
    return REGISTRY["layer"][name]


def slots_of(cls: type[Layer], call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a layer's call by our names for its arguments, and its constants."""
    names = [argument.name for argument in cls.arguments]
    many = {argument.name for argument in cls.arguments if argument.many}
    values: list[Any] = list(call.args)
    if len(values) == 1 and isinstance(values[0], list) and len(names) > 1 and not many:
        values = values[0]
    if len(values) > len(names):
        raise Unsupported("it is called with more arguments than the language knows", "call it with fewer")
    slots: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    keywords = dict(call.kwargs)
    first = {"inputs", "sequence", "sequences", "query"} - set(names)
    for name, value in [*zip(names, values, strict=False), *keywords.items()]:
        name = names[0] if name in first else name
        if name == "mask" and "query_mask" in names and isinstance(value, list):
            slots.update(zip(("query_mask", "value_mask"), value, strict=False))
        elif name in names and any(tensors_in(value)):
            slots[name] = tuple(tensors_in(value)) if name in many else value
        elif name in cls.call_arguments:
            if value != cls.model_fields[name].default:
                extra[name] = value
        elif name == "mask" or name.endswith("_mask"):
            if any(tensors_in(value)):
                slots[name] = value
        elif name != "training" and value not in (None, False):
            raise Unsupported(f"it is called with `{name}`", f"call it without `{name}`")
    for name, value in slots.items():
        if not (name.endswith("mask") or isinstance(value, (KerasTensor, tuple))):
            raise Unsupported(f"its `{name}` is not a tensor", "call it with one tensor")
    return {name: value for name, value in slots.items() if value is not None}, extra
