"""The classes of a program: bodies of the same definition and structure share a class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec import names
from graphspec.contract.activations import ACTIVATIONS, LINEAR, ActivationFunction
from graphspec.contract.layer import Code, Layer, Ref
from graphspec.contract.own import Own
from graphspec.diagnostics import Span
from graphspec.emit.code import names as names_of
from graphspec.emit.code import template
from graphspec.emit.group import ModuleClass, same
from graphspec.emit.library import library, needed
from graphspec.emit.memory import Peaks
from graphspec.emit.slots import Slot, SlotOutput, Walk, Wiring, slots_of
from graphspec.graph import Definition, Graph, Op, Unit, Value
from graphspec.passes.layout import Layout
from graphspec.passes.logits import ending, ends_in, inside


@dataclass(frozen=True, slots=True)
class OpShape:
    """What two ops must have in common to share a statement. An op that is left out has only its node."""

    node: str
    present: bool = True
    outputs: tuple[str, ...] = ()
    frozen: bool = False
    shared: str | None = None
    wrapper: str | None = None
    ranks: tuple[int, ...] = ()
    first: bool = False
    callee: Any = None  # the code of a layer, the class of a block, the initializer of a parameter
    endings: tuple[str | None, ...] = ()
    fills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotShape:
    """What two nodes must have in common: one op or several, with the same wiring. A loop has one shape."""

    node: str
    ops: tuple[OpShape, ...]
    wires: tuple[Any, ...]
    logits: tuple[Any, ...]
    repeated: str | None = None
    loop: bool = False
    walks: tuple[Walk | None, ...] = ()
    chained: tuple[tuple[int, str], ...] = ()
    count: int | None = None
    """How many instances a loop has, where they are not all alike: then they are listed one by one."""


@dataclass(frozen=True, slots=True)
class InputShape:
    """An input: whether its channels are at axis 1 in memory, and its rank, which is 0 if it is not given."""

    name: str
    first: bool
    rank: int


@dataclass(frozen=True, slots=True)
class BodyShape:
    """What two bodies must have in common to share a class: inputs, nodes, outputs."""

    slots: tuple[SlotShape, ...]
    inputs: tuple[InputShape, ...]
    outputs: tuple[tuple[str, SlotOutput, bool, bool], ...]
    borrowed: tuple[str, ...] = ()  # modules of other classes that they call
    lent: tuple[OpShape, ...] = ()  # their own modules that only inner bodies call


class Classes:
    """All classes of a program, inner blocks before the blocks that use them.

    `logits` are the values whose last activation `forward(..., logits=True)` leaves off; `ending` is that
    activation.
    """

    def __init__(
        self, root: Graph, layout: Layout, logits: set[Value], inplace: bool, exporting: bool, training: bool
    ):
        self.root, self.layout, self.inplace, self.exporting = root, layout, inplace, exporting
        self.peaks = Peaks()
        self.groups: list[ModuleClass] = []
        self.of: dict[Graph, ModuleClass] = {}
        self._codes: dict[Op, Code] = {}
        self.imported: dict[tuple[str, str], str] = {}  # (module, custom class) -> its name in this file
        self._calls: dict[Graph, list[Unit]] = {}
        self._by_definition: dict[Definition, list[ModuleClass]] = {}
        graphs = list(_inner_first(root))
        self._reads = Counter(value for graph in graphs for op in graph.ops for value in op.inputs)
        self._reads.update(value for graph in graphs for value in graph.outputs.values())
        self._padded: dict[Op, Layer] = {}  # layers that pad their input themselves
        self._absorbed: set[Op] = set()  # the padding nodes that they replace
        self._peers: dict[tuple[Span | None, str], list[Op]] = defaultdict(list)  # the ops of a node
        self._alike: dict[tuple[Span | None, str], bool] = {}
        for op in (op for graph in graphs for op in graph.ops if op.present and op.layer is not None):
            self._peers[op.span, op.node].append(op)
        self._absorb_pads(graphs)
        self._recomputed = {op for graph in graphs for op in graph.ops if op.checkpoint and training}
        self._import(graphs)
        self.helpers = frozenset({*needed({"freeze", *self._named(graphs)}), *self.imported.values()})
        self.ending = {value: word for value in logits if (word := ends_in(value)) is not None}
        self._share_logits(graphs)
        self.logits = self.ending.keys()
        for graph in graphs:
            self._place(graph.definition, graph)
        self._name()

    def _import(self, graphs: list[Graph]) -> None:
        """Chooses the names of imports: their own names, unless something else in the file has that name."""
        space = names.Namespace({*names.RESERVED, *library().nodes})
        ops = (op for graph in graphs for op in graph.ops if op.present and op.layer is not None)
        for code in (op.layer.code(op.site()) for op in ops if isinstance(op.layer, Own)):
            if code.construct is not None:
                key = code.construct.home, code.construct.target
                self.imported[key] = self.imported.get(key) or space.claim(key[1])

    def _named(self, graphs: list[Graph]) -> Iterator[str]:
        """The names of library code that the source may use."""
        for op in (op for graph in graphs for op in graph.ops if op.present):
            texts = [weight.initializer for weight in op.weights() if weight.initializer]
            texts += _texts(self.code(op)) if op.layer is not None else []
            texts += [op.wrapper.enter_code(), op.wrapper.leave_code()] if op.wrapper is not None else []
            for text in texts:
                yield from names_of(template(text))
        yield from filter(None, map(self.recomputing, self._recomputed))
        for declared in (value for graph in graphs for value in graph.declared.values()):
            if isinstance(declared, str) and declared in ACTIVATIONS:
                yield from names_of(template(ActivationFunction.parse(declared).callable()))

    def _share_logits(self, graphs: list[Graph]) -> None:
        """If one body of a definition must return logits, all do, so that they still share a class."""
        wanted = {
            (g.definition, key) for g in graphs for key, value in g.outputs.items() if value in self.ending
        }
        for graph in reversed(graphs):
            for key, value in graph.outputs.items():
                if (graph.definition, key) in wanted and (word := ends_in(value)) is not None:
                    for each in inside(value):
                        self.ending.setdefault(each, word)

    def code(self, op: Op) -> Code:
        """The code of an op's layer at its site."""
        if op not in self._codes:
            assert op.layer is not None
            first = self.layout.op_first(op)
            if op.wrapper is not None:
                first = op.layer.memory(*op.inner) == "first"
            code = Code("{x}") if op in self._absorbed else self._settled(op, first)
            self._codes[op] = replace(code, inplace=self._overwrites(op, code))
        return self._codes[op]

    def recomputing(self, op: Op) -> str | None:
        """The function that calls an instance whose values are recomputed in the backward pass."""
        if op not in self._recomputed or op.graph is None:
            return None
        layers = [each for each in op.graph.walk() if each.layer is not None]
        opaque = any(each.layer is not None and each.layer.opaque for each in layers)
        moving = any(not weight.trainable for each in layers for weight in each.weights())
        return "recomputed_with_buffers" if opaque or moving else "recomputed"

    def is_recomputed(self, group: ModuleClass) -> bool:
        """Whether a class has such an instance."""
        return any(op.graph in group.numbers for op in self._recomputed)

    def borrowed(self, graph: Graph) -> list[Unit]:
        """The shared units of other graphs that a graph, or one inside it, calls.

        Their modules are passed to its `forward`.
        """
        return [unit for unit in self._called(graph) if unit not in graph.units and self._has_module(unit)]

    def lent(self, graph: Graph) -> list[Unit]:
        """The shared units of a graph that only graphs inside it call."""
        own = {op.unit for op in graph.ops}
        called = (unit for unit in self._called(graph) if unit in graph.units)
        return [unit for unit in called if unit not in own and self._has_module(unit)]

    def _called(self, graph: Graph) -> list[Unit]:
        """The shared units that a graph calls, or that are lent to one inside it."""
        if graph not in self._calls:
            found: dict[Unit, None] = {}
            for op in graph.ops:
                if op.graph is not None:
                    found |= {unit: None for unit in self._called(op.graph) if unit not in op.graph.units}
                if op.unit is not None and op.unit.shared:
                    found[op.unit] = None
            self._calls[graph] = list(found)
        return self._calls[graph]

    def _has_module(self, unit: Unit) -> bool:
        op = unit.first
        if op.graph is not None:
            return not self.of[op.graph].is_function
        return op.layer is not None and self.code(op).construct is not None

    def _settled(self, op: Op, first: bool) -> Code:
        """The code of a layer for its sizes, if all uses of its node share it; otherwise for any size."""
        layer, site = self._padded.get(op, op.layer), replace(op.site(first), exporting=self.exporting)
        assert layer is not None
        code = layer.code(site)
        if code.construct is not None and code.construct.home:
            alias = self.imported[code.construct.home, code.construct.target]
            return replace(code, construct=replace(code.construct, target=alias))
        key = op.span, op.node
        if len(self._peers[key]) <= 1:
            return code
        general = layer.code(replace(site, settled=False))
        if general == code:
            return code
        if key not in self._alike:
            codes = [peer.layer.code(peer.site(first)) for peer in self._peers[key] if peer.layer is not None]
            self._alike[key] = len({(each.call, _target(each)) for each in codes}) == 1
        return code if self._alike[key] else general

    def reads(self, value: Value) -> int:
        """How often a value is read, by ops and as an output."""
        return self._reads[value]

    def is_held(self, op: Op) -> bool:
        """Whether a layer is only a tensor that the module holds."""
        return op.layer is not None and self.code(op).call == "{self}"

    def hands_on(self, op: Op) -> bool:
        """Whether a layer's code only returns its input."""
        code = self.code(op)
        return code.call == "{x}" and code.activation == LINEAR

    def _absorb_pads(self, graphs: list[Graph]) -> None:
        for op in (op for graph in graphs for op in graph.ops if op.present and op.wrapper is None):
            pad = op.inputs[0].op if len(op.inputs) == 1 and op.layer is not None else None
            if (
                pad is None
                or pad.layer is None
                or not (pad.present and pad.inputs)
                or pad.wrapper is not None
            ):
                continue
            assert op.layer is not None
            positive = ending(pad.inputs[0]) in ("relu", "sigmoid", "softmax")
            padded = op.layer.padded(pad.layer, positive) if self._reads[pad.output] == 1 else None
            if padded is not None:
                self._padded[op] = padded
                self._absorbed.add(pad)

    def _overwrites(self, op: Op, code: Code) -> bool:
        """Whether an activation may work in place: on a new tensor without another use, also in gradients."""
        assert op.layer is not None
        if not self.inplace:
            return False
        if op.layer.linear() is not None:
            return True
        source = op.inputs[0].op if len(op.inputs) == 1 and code.call == "{x}" else None
        if source is None or not source.present or source.wrapper is not None or op.wrapper is not None:
            return False
        if self._reads[op.inputs[0]] != 1 or source.layer is None:
            return False
        if source.layer.linear() is not None:
            return self.code(source).activation == LINEAR
        normalized = source.layer.affine_axis(op.inputs[0].tensor.rank) is not None
        return normalized or (source.kind == "merge" and len(source.inputs) > 1)

    def _place(self, definition: Definition, graph: Graph) -> None:
        slots = slots_of(graph)
        wiring = Wiring(graph, slots)
        shape = BodyShape(
            tuple(self._slot_shape(slot, wiring) for slot in slots),
            tuple(
                InputShape(name, v is not None and v in self.layout.first, v.tensor.rank if v else 0)
                for name, v in graph.inputs.items()
            ),
            tuple(
                (key, wiring.source(value), value in self.layout.first, value in self.logits)
                for key, value in graph.outputs.items()
            ),
            tuple(unit.name for unit in self.borrowed(graph)),
            tuple(replace(self._op_shape(unit.first), node=unit.name) for unit in self.lent(graph)),
        )
        for group in self._by_definition.setdefault(definition, []):
            if (merged := merge(group.shape, shape)) is not None:
                group.shape = merged
                group.numbers[graph] = len(group.bodies)
                group.bodies.append(graph)
                group.wiring.add_inputs(graph)
                group.slots.append(slots)
                self.of[graph] = group
                return
        group = ModuleClass(definition, [graph], shape, [slots], wiring, self.helpers)
        group.logits = any(value in self.logits for value in graph.outputs.values())
        group.numbers[graph] = 0
        self.groups.append(group)
        self._by_definition[definition].append(group)
        self.of[graph] = group

    def _slot_shape(self, slot: Slot, wiring: Wiring) -> SlotShape:
        shapes = tuple(self._op_shape(op) for op in slot.ops)
        wires = tuple(tuple(wiring.argument(argument) for argument in op.arguments) for op in slot.ops)
        logits = tuple(tuple(value in self.logits for value in op.outputs.values()) for op in slot.ops)
        alike = len(set(shapes)) == 1 and self._loop_logits(slot) and self._loop_values(slot)
        slot.loop = alike and wiring.is_loop(slot)
        if slot.loop:
            carried = slot.carried
            return SlotShape(
                slot.node,
                shapes[:1],
                tuple(None if wiring.walk(slot, place) else wire for place, wire in enumerate(wires[0])),
                logits[-1],
                slot.op.repeated,
                loop=True,
                walks=tuple(
                    wiring.walk(slot, place) for place in range(len(wires[0])) if place not in carried
                ),
                chained=tuple(sorted(carried.items())),
                count=None if _alike(slot.ops) else len(slot.ops),
            )
        return SlotShape(slot.node, shapes, wires, logits, slot.op.repeated)

    def _loop_logits(self, slot: Slot) -> bool:
        """Whether only the last instance of a chain with one output, or none, leaves its activation off."""
        if not any(value in self.logits for op in slot.ops for value in op.outputs.values()):
            return True
        before = any(value in self.logits for op in slot.ops[:-1] for value in op.outputs.values())
        return (
            slot.op.repeated == "repeat"
            and not before
            and len(slot.op.outputs) == 1
            and slot.op.wrapper is None
        )

    def _loop_values(self, slot: Slot) -> bool:
        """Whether the code in `forward` is the same in all instances."""
        codes = [self.code(op) for op in slot.ops if op.layer is not None]
        if not codes:
            return True
        first = codes[0]
        return all(
            code.activation == first.activation
            and code.constants.keys() == first.constants.keys()
            and all(same(code.constants[k], v) for k, v in first.constants.items())
            for code in codes
        )

    def _op_shape(self, op: Op) -> OpShape:
        if not op.present:
            return OpShape(op.node, present=False)
        unit = op.unit
        shape = OpShape(
            op.node,
            outputs=tuple(op.outputs),
            frozen=unit is not None and not unit.trainable,
            shared=unit.name if unit is not None and unit.shared else None,
            wrapper=repr(op.wrapper) if op.wrapper is not None else None,
        )
        if op.graph is not None:
            endings = tuple(self.ending.get(value) for value in op.outputs.values())
            callee = id(self.of[op.graph]), self.recomputing(op)
            return replace(shape, callee=callee, endings=endings)
        if op.parameter is not None:
            return replace(shape, callee=(op.parameter.trainable, op.parameter.initializer))
        code = self.code(op)
        made = code.construct
        target = made and (made.general or made.target, made.around)
        return replace(
            shape,
            callee=(code.call, target, tuple(code.constants)),
            fills=tuple(weight.initializer for weight in op.weights()),
            first=self.layout.op_first(op),
            ranks=tuple(value.tensor.rank for value in (*op.inputs, *op.outputs.values())),
        )

    def _name(self) -> None:
        words = {
            group.local(word) for group in self.groups for word in (*group.graph.visible, *group.graph.inputs)
        }
        self.space = space = names.Namespace(names.RESERVED | self.helpers | words)
        for group in self.groups:
            group.name = space.claim(names.class_name(group.definition.title))
        if self.groups:  # the program itself keeps its name
            root = self.groups[-1]
            wanted = names.class_name(root.definition.title)
            for group in self.groups[:-1]:
                if group.name == wanted:
                    group.name, root.name = root.name, wanted


