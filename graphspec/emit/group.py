"""A class to be: bodies of one structure, and arguments for what differs between them.

A value that differs between the uses of a block is written, in this order, as: the expression that the spec
has for it; a
param of equal value; the channels of an input; an expression that stands elsewhere in the block; in a loop,
a function of
`index`; else a new argument. Every choice is verified on every instance, so none can change what a model
computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from graphspec import names
from graphspec.contract.activations import ACTIVATIONS
from graphspec.contract.layer import Code, Leaf, Ref
from graphspec.emit.format import fill, literal
from graphspec.emit.slots import Slot, Wiring
from graphspec.expressions import Expression
from graphspec.graph import Definition, Graph, Op, Value

MISSING: Any = object()

Cell = tuple[int, int]  # which body of the group, which instance of a slot


@dataclass(eq=False, slots=True)
class Arg:
    """An argument of a class: its value in each body, and its default."""

    name: str
    values: list[Leaf]
    annotation: str
    default: Leaf = MISSING


@dataclass(eq=False, slots=True)
class ModuleClass:
    """Bodies that are one class. `bodies` are graphs, the first of them the one that `forward` is written
    from.
    """

    definition: Definition
    bodies: list[Graph]
    signature: list[Any]
    slots: list[list[Slot]]  # of each body
    wiring: Wiring
    helpers: frozenset[str]
    name: str = ""
    args: dict[str, Arg] = field(default_factory=dict)
    logits: bool = False
    numbers: dict[Graph, int] = field(default_factory=dict)  # body -> its place in `bodies`

    @property
    def graph(self) -> Graph:
        return self.bodies[0]

    def local(self, word: str) -> str:
        """The argument that a name becomes."""
        return names.local(word, self.helpers)

    def cells(self, position: int) -> dict[Cell, Op]:
        """Every present op of a slot, over all bodies and instances."""
        return {
            (body, number): op
            for body, slots in enumerate(self.slots)
            for number, op in enumerate(slots[position].ops)
            if op.present
        }

    # --- values that differ

    def write(
        self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str, looped: bool = False
    ) -> str | None:
        """The code of a value in the class's constructor; None when it differs between instances beyond
        what a loop can say.

        Only where `looped` may it speak of `index`.
        """
        first = next(iter(values.values()))
        if all(same(value, first) for value in values.values()):
            return literal(first)
        return (
            self._written(values, ops, looped)
            or self._param(values, hint)
            or self._channels(values)
            or self._elsewhere(values)
            or self._multiple(values)
            or (self._by_index(values, ops, hint) if looped else None)
            or self._argument(values, hint)
        )

    def _written(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], looped: bool) -> str | None:
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

    def expression(self, expression: Expression) -> str | None:
        """An expression over the class's arguments; None where it reads what they cannot hold."""
        if any(name != "index" and name not in self.graph.visible for name in expression.names):
            return None
        rename = {}
        for word in sorted(expression.names - {"index"}):
            values = [plain(body.visible[word]) for body in self.bodies]
            if all(same(value, values[0]) for value in values):
                rename[word] = literal(values[0])
            else:
                rename[word] = self._claim(word, values)
        for word in expression.channels:
            channels = self.channels_of(word)
            if channels is None:
                return None
            rename[f"channels({word})"] = self._make(self._channels_name(word), channels)
        return expression.python(rename)

    def _claim(self, word: str, values: list[Leaf]) -> str:
        """The argument for a param, made when it is first needed."""
        declared = self.graph.declared.get(word, MISSING)
        default = MISSING
        if isinstance(declared, int | float) or (
            isinstance(declared, str) and declared != "required" and "$" not in declared
        ):
            default = declared
        elif isinstance(values[0], bool):
            default = False
        return self._make(word, values, default)

    def _make(self, word: str, values: list[Leaf], default: Leaf = MISSING) -> str:
        """An argument of these values: a known one, or a new one of a name that is free."""
        name, number = self.local(word), 1
        while (known := self.args.get(name)) is not None:
            if all(same(a, b) for a, b in zip(known.values, values, strict=True)):
                return name
            number += 1
            name = f"{self.local(word)}_{number}"
        self.args[name] = Arg(name, values, annotation(values), default)
        return name

    def _param(self, values: dict[Cell, Leaf], hint: str) -> str | None:
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

    def _channels(self, values: dict[Cell, Leaf]) -> str | None:
        for name in self.graph.inputs:
            sizes = self.channels_of(name)
            if sizes is not None and all(same(sizes[body], value) for (body, _), value in values.items()):
                return self._make(self._channels_name(name), sizes)
        return None

    def _elsewhere(self, values: dict[Cell, Leaf]) -> str | None:
        """An expression of another node of the block, or of an instance's neighbour."""
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

    def _multiple(self, values: dict[Cell, Leaf]) -> str | None:
        """A small multiple of a param: `4 * filters`. Told from chance by at least two different values."""
        if len(set(values.values())) < 2 or not all(type(value) is int for value in values.values()):
            return None
        for word in self.graph.visible:
            of_bodies = [plain(body.visible.get(word)) for body in self.bodies]
            sizes = [value for value in of_bodies if type(value) is int and value > 0]
            pairs = (
                [(sizes[body], value) for (body, _), value in values.items()]
                if len(sizes) == len(of_bodies)
                else []
            )
            factor = next((value // size for size, value in pairs if isinstance(value, int)), 0)
            if 2 <= factor <= 64 and all(size * factor == value for size, value in pairs):
                return f"{factor} * {self._claim(word, of_bodies)}"
        return None

    def _by_index(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str) -> str | None:
        """A value that the first instance has alone, or that grows by a step."""
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
            return f"{a} if index == 0 else {b}" if a and b else None
        if longest > 2 and all(
            isinstance(v, int) and not isinstance(v, bool) for row in rows.values() for v in row
        ):
            return self._arithmetic(rows, ops, hint)  # type: ignore[arg-type]
        return None

    def _arithmetic(self, rows: dict[int, list[int]], ops: dict[Cell, Op], hint: str) -> str | None:
        steps = {body: row[1] - row[0] if len(row) > 1 else None for body, row in rows.items()}
        if any(
            row != [row[0] + (steps[body] or 0) * i for i in range(len(row))] for body, row in rows.items()
        ):
            return None
        start = self._constant({(body, 0): row[0] for body, row in rows.items()}, ops, hint)
        known = {(body, 0): step for body, step in steps.items() if step is not None}
        step = self._constant(known, ops, f"{hint}_step")  # type: ignore[arg-type]
        return f"{start} + {step} * index" if start and step else None

    def _constant(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str) -> str | None:
        return self.write(values, {cell: ops[(cell[0], min(cell[1], 0))] for cell in values}, hint)

    def _argument(self, values: dict[Cell, Leaf], hint: str) -> str | None:
        """A new argument, where the value is one for each body."""
        of_bodies: dict[int, Leaf] = {}
        for (body, _), value in values.items():
            if not same(of_bodies.setdefault(body, value), value):
                return None
        filled = [of_bodies.get(body, next(iter(of_bodies.values()))) for body in range(len(self.bodies))]
        return self._make(hint, filled)

    def activation(self, codes: dict[Cell, Code], hint: str) -> str:
        """The argument that holds an activation which differs between bodies."""
        over = overwriting(codes.values())
        functions: dict[Cell, Leaf] = {cell: callable_of(code, over) for cell, code in codes.items()}
        named = {cell: code.activation for cell, code in codes.items()}
        word = next(
            (
                w
                for w in self.graph.visible
                if all(self.bodies[b].visible.get(w) == n for (b, _), n in named.items())
            ),
            hint,
        )
        name = self._argument(functions, word)
        assert name is not None, "a loop's activation is one for each body"
        declared = self.graph.declared.get(word)
        if isinstance(declared, str) and declared in ACTIVATIONS:
            axis = next(iter(codes.values())).activation_axis
            default = callable_of(Code("", activation=declared, activation_axis=axis), over)
            if "(" not in default.text:  # a call in a default would be one module for all instances
                self.args[name].default = default
        return name


AXIS_MODULES = {"softmax": "nn.Softmax", "log_softmax": "nn.LogSoftmax", "glu": "nn.GLU"}
"""Activations over an axis, as modules that know theirs."""


def overwriting(codes: Iterable[Code]) -> bool:
    """Whether one statement for all of these may overwrite what its activation reads."""
    return all(code.inplace for code in codes if ACTIVATIONS[code.activation].inplace is not None)


def callable_of(code: Code, inplace: bool) -> Ref:
    """An activation as a value, which may overwrite what it is called on."""
    if code.activation in AXIS_MODULES and code.activation_axis != -1:
        return Ref(f"{AXIS_MODULES[code.activation]}({code.activation_axis})")
    return Ref(ACTIVATIONS[code.activation].written(inplace).function)


def activated(activation: str, text: str, value: Value, first: bool) -> str:
    """An expression after an activation over the spec's last axis."""
    axis = 1 if first and value.tensor.rank > 2 else -1
    return fill(ACTIVATIONS[activation].inline.replace("{axis}", str(axis)), lambda _: text)


def same(a: Leaf, b: Leaf) -> bool:
    """Equal, and of the same type: 1, 1.0 and True are three values."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def plain(value: Any) -> Leaf:
    """A spec's value as a leaf: lists are tuples."""
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def annotation(values: Iterable[Leaf]) -> str:
    """The type of an argument that takes these values."""
    kinds = {type(value) for value in values}
    if Ref in kinds:
        return "Callable[[Tensor], Tensor]"
    if float in kinds:
        kinds -= {int}
    return " | ".join(sorted("None" if kind is type(None) else kind.__name__ for kind in kinds))
