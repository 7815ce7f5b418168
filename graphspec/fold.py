"""A program for inference alone: what acts in training only vanishes, normalizations go into the layers
before them, and layers on one input become one.

A graph is planned (`Plan`), then written anew (`Rewriter`); what happened to its weights is a list of steps,
which `folded_weights.py` takes the state dict of the unfolded module through. Nothing here changes what a
program computes, beyond rounding:

- A normalization goes into a linear layer whose output it alone reads, over that layer's output channels. No
  activation stands between, and no output or path of the spec gives away what the layer computes.
- Of a shared layer all calls fold alike, or none; so do the instances of a repeated node.
- Layers are joined where they read one value, and differ in nothing but their width and activation. Of
  convolutions only those of width 1 that read no less than they write: to cut what is written costs a copy.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from graphspec.elaborate import Elaborated
from graphspec.elaborate.prune import prune
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.layers.base import Layer, Linear
from graphspec.layers.joined import (
    Joined,
    activation_of,
    alone,
    channel_axis,
    of_each_element,
    without_activation,
)
from graphspec.logits import SKIPPED
from graphspec.names import Namespace, attribute

JOINED_NAME = 40
"""Characters that the names of joined layers may have together before the last ones are left off."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """A normalization whose weights go into a linear layer. Both by the prefix of their state-dict keys."""

    into: str
    linear: Linear
    norm: str
    layer: Layer


@dataclass(frozen=True, slots=True)
class Stacked:
    """Linear layers whose kernels, one behind the other, are those of a new one: prefixes of keys, widths."""

    parts: tuple[str, ...]
    widths: tuple[int, ...]
    into: str
    linear: Linear
    bias: bool


Step = Absorbed | Stacked


@dataclass(frozen=True, slots=True)
class Folded:
    """A program for inference, and how its weights come from those of the program that it was, step by step.

    A weight that no step speaks of keeps its key.
    """

    program: Elaborated
    steps: tuple[Step, ...]
    dropped: int

    @property
    def absorbed(self) -> int:
        """How many normalizations went into other layers."""
        return sum(isinstance(step, Absorbed) for step in self.steps)

    @property
    def joined(self) -> tuple[int, ...]:
        """How many layers each joined one stands for."""
        return tuple(len(step.parts) for step in self.steps if isinstance(step, Stacked))

    def summary(self) -> str:
        """What was done, in words."""
        parts = [f"{self.absorbed} normalization{'s' * (self.absorbed != 1)} folded"]
        if self.joined:
            parts.append(f"{sum(self.joined)} layers joined into {len(self.joined)}")
        if self.dropped:
            parts.append(f"{self.dropped} training-only layer{'s' * (self.dropped != 1)} dropped")
        return ", ".join(parts)

    def to_json(self) -> dict[str, int]:
        return {"normalizations": self.absorbed, "joined": sum(self.joined), "dropped": self.dropped}


def fold(program: Elaborated) -> Folded:
    """The program for inference. The one given is left as it is."""
    plans = _plans(program.graph)
    _leave_out(plans)
    rewriter = Rewriter(plans)
    graph = rewriter.graph(program.graph, "", True)
    prune(graph)
    return Folded(dataclasses.replace(program, graph=graph), tuple(rewriter.steps), rewriter.dropped)


def key_prefix(prefix: str, unit: Unit) -> str:
    """What the state-dict keys of a unit begin with."""
    name = attribute(unit.name)
    return f"{prefix}{name}." if unit.index is None else f"{prefix}{name}.{unit.index}."


# --- the plan


@dataclass(eq=False, slots=True)
class Plan:
    """What becomes of the ops of one graph: `gone` ones hand on their first input, `absorbed` ones (which are
    gone, too) go into another, and those of each list in `joined` become one.
    """

    graph: Graph
    gone: set[Op] = field(default_factory=set)
    absorbed: dict[Op, Op] = field(default_factory=dict)
    joined: list[list[Op]] = field(default_factory=list)

    def shape(self, plans: dict[Graph, Plan]) -> Any:
        """The plan in terms of positions, in which those of equal graphs are equal."""
        place = {op: position for position, op in enumerate(self.graph.ops)}
        return (
            [op in self.gone for op in self.graph.ops],
            [(place[norm], place[op]) for norm, op in self.absorbed.items()],
            [[place[op] for op in ops] for ops in self.joined],
            [plans[op.graph].shape(plans) for op in self.graph.ops if op.graph is not None],
        )

    def clear(self, plans: dict[Graph, Plan]) -> None:
        """Leaves this graph and those inside it as they are."""
        self.gone, self.absorbed, self.joined = set(), {}, []
        for op in self.graph.ops:
            if op.graph is not None:
                plans[op.graph].clear(plans)


def _plans(graph: Graph) -> dict[Graph, Plan]:
    """The plans of a graph and of all inside it."""
    plans: dict[Graph, Plan] = {}
    for op in graph.ops:
        if op.graph is not None:
            plans |= _plans(op.graph)
    plans[graph] = _Planner(graph).plan
    for unit in graph.units:
        inner = [plans[op.graph] for op in unit.calls if op.graph is not None]
        if any(plan.shape(plans) != inner[0].shape(plans) for plan in inner[1:]):
            for plan in inner:
                plan.clear(plans)
    return plans


def _leave_out(plans: dict[Graph, Plan]) -> None:
    """A node that is left out of one body, and gone from all others of its definition, is gone there, too:
    the bodies stay one class.
    """
    present: dict[Any, Counter[bool]] = defaultdict(Counter)
    for graph, plan in plans.items():
        for op in graph.ops:
            if op.present:
                present[graph.definition, op.node][op in plan.gone] += 1
    for graph, plan in plans.items():
        for op in graph.ops:
            counts = present[graph.definition, op.node]
            if not op.present and op.inputs and counts[True] and not counts[False]:
                plan.gone.add(op)


class _Planner:
    """Finds what one graph allows."""

    def __init__(self, graph: Graph):
        self.graph, self.plan = graph, Plan(graph)
        self.origin: dict[Value, Value] = {}
        self.readers: dict[Value, list[Op | None]] = defaultdict(list)
        self._trace()
        self._absorb()
        self._join()

    def _source(self, value: Value) -> Value:
        return self.origin.get(value, value)

    def _trace(self) -> None:
        """Who reads what, where left-out and training-only ops are not there. None reads the outputs."""
        for op in self.graph.ops:
            idle = op.present and op.layer is not None and op.layer.training_only
            if idle:
                self.plan.gone.add(op)
            if (idle or not op.present) and op.inputs:
                self.origin[op.output] = self._source(op.inputs[0])
                continue
            for value in op.inputs:
                self.readers[self._source(value)].append(op)
        for value in self.graph.outputs.values():
            self.readers[self._source(value)].append(None)

    def _absorb(self) -> None:
        """Normalizations into the layers before them: all calls of both layers, and all instances of a node,
        or none.
        """
        found = {norm: op for norm in self.graph.ops if (op := self._linear_before(norm)) is not None}
        while True:
            bad = [norm for norm, op in found.items() if not self._whole(norm, op, found)]
            if not bad:
                break
            for norm in bad:
                del found[norm]
        self.plan.absorbed = found
        self.plan.gone |= found.keys()
        for norm, op in found.items():
            self.origin[norm.output] = op.output

    def _linear_before(self, norm: Op) -> Op | None:
        """The op of a linear layer whose output a normalization over its channels alone reads."""
        if not norm.present or norm.layer is None or not norm.inputs:
            return None
        x = norm.site().x
        axis = norm.layer.affine_axis(x.rank)
        source = self._source(norm.inputs[0])
        op = source.op
        if axis is None or op is None or op.layer is None or op.layer.linear() is None:
            return None
        fits = (
            activation_of(op.layer) == "linear"
            and self.readers[source] == [norm]
            and op.wrapper == norm.wrapper
            and channel_axis(op.layer, x.rank) == axis
        )
        return op if fits else None

    def _whole(self, norm: Op, op: Op, found: dict[Op, Op]) -> bool:
        """Whether what holds for these two holds for all ops that share a unit or a node with them."""
        assert norm.unit is not None and op.unit is not None
        pairs = {found.get(call) for call in norm.unit.calls}
        mates = [each for each in self.graph.ops if each.node == norm.node and each.present]
        return (
            None not in pairs
            and pairs == set(op.unit.calls)
            and all(found[call].unit is op.unit for call in norm.unit.calls)
            and all(mate in found for mate in mates)
        )

    def _join(self) -> None:
        """Layers of one kind on one value."""
        rows: dict[Any, list[Op]] = defaultdict(list)
        for op in self.graph.ops:
            if self._joins(op):
                assert op.layer is not None
                rows[self._source(op.inputs[0])].append(op)
        for ops in rows.values():
            while len(ops) > 1:
                first, *rest = ops
                alike = [op for op in rest if _alike(first, op)]
                if alike and _pays([first, *alike]):
                    self.plan.joined.append([first, *alike])
                ops = [op for op in rest if op not in alike]

    def _joins(self, op: Op) -> bool:
        """Whether an op is a layer of its own, which another may be joined with."""
        return (
            op.present
            and op.layer is not None
            and (linear := op.layer.linear()) is not None
            and linear.width is not None
            and op.wrapper is None
            and op.repeated is None
            and len(op.inputs) == 1
            and op.unit is not None
            and not op.unit.shared
        )


def _alike(a: Op, b: Op) -> bool:
    """Whether two layers differ in their width, their activation and what matters in training alone."""
    assert a.layer is not None and b.layer is not None
    if type(a.layer) is not type(b.layer):
        return False
    linear = a.layer.linear()
    assert linear is not None
    return all(
        getattr(a.layer, name) == getattr(b.layer, name)
        for name in type(a.layer).model_fields
        if name not in (linear.width, "activation", "use_bias")
        and not name.endswith(("_initializer", "_regularizer", "_constraint"))
    )


def _pays(ops: list[Op]) -> bool:
    """Whether one layer and a split take less time than these layers."""
    layer = ops[0].layer
    assert layer is not None
    kernel = getattr(layer, "kernel_size", None)
    if kernel is None:
        return True
    read = ops[0].site().x
    written = [op.site().outputs[0].shape[channel_axis(layer, read.rank)] for op in ops]
    channels = read.shape[channel_axis(layer, read.rank)]
    sizes = [size for size in (channels, *written) if isinstance(size, int)]
    return set(kernel) == {1} and len(sizes) == len(ops) + 1 and sizes[0] >= sum(sizes[1:])


# --- the new graph


class Rewriter:
    """Writes graphs anew, and notes what happens to their weights."""

    def __init__(self, plans: dict[Graph, Plan]):
        self.plans = plans
        self.steps: list[Step] = []
        self.dropped = 0
        self._values: dict[Value, Value] = {}

    def graph(self, old: Graph, prefix: str, first: bool) -> Graph:
        """The graph as planned. `prefix` begins its weights' keys; only of the `first` call of shared weights
        is noted what happens to them.
        """
        plan = self.plans[old]
        new = dataclasses.replace(old, inputs={}, units=[], ops=[], outputs={})
        for name, value in old.inputs.items():
            new.inputs[name] = self._value(value, None) if value is not None else None
        if first:
            self._note_absorbed(plan, prefix)
        body = _Body(self, plan, new, prefix, first)
        for op in old.ops:
            body.add(op)
        body.place_units(old)
        new.outputs = {name: self._values[value] for name, value in old.outputs.items()}
        return new

    def _note_absorbed(self, plan: Plan, prefix: str) -> None:
        self.dropped += sum(op.present and op not in plan.absorbed for op in plan.gone)
        noted: set[Unit] = set()
        for norm, op in plan.absorbed.items():
            assert norm.unit is not None and op.unit is not None
            assert norm.layer is not None and op.layer is not None
            linear = op.layer.linear()
            if norm.unit not in noted and linear is not None:
                noted.add(norm.unit)
                into, key = key_prefix(prefix, op.unit), key_prefix(prefix, norm.unit)
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
        """An op of the new graph, which gives what an old one gave."""
        new = dataclasses.replace(
            op, arguments=self.read(op.arguments), unit=unit, graph=graph, layer=layer, outputs={}, results={}
        )
        new.outputs = {key: self._value(value, new) for key, value in op.outputs.items()}
        new.results = {key: self._values[value] for key, value in op.results.items()}
        if unit is not None:
            unit.calls.append(new)
        return new

    def hand_on(self, op: Op) -> None:
        """Says that an op's output is its input."""
        for value in op.outputs.values():
            self._values[value] = self._values[op.inputs[0]]

    def is_now(self, old: Value, new: Value) -> None:
        """Says what an old value is in the new graph."""
        self._values[old] = new


