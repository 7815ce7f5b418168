"""The classes of a program: one for each definition, and for each structure that its instances have.

Definitions are written from the inside out, so that a class is final before the blocks that use it.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from graphspec.contract.activations import ACTIVATIONS, LINEAR, ActivationFunction
from graphspec.contract.layer import Code, Ref
from graphspec.contract.scanning import Scanned
from graphspec.elaborated import Elaborated
from graphspec.emit.code import names as names_of
from graphspec.emit.code import template, walk
from graphspec.emit.emitted import EmitOptions
from graphspec.emit.layer_codes import LayerCodes, custom_classes, runs_channels_first
from graphspec.emit.library_source import library_code, needed
from graphspec.emit.module_class import FixedParams, ModuleClass, Varies
from graphspec.emit.openness import open_names
from graphspec.emit.shapes import BodyShape, ShapeMaker, merge
from graphspec.emit.shared_units import SharedUnits
from graphspec.emit.slots import Wiring, aligned, shown, slots_of
from graphspec.emit.template import ClassTemplate, template_of
from graphspec.graph import Definition, Graph, Op, Value
from graphspec.passes.layout import Layout
from graphspec.passes.logits import inside, shared_endings
from graphspec.traced import Symbolic
from graphspec.weights import names

Part = TypeVar("Part")


class Classes(Generic[Part]):
    """All classes of a program, inner blocks before the blocks that use them.

    `write` writes a class whose inner classes are final, or raises `Varies`; what it returns are `parts`.
    `ending` has the activations that `forward(..., logits=True)` leaves off, by value. Blocks in `modules`
    are classes even if they construct nothing.
    """

    def __init__(
        self,
        program: Elaborated,
        write: Callable[[Classes[Part], ModuleClass], Part],
        options: EmitOptions,
        modules: Collection[Definition] = (),
        probes: Mapping[tuple[str, ...], Elaborated] | None = None,
        uses: Mapping[tuple[str, ...], Graph] | None = None,
    ):
        self.probes = probes = probes or {}
        self._root, self._write, self._modules, self.options = program.graph, write, modules, options
        inputs = (self._root.inputs.get(word) for word in program.channels_first)
        self._channels_first = [value for value in inputs if value is not None]
        self.layout = Layout()
        self.groups: list[ModuleClass] = []
        self.parts: list[Part] = []
        self.of: dict[Graph, ModuleClass] = {}
        self.imported: dict[tuple[str, str], str] = {}  # (module, custom class) -> its name in this file
        self._reads: dict[Graph, Counter[Value]] = {}
        self._ops: dict[Op, Op] = {}  # of an instance -> of its class's template
        self._raw: dict[Op, Op] = {}  # the other way round
        self._main = {self._root, *(probe.graph for probe in probes.values())}
        graphs = list(_inner_first(self._root))
        self._probed: dict[Graph, tuple[str, ...]] = {}  # the graphs of other values of params -> these
        for words, probe in probes.items():
            self._probed |= dict.fromkeys(inner := list(_inner_first(probe.graph)), words)
            graphs += inner
        for words, use in (uses or {}).items():
            self._probed |= dict.fromkeys(inner := list(_inner_first(use))[:-1], words)
            graphs += inner
        self._instance_options = {
            op.graph: op.options for graph in graphs for op in graph.ops if op.graph is not None
        }
        self._leaders = _leaders(graphs)
        self._scanned = {
            op.graph for graph in graphs for op in graph.ops if isinstance(op.wrapper, Scanned) and op.graph
        }
        self._recomputed = {op.graph for graph in graphs for op in graph.ops if self.recomputing(op)}
        self._import(graphs)
        self._codes = LayerCodes(graphs, self._runs_first, self.imported, options)
        self.units = SharedUnits([*graphs, *(uses or {}).values()], self._codes, self.of)
        helpers = needed({"freeze", "begin_states", "keep_states", *self._named(graphs)})
        self.helpers = frozenset({*helpers, *_bound(graphs), *self.imported.values()})
        self._open: dict[Graph, frozenset[Symbolic]] = {}
        for root in (*self._main, *(uses or {}).values()):
            self._open |= open_names(root)
        ended = [_logit_values(each) for each in (program, *probes.values())]
        self.ending = shared_endings(set().union(*ended), graphs)
        taken = {names.local(word, self.helpers) for graph in graphs for word in graph.visible}
        taken |= {names.argument(word, self.helpers) for graph in graphs for word in graph.inputs}
        self.space = names.Namespace(names.RESERVED | self.helpers | taken)
        self._root_name = self.space.claim(names.class_name(self._root.definition.title))
        self._named_after: dict[str, Definition] = {}
        self._shapes = ShapeMaker(self._codes, self.of, self.recomputing, self.units, self.ending)
        self._slots = {graph: slots_of(graph) for graph in graphs}
        for bodies in _by_definition(self._root, graphs):
            self._place(bodies)

    # --- what the statements ask for

    @property
    def root(self) -> ModuleClass:
        """The class of the program itself."""
        return self.of[self._root]

    def code(self, op: Op) -> Code:
        """The code of the layer of an op, of an instance or of a template."""
        return self._codes.of(self._raw.get(op, op))

    def ending_of(self, op: Op, key: str) -> str:
        """The activation of an output of a call, of an instance or of a template, whose class has others."""
        return self.ending.get(self._raw.get(op, op).results[key], LINEAR.word)

    def is_held(self, op: Op) -> bool:
        """Whether a layer is only a tensor that the module holds."""
        return op.layer is not None and self.code(op).call == "{self}"

    def reads(self, group: ModuleClass, value: Value) -> int:
        """How often a value of a template is read, by ops and as an output."""
        if group.graph not in self._reads:
            self._reads[group.graph] = Counter(each for op in group.graph.ops for each in op.inputs)
            self._reads[group.graph].update(group.graph.outputs.values())
        return self._reads[group.graph][value]

    def recomputing(self, op: Op) -> str | None:
        """The function that calls an instance whose values are recomputed in the backward pass."""
        if not (op.checkpoint and self.options.training) or op.graph is None:
            return None
        layers = [each for each in op.graph.walk() if each.layer is not None and each.present]
        opaque = any(each.layer is not None and each.layer.opaque for each in layers)
        moving = any(not weight.trainable for each in layers for weight in self.weights(each))
        return "recomputed_with_buffers" if opaque or moving else "recomputed"

    def weights(self, op: Op) -> tuple[Any, ...]:
        """The weights of an op, of an instance or of a template."""
        return self._raw.get(op, op).weights()

    def is_recomputed(self, group: ModuleClass) -> bool:
        """Whether a class has an instance whose values are recomputed."""
        return any(body in self._recomputed for body in group.bodies)

    # --- before anything is placed

    def _import(self, graphs: list[Graph]) -> None:
        """Chooses the names of imports: their own names, unless something else in the file has that name."""
        space = names.Namespace({*names.RESERVED, *library_code().nodes})
        for key in custom_classes(graphs):
            self.imported[key] = self.imported.get(key) or space.claim(key[1])

    def _named(self, graphs: list[Graph]) -> Iterator[str]:
        """The names of library code that the source may use."""
        texts: set[str] = set()
        for op in (op for graph in graphs for op in graph.ops if op.present):
            texts.update(weight.initializer for weight in op.weights())
            for code in self._codes.possible(op) if op.layer is not None else ():
                texts.update(_texts(code))
            if op.wrapper is not None:
                texts |= {op.wrapper.enter_code(), op.wrapper.leave_code()}
            if self.recomputing(op):
                yield from ("recomputed", "recomputed_with_buffers")
        for declared in (value for graph in graphs for value in graph.declared.values()):
            if isinstance(declared, str) and declared in ACTIVATIONS:
                texts.add(ActivationFunction.parse(declared).callable())
        for text in filter(None, texts):
            yield from names_of(template(text))

    def _runs_first(self, op: Op) -> bool:
        return self.layout.op_first(self._ops[op])

    # --- which instances share a class

    def _place(self, bodies: list[Graph]) -> None:
        """Makes the classes of a definition: of first calls and of single ones, then of further calls of one
        module, which share its class or run on it.
        """
        merged = self.options.merged
        if merged:
            aligned([self._slots[body] for body in bodies])
        ranked = any(runs_channels_first(body) for body in bodies)
        kinds: list[tuple[BodyShape, list[Graph]]] = []
        lone: list[tuple[BodyShape, list[Graph]]] = []
        for body in sorted(bodies, key=lambda body: body in self._probed):
            slots, leader = self._slots[body], self._leaders.get(body)
            own_shape = self._shapes.body(body, slots, Wiring(body, slots), ranked)
            for number, (shape, members) in enumerate(kinds):
                may_join = leader in members if leader is not None else merged
                if may_join and (both := merge(shape, own_shape)) is not None:
                    kinds[number] = both, [*members, body]
                    break
            else:
                if body in self._probed:
                    raise FixedParams(self._probed[body])
                (kinds if leader is None else lone).append((own_shape, [body]))
        followers = [body for _, members in kinds for body in self._settle(members)]
        alike: dict[Hashable, list[Graph]] = defaultdict(list)
        for own_shape, (body,) in lone:
            alike[self._leaders[body], own_shape].append(body)
        for members in [*alike.values(), *([body] for body in followers)]:
            self._add(members, self.of[self._leaders[members[0]]])

    def _settle(self, members: list[Graph]) -> list[Graph]:
        """Adds a class of all these bodies; returns further calls of modules that cannot share the class of
        the first call.
        """
        try:
            self._add(members)
            return []
        except Varies:
            followers = [body for body in members if body in self._leaders]
            if not followers:
                raise
        return followers + self._settle([body for body in members if body not in self._leaders])

    def _add(self, members: list[Graph], over: ModuleClass | None = None) -> None:
        group = self._make(members, over)
        part = self._write(self, group)
        group.name = self._name(group)
        self.groups.append(group)
        self.parts.append(part)

    def _make(self, members: list[Graph], over: ModuleClass | None = None) -> ModuleClass:
        """A class of these bodies, laid out, without its arguments."""
        definition = members[0].definition
        rows = shown([self._slots[body] for body in members])
        class_template = template_of(members, rows, self._inner)
        wiring = Wiring(class_template.graph, class_template.slots)
        for slot in class_template.slots:
            slot.loop = any(row[slot.position].loop for row in rows)
        twins: dict[Graph, list[int]] = defaultdict(list)
        for number, body in enumerate(members):
            twins[self._leaders.get(body, body)].append(number)
        group = ModuleClass(
            definition, members, rows, [self._probed[body] for body in members if body in self._probed],
            class_template, wiring, self.helpers,
            [self._instance_options.get(body, {}) for body in members],
            [self._open[body] for body in members],
            [calls for calls in twins.values() if len(calls) > 1],
            over,
        )  # fmt: skip
        if not group.reads_alike:
            raise Varies(definition.title)
        group.numbers = {body: number for number, body in enumerate(members)}
        self._ops |= class_template.ops
        self._raw |= class_template.raw
        self.units.add(class_template)
        for value, mine in class_template.values.items():
            if self.ending.get(value, LINEAR.word) != LINEAR.word:
                self.ending.setdefault(mine, self.ending[value])
            elif mine is value:  # alone, it has no activation to leave off
                self.ending.pop(value, None)
        group.logits = any(value in self.ending for value in class_template.graph.outputs.values())
        is_root = group.is_main = self._root in members
        first = [class_template.values[value] for value in self._channels_first] if is_root else []
        if not self._scanned.isdisjoint(members):
            self.layout.keep_plain(class_template.graph)  # a step gives what the next one takes
        self.layout.run(class_template.graph, first, is_root)
        group.takes = tuple(
            value in self.layout.channels_first for value in class_template.graph.inputs.values() if value
        )
        group.gives = tuple(
            self.layout.gives(class_template.graph, value) for value in class_template.graph.outputs.values()
        )
        self.of |= dict.fromkeys([*members, class_template.graph], group)
        return group

    def _inner(self, graph: Graph) -> tuple[Graph, ClassTemplate]:
        group = self.of[graph]
        return group.graph, group.template

    def may_be_function(self, group: ModuleClass) -> bool:
        """Whether a class that constructs nothing may be written as a function."""
        return (
            self.options.merged
            and self._root not in group.numbers
            and group.definition not in self._modules
            and not self.is_recomputed(group)
            and not any(
                "self" in names_of(template(op.wrapper.leave_code()))
                for op in group.graph.ops
                if op.present and op.wrapper is not None
            )
        )

    def _name(self, group: ModuleClass) -> str:
        if self._root in group.numbers:
            return self._root_name
        if group.is_function or group.over is not None:
            return self.space.claim(group.local(names.function_name(group.definition.title)))
        word = names.class_name(group.definition.title)
        if word in self.space.taken and self._named_after.get(word) != group.definition:
            word = f"{word}Block"
        self._named_after.setdefault(word, group.definition)
        return self.space.claim(word)


def _logit_values(program: Elaborated) -> set[Value]:
    """The values whose last activation `logits=True` leaves off, in all graphs that they pass through."""
    outputs = program.graph.outputs
    named = (name for name, output in program.outputs.items() if output.activation)
    return {each for name in named for each in inside(outputs[name])}


def _texts(code: Code) -> list[str]:
    """All source texts of a layer's code."""
    values, construct = list(code.constants.values()), code.construct
    texts = [code.call, *_activation_texts(code.activation)]
    if construct is not None:
        texts += [construct.target, construct.general or construct.target, construct.around]
        values += [*construct.positional.values(), *(value for value, _ in construct.keyword.values())]
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


