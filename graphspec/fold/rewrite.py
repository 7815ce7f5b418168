"""Rewrites a graph by the plan, and maps its weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from graphspec.contract.layer import Layer, Linear
from graphspec.fold.plan import FoldPlan
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.weights import key_prefix


@dataclass(frozen=True, slots=True)
class Absorbed:
    """A normalization whose weights go into a linear layer. Both by the prefix of their state-dict keys."""

    into: str
    linear: Linear
    norm: str
    layer: Layer


class Rewriter:
    """Rewrites graphs, and notes what happens to their weights."""

    def __init__(self, plans: dict[Graph, FoldPlan]):
        self.plans = plans
        self.steps: list[Absorbed] = []
        self.dropped = 0
        self.prefixes: dict[Unit, str] = {}  # what the keys of a unit begin with
        self.units: dict[Unit, Unit] = {}  # each of the old graph, and that of the new one
        self._values: dict[Value, Value] = {}

    def graph(self, old: Graph, prefix: str, first_call: bool) -> Graph:
        """The rewritten graph. `prefix` is the prefix of its weights' keys; the steps of shared weights are
        recorded only at the `first_call`.
        """
        plan = self.plans[old]
        self.prefixes |= {unit: key_prefix(prefix, unit) for unit in old.units}
        new = replace(old, inputs={}, units=[], ops=[], outputs={})
        for name, value in old.inputs.items():
            new.inputs[name] = self._value(value, None) if value is not None else None
        if first_call:
            self._note_absorbed(plan)
        body = _Body(self, plan, new, first_call)
        for op in old.ops:
            body.add(op)
        body.place_units(old)
        new.outputs = {name: self._values[value] for name, value in old.outputs.items()}
        return new

    def _note_absorbed(self, plan: FoldPlan) -> None:
        self.dropped += sum(op.present and op not in plan.absorbed for op in plan.gone)
        noted: set[Unit] = set()
        for norm, op in plan.absorbed.items():
            assert norm.unit is not None and op.unit is not None
            assert norm.layer is not None and op.layer is not None
            linear = op.layer.linear()
            if norm.unit not in noted and linear is not None:
                noted.add(norm.unit)
                into, key = self.prefixes[op.unit], self.prefixes[norm.unit]
                self.steps.append(Absorbed(into, linear, key, norm.layer))

    def _value(self, old: Value, op: Op | None) -> Value:
        self._values[old] = Value(old.tensor, old.name, op)
        return self._values[old]

    def read(self, argument: Any) -> Any:
        """An argument of the new graph."""
        if isinstance(argument, tuple):
            return tuple(self.read(item) for item in argument)
        return self._values[argument] if argument is not None else None

    def copy(self, op: Op, graph: Graph | None, unit: Unit | None, layer: Layer | None) -> Op:
        """An op of the new graph, with the outputs of an old one."""
        new = replace(
            op, arguments=self.read(op.arguments), unit=unit, graph=graph, layer=layer, outputs={}, results={}
        )
        new.outputs = {key: self._value(value, new) for key, value in op.outputs.items()}
        new.results = {key: self._values[value] for key, value in op.results.items()}
        if unit is not None:
            unit.calls.append(new)
        return new

    def hand_on(self, op: Op) -> None:
        """Replaces the output of an op by its input."""
        for value in op.outputs.values():
            self._values[value] = self._values[op.inputs[0]]


@dataclass(eq=False, slots=True)
class _Body:
    """One graph while it is written."""

    rewriter: Rewriter
    plan: FoldPlan
    new: Graph
    first_call: bool
    absorbing: set[Op] = field(init=False)

    def __post_init__(self) -> None:
        self.absorbing = set(self.plan.absorbed.values())

    def add(self, op: Op) -> None:
        """Copies one op of the old graph, or leaves it out."""
        if op in self.plan.gone:
            self.rewriter.hand_on(op)
        else:
            self.new.ops.append(self._copied(op))

    def _copied(self, op: Op) -> Op:
        unit = op.unit and self._unit(op.unit)
        graph = None
        if op.graph is not None:
            assert op.unit is not None
            in_this_graph = op.unit in self.plan.graph.units
            first_call = (self.first_call or not in_this_graph) and op is op.unit.first_call
            graph = self.rewriter.graph(op.graph, self.rewriter.prefixes[op.unit], first_call)
        new = self.rewriter.copy(op, graph, unit, self._layer(op))
        if op in self.absorbing:
            new.options = {key: value for key, value in op.options.items() if key != "use_bias"}
        return new

    def _layer(self, op: Op) -> Layer | None:
        """An op's layer, with a bias where it takes a normalization's offset."""
        if op not in self.absorbing or op.layer is None:
            return op.layer
        return op.layer.model_copy(update={"use_bias": True})

    def _unit(self, old: Unit) -> Unit:
        """The unit of the new graph. Nothing there is trained, or filled from files of its own."""
        units = self.rewriter.units
        if old not in units:
            units[old] = replace(old, trainable=True, weights=None, calls=[])
        return units[old]

    def place_units(self, old: Graph) -> None:
        """Orders the units: shared ones first, the others in the order of their ops."""
        units = self.rewriter.units
        self.new.units = [units[unit] for unit in old.units if unit.shared and unit in units]
        for op in self.new.ops:
            if op.unit is not None and op.unit not in self.new.units[-1:] and not op.unit.shared:
                self.new.units.append(op.unit)
