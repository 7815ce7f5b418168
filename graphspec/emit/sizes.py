"""The sizes of a class's values, as code over its arguments: where the last axis of each comes from."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf
from graphspec.emit.code import choice, equal, fill, folded, literal
from graphspec.emit.code import names as names_of
from graphspec.emit.module_class import MISSING, Cell, ModuleClass
from graphspec.emit.slots import Slot
from graphspec.expressions import Expression
from graphspec.graph import Graph, Op, Value

MOST = 8
"""Sizes of so many inputs are added up."""


@dataclass(frozen=True, slots=True)
class LastAxis:
    """The last axis of a value: in each body (None where it is not there), and as code."""

    sizes: Sequence[Any]
    code: Callable[[], ast.expr]

    def gives(self, values: Mapping[Cell, Leaf]) -> bool:
        return all(value is not None and same(self.sizes[body], value) for (body, _), value in values.items())


@dataclass(eq=False, slots=True)
class Sizes:
    """The last axes of the values of one class's template. `inner` gives those of an inner instance's class;
    `passed_to` the code of an argument of that class, at an op of this one; `condition` the code that says
    whether an op is there.
    """

    group: ModuleClass
    inner: Callable[[Graph], Sizes]
    passed_to: Callable[[Op, str], ast.expr | None]
    condition: Callable[[Op], ast.expr]
    _of: dict[Value, LastAxis | None] = field(default_factory=dict)
    _there: dict[Value, LastAxis | None] = field(default_factory=dict)

    def of(self, value: Value) -> LastAxis | None:
        """The last axis of a value of the template, as code over the arguments."""
        if value not in self._of:
            self._of[value] = None  # of a value that depends on itself nothing is known
            self._of[value] = self._last_axis(value)
        return self._of[value]

    def there(self, value: Value) -> LastAxis | None:
        """The last axis of an optional node's output, only where the node is there."""
        if value not in self._there:
            self._there[value] = None
            op = value.op
            if op is not None and self._lacking(op):
                self._there[value] = self._measured(value, op, self._in_bodies(value, op))
        return self._there[value]

    def _lacking(self, op: Op) -> bool:
        """Whether a node is not there in all instances."""
        slot = self.group.template.slot_of(op)
        return not slot.repeated and len(self.group.cells(slot.position)) < len(self.group.bodies)

    def _in_bodies(self, value: Value, there: Op | None = None) -> list[Any]:
        """The last axis of a value in each body, or only where an op is there; None elsewhere."""
        instances = self.group.template.instances[value]
        return [
            each.tensor.shape[-1]
            if each is not None and each.tensor.rank and (there is None or (each.op and each.op.present))
            else None
            for each in instances
        ]

    def _last_axis(self, value: Value) -> LastAxis | None:
        group = self.group
        if value not in group.template.instances:
            return None
        sizes = self._in_bodies(value)
        known = [size for size in sizes if size is not None]
        if not known or not all(type(size) is int for size in known):
            return None
        if len(set(known)) == 1 and len(known) == len(sizes):
            return LastAxis(sizes, lambda: literal(known[0]))
        if value.op is None:
            word = next(word for word, each in group.graph.inputs.items() if each is value)
            channels = group.channels_of(word)
            return None if channels is None else LastAxis(channels, lambda: group.channels(word, channels))
        measured = self._measured(value, value.op, sizes)
        return (
            measured
            if measured is not None or not self._lacking(value.op)
            else self._chosen(value, value.op, sizes)
        )

    def _measured(self, value: Value, op: Op, sizes: list[Any]) -> LastAxis | None:
        """A size that gives these, or a multiple of one."""
        scaled: LastAxis | None = None
        for size in self._candidates(value, op):
            if size is None:
                continue
            pairs = [(there, here) for here, there in zip(sizes, size.sizes, strict=True) if here is not None]
            if pairs and all(same(there, here) for there, here in pairs):
                return LastAxis(sizes, size.code)
            if scaled is None and pairs and _factor(pairs) is not None:
                scaled = LastAxis(sizes, partial(_scaled, size, pairs))
        return scaled

    def _chosen(self, value: Value, op: Op, sizes: list[Any]) -> LastAxis | None:
        """The size of what an optional node gives, or passes through."""
        passed = self._passed(op)
        there, other = self.there(value), self.of(passed) if passed is not None else None
        if there is None or other is None:
            return None
        lacking = [body for body in range(len(sizes)) if there.sizes[body] is None]
        if any(not same(sizes[body], other.sizes[body]) for body in lacking):
            return None
        return LastAxis(sizes, lambda: choice(self.condition(op), there.code(), other.code()))

    def _candidates(self, value: Value, op: Op) -> Iterator[LastAxis | None]:
        """Where the size of an op's output may come from."""
        for written in op.expressions:
            if "index" not in written.expression.names and written.path != ("repeat",):
                yield self.evaluated(written.expression)
        slot = self.group.template.slot_of(op)
        if slot.repeated and op is not slot.op:
            key = next(key for key, each in op.outputs.items() if each is value)
            if key in slot.op.outputs:
                yield self.of(slot.op.outputs[key])
            yield self._progress(value, slot)
            yield self._last_of_list(value, slot)
            return
        if op.graph is not None:
            yield self._of_instance(value, op)
        yield from (self.there(each) for each in op.inputs[:MOST])
        sizes = [self.of(each) for each in op.inputs[:MOST]]
        yield from sizes
        if len(op.inputs) <= MOST:
            yield total(sizes)

    def _passed(self, op: Op) -> Value | None:
        """What is read where an optional node and those before it under the same condition are absent."""
        slot = self.group.template.slot_of(op)
        passed = self.group.template.passed.get(slot.position)
        if passed is None or passed.op is None or not self._lacking(passed.op):
            return passed
        before = self.group.template.slot_of(passed.op)
        bodies = [{body for body, _ in self.group.cells(each.position)} for each in (slot, before)]
        return self._passed(passed.op) if bodies[0] == bodies[1] else passed

    def _progress(self, value: Value, slot: Slot) -> LastAxis | None:
        """The size after a chain in which each instance adds as much as the others."""
        count = next((w.expression for w in slot.op.expressions if w.path == ("repeat",)), None)
        instances = self.group.template.instances[value]
        start = self.of(slot.op.inputs[0]) if slot.op.inputs else None
        if count is None or start is None or value.op is not slot.ops[-1] or slot.op.repeated != "repeat":
            return None
        steps: dict[Cell, Leaf] = {}
        counts = self.evaluated(count)
        if counts is None:
            return None
        for body, (each, before, times) in enumerate(zip(instances, start.sizes, counts.sizes, strict=True)):
            if each is None or type(before) is not int or type(times) is not int:
                return None
            added = each.tensor.shape[-1] - before
            if not isinstance(added, int) or (added % times if times else added):
                return None
            if times:
                steps[body, 0] = added // times
        if not steps:
            return None
        first = next(iter(steps.values()))
        alike = all(same(step, first) for step in steps.values())
        step = literal(first) if alike else self.group.equal_param(steps)
        if step is None:
            return None

        def code() -> ast.expr:
            parts = {"start": start.code(), "count": counts.code(), "step": step}
            return folded(fill("{start} + {count} * {step}", parts))

        return LastAxis([each.tensor.shape[-1] if each is not None else None for each in instances], code)

    def evaluated(self, expression: Expression) -> LastAxis | None:
        values = self.group.evaluate(expression)

        def code() -> ast.expr:
            written = self.group.expression(expression)
            assert written is not None, "an expression with a value in each body can be written"
            return written

        inputs = {f"given({word})" for word in self.group.graph.inputs}
        if not expression.names <= {*self.group.graph.visible, *inputs}:
            return None
        return LastAxis(values, code)

    def _of_instance(self, value: Value, op: Op) -> LastAxis | None:
        """The size that an inner instance gives, in terms of what it is given."""
        assert op.graph is not None
        key = next(key for key, each in op.outputs.items() if each is value)
        inner = self.inner(op.graph)
        if not all(self.inner(graph) is inner for graph in self._graphs_of(op)):
            return None
        size = inner.of(op.results[key])
        if size is None:
            return None
        before = dict(inner.group.args)
        code = size.code()
        if inner.group.args.keys() != before.keys():  # it would take an argument that the class does not have
            inner.group.args = before
            return None
        words = sorted(set(names_of(code)) & inner.group.args.keys())
        args_before = dict(self.group.args)
        parts = [self.passed_to(op, word) for word in words]
        self.group.args = args_before  # what was tried takes no argument
        if any(part is None or "index" in names_of(part) for part in parts):
            return None

        def written() -> ast.expr:
            passed = {word: self.passed_to(op, word) for word in words}
            return folded(_replaced(code, {word: part for word, part in passed.items() if part is not None}))

        return LastAxis(self._in_bodies(value, op), written)  # where it is left out, its class says nothing

    def _graphs_of(self, op: Op) -> Iterator[Graph]:
        """The graphs of all instances of the node of an op."""
        for each in self.group.cells(self.group.template.slot_of(op).position).values():
            if each.graph is not None:
                yield each.graph

    def _last_of_list(self, value: Value, slot: Slot) -> LastAxis | None:
        """The size after a chain whose sizes are the items of a list param, which may be empty."""
        start = self.of(slot.op.inputs[0]) if slot.op.inputs else None
        if start is None or value.op is not slot.ops[-1]:
            return None
        sizes = self._in_bodies(value)
        for word, lists in self.group.lists():
            ends = [items[-1] if items else start.sizes[body] for body, items in enumerate(lists)]
            counts = [slots[slot.position].count for slots in self.group.slots]
            if counts != [len(items) for items in lists] or not all(map(same, ends, sizes)):
                continue

            def code(word: str = word, empty: bool = not all(lists)) -> ast.expr:
                items = self.group.param(word)
                last = fill("{items}[-1]", {"items": items})
                return choice(items, last, start.code()) if empty else last

            return LastAxis(sizes, code)
        return None


