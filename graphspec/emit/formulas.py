"""Formulas that an `__init__` has several times, as local variables."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from graphspec.emit.code import equal, name, rewritten, walk
from graphspec.emit.init_statement import InitStatement
from graphspec.emit.printer import flat

OFTEN = 3
"""A formula that is written so often gets a name."""


def with_locals(
    steps: Sequence[InitStatement], arguments: Collection[str], params: Mapping[str, str]
) -> list[InitStatement]:
    """The statements, with a variable for each formula over the arguments that they repeat. `params` are the
    block's own names of formulas.
    """
    steps, known = list(steps), set(arguments)
    while known and (formula := _most_repeated(steps, known)) is not None:
        place = next(number for number, step in enumerate(steps) if _key(step, formula) is not None)
        text = flat(formula)
        word = params.get(text) or f"{steps[place].attribute}_{_key(steps[place], formula)}"
        if not steps[place].attribute or word in known or len(word) >= len(text):
            break
        while place and _are_one_block(steps[place - 1], steps[place]):
            place -= 1
        known.add(word)
        changed = [_with(step, formula, name(word)) for step in steps]
        assignment = InitStatement(formula, word, steps[place].span, local=True)
        steps = [*changed[:place], assignment, *changed[place:]]
    return steps


def _are_one_block(before: InitStatement, step: InitStatement) -> bool:
    """Whether two statements are under one `if`."""
    if before.condition is None or step.condition is None:
        return False
    return equal(before.condition, step.condition)


def _most_repeated(steps: Sequence[InitStatement], arguments: Collection[str]) -> ast.expr | None:
    """The formula whose name saves most."""
    by_text: dict[str, list[ast.expr]] = {}
    values = (value for step in steps if not step.local for value in _values(step))
    for part in (part for value in values for part in walk(value)):
        if isinstance(part, ast.BinOp | ast.IfExp | ast.Call) and _is_formula(part, arguments):
            by_text.setdefault(flat(part), []).append(part)
    often = [text for text, parts in by_text.items() if len(parts) >= OFTEN]
    best = max(often, key=lambda text: (len(by_text[text]) - 1) * len(text), default=None)
    return by_text[best][0] if best is not None else None


def _is_formula(node: ast.AST, arguments: Collection[str]) -> bool:
    """Whether an expression is of the arguments alone."""
    match node:
        case ast.Name(id=word):
            return word in arguments
        case ast.Call(func=function, args=parts, keywords=[]):
            return flat(function) in CALLS and all(_is_formula(part, arguments) for part in parts)
        case ast.BinOp() | ast.UnaryOp() | ast.IfExp() | ast.Compare() | ast.BoolOp():
            parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
            return all(_is_formula(part, arguments) for part in parts)
    return isinstance(node, ast.Constant)


CALLS = frozenset({"abs", "int", "max", "min", "round", "math.ceil", "math.floor"})


def _values(step: InitStatement) -> Iterator[ast.expr]:
    yield from (value for value in (step.condition, step.value) if value is not None)


def _key(step: InitStatement, formula: ast.expr) -> str | None:
    """What a statement uses a formula for: the keyword that it is given as, else channels; None if it does
    not use it.
    """
    parts = [part for value in _values(step) for part in walk(value)]
    keys = (part.arg for part in parts if isinstance(part, ast.keyword) and equal(part.value, formula))
    used = any(isinstance(part, ast.expr) and equal(part, formula) for part in parts)
    return next(keys, None) or ("channels" if used else None)


def _with(step: InitStatement, formula: ast.expr, read: ast.expr) -> InitStatement:
    def change(part: ast.expr) -> ast.expr:
        return read if equal(part, formula) else part

    condition = rewritten(step.condition, change) if step.condition is not None else None
    return replace(step, value=rewritten(step.value, change), condition=condition)
