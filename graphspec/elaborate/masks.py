"""Masks of padded steps, carried where Keras carries them: from `mask_zero` and `Masking` to the layers that
read them.

A mask becomes a value of the graph like any other: an op computes it, edges carry it, and it enters a block
as an input. Blocks, models and left-out nodes are transparent to it; nothing is made that no layer reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphspec.graph import Graph, Op, Value, types
from graphspec.layers.base import Derived, Layer
from graphspec.layers.masking import AllSteps


def carry_masks(root: Graph) -> None:
    """Fills the `mask` arguments of the layers of a program that has been pruned."""
    _Carrier(root).fill(root)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The mask that a graph's input carries, which enters the graph once something in it reads the mask."""

    graph: Graph
    name: str


_Mask = Value | _Entry | None


class _Carrier:
    def __init__(self, root: Graph):
        self.root = root
        self.holders: dict[Graph, Op] = {}
        self.owners: dict[Op, Graph] = {}
        self.entries: dict[Value, _Entry] = {}
        self.entered: dict[_Entry, Value] = {}
        self.masks: dict[Value, _Mask] = {}
        self.derived: dict[tuple[Op, Derived], Value] = {}
        self._register(root)

    def _register(self, graph: Graph) -> None:
        self.entries.update({v: _Entry(graph, name) for name, v in graph.inputs.items() if v is not None})
        for op in graph.ops:
            self.owners[op] = graph
            if op.graph is not None:
                self.holders[op.graph] = op
                self._register(op.graph)

    def fill(self, graph: Graph) -> None:
        """Gives the ops of a graph, and of those inside it, the masks that they take."""
        for op in list(graph.ops):
            if op.graph is not None:
                self.fill(op.graph)
            elif op.present and op.layer is not None and op.wrapper is None:
                op.arguments = self._filled(op, op.layer)

    def _filled(self, op: Op, layer: Layer) -> tuple[Any, ...]:
        """The arguments with `mask`, that of the only tensor, or the `<name>_mask` of each of several."""
        if layer.variadic:
            masks = tuple(self._grouped(argument) for argument in op.arguments)
            if all(mask is None for mask in masks):
                return op.arguments
            self.mask(op.output)  # of the inputs as they are, not as they are taken
            taken = layer.masked(op.arguments, masks)
            return tuple(self._value(self._made(each, op), op) for each in taken)
        given = dict(zip((argument.name for argument in layer.arguments), op.arguments, strict=True))
        carried = {argument.name for argument in layer.arguments if argument.carried}
        tensors = [name for name, argument in given.items() if argument is not None]
        for name in tensors:
            mask = "mask" if len(tensors) == 1 else f"{name}_mask"
            if mask in carried and given[mask] is None and isinstance(given[name], Value):
                given[mask] = self._value(self.mask(given[name]), op)
        return tuple(given.values())

    # --- the mask of a value

    def mask(self, value: Value) -> _Mask:
        """The mask that a value carries."""
        if value not in self.masks:
            self.masks[value] = self._computed(value)
        return self.masks[value]

    def _computed(self, value: Value) -> _Mask:
        op = value.op
        if op is None:
            entry = self.entries[value]
            return entry if self._outside(entry) is not None else None
        if not op.present:
            return self.mask(op.inputs[0])
        if op.graph is not None and op.wrapper is None:
            return self._through(op, next(key for key, output in op.outputs.items() if output is value))
        layer = op.layer if op.wrapper is None else op.wrapper
        if layer is None or value is not op.output:
            return None
        return self._of_layer(op, layer)

    def _of_layer(self, op: Op, layer: Layer) -> _Mask:
        if not layer.supports_masking and type(layer).mask is Layer.mask:
            return None
        masks = [self._grouped(argument) for argument in op.arguments]
        names = [argument.name for argument in layer.arguments]
        if not layer.variadic and "mask" in names and op.arguments[names.index("mask")] is not None:
            masks[0] = op.arguments[names.index("mask")]
        return self._made(layer.mask(op.arguments, tuple(masks)), op)

    def _grouped(self, argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(self._grouped(item) for item in argument)
        return self.mask(argument) if isinstance(argument, Value) else None

    def _outside(self, entry: _Entry) -> _Mask:
        """The mask of what is passed for a graph's input. One body of a shared unit serves all calls: where
        one of them has a mask, the others have one that masks nothing.
        """
        holder = self.holders.get(entry.graph)
        if holder is None or holder.wrapper is not None:
            return None
        place = list(entry.graph.inputs).index(entry.name)
        argument = holder.arguments[place]
        if not isinstance(argument, Value):
            return None
        found = self.mask(argument)
        if found is None and holder.unit is not None and holder.unit.shared:
            others = [call.arguments[place] for call in holder.unit.calls if call is not holder]
            if any(isinstance(other, Value) and self.mask(other) is not None for other in others):
                found = self._made(Derived(AllSteps(), (argument,)), holder)
        return found

    def _through(self, op: Op, key: str) -> _Mask:
        """The mask of an instance's output: what went in, or one that the instance makes and hands out."""
        inner = self.mask(op.results[key])
        if isinstance(inner, _Entry):
            return self._outside(inner)
        if inner is None:
            return None
        word = f"{key}_mask" if key else "mask"
        for mate in self._mates(op):
            found = self.mask(mate.results[key]) if word not in mate.outputs else None
            if isinstance(found, Value) and mate.graph is not None:
                mate.outputs[word] = Value(found.tensor, f"{mate.node}_{word}", mate)
                mate.results[word] = mate.graph.outputs[word] = found
        return op.outputs[word]

    def _mates(self, op: Op) -> list[Op]:
        """The ops that are one class when emitted: all calls of a unit, all instances of a node."""
        if op.unit is not None and op.unit.shared:
            return op.unit.calls
        return [other for other in self.owners[op].ops if other.node == op.node]

    # --- masks as values

    def _value(self, mask: _Mask, reader: Op) -> Value | None:
        """A mask as a value of the graph that its reader stands in."""
        if not isinstance(mask, _Entry):
            return mask
        if mask not in self.entered:
            holder = self.holders[mask.graph]
            outer = self._value(self._outside(mask), holder)
            assert outer is not None
            name = self._free(mask.graph, f"{mask.name}_mask")
            self.entered[mask] = mask.graph.inputs[name] = Value(outer.tensor, name)
            self.masks[self.entered[mask]] = None  # a mask carries none
            holder.arguments = (*holder.arguments, outer)
        return self.entered[mask]

    def _made(self, mask: Any, op: Op) -> Any:
        """A mask, or another tensor, that a layer derives for `op`, by an op of its own before it."""
        if not isinstance(mask, Derived):
            return mask
        if (op, mask) not in self.derived:
            sources = tuple(self._value(self._made(source, op), op) for source in mask.sources)
            self.derived[op, mask] = self._computed_before(op, mask.layer, sources)
        return self.derived[op, mask]

    def _computed_before(self, op: Op, layer: Layer, sources: tuple[Any, ...]) -> Value:
        graph, tensor = self.owners[op], layer.infer(*(types(source) for source in sources))
        assert not isinstance(tensor, tuple)
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        name = self._free(graph, f"{word}_mask" if tensor.dtype == "bool" else f"{word}_masked")
        made = Op(name, None, op.span, "op", sources, layer=layer, title=type(layer).__name__)
        made.outputs[""] = Value(tensor, name, made)
        alike = [place for place, other in enumerate(graph.ops) if other.node == op.node]
        chained = op.repeated == "repeat" and op.index  # what it reads comes out of the instance before
        graph.ops.insert(alike[-1] + 1 if chained else alike[0], made)
        self.owners[made] = graph
        return made.output

    @staticmethod
    def _free(graph: Graph, word: str) -> str:
        """A name for a mask that no node or input of the graph has."""
        taken = {*graph.inputs, *(op.node for op in graph.ops), *(unit.name for unit in graph.units)}
        number, name = 1, word
        while name in taken:
            number += 1
            name = f"{word}_{number}"
        return name
