"""The structure of an instance: what two instances of a definition must have in common to share a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphspec.contract.fields import same
from graphspec.emit.layer_codes import LayerCodes, memory
from graphspec.emit.module_class import ModuleClass
from graphspec.emit.shared_units import SharedUnits
from graphspec.emit.slots import Gather, Slot, SlotOutput, Walk, Wiring, kind_of, output_key
from graphspec.graph import Graph, Op, Value


@dataclass(frozen=True, slots=True)
class OpShape:
    """The properties that two ops must share to share a statement."""

    outputs: tuple[str, ...]
    frozen: bool
    shared: str | None
    wrapper: str | None
    memory: str = ""
    ranks: tuple[int, ...] = ()
    callee: Any = None  # the code of a layer, the class of a block, the initializer of a parameter
    endings: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotShape:
    """The properties that two nodes must share. An absent node has no `ops`, and only passes `passed` on; a
    loop has one op, and the classes of its instances where they differ. `count` says how many instances there
    are, 0 where that differs.
    """

    node: str
    repeated: str | None
    ops: tuple[OpShape | None, ...] = ()
    wires: tuple[Any, ...] = ()
    logits: tuple[Any, ...] = ()
    passed: SlotOutput | None = None
    nothing: bool = False  # where it is left out, it passes on nothing
    loop: bool = False
    walks: tuple[Walk | Gather | None, ...] = ()
    chained: tuple[tuple[int, str], ...] = ()
    classes: tuple[int, ...] = ()
    count: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class BodyShape:
    """The properties that two bodies must share to share a class: nodes, inputs (a rank, or None if one is
    not given), outputs, and the shared modules that it and the blocks inside it call.
    """

    slots: tuple[SlotShape, ...]
    inputs: tuple[tuple[str, int | None], ...]
    outputs: tuple[tuple[str, SlotOutput, bool, int], ...]
    borrowed: tuple[str, ...] = ()  # modules of other classes that they call
    lent: tuple[
        tuple[str, OpShape, tuple[str, ...]], ...
    ] = ()  # their own modules that only inner bodies call


@dataclass(frozen=True, slots=True)
class ShapeMaker:
    """Makes the shapes of instances. `classes` has those of inner instances; `ending` the activations that
    may be left off, by value.
    """

    codes: LayerCodes
    classes: Mapping[Graph, ModuleClass]
    recomputing: Callable[[Op], str | None]
    units: SharedUnits
    ending: Mapping[Value, str]

    def body(self, graph: Graph, slots: list[Slot], wiring: Wiring, ranked: bool) -> BodyShape:
        """The shape of an instance; decides which of its slots are loops. Ranks matter where `ranked`: an
        instance of the definition runs anything with channels at axis 1.
        """
        return BodyShape(
            tuple(self._slot(slot, wiring, ranked) for slot in slots),
            tuple(
                (name, None if value is None else _rank(value) if ranked else 0)
                for name, value in graph.inputs.items()
            ),
            tuple(
                (key, wiring.source(value), value in self.ending, _rank(value) if ranked else 0)
                for key, value in graph.outputs.items()
            ),
            tuple(unit.name for unit in self.units.borrowed(graph)),
            tuple(
                (unit.name, self._op(unit.first_call, ranked, wiring), _fills(unit.first_call))
                for unit in self.units.lent(graph)
            ),
        )

    def _slot(self, slot: Slot, wiring: Wiring, ranked: bool) -> SlotShape:
        if slot.absent:
            passed = wiring.source(slot.op.inputs[0]) if slot.op.inputs else None
            return SlotShape(slot.node, slot.op.repeated, passed=passed, nothing=passed is None)
        shapes = tuple(self._op(op, ranked, wiring) if op.present else None for op in slot.ops)
        wires = tuple(tuple(wiring.argument(argument) for argument in op.arguments) for op in slot.ops)
        if not slot.repeated and shapes[0] is not None:
            over_all = self._over_all(slot.op, shapes[0], wiring)
            if over_all is not None:
                shapes, wires = (over_all[0],), (over_all[1],)
        logits = tuple(tuple(value in self.ending for value in op.outputs.values()) for op in slot.ops)
        slot.loop = (
            self._are_called_alike(slot, shapes)
            and self._loop_logits(slot)
            and self._loop_values(slot)
            and wiring.is_loop(slot)
        )
        if not slot.loop:
            return SlotShape(slot.node, slot.op.repeated, shapes, wires, logits)
        ids = tuple(id(self.classes[op.graph]) for op in slot.ops if op.graph is not None)
        several = len(set(ids)) > 1
        assert shapes[0] is not None
        return SlotShape(
            slot.node,
            slot.op.repeated,
            (replace(shapes[0], callee=None) if several else shapes[0],),
            tuple(None if wiring.walk(slot, place) else wire for place, wire in enumerate(wires[0])),
            logits[-1:],
            loop=True,
            walks=tuple(
                wiring.walk(slot, place) for place in range(len(wires[0])) if place not in slot.carried
            ),
            chained=tuple(sorted((place, output_key(slot.op, word)) for place, word in slot.carried.items())),
            classes=ids if several else (),
            count=len(slot.ops),
        )

    def _endings(self, op: Op, wiring: Wiring) -> tuple[str | None, ...]:
        """The activations of a call's outputs that are left off for logits: None for those that the callee
        applies. Where one of its outputs is read here, it returns logits, and they are applied here.
        """
        ended = {key: value for key, value in op.outputs.items() if op.results.get(key) in self.ending}
        left = [value for value in ended.values() if value in self.ending]
        if len(left) == len(ended) and wiring.read.isdisjoint(left):
            return (None,) * len(left)
        return tuple(self.ending[op.results[key]] for key in ended) if left else ()

    def _callee(self, op: Op, graph: Graph) -> Any:
        """The class of an instance; where a param names it, all classes that are made and called alike."""
        group = self.classes[graph]
        recomputing, kind = self.recomputing(op), kind_of(op)
        shared = op.unit is not None and op.unit.shared
        plain = op.wrapper is None and not shared and not group.logits and not self.units.borrowed(graph)
        if kind is None or recomputing or not plain or group.over is not None:
            return id(group), recomputing
        with_value = tuple(graph.inputs[word] is not None for word in group.inputs)
        arguments = tuple((arg.name, arg.default) for arg in group.args.values())
        return kind, with_value, arguments, group.takes, group.gives

    def _over_all(self, op: Op, shape: OpShape, wiring: Wiring) -> tuple[OpShape, tuple[Any, ...]] | None:
        """The shape and wiring of a merge of all instances of nodes, which may be of any number."""
        if op.layer is None or not op.layer.variadic or op.wrapper is not None:
            return None
        code, sources = self.codes.structural(op), tuple(wiring.group(op.inputs))
        whole = code.whole if len(sources) == 1 else ""
        whole = whole or (code.call if "{list}" in code.call else "")
        if not any(source.all for source in sources) or not whole:
            return None
        ranks = (_rank(op.inputs[0]), _rank(op.output)) if shape.ranks else ()
        return replace(shape, callee=(whole,), ranks=ranks), (sources,)

    def _are_called_alike(self, slot: Slot, shapes: tuple[OpShape | None, ...]) -> bool:
        """Whether one call suits all instances, whatever their classes."""
        if not slot.repeated or None in shapes:
            return False
        if len(set(shapes)) == 1:
            return True
        if any(op.graph is None or op.wrapper is not None or op.checkpoint for op in slot.ops):
            return False
        if any(shape is not None and shape.shared for shape in shapes):
            return False
        calls = set()
        for op, shape in zip(slot.ops, shapes, strict=True):
            assert op.graph is not None and shape is not None
            group = self.classes[op.graph]
            inputs = tuple(word for word in op.graph.inputs if word in group.inputs)
            with_value = tuple(op.graph.inputs[word] is not None for word in inputs)
            calls.add((replace(shape, callee=None), len(inputs), with_value, group.takes, group.gives))
            if group.logits or self.units.borrowed(op.graph):
                return False
        return len(calls) == 1

    def _loop_logits(self, slot: Slot) -> bool:
        """Whether only the last instance of a chain with one output, or none, leaves its activation off."""
        if not any(value in self.ending for op in slot.ops for value in op.outputs.values()):
            return True
        before = any(value in self.ending for op in slot.ops[:-1] for value in op.outputs.values())
        return (
            slot.op.repeated == "repeat"
            and not before
            and len(slot.op.outputs) == 1
            and slot.op.wrapper is None
        )

    def _loop_values(self, slot: Slot) -> bool:
        """Whether the code in `forward` is the same in all instances."""
        codes = [self.codes.structural(op) for op in slot.ops if op.layer is not None]
        if not codes:
            return True
        first = codes[0]
        return all(
            code.activation == first.activation
            and code.constants.keys() == first.constants.keys()
            and all(same(code.constants[k], v) for k, v in first.constants.items())
            for code in codes
        )

    def _op(self, op: Op, ranked: bool, wiring: Wiring) -> OpShape:
        unit = op.unit
        shape = OpShape(
            outputs=tuple(output_key(op, word) for word in op.outputs),
            frozen=unit is not None and not unit.trainable,
            shared=unit.name if unit is not None and unit.shared else None,
            wrapper=repr(op.wrapper) if op.wrapper is not None else None,
            ranks=_ranks(op) if ranked else (),
        )
        if op.graph is not None:
            shape = replace(shape, ranks=shape.ranks[-len(op.outputs) :] if ranked else ())
            return replace(shape, callee=self._callee(op, op.graph), endings=self._endings(op, wiring))
        if op.parameter is not None:
            rank = len(op.parameter.shape)
            return replace(shape, callee=(op.parameter.trainable, rank))
        code = self.codes.structural(op)
        construct = code.construct
        target = construct and (construct.general or construct.target, construct.around)
        return replace(
            shape,
            callee=(code.call, target, tuple(code.constants)),
            memory=memory(op),
        )


def _ranks(op: Op) -> tuple[int, ...]:
    """The ranks of what an op reads and gives; one for all operands of a merge."""
    read = [_rank(value) for value in op.inputs]
    if op.layer is not None and op.layer.variadic and len(set(read)) == 1:
        read = read[:1]
    return (*read, *map(_rank, op.outputs.values()))


def _rank(value: Value) -> int:
    """The rank of a value, negative where it has one element: that has no order of axes."""
    return -value.tensor.rank if value.tensor.is_single else value.tensor.rank


def _fills(op: Op) -> tuple[str, ...]:
    """The statements that fill the weights of a layer."""
    return tuple(weight.initializer for weight in op.weights())


def merge(a: BodyShape, b: BodyShape) -> BodyShape | None:
    """One shape for two bodies, or None if they need two classes."""
    if len(a.slots) != len(b.slots) or len(a.inputs) != len(b.inputs):
        return None
    if replace(a, slots=(), inputs=()) != replace(b, slots=(), inputs=()):
        return None
    slots: list[SlotShape] = []
    for x, y in zip(a.slots, b.slots, strict=True):
        both = _merged(x, y, a, b)
        if both is None:
            return None
        slots.append(both)
    inputs = []
    for (name, rank), (other, same_rank) in zip(a.inputs, b.inputs, strict=True):
        if name != other or (None not in (rank, same_rank) and rank != same_rank):
            return None
        inputs.append((name, same_rank if rank is None else rank))
    return replace(a, slots=tuple(slots), inputs=tuple(inputs))


def _merged(a: SlotShape, b: SlotShape, of_a: BodyShape, of_b: BodyShape) -> SlotShape | None:
    """One shape for a node of two bodies: equal in both, or left out of one."""
    a, b = _walking(a, b, of_a), _walking(b, a, of_b)
    if a.count != b.count:
        a, b = replace(a, count=0), replace(b, count=0)
    if a == b:
        return a
    nothing, passed = a.nothing or b.nothing, a.passed or b.passed
    if a.node != b.node or (a.repeated != b.repeated and not nothing) or (nothing and passed is not None):
        return None
    if a.passed is not None and b.passed is not None and a.passed != b.passed:
        return None
    if a.ops and b.ops:
        wires = _either(a.wires, b.wires, of_a, of_b)
        if wires is None:
            return None
        a, b = (replace(each, passed=passed, nothing=nothing, wires=wires) for each in (a, b))
        return a if a == b else None
    there = a if a.ops else b
    if (
        (passed is None and not nothing)
        or any(map(any, there.logits))
        or len(there.ops) != 1
        or there.ops[0] is None
    ):
        return None
    if len(there.ops[0].outputs) != 1:
        return None
    if there.repeated is None:
        return replace(there, passed=passed, nothing=nothing)
    if nothing or not there.loop or not there.chained:
        return None
    wire = there.wires[there.chained[0][0]]
    return replace(there, passed=passed) if wire in (passed, (passed,)) else None


def _walking(lone: SlotShape, other: SlotShape, body: BodyShape) -> SlotShape:
    """A loop of one instance as `other` is: it iterates over loops of one whose only instance it reads."""
    if not (lone.loop and other.loop and lone.count == 1) or lone.chained != other.chained:
        return lone
    carried = {place for place, _ in lone.chained}
    places = [place for place in range(len(lone.wires)) if place not in carried]
    wires, walks = list(lone.wires), list(lone.walks)
    for number, (place, walk) in enumerate(zip(places, other.walks, strict=False)):
        if not isinstance(walk, Walk) or body.slots[walk.slot].count != 1:
            continue
        if wires[place] in (SlotOutput(walk.key, walk.slot), SlotOutput(walk.key, walk.slot, 0)):
            wires[place], walks[number] = None, walk
    return replace(lone, wires=tuple(wires), walks=tuple(walks))


def _either(a: Any, b: Any, of_a: BodyShape, of_b: BodyShape) -> Any:
    """The wiring of two bodies as one: equal, but for arguments that are given in one of them, by an input or
    a node that the other lacks. None if there is no such wiring.
    """
    if a == b:
        return a
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        parts = tuple(_either(x, y, of_a, of_b) for x, y in zip(a, b, strict=True))
        same = all(part is not None or x is y is None for part, x, y in zip(parts, a, b, strict=True))
        return parts if same else None
    there, lacking = (a, of_b) if b is None else (b if a is None else None, of_a)
    return there if isinstance(there, SlotOutput) and _lacks(lacking, there) else None


def _lacks(body: BodyShape, source: SlotOutput) -> bool:
    """Whether a body, and each whose shape is in its own, has no such input, or nothing at this node."""
    if source.slot is None:
        return dict(body.inputs)[source.key] is None
    slot = body.slots[source.slot]
    return slot.nothing and not slot.ops
