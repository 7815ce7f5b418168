"""Which mask a value carries, where Keras carries masks of padded steps: from `mask_zero` and `Masking` to
the layers that read them.

A mask becomes a value of the graph like any other (`masks.py`): an op computes it, edges carry it, and it
enters a block as an input. Blocks, models and left-out nodes are transparent to it; nothing is made that no
layer reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphspec.contract.layer import Derived, Layer
from graphspec.graph import Graph, Op, Value


@dataclass(frozen=True, eq=False, slots=True)
class EnteringMask:
    """The mask of a graph's input, which becomes an input of the graph if something in it reads the mask."""

    graph: Graph
    name: str


@dataclass(frozen=True, eq=False, slots=True)
class DerivedMask:
    """A mask that an op's layer derives, or a tensor that is derived for an op."""

    op: Op
    derived: Derived


@dataclass(frozen=True, eq=False, slots=True)
class LeavingMask:
    """A mask that is made inside an instance, of the output `key` of its op."""

    op: Op
    key: str


Mask = Value | EnteringMask | DerivedMask | LeavingMask | None


class MaskFlow:
    """Determines the mask of each value, without changes to the graph. Each mask is one object.

    `holders` are the ops of inner graphs, `owners` the graphs of ops.
    """

    def __init__(self, root: Graph):
        self.holders: dict[Graph, Op] = {}
        self.owners: dict[Op, Graph] = {}
        self._entries: dict[Value, EnteringMask] = {}
        self._masks: dict[Value, Mask] = {}
        self._made: dict[tuple[Op, Derived], DerivedMask] = {}
        self._exports: dict[tuple[Op, str], LeavingMask] = {}
        self._unmasked: dict[
            EnteringMask, Derived
        ] = {}  # inputs that need a mask for the sake of another call
        self._register(root)
        self._trace(root)
        self._unify(root)

    def _register(self, graph: Graph) -> None:
        self._entries.update(
            {v: EnteringMask(graph, name) for name, v in graph.inputs.items() if v is not None}
        )
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
                self.of(value)

    def _unify(self, root: Graph) -> None:
        """One body of a shared unit serves all its calls: where one call has a mask, the others get a mask
        that masks nothing. Such a mask may reach another shared unit, so this repeats.
        """
        units = {op.unit: None for op in self.holders.values() if op.unit is not None and op.unit.shared}
        while True:
            known = len(self._unmasked)
            for unit in units:
                for place in range(
                    len(unit.first_call.graph.inputs) if unit.first_call.graph is not None else 0
                ):
                    self._unify_calls([self._entry(op, place) for op in unit.calls])
            if len(self._unmasked) == known:
                return
            self._masks.clear()
            self._trace(root)

    def _unify_calls(self, entries: list[EnteringMask | None]) -> None:
        masked = [entry is not None and self.outside(entry) is not None for entry in entries]
        for entry, has in zip(entries, masked, strict=True):
            source = self._first_of_chain(entry) if entry is not None and any(masked) and not has else None
            if entry is not None and source is not None:
                from graphspec.contract.masks import AllSteps

                self._unmasked[entry] = Derived(AllSteps(), (source,))

    def _entry(self, op: Op, place: int) -> EnteringMask | None:
        assert op.graph is not None
        value = list(op.graph.inputs.values())[place]
        return self._entries[value] if value is not None else None

    def _passed(self, graph: Graph, name: str) -> Value | None:
        """The argument for a graph's input, unless a wrapper cuts it up."""
        holder = self.holders.get(graph)
        if holder is None or holder.wrapper is not None:
            return None
        argument = holder.arguments[list(graph.inputs).index(name)]
        return argument if isinstance(argument, Value) else None

    def _first_of_chain(self, entry: EnteringMask) -> Value | None:
        """The argument for an input; of a repeated node the argument of its first instance, where that has as
        many steps: between two instances nothing is computed.
        """
        source = ahead = self._passed(entry.graph, entry.name)
        while ahead is not None and ahead.op is not None and ahead.op.graph is not None:
            if ahead.op.node != self.holders[entry.graph].node:
                break
            ahead = self._passed(ahead.op.graph, entry.name)
            if ahead is not None and source is not None and ahead.tensor.shape[:2] == source.tensor.shape[:2]:
                source = ahead
        return source

    def is_empty(self) -> bool:
        """Whether no value carries a mask."""
        return all(mask is None for mask in self._masks.values())

    # --- which mask a value carries

    def of(self, value: Value) -> Mask:
        """The mask that a value carries."""
        if value not in self._masks:
            self._masks[value] = self._computed(value)
        return self._masks[value]

    def _computed(self, value: Value) -> Mask:
        op = value.op
        if op is None:
            entry = self._entries[value]
            return entry if self.outside(entry) is not None else None
        if not op.present:
            return self.of(op.inputs[0])
        if op.graph is not None and op.wrapper is None:
            key = next(key for key, output in op.outputs.items() if output is value)
            inner = self.of(op.results[key])
            if isinstance(inner, EnteringMask) and inner.graph is op.graph:
                return self.outside(inner)
            return inner and self.export(op, key)
        layer = op.layer if op.wrapper is None else op.wrapper
        return self._of_layer(op, layer) if layer is not None and value is op.output else None

    def _of_layer(self, op: Op, layer: Layer) -> Mask:
        if not layer.supports_masking and type(layer).mask is Layer.mask:
            return None
        masks = [self.grouped(argument) for argument in op.arguments]
        if not layer.variadic and len(op.arguments) > 1:
            by_name = {each.name: value for each, value in zip(layer.arguments, op.arguments, strict=False)}
            masks[0] = by_name["mask"] if by_name.get("mask") is not None else masks[0]
        return self.derived(op, layer.mask(op.arguments, tuple(masks)))

    def grouped(self, argument: Any) -> Any:
        """The masks of an argument, grouped as its tensors are."""
        if isinstance(argument, tuple):
            return tuple(self.grouped(item) for item in argument)
        return self.of(argument) if isinstance(argument, Value) else None

    def outside(self, entry: EnteringMask) -> Mask:
        """The mask of what is passed for a graph's input."""
        passed = self._passed(entry.graph, entry.name)
        mask = self.of(passed) if passed is not None else None
        if mask is None and entry in self._unmasked:
            return self.derived(self.holders[entry.graph], self._unmasked[entry])
        return mask

    def derived(self, op: Op, mask: Mask | Derived) -> Mask:
        """The mask that an op's layer derives; another one as it is."""
        return self._made.setdefault((op, mask), DerivedMask(op, mask)) if isinstance(mask, Derived) else mask

    def export(self, op: Op, key: str) -> LeavingMask:
        """The mask of an output of an instance, made inside."""
        return self._exports.setdefault((op, key), LeavingMask(op, key))
