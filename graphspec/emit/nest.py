"""Nests values into the only statement that reads them, as long as the result stays readable.

A statement absorbs only the one directly before it, so the order of computation stays the same. A call of a
module keeps its own line if the line shows a shape. Other nested code must fit on one line.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from graphspec.emit.body import Assign, Return, Statement, read_by
from graphspec.emit.code import Read, reads, replace, rewritten, walk
from graphspec.emit.printer import WIDTH, bare, flat, lines
from graphspec.graph import Formula

DEPTH = 3
"""So many calls are nested."""


class Nesting:
    """`shown` are the shapes that comments show, `indent` is that of the statements."""

    def __init__(self, body: list[Statement], shown: dict[Assign | Return, str], indent: int = 8):
        self.body, self.shown, self.shows, self.indent = body, shown, bool(shown), indent
        self.counts = Counter(variable for statement in body for variable in read_by(statement))
        self.written: list[Statement] = []

    def nested(self) -> list[Statement]:
        """The statements after nesting."""
        for statement in self.body:
            if isinstance(statement, Assign | Return):
                self._take_in(statement)
                statement.value = rewritten(statement.value, permuted_once)
            self.written.append(statement)
        return self.written

    def _take_in(self, statement: Assign | Return) -> None:
        while self.written:
            for source, read in self._items(statement):
                self._join(source, statement, read)
            if not self.written:
                break
            before = self.written[-1]
            nearest = self._readable(before, statement)
            if nearest is None:
                break
            assert isinstance(before, Assign)
            if calls_module(before.value) and _is_item(nearest, statement.value):
                break
            if not self._fits(before, statement, nearest):
                break
            self._join(before, statement, nearest)

    def _readable(self, before: Statement, statement: Assign | Return) -> Read | None:
        """Where a statement reads the result of the statement before it, if nothing else does."""
        if not isinstance(before, Assign) or len(before.targets) != 1:
            return None
        (variable,) = before.targets
        if variable is None or variable.several or self.counts[variable] != 1:
            return None
        return next((read for read in unconditional(statement.value) if read.variable is variable), None)

    def _items(self, statement: Assign | Return) -> list[tuple[Assign, Read]]:
        """The statements that compute the items of a list, the last first.

        Nothing else may read their results, and the list must fit on one line, or each item on one line.
        Functions between them are computed before the list.
        """
        if self.shows or not any(_items(node) for node in walk(statement.value)):
            return []
        trial, pairs = statement.value, list[tuple[Assign, Read]]()
        alone = {r.variable for r in reads(trial) if self.counts[r.variable] == 1 and not r.variable.several}
        for before in reversed(self.written):
            read = self._readable(before, statement)
            if not alone:
                break
            if read is None or read.variable not in alone:
                if _only_computes(before):
                    continue
                return []
            assert isinstance(before, Assign)
            value = before.value
            if isinstance(value, ast.IfExp | ast.ListComp) or depth(value) >= DEPTH - 1:
                return []
            trial = replace(trial, read, value)
            alone.discard(read.variable)
            pairs.append((before, read))
        if alone or depth(trial) > DEPTH:
            return []
        return pairs if self._is_short(statement, trial, len(pairs)) else []

    def _is_short(self, statement: Assign | Return, value: ast.expr, saved: int) -> bool:
        """Whether a list fits on one line, or is in brackets and saves more lines than that."""
        if self._line(statement, value) <= WIDTH:
            return True
        return saved >= 3 == len(lines(_head(statement), value, self.indent))

    def _fits(self, source: Assign, statement: Assign | Return, read: Read) -> bool:
        if statement.value is read:
            return True
        if formula_of(source, statement) is not None:
            return self._line(statement, replace(statement.value, read, source.value)) <= WIDTH
        if isinstance(source.value, ast.IfExp | ast.ListComp):
            return False
        if isinstance(statement, Return) and isinstance(statement.value, ast.Dict | ast.Tuple):
            if calls_module(source.value) and self.shows:
                return False
        elif self.shows and calls_module(source.value) and calls_module(statement.value):
            return False
        trial = replace(statement.value, read, source.value)
        return depth(trial) <= DEPTH and self._line(statement, trial) <= WIDTH

    def _line(self, statement: Assign | Return, value: ast.expr) -> int:
        """The length of the line; for a dictionary, of its longest line.

        A return may give its shape to a nested call: the shape is shown where that is called.
        """
        if isinstance(value, ast.Dict) and len(value.values) > 1:
            pairs = zip(value.keys, value.values, strict=True)
            return (
                self.indent
                + 4
                + max(len(f"{flat(key)}: {flat(each)},") for key, each in pairs if key is not None)
            )
        shape = self.shown.get(statement, "") if isinstance(statement, Assign) else ""
        return self.indent + len(_head(statement)) + len(bare(value)) + (len(shape) + 4 if shape else 0)

    def _join(self, source: Assign, statement: Assign | Return, read: Read) -> None:
        if statement.value is read and statement.result is None:
            statement.result, statement.channels_first = source.result, source.channels_first
            if source in self.shown:
                self.shown[statement] = self.shown[source]
        statement.value = replace(statement.value, read, source.value)
        statement.span = statement.span or source.span
        statement.ops = [*source.ops, *statement.ops]
        self.written.remove(source)


def formula_of(*statements: Assign | Return) -> Formula | None:
    """The formula that statements are steps of, which keeps the form that it has in the spec."""
    formulas = {op.formula for statement in statements for op in statement.ops}
    return formulas.pop() if len(formulas) == 1 else None


def _head(statement: Assign | Return) -> str:
    """The text before a statement's expression."""
    if isinstance(statement, Return):
        return "return "
    return ", ".join(target.word if target is not None else "_" for target in statement.targets) + " = "


