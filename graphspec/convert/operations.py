"""Functions of keras.ops, which a config holds as a kind of layer, as ops and merges of a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.keras_names import OPS
from graphspec.contract.layer import Layer
from graphspec.convert.arguments import arguments, key_text, parsed, shortened, shortest
from graphspec.convert.batch_axis import ALIGNED, BESIDE_CONSTANT, BESIDE_IMAGES, beside_batch, check, depth
from graphspec.convert.config import Call, KerasLayer, KerasTensor, function_name, tensors_in
from graphspec.convert.layouts import Layouts, Lone, with_batch
from graphspec.convert.nodes import ConvertedNode, ConvertedValue, Read
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import nearest

CALLED_WITH = {
    "searchsorted": ("sorted_sequence", "values"),
    "slice_update": ("inputs", "start_indices", "updates"),
}
"""The order of arguments with which Keras calls functions, where constants come before tensors."""
UNSAID: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("axis", "axisa", "axisb", "axisc"), (-1,)),
    **dict.fromkeys(("flash_attention", "attn_logits_soft_cap", "x"), (None,)),
    **dict.fromkeys(("rms_scaling", "retstep", "synchronized", "sparse"), (False,)),
    **dict.fromkeys(("crop_to_aspect_ratio", "pad_to_aspect_ratio"), (False,)),
    "assume_unique": (False, True),
    "dilation_rate": (1, [1, 1], [1, 1, 1]),
    "fill_mode": ("constant",),
    "fill_value": (0.0,),
}
"""Arguments of functions that an op has not, each with the values that change nothing."""


@dataclass(slots=True)
class _Operands:
    """The arguments of a function, by our names: tensors, constants in the place of tensors, arguments."""

    tensors: list[tuple[str, KerasTensor]] = field(default_factory=list)  # that have a batch
    constants: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


def operation(
    layer: KerasLayer,
    call: Call,
    values: Mapping[KerasTensor, ConvertedValue],
    layouts: Layouts | None = None,
    lone: bool = False,
) -> ConvertedNode:
    """The node of one call of a function. Tensors of `layouts` have no batch; `lone` says that none has.
    Raises `Unsupported`.
    """
    name = function_name(layer.class_name)
    name = f"image_{name}" if layer.module.endswith("ops.image") else name
    rank = common_rank([call])
    if name in ("concatenate", "stack"):
        cls = REGISTRY["merge"][name]
        settings = arguments(cls, layer, None if rank is None else rank + (name == "stack"))
        read_as = values.__getitem__ if layouts is None else layouts.read
        slots = [("", read_as(tensor)) for tensor in only_tensors(call.args)]
        return ConvertedNode(layer.name, "merge", name, settings, slots, "list")
    if name in OPS:
        raise Unsupported(f"`{name}` is not an op of a spec: {OPS[name][0]}", OPS[name][1])
    if name not in REGISTRY["op"]:
        near = nearest(name, REGISTRY["op"])
        help = "use layers and functions that `graphspec layers` lists" + (f": `{near}`?" if near else "")
        raise Unsupported(f"the language has no op `{name}`", help)
    if name == "eig":
        raise Unsupported(
            "its eigenvalues and vectors are complex tensors", "`op: eig` has them as real pairs"
        )
    if name == "image_extract_patches" and rank == 5:
        name = "image_extract_patches_3d"
    cls = REGISTRY["op"][name]
    operands = _operands(cls, layer, call, layouts)
    _adjust(name, operands, layouts)
    if _is_dot(name, operands.constants):
        name, cls = "dot", REGISTRY["op"]["dot"]
    if not lone:
        check(name, [slot for slot, _ in operands.tensors], operands.constants, operands.arguments)
    read = _reads(layer, name, operands, values, layouts)
    if not cls.variadic:
        order = [argument.name for argument in cls.arguments]
        read.sort(key=lambda item: order.index(item[0]))
    node = ConvertedNode(layer.name, "op", name, {}, read)
    node.arguments = shortened(cls, operands.arguments)
    node.outputs = parsed(cls, operands.arguments).output_names()
    named = [slot for slot, _ in read]
    positional = cls.variadic or named == [argument.name for argument in cls.arguments][: len(named)]
    beside = any(argument.name in operands.arguments for argument in cls.arguments)
    node.style = "one" if len(read) == 1 and (positional or beside) else "list" if positional else "named"
    return node


def _adjust(name: str, operands: _Operands, layouts: Layouts | None) -> None:
    """Brings the arguments of some functions into the form that a spec has for them."""
    if name == "einsum":
        operands.arguments["subscripts"] = operands.arguments["subscripts"].replace(" ", "")
    if name == "einsum" and layouts is not None:
        alone = [layouts.lone(tensor) for _, tensor in operands.tensors]
        operands.arguments["subscripts"] = with_batch(operands.arguments["subscripts"], alone)
    if name == "unstack" and operands.arguments.get("num") is None:
        operands.arguments["num"] = _size(operands.tensors[0][1], int(operands.arguments["axis"]))
    if name == "image_scale_and_translate":
        operands.arguments["output_shape"] = [-1, *operands.arguments["output_shape"][1:]]


def _reads(
    layer: KerasLayer,
    name: str,
    operands: _Operands,
    values: Mapping[KerasTensor, ConvertedValue],
    layouts: Layouts | None,
) -> list[tuple[str, Read]]:
    """The inputs of a function; its constants are nodes."""
    is_einsum = name == "einsum"
    read: list[tuple[str, Read]] = [
        (slot, values[tensor] if layouts is None else layouts.read(tensor, not is_einsum))
        for slot, tensor in operands.tensors
    ]
    for slot, value in operands.constants.items():
        if isinstance(value, Lone):
            assert layouts is not None
            read.append((slot, layouts.value(value.tensor, value.aligned)))
        else:
            read.append((slot, ConvertedValue(ConvertedNode(f"{layer.name}_{slot}", "constant", value))))
    if name == "dot_product_attention":
        read = [_as_bias(layer, *each) if each[0] == "mask" else each for each in read]
    return read


def _as_bias(layer: KerasLayer, slot: str, mask: Read) -> tuple[str, Read]:
    """A mask of attention as what Keras adds to the scores: a query that sees nothing averages all values,
    where PyTorch gives zeros.
    """
    settings = {"x1": 0.0, "x2": -1e30}
    return "bias", ConvertedValue(
        ConvertedNode(f"{layer.name}_{slot}", "op", "where", settings, [("x", mask)])
    )


def _size(x: KerasTensor, axis: int) -> int:
    """The size of an axis, which Keras reads off the tensor."""
    size = None if x.shape is None else x.shape[axis]
    if size is None:
        raise Unsupported("it depends on a size that the model leaves open", "give its input a size there")
    return size


def common_rank(calls: Sequence[Call]) -> int | None:
    """The rank of the first tensor of each call; None where it differs between them, or is not known."""
    firsts = (next(tensors_in(call.args), None) for call in calls)
    ranks = {None if first is None or first.shape is None else len(first.shape) for first in firsts}
    return ranks.pop() if len(ranks) == 1 else None


def only_tensors(value: Any) -> list[KerasTensor]:
    """The tensors of a call that takes a list of them. Raises `Unsupported` for a constant among them."""
    listed = value[0] if len(value) == 1 and isinstance(value[0], list) else value
    for item in listed:
        if not isinstance(item, KerasTensor):
            help = "write it as a `constant` node, and this part by hand; or make it an input"
            raise Unsupported("its list contains a constant tensor", help)
    return list(listed)


def _configured(cls: type[Layer], layer: KerasLayer) -> dict[str, Any]:
    """The arguments that a config holds, without those that change nothing."""
    configured = {}
    for key, value in layer.config.items():
        if key == "name":
            continue
        if key in cls.model_fields:
            field = cls.model_fields[key]
            if value is None and not field.is_required() and key in ("epsilon", "dtype", "data_format"):
                continue
            configured[key] = constant(value)
        elif key == "dtype" and constant(value) in (None, "float32"):  # what an op gives without it
            continue
        elif key not in UNSAID or value not in UNSAID[key]:
            raise Unsupported(f"`{key}` of `{cls.spec_name}` has no counterpart", f"call it without `{key}`")
    return configured


def _operands(cls: type[Layer], layer: KerasLayer, call: Call, layouts: Layouts | None) -> _Operands:
    """The arguments of an operation. Raises `Unsupported`."""
    operands = _Operands(arguments=_configured(cls, layer))
    if cls.variadic:
        operands.tensors = [("", tensor) for tensor in only_tensors(call.args)]
        return operands
    names = [argument.name for argument in cls.arguments]
    positional = CALLED_WITH.get(cls.spec_name) or (*names, *(n for n in cls.model_fields if n not in names))
    positional = tuple(name for name in positional if name not in layer.config)
    args = list(call.args)
    if len(args) == 1 and isinstance(args[0], list) and all(isinstance(a, KerasTensor) for a in args[0]):
        args = args[0]
    while args and args[-1] is None:
        args.pop()
    if len(args) > len(positional):
        raise Unsupported("it is called with more arguments than the language knows", "call it with fewer")
    for name, value in [*zip(positional, args, strict=False), *call.kwargs.items()]:
        if isinstance(value, KerasTensor):
            if name not in names:
                raise Unsupported(f"its `{name}` is a tensor", f"a spec has a constant for `{name}`")
            if layouts is not None and layouts.lone(value):
                operands.arguments[name] = Lone(value)
            else:
                operands.tensors.append((name, value))
        elif name == "key":
            operands.arguments[name] = key_text(value)
        elif value is not None:
            operands.arguments[name] = constant(value)
    if not operands.tensors:
        raise Unsupported("it reads no tensor of the graph", "compute it from an input")
    _settle(cls, operands)
    return operands


def _settle(cls: type[Layer], operands: _Operands) -> None:
    """Tells constants that stand for tensors from arguments."""
    rank = next((len(tensor.shape) for _, tensor in operands.tensors if tensor.shape is not None), None)
    names = [argument.name for argument in cls.arguments]
    for name in names:
        value = operands.arguments.get(name)
        if isinstance(value, Lone):
            _settle_lone(cls, operands, name, rank)
            continue
        if not isinstance(value, list):
            continue
        if name in cls.model_fields and cls.spec_name not in BESIDE_CONSTANT:
            operands.arguments[name] = beside_batch(value, rank)
        elif name in BESIDE_IMAGES:
            operands.constants[name] = beside_batch(operands.arguments.pop(name), BESIDE_IMAGES[name])
        elif name not in cls.model_fields or (cls.spec_name, name) != ("take", "indices"):
            if cls.spec_name not in BESIDE_CONSTANT and cls.spec_name not in ALIGNED:
                help = "write it as a `constant` node, and this part by hand; or make it an input"
                raise Unsupported(f"its `{name}` is a constant tensor", help)
            del operands.arguments[name]
            operands.constants[name] = value
    if cls.spec_name in ALIGNED and not _is_dot(cls.spec_name, operands.constants):
        operands.constants = {
            name: value if isinstance(value, Lone) else beside_batch(value, rank)
            for name, value in operands.constants.items()
        }


def _settle_lone(cls: type[Layer], operands: _Operands, name: str, rank: int | None) -> None:
    """Puts a tensor without a batch among the constants, as it meets those with one."""
    value = operands.arguments.pop(name)
    of_two = {"x1", "x2"} <= cls.model_fields.keys()
    if cls.spec_name in ALIGNED or of_two:
        operands.constants[name] = value if _is_dot(cls.spec_name, {name: value}) else value.beside(rank)
    elif cls.spec_name in BESIDE_CONSTANT:
        operands.constants[name] = value
    else:
        help = "compute it from an input, or write this part of the spec by hand"
        raise Unsupported(f"its `{name}` is a tensor without a batch", help)


def _is_dot(name: str, constants: Mapping[str, Any]) -> bool:
    """Whether it multiplies by a matrix or vector what has any number of axes, which `matmul` does not."""
    return name == "matmul" and "x2" in constants and depth(constants["x2"]) < 3


def constant(value: Any) -> Any:
    """A constant of a call as plain data."""
    if isinstance(value, dict) and value.get("class_name") in ("__tensor__", "__numpy__"):
        return shortest(value["config"]["value"])
    if isinstance(value, dict) and "class_name" in value:
        if value["class_name"] == "DTypePolicy":
            return value["config"]["name"]
        raise Unsupported(f"it is called with a `{value['class_name']}`", "call it with numbers and tensors")
    return shortest(value)
