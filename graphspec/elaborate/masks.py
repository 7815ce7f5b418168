"""Masks of padded steps, carried where Keras carries them: from `mask_zero` and `Masking` to the layers that
read them.

A mask becomes a value of the graph like any other: an op computes it, edges carry it, and it enters a block
as an input. Blocks, models and left-out nodes are transparent to it; nothing is made that no layer reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graphspec.graph import Graph, Op, Value, types
from graphspec.layers.base import Derived, Layer
from graphspec.layers.masking import AllSteps


def carry_masks(root: Graph, judged: Iterable[str]) -> dict[str, Value]:
    """Fills the `mask` arguments of the layers of a program that has been pruned; gives the masks of those
    outputs that are judged.
    """
    carrier = _Carrier(root)
    carrier.fill(root)
    masks = {name: carrier.value(carrier.mask(root.outputs[name])) for name in judged}
    return {name: mask for name, mask in masks.items() if mask is not None}


@dataclass(frozen=True, slots=True)
class _Entry:
    """The mask that a graph's input carries, which enters the graph once something in it reads the mask."""

    graph: Graph
    name: str


@dataclass(frozen=True, slots=True)
class _Made:
    """A mask that an op's layer derives; `op` stands after what computes it."""

    op: Op
    derived: Derived


@dataclass(frozen=True, slots=True)
class _Export:
    """A mask that is made inside an instance, of the output `key` of its op."""

    op: Op
    key: str


_Mask = Value | _Entry | _Made | _Export | None


