"""Keras' config of a model, of version 2 or 3, as typed values: layers, calls, and the tensors between them.

    KerasModel "scorer"                          what the file says, layer by layer
      layers["encoder"]: KerasLayer              a layer; `calls` has an entry for each time it is called
        calls[1]: Call(args=(KerasTensor("right", 0, 0),), kwargs={})
      outputs: {"score": KerasTensor("dense", 0, 0)}

A `KerasTensor` names the layer, which of its calls, and which output of that call it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.registry import REGISTRY
from graphspec.convert.refusals import as_keras_writes
from graphspec.convert.tracing import sources
from graphspec.diagnostics import fail
from graphspec.language.naming import snake_case

MODELS = ("Functional", "Model", "Sequential")
MAX_LAYERS = 20_000
OPS = "keras.src.ops"
STORED_AS = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Classes that Keras has under another name than it exports them."""


@dataclass(frozen=True, slots=True)
class KerasTensor:
    """Output `output` of call `call` of a layer. `shape` begins with the batch; None: the file says none."""

    layer: str
    call: int
    output: int
    shape: tuple[int | None, ...] | None = field(default=None, compare=False)
    dtype: str = field(default="float32", compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a layer's call: tensors anywhere inside, and constants."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(slots=True)
class KerasLayer:
    """A layer, a raw operation, or a model inside a model."""

    name: str
    class_name: str
    module: str
    config: dict[str, Any]
    calls: list[Call] = field(default_factory=list)
    model: KerasModel | None = None
    stored: str = ""
    """The name that Keras 3 gives it in a file of weights."""
    again: bool = False
    """Whether the file says that this layer is the same object as one before it."""

    def likeness(self) -> str:
        """Equal for layers that may be one object."""
        return json.dumps([self.name, self.class_name, _without_ids(self.config)], sort_keys=True)


@dataclass(slots=True)
class KerasModel:
    """A model of Keras' functional API, or a Sequential one as such. `inputs` and `outputs` keep the user's
    structure: a tensor, a list, or a dict.
    """

    name: str
    layers: dict[str, KerasLayer]
    inputs: Any
    outputs: Any
    trainable: bool = True


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(item) for key, item in value.items() if key != "shared_object_id"}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value


def common_layers(model: KerasModel) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The layers that occur in several models of one file, by their likeness: for each the path of its first
    occurrence, where it is stored, and the groups that lead there.
    """
    first: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    common: set[str] = set()

    def walk(model: KerasModel, path: tuple[str, ...], groups: tuple[str, ...]) -> None:
        for layer in model.layers.values():
            here, there = (*path, layer.name), (*groups, "layers", layer.stored)
            if layer.model is not None:
                walk(layer.model, here, there)
            elif layer.class_name != "InputLayer":
                likeness = layer.likeness()
                if layer.again and likeness in first:
                    common.add(likeness)
                first.setdefault(likeness, (here, there))

    walk(model, (), ())
    return {likeness: first[likeness] for likeness in common}


def tensors_in(value: Any) -> Iterator[KerasTensor]:
    """All tensors in nested lists and dicts, in order."""
    if isinstance(value, KerasTensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


INDICES = {
    **dict.fromkeys(("Embedding", "CategoryEncoding", "one_hot", "multi_hot"), "x"),
    **dict.fromkeys(("take", "take_along_axis"), "indices"),
}
"""Layers and functions that read integers, and the argument: Keras casts it, whatever its type is."""
OF_INDICES = frozenset(["Embedding", "CategoryEncoding", "OneHot", "MultiHot", "NotEqual"])
"""Classes of Keras that only read indices of an input; the last one makes the mask of an `Embedding`."""


def holds_indices(model: KerasModel, tensor: KerasTensor) -> bool:
    """Whether only tables of embeddings read an input, and such as read the same indices: a spec gives them
    integers.
    """
    if "float" not in tensor.dtype:
        return False
    readers: set[str] = set()
    for layer in model.layers.values():
        for call in layer.calls:
            read = list(tensors_in([call.args, call.kwargs])) if layer.class_name != sources.SOURCE else []
            if tensor in read and layer.model is not None:
                inner = list(tensors_in(layer.model.inputs))
                alone = len(inner) == len(read) and all(
                    holds_indices(layer.model, i)
                    for i, outer in zip(inner, read, strict=True)
                    if outer == tensor
                )
                readers.add("Embedding" if alone else layer.name)
            elif tensor in read:
                readers.add(layer.class_name)
    return "Embedding" in readers and readers <= OF_INDICES


def read_model(config: dict[str, Any]) -> KerasModel:
    """Reads Keras' object of a model. Raises `SpecError` (import-format, import-unsupported)."""
    with as_keras_writes():
        return _model(config)


