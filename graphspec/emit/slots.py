"""A graph as its class is written: one slot per node, and the wiring of a repeated node's instances."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, TypeVar

from graphspec.graph import Graph, Op, Value, chained_inputs

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class SlotOutput:
    """The source of a value, in terms that equal bodies share.

    It is an input of the graph, if `slot` is None. Otherwise it is an output of a slot: of its last or only
    instance, of instance number `item`, or with `all` of all instances.
    """

    key: str
    slot: int | None = None
    item: int | None = None
    all: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """An argument that iterates over another slot's instances, from the first or from the last."""

    slot: int
    key: str
    backwards: bool = False


@dataclass(frozen=True, slots=True)
class Gather:
    """An argument that iterates over several values, one for each of parallel instances."""

    sources: tuple[SlotOutput, ...]


@dataclass(eq=False, slots=True)
class Slot:
    """One node: its op, or the ops of its instances. `loop` says, once known, whether they are one loop.

    A node that is repeated 0 times has one op, which is left out.
    """

    node: str
    ops: list[Op]
    position: int
    loop: bool = False
    carried: dict[int, str] = field(default_factory=dict)  # argument -> the output that feeds it in the next

    @property
    def op(self) -> Op:
        return self.ops[0]

    @property
    def there(self) -> Op:
        """The first op that is not left out, if there is one."""
        return next((op for op in self.ops if op.present), self.op)

    @property
    def repeated(self) -> bool:
        return self.op.repeated is not None

    @property
    def count(self) -> int:
        """How many instances the node has, whether they are left out or not."""
        return 0 if self.repeated and self.op.index is None else len(self.ops)

    @property
    def absent(self) -> bool:
        """Whether all instances are left out."""
        return not any(op.present for op in self.ops)


def slots_of(graph: Graph) -> list[Slot]:
    """The slots of a graph, in order. The instances of a node are consecutive."""
    nodes = [list(ops) for _, ops in groupby(graph.ops, lambda op: op.node if op.repeated else op)]
    return [Slot(ops[0].node, ops, position) for position, ops in enumerate(nodes)]


def aligned(rows: list[list[Slot]]) -> None:
    """Adds to the slots of each instance the nodes that only others have, so that all have the same: a node
    whose absence is nothing has no op. Where the orders of nodes differ, nothing is added.
    """
    if len(rows) == 1:
        return
    known = [{slot.node: slot for slot in row} for row in rows]
    if any(len(each) < len(row) for each, row in zip(known, rows, strict=True)):
        return
    order = common_order([list(each) for each in known])
    if not order:
        return
    for row, each in zip(rows, known, strict=True):
        row[:] = [each.get(name) or Slot(name, [_nothing(name)], 0) for name in order]
        for position, slot in enumerate(row):
            slot.position = position


def common_order(rows: Sequence[Sequence[Key]]) -> list[Key]:
    """All keys in an order that agrees with that of each row; none if there is none."""
    order: list[Key] = []
    for row in rows:
        place = 0
        for key in row:
            if key in order:
                place = order.index(key) + 1
            else:
                order.insert(place, key)
                place += 1
    agree = all([key for key in order if key in row] == list(row) for row in rows)
    return order if agree else []


def shown(rows: list[list[Slot]]) -> list[list[Slot]]:
    """The slots of instances that share a class, without those that are nothing in all of them."""
    kept = [place for place, slots in enumerate(zip(*rows, strict=True)) if any(s.op.outputs for s in slots)]
    return [[replace(row[place], position=number) for number, place in enumerate(kept)] for row in rows]


def _nothing(node: str) -> Op:
    return Op(node, None, None, "block", present=False)