@dataclass(eq=False, slots=True)
class _Body:
    """One graph while it is written."""

    rewriter: Rewriter
    plan: Plan
    new: Graph
    prefix: str
    first: bool
    units: dict[Unit, Unit] = field(default_factory=dict)
    pieces: dict[Op, Value] = field(default_factory=dict)
    absorbing: set[Op] = field(init=False)
    space: Namespace = field(init=False)

    def __post_init__(self) -> None:
        self.absorbing = set(self.plan.absorbed.values())
        taken = {unit.name for unit in self.plan.graph.units} | {op.node for op in self.plan.graph.ops}
        self.space = Namespace(taken | self.plan.graph.inputs.keys())

    def add(self, op: Op) -> None:
        """Writes one op of the old graph, or leaves it off."""
        joined = next((ops for ops in self.plan.joined if op in ops), None)
        if op in self.plan.gone:
            self.rewriter.hand_on(op)
        elif joined is not None:
            if op is joined[0]:
                self._join(joined)
            self._piece(op)
        else:
            self.new.ops.append(self._copied(op))

    def _copied(self, op: Op) -> Op:
        unit = op.unit and self._unit(op.unit)
        graph = None
        if op.graph is not None:
            prefix = key_prefix(self.prefix, op.unit) if op.unit is not None else self.prefix
            first = self.first and op.unit is not None and op is op.unit.first
            graph = self.rewriter.graph(op.graph, prefix, first)
        new = self.rewriter.copy(op, graph, unit, self._layer(op))
        if op in self.absorbing:
            new.given = {key: value for key, value in op.given.items() if key != "use_bias"}
        return new

    def _layer(self, op: Op) -> Layer | None:
        """An op's layer, with a bias where it takes a normalization's offset."""
        if op not in self.absorbing or op.layer is None:
            return op.layer
        return op.layer.model_copy(update={"use_bias": True})

    def _unit(self, old: Unit) -> Unit:
        """The unit of the new graph. Nothing there is trained, or filled from files of its own."""
        if old not in self.units:
            self.units[old] = dataclasses.replace(old, trainable=True, weights=None, calls=[])
        return self.units[old]

    def place_units(self, old: Graph) -> None:
        """Orders the units: shared ones first, the others as their ops stand."""
        self.new.units = [self.units[unit] for unit in old.units if unit.shared and unit in self.units]
        for op in self.new.ops:
            if op.unit is not None and op.unit not in self.new.units[-1:] and not op.unit.shared:
                self.new.units.append(op.unit)

    # --- joined layers

    def _join(self, ops: list[Op]) -> None:
        """Writes the layer that several become, and keeps what it gives each of them."""
        layers = [layer for op in ops if (layer := self._layer(op)) is not None]
        linear = layers[0].linear()
        assert linear is not None and linear.width is not None
        names = [op.node for op in ops]
        word = self.space.claim(_joined_name(names))
        sizes = tuple(getattr(layer, linear.width) for layer in layers)
        bias = any(getattr(layer, "use_bias", False) for layer in layers)
        whole = without_activation(layers[0], **{linear.width: sum(sizes)}, use_bias=bias)
        activation = self._common(layers)
        layer = Joined(layer=whole, sizes=sizes, names=tuple(names), activation=activation)
        unit = Unit(word, None, ops[0].span)
        arguments = self.rewriter.read(ops[0].arguments)
        new = Op(word, None, ops[0].span, "layer", arguments, unit=unit, layer=layer, title=ops[0].title)
        tensors = layer.infer(arguments[0].tensor)
        for op, tensor in zip(ops, tensors, strict=True):
            self.pieces[op] = new.outputs[op.node] = Value(tensor, op.node, new)
        unit.calls.append(new)
        self.new.ops.append(new)
        if self.first:
            parts = tuple(key_prefix(self.prefix, op.unit) for op in ops if op.unit is not None)
            step = Stacked(parts, sizes, key_prefix(self.prefix, unit), linear, bias)
            self.rewriter.steps.append(step)

    def _common(self, layers: list[Layer]) -> str:
        """The activation that runs over all of them at once: one of each element, which all have; not one
        that logits are without.
        """
        activation = activation_of(layers[0])
        equal = all(activation_of(layer) == activation for layer in layers)
        return activation if equal and of_each_element(activation) and activation not in SKIPPED else "linear"

    def _piece(self, op: Op) -> None:
        """What a joined layer gives one of those that it stands for, after the activation of that one."""
        value = self.pieces[op]
        assert op.layer is not None and value.op is not None and isinstance(value.op.layer, Joined)
        activation = activation_of(op.layer)
        if activation != value.op.layer.activation:
            layer = alone(activation)
            new = Op(op.node, None, op.span, "layer", (value,), layer=layer, title=layer.spec_name)
            new.outputs = {"": Value(op.output.tensor, op.node, new)}
            self.new.ops.append(new)
            value = new.output
        self.rewriter.is_now(op.output, value)


def _joined_name(names: list[str]) -> str:
    """`age_income_gender`; of many, as many as fit."""
    word = names[0]
    for name in names[1:]:
        if len(word) + len(name) >= JOINED_NAME:
            return f"{word}_more"
        word = f"{word}_{name}"
    return word