def _items(node: ast.AST) -> list[ast.expr]:
    """The items of a list of several."""
    return node.elts if isinstance(node, ast.List) and len(node.elts) > 1 else []


def _is_item(read: Read, value: ast.expr) -> bool:
    """Whether a variable is read as one of several items of a list."""
    return any(read in _items(node) for node in walk(value))


def _only_computes(statement: Statement) -> bool:
    """Whether a statement may be moved before modules that it does not read.

    It calls no module, draws no random numbers and works on nothing in place.
    """
    targets = statement.targets if isinstance(statement, Assign) else [None]
    if not isinstance(statement, Assign) or any(each is None or each.several for each in targets):
        return False
    if any(op.layer is None or op.layer.random for op in statement.ops) or not statement.ops:
        return False
    parts = list(walk(statement.value))
    words = {part.id for part in parts if isinstance(part, ast.Name)}
    words |= {part.arg or "" for part in parts if isinstance(part, ast.keyword)}
    return not words & {"self", "inplace"}


def unconditional(node: ast.expr) -> Iterator[Read]:
    """The reads of an expression that happen exactly once whenever it is computed."""
    if isinstance(node, Read):
        yield node
    if isinstance(node, ast.IfExp | ast.ListComp | ast.GeneratorExp | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword):
            child = child.value
        if isinstance(child, ast.expr):
            yield from unconditional(child)


def calls_module(node: ast.expr) -> bool:
    """Whether a submodule is called: `self.conv(x)`, `self.blocks[0](x)`."""
    return any(isinstance(each, ast.Call) and _of_self(each.func) for each in walk(node))


def permuted_once(node: ast.expr) -> ast.expr:
    """One permutation of axes in place of two, or none where the second undoes the first."""
    if (second := _permutation(node)) is None or (first := _permutation(second[0])) is None:
        return node
    (x, before), after = first, second[1]
    rank = max(len(before), len(after))  # a transpose leaves the axes after its own
    before, after = ((*axes, *range(len(axes), rank)) for axes in (before, after))
    axes = [before[axis] for axis in after]
    if axes == [*range(rank)]:
        return x
    return ast.Call(ast.Attribute(x, "permute", ast.Load()), [*map(ast.Constant, axes)], [])


def _permutation(node: ast.expr) -> tuple[ast.expr, tuple[int, ...]] | None:
    """The tensor whose axes an expression permutes, and their order, as far as it changes."""
    match node:
        case ast.Call(ast.Attribute(x, "permute"), args, []):
            axes = [axis for each in args if isinstance(axis := getattr(each, "value", None), int)]
            return (x, tuple(axes)) if len(axes) == len(args) else None
        case ast.Call(ast.Attribute(x, "transpose"), [ast.Constant(1), ast.Constant(2)], []):
            return x, (0, 2, 1)
    return None


def _of_self(function: ast.expr) -> bool:
    while isinstance(function, ast.Subscript):
        function = function.value
    of = function.value if isinstance(function, ast.Attribute) else function
    return isinstance(of, ast.Name) and of.id == "self"


def depth(node: ast.expr) -> int:
    """How deep function calls and operations in parentheses are nested."""
    inner = max(
        (depth(part) for child in ast.iter_child_nodes(node) if (part := _part(child)) is not None), default=0
    )
    if isinstance(node, ast.Call):
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        return inner + (owner is None or isinstance(owner, ast.Name | ast.BinOp | ast.UnaryOp))
    return inner


def _part(child: ast.AST) -> ast.expr | None:
    if isinstance(child, ast.keyword):
        return child.value
    return child if isinstance(child, ast.expr) else None
