"""A class to write: bodies of one structure, and arguments for the values that differ between them.

A value that differs between the uses of a block becomes the first of these that fits: the expression of the
spec; a param of equal value; the channels of an input; an expression used elsewhere in the block; a function
of `index` in a loop; a new argument. Each choice is verified on every instance, so no choice can change what
a model computes.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from graphspec import names
from graphspec.contract.activations import ACTIVATIONS, LINEAR, ActivationFunction, AlongAxis
from graphspec.contract.arrays import Nested, Pairs
from graphspec.contract.layer import Code, Leaf, Ref
from graphspec.emit.code import HOLE, Variable, choice, fill, folded, literal, name, template
from graphspec.emit.slots import Slot, Wiring
from graphspec.expressions import Expression
from graphspec.graph import Definition, Graph, Op, Value
from graphspec.tensor import DTYPES

MISSING: Any = object()

Cell = tuple[int, int]  # (body of the group, instance of a slot)


@dataclass(eq=False, slots=True)
class Arg:
    """An argument of a class: its value in each body, and its default."""

    name: str
    values: list[Leaf]
    annotation: str
    default: Leaf = MISSING

    @property
    def is_channels(self) -> bool:
        """Whether it is the number of input channels or features."""
        return self.name.endswith(("_channels", "_features"))


@dataclass(eq=False, slots=True)
class ModuleClass:
    """Bodies that share a class. `forward` is written from the first of `bodies`, which are graphs."""

    definition: Definition
    bodies: list[Graph]
    shape: Any  # what its bodies have in common: a `BodyShape`
    slots: list[list[Slot]]  # of each body
    wiring: Wiring
    helpers: frozenset[str]
    name: str = ""
    args: dict[str, Arg] = field(default_factory=dict)
    logits: bool = False
    is_function: bool = False  # it constructs nothing, so it is written as a function
    numbers: dict[Graph, int] = field(default_factory=dict)  # body -> its index in `bodies`
    borrowed: dict[str, Variable] = field(default_factory=dict)  # of other classes, passed to `forward`

    @property
    def graph(self) -> Graph:
        return self.bodies[0]

    @property
    def inputs(self) -> list[str]:
        """The inputs of `forward`: those that any body is given."""
        return [word for word in self.graph.inputs if self.input_of(word) is not None]

    def input_of(self, word: str) -> Value | None:
        """An input of the first body, or of another body that is given it."""
        return next((body.inputs[word] for body in self.bodies if body.inputs[word] is not None), None)

    def become_function(self, space: names.Namespace) -> None:
        """Makes it a function with an unused name."""
        self.is_function = True
        self.name = space.claim(names.local(names.function_name(self.definition.title)))

    def local(self, word: str) -> str:
        """The argument name for a name."""
        return names.local(word, self.helpers)

    def cells(self, position: int) -> dict[Cell, Op]:
        """All present ops of a slot, over all bodies and instances."""
        return {
            (body, number): op
            for body, slots in enumerate(self.slots)
            for number, op in enumerate(slots[position].ops)
            if op.present
        }

    # --- values that differ

    def write(
        self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str, looped: bool = False
    ) -> ast.expr | None:
        """The code of a value in the class's constructor; None if a loop cannot express the differences.

        Only with `looped` may it use `index`.
        """
        first = next(iter(values.values()))
        if all(same(value, first) for value in values.values()):
            return literal(first)
        return (
            self._written(values, ops, looped)
            or self._param(values)
            or self._channels(values)
            or self._elsewhere(values)
            or self._in_blocks(values)
            or (self._by_index(values, ops, hint) if looped else None)
            or self._argument(values, hint)
        )

    def _written(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], looped: bool) -> ast.expr | None:
        """The spec's own expression for an argument of the node."""
        for position, (expression, _) in enumerate(ops[next(iter(values))].expressions):
            if "index" in expression.names and not looped:
                continue
            if all(
                len(ops[cell].expressions) > position
                and ops[cell].expressions[position][0].text == expression.text
                and same(plain(ops[cell].expressions[position][1]), value)
                for cell, value in values.items()
            ):
                return self.expression(expression)
        return None

    def expression(self, expression: Expression) -> ast.expr | None:
        """An expression over the class's arguments; None if it reads a value that they cannot hold."""
        if any(word != "index" and word not in self.graph.visible for word in expression.names):
            return None
        found: dict[str, ast.expr] = {}
        for word in sorted(expression.names - {"index"}):
            values = [plain(body.visible[word]) for body in self.bodies]
            alike = all(same(value, values[0]) for value in values)
            found[word] = literal(values[0]) if alike else self._claim(word, values)
        for word in expression.channels:
            channels = self.channels_of(word)
            if channels is None:
                return None
            found[f"channels({word})"] = self._make(self._channels_name(word), channels)
        holes = {word: f"{HOLE}{number}" for number, word in enumerate(found)}
        filling = {str(number): code for number, code in enumerate(found.values())}
        return folded(fill(expression.python(holes), filling))

    def _claim(self, word: str, values: list[Leaf]) -> ast.Name:
        """The argument for a param, created at its first use."""
        declared = self.graph.declared.get(word, MISSING)
        default = MISSING
        if isinstance(declared, int | float) or (
            isinstance(declared, str) and declared != "required" and "$" not in declared
        ):
            default = declared
        elif isinstance(values[0], bool):
            default = False
        return self._make(word, values, default)

    def _make(self, word: str, values: list[Leaf], default: Leaf = MISSING) -> ast.Name:
        """An argument with these values: an existing one, or a new one with an unused name."""
        argument, number = self.local(word), 1
        while (known := self.args.get(argument)) is not None:
            if all(same(a, b) for a, b in zip(known.values, values, strict=True)):
                return name(argument)
            number += 1
            argument = f"{self.local(word)}_{number}"
        self.args[argument] = Arg(argument, values, annotation(values), default)
        return name(argument)

    def _param(self, values: dict[Cell, Leaf]) -> ast.expr | None:
        for word in self.graph.visible:
            of_bodies = [plain(body.visible.get(word)) for body in self.bodies]
            if all(same(of_bodies[body], value) for (body, _), value in values.items()):
                return self._claim(word, of_bodies)
        return None

    def channels_of(self, name: str) -> list[Leaf] | None:
        """The last axis of an input, in each body."""
        sizes: list[Leaf] = []
        for body in self.bodies:
            value = body.inputs.get(name)
            size = value.tensor.shape[-1] if value is not None else None
            if not isinstance(size, int):
                return None
            sizes.append(size)
        return sizes

    def _channels_name(self, name: str) -> str:
        rank = next(v.tensor.rank for n, v in self.graph.inputs.items() if n == name and v is not None)
        word = "in_channels" if rank > 2 else "in_features"
        return word if len(self.graph.inputs) == 1 else f"{name}_{word.removeprefix('in_')}"

    def _channels(self, values: dict[Cell, Leaf]) -> ast.expr | None:
        for word in self.graph.inputs:
            sizes = self.channels_of(word)
            if sizes is not None and all(same(sizes[body], value) for (body, _), value in values.items()):
                return self._make(self._channels_name(word), sizes)
        return None

    def _elsewhere(self, values: dict[Cell, Leaf]) -> ast.expr | None:
        """An expression of another node of the block, or of a neighbouring instance."""
        for position in range(len(self.slots[0])):
            ops = self.cells(position)
            for number, (expression, _) in enumerate(next(iter(ops.values())).expressions if ops else ()):
                if "index" in expression.names:
                    continue
                found = {}
                for (body, _), op in ops.items():
                    if len(op.expressions) > number and op.expressions[number][0].text == expression.text:
                        found[body] = plain(op.expressions[number][1])
                if all(body in found and same(found[body], value) for (body, _), value in values.items()):
                    return self.expression(expression)
        return None

    def _in_blocks(self, values: dict[Cell, Leaf]) -> ast.expr | None:
        """An expression of a node in a block that is used here, over the params that the block is given."""
        for position in range(len(self.slots[0])):
            graphs = {cell[0]: op.graph for cell, op in self.cells(position).items()}
            first = graphs.get(0)
            if first is None or len(graphs) < len(self.bodies):
                continue
            for place, op in enumerate(first.ops):
                for number, (expression, _) in enumerate(op.expressions):
                    if expression.channels or "index" in expression.names:
                        continue
                    found = [_expressed(graph, place, number, expression) for graph in graphs.values()]
                    if all(same(plain(found[body]), value) for (body, _), value in values.items()):
                        code = self._renamed(expression, [graphs[body] for body in range(len(self.bodies))])
                        if code is not None:
                            return code
        return None

    def _renamed(self, expression: Expression, graphs: list[Graph | None]) -> ast.expr | None:
        """An expression that is the same in all bodies of a block, over this class's params."""
        holes: dict[str, str] = {}
        filling: dict[str, ast.expr] = {}
        for number, word in enumerate(sorted(expression.names)):
            found: dict[Cell, Leaf] = {
                (body, 0): plain(graph.visible.get(word))
                for body, graph in enumerate(graphs)
                if graph is not None
            }
            alike = all(same(value, found[0, 0]) for value in found.values())
            code = literal(found[0, 0]) if alike else self._param(found)
            if code is None:
                return None
            holes[word], filling[str(number)] = f"{HOLE}{number}", code
        return folded(fill(expression.python(holes), filling))

    def _by_index(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str) -> ast.expr | None:
        """A value that only the first instance has, or that grows by a constant step."""
        rows: dict[int, list[Leaf]] = {}
        for (body, _), value in values.items():
            rows.setdefault(body, []).append(value)
        if not any(len(row) > 1 and not same(row[0], row[-1]) for row in rows.values()):
            return None
        longest = max(len(row) for row in rows.values())
        if longest > 2 and all(all(same(v, row[1]) for v in row[2:]) for row in rows.values()):
            first = {(body, 0): row[0] for body, row in rows.items()}
            rest = {(body, 1): row[1] for body, row in rows.items() if len(row) > 1}
            a, b = self._constant(first, ops, hint), self._constant(rest, ops, hint)
            return choice(template("index == 0"), a, b) if a and b else None
        if longest > 2 and all(
            isinstance(v, int) and not isinstance(v, bool) for row in rows.values() for v in row
        ):
            return self._arithmetic(rows, ops, hint)  # type: ignore[arg-type]
        return None

    def _arithmetic(self, rows: dict[int, list[int]], ops: dict[Cell, Op], hint: str) -> ast.expr | None:
        steps = {body: row[1] - row[0] if len(row) > 1 else None for body, row in rows.items()}
        if any(
            row != [row[0] + (steps[body] or 0) * i for i in range(len(row))] for body, row in rows.items()
        ):
            return None
        start = self._constant({(body, 0): row[0] for body, row in rows.items()}, ops, hint)
        known = {(body, 0): step for body, step in steps.items() if step is not None}
        step = self._constant(known, ops, f"{hint}_step")  # type: ignore[arg-type]
        return fill("{start} + {step} * index", {"start": start, "step": step}) if start and step else None

    def _constant(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str) -> ast.expr | None:
        return self.write(values, {cell: ops[(cell[0], min(cell[1], 0))] for cell in values}, hint)

    def _argument(self, values: dict[Cell, Leaf], hint: str) -> ast.Name | None:
        """A new argument, if there is one value per body."""
        of_bodies: dict[int, Leaf] = {}
        for (body, _), value in values.items():
            if not same(of_bodies.setdefault(body, value), value):
                return None
        filled = [of_bodies.get(body, next(iter(of_bodies.values()))) for body in range(len(self.bodies))]
        return self._make(hint, filled)

    def activation(self, codes: dict[Cell, Code], hint: str) -> ast.Name:
        """The argument that holds an activation that differs between bodies."""
        inplace = overwriting(codes.values())
        word = self._activation_param(codes) or hint
        argument = self._argument(
            {cell: Ref(code.activation.callable(inplace)) for cell, code in codes.items()}, word
        )
        assert argument is not None, "a loop's activation is one for each body"
        declared = self.graph.declared.get(word)
        if isinstance(declared, str) and declared in ACTIVATIONS:
            along = next((code.activation for code in codes.values() if code.activation.along_axis), None)
            place = along.axis if isinstance(along, AlongAxis) else -1
            function = ActivationFunction.parse(declared).laid(lambda axis: place)
            default = Ref(function.callable(inplace))
            if "(" not in default.text:  # a call as a default would be one module that all instances share
                self.args[argument.id].default = default
        return argument

    def flag(self, codes: dict[Cell, Code], activation: ActivationFunction) -> ast.Name:
        """The argument that says whether an activation is applied that only some bodies have."""
        word = self._activation_param(codes)
        declared = self.graph.declared.get(word) if word is not None else None
        values: dict[Cell, Leaf] = {cell: code.activation == activation for cell, code in codes.items()}
        argument = self._argument(values, activation.word)
        assert argument is not None, "a loop's activation is one for each body"
        self.args[argument.id].default = declared == activation.word
        return argument

    def _activation_param(self, codes: dict[Cell, Code]) -> str | None:
        """The param that names the activation of each body."""
        named = {body: code.activation.word for (body, _), code in codes.items()}
        for word in self.graph.visible:
            given = {body: self.bodies[body].visible.get(word) for body in named}
            if all(_named_by(value) == named[body] for body, value in given.items()):
                return word
        return None


