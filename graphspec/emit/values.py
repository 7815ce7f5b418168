"""A value of a class's constructor, written over the class's arguments.

The first of these that gives the value in every instance: a literal, the spec's expression for it, the size
of what the node reads, a param or a size of equal value, a function of a loop's `index`, a new argument.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphspec.contract.arrays import Nested, Pairs
from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf
from graphspec.emit.code import choice, equal, fill, folded, literal, template
from graphspec.emit.code import names as names_of
from graphspec.emit.module_class import MISSING, Cell, ModuleClass, plain
from graphspec.emit.slots import Slot
from graphspec.expressions import Expression
from graphspec.graph import ArgumentExpression, Graph, Op, Value

MOST = 8
"""Sizes of so many inputs are added up."""


@dataclass(frozen=True, slots=True)
class LastAxis:
    """The last axis of a value: in each body (None where it is not there), and as code."""

    sizes: Sequence[Any]
    code: Callable[[], ast.expr]

    def gives(self, values: Mapping[Cell, Leaf]) -> bool:
        return all(value is not None and same(self.sizes[body], value) for (body, _), value in values.items())


@dataclass(frozen=True, slots=True)
class Wish:
    """The use of a value: the argument `word` of the code at `hint`, which reads `sources`.

    `before` is the place of its node: the sizes of later ones follow from it. With `strict`, only the spec's
    expression under that key spells it. `looped` values may use `index`, and from the second instance on they
    read `chained`.
    """

    word: str
    hint: str
    sources: tuple[Value, ...] = ()
    before: int = 0
    strict: bool = False
    looped: bool = False
    chained: Value | None = None


@dataclass(eq=False, slots=True)
class ValueWriter:
    """Writes values of one class. `inner` gives the writer of an inner instance's class; `passed_to` the code
    of an argument of that class, at an op of this one; `condition` the code that says whether an op is there.
    """

    group: ModuleClass
    inner: Callable[[Graph], ValueWriter]
    passed_to: Callable[[Op, str], ast.expr | None]
    condition: Callable[[Op], ast.expr]
    _sizes: dict[Value, LastAxis | None] = field(default_factory=dict)
    _there: dict[Value, LastAxis | None] = field(default_factory=dict)

    def write(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        """The code of a value; None if one expression cannot say the differences in a loop."""
        first = next(iter(values.values()))
        alike = all(same(value, first) for value in values.values())
        everywhere = len({body for body, _ in values}) == len(self.group.bodies)
        if alike and (everywhere or _is_set(ops[next(iter(values))], wish.word)):
            return literal(first)
        code = self._first(lambda: self._spelled(values, ops, wish), lambda: self._read(values, wish))
        if code is None and alike and isinstance(first, tuple):
            code = self._first(lambda: self._items(values, ops, wish))
        if code is not None or alike:
            return code if code is not None else literal(first)
        return self._first(
            lambda: self._param(values, wish),
            lambda: self._items(values, ops, wish),
            lambda: self._anywhere(values, wish),
            lambda: self.item_of_list(values, 0) if wish.looped else None,
            lambda: self._by_index(values, ops, wish) if wish.looped else None,
            lambda: self._argument(values, wish),
        )

    def _first(self, *ways: Callable[[], ast.expr | None]) -> ast.expr | None:
        """What the first way gives that gives anything; one that gives nothing takes no argument."""
        for way in ways:
            before = dict(self.group.args)
            code = way()
            if code is not None:
                return code
            self.group.args = before
        return None

    # --- the spec's expression

    def _spelled(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        """The spec's own expression for an argument of the node."""
        first = ops[next(iter(values))]
        for written in sorted(first.expressions, key=lambda each: not _names(each, wish.word)):
            if wish.strict and not _names(written, wish.word):
                continue
            if not wish.strict and not _names(written, wish.word) and _is_set(first, wish.word):
                continue
            if "index" in written.expression.names and not wish.looped:
                continue
            if all(_gives(ops[cell], written, value) for cell, value in values.items()):
                code = self.group.expression(written.expression)
                if code is not None:
                    return code
        return None

    def _param(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """A param of equal value: the one of that name, one of the block's own, one of the file."""
        graph = self.group.graph
        words = sorted(graph.visible, key=lambda word: (word != wish.word, word not in graph.declared))
        for word in words:
            in_bodies = [plain(body.visible.get(word)) for body in self.group.bodies]
            if all(same(in_bodies[body], value) for (body, _), value in values.items()):
                code = self.group.param(word)
                if not isinstance(code, ast.Constant):
                    return code
        return None

    # --- sizes

    def _read(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """The size of what the node reads, or a multiple of it."""
        for value in wish.sources[:MOST]:
            for size in (self.size_there(value), self.size(value)):
                code = self._of_size(size, values)
                if code is not None:
                    return code
        if wish.chained is not None:
            return self._chained(values, wish)
        total = _sum([self.size(value) for value in wish.sources[:MOST]])
        return self._of_size(total, values)

    def _chained(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """A size that is another in the first instance than in those that read the one before."""
        assert wish.chained is not None
        first = {cell: value for cell, value in values.items() if cell[1] == 0}
        rest = {cell: value for cell, value in values.items() if cell[1] > 0}
        sizes = [size for v in wish.sources for size in (self.size_there(v), self.size(v))]
        start = next((code for size in sizes if (code := self._of_size(size, first))), None)
        then = (self.item_of_list(rest, 1) or self._of_size(self.size(wish.chained), rest)) if rest else None
        if start is None or then is None:
            return None
        return start if equal(start, then) else choice(template("index == 0"), start, then)

    def _of_size(self, size: LastAxis | None, values: Mapping[Cell, Leaf]) -> ast.expr | None:
        """A size, or a multiple or a fraction of it, where it gives all these values."""
        if size is None or not values:
            return None
        if size.gives(values):
            return size.code()
        return self._multiple(size, [(size.sizes[body], value) for (body, _), value in values.items()])

    def _multiple(self, size: LastAxis, pairs: Sequence[tuple[Any, Any]]) -> ast.expr | None:
        """A multiple or a fraction of a size that gives the second of each pair for the first."""
        factor = _factor(pairs)
        if factor is None:
            return None
        text = f"{factor} * {{size}}" if factor > 0 else f"{{size}} // {-factor}"
        return folded(fill(text, {"size": size.code()}))

    def size(self, value: Value) -> LastAxis | None:
        """The last axis of a value of the template, as code over the arguments."""
        if value not in self._sizes:
            self._sizes[value] = None  # of a value that depends on itself nothing is known
            self._sizes[value] = self._last_axis(value)
        return self._sizes[value]

    def size_there(self, value: Value) -> LastAxis | None:
        """The last axis of an optional node's output, only where the node is there."""
        if value not in self._there:
            self._there[value] = None
            op = value.op
            if op is not None and self._lacking(op):
                self._there[value] = self._measured(value, op, self._sizes_of(value, op))
        return self._there[value]

    def _lacking(self, op: Op) -> bool:
        """Whether a node is not there in all instances."""
        slot = self.group.template.slot_of(op)
        return not slot.repeated and len(self.group.cells(slot.position)) < len(self.group.bodies)

    def _sizes_of(self, value: Value, there: Op | None = None) -> list[Any]:
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
        sizes = self._sizes_of(value)
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
                scaled = LastAxis(sizes, partial(self._scaled, size, pairs))
        return scaled

    def _scaled(self, size: LastAxis, pairs: Sequence[tuple[Any, Any]]) -> ast.expr:
        code = self._multiple(size, pairs)
        assert code is not None, "the pairs are multiples"
        return code

    def _chosen(self, value: Value, op: Op, sizes: list[Any]) -> LastAxis | None:
        """The size of what an optional node gives, or passes through."""
        passed = self._passed(op)
        there, other = self.size_there(value), self.size(passed) if passed is not None else None
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
                yield self._evaluated(written.expression)
        slot = self.group.template.slot_of(op)
        if slot.repeated and op is not slot.op:
            key = next(key for key, each in op.outputs.items() if each is value)
            if key in slot.op.outputs:
                yield self.size(slot.op.outputs[key])
            yield self._progress(value, slot)
            yield self._last_of_list(value, slot)
            return
        if op.graph is not None:
            yield self._of_instance(value, op)
        yield from (self.size_there(each) for each in op.inputs[:MOST])
        sizes = [self.size(each) for each in op.inputs[:MOST]]
        yield from sizes
        if len(op.inputs) <= MOST:
            yield _sum(sizes)

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
        start = self.size(slot.op.inputs[0]) if slot.op.inputs else None
        if count is None or start is None or value.op is not slot.ops[-1] or slot.op.repeated != "repeat":
            return None
        steps: dict[Cell, Leaf] = {}
        counts = self._evaluated(count)
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
        step = literal(first) if alike else self._param(steps, Wish("", ""))
        if step is None:
            return None

        def code() -> ast.expr:
            parts = {"start": start.code(), "count": counts.code(), "step": step}
            return folded(fill("{start} + {count} * {step}", parts))

        return LastAxis([each.tensor.shape[-1] if each is not None else None for each in instances], code)

    def _evaluated(self, expression: Expression) -> LastAxis | None:
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
        size = inner.size(op.results[key])
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

        return LastAxis(self._sizes_of(value, op), written)  # where it is left out, its class says nothing

    def _graphs_of(self, op: Op) -> Iterator[Graph]:
        """The graphs of all instances of the node of an op."""
        for each in self.group.cells(self.group.template.slot_of(op).position).values():
            if each.graph is not None:
                yield each.graph

    def _anywhere(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """An expression of another node of the block, or the size of another value."""
        graph = self.group.graph
        for expression in dict.fromkeys(w.expression for op in graph.ops for w in op.expressions):
            evaluated = self._evaluated(expression) if "index" not in expression.names else None
            if evaluated is not None and evaluated.gives(values):
                return evaluated.code()
        every = [*(value for value in graph.inputs.values() if value is not None)]
        slots = self.group.template.slots[: wish.before]
        every += [value for slot in slots for op in slot.ops for value in op.outputs.values()]
        for value in every:
            size = self.size(value)
            if size is not None and size.gives(values):
                return size.code()
        return None

    # --- loops, and what is left

    def lists(self) -> Iterator[tuple[str, list[tuple[Leaf, ...]]]]:
        """The params that are lists, and not the same in all bodies, with the list of each body."""
        graph = self.group.graph
        for word in sorted(graph.visible, key=lambda word: word not in graph.declared):
            rows = [plain(body.visible.get(word)) for body in self.group.bodies]
            lists = [row for row in rows if isinstance(row, tuple)]
            if len(lists) == len(rows) and not all(same(row, rows[0]) for row in rows):
                yield word, lists

    def item_of_list(self, values: Mapping[Cell, Leaf], behind: int) -> ast.expr | None:
        """The item of a list param at the index of a loop, or so many before it."""
        for word, lists in self.lists():
            if all(
                len(lists[body]) > number - behind >= 0 and same(lists[body][number - behind], value)
                for (body, number), value in values.items()
            ):
                place = template(f"index - {behind}" if behind else "index")
                return ast.Subscript(self.group.param(word), place, ast.Load())
        return None

    def _last_of_list(self, value: Value, slot: Slot) -> LastAxis | None:
        """The size after a chain whose sizes are the items of a list param, which may be empty."""
        start = self.size(slot.op.inputs[0]) if slot.op.inputs else None
        if start is None or value.op is not slot.ops[-1]:
            return None
        sizes = self._sizes_of(value)
        for word, lists in self.lists():
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

    def _items(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        """A tuple item by item."""
        rows = list(values.values())
        if not all(type(row) is tuple and len(row) == len(rows[0]) for row in rows):  # type: ignore[arg-type]
            return None
        if any(isinstance(row, Nested | Pairs) for row in rows):
            return None
        parts = []
        for place in range(len(rows[0])):  # type: ignore[arg-type]
            each: dict[Cell, Leaf] = {cell: row[place] for cell, row in values.items()}  # type: ignore[index]
            part = self._plainly(each, ops, wish)
            if part is None:
                return None
            parts.append(part)
        return ast.Tuple(parts, ast.Load())

    def _plainly(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        """A value without a new argument."""
        first = next(iter(values.values()))
        if all(same(value, first) for value in values.values()):
            everywhere = len({body for body, _ in values}) == len(self.group.bodies)
            return (None if everywhere else self._spelled(values, ops, wish)) or literal(first)
        return (
            self._spelled(values, ops, wish)
            or self._read(values, wish)
            or self._param(values, wish)
            or self._anywhere(values, wish)
        )

    def _by_index(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
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
            a, b = self._constant(first, ops, wish), self._constant(rest, ops, wish)
            return choice(template("index == 0"), a, b) if a and b else None
        if longest > 2 and all(type(value) is int for row in rows.values() for value in row):
            return self._arithmetic(rows, ops, wish)  # type: ignore[arg-type]
        return None

    def _arithmetic(self, rows: dict[int, list[int]], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        steps = {body: row[1] - row[0] if len(row) > 1 else None for body, row in rows.items()}
        if any(
            row != [row[0] + (steps[body] or 0) * i for i in range(len(row))] for body, row in rows.items()
        ):
            return None
        start = self._constant({(body, 0): row[0] for body, row in rows.items()}, ops, wish)
        known: dict[Cell, Leaf] = {(body, 0): step for body, step in steps.items() if step is not None}
        step = self._constant(known, ops, wish)
        return fill("{start} + {step} * index", {"start": start, "step": step}) if start and step else None

    def _constant(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        once = {cell: ops[cell] if cell in ops else ops[cell[0], 0] for cell in values}
        first = next(iter(values.values()))
        if all(same(value, first) for value in values.values()):
            return literal(first)
        return self._plainly(values, once, Wish(wish.word, wish.hint, wish.sources, wish.before))

    def _argument(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """A new argument, if there is one value per body."""
        in_bodies: dict[int, Leaf] = {}
        for (body, _), value in values.items():
            if not same(in_bodies.setdefault(body, value), value):
                return None
        fallback = next(iter(in_bodies.values()))
        filled = [in_bodies.get(body, fallback) for body in range(len(self.group.bodies))]
        return template(self.group.argument(wish.hint, filled).name)


def _factor(pairs: Sequence[tuple[Any, Any]]) -> int | None:
    """What the second of each pair is of the first: so many times as much, or, negative, that part of it."""
    if not pairs or not all(type(a) is int and type(b) is int and a > 0 and b > 0 for a, b in pairs):
        return None
    a, b = map(int, pairs[0])
    if b % a == 0 and all(y == x * (b // a) for x, y in pairs):
        return b // a
    return -(a // b) if a % b == 0 and all(x == y * (a // b) for x, y in pairs) else None


def _sum(sizes: Sequence[LastAxis | None]) -> LastAxis | None:
    """The sum of sizes, if all are known."""
    known = [size for size in sizes if size is not None]
    if len(known) < 2 or len(known) < len(sizes):
        return None
    columns = list(zip(*(size.sizes for size in known), strict=True))
    totals = [None if None in column or MISSING in column else sum(column) for column in columns]

    def code() -> ast.expr:
        parts = [size.code() for size in known]
        if all(equal(part, parts[0]) for part in parts):
            return folded(fill(f"{len(parts)} * {{x}}", {"x": parts[0]}))
        total = parts[0]
        for part in parts[1:]:
            total = folded(fill("{a} + {b}", {"a": total, "b": part}))
        return total

    return LastAxis(totals, code)


def _names(written: ArgumentExpression, word: str) -> bool:
    """Whether the spec's key of an expression is what PyTorch calls `word`: `strides` is its `stride`."""
    key = str(written.path[0]) if written.path else ""
    return bool(key) and (key == word or key == f"{word}s" or word == f"{key}s")


def _is_set(op: Op, word: str) -> bool:
    """Whether the spec gives a layer another value for an argument than an expression."""
    if op.layer is None:
        return False
    written = {str(each.path[0]) for each in op.expressions if each.path}
    keys = word, f"{word}s", type(op.layer).synonyms.get(word, word)
    return any(key in op.layer.model_fields_set and key not in written for key in keys)


def _gives(op: Op, written: ArgumentExpression, value: Leaf) -> bool:
    """Whether the same expression of an instance's op gives a value."""
    return any(
        each.path == written.path
        and each.expression.text == written.expression.text
        and same(plain(each.value), value)
        for each in op.expressions
    )


def _replaced(node: ast.expr, replacements: Mapping[str, ast.expr]) -> ast.expr:
    """An expression with its names replaced."""

    class Replacement(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            return replacements.get(name.id, name)

    replaced: ast.expr = Replacement().visit(ast.parse(ast.unparse(node), mode="eval").body)
    return replaced
