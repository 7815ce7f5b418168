"""A custom module: its outputs are what the node declares. Its code is not inspected."""

from __future__ import annotations

from typing import Any

from graphspec.contract.custom_module import CustomModule
from graphspec.diagnostics import did_you_mean
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.sizes import declared_size
from graphspec.elaborate.values import FAILED, Resolved
from graphspec.graph import Op, Value, flatten
from graphspec.language.schema import IDENTIFIER, MADE, TYPE, is_plain
from graphspec.objectives.custom import is_path, path_help
from graphspec.settings import show
from graphspec.tensor import BATCH, DTYPE_WORDS, DTYPES, Dim, Tensor, symbol

OWN_KEYS = (*MADE, "data_format", "arguments")
"""Keys of a node with a module beside the constructor's arguments."""


def build(node: NodeInstance) -> NodeResult:
    """The op of a custom module on values, with its declared outputs."""
    path, arguments = node.target(), node.arguments()
    if path is FAILED or arguments is None:
        return failed()
    if not is_path(path):
        message = f"a module is the path of a class, such as my_layers.GatedMix, not {show(path)}"
        return node.failure("wrong-type", node.span_of("module"), message, path_help(path))
    said = {key: arguments.pop(key) for key in OWN_KEYS if key in arguments}
    options = _constructor(node, arguments, said.get("arguments", {}))
    channels_first = _channels_first(node, said.get("data_format", "channels_last"))
    if (
        options is None
        or channels_first is None
        or node.inputs.broken
        or node.refuses_nothing(node.inputs.all())
    ):
        return failed()
    places, words, bound = _bind(node)
    values = list(flatten(bound))
    if not values:
        return node.failure("input-count", node.span, f"`{node.name}` gives its module no input")
    tensors = _outputs(node, said, values[0].tensor)
    if tensors is None:
        return failed()
    layer = CustomModule(
        path=path,
        options=options,
        places=places,
        words=words,
        types=tuple(tensors.values()),
        names=tuple(tensors)[1:],
        channels_first=channels_first,
    )
    title = path.rpartition(".")[2]
    op = Op(node.name, node.index, node.span, "module", bound, layer=layer, title=title, options=options)
    for name, tensor in zip(("", *layer.names), layer.types, strict=True):
        op.outputs[name] = Value(tensor, f"{op.node}_{name}" if name else op.node, op)
    op.expressions = node.expressions(options)
    outputs: dict[str, Resolved] = dict(op.outputs)
    if "" not in tensors:  # the first has a name, too
        outputs[next(iter(tensors))] = op.output
    return NodeResult(outputs, op)


def _constructor(node: NodeInstance, beside: dict[str, Any], under: Any) -> dict[str, Any] | None:
    """The constructor's arguments: the other keys of the node, and those under `arguments`."""
    if not isinstance(under, dict):
        message = f"`arguments` is a mapping of the constructor's arguments, not {show(under)}"
        node.error("wrong-type", node.span_of("arguments"), message)
        return None
    ok = True
    for where, options in (((), beside), (("arguments",), under)):
        for word, value in options.items():
            keys = (*where, word)
            if not isinstance(word, str) or not IDENTIFIER.match(word) or word.startswith("__"):
                node.error("bad-name", node.key(*keys), f"`{word}` cannot name an argument")
                ok = False
            elif not _is_argument(value):
                message = (
                    "an argument is a number, a string, a boolean, null, or a list or a mapping of them, "
                    f"not {show(value)}"
                )
                node.error("wrong-type", node.span_of(*keys), message)
                ok = False
    for word in beside.keys() & under.keys():
        node.error(
            "duplicate-key", node.key("arguments", word), f"`{word}` is given twice, here and in `arguments`"
        )
        ok = False
    return {**beside, **under} if ok else None


def _is_argument(value: Any) -> bool:
    """Whether a constructor may be given this value: plain, or lists and mappings by name of such."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_argument(item) for key, item in value.items())
    return all(map(_is_argument, value)) if isinstance(value, list) else is_plain(value)


def _channels_first(node: NodeInstance, written: Any) -> bool | None:
    if written in ("channels_last", "channels_first"):
        return bool(written == "channels_first")
    message = "`data_format` is channels_last or channels_first"
    node.error("out-of-range", node.span_of("data_format"), message)
    return None


def _bind(node: NodeInstance) -> tuple[tuple[bool, ...], dict[str, bool], tuple[Any, ...]]:
    """The inputs by position and by name, whether each is a list, and all values."""
    by_place = [bound.value for bound in node.inputs.positional]
    by_name = {
        word: bounds[0].value if len(bounds) == 1 else tuple(bound.value for bound in bounds)
        for word, bounds in node.inputs.named.items()
    }
    words = {word: isinstance(value, tuple) for word, value in by_name.items()}
    return (False,) * len(by_place), words, (*by_place, *by_name.values())


def _outputs(node: NodeInstance, said: dict[str, Any], first: Tensor) -> dict[str, Tensor] | None:
    """The types of the outputs by name, "" for one without; None after an error."""
    if "outputs" not in said:
        tensor = _tensor(node, said, first, ())
        return None if tensor is None else {"": tensor}
    listed = said["outputs"]
    for key in TYPE:
        if key in said:
            message = f"`{key}` belongs to each of the `outputs`"
            node.error("unknown-key", node.key(key), message)
            return None
    if not isinstance(listed, dict) or not listed:
        message = f"`outputs` is a mapping from names to shapes, not {show(listed)}"
        node.error("wrong-type", node.span_of("outputs"), message, "write outputs: {a: {shape: [8]}, b: {}}")
        return None
    tensors: dict[str, Tensor] = {}
    for word, item in listed.items():
        keys = ("outputs", word)
        item = {} if item is None else item
        if not isinstance(word, str) or not IDENTIFIER.match(word):
            node.error("bad-name", node.key(*keys), f"`{word}` cannot name an output")
            return None
        if not isinstance(item, dict):
            message = f"the output `{word}` is a mapping, not {show(item)}"
            node.error("wrong-type", node.span_of(*keys), message, "write {shape: [8], dtype: float32}")
            return None
        for key in item:
            if key not in TYPE:
                help = did_you_mean(str(key), TYPE, "it takes `shape` and `dtype`")
                node.error("unknown-key", node.key(*keys, key), f"an output has no `{key}`", help)
                return None
        tensor = _tensor(node, item, first, keys)
        if tensor is None:
            return None
        tensors[word] = tensor
    return tensors


def _tensor(node: NodeInstance, said: dict[str, Any], first: Tensor, keys: tuple[str, ...]) -> Tensor | None:
    """A declared type; its missing parts are those of the first input."""
    shape, dtype = said.get("shape"), said.get("dtype", first.dtype)
    if dtype not in DTYPES:
        help = did_you_mean(str(dtype), DTYPES, f"one of: {', '.join(DTYPES)}", DTYPE_WORDS)
        node.error("out-of-range", node.span_of(*keys, "dtype"), f"unknown dtype {show(dtype)}", help)
        return None
    if shape is None:
        return first.with_dtype(dtype)
    if not isinstance(shape, list):
        message = f"a shape is a list of sizes without the batch axis, not {show(shape)}"
        node.error("wrong-type", node.span_of(*keys, "shape"), message, f"write [{show(shape)}]")
        return None
    sizes: list[Dim] = [symbol(BATCH)]
    for position, size in enumerate(shape):
        dim = declared_size(node, size, node.span_of(*keys, "shape", position))
        if dim is None:
            return None
        sizes.append(dim)
    return Tensor(tuple(sizes), dtype)
