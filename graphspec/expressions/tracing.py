"""Formulas of numbers, read from the spec's expressions."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from graphspec.expressions import Expression, Template, parse_value
from graphspec.expressions.grammar import CONSTANTS, WORDS, called
from graphspec.traced import (
    LONGEST,
    NODES,
    Symbolic,
    evaluated,
    formula,
    leafed,
    no_value,
    plain,
    text_of,
    traced,
)

NAMES = {node: word for word, node in NODES.items()}


def retraced(written: Any, result: Any, names: Mapping[str, Symbolic], scope: Mapping[str, Any]) -> Any:
    """The result of a written value, with the formulas of its expressions."""
    if isinstance(written, str):
        kind = type(plain(result))
        parsed = parse_value(written) if "$" in written and kind in (int, float, list, str) else None
        if isinstance(parsed, Template):
            return _text(parsed, result, names, scope)
        tree = read(parsed.tree, names, scope) if isinstance(parsed, Expression) else None
        return result if tree is None else leafed(plain(result), tree)
    if isinstance(written, list) and isinstance(result, list):
        return [retraced(a, b, names, scope) for a, b in zip(written, result, strict=True)]
    if isinstance(written, dict) and isinstance(result, dict):
        return {key: retraced(written[key], item, names, scope) for key, item in result.items()}
    return result


def _text(template: Template, text: str, names: Mapping[str, Symbolic], scope: Mapping[str, Any]) -> str:
    """A text whose inserted numbers keep their formulas. `text` is what it says."""
    parts: list[Any] = []
    place = 0
    for part in template.parts:
        if isinstance(part, Expression):
            found = _NUMBER.match(text, place)
            if found is None:
                return text
            number = int(found[0]) if found[1] is found[2] is None else float(found[0])
            parts.append(traced(number, read(part.tree, names, scope)))
            place = found.end()
        else:
            parts.append(part)
            place += len(part)
    made = text_of(*parts)
    return made if made == text else text


_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def read(node: ast.expr, names: Mapping[str, Symbolic], scope: Mapping[str, Any]) -> Symbolic | None:
    """The formula of a spec's expression; `names` are those that stand for themselves, the others of `scope`
    are numbers. None for what no formula says.
    """
    match node:
        case ast.Constant(value=value):
            return formula("constant", value)
        case ast.Name(id=word) if word in WORDS:
            return formula("constant", WORDS[word])
        case ast.Name(id=word) if word in names:
            return names[word]
        case ast.Name(id=word):
            value = scope.get(word, CONSTANTS.get(word))
            return formula("constant", value) if isinstance(value, int | float | str) else None
        case ast.Call() if called(node) in ("channels", "given"):
            return names.get(ast.unparse(node))
        case ast.Call() if called(node) == "vocabulary":
            return formula("constant", scope.get(ast.unparse(node)))
        case ast.Call():
            return _over("call", [formula("constant", called(node))], node.args, names, scope)
        case ast.BinOp():
            return _over(NAMES[type(node.op)], [], [node.left, node.right], names, scope)
        case ast.UnaryOp(op=ast.USub()):
            return _over("*", [formula("constant", -1)], [node.operand], names, scope)
        case ast.UnaryOp(op=ast.Not()):
            return _over("not", [], [node.operand], names, scope)
        case ast.IfExp():
            return _over("if", [], [node.test, node.body, node.orelse], names, scope)
        case ast.Compare(ops=[operation]):
            word = type(operation).__name__
            return _over("compare", [formula("constant", word)], [node.left, *node.comparators], names, scope)
        case ast.BoolOp():
            word = "and" if isinstance(node.op, ast.And) else "or"
            return _over(word, [], node.values, names, scope)
        case ast.Subscript(slice=index) if not isinstance(index, ast.Slice):
            return _over("item", [], [node.value, index], names, scope)
        case ast.List():
            return _over("list", [], node.elts, names, scope)
    return None


def _over(
    kind: str,
    first: list[Symbolic],
    nodes: list[ast.expr],
    names: Mapping[str, Symbolic],
    scope: Mapping[str, Any],
) -> Symbolic | None:
    parts = [read(node, names, scope) for node in nodes]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or sum(part.length for part in known) > LONGEST:
        return None
    if all(part.kind == "constant" for part in known) and kind != "list":
        value = evaluated(Symbolic(kind, (*first, *known)), no_value)
        return formula("constant", value) if isinstance(value, int | float | str) else None
    return formula(kind, *first, *known)