def _model(entry: dict[str, Any]) -> KerasModel:
    kind, config = entry["class_name"], entry["config"]
    if kind not in MODELS or foreign(entry):
        raise fail(
            "import-unsupported",
            f"the model is a custom class `{kind}`, whose code is not in the file",
            "build it with keras.Model(inputs, outputs), and save that; or write the spec by hand",
        )
    if kind == "Sequential":
        return _sequential(config)
    layers = {layer.name: layer for layer in map(read_layer, config["layers"])}
    if len(layers) != len(config["layers"]) or len(layers) > MAX_LAYERS:
        raise ValueError("two layers have the same name, or there are too many")
    _number(list(layers.values()))
    for layer, item in zip(layers.values(), config["layers"], strict=True):
        layer.calls = [_call(node, layers) for node in item.get("inbound_nodes", [])]
    model = KerasModel(
        str(config.get("name") or "model"),
        layers,
        _structure(config["input_layers"], {}),
        _structure(config["output_layers"], layers),
        bool(config.get("trainable", True)),
    )
    for layer in layers.values():
        for call in layer.calls:
            for tensor in tensors_in([call.args, call.kwargs]):
                _check(tensor, layers)
    for tensor in tensors_in([model.inputs, model.outputs]):
        _check(tensor, layers)
    return model


def _check(tensor: KerasTensor, layers: dict[str, KerasLayer]) -> None:
    layer = layers[tensor.layer]
    calls = 1 if layer.class_name == "InputLayer" else len(layer.calls)
    if not 0 <= tensor.call < calls or tensor.output < 0:
        raise ValueError(f"there is no call {tensor.call} of {tensor.layer}")


def foreign(entry: dict[str, Any]) -> bool:
    """Whether an object is of a class that Keras does not have. Its module is compared, never imported."""
    module = entry.get("module")
    if (module, entry.get("class_name")) == (sources.__name__, sources.SOURCE):
        return False
    return isinstance(module, str) and module.split(".")[0] not in (
        "keras",
        "builtins",
        "tensorflow",
        "tf_keras",
    )


def refuse_foreign(value: Any) -> None:
    """Refuses a config that names code anywhere, be it where nothing of the model depends on it: Keras,
    beside which the model is run, would import it. Raises `SpecError` (import-unsafe).
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = str(value.get("class_name"))
            if foreign(value) or name in ("__lambda__", "Lambda", sources.SOURCE):
                message = f"the config names `{value.get('module')}.{name}`, which is not a class of Keras"
                help = "save the model again without custom objects"
                raise fail("import-unsafe", message, help)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def read_layer(entry: dict[str, Any]) -> KerasLayer:
    config = entry["config"]
    named = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    name = str(named or snake_case(str(entry["class_name"])))
    if not isinstance(config, dict) and entry["class_name"] != "Sequential":
        raise TypeError(f"the config of {name} is not an object")
    module = "?" if foreign(entry) else str(entry.get("module") or _usual_module(entry["class_name"], config))
    layer = KerasLayer(name, str(entry["class_name"]), module, config)
    layer.again = entry.get("shared_object_id") is not None
    if layer.class_name in MODELS and module != "?":
        layer.model = _model(entry)
        layer.model.name = name
    return layer


def _usual_module(name: str, config: dict[str, Any]) -> str:
    """Where a class is from that has no module, as in files of Keras 2: only layers can be trained."""
    if name in REGISTRY["layer"] and {"trainable", "dtype"} & set(config):
        return "keras.layers"
    others = ("Add", "Multiply", "Concatenate", "Stack", "ConvertToTensor")
    operation = name in others or function_name(name) in REGISTRY["op"]
    return OPS if operation and "trainable" not in config else "keras.layers"


def _number(layers: list[KerasLayer]) -> None:
    """Gives each layer the name that Keras 3 has for it in a file of weights: its class, numbered."""
    counts: dict[str, int] = {}
    for layer in layers:
        if layer.module.startswith(OPS):
            continue  # an operation is no layer of the model
        word = snake_case(STORED_AS.get(layer.class_name, layer.class_name))
        number = counts.get(word, 0)
        counts[word] = number + 1
        layer.stored = f"{word}_{number}" if number else word


SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
FUNCTIONS = {
    "AllClose": "allclose",
    "BatchNorm": "batch_normalization",
    "CTCDecode": "ctc_decode",
    "CTCLoss": "ctc_loss",
    "HSVToRGB": "hsv_to_rgb",
    "IsIn": "isin",
    "LayerNorm": "layer_normalization",
    "RGBToGrayscale": "rgb_to_grayscale",
    "RGBToHSV": "rgb_to_hsv",
    "RMSNorm": "rms_normalization",
    "SearchSorted": "searchsorted",
}
"""Classes of Keras whose functions have other names than they."""


def function_name(class_name: str) -> str:
    """The function of keras.ops that an operation's class calls: `TakeAlongAxis` is take_along_axis."""
    if class_name in FUNCTIONS:
        return FUNCTIONS[class_name]
    return SNAKE.sub("_", class_name).lower()


