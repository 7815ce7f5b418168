"""Graphs with the repetition in them made explicit: parts, each with all the places where it is.

    Part "bottleneck"     keys and wiring of its items, the same wherever it is
      Instance            one place: the nodes that are there
        Item              one node of the part; several units where it is repeated, each fed to the next
          Node | Instance

The outermost graph is a part with one instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from graphspec.convert.nodes import CalledEntry, ConvertedBody, ConvertedNode, ConvertedValue


class Source(NamedTuple):
    """The source of an item's input: an output of an earlier item of its part; with a negative position, an
    input.
    """

    position: int
    output: int = 0

    @classmethod
    def of_input(cls, number: int) -> Source:
        """An input of the part."""
        return cls(-1 - number)

    @property
    def input(self) -> int | None:
        """The number of the input that it is; None if it is no input."""
        return -1 - self.position if self.position < 0 else None

    def moved(self, position: int) -> Source:
        """The same output of the item at another position."""
        return Source(position, self.output)


class Wire(NamedTuple):
    """The name of a slot of an item, and what it reads there."""

    slot: str
    read: Source | tuple[Source, ...]


Wires = tuple[Wire, ...]


class ItemKey(NamedTuple):
    """The properties that two items must share to be one item of a part: a node that is like no other
    (`alone`), the part that they are instances of, or everything of a node but the values of its arguments.
    """

    kind: Literal["alone", "part", "leaf"]
    what: Any
    repeats: int | None = None  # how often it is repeated, where that differs in arguments


@dataclass(eq=False, slots=True)
class Item:
    """One node of an instance, and its repetitions."""

    units: list[ConvertedNode | Instance]

    def nodes(self) -> Iterator[ConvertedNode]:
        """All nodes inside it."""
        for unit in self.units:
            if isinstance(unit, ConvertedNode):
                yield unit
            else:
                yield from unit.nodes()

    def named(self) -> Iterator[ConvertedNode | Instance]:
        """The named units in it: an attribute of a class has the name of all nodes inside."""
        for unit in self.units:
            if isinstance(unit, ConvertedNode) or (unit.part.classed and unit.name):
                yield unit
            else:
                for item in unit.items:
                    yield from item.named()


@dataclass(eq=False, slots=True)
class Instance:
    """A part at one place. `sources` are the values of its inputs there, and `values` those of its params."""

    part: RepeatedPart
    items: list[Item]
    sources: list[ConvertedValue] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    name: str = ""  # of a model inside the model
    automatic: bool = False

    def nodes(self) -> Iterator[ConvertedNode]:
        """All nodes inside it."""
        for item in self.items:
            yield from item.nodes()

    def value(self, target: Source) -> ConvertedValue:
        """The value of a target in this instance."""
        if target.input is not None:
            return self.sources[target.input]
        unit = self.items[target.position].units[-1]
        if isinstance(unit, ConvertedNode):
            return ConvertedValue(unit, target.output)
        return unit.value(unit.part.outputs[target.output][1])

    def resolve(self) -> None:
        """Fills in the sources of the instances inside it, given its own."""
        for item, wires in zip(self.items, self.part.wiring, strict=True):
            before: ConvertedValue | None = None
            for unit in item.units:
                if isinstance(unit, Instance):
                    unit.sources = [self.value(read) for _, read in wires if isinstance(read, Source)]
                    if before is not None:
                        unit.sources[0] = before
                    unit.resolve()
                    before = unit.value(unit.part.outputs[0][1])


@dataclass(eq=False, slots=True)
class RepeatedPart:
    """A graph that occurs at one or more places."""

    keys: list[ItemKey]
    wiring: list[Wires]
    inputs: list[str]
    outputs: list[tuple[str, Source]]
    instances: list[Instance] = field(default_factory=list)
    name: str = ""
    word: str = ""  # its own name, which others may have, too
    is_model: bool = False  # a model inside the model: it keeps its name
    classed: bool = False  # a class of PyTorch, whose attributes its nodes are called by
    shared: list[CalledEntry] = field(default_factory=list)  # entries that its nodes call
    cohesive: bool = True  # its nodes have a name in common that those around it have not

    def unit(self, position: int) -> ConvertedNode | Instance:
        """An item as it is at the first place."""
        return self.instances[0].items[position].units[0]

    def readers(self) -> list[int]:
        """The last item that reads each item; those that are outputs are read after the end."""
        last = [-1] * len(self.keys)
        for position, wires in enumerate(self.wiring):
            for target in targets(wires):
                if target.input is None:
                    last[target.position] = position
        for _, target in self.outputs:
            if target.input is None:
                last[target.position] = len(self.keys)
        return last


def targets(wires: Wires) -> Iterator[Source]:
    """All targets of an item, in order."""
    for _, read in wires:
        if isinstance(read, Source):
            yield read
        else:
            yield from read


def mapped(wires: Wires, change: Callable[[Source], Source]) -> Wires:
    """The same wires with each target changed."""
    return tuple(
        Wire(slot, change(read) if isinstance(read, Source) else tuple(map(change, read)))
        for slot, read in wires
    )


class Parts:
    """All parts of a model: `root` is the whole, others come after those that they are made of. With `apart`
    bodies of one shape are not one part.
    """

    def __init__(self, body: ConvertedBody, apart: bool = False):
        self.apart = apart
        self.all: list[RepeatedPart] = []
        self.by_shape: dict[Any, RepeatedPart] = {}
        self.inner: dict[int, Instance] = {}  # of bodies that entries and wrappers hold
        self.root = self._part(body, None)

    def _part(self, body: ConvertedBody, name: str | None) -> RepeatedPart:
        """The part of a body: that of another where both have one shape and are inside the model."""
        made_by = {id(item): Source.of_input(number) for number, item in enumerate(body.inputs)}
        keys, wiring, items = [], [], []

        def target(value: ConvertedValue) -> Source:
            return Source(made_by[id(value.maker)].position, value.output)

        for position, node in enumerate(body.nodes):
            unit: ConvertedNode | Instance = node
            if node.form == "block" and node.entry is None:
                assert node.body is not None
                part = self._part(node.body, node.body.name)
                unit, key = part.instances[-1], ItemKey("part", id(part))
                unit.name = node.name
            else:
                key = leaf_key(node)
                if node.body is not None and node.entry is None:
                    self.inner[id(node.body)] = self._part(node.body, node.body.name).instances[-1]
            keys.append(key)
            wiring.append(
                tuple(
                    Wire(slot, target(read) if isinstance(read, ConvertedValue) else tuple(map(target, read)))
                    for slot, read in node.reads
                )
            )
            items.append(Item([unit]))
            made_by[id(node)] = Source(position)
        outputs = [(key, target(value)) for key, value in body.outputs.items()]
        for entry in body.shared:
            if entry.body is not None:
                self.inner[id(entry.body)] = self._part(entry.body, entry.body.name).instances[-1]
        part = RepeatedPart(keys, wiring, [item.name for item in body.inputs], outputs)
        part.shared = body.shared
        if name is not None and not body.shared and not self.apart:
            shape = (tuple(keys), tuple(wiring), tuple(target for _, target in outputs), len(part.inputs))
            part = self.by_shape.setdefault(shape, part)
        if part not in self.all:
            self.all.append(part)
            part.word, part.is_model, part.classed = name or "", name is not None, body.classed
        instance = Instance(part, items)
        part.instances.append(instance)
        if name is None:
            instance.sources = [ConvertedValue(item) for item in body.inputs]
        return part


def leaf_key(node: ConvertedNode) -> ItemKey:
    """The properties that two nodes must share to be one node of a part: everything but the values of
    arguments.
    """
    if node.form == "call" or node.body is not None or node.entry is not None:
        return ItemKey("alone", id(node))
    fixed = tuple(
        (key, repr(value)) for key, value in sorted(node.arguments.items()) if isinstance(value, dict)
    )
    names = tuple(sorted(node.arguments)) if node.form == "op" else ()
    what = len(node.what) if node.form == "parameter" else repr(node.what)
    return ItemKey("leaf", (node.form, what, node.style, node.trainable, fixed, names, node.outputs))