def _named_by(value: Any) -> str | None:
    """The activation that a param's value names, if any."""
    if not value:
        return LINEAR.word
    return ACTIVATIONS[value].word if isinstance(value, str) and value in ACTIVATIONS else None


def overwriting(codes: Iterable[Code]) -> bool:
    """Whether one statement for all of these may overwrite the input of its activation."""
    return all(code.inplace for code in codes if code.activation.overwriting is not None)


def applied(activation: ActivationFunction, x: ast.expr, inplace: bool = False) -> ast.expr:
    """An expression after an activation."""
    return fill(activation.expression(inplace), {"x": x})


def activated(activation: str, x: ast.expr, value: Value, first: bool) -> ast.expr:
    """An expression after an activation over the spec's last axis."""
    last = 1 if first and value.tensor.rank > 2 else -1
    return applied(ActivationFunction.parse(activation).laid(lambda axis: last), x)


def _expressed(graph: Graph | None, place: int, number: int, expression: Expression) -> Any:
    """The value of a block's expression in one of its bodies; MISSING if it has none."""
    if graph is None or place >= len(graph.ops) or number >= len(graph.ops[place].expressions):
        return MISSING
    other, value = graph.ops[place].expressions[number]
    return value if other.text == expression.text else MISSING


def same(a: Leaf, b: Leaf) -> bool:
    """Whether values are equal and of the same type: 1, 1.0 and True are three values."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def plain(value: Any) -> Leaf:
    """A spec's value as a leaf: lists become tuples."""
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


TORCH_TYPES = frozenset(f"torch.{word}" for word in DTYPES)


def annotation(values: Collection[Leaf]) -> str:
    """The type of an argument with these values."""
    kinds = {type(value) for value in values}
    if Ref in kinds:
        if all(value is None or (isinstance(value, Ref) and value.text in TORCH_TYPES) for value in values):
            return "torch.dtype | None" if None in values else "torch.dtype"
        return "Callable[[Tensor], Tensor]"
    if float in kinds:
        kinds -= {int}
    words = {"None" if kind is type(None) else kind.__name__ for kind in kinds - {tuple, Nested, Pairs}}
    words |= {"list" for value in values if isinstance(value, Nested)}
    words |= {"dict[str, Any]" for value in values if isinstance(value, Pairs)}
    words |= {
        f"tuple[{_items(value)}]"
        for value in values
        if isinstance(value, tuple) and not isinstance(value, Nested | Pairs)
    }
    return " | ".join(sorted(words))


def _items(value: tuple[Leaf, ...]) -> str:
    """The types of a tuple's items."""
    return ", ".join(annotation([item]) for item in value) or "()"