def _sequential(config: Any) -> KerasModel:
    """A chain of layers as a functional model."""
    if isinstance(config, list):  # as Keras 2.0 had it
        config = {"layers": config}
    entries = config["layers"]
    listed = [read_layer(entry) for entry in entries]
    layers = {layer.name: layer for layer in listed}
    if len(layers) != len(listed) or not listed:
        raise ValueError("a Sequential model has no layers, or two with the same name")
    _number(listed)
    if listed[0].class_name != "InputLayer":
        first = listed[0].config
        shape = first.get("batch_input_shape") or config.get("build_input_shape")
        if shape is None and listed[0].model is not None:
            shape = (
                listed[0].model.layers[next(tensors_in(listed[0].model.inputs)).layer].config["batch_shape"]
            )
        if shape is None:
            raise fail(
                "import-unsupported",
                f"the Sequential model `{config.get('name')}` was never built: its input has no shape",
                "call it once, or start it with keras.Input(shape), and save it again",
            )
        name = "input" if "input" not in layers else "input_1"
        dtype = first.get("dtype")
        dtype = dtype if isinstance(dtype, str) and first.get("batch_input_shape") else "float32"
        dtype = "int64" if listed[0].class_name == "Embedding" else dtype
        listed.insert(
            0, KerasLayer(name, "InputLayer", "keras.layers", {"batch_shape": shape, "dtype": dtype})
        )
        layers = {layer.name: layer for layer in listed}
    tensor = KerasTensor(listed[0].name, 0, 0)
    inputs = tensor
    for layer in listed[1:]:
        layer.calls = [Call((tensor,), {})]
        tensor = KerasTensor(layer.name, 0, 0)
    name = str(config.get("name") or "sequential")
    return KerasModel(name, layers, inputs, tensor, bool(config.get("trainable", True)))


def _structure(value: Any, layers: dict[str, KerasLayer]) -> Any:
    """The tensors of `input_layers` or `output_layers` in the user's structure."""
    if (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    ):
        name, call, output = value
        # here, and only here, Keras counts the call that made a functional model as its first
        if name in layers and layers[name].class_name in ("Functional", "Model") and call > 0:
            call -= 1
        return KerasTensor(name, call, output)
    if isinstance(value, list):
        return [_structure(item, layers) for item in value]
    if isinstance(value, dict):
        return {str(key): _structure(item, layers) for key, item in value.items()}
    raise TypeError(f"{value!r:.40} is not a tensor")


def _call(node: Any, layers: dict[str, KerasLayer]) -> Call:
    """One entry of `inbound_nodes`: Keras 3 has a dict, Keras 2 a list of tensors with their keywords."""
    if isinstance(node, dict):
        return Call(tuple(_arguments(node.get("args", []))), _arguments(node.get("kwargs", {})))
    tensors = [KerasTensor(item[0], item[1], item[2]) for item in node]
    keywords = node[0][3] if node and len(node[0]) > 3 else {}
    kwargs = {str(key): _old(value, layers) for key, value in keywords.items()}
    return Call((tensors[0] if len(tensors) == 1 else tensors,), kwargs)


def _old(value: Any, layers: dict[str, KerasLayer]) -> Any:
    """A keyword of a call in a Keras 2 config, where a tensor is a list that begins with a layer's name."""
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and value[0] in layers and isinstance(value[1], int):
            return KerasTensor(value[0], value[1], value[2])
        return [_old(item, layers) for item in value]
    return value


def _arguments(value: Any) -> Any:
    if isinstance(value, list):
        return [_arguments(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__keras_tensor__":
        config = value["config"]
        layer, call, output = config["keras_history"]
        shape = None if config.get("shape") is None else tuple(config["shape"])
        return KerasTensor(str(layer), int(call), int(output), shape, str(config.get("dtype")))
    return {str(key): _arguments(item) for key, item in value.items()}
