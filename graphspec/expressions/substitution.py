"""The tree of a checked expression with Python in the place of its words, names and functions."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from graphspec.expressions.grammar import CONSTANTS, NUMERIC, WORDS, called


def as_python(node: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    """The tree with names replaced, and `channels(x)` by the value of "channels(x)"."""
    match node:
        case ast.Name(id=name):
            if name in CONSTANTS and name not in values:
                return _of_math(name)
            return ast.Constant(WORDS[name]) if name in WORDS else values.get(name, node)
        case ast.Call():
            return _call(node, values)
    changed: dict[str, Any] = {}
    for name, part in ast.iter_fields(node):
        if isinstance(part, ast.expr):
            part = as_python(part, values)
        elif isinstance(part, list):
            part = [as_python(each, values) if isinstance(each, ast.expr) else each for each in part]
        changed[name] = part
    return type(node)(**changed)


def _call(node: ast.Call, values: Mapping[str, ast.expr]) -> ast.expr:
    name = called(node)
    if name in ("channels", "given") and (source := ast.unparse(node)) in values:
        return values[source]
    function = node.func
    if name in ("ceil", "floor", *NUMERIC):
        function = _of_math(name)
    return ast.Call(function, [as_python(each, values) for each in node.args], [])


def _of_math(name: str) -> ast.expr:
    return ast.Attribute(ast.Name("math", ast.Load()), name, ast.Load())