def _by_definition(root: Graph, graphs: list[Graph]) -> list[list[Graph]]:
    """All instances of each definition; definitions before those that use them."""
    bodies: dict[Definition, list[Graph]] = defaultdict(list)
    uses: dict[Definition, dict[Definition, None]] = defaultdict(dict)
    for graph in graphs:
        bodies[graph.definition].append(graph)
        for op in graph.ops:
            if op.graph is not None:
                uses[graph.definition][op.graph.definition] = None
    order: dict[Definition, None] = {}

    def visit(definition: Definition) -> None:
        if definition not in order:
            for inner in uses[definition]:
                visit(inner)
            order[definition] = None

    visit(root.definition)
    return [bodies[definition] for definition in order]


def _bound(graphs: list[Graph]) -> Iterator[str]:
    """The variables that the code of wrappers binds around a call."""
    wrappers = (op.wrapper for graph in graphs for op in graph.ops if op.present and op.wrapper is not None)
    for part in (part for wrapper in wrappers for part in walk(template(wrapper.leave_code()))):
        if isinstance(part, ast.Lambda):
            yield from (each.arg for each in part.args.args)
        elif isinstance(part, ast.comprehension):
            yield from names_of(part.target)


def _leaders(graphs: list[Graph]) -> dict[Graph, Graph]:
    """For each further call of a shared block the first call, which is the one that makes its modules; so,
    too, for the blocks inside it.
    """
    leaders: dict[Graph, Graph] = {}

    def follow(graph: Graph, leader: Graph) -> None:
        leaders[graph] = leader
        inner = {(op.node, op.index): op.graph for op in leader.ops}
        for op in graph.ops:
            other = inner.get((op.node, op.index))
            if op.graph is not None and other is not None:
                follow(op.graph, other)

    for graph in reversed(graphs):
        for unit in graph.units:
            for call in unit.calls[1:]:
                if call.graph is not None and unit.first_call.graph is not None and call.graph not in leaders:
                    follow(call.graph, unit.first_call.graph)
    return {graph: _last(leaders, graph) for graph in leaders}


def _last(following: dict[Graph, Graph], graph: Graph) -> Graph:
    while graph in following:
        graph = following[graph]
    return graph
