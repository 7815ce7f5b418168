"""Optional nodes in `forward`: neighbours under one condition become one expression, or one `if`."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from graphspec.emit.body import Assign, If, Statement, read_by
from graphspec.emit.code import Read, Variable, choice, equal, reads, replace
from graphspec.emit.nest import DEPTH, depth, formula_of
from graphspec.emit.printer import WIDTH, bare
from graphspec.graph import Formula


@dataclass(eq=False, slots=True)
class OptionalNodes:
    """Optional nodes under one condition, each of which reads the one before. `passed` is what is read where
    they are absent; `inverted` says that the test is true there.
    """

    test: ast.expr
    inverted: bool
    passed: ast.expr
    steps: list[Assign] = field(default_factory=list)
    values: list[ast.expr] = field(default_factory=list)

    @property
    def target(self) -> Variable:
        (variable,) = self.steps[-1].targets
        assert variable is not None
        return variable


def joined(body: list[Statement]) -> list[Statement]:
    """The statements, with those of optional nodes joined."""
    body = _formulas_joined(body)
    parts = [_optional(statement) for statement in body]
    if not any(parts):
        return body
    counts = Counter(variable for statement in body for variable in read_by(statement))
    items: list[Statement | OptionalNodes] = []
    for statement, optional in zip(body, parts, strict=True):
        before = items[-1] if items else None
        if optional is None:
            items.append(statement)
        elif isinstance(before, OptionalNodes) and _continues(before, optional, counts):
            before.steps += optional.steps
            before.values += optional.values
            if _is_nothing(before.passed):
                before.passed = optional.passed
        else:
            items.append(optional)
    return [
        each for item in items for each in (_written(item) if isinstance(item, OptionalNodes) else [item])
    ]


def _formulas_joined(body: list[Statement]) -> list[Statement]:
    """The statements, with the steps of each optional formula as one: nothing else reads what is between."""
    steps: dict[Formula, list[OptionalNodes]] = defaultdict(list)
    for statement in body:
        optional = _optional(statement)
        if optional is not None and (formula := formula_of(*optional.steps)) is not None:
            steps[formula].append(optional)
    gone: set[Assign] = set()
    for parts in steps.values():
        if any(each.inverted != parts[-1].inverted or not equal(each.test, parts[-1].test) for each in parts):
            continue
        last, values = parts[-1], dict[Variable, ast.expr]()
        for each in parts:
            (value,) = each.values
            for read in [read for read in reads(value) if read.variable in values]:
                value = replace(value, read, values[read.variable])
            values[each.target] = value
        (step,) = last.steps
        nested = values[last.target]
        step.value = choice(last.test, *((last.passed, nested) if last.inverted else (nested, last.passed)))
        step.ops = [op for each in parts for op in each.steps[0].ops]
        gone.update(each.steps[0] for each in parts[:-1])
    return [statement for statement in body if statement not in gone]


def _optional(statement: Statement) -> OptionalNodes | None:
    """A statement of an optional node in its parts."""
    if not isinstance(statement, Assign) or not isinstance(statement.value, ast.IfExp):
        return None
    if len(statement.targets) != 1 or statement.targets[0] is None or statement.targets[0].several:
        return None
    value, test = statement.value, statement.value.test
    inverted = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is)
    if not inverted and not isinstance(test, ast.Attribute):
        return None
    there, passed = (value.orelse, value.body) if inverted else (value.body, value.orelse)
    return OptionalNodes(test, inverted, passed, [statement], [there])


def _continues(before: OptionalNodes, optional: OptionalNodes, counts: Counter[Variable]) -> bool:
    """Whether optional nodes depend on one condition, and only the second reads the first."""
    if before.inverted != optional.inverted or not equal(before.test, optional.test):
        return False
    variable, (value,) = before.target, optional.values
    inside = sum(read.variable is variable for read in reads(value))
    if _is_nothing(before.passed):
        return inside >= 1 and counts[variable] == inside
    if not isinstance(optional.passed, Read) or optional.passed.variable is not variable:
        return False
    return inside >= 1 and counts[variable] == inside + 1


def _is_nothing(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _written(optional: OptionalNodes) -> list[Statement]:
    """One statement if it fits on a line, else an `if`."""
    nested = optional.values[0]
    for step, value in zip(optional.steps, optional.values[1:], strict=False):
        inside = [read for read in reads(value) if read.variable is step.targets[0]]
        nested = replace(value, inside[0], nested) if len(inside) == 1 else ast.Constant(None)
        if len(inside) != 1:
            return _under_if(optional)
    both = (optional.passed, nested) if optional.inverted else (nested, optional.passed)
    conditional = choice(optional.test, *both)
    last = optional.steps[-1]
    if 8 + len(f"{optional.target.word} = {bare(conditional)}") > WIDTH or depth(nested) > DEPTH:
        return _under_if(optional)
    last.value, last.ops = conditional, [op for step in optional.steps for op in step.ops]
    return [last]


def _under_if(optional: OptionalNodes) -> list[Statement]:
    """What is passed on, and an `if` that changes it."""
    variable = optional.target
    variable.several = True
    old = {target for step in optional.steps for target in step.targets}
    steps: list[Assign] = []
    for number, (step, value) in enumerate(zip(optional.steps, optional.values, strict=True)):
        same = {
            *old,
            *({optional.passed.variable} if number == 0 and isinstance(optional.passed, Read) else ()),
        }
        for read in [read for read in reads(value) if read.variable in same]:
            value = replace(value, read, Read(variable))
        if steps and (both := _nested(steps[-1], value)) is not None:
            steps[-1] = Assign(
                [variable], both, step.span, None, step.channels_first, [*steps[-1].ops, *step.ops]
            )
        else:
            steps.append(Assign([variable], value, step.span, None, step.channels_first, step.ops))
    test = optional.test
    if optional.inverted:
        assert isinstance(test, ast.Compare)
        test = ast.Compare(test.left, [ast.IsNot()], test.comparators)
    first = optional.steps[0]
    return [
        Assign([variable], optional.passed, first.span, None, first.channels_first),
        If(test, list(steps)),
    ]


def _nested(before: Assign, value: ast.expr) -> ast.expr | None:
    """A value with the one before it inside, if it reads that once and the line is short enough."""
    (variable,) = before.targets
    inside = [read for read in reads(value) if read.variable is variable]
    if len(inside) != 1 or variable is None:
        return None
    nested = replace(value, inside[0], before.value)
    fits = 12 + len(f"{variable.word} = {bare(nested)}") <= WIDTH and depth(nested) <= DEPTH
    return nested if fits else None
