"""Nests values into the only statement that reads them, as long as the result stays readable.

A statement takes in the one before it, so that everything is still computed in order. Calls of modules keep
a line of their own where it shows their shape; what else is nested fits on one line.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from graphspec.emit.body import Assign, Return, Statement, assigned_by, read_by
from graphspec.emit.code import Read, Variable, reads, replace
from graphspec.emit.memory import Peaks, size, storage
from graphspec.emit.printer import WIDTH, bare, flat

DEPTH = 3
"""So many calls stand in one another."""


@dataclass(eq=False, slots=True)
class PlacedStatement:
    """A statement that is written, where it stood, and the bytes that are kept while it runs because of what
    it has taken in.
    """

    statement: Statement
    number: int
    kept: int = 0


class Nesting:
    """`shown` are the shapes that statements show of what they make, `room` the bytes that may be in use."""

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
        """The statements, fewer of them."""
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
            before = self.written[-1]
            read = self._readable(before.statement, statement)
            if read is None:
                break
            assert isinstance(before.statement, Assign)
            several = self._several(statement.value, read)
            if several > 1 and not self._all_of(statement, several):
                break
            if not self._fits(before, placed, read, held):
                break
            self._join(before, placed, read)

    def _readable(self, before: Statement, statement: Assign | Return) -> Read | None:
        """Where a statement reads what the one before it assigns, if nothing else does."""
        if not isinstance(before, Assign) or len(before.targets) != 1:
            return None
        (variable,) = before.targets
        if variable is None or variable.several or self.counts[variable] != 1:
            return None
        return next((read for read in unconditional(statement.value) if read.variable is variable), None)

    def _several(self, value: ast.expr, read: Read) -> int:
        """How many items the list has in which a variable is read; 0 where it is in none."""
        for node in ast.walk(value):
            if isinstance(node, ast.List) and read in node.elts:
                return len(node.elts)
        return 0

    def _all_of(self, statement: Assign | Return, count: int) -> bool:
        """Whether the items of a list can all be nested into it, or what is left are names that others read,
        too; what calls no module may always be.
        """
        before = self.written[-1].statement
        assert isinstance(before, Assign)
        if not calls_module(before.value):
            return True
        if self.shows:
            return False
        trial = statement.value
        alone = {r.variable for r in reads(trial) if self.counts[r.variable] == 1 and not r.variable.several}
        for placed in reversed(self.written):
            read = self._readable(placed.statement, statement)
            if read is None or read.variable not in alone:
                break
            assert isinstance(placed.statement, Assign)
            if depth(placed.statement.value) >= DEPTH - 1:
                return False
            trial = replace(trial, read, placed.statement.value)
            alone.discard(read.variable)
        return not alone and self._line(statement, trial) <= WIDTH

    def _fits(self, before: PlacedStatement, placed: PlacedStatement, read: Read, held: int) -> bool:
        statement, source = placed.statement, before.statement
        assert isinstance(statement, Assign | Return) and isinstance(source, Assign)
        if statement.value is read or _are_one_formula(source, statement):
            return True
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
        """The bytes that a statement reads for the last time: nested, they are held a statement longer."""
        mine = {variable for variable in read_by(before.statement) if self.last[variable] == before.number}
        return before.kept + sum(bytes_of(variable) for variable in mine if not variable.given)

    def _line(self, statement: Assign | Return, value: ast.expr) -> int:
        """How long the line would be; of a dictionary, the longest of its lines."""
        if isinstance(value, ast.Dict) and len(value.values) > 1:
            pairs = zip(value.keys, value.values, strict=True)
            return 12 + max(len(f"{flat(key)}: {flat(each)},") for key, each in pairs if key is not None)
        shape = self.shown.get(statement, "")
        head = "return " if isinstance(statement, Return) else f"{_targets(statement)} = "
        return 8 + len(head) + len(bare(value)) + (len(shape) + 4 if shape else 0)

    def _join(self, before: PlacedStatement, placed: PlacedStatement, read: Read) -> None:
        statement, source = placed.statement, before.statement
        assert isinstance(statement, Assign | Return) and isinstance(source, Assign)
        if statement.value is read:
            if statement.result is None:
                statement.result, statement.first = source.result, source.first
                if source in self.shown:
                    self.shown[statement] = self.shown[source]
            placed.kept = before.kept
        else:
            placed.kept += self._let_go(before)
        statement.value = replace(statement.value, read, source.value)
        statement.span = statement.span or source.span
        statement.ops = [*source.ops, *statement.ops]
        self.written.pop()


def _are_one_formula(before: Assign, statement: Assign | Return) -> bool:
    """Whether two statements are steps of one formula, which is written as it stands in the spec."""
    formulas = {op.formula for op in (*before.ops, *statement.ops)}
    return None not in formulas and len(formulas) == 1


def _targets(statement: Assign) -> str:
    return ", ".join(target.word if target is not None else "_" for target in statement.targets)


def bytes_of(variable: Variable) -> int:
    """The bytes that a variable holds: views of others hold none of their own."""
    if variable.given:
        return 0
    return sum(size(value) for value in variable.holds if storage(value) is value)


def unconditional(node: ast.expr) -> Iterator[Read]:
    """The reads of an expression that happen once whenever it is computed."""
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
    return any(isinstance(each, ast.Call) and _of_self(each.func) for each in ast.walk(node))


def _of_self(function: ast.expr) -> bool:
    while isinstance(function, ast.Subscript):
        function = function.value
    of = function.value if isinstance(function, ast.Attribute) else function
    return isinstance(of, ast.Name) and of.id == "self"


def depth(node: ast.expr) -> int:
    """How deep calls of functions, and operations in parentheses, stand in one another."""
    inner = max(
        (depth(part) for child in ast.iter_child_nodes(node) if (part := _part(child)) is not None), default=0
    )
    if isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name)
        grouped = method and isinstance(node.func.value, ast.BinOp | ast.UnaryOp)  # type: ignore[attr-defined]
        return inner + (not method or grouped)
    return inner


def _part(child: ast.AST) -> ast.expr | None:
    if isinstance(child, ast.keyword):
        return child.value
    return child if isinstance(child, ast.expr) else None
