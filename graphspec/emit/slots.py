"""A graph as its class will be written: one slot for each node, and how the instances of a repeated node
are wired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphspec.graph import Graph, Op, Value

Ref = tuple[Any, ...]
"""Where a value comes from, in terms that equal bodies share: ("in", name), ("out", slot, key) for the last
or only instance,
("item", slot, key, number) for another, ("all", slot, key) for all instances."""


@dataclass(eq=False, slots=True)
class Slot:
    """One node: its op, or the ops of its instances. `loop` where they can be written as one loop."""

    node: str
    ops: list[Op]
    position: int
    loop: bool = False
    carried: dict[int, str] = field(
        default_factory=dict
    )  # argument number -> output that feeds it in the next instance

    @property
    def op(self) -> Op:
        return self.ops[0]

    @property
    def repeated(self) -> bool:
        return self.op.repeated is not None


def slots_of(graph: Graph) -> list[Slot]:
    """The slots of a graph, in order. The instances of one node follow one another."""
    slots: list[Slot] = []
    for op in graph.ops:
        if slots and slots[-1].node == op.node and op.repeated is not None:
            slots[-1].ops.append(op)
        else:
            slots.append(Slot(op.node, [op], len(slots)))
    return slots


class Wiring:
    """Where each value of a graph comes from."""

    def __init__(self, graph: Graph, slots: list[Slot]):
        self.graph, self.slots = graph, slots
        self._source: dict[Value, Ref] = {
            v: ("in", name) for name, v in graph.inputs.items() if v is not None
        }
        for slot in slots:
            last = slot.ops[-1]
            for op in slot.ops:
                for key, value in op.outputs.items():
                    plain = op is last and op.repeated != "parallel"
                    number = (slot.ops.index(op) if op.index is None else op.index) if not plain else None
                    self._source[value] = (
                        ("out", slot.position, key) if plain else ("item", slot.position, key, number)
                    )
        for slot in slots:
            slot.carried = chain(slot)
            slot.loop = slot.repeated and self._is_loop(slot)

    def ref(self, value: Value) -> Ref:
        return self._source[value]

    def argument(self, argument: Any) -> Any:
        """The refs of one argument: of a value, or of a tuple of them, where all instances of a node are
        one ref.
        """
        if argument is None:
            return None
        if isinstance(argument, Value):
            return self.ref(argument)
        return tuple(self.group(argument))

    def group(self, values: tuple[Value, ...]) -> Iterator[Ref]:
        """The refs of a list of values, a run of all instances of one node as one."""
        position = 0
        while position < len(values):
            run = self._run(values, position)
            if run is None:
                yield self.ref(values[position])
                position += 1
            else:
                yield run[0]
                position += run[1]

    def _run(self, values: tuple[Value, ...], start: int) -> tuple[Ref, int] | None:
        op = values[start].op
        if op is None or op.repeated is None:
            return None
        slot = self.slots[self.ref(values[start])[1]]
        key = next(k for k, v in op.outputs.items() if v is values[start])
        items = [o.outputs.get(key) for o in slot.ops]
        if (
            op is not slot.op
            or (len(items) < 2 and op.repeated != "parallel")
            or list(values[start : start + len(items)]) != items
        ):
            return None
        return ("all", slot.position, key), len(items)

    def _is_loop(self, slot: Slot) -> bool:
        """Whether all instances read the same values, but for what is chained, or the matching items of
        another node.
        """
        if not all(op.present for op in slot.ops):
            return False
        first = slot.op
        walks = {place for place in range(len(first.arguments)) if self.items(slot, place) is not None}
        for number, op in enumerate(slot.ops[1:], 1):
            if len(op.arguments) != len(first.arguments):
                return False
            for place, argument in enumerate(op.arguments):
                before = slot.ops[number - 1].outputs.get(slot.carried.get(place, "?"))
                if place in slot.carried:
                    if argument is not before and argument != (before,):
                        return False
                elif self.argument(argument) != self.argument(first.arguments[place]) and place not in walks:
                    return False
        return True

    def items(self, slot: Slot, place: int) -> tuple[int, str, int] | None:
        """For an argument that walks along another node's instances: that slot, the output, and the step,
        1 or -1.
        """
        if any(len(op.arguments) <= place for op in slot.ops):
            return None
        refs = [self.item(op.arguments[place]) for op in slot.ops]
        if len(refs) < 2 or any(ref is None for ref in refs):
            return None
        places = [ref for ref in refs if ref is not None]
        other = self.slots[places[0][0]]
        numbers = [ref[2] for ref in places]
        count = len(other.ops)
        if any(ref[:2] != places[0][:2] for ref in places) or count != len(numbers):
            return None
        if numbers == list(range(count)):
            return other.position, places[0][1], 1
        return (other.position, places[0][1], -1) if numbers == list(range(count))[::-1] else None

    def item(self, argument: Any) -> tuple[int, str, int] | None:
        """The slot, output and number of a value that is one instance's."""
        if not isinstance(argument, Value) or argument.op is None or argument.op.repeated is None:
            return None
        ref = self.ref(argument)
        return ref[1], ref[2], argument.op.index or 0


def chain(slot: Slot) -> dict[int, str]:
    """Which outputs of an instance feed which arguments of the next: by name where a block's agree, else
    first to first.
    """
    op = slot.op
    if op.repeated != "repeat" or not op.outputs:
        return {}
    if op.graph is not None:
        named = {place: name for place, name in enumerate(op.graph.inputs) if name in op.outputs}
        if named:
            return named
    return {0: next(iter(op.outputs))}
