"""The statements of one `forward`: assignments to variables that have no names yet."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphspec.diagnostics import Span
from graphspec.emit.code import Variable, reads
from graphspec.graph import Op, Value


@dataclass(eq=False, slots=True)
class Assign:
    """`targets = value`; a target that is never read is None.

    The comment of the line shows the shape of `result`, in its memory order.
    `ops` are the nodes that it runs.
    """

    targets: list[Variable | None]
    value: ast.expr
    span: Span | None = None
    result: Value | None = None
    channels_first: bool = False
    ops: list[Op] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Effect:
    """An expression that is evaluated for its side effect: `skips.append(x)`."""

    value: ast.expr
    span: Span | None = None


@dataclass(eq=False, slots=True)
class Return:
    """The return. `span` and the rest are those of the last statement, if that is part of the return."""

    value: ast.expr
    span: Span | None = None
    result: Value | None = None
    channels_first: bool = False
    ops: list[Op] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class For:
    """`for targets in source`."""

    targets: list[Variable | None]
    source: ast.expr
    body: list[Assign | Effect]
    span: Span | None = None
    ops: list[Op] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class If:
    """`if test: body`."""

    test: ast.expr
    body: list[Assign | Effect | Return]


Statement = Assign | Effect | Return | For | If


def expressions(statement: Statement) -> Iterator[ast.expr]:
    """The expressions of a statement, those inside it included, in order."""
    if isinstance(statement, For | If):
        yield statement.source if isinstance(statement, For) else statement.test
        for inner in statement.body:
            yield inner.value
    else:
        yield statement.value


def read_by(statement: Statement) -> Iterator[Variable]:
    """The variables that a statement reads, with repetitions."""
    for expression in expressions(statement):
        for read in reads(expression):
            yield read.variable


def assigned_by(statement: Statement) -> Iterator[Variable]:
    """The variables that a statement assigns."""
    if isinstance(statement, Assign | For):
        yield from (target for target in statement.targets if target is not None)
    if isinstance(statement, Assign) and isinstance(statement.value, ast.ListComp):
        yield from (read.variable for loop in statement.value.generators for read in reads(loop.target))
    if isinstance(statement, For | If):
        for inner in statement.body:
            yield from assigned_by(inner)


def rename(statement: Statement, same: Mapping[Variable, Variable]) -> None:
    """Replaces variables."""
    for expression in expressions(statement):
        for read in reads(expression):
            read.variable = same.get(read.variable, read.variable)
    for each in [statement, *(statement.body if isinstance(statement, For | If) else [])]:
        if isinstance(each, Assign | For):
            each.targets = [
                same.get(target, target) if target is not None else None for target in each.targets
            ]