class _Carrier:
    """`mask` says which mask a value carries, and changes nothing; `value` makes it a value of the graph."""

    def __init__(self, root: Graph):
        self.holders: dict[Graph, Op] = {}
        self.owners: dict[Op, Graph] = {}
        self.entries: dict[Value, _Entry] = {}
        self.values: dict[_Entry | _Made, Value] = {}
        self.masks: dict[Value, _Mask] = {}
        self.unmasked: set[_Entry] = set()  # inputs that get a mask for the sake of another call
        self._register(root)
        self._trace(root)
        self._unify(root)

    def _register(self, graph: Graph) -> None:
        self.entries.update({v: _Entry(graph, name) for name, v in graph.inputs.items() if v is not None})
        for op in graph.ops:
            self.owners[op] = graph
            if op.graph is not None:
                self.holders[op.graph] = op
                self._register(op.graph)

    def _trace(self, graph: Graph) -> None:
        """Asks for all masks in data order, so that no question leads far back."""
        for op in graph.ops:
            if op.graph is not None:
                self._trace(op.graph)
            for value in op.outputs.values():
                self.mask(value)

    def _unify(self, root: Graph) -> None:
        """One body of a shared unit serves all its calls: where one of them has a mask, the others get one
        that masks nothing.
        """
        calls = [op.unit.calls for op in self.holders.values() if op.unit is not None and op.unit.shared]
        places = [(ops, place) for ops in calls for place in range(len(ops[0].arguments))]
        for ops, place in places * 2:  # what is unified may reach another shared unit
            entries = [self._entry(op, place) for op in ops]
            masked = [entry is not None and self._outside(entry) is not None for entry in entries]
            if any(masked) and not all(masked):
                self.unmasked |= {e for e, m in zip(entries, masked, strict=True) if e is not None and not m}
                self.masks.clear()
                self._trace(root)

    def _entry(self, op: Op, place: int) -> _Entry | None:
        assert op.graph is not None
        value = list(op.graph.inputs.values())[place]
        return self.entries[value] if value is not None else None

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
            return tuple(self._source(each, op) for each in taken)
        given = dict(zip((argument.name for argument in layer.arguments), op.arguments, strict=True))
        carried = {argument.name for argument in layer.arguments if argument.carried}
        tensors = [name for name, argument in given.items() if argument is not None]
        for name in tensors:
            mask = "mask" if len(tensors) == 1 else f"{name}_mask"
            if mask in carried and given[mask] is None and isinstance(given[name], Value):
                given[mask] = self.value(self.mask(given[name]))
        return tuple(given.values())

    # --- which mask a value carries

    def mask(self, value: Value) -> _Mask:
        """The mask that a value carries."""
        if value not in self.masks:
            self.masks[value] = self._found(value)
        return self.masks[value]

    def _found(self, value: Value) -> _Mask:
        op = value.op
        if op is None:
            entry = self.entries[value]
            return entry if self._outside(entry) is not None else None
        if not op.present:
            return self.mask(op.inputs[0])
        if op.graph is not None and op.wrapper is None:
            key = next(key for key, output in op.outputs.items() if output is value)
            inner = self.mask(op.results[key])
            passed = isinstance(inner, _Entry) and inner.graph is op.graph
            return self._outside(inner) if passed else inner and _Export(op, key)  # type: ignore[arg-type]
        layer = op.layer if op.wrapper is None else op.wrapper
        return self._of_layer(op, layer) if layer is not None and value is op.output else None

    def _of_layer(self, op: Op, layer: Layer) -> _Mask:
        if not layer.supports_masking and type(layer).mask is Layer.mask:
            return None
        masks = [self._grouped(argument) for argument in op.arguments]
        names = [argument.name for argument in layer.arguments]
        if not layer.variadic and "mask" in names and op.arguments[names.index("mask")] is not None:
            masks[0] = op.arguments[names.index("mask")]
        mask = layer.mask(op.arguments, tuple(masks))
        return _Made(op, mask) if isinstance(mask, Derived) else mask

    def _grouped(self, argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(self._grouped(item) for item in argument)
        return self.mask(argument) if isinstance(argument, Value) else None

    def _outside(self, entry: _Entry) -> _Mask:
        """The mask of what is passed for a graph's input."""
        holder = self.holders.get(entry.graph)
        if holder is None or holder.wrapper is not None:
            return None
        argument = holder.arguments[list(entry.graph.inputs).index(entry.name)]
        if not isinstance(argument, Value):
            return None
        if entry in self.unmasked:
            return _Made(holder, Derived(AllSteps(), (argument,)))
        return self.mask(argument)

    # --- masks as values

    def value(self, mask: _Mask) -> Value | None:
        """A mask as a value of the graph that it belongs to."""
        if isinstance(mask, _Export):
            return self._exported(mask.op, mask.key)
        if not isinstance(mask, _Entry | _Made):
            return mask
        if mask not in self.values:
            self.values[mask] = self._entered(mask) if isinstance(mask, _Entry) else self._computed(mask)
        return self.values[mask]

    def _entered(self, entry: _Entry) -> Value:
        holder = self.holders[entry.graph]
        outer = self.value(self._outside(entry))
        assert outer is not None
        name = self._free(entry.graph, f"{entry.name}_mask")
        holder.arguments = (*holder.arguments, outer)
        entry.graph.inputs[name] = Value(outer.tensor, name)
        return entry.graph.inputs[name]  # type: ignore[return-value]

    def _exported(self, op: Op, key: str) -> Value:
        """Makes the mask of an inner value an output, of all ops that are one class when emitted."""
        word = f"{key}_mask" if key else "mask"
        shared = op.unit is not None and op.unit.shared
        mates = op.unit.calls if shared else [o for o in self.owners[op].ops if o.node == op.node]  # type: ignore[union-attr]
        for mate in mates:
            if word not in mate.outputs and mate.graph is not None:
                inner = self.value(self.mask(mate.results[key]))
                if inner is not None:
                    mate.outputs[word] = Value(inner.tensor, f"{mate.node}_{word}", mate)
                    mate.results[word] = mate.graph.outputs[word] = inner
        return op.outputs[word]

    def _source(self, source: Any, op: Op) -> Value:
        """What an op computes on: an input, a mask, or what is derived for it."""
        value = self.value(_Made(op, source) if isinstance(source, Derived) else source)
        assert value is not None
        return value

    def _computed(self, made: _Made) -> Value:
        """The value of a derived mask or tensor, by an op of its own before the one that it is for."""
        op, layer = made.op, made.derived.layer
        sources = tuple(self._source(source, op) for source in made.derived.sources)
        graph, tensor = self.owners[op], layer.infer(*(types(source) for source in sources))
        assert not isinstance(tensor, tuple)
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        name = self._free(graph, f"{word}_mask" if tensor.dtype == "bool" else f"{word}_masked")
        computed = Op(name, None, op.span, "op", sources, layer=layer, title=layer.spec_name)
        computed.outputs[""] = Value(tensor, name, computed)
        alike = [place for place, other in enumerate(graph.ops) if other.node == op.node]
        chained = op.repeated == "repeat" and op.index  # what it reads comes out of the instance before
        graph.ops.insert(alike[-1] + 1 if chained else alike[0], computed)
        self.owners[computed] = graph
        return computed.output

    @staticmethod
    def _free(graph: Graph, word: str) -> str:
        """A name for a mask that no node or input of the graph has."""
        taken = {*graph.inputs, *(op.node for op in graph.ops), *(unit.name for unit in graph.units)}
        number, name = 1, word
        while name in taken:
            number += 1
            name = f"{word}_{number}"
        return name