class Wiring:
    """The source of each value of a graph."""

    def __init__(self, graph: Graph, slots: list[Slot]):
        self.graph, self.slots = graph, slots
        self.read = {value for op in graph.ops for value in op.inputs}
        self._source = {value: SlotOutput(name) for name, value in graph.inputs.items() if value is not None}
        for slot in slots:
            last = slot.ops[-1]
            for number, op in enumerate(slot.ops):
                for word, value in op.outputs.items():
                    key = output_key(op, word)
                    final = op is last and op.repeated != "parallel"
                    item = None if final or not op.repeated else number
                    self._source[value] = SlotOutput(key, slot.position, item)
        for slot in slots:
            slot.carried = chain(slot)

    def source(self, value: Value) -> SlotOutput:
        return self._source[value]

    def argument(self, argument: Any) -> Any:
        """The sources of one argument: a value, or a tuple of them.

        In a tuple, all instances of one node are one source.
        """
        if argument is None:
            return None
        if isinstance(argument, Value):
            return self.source(argument)
        return tuple(self.group(argument))

    def group(self, values: tuple[Value, ...]) -> Iterator[SlotOutput]:
        """The sources of a list of values. A run of all instances of one node is one source."""
        position = 0
        while position < len(values):
            run = self._run(values, position)
            if run is None:
                yield self.source(values[position])
                position += 1
            else:
                yield run[0]
                position += run[1]

    def _run(self, values: tuple[Value, ...], start: int) -> tuple[SlotOutput, int] | None:
        op = values[start].op
        if op is None or op.repeated is None:
            return None
        position = self.source(values[start]).slot
        assert position is not None
        slot = self.slots[position]
        word = next(k for k, v in op.outputs.items() if v is values[start])
        items = [o.outputs.get(word) for o in slot.ops]
        if (
            op is not slot.op
            or (len(items) < 2 and op.repeated != "parallel")
            or list(values[start : start + len(items)]) != items
        ):
            return None
        return SlotOutput(output_key(op, word), position, all=True), len(items)

    def is_loop(self, slot: Slot) -> bool:
        """Whether all instances of a repeated node are there and read the same values, except for chains and
        another loop's matching items.
        """
        if not slot.repeated or not all(op.present for op in slot.ops):
            return False
        first = slot.op
        walks = {place for place in range(len(first.arguments)) if self.walk(slot, place) is not None}
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

    def walk(self, slot: Slot, place: int) -> Walk | Gather | None:
        """How an argument iterates over the instances of an earlier loop, or over several values."""
        return self._items_of_loop(slot, place) or self._gathered(slot, place)

    def _gathered(self, slot: Slot, place: int) -> Gather | None:
        if slot.op.repeated != "parallel" or any(len(op.arguments) <= place for op in slot.ops):
            return None
        values = [op.arguments[place] for op in slot.ops]
        if not all(isinstance(value, Value) for value in values):
            return None
        sources = tuple(map(self.source, values))
        return Gather(sources) if len(set(sources)) > 1 else None

    def _items_of_loop(self, slot: Slot, place: int) -> Walk | None:
        if any(len(op.arguments) <= place for op in slot.ops):
            return None
        sources = [self._item(op.arguments[place]) for op in slot.ops]
        if len(sources) < 2 or any(source is None for source in sources):
            return None
        known = [source for source in sources if source is not None]
        position, key = known[0].slot, known[0].key
        assert position is not None
        numbers = [source.item for source in known]
        count = len(self.slots[position].ops)
        if any((source.slot, source.key) != (position, key) for source in known) or count != len(numbers):
            return None
        if not self.slots[position].loop:
            return None
        if numbers == list(range(count)):
            return Walk(position, key)
        return Walk(position, key, backwards=True) if numbers == list(range(count))[::-1] else None

    def _item(self, argument: Any) -> SlotOutput | None:
        """The source of a value that belongs to one instance, with its number, even if it is the last one."""
        if not isinstance(argument, Value) or argument.op is None or argument.op.repeated is None:
            return None
        return replace(self.source(argument), item=argument.op.index or 0)


def kind_of(op: Op) -> str | None:
    """The param that names the block of an op, if one does: `block: $kind`."""
    texts = [each.expression.text for each in op.expressions if each.path == ("block",)]
    return texts[0] if texts and texts[0].isidentifier() and texts[0] != "index" else None


def output_key(op: Op, word: str) -> str:
    """The name of an output for all instances of a node: the only one of a block that a param names has no
    name, as each block has its own.
    """
    return "" if len(op.outputs) == 1 and kind_of(op) is not None else word


def chain(slot: Slot) -> dict[int, str]:
    """Which outputs of an instance feed which arguments of the next."""
    op = slot.op
    if op.repeated != "repeat" or not op.outputs or not op.present:
        return {}
    if op.graph is not None:
        places = {name: place for place, name in enumerate(op.graph.inputs)}
        if names := chained_inputs(places, op.outputs):
            return {places[name]: name for name in names}
    return {0: next(iter(op.outputs))}
