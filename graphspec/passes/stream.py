"""The graph of a step: from the graph of a whole sequence, what computes its next steps from the new ones.

Its inputs are the new steps, one or many, and `places`, [N], how many there were before. What else a layer
needs of them is in states, ops that hold a buffer of the module: written in place, and no part of the state
dict. So the step has the weights of the whole under the same keys, and in one call from place 0 computes the
same. It is for inference: layers that only train are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NoReturn

from graphspec.contract.layer import LayerError
from graphspec.contract.scanning import Scanned
from graphspec.contract.stepping import (
    BegunState,
    CarriedStates,
    PlacesSoFar,
    StateBuffer,
    StepPlaces,
    StepsSoFar,
    last_output,
)
from graphspec.contract.streaming import (
    LONGEST,
    PADDED,
    Roles,
    StepState,
    Streaming,
    still,
    streamed_axes,
    whole,
)
from graphspec.diagnostics import fail
from graphspec.graph import Graph, Op, Unit, Value, replaced, types
from graphspec.passes.ahead import UNKNOWN, Elements, along, elements_of, held
from graphspec.passes.copying import Copy
from graphspec.passes.encoding import encoder_of
from graphspec.passes.opening import open_attention
from graphspec.passes.prune import forget_inputs, prune
from graphspec.tensor import BATCH, Size, Tensor, names_of, symbol, unit_of

PLACES = "places"
"""The input that says how many steps there were."""


UnitPlace = tuple[str, int | None]
"""A unit of a graph: its name, and its number where the node is repeated."""


@dataclass(frozen=True, slots=True)
class Step:
    """The graph of a step, the name of its input `places`, those of its inputs that have new steps, and the
    size of that name: that of the whole.
    """

    graph: Graph
    places: str
    inputs: tuple[str, ...]
    size: str
    encoder: Graph | None = None
    """Computes the states that do not change, once for a sequence; None where the step computes all."""
    encoded: tuple[tuple[UnitPlace, ...], ...] = ()
    """Where these states are, in the order of its outputs."""

    def axis(self, tensor: Tensor) -> int:
        """The axis of an output that has the steps."""
        return tensor.shape.index(symbol(self.size))

    @property
    def states(self) -> list[Tensor]:
        """The types of all states."""
        return [op.output.tensor for op in self.graph.walk() if _holds(op)]

    @property
    def rooms(self) -> frozenset[str]:
        """The names of the sizes of states that are chosen when a sequence begins."""
        sizes = (size for tensor in self.states for size in tensor.shape)
        return frozenset(name for size in sizes for name in names_of(size)) & names_of(LONGEST)


def streamed_size(root: Graph) -> str:
    """The name of the size that grows: the one along axis 1 of inputs and outputs. Raises `SpecError`
    (not-causal).
    """
    inputs = [unit_of(v.tensor.shape[1]) for v in root.inputs.values() if v is not None and v.tensor.rank > 1]
    names = [unit[0] for unit in inputs if unit is not None and unit[1] == 1]
    shapes = [value.tensor.shape for value in root.outputs.values()]
    for sizes in ([size for shape in shapes for size in shape[1:2]], [*chain(*shapes)]):
        given = {name for size in sizes for name in names_of(size)}
        if found := [name for name in names if name in given]:
            return found[0]
    if names:
        return names[0]
    help = "give it a name: `inputs: {tokens: {shape: [length], dtype: int64}}`"
    raise fail("not-causal", "no input has an axis 1 of any size, along which it could go on", help)


def step_of(root: Graph, size: str, encoded: bool = False) -> Step:
    """The graph of a step along the size of this name; with `encoded` what it needs of inputs that do not go
    on is a state, which another graph gives. Raises `SpecError` (not-causal) at the node that needs
    later steps, or of which nothing says that it does not.
    """
    return _Stepper(open_attention(root) if encoded else root, size, encoded).run()


class _Stepper:
    def __init__(self, root: Graph, size: str, encoded: bool):
        self._root, self._copy, self._apart = root, Copy(root), encoded
        self.graph = self._copy.graph
        self.size = symbol(size)
        self.name = size
        self._roles: dict[Value, Roles | None] = {}
        self._known: dict[Value, Elements] = {}
        self._of_places: set[Value] = set()  # computed from places alone
        self._places: dict[Graph, Value] = {}
        self._kept: dict[Value, Value] = {}
        self._retyped: set[Value] = set()
        self._same: dict[Value, Value] = {}  # what layers give that only train, and what they are given
        self._made: list[Op] = []  # in the graph at hand, before the op at hand
        self._held: list[Op] = []
        self._behind: list[Op] = []  # what follows the op at hand
        self._given: set[Value] = set()  # computed of inputs that do not go on
        self._encoded: dict[Value, Value] = {}  # such that steps read: their states
        self._homes: dict[Value, tuple[UnitPlace, ...]] = {}  # where states are held
        self._lent: dict[Graph, dict[Value, StepState]] = {}  # states that a graph is given
        self._lenders: dict[Value, Value] = {}  # what gives it these
        self._lends = False  # whether the graph at hand is given its states, as several calls share it
        self._fixed: dict[tuple[Graph, Value], Value] = {}
        self._within: tuple[UnitPlace, ...] = ()  # the instances of blocks around the graph at hand
        self._around: tuple[Op, ...] = ()  # these, the innermost first

    def run(self) -> Step:
        fresh = []
        for name, value in self.graph.inputs.items():
            assert value is not None
            self._roles[value] = self._of_sizes(value.tensor)
            moves = streamed_axes(self._roles[value])
            fresh += [name] if moves else []
            self._given |= {value} if self._apart and not moves else set()
        self._body(self.graph)
        for name, value in self.graph.outputs.items():
            if self._roles.get(value, ()) is None or [*filter(None, self._role(value))] != ["new"]:
                where = value.op.span if value.op is not None else None
                what = f"the output `{name}`, {value.tensor}, has no axis of the steps `{self.name}`"
                help = "a model that goes on gives an output for each step"
                raise fail("not-causal", what, help, span=where)
        places = self._place(self.graph)
        graph, found = prune(self.graph), Step(self.graph, places.name, tuple(fresh), self.name)
        if self._apart:
            kept = (*fresh, places.name)
            graph.inputs = {name: value for name, value in graph.inputs.items() if name in kept}
        if self._encoded:
            old = {new: value for value, new in self._copy.values.items()}
            encoder = encoder_of(self._root, [old[value] for value in self._encoded])
            homes = tuple(self._home(state) for state in self._encoded.values())
            found = replace(found, encoder=encoder, encoded=homes)
        return replace(found, graph=graph)

    def _of_sizes(self, tensor: Tensor) -> Roles:
        """The roles of an input, whose axis 1 may be that of the steps."""
        axes = [axis for axis, size in enumerate(tensor.shape) if self.name in names_of(size)]
        if axes and (axes != [1] or tensor.shape[1] != self.size):
            what = f"an input is {tensor}, and `{self.name}` goes on along axis 1 alone"
            raise fail("not-causal", what, "give other axes sizes or names of their own")
        return tuple("new" if axis in axes else None for axis in range(tensor.rank))

    def _role(self, value: Value) -> Roles:
        found = self._roles.get(value)
        return still(value.tensor.rank) if found is None else found

    def _roles_of(self, argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(self._roles_of(part) for part in argument)
        return self._role(argument) if isinstance(argument, Value) else None

    # --- graphs

    def _body(self, graph: Graph) -> None:
        ops, held = self._made, self._held
        self._made, self._held = [], []
        once = {name for name, value in graph.inputs.items() if value in self._given}
        if once and graph is not self.graph:
            forget_inputs(graph, once)
        for op in list(graph.ops):
            if op.updates:  # which only training does
                graph.units = [unit for unit in graph.units if unit is not op.unit]
                continue
            op.arguments = self._passed(op.arguments)
            if op.layer is not None and op.layer.training_only and self._retyped.intersection(op.inputs):
                self._retype(op)
            if _only_trains(op) or (self._apart and not op.present and op.inputs):
                self._same[op.output] = op.inputs[0]
                graph.units = [unit for unit in graph.units if unit is not op.unit]
                continue
            self._op(graph, op)
            self._made += [op, *self._behind]
            self._behind = []
        graph.ops = [*self._held, *self._made]
        graph.outputs = {name: self._passed(value) for name, value in graph.outputs.items()}
        self._made, self._held = ops, held

    def _passed(self, argument: Any) -> Any:
        return replaced(argument, self._same)

    def _place(self, graph: Graph) -> Value:
        """The input of a graph that says how many steps there were."""
        if graph not in self._places:
            name = self._free(graph, PLACES)
            self._places[graph] = graph.inputs[name] = Value(Tensor((symbol(BATCH),), "int64"), name)
        return self._places[graph]

    def _free(self, graph: Graph, word: str) -> str:
        taken = {op.node for op in graph.ops} | {unit.name for unit in graph.units} | graph.inputs.keys()
        number, name = 1, word
        while name in taken:
            number += 1
            name = f"{word}_{number}"
        return name

    # --- ops

    def _op(self, graph: Graph, op: Op) -> None:
        for value in op.inputs:
            if self._roles.get(value, ()) is None:
                of = value.op.name if value.op is not None else ""
                help = f"read `{of}`, which has a value of each step" if of not in ("", value.name) else None
                text = value.name.replace(f"{of}_", f"{of}.", 1)
                self._refuse(op, whole(f"reads `{text}`, which is of no single step", help))
        if not op.present:
            for value in op.outputs.values():
                self._pass(op.inputs[0], value)
            return
        streams = any(streamed_axes(self._role(value)) for value in op.inputs)
        given = dict.fromkeys(value for value in op.inputs if value in self._given)
        if not streams and given:
            self._given |= {*op.outputs.values()}
        elif streams and given and (op.graph is None or op.wrapper is not None):
            op.arguments = replaced(op.arguments, {each: self._kept_once(graph, op, each) for each in given})
        if not streams:
            self._known |= dict.fromkeys(op.outputs.values(), held(op))
        elif op.graph is not None and op.wrapper is None:
            self._call(graph, op, op.graph)
        elif op.graph is not None and isinstance(op.wrapper, Scanned):
            self._scan(graph, op, op.graph, op.wrapper)
        else:
            self._layer(graph, op)

    def _call(self, graph: Graph, op: Op, inner: Graph) -> None:
        """An instance of a block: its body, and the places and states that it is given. Where several calls
        share a block, each has its own states.
        """
        for value, argument in op.passed():
            if value is not None and isinstance(argument, Value):
                self._pass(argument, value)
        within, lends, around = self._within, self._lends, self._around
        self._around = (op, *around)
        if op.unit is not None:
            self._within = (*within, (op.unit.name, op.unit.index))
            self._lends = lends or len(op.unit.calls) > 1
        self._body(inner)
        self._within, self._lends, self._around = within, lends, around
        for value in inner.inputs.values():
            if value is not None and value is self._places.get(inner):
                op.arguments = (*op.arguments, self._place(graph))
            elif value in self._lent.get(inner, {}):
                self._lenders[value] = self._state(graph, op, self._lent[inner][value])
                op.arguments = (*op.arguments, self._lenders[value])
        for key, value in op.outputs.items():
            result = op.results[key] = self._passed(op.results[key])
            self._pass(result, value)

    def _pass(self, source: Value, value: Value) -> None:
        """A value that is another one, of the graph around or within."""
        self._roles[value], value.tensor = self._roles.get(source, still(source.tensor.rank)), source.tensor
        self._known[value] = self._known.get(source, UNKNOWN)
        self._retyped |= {value} if source in self._retyped else set()
        self._given |= {value} if source in self._given else set()

    def _scan(self, graph: Graph, op: Op, cell: Graph, scan: Scanned) -> None:
        """A cell over steps: its states are kept, and those that it is given begin them."""
        mask = op.arguments[-1] if len(op.arguments) > len(cell.inputs) else None
        over_steps = list(op.outputs.values())[: scan.outputs]
        if len(over_steps) != 1:
            self._refuse(op, whole("gives other than one output for each step"))
        (output,) = over_steps
        for place, argument in enumerate(op.arguments):
            streamed = streamed_axes(self._role(argument)) if isinstance(argument, Value) else ()
            if streamed != ((1,) if place in scan.over or argument is mask else ()):
                self._refuse(op, whole("reads all steps at each of them"))
        arguments, states = list(op.arguments), list[Value]()
        for place, name in ((place, list(cell.inputs)[place]) for place in scan.states):
            tensor = op.inner[place]
            state = self._state(graph, op, StepState(name, tensor.shape[1:], tensor.dtype))
            word = self._free(graph, f"{op.node}_{name}_begun")
            begun = Op(word, None, op.span, "op", (arguments[place], self._place(graph), state))
            begun.layer, begun.title = BegunState(), "state"
            arguments[place] = begun.outputs[""] = Value(state.tensor, word, begun)
            self._made.append(begun)
            states.append(state)
        op.arguments = tuple(arguments)
        self._roles |= dict.fromkeys(op.outputs.values())
        self._roles[output] = (None, "new", *[None] * (output.tensor.rank - 2))
        if states:
            word = self._free(graph, f"{op.node}_carried")
            new = tuple(op.outputs.values())[scan.outputs :]
            last = self._state(graph, op, last_output(output.tensor)) if mask is not None else None
            carried = Op(word, None, op.span, "op", (output, new, tuple(states), mask, last))
            carried.layer, carried.title = CarriedStates(), "carried"
            self._same[output] = carried.outputs[""] = Value(output.tensor, output.name, carried)
            self._roles[carried.output] = self._roles[output]
            self._behind.append(carried)

    def _layer(self, graph: Graph, op: Op) -> None:
        """A layer: what it needs beside its inputs, and what computes it in a step."""
        retyped = any(value in self._retyped for value in op.inputs)
        fits = not retyped or self._retype(op)
        streamed = self._asked(op)
        if streamed.demands:
            arguments = self._ungrouped(op, streamed)
            for place in streamed.demands:
                value = arguments[place]
                if not isinstance(value, Value):
                    self._refuse(op, None)
                arguments[place] = self._whole(graph, op, value)
            op.arguments = tuple(arguments)
            fits = streamed.step is not None or self._retype(op)
            streamed = self._asked(op)
            if streamed.demands:
                self._refuse(op, None)
        if not fits and streamed.step is None:
            self._refuse(op, None)
        self._known |= dict.fromkeys(op.outputs.values(), self._elements(op))
        for number, (key, value) in enumerate(list(op.outputs.items())):
            roles = streamed.outputs[number] if number < len(streamed.outputs) else None
            self._know(op, value, roles, streamed)
            roles = self._roles[value]
            if roles is not None:
                self._check(op, value, roles)
            elif number and streamed.step is not None:
                del op.outputs[key]
        if streamed.step is not None:
            self._replace(graph, op, streamed)

    def _elements(self, op: Op) -> Elements:
        """The bounds of an op's output."""
        inputs = op.inputs
        return elements_of(
            op, [self._known.get(each, UNKNOWN) for each in inputs], [*map(self._role, inputs)]
        )

    def _know(self, op: Op, value: Value, roles: Roles | None, streamed: Streaming) -> None:
        """The roles of an output, by what is known of its elements, and whether it is of places alone."""
        known = self._known[value]
        axes = streamed_axes(roles)
        of_two = (
            [roles[axis] == "new" for axis in axes].count(True) == 1 and len(axes) == 2 if roles else False
        )
        roles = roles and tuple(
            "new" if role == "padded" and size == self.size else role
            for role, size in zip(roles, value.tensor.shape, strict=True)
        )
        self._roles[value] = roles and tuple(
            role if role in (None, "new", "padded") else known.role if of_two else "all" for role in roles
        )
        plain = op.unit is None and op.wrapper is None and len(op.outputs) == 1 and len(axes) == 1
        steps = [each for each in op.inputs if self._moves(each)]
        same = streamed.step is None and self._of_places.issuperset(steps)
        if plain and (same or isinstance(streamed.step, StepPlaces)):
            self._of_places.add(value)

    def _ungrouped(self, op: Op, streamed: Streaming) -> list[Any]:
        """The arguments of an op, with demands before each of their heads is repeated, if all are."""
        arguments = list(op.arguments)
        sources = [arguments[place].op for place in streamed.demands]
        layers = {each.layer for each in sources if each is not None and each.present}
        repeat = next(iter(layers)) if len(layers) == 1 and None not in sources else None
        if repeat is not None and repeat.spec_name == "repeat" and repeat.axis == streamed.grouped:
            for place, source in zip(streamed.demands, sources, strict=True):
                arguments[place] = source.inputs[0]
        return arguments

    def _asked(self, op: Op) -> Streaming:
        layer = op.wrapper if op.wrapper is not None else op.layer
        site = op.site() if op.wrapper is None else _outside(op)
        roles = self._roles_of(op.arguments)
        overlaps = "padded" in _listed(roles) and layer is not None and not layer.reads_padded
        if overlaps:
            roles = _renamed(roles, "padded", "new")
        found = layer.stream(site, roles) if layer is not None else None
        if found is None or found.kind == "whole":
            self._refuse(op, found)
        if overlaps:
            if found.kind != "frame" or found.step is not None or found.demands:
                help = f"pad right before the window; {PADDED}"
                self._refuse(op, whole("reads steps that are padded", help))
            found = replace(found, outputs=_renamed(found.outputs, "new", "padded"))
        return found

    def _replace(self, graph: Graph, op: Op, streamed: Streaming) -> None:
        """Puts what computes it in a step in the place of a layer, with its states."""
        assert op.layer is not None and streamed.step is not None
        count = len(op.layer.arguments)
        given = (*op.arguments, *[None] * (count - len(op.arguments)))
        states: list[Any] = [self._state(graph, op, state) for state in streamed.states]
        others = streamed.step.arguments[count + 1 :]
        if others and others[0].many:
            listed = len(states) - len(others) + 1
            states[:listed] = [tuple(states[:listed])]
        op.layer, op.expressions = streamed.step, ()
        op.arguments = (*given, self._place(graph), *states)
        if not self._retype(op):
            self._refuse(op, None)

    def _state(self, graph: Graph, op: Op, state: StepState) -> Value:
        """A state as an op of its own, which holds a buffer of the module; or as an input, where each call
        has another one.
        """
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        name = self._free(graph, f"{word}_{state.name}")
        if self._lends:
            given = graph.inputs[name] = Value(state.tensor, name)
            self._lent.setdefault(graph, {})[given] = replace(state, name=name)
            return given
        held = Op(name, None, op.span, "layer", layer=StateBuffer(state=state), title="state")
        held.unit = Unit(name, None, op.span, calls=[held])
        held.outputs[""] = Value(state.tensor, name, held)
        graph.units.append(held.unit)
        self._held.append(held)
        self._homes[held.output] = (*self._within, (name, None))
        return held.output

    def _kept_once(self, graph: Graph, op: Op, value: Value) -> Value:
        """A state that has what is computed of inputs that do not go on, once for a sequence."""
        if (graph, value) not in self._fixed:
            word, tensor = f"{value.name.rpartition('.')[2]}_kept", value.tensor
            state = StepState(word, tensor.shape[1:], tensor.dtype, given=True)
            held = self._state(graph, op, state)
            self._encoded[value] = held
            self._roles[held] = still(value.tensor.rank)
            self._fixed[graph, value] = held
        return self._fixed[graph, value]

    def _home(self, state: Value) -> tuple[UnitPlace, ...]:
        """Where a state is held."""
        while state in self._lenders:
            state = self._lenders[state]
        return self._homes[state]

    def _whole(self, graph: Graph, op: Op, value: Value) -> Value:
        """All steps of a value so far, in a buffer; what depends on places alone is computed."""
        if value in self._of_places and value not in self._kept:
            self._kept[value] = self._computed(graph, op, value)
        elif value not in self._kept:
            axes = streamed_axes(self._role(value))
            if len(axes) != 1 or self._role(value)[axes[0]] != "new" or value.tensor.shape[0] == 1:
                self._refuse(op, None)
            (axis,) = axes
            layer = StepsSoFar(axis=axis)
            tensor = layer.infer(value.tensor, value.tensor, value.tensor)
            state = self._state(graph, op, StepState(f"{value.name}", tensor.shape[1:], tensor.dtype))
            name = self._free(graph, f"{value.name}_kept")
            arguments = (value, self._place(graph), state)
            kept = Op(name, None, op.span, "op", arguments, layer=layer, title="kept")
            self._kept[value] = kept.outputs[""] = Value(tensor, name, kept)
            self._roles[self._kept[value]] = tuple(
                "all" if role == "new" else role for role in self._role(value)
            )
            self._made.append(kept)
        self._retyped.add(self._kept[value])
        return self._kept[value]

    def _computed(self, graph: Graph, op: Op, value: Value) -> Value:
        """A value that is computed from places, for all steps so far."""
        made = value.op
        assert made is not None and made.layer is not None
        layer: Any = made.layer
        if isinstance(layer, StepPlaces):
            room = self._state(graph, made, StepState("room", (LONGEST,), "bool"))
            layer, arguments = PlacesSoFar(of=layer), (*made.arguments, room)
        else:
            moved = {each: self._whole(graph, op, each) for each in made.inputs if self._moves(each)}
            arguments = replaced(made.arguments, moved)
        word = self._free(graph, f"{made.node}_so_far")
        every = Op(word, None, made.span, "op", arguments, layer=layer, title=made.title)
        found = every.outputs[""] = Value(value.tensor, word, every)
        if not self._retype(every):
            self._refuse(op, None)
        roles = tuple("all" if role == "new" else role for role in self._role(value))
        line = self._known[value].line
        self._roles[found] = roles
        self._known[found] = along((line[0], 0.0, line[1])) if line is not None else UNKNOWN
        self._made.append(every)
        return found

    def _moves(self, value: Value) -> bool:
        return bool(streamed_axes(self._role(value)))

    def _retype(self, op: Op) -> bool:
        """The types of what an op gives, for what it is now given; whether that fits together."""
        if op.layer is None or op.wrapper is not None:
            return False
        try:
            found = op.layer.infer(*(types(argument) for argument in op.arguments))
        except LayerError:
            return False
        for value, tensor in zip(
            op.outputs.values(), found if isinstance(found, tuple) else (found,), strict=False
        ):
            if value.tensor != tensor:
                self._retyped.add(value)
            value.tensor = tensor
        return True

    def _check(self, op: Op, value: Value, roles: Roles) -> None:
        """Refuses what has the size of the steps elsewhere, or another number of steps."""
        for size, role in zip(value.tensor.shape, roles, strict=True):
            named = isinstance(size, Size) and self.name in names_of(size)
            if role == "padded":
                more = size - self.size
                if not (isinstance(more, int) and more > 0):
                    self._refuse(op, whole("needs more steps before than are padded", f"pad more; {PADDED}"))
            elif named != (role == "new") or (role == "new" and size != self.size):
                self._refuse(op, None)

    def _refuse(self, op: Op, streamed: Streaming | None) -> NoReturn:
        title = op.title or (op.layer.spec_name if op.layer is not None else "")
        if streamed is None:
            cause, help = f"cannot go on step by step along `{self.name}`", None
        else:
            cause, help = streamed.cause, streamed.remedy
        message = f"`{op.name}` ({title}) {cause}"
        help = help or "leave it out of a model that goes on"
        calls = ((each, each.graph.definition) for each in self._around if each.graph is not None)
        notes = [
            f"in {each.kind} `{text.block or text.title}`, used by `{each.name}` at {each.span}"
            for each, text in calls
        ]
        raise fail("not-causal", message, help, *notes, span=op.span)


def _renamed(roles: Any, old: str, new: str) -> Any:
    """The same roles, with another name for one."""
    if isinstance(roles, tuple):
        return tuple(_renamed(role, old, new) for role in roles)
    return new if roles == old else roles


def _listed(roles: Any) -> Iterator[Any]:
    """The roles of all axes of nested values."""
    for role in roles if isinstance(roles, tuple) else ():
        yield from _listed(role) if isinstance(role, tuple) else (role,)


def _only_trains(op: Op) -> bool:
    """Whether an op gives what it is given, but in training."""
    if op.layer is None or not op.layer.training_only or op.wrapper is not None or not op.present:
        return False
    return op.output.tensor == op.inputs[0].tensor


def _holds(op: Op) -> bool:
    return isinstance(op.layer, StateBuffer)


def _outside(op: Op) -> Any:
    """The use of a wrapper, whose inputs and outputs are those of the op."""
    from graphspec.contract.layer import Site

    return Site(
        tuple(types(argument) for argument in op.arguments),
        tuple(value.tensor for value in op.outputs.values()),
    )
