"""A value of a class's constructor, written over the class's arguments.

The first of these that gives the value in every instance: the formula that the number came with, a literal,
the spec's expression for it, an item of a list or a choice at a loop's `index`, a new argument.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from graphspec.contract.arrays import Nested, Pairs
from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf
from graphspec.emit.code import choice, literal, name, template
from graphspec.emit.module_class import Cell, FixedParams, ModuleClass, plain
from graphspec.graph import ArgumentExpression, Op
from graphspec.traced import (
    INDEX,
    Symbolic,
    at_index,
    evaluated,
    formula,
    formula_of,
    formulas_in,
    simplest,
    times,
)
from graphspec.traced import plain as untraced


@dataclass(frozen=True, slots=True)
class Wish:
    """The use of a value: the argument `word` of the code at `hint`. With `strict`, only the spec's
    expression under that key spells it. The values of a loop, `looped` so often, may use `index`; others are
    of instance `number`.
    """

    word: str
    hint: str
    strict: bool = False
    looped: Symbolic | None = None
    number: int = 0


@dataclass(eq=False, slots=True)
class ValueWriter:
    """Writes values of one class."""

    group: ModuleClass

    def write(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        """The code of a value; None if one expression cannot say the differences in a loop."""
        code = self.traced(values, wish)
        if code is not None:
            return code
        if self.group.is_main and (unfit := self._unfit(values, wish)):
            raise FixedParams(unfit)
        first = untraced(next(iter(values.values())))
        alike = all(same(value, first) for value in values.values())
        everywhere = len({body for body, _ in values}) == len(self.group.bodies)
        if alike and (everywhere or _is_set(ops[next(iter(values))], wish.word)):
            return literal(first)
        code = self._first(lambda: self._spelled(values, ops, wish))
        if code is not None or alike:
            return code if code is not None else literal(first)
        return self._first(
            lambda: self._items(values, ops, wish),
            lambda: self.item_of_list(values) if wish.looped else None,
            lambda: self._by_index(values, ops, wish) if wish.looped else None,
            lambda: self._argument(values, wish),
        )

    def _first(self, *ways: Callable[[], ast.expr | None]) -> ast.expr | None:
        """The first code that these ways give; a way that gives none takes no argument."""
        for way in ways:
            before = dict(self.group.args)
            code = way()
            if code is not None:
                return code
            self.group.args = before
        return None

    # --- the formula that a number came with

    def traced(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """The formula of a number, or of some in a tuple, where it gives the value in every instance."""
        first = next(iter(values.values()))
        if not isinstance(first, tuple):
            ways = (self._holding(tree, values, wish) for tree in _formulas(values, wish))
            return next((code for code in ways if code is not None), None)
        if not formulas_in(first) or isinstance(first, Nested | Pairs):
            return None
        if any(type(row) is not tuple or len(row) != len(first) for row in values.values()):
            return None
        parts: list[ast.expr] = []
        for place, own in enumerate(first):
            each: dict[Cell, Leaf] = {cell: row[place] for cell, row in values.items()}  # type: ignore[index]
            part = self.traced(each, wish)
            if part is None and all(same(value, own) for value in each.values()):
                part = literal(untraced(own))
            if part is None:
                return None
            parts.append(part)
        return ast.Tuple(parts, ast.Load())

    def _unfit(self, values: Mapping[Cell, Leaf], wish: Wish) -> set[str]:
        """The params with other values of which no formula holds that holds for the program itself."""
        fewest: set[str] = set()
        for tree in _formulas(values, wish):
            wrong = {
                body for (body, number), value in values.items() if not self._gives(tree, body, number, value)
            }
            if wrong and min(wrong) >= self.group.real and (not fewest or len(wrong) < len(fewest)):
                fewest = {word for body in wrong for word in self.group.probes[body - self.group.real]}
        return fewest

    def _gives(self, tree: Symbolic, body: int, number: int, value: Leaf) -> bool:
        try:
            found = evaluated(tree, lambda leaf: self.group.leaf_value(leaf, body, number))
        except (LookupError, ArithmeticError, TypeError, ValueError):
            return False
        return same(found, value) or (type(found) is int and isinstance(value, float) and found == value)

    def _holding(self, tree: Symbolic, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """The code of a formula, if it gives these values."""
        if not all(self._gives(tree, body, number, value) for (body, number), value in values.items()):
            return None
        return self.group.formula(tree, wish.looped is not None)

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

    # --- loops, and what is left

    def item_of_list(self, values: Mapping[Cell, Leaf]) -> ast.expr | None:
        """The item of a list param at the index of a loop."""
        for word, lists in self.group.lists():
            if all(
                len(lists[body]) > number and same(lists[body][number], value)
                for (body, number), value in values.items()
            ):
                return ast.Subscript(self.group.param(word), name("index"), ast.Load())
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
            part = self._constant(each, ops, wish)
            if part is None:
                return None
            parts.append(part)
        return ast.Tuple(parts, ast.Load())

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
        return None

    def _constant(self, values: Mapping[Cell, Leaf], ops: Mapping[Cell, Op], wish: Wish) -> ast.expr | None:
        code = self.traced(values, replace(wish, looped=None))
        first = untraced(next(iter(values.values())))
        if code is None and all(same(value, first) for value in values.values()):
            return literal(first)
        once = {cell: ops[cell] if cell in ops else ops[cell[0], 0] for cell in values}
        return code or self._spelled(values, once, replace(wish, looped=None))

    def _argument(self, values: Mapping[Cell, Leaf], wish: Wish) -> ast.expr | None:
        """A new argument, if there is one value per body."""
        in_bodies: dict[int, Leaf] = {}
        for (body, _), value in values.items():
            if not same(in_bodies.setdefault(body, value), value):
                return None
        fallback = next(iter(in_bodies.values()))
        filled = [in_bodies.get(body, fallback) for body in range(len(self.group.bodies))]
        return template(self.group.argument(wish.hint, filled).name)


def _formulas(values: Mapping[Cell, Leaf], wish: Wish) -> Iterator[Symbolic]:
    """The formulas that numbers may have in common: theirs, and for a loop those over its index."""

    def numbered(tree: Symbolic) -> Symbolic:
        return (None if wish.looped else at_index(tree, formula("constant", wish.number))) or tree

    rows: dict[int, list[Symbolic]] = {}
    for (body, _), value in values.items():
        if (tree := formula_of(value)) is not None:
            rows.setdefault(body, []).append(numbered(tree))
    known: set[Symbolic] = set()
    for row in rows.values():
        if all(tree.kind == "constant" for tree in row):
            continue
        for tree in [*row[:1], *(_over_index(row, wish.looped) if wish.looped and len(row) > 1 else ())]:
            if tree not in known and tree.kind != "constant":
                known.add(tree)
                yield tree


def _over_index(row: list[Symbolic], count: Symbolic) -> Iterator[Symbolic]:
    """One formula for the instances of a loop: with `index`, the one before it, or it counted from the end in
    place of the number of an instance.
    """
    one = formula("constant", 1)
    at_first = formula("compare", formula("constant", "Eq"), INDEX, formula("constant", 0))
    from_end = formula("-", formula("-", count, INDEX), one)
    for first in (0, 1):
        places = [(first, INDEX), (first - 1, formula("-", INDEX, one)), (len(row) - 1 - first, from_end)]
        indexed = [_with(row[first], formula("constant", number), place) for number, place in places]
        for tree in sorted(indexed, key=lambda tree: tree is row[first]):  # what is the same for all, last
            yield tree
            if first:
                yield formula("if", at_first, row[0], tree)
    step = simplest(formula("-", row[1], row[0]))
    yield formula("+", row[0], times(INDEX, step))


def _with(tree: Symbolic, old: Symbolic, place: Symbolic) -> Symbolic:
    """A formula with another in place of a part."""

    def changed(part: Symbolic) -> Symbolic:
        if part is old:
            return place
        if not any(isinstance(each, Symbolic) for each in part.parts):
            return part
        return formula(
            part.kind, *(changed(each) if isinstance(each, Symbolic) else each for each in part.parts)
        )

    return changed(tree)


def _names(written: ArgumentExpression, word: str) -> bool:
    """Whether the spec's key of an expression is what PyTorch calls `word`: `strides` is its `stride`."""
    key = next((str(part) for part in reversed(written.path) if isinstance(part, str)), "")
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
