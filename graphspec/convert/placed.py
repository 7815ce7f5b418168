"""The nodes of a traced model: functions and layers on tensors that have their batch elsewhere than a spec,
or none, and what is there without a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.convert.arguments import shortened, shortest
from graphspec.convert.config import Call, KerasLayer, KerasModel, KerasTensor, tensors_in
from graphspec.convert.layouts import Layouts, Lone, Shape, batch_place, is_plain, remapped
from graphspec.convert.nodes import ConvertedNode, ConvertedValue, Stored
from graphspec.convert.operations import operation
from graphspec.convert.refusals import Unsupported

OF_LAST_AXIS = ("Embedding", "Dense", "Activation", "Dropout", "LayerNormalization")
"""Layers that compute along the last axis, or each number by itself."""


class PlacedValues:
    """The values of a traced model, by where they have their batch."""

    def __init__(self, model: KerasModel, values: dict[KerasTensor, ConvertedValue]):
        self.values, self.layouts = values, Layouts(values)
        self.timed = False  # the layer at hand reads steps that are merged with the batch
        self.whole = False  # it reads tensors without a batch as they are
        calls = [(call.args, call.kwargs) for layer in model.layers.values() for call in layer.calls]
        self.shapes: dict[KerasTensor, Shape | None] = {t: t.shape for t in tensors_in(calls)}

    def read(self, tensor: KerasTensor) -> ConvertedValue:
        """The value that the current layer reads of a tensor. Raises `Unsupported`."""
        lone = self.layouts.lone(tensor) and not self.whole
        return self.layouts.value(tensor, True) if lone else self.values[tensor]

    def over_steps(self, node: ConvertedNode) -> ConvertedNode:
        """A layer on steps that are merged with the batch: in a spec these are an axis of their own."""
        if not self.timed:
            return node
        if node.form == "call" or node.outputs:
            message = "it reads a tensor whose examples are not on the first axis, one for each"
            raise Unsupported(message, "use TimeDistributed")
        inside = {} if node.body is not None else {"wraps": {"layer": node.what, **node.arguments}}
        wrapper = ConvertedNode(node.name, "layer", "TimeDistributed", inside, node.reads, body=node.body)
        wrapper.stored, wrapper.trainable = node.stored, node.trainable
        return wrapper

    def operation(self, layer: KerasLayer, index: int, call: Call) -> ConvertedNode | None:
        """The node of a function, None where it only names what is there. Some or all of its tensors may have
        no batch, or have it elsewhere than a spec.
        """
        layouts, tensors = self.layouts, list(tensors_in([call.args, call.kwargs]))
        results = [KerasTensor(layer.name, index, output) for output in range(16)]
        shape = self.shapes.get(results[0])
        if all(map(layouts.plain, tensors)) and is_plain(shape):
            return operation(layer, call, self.values)
        named = layouts.same(layer, call, shape) if shape is not None else None
        if named is not None:
            self.values[results[0]] = self.values[tensors[0]]
            layouts.aligned |= {results[0]} if named else set()
            return None
        lone = all(map(layouts.lone, tensors))
        if not lone:
            if all(layouts.lone(tensor) or layouts.plain(tensor) for tensor in tensors) and is_plain(shape):
                return operation(layer, call, self.values, layouts)
            return operation(*remapped(layer, call, layouts, shape), self.values, layouts)
        if shape is None or batch_place(shape) is not None:  # it gives them a batch
            rank = None if shape is None else len(shape)
            met = {tensor: layouts.value(tensor, Lone(tensor).beside(rank).aligned) for tensor in tensors}
            if layer.class_name in ("Tile", "Repeat") and _ones(layer.config["repeats"]):
                self.values[results[0]] = met[tensors[0]]
                return None
            return operation(layer, call, met, lone=True)
        if set(tensors) <= layouts.aligned and shape[:1] == (1,):
            layouts.aligned |= set(results)
            return operation(layer, call, self.values)
        values = {tensor: layouts.value(tensor, False) for tensor in tensors}
        return operation(*remapped(layer, call, layouts, shape), values, lone=True)

    def align(self, layer: KerasLayer, index: int, call: Call) -> None:
        """Finds how a layer reads tensors without a batch: aligned, where they have one of 1, and whole where
        it computes along their last axis.
        """
        tensors = list(tensors_in([call.args, call.kwargs]))
        self.timed = False
        if not all(self.layouts.lone(tensor) or self.layouts.plain(tensor) for tensor in tensors):
            self._along_last(layer, tensors)
        alone = all(map(self.layouts.lone, tensors))
        one = all(tensor in self.layouts.aligned or (tensor.shape or (0,))[0] == 1 for tensor in tensors)
        self.whole = alone and layer.class_name in OF_LAST_AXIS and not set(tensors) & self.layouts.aligned
        if alone and one and not self.whole:
            self.layouts.aligned |= {KerasTensor(layer.name, index, output) for output in range(16)}

    def _along_last(self, layer: KerasLayer, tensors: Sequence[KerasTensor]) -> None:
        """Refuses a layer on tensors whose batch is elsewhere, but for those that see the last axis alone."""
        shape = tensors[0].shape or ()
        fit = layer.class_name in OF_LAST_AXIS and batch_place(shape) != len(shape) - 1
        if layer.class_name == "LayerNormalization":
            fit = fit and layer.config.get("axis") in (-1, [-1], len(shape) - 1, [len(shape) - 1])
        self.timed = not fit and len(tensors) == 1 and batch_place(shape) == 0
        if not fit and not self.timed:
            message = "it reads a tensor whose examples are not on the first axis, one for each"
            raise Unsupported(message, "use TimeDistributed, or layers that take more axes")

    def source(self, layer: KerasLayer, call: Call, stored: Stored) -> ConvertedNode:
        """A tensor that no layer computes: a weight, a constant, or noise in the shape of another tensor."""
        config, result = layer.config, KerasTensor(layer.name, 0, 0)
        shape, kind = tuple(config["shape"]), config["kind"]
        if kind.startswith("random"):
            read = call.args[0]
            if self.layouts.lone(read) and read in self.layouts.aligned:
                self.layouts.aligned.add(result)
            node = ConvertedNode(layer.name, "op", kind, {}, [("like", self.values[read])])
            node.arguments = shortened(REGISTRY["op"][kind], dict(config.get("given") or {}))
            return node
        aligned = len(shape) > 1 and shape[0] == 1
        if aligned:
            self.layouts.aligned.add(result)
        if kind == "constant":
            value = config["value"][0] if aligned else config["value"]
            node = ConvertedNode(layer.name, "constant", shortest(value))
            return node
        node = ConvertedNode(layer.name, "parameter", list(shape[1:] if aligned else shape) or [1])
        node.stored = stored
        node.trainable = config.get("trainable") is not False
        return node


def _ones(repeats: Any) -> bool:
    return all(number == 1 for number in (repeats if isinstance(repeats, list) else [repeats]))
