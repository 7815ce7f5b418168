"""The program of a spec as a model of Keras' functional API, with the same weights."""

from functools import partial
from typing import Any

import keras
import torch
from torch import Tensor, nn

from graphspec.contract.layer import Weight
from graphspec.contract.masks import MaskNotEqual
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.program import Program
from graphspec.weights import key_prefix, layers


class PositionEmbedding(keras.layers.Layer):
    """The layer of KerasHub."""

    def __init__(self, sequence_length: int) -> None:
        super().__init__()
        self.sequence_length, self.supports_masking = sequence_length, True

    def build(self, shape: Any) -> None:
        self.embeddings = self.add_weight(shape=(self.sequence_length, shape[-1]))

    def call(self, x: Any) -> Any:
        return keras.ops.broadcast_to(self.embeddings[: x.shape[-2]], keras.ops.shape(x))

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


class Noise(keras.layers.Layer):
    """Normal noise in the shape of its input.

    Keras' own counts its draws in a tensor, which inference mode may not change.
    """

    def call(self, x: Any) -> Any:
        return torch.randn_like(x)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


OWN = {"PositionEmbedding": PositionEmbedding}


def _argument(name: str, value: Any) -> Any:
    """An argument in Keras' form: an activation with arguments is a function."""
    if not name.endswith("activation") or not isinstance(value, dict):
        return value
    options = {key: item for key, item in value.items() if key != "name"}
    return partial(getattr(keras.activations, value["name"]), **options)


class Builder:
    """Calls Keras' layers as a graph does; `layers` holds them by the path of their weights."""

    def __init__(self) -> None:
        self.layers: dict[str, Any] = {}
        self._prefixes: dict[Unit, str] = {}

    def body(self, graph: Graph, prefix: str, inputs: list[Any]) -> dict[Value, Any]:
        """The tensors of a graph, given its input tensors."""
        self._prefixes |= {unit: key_prefix(prefix, unit) for unit in graph.units}
        tensors = {
            value: tensor
            for value, tensor in zip(graph.inputs.values(), inputs, strict=True)
            if value is not None
        }
        for op in graph.ops:
            tensors |= self.op(op, prefix, [tensors.get(value) for value in op.arguments])
        return tensors

    def op(self, op: Op, prefix: str, arguments: list[Any]) -> dict[Value, Any]:
        if not op.present:
            return {op.output: arguments[0]}
        path = self._prefixes[op.unit].removesuffix(".") if op.unit is not None else ""
        if op.graph is not None:
            inner = self.body(op.graph, f"{path}.", arguments)
            return {value: inner[op.results[key]] for key, value in op.outputs.items()}
        return {op.output: self.call(op, path, arguments)}

    def call(self, op: Op, path: str, arguments: list[Any]) -> Any:
        given = dict(op.options)
        if isinstance(op.layer, MaskNotEqual):
            return arguments[0] != op.layer.value
        if op.kind == "merge":
            return getattr(keras.layers, op.title.capitalize())(**given)(arguments)
        assert op.layer is not None
        names = [argument.name for argument in op.layer.arguments]
        tensors = {name: x for name, x in zip(names, arguments, strict=True) if x is not None}
        if op.title == "random_normal":
            return Noise()(*tensors.values())
        if op.kind == "op":
            given.pop("formula", None)  # its numbers are in the layer
            numbers = {name: getattr(op.layer, name) for name in names if name not in tensors}
            return getattr(keras.ops, op.title)(**tensors, **numbers | given)
        first = tensors.pop(names[0])
        for name in op.layer.call_arguments:
            if name in given:
                tensors[name] = given.pop(name)
        if path not in self.layers:
            make = OWN.get(op.title) or getattr(keras.layers, op.title)
            self.layers[path] = make(**{key: _argument(key, value) for key, value in given.items()})
        return self.layers[path](first, **tensors)


class KerasModel(nn.Module):
    """A Keras model with the call signature of the emitted module; its outputs are never logits."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *, logits: bool = False, **inputs: Tensor) -> Tensor | dict[str, Tensor]:
        found = self.model(inputs, training=self.training)
        return found if isinstance(found, Tensor) else dict(zip(self.names, found, strict=True))


def functional(program: Program) -> tuple[Any, dict[str, Any]]:
    """The model on any backend, with its own weights, and its layers by the path of their weights."""
    inputs = {
        name: keras.Input(
            [size if isinstance(size, int) else None for size in tensor.shape[1:]],
            dtype=tensor.dtype,
            name=name,
        )
        for name, tensor in program.inputs.items()
    }
    builder = Builder()
    tensors = builder.body(program.graph, "", list(inputs.values()))
    outputs = [tensors[value] for value in program.graph.outputs.values()]
    for op, layer in ((op, builder.layers[path]) for path, op in layers(program.graph)):
        layer.trainable = op.unit is not None and op.unit.trainable
    return keras.Model(inputs, outputs), builder.layers


def keras_model(program: Program, module: nn.Module) -> KerasModel:
    """The model, with the weights of `module`, the program's module."""
    model, made = functional(program)
    copy(program, module, made)
    return KerasModel(model, list(program.graph.outputs))


@torch.no_grad()
def copy(program: Program, module: nn.Module, built: dict[str, Any]) -> None:
    """Copies the weights of `module` to Keras' layers, in the layout that Keras stores."""
    state = module.state_dict()
    for path, op in layers(program.graph):
        rest = iter(built[path].weights) if op.weights() else iter(())
        for weight in op.weights():
            if not weight.row:
                variable = next(rest).value
            target = variable if weight.row is None else variable[weight.row]
            target.copy_(stored(weight, state[f"{path}.{weight.name}"], tuple(target.shape)))


def stored(weight: Weight, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The values of a module's weight in the layout of a Keras variable of this shape."""
    if weight.gates:
        blocks = value.chunk(len(weight.gates))
        value = torch.cat([blocks[weight.gates.index(gate)] for gate in range(len(blocks))])
    if weight.permute is None:
        return value.reshape(shape)
    permuted = value.reshape([shape[axis] for axis in weight.permute])
    return permuted.permute([weight.permute.index(axis) for axis in range(len(shape))])
