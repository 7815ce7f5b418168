"""Reads statements of the library: their assignments, and kinds of expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from graphspec.emit.code import walk, with_fields
from graphspec.emit.library_source import KEPT


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def is_super(node: ast.expr) -> bool:
    """Whether an expression is `super()`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def is_function(node: ast.expr) -> bool:
    """Whether an expression is a function of PyTorch, such as `torch.tanh`."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("torch", "F")
    )


def attribute_of_self(node: ast.expr) -> str:
    """The attribute of `self` that an expression is, or ""."""
    of_self = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if of_self and isinstance(node, ast.Attribute) else ""


Assigned = tuple[str, ast.expr | None]


@lru_cache(KEPT)
def assigned(node: ast.AST, of_self: bool = False) -> tuple[Assigned, ...]:
    """The assigned names, or attributes of `self`, with their values where these are known."""
    return tuple(_assigned(node, of_self))


def _assigned(node: ast.AST, of_self: bool) -> Iterator[Assigned]:
    for each in walk(node):
        if isinstance(each, ast.Assign):
            for target in each.targets:
                yield from _pairs(target, each.value, of_self)
        elif isinstance(each, ast.AugAssign | ast.AnnAssign | ast.For | ast.comprehension):
            value = each.value if isinstance(each, ast.AnnAssign) else None
            yield from _pairs(each.target, value, of_self)
        elif isinstance(each, ast.NamedExpr):
            yield from _pairs(each.target, None, of_self)


def _pairs(target: ast.expr, value: ast.expr | None, of_self: bool) -> Iterator[Assigned]:
    if isinstance(target, ast.Tuple | ast.List):
        values: Sequence[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
            values = value.elts
        for part, of_part in zip(target.elts, values, strict=True):
            yield from _pairs(part, of_part, of_self)
    elif isinstance(target, ast.Starred):
        yield from _pairs(target.value, None, of_self)
    elif of_self and (word := attribute_of_self(target)):
        yield word, value
    elif not of_self and isinstance(target, ast.Name):
        yield target.id, value


def with_pairs(statement: ast.Assign, keep: Callable[[ast.expr, ast.expr], bool]) -> ast.Assign | None:
    """An assignment of several values to as many targets with these pairs only; None if none is left."""
    (target,), value = statement.targets, statement.value
    assert isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    pairs = [pair for pair in zip(target.elts, value.elts, strict=True) if keep(*pair)]
    if len(pairs) in (0, len(target.elts)):
        return statement if pairs else None
    targets, values = map(list, zip(*pairs, strict=True))
    changed: ast.Assign = with_fields(
        statement,
        targets=targets if len(pairs) == 1 else [ast.Tuple(targets, ast.Store())],
        value=values[0] if len(pairs) == 1 else ast.Tuple(values, ast.Load()),
    )
    return changed


def has_pairs(statement: ast.Assign) -> bool:
    """Whether an assignment is of several values to as many targets."""
    match statement:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            return len(targets) == len(values)
    return False