def merge(a: BodyShape, b: BodyShape) -> BodyShape | None:
    """One shape for two bodies, or None if they need two classes.

    A node that one body leaves out may be present in the other.
    """
    if len(a.slots) != len(b.slots) or len(a.inputs) != len(b.inputs):
        return None
    if replace(a, slots=(), inputs=()) != replace(b, slots=(), inputs=()):
        return None
    slots = [_merged(x, y) for x, y in zip(a.slots, b.slots, strict=True)]
    inputs = [_either(x, y) for x, y in zip(a.inputs, b.inputs, strict=True)]
    if None in slots or None in inputs:
        return None
    return replace(a, slots=tuple(filter(None, slots)), inputs=tuple(filter(None, inputs)))


def _either(a: InputShape, b: InputShape) -> InputShape | None:
    """One input for two bodies: the same in both, or given in only one."""
    if a.name != b.name or (a.rank and b.rank and a != b):
        return None
    return a if a.rank else b


def _merged(a: SlotShape, b: SlotShape) -> SlotShape | None:
    """One shape for a node of two bodies: equal in both, or left out of one."""
    if a == b:
        return a
    single = len(a.ops) == len(b.ops) == 1 and a.repeated is b.repeated is None
    if a.node != b.node or not single or a.logits != ((False,),) or b.logits != ((False,),):
        return None
    if a.wires[0][:1] != b.wires[0][:1]:
        return None
    return b if not a.ops[0].present else a if not b.ops[0].present else None