def of_size(size: LastAxis | None, values: Mapping[Cell, Leaf]) -> ast.expr | None:
    """A size, or a multiple or a fraction of it, where it gives all these values."""
    if size is None or not values:
        return None
    if size.gives(values):
        return size.code()
    return _multiple(size, [(size.sizes[body], value) for (body, _), value in values.items()])


def _multiple(size: LastAxis, pairs: Sequence[tuple[Any, Any]]) -> ast.expr | None:
    """A multiple or a fraction of a size that gives the second of each pair for the first."""
    factor = _factor(pairs)
    if factor is None:
        return None
    text = f"{factor} * {{size}}" if factor > 0 else f"{{size}} // {-factor}"
    return folded(fill(text, {"size": size.code()}))


def _scaled(size: LastAxis, pairs: Sequence[tuple[Any, Any]]) -> ast.expr:
    code = _multiple(size, pairs)
    assert code is not None, "the pairs are multiples"
    return code


def _factor(pairs: Sequence[tuple[Any, Any]]) -> int | None:
    """What the second of each pair is of the first: so many times as much, or, negative, that part of it."""
    if not pairs or not all(type(a) is int and type(b) is int and a > 0 and b > 0 for a, b in pairs):
        return None
    a, b = map(int, pairs[0])
    if b % a == 0 and all(y == x * (b // a) for x, y in pairs):
        return b // a
    return -(a // b) if a % b == 0 and all(x == y * (a // b) for x, y in pairs) else None


def total(sizes: Sequence[LastAxis | None]) -> LastAxis | None:
    """The sum of sizes, if all are known."""
    known = [size for size in sizes if size is not None]
    if len(known) < 2 or len(known) < len(sizes):
        return None
    columns = list(zip(*(size.sizes for size in known), strict=True))
    totals = [None if None in column or MISSING in column else sum(column) for column in columns]

    def written() -> ast.expr:
        parts = [size.code() for size in known]
        if all(equal(part, parts[0]) for part in parts):
            return folded(fill(f"{len(parts)} * {{x}}", {"x": parts[0]}))
        code = parts[0]
        for part in parts[1:]:
            code = folded(fill("{a} + {b}", {"a": code, "b": part}))
        return code

    return LastAxis(totals, written)


def _replaced(node: ast.expr, replacements: Mapping[str, ast.expr]) -> ast.expr:
    """An expression with its names replaced."""

    class Replacement(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            return replacements.get(name.id, name)

    replaced: ast.expr = Replacement().visit(ast.parse(ast.unparse(node), mode="eval").body)
    return replaced
