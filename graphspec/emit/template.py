"""A class's definition as a graph: all its instances as one, with every node that any of them has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from graphspec.emit.slots import Slot
from graphspec.graph import Graph, Op, Unit, Value


@dataclass(eq=False, slots=True)
class ClassTemplate:
    """The graph that a class is written from, and how its instances correspond to it.

    `values`, `ops` and `units` give for each of an instance the one of the template; `instances` gives for a
    value of the template that of each instance, or None; `passed` is what an optional node passes on where an
    instance lacks it; `raw` the op that an op of the template was made from.
    """

    graph: Graph
    slots: list[Slot] = field(default_factory=list)
    values: dict[Value, Value] = field(default_factory=dict)
    ops: dict[Op, Op] = field(default_factory=dict)
    units: dict[Unit, Unit] = field(default_factory=dict)
    instances: dict[Value, list[Value | None]] = field(default_factory=dict)
    passed: dict[int, Value | None] = field(default_factory=dict)
    raw: dict[Op, Op] = field(default_factory=dict)
    _places: dict[Op, int] = field(default_factory=dict)  # op -> the place of its slot

    def translated(self, argument: Any) -> Any:
        """An argument of an instance's op, in values of the template."""
        if isinstance(argument, tuple):
            return tuple(self.translated(item) for item in argument)
        return self.values[argument] if argument is not None else None

    def add(self, node: str, ops: list[Op]) -> None:
        """Adds a node."""
        self._places |= dict.fromkeys(ops, len(self.slots))
        self.slots.append(Slot(node, ops, len(self.slots)))


Inner = Callable[[Graph], "tuple[Graph, ClassTemplate]"]
"""The graph and the template of the class of an inner instance."""


def template_of(bodies: list[Graph], slots: list[list[Slot]], inner: Inner) -> ClassTemplate:
    """The template of instances of one structure; `slots` are those of each."""
    first = bodies[0]
    if len(bodies) == 1 and all(op.graph is None and op.outputs for op in first.ops):
        return _itself(first, slots[0])
    graph = replace(first, inputs={}, units=[], ops=[], outputs={})
    template = ClassTemplate(graph)
    for word in first.inputs:
        inputs = [body.inputs[word] for body in bodies]
        value = next((each for each in inputs if each is not None), None)
        graph.inputs[word] = Value(value.tensor, value.name) if value is not None else None
        _correspond(template, graph.inputs[word], inputs)
    _add_units(template, bodies)
    for position, slot in enumerate(slots[0]):
        rows = [of_body[position].ops for of_body in slots]
        chosen = max(rows, key=_completeness)
        ops = [_copy(template, op, inner) for op in chosen]
        if len(ops) == 1 and None in ops[0].arguments:
            ops[0].arguments = tuple(_of_any(template, rows, place) for place in range(len(ops[0].arguments)))
        template.add(slot.node, ops)
        _link(template, rows, ops)
        if len(ops) == 1 and ops[0].present:
            lacking = next((row[0] for row in rows if not row[0].present), None)
            if lacking is not None:
                template.passed[position] = template.values[lacking.inputs[0]] if lacking.inputs else None
        graph.ops += ops
    for key, value in first.outputs.items():
        graph.outputs[key] = template.values[value]
    return template


def _itself(graph: Graph, slots: list[Slot]) -> ClassTemplate:
    """The template of a single instance without inner ones."""
    template = ClassTemplate(graph)
    for slot in slots:
        template.add(slot.node, slot.ops)
    values = [*graph.inputs.values(), *(value for op in graph.ops for value in op.outputs.values())]
    template.values = {value: value for value in values if value is not None}
    template.instances = {value: [value] for value in template.values}
    template.ops = template.raw = {op: op for op in graph.ops}
    template.units = {unit: unit for unit in graph.units}
    return template


def _of_any(made: ClassTemplate, rows: list[list[Op]], place: int) -> Any:
    """An argument of a node's only op, from an instance that has it."""
    arguments = (row[0].arguments[place] for row in rows if len(row[0].arguments) > place and row[0].present)
    return next((made.translated(argument) for argument in arguments if argument is not None), None)


def _completeness(ops: list[Op]) -> tuple[int, int]:
    """How much of a node an instance has: its instances, and what they are given."""
    return sum(op.present for op in ops), sum(argument is not None for op in ops for argument in op.arguments)


def _correspond(made: ClassTemplate, value: Value | None, instances: list[Value | None]) -> None:
    if value is None:
        return
    made.instances[value] = instances
    for each in instances:
        if each is not None:
            made.values.setdefault(each, value)


def _add_units(made: ClassTemplate, bodies: list[Graph]) -> None:
    """The units of all instances, each once: those of equal names are one."""
    known: dict[tuple[str, int | None], Unit] = {}
    for unit in (unit for body in bodies for unit in body.units):
        key = unit.name, unit.index
        if key not in known:
            known[key] = replace(unit, calls=[])
            made.graph.units.append(known[key])
        made.units[unit] = known[key]


def _copy(made: ClassTemplate, op: Op, inner: Inner) -> Op:
    """An op of an instance as one of the template: what it reads and gives is the template's."""
    new = replace(op, arguments=tuple(map(made.translated, op.arguments)), outputs={})
    new.outputs = {key: Value(value.tensor, value.name, new) for key, value in op.outputs.items()}
    made.values |= {value: new.outputs[key] for key, value in op.outputs.items()}
    if op.layer is not None and op.present and not op.inner:
        new.inner = op.site().inputs
    if op.graph is not None:
        new.graph, child = inner(op.graph)
        new.results = {key: child.values[value] for key, value in op.results.items()}
    if op.unit is not None:
        new.unit = made.units.get(op.unit, op.unit)
        if op.unit in made.units:
            new.unit.calls.append(new)
    made.raw[new] = op
    return new


def _link(made: ClassTemplate, rows: list[list[Op]], ops: list[Op]) -> None:
    """Connects the instances' ops of a node with those of the template: the last with the last, where a node
    is repeated less often in an instance.
    """
    instances: dict[Value, list[Value | None]] = {
        value: [None] * len(rows) for op in ops for value in op.outputs.values()
    }
    for body, row in enumerate(rows):
        ends = [] if ops[0].repeated == "parallel" else [(row[-1], ops[-1])]
        for theirs, mine in [*ends, *zip(row, ops, strict=False)]:
            made.ops.setdefault(theirs, mine)
            if not theirs.outputs:
                continue
            for key, value in theirs.outputs.items():
                same = mine.outputs.get(key, mine.output)
                made.values.setdefault(value, same)
                if instances[same][body] is None:
                    instances[same][body] = value
    made.instances |= instances