def _target(code: Code) -> str:
    return code.construct.target if code.construct is not None else ""


def _texts(code: Code) -> list[str]:
    """All source texts of a layer's code."""
    values, made = list(code.constants.values()), code.construct
    texts = [code.call, *_activation_texts(code.activation)]
    if made is not None:
        texts += [made.target, made.general or made.target, made.around]
        values += [*made.positional.values(), *(value for value, _ in made.keyword.values())]
    return texts + [value.text for value in values if isinstance(value, Ref)]


def _activation_texts(activation: ActivationFunction) -> list[str]:
    """The possible texts of an activation."""
    return [activation.expression(), activation.callable(), *(activation.overwriting or ())]


def _inner_first(graph: Graph) -> Iterator[Graph]:
    """A graph and all graphs inside it, inner ones first."""
    for op in graph.ops:
        if op.graph is not None:
            yield from _inner_first(op.graph)
    yield graph


def _alike(ops: Sequence[Op]) -> bool:
    """Whether instances have the same layers, and weights of the same shapes."""

    def made(op: Op) -> list[Any]:
        inner = [op] if op.graph is None else op.graph.walk()
        return [(each.layer, [weight.shape for weight in each.weights()]) for each in inner]

    first = made(ops[0])
    return all(made(op) == first for op in ops[1:])
