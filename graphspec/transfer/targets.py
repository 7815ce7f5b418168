"""The weights of a spec by their keys in the state dict, with what their layers know of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphspec.contract.layer import Layer, Weight
from graphspec.graph import Graph, Op, Value
from graphspec.tensor import Tensor
from graphspec.weights import key_prefix, layers
from graphspec.weights.names import attribute

NORMALIZATIONS = ("BatchNormalization", "LayerNormalization", "GroupNormalization")
"""Layers whose epsilon is 0.001 by default in Keras, and 1e-5 in PyTorch."""


@dataclass(frozen=True, slots=True)
class Target:
    """One weight of the spec. `layer` is the name of its layer's class, `path` the layer's in the module.

    `flattened` are the sizes of the tensor, channels last, that a Flatten before a Dense makes its columns
    of; None where they have one order only. `keras_epsilon` says that its layer has Keras' default epsilon,
    which is not PyTorch's, and that the spec leaves it out.
    """

    key: str
    path: str
    weight: Weight
    layer: str = ""
    flattened: tuple[int, ...] | None = None
    keras_epsilon: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weight.shape

    @property
    def keras_name(self) -> str:
        """Its key, in Keras' words: `conv.kernel` for `conv.weight`."""
        return f"{self.path}.{self.weight.keras.replace('/', '.')}"

    @property
    def keras_shape(self) -> tuple[int, ...]:
        """The shape of its Keras variable, or of its row in one."""
        weight = self.weight
        base = weight.unmerged or weight.shape
        if weight.permute is None or len(weight.permute) != len(base):
            return base
        return tuple(base[weight.permute.index(axis)] for axis in range(len(base)))


def targets(graph: Graph) -> Iterator[Target]:
    """All weights of a program, in the order of its state dict."""
    origins = Origins(graph)
    for path, op in layers(graph):
        assert op.layer is not None
        name = op.layer.spec_name
        default = name in NORMALIZATIONS and "epsilon" not in op.layer.model_fields_set
        for weight in op.weights():
            flattened = origins.flattened(op) if name == "Dense" and len(weight.shape) == 2 else None
            yield Target(f"{path}.{weight.name}", path, weight, name, flattened, default)
    yield from parameters(graph)


def parameters(graph: Graph, prefix: str = "") -> Iterator[Target]:
    """Those that are no layer's."""
    for op in graph.ops:
        if op.parameter is not None:
            path = f"{prefix}{attribute(op.node)}" + ("" if op.index is None else f".{op.index}")
            yield Target(path, path, op.parameter)
    for unit in graph.units:
        if unit.first_call.graph is not None:
            yield from parameters(unit.first_call.graph, key_prefix(prefix, unit))


class Origins:
    """Where the values of a graph come from, through blocks and models."""

    def __init__(self, graph: Graph):
        self.outside: dict[Value, Value] = {}
        self.inside: dict[Value, Value] = {}
        for op in graph.walk():
            if op.graph is None or op.wrapper is not None:
                continue
            for inner, outer in op.passed():
                if inner is not None and isinstance(outer, Value):
                    self.outside.setdefault(inner, outer)
            self.inside |= {op.outputs[key]: value for key, value in op.results.items() if key in op.outputs}

    def origin(self, value: Value) -> Value:
        """The value that a value is, on the other side of blocks' borders and of nodes that are left out."""
        while True:
            op = value.op
            if op is not None and not op.present and op.inputs:
                value = op.inputs[0]
            elif value in self.inside:
                value = self.inside[value]
            elif value in self.outside:
                value = self.outside[value]
            else:
                return value

    def flattened(self, op: Op) -> tuple[int, ...] | None:
        """The sizes that the columns of a Dense run over, where PyTorch would have them channels first."""
        tensor = self._flat_source(op)
        sizes = tensor.shape[1:] if tensor is not None else ()
        known = tuple(size for size in sizes if isinstance(size, int))
        if len(sizes) < 2 or len(known) < len(sizes):
            return None
        if known[-1] == 1 or all(size == 1 for size in known[:-1]):
            return None
        return known

    def _flat_source(self, op: Op) -> Tensor | None:
        """The image, volume or sequence of channels that becomes the vectors that a layer reads."""
        while op.inputs:
            value = self.origin(op.inputs[0])
            if value.op is None or value.op.layer is None or value.op.wrapper is not None:
                return None
            op = value.op
            if value.tensor.rank != 2 or not op.inputs:
                return None
            before = op.inputs[0].tensor
            if before.rank > 2:
                rearranges = op.layer is not None and op.layer.rearranges
                return before if rearranges and self._has_channels(op.inputs[0]) else None
            if op.layer is None or (op.weights() and op.layer.spec_name != "BatchNormalization"):
                return None
        return None

    def _has_channels(self, value: Value) -> bool:
        """Whether PyTorch's layers would have made a value with channels first."""
        while True:
            value = self.origin(value)
            op = value.op
            if op is None:
                return value.tensor.rank > 3
            if op.layer is None or op.wrapper is not None or not op.inputs:
                return False
            wish: str = wished(op.layer, op)
            if wish != "any":
                return wish == "first"
            if op.inputs[0].tensor.rank != value.tensor.rank:
                return False
            value = op.inputs[0]


def wished(layer: Layer, op: Op) -> Any:
    """How a layer wants its input to lie in memory."""
    return layer.memory(*op.site().inputs)
