"""Optional nodes in `forward`: neighbours under one condition become one expression, or one `if`."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from itertools import groupby

from graphspec.emit.body import Assign, If, Statement, read_by
from graphspec.emit.code import Read, Variable, choice, reads, replace
from graphspec.emit.nest import DEPTH, Nesting, depth
from graphspec.emit.printer import WIDTH, bare, flat


@dataclass(frozen=True, slots=True)
class OptionalNode:
    """A statement of an optional node: its value where the node is there, and what is read where it is not.
    `inverted` says that the test is true there.
    """

    step: Assign
    target: Variable
    test: ast.expr
    inverted: bool
    value: ast.expr
    passed: ast.expr


def joined(body: list[Statement]) -> list[Statement]:
    """The statements, with those of optional nodes joined."""
    counts = Counter(variable for statement in body for variable in read_by(statement))
    written: list[Statement] = []
    parts = [(statement, _optional(statement)) for statement in body]
    for _, group in groupby(parts, lambda part: _condition(part[1])):
        together = list(group)
        nodes = [node for _, node in together if node is not None]
        if not nodes:
            written += [statement for statement, _ in together]
        while nodes:
            end = max(n for n in range(1, len(nodes) + 1) if n == 1 or _are_inner(nodes[:n], counts))
            written += _written(nodes[:end])
            nodes = nodes[end:]
    return written


def _optional(statement: Statement) -> OptionalNode | None:
    """A statement of an optional node in its parts."""
    if not isinstance(statement, Assign) or not isinstance(statement.value, ast.IfExp):
        return None
    (target, *others), value, test = statement.targets, statement.value, statement.value.test
    inverted = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is)
    if others or target is None or target.several or not (inverted or isinstance(test, ast.Attribute)):
        return None
    there, passed = (value.orelse, value.body) if inverted else (value.body, value.orelse)
    return OptionalNode(statement, target, test, inverted, there, passed)


def _condition(node: OptionalNode | None) -> tuple[object, ...] | None:
    """The common properties of neighbours under one condition."""
    if node is None:
        return None
    return node.inverted, flat(node.test), *(read.variable for read in reads(node.test))


def _are_inner(nodes: list[OptionalNode], counts: Counter[Variable]) -> bool:
    """Whether only these nodes read one another's results, but for the last, which reads the one before."""
    found = Counter(read.variable for node in nodes for read in reads(node.value))
    if not found[nodes[-2].target]:
        return False
    found.update(node.passed.variable for node in nodes if isinstance(node.passed, Read))
    return all(found[node.target] == counts[node.target] for node in nodes[:-1])


def _written(nodes: list[OptionalNode]) -> list[Statement]:
    """One statement if it fits on a line, else an `if`."""
    last, passed = nodes[-1], nodes[-1].passed
    earlier = {node.target: node.passed for node in nodes}
    while isinstance(passed, Read) and passed.variable in earlier:
        passed = earlier[passed.variable]
    for node in nodes:
        node.step.value, node.step.result = node.value, node.step.result if len(nodes) == 1 else None
    steps = Nesting([node.step for node in nodes], {}, indent=12).nested()
    step = last.step
    both = (passed, step.value) if last.inverted else (step.value, passed)
    conditional = choice(last.test, *both)
    short = 8 + len(f"{last.target.word} = {bare(conditional)}") <= WIDTH
    if len(steps) == 1 and short and depth(step.value) <= DEPTH:
        step.value = conditional
        return [step]
    last.target.several, step.result = True, None
    same = passed.variable if isinstance(passed, Read) else None
    for inner in (each for each in steps if isinstance(each, Assign)):
        for read in [read for read in reads(inner.value) if read.variable is same]:
            inner.value = replace(inner.value, read, Read(last.target))
    test = last.test
    if isinstance(test, ast.Compare):
        test = ast.Compare(test.left, [ast.IsNot()], test.comparators)
    first = nodes[0].step
    return [
        Assign([last.target], passed, first.span, None, first.channels_first),
        If(test, [each for each in steps if isinstance(each, Assign)]),
    ]
