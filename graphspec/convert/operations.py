"""Functions of keras.ops, which a config holds as a kind of layer, as ops and merges of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.keras_names import OPS, PER_EXAMPLE
from graphspec.contract.layer import Layer
from graphspec.convert.arguments import arguments, key_text, parsed, plain, shortened
from graphspec.convert.config import Call, KerasLayer, KerasTensor, function_name, tensors_in
from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import nearest


def operation(layer: KerasLayer, call: Call, values: Mapping[KerasTensor, ConvertedValue]) -> ConvertedNode:
    """The node of one call of a function. Raises `Unsupported`."""
    name = function_name(layer.class_name)
    name = f"image_{name}" if layer.module.endswith("ops.image") else name
    rank = next((len(t.shape) for t in tensors_in(call.args) if t.shape is not None), None)
    if name in ("concatenate", "stack"):
        cls = REGISTRY["merge"][name]
        given = arguments(cls, layer, rank)
        slots = [("", values[tensor]) for tensor in tensors_in(call.args)]
        return ConvertedNode(layer.name, "merge", name, given, slots, "list")
    if name in OPS:
        raise Unsupported(f"`{name}` is not an op of a spec: {OPS[name][0]}", OPS[name][1])
    if name in PER_EXAMPLE:
        raise Unsupported(
            f"`{name}` of Keras treats the batch axis like any other axis",
            f"in a spec, `{name}` applies to each example separately: write this part by hand",
        )
    if name not in REGISTRY["op"]:
        near = nearest(name, REGISTRY["op"])
        help = "use layers and functions that `graphspec layers` lists" + (f": `{near}`?" if near else "")
        raise Unsupported(f"the language has no op `{name}`", help)
    cls = REGISTRY["op"][name]
    read, given = _operands(cls, layer, call)
    for key in given:
        if key in cls.model_fields:
            continue
        raise Unsupported(f"`{key}` of `{name}` has no counterpart", f"call it without `{key}`")
    node = ConvertedNode(layer.name, "op", name, {}, [(slot, values[t]) for slot, t in read])
    node.arguments = shortened(cls, given)
    node.outputs = parsed(cls, given).output_names()
    named = [slot for slot, _ in read]
    whole = cls.variadic or named == [argument.name for argument in cls.arguments][: len(named)]
    constants = any(argument.name in given for argument in cls.arguments)
    node.style = "one" if len(read) == 1 and (whole or constants) else "list" if whole else "named"
    return node


def _operands(
    cls: type[Layer], layer: KerasLayer, call: Call
) -> tuple[list[tuple[str, KerasTensor]], dict[str, Any]]:
    """The inputs of an operation, by our names, and its constants."""
    names = [argument.name for argument in cls.arguments]
    positional = [*names, *(name for name in cls.model_fields if name not in names)]
    config = {key: value for key, value in layer.config.items() if key != "name"}
    positional = [name for name in positional if name not in config]
    given = {key: constant(value) for key, value in config.items() if key in cls.model_fields or value}
    given = {key: value for key, value in given.items() if key != "dtype" or key in cls.model_fields}
    args = list(call.args)
    if len(args) == 1 and isinstance(args[0], list) and all(isinstance(a, KerasTensor) for a in args[0]):
        args = args[0]
    read: list[tuple[str, KerasTensor]] = []
    if cls.variadic:
        return [("", tensor) for tensor in tensors_in(args)], given
    if len(args) > len(positional):
        raise Unsupported("it is called with more arguments than the language knows", "call it with fewer")
    for name, value in [*zip(positional, args, strict=False), *call.kwargs.items()]:
        if isinstance(value, KerasTensor):
            if name not in names:
                raise Unsupported(f"its `{name}` is a tensor", f"a spec has a constant for `{name}`")
            read.append((name, value))
        elif name == "key":
            given[name] = key_text(value)
        elif value is not None:
            given[name] = constant(value)
    if not read:
        raise Unsupported("it reads no tensor of the graph", "compute it from an input")
    rank = next((len(tensor.shape) for _, tensor in read if tensor.shape is not None), None)
    for name in names:
        if isinstance(given.get(name), list):
            if name not in cls.model_fields:
                help = "make it the weight of a layer, or an input"
                raise Unsupported(f"its `{name}` is a constant tensor", help)
            given[name] = _beside_batch(given[name], rank)
    return read, given


def _beside_batch(value: Any, rank: int | None) -> Any:
    """A constant without the axis that meets the batch, where it has one. Raises `Unsupported`."""
    depth, inner = 0, value
    while isinstance(inner, list) and inner:
        depth, inner = depth + 1, inner[0]
    if rank is None or depth < rank:
        return value
    if depth > rank or len(value) != 1:
        help = "give it the axes of one example, or one more of size 1"
        raise Unsupported("a constant tensor has a value for each example of the batch", help)
    return value[0]


def constant(value: Any) -> Any:
    """A constant of a call as plain data."""
    if isinstance(value, dict) and value.get("class_name") in ("__tensor__", "__numpy__"):
        return plain(value["config"]["value"])
    if isinstance(value, dict) and "class_name" in value:
        if value["class_name"] == "DTypePolicy":
            return value["config"]["name"]
        raise Unsupported(f"it is called with a `{value['class_name']}`", "call it with numbers and tensors")
    return plain(value)
