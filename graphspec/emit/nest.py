"""Nests values into the only statement that reads them, as long as the result stays readable.

A statement absorbs only the one directly before it, so the order of computation stays the same. A call of a
module keeps its own line if the line shows a shape. Other nested code must fit on one line.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from graphspec.emit.body import Assign, Return, Statement, assigned_by, read_by
from graphspec.emit.code import Read, Variable, reads, replace, walk
from graphspec.emit.memory import Peaks, size, storage
from graphspec.emit.printer import WIDTH, bare, flat, lines
from graphspec.graph import Formula

DEPTH = 3
"""So many calls are nested."""


@dataclass(eq=False, slots=True)
class PlacedStatement:
    """A written statement, its position, and the bytes that nesting keeps in memory while it runs."""

    statement: Statement
    number: int
    kept: int = 0


class Nesting:
    """`shown` are the shapes that comments show, `room` the bytes that may be in use."""

    def __init__(self, body: list[Statement], shown: dict[Assign | Return, str], room: int, peaks: Peaks):
        self.body, self.shown, self.room, self.peaks = body, shown, room, peaks
        self.shows = bool(shown)
        self.counts: Counter[Variable] = Counter()
        self.last: dict[Variable, int] = {}
        for number, statement in enumerate(body):
            for variable in read_by(statement):
                self.counts[variable] += 1
                self.last[variable] = number
        self.written: list[PlacedStatement] = []

    def nested(self) -> list[Statement]:
        """The statements after nesting."""
        held = 0
        for number, statement in enumerate(self.body):
            placed = PlacedStatement(statement, number)
            done = {variable for variable in read_by(statement) if self.last[variable] == number}
            if isinstance(statement, Assign | Return):
                self._take_in(placed, held)
            self.written.append(placed)
            held += sum(map(bytes_of, set(assigned_by(statement))))
            held -= sum(map(bytes_of, done))
        return [placed.statement for placed in self.written]

    def _take_in(self, placed: PlacedStatement, held: int) -> None:
        statement = placed.statement
        assert isinstance(statement, Assign | Return)
        while self.written:
            for before, read in self._items(statement, held):
                self._join(before, placed, read)
            if not self.written:
                break
            before = self.written[-1]
            nearest = self._readable(before.statement, statement)
            if nearest is None:
                break
            assert isinstance(before.statement, Assign)
            if calls_module(before.statement.value) and _is_item(nearest, statement.value):
                break
            if not self._fits(before, placed, nearest, held):
                break
            self._join(before, placed, nearest)

    def _readable(self, before: Statement, statement: Assign | Return) -> Read | None:
        """Where a statement reads the result of the statement before it, if nothing else does."""
        if not isinstance(before, Assign) or len(before.targets) != 1:
            return None
        (variable,) = before.targets
        if variable is None or variable.several or self.counts[variable] != 1:
            return None
        return next((read for read in unconditional(statement.value) if read.variable is variable), None)

    def _items(self, statement: Assign | Return, held: int) -> list[tuple[PlacedStatement, Read]]:
        """The statements that compute the items of a list, the last first.

        Nothing else may read their results, and the list must fit on one line, or each item on one line.
        Functions between them are computed before the list.
        """
        if self.shows or not any(_items(node) for node in walk(statement.value)):
            return []
        trial, pairs = statement.value, list[tuple[PlacedStatement, Read]]()
        alone = {r.variable for r in reads(trial) if self.counts[r.variable] == 1 and not r.variable.several}
        for placed in reversed(self.written):
            read = self._readable(placed.statement, statement)
            if not alone:
                break
            if read is None or read.variable not in alone:
                if _only_computes(placed.statement):
                    continue
                return []
            assert isinstance(placed.statement, Assign)
            value = placed.statement.value
            if isinstance(value, ast.IfExp | ast.ListComp) or depth(value) >= DEPTH - 1:
                return []
            trial = replace(trial, read, value)
            alone.discard(read.variable)
            pairs.append((placed, read))
        makes = max((self.peaks.during(op) for op in statement.ops), default=0)
        kept = sum(self._let_go(placed) for placed, _ in pairs)
        if alone or depth(trial) > DEPTH or held + kept + makes > self.room:
            return []
        return pairs if self._is_short(statement, trial, len(pairs)) else []

    def _is_short(self, statement: Assign | Return, value: ast.expr, saved: int) -> bool:
        """Whether a list fits on one line, or is in brackets and saves more lines than that."""
        if self._line(statement, value) <= WIDTH:
            return True
        return saved >= 3 == len(lines(_head(statement), value, 8))

    def _fits(self, before: PlacedStatement, placed: PlacedStatement, read: Read, held: int) -> bool:
        statement, source = placed.statement, before.statement
        assert isinstance(statement, Assign | Return) and isinstance(source, Assign)
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
        if depth(trial) > DEPTH or self._line(statement, trial) > WIDTH:
            return False
        makes = max(map(self.peaks.during, statement.ops), default=0)
        return held + self._let_go(before) + makes <= self.room

    def _let_go(self, before: PlacedStatement) -> int:
        """The bytes that a statement reads for the last time. Nesting holds them for one more statement."""
        mine = {variable for variable in read_by(before.statement) if self.last[variable] == before.number}
        return before.kept + sum(bytes_of(variable) for variable in mine if not variable.is_argument)

    def _line(self, statement: Assign | Return, value: ast.expr) -> int:
        """The length of the line; for a dictionary, of its longest line.

        A return may give its shape to a nested call: the shape is shown where that is called.
        """
        if isinstance(value, ast.Dict) and len(value.values) > 1:
            pairs = zip(value.keys, value.values, strict=True)
            return 12 + max(len(f"{flat(key)}: {flat(each)},") for key, each in pairs if key is not None)
        shape = self.shown.get(statement, "") if isinstance(statement, Assign) else ""
        return 8 + len(_head(statement)) + len(bare(value)) + (len(shape) + 4 if shape else 0)

    def _join(self, before: PlacedStatement, placed: PlacedStatement, read: Read) -> None:
        statement, source = placed.statement, before.statement
        assert isinstance(statement, Assign | Return) and isinstance(source, Assign)
        if statement.value is read:
            if statement.result is None:
                statement.result, statement.channels_first = source.result, source.channels_first
                if source in self.shown:
                    self.shown[statement] = self.shown[source]
            placed.kept = before.kept
        else:
            placed.kept += self._let_go(before)
        statement.value = replace(statement.value, read, source.value)
        statement.span = statement.span or source.span
        statement.ops = [*source.ops, *statement.ops]
        self.written.remove(before)


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


def bytes_of(variable: Variable) -> int:
    """The bytes that a variable holds; a view holds none."""
    if variable.is_argument:
        return 0
    return sum(size(value) for value in variable.holds if storage(value) is value)


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
