"""Computes what is constant in an expression: arithmetic, comparisons, conditions, lengths and items."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from graphspec.emit.code import equal, literal, rewritten
from graphspec.emit.rewriting import is_none
from graphspec.expressions.evaluator import ARITHMETIC, COMPARISONS

FOLDED: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    kind: ARITHMETIC[kind] for kind in (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Pow)
}
"""The arithmetic of integers; all else stays as it is written."""
IDENTITIES: dict[type, type[ast.cmpop]] = {ast.Eq: ast.Is, ast.NotEq: ast.IsNot}
"""How a value is compared with None."""


def folded(node: ast.expr) -> ast.expr:
    """An expression with all its constant parts computed; the same object if there are none."""
    return rewritten(node, folded_one)


def folded_one(node: ast.expr) -> ast.expr:
    """An expression whose parts are folded, without what is constant in its own operation."""
    match node:
        case ast.BinOp():
            return _arithmetic(node)
        case ast.Compare(ops=[operation], comparators=[right]):
            return _comparison(node, operation, right)
        case ast.UnaryOp(op=ast.Not()):
            known = truth(node.operand)
            return node if known is None else ast.Constant(not known)
        case ast.BoolOp():
            return _bool(node)
        case ast.IfExp():
            known = truth(node.test)
            if known is None:
                return node.body if equal(node.body, node.orelse) else node
            return node.body if known else node.orelse
        case ast.Subscript(value=ast.Tuple(elts=items), slice=ast.Constant(value=int(place))) if _all(items):
            return items[place]
        case ast.Call(func=ast.Name("len"), args=[ast.Tuple(elts=items)]) if _all(items):
            return ast.Constant(len(items))
    return node


def truth(node: ast.expr) -> bool | None:
    """Whether a constant is true; None if it is not a constant."""
    if isinstance(node, ast.Tuple) and _all(node.elts):
        return bool(node.elts)
    return bool(node.value) if isinstance(node, ast.Constant) else None


def asked(test: ast.expr) -> ast.expr:
    """A test that is decided, or without alternatives that are never true and conditions that always are."""
    if not isinstance(test, ast.BoolOp):
        return test
    idle = isinstance(test.op, ast.And)
    kept = [value for value in test.values if truth(value) is not idle]
    decided = [value for value in kept if truth(value) is not None]
    return _joined(test, decided or kept or test.values[-1:])


def _all(items: list[ast.expr]) -> bool:
    """Whether a list of items says how many there are."""
    return not any(isinstance(item, ast.Starred) for item in items)


def _arithmetic(node: ast.BinOp) -> ast.expr:
    match node.op, node.left, node.right:
        case operation, ast.Constant(value=a), ast.Constant(value=b) if _is_whole(operation, a, b):
            return literal(FOLDED[type(operation)](a, b))
        case (ast.Mult(), x, ast.Constant(value=int(1))) | (ast.Mult(), ast.Constant(value=int(1)), x):
            return x
        case ast.Mult(), ast.Constant(value=int(a)), ast.BinOp(ast.Constant(value=int(b)), ast.Mult(), x):
            return ast.BinOp(ast.Constant(a * b), ast.Mult(), x)
        case ast.Mult(), ast.UnaryOp(ast.USub(), ast.Constant(value=1)), x:
            return ast.UnaryOp(ast.USub(), x)
        case ast.Sub() | ast.Add(), left, right if (positive := _without_sign(right)) is not None:
            opposite = ast.Add() if isinstance(node.op, ast.Sub) else ast.Sub()
            return ast.BinOp(left, opposite, positive)
    return node


def _without_sign(node: ast.expr) -> ast.expr | None:
    """The subtrahend of a term; None where it has no minus before it."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return operand
        case ast.BinOp(ast.UnaryOp(ast.USub(), first), (ast.Mult() | ast.Div()) as operation, second):
            return ast.BinOp(first, operation, second)
    return None


def _is_whole(operation: ast.operator, a: Any, b: Any) -> bool:
    """Whether an operation on integers gives one, and no large one."""
    if type(operation) not in FOLDED or type(a) is not int or type(b) is not int:
        return False
    if isinstance(operation, ast.Pow):
        return abs(a) < 64 and 0 <= b < 32
    return not isinstance(operation, ast.FloorDiv) or bool(b)


def _comparison(node: ast.Compare, operation: ast.cmpop, right: ast.expr) -> ast.expr:
    kind = IDENTITIES.get(type(operation), type(operation)) if is_none(right) else type(operation)
    match node.left, right:
        case ast.Constant(value=a), ast.Constant(value=None) if kind in (ast.Is, ast.IsNot):
            return ast.Constant((a is None) is (kind is ast.Is))
        case ast.Constant(value=a), ast.Constant(value=b) if kind in COMPARISONS:
            return ast.Constant(COMPARISONS[kind](a, b))
    return node if kind is type(operation) else ast.Compare(node.left, [kind()], [right])


def _bool(node: ast.BoolOp) -> ast.expr:
    """`and` and `or` without operands that are known to have no effect."""
    stops = isinstance(node.op, ast.Or)
    kept: list[ast.expr] = []
    for value in node.values:
        known = truth(value)
        if known is None or known is stops or value is node.values[-1]:
            kept.append(value)
        if known is stops:
            break
    return _joined(node, kept)


def _joined(node: ast.BoolOp, values: list[ast.expr]) -> ast.expr:
    if len(values) == 1:
        return values[0]
    return node if len(values) == len(node.values) else ast.BoolOp(node.op, values)
