"""Writing a checked expression as Python, with the fewest parentheses and the spaces that ruff sets."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from itertools import pairwise

from graphspec.expressions.grammar import BINARY, COMPARE, UNARY, WORDS, called

CONDITIONAL, OR, AND, NOT, COMPARISON, BITS, SUM, PRODUCT, SIGN, POWER, ATOM = range(11)
_LEVELS: dict[type, int] = {
    **dict.fromkeys([ast.Add, ast.Sub], SUM),
    **dict.fromkeys([ast.Mult, ast.Div, ast.FloorDiv, ast.Mod], PRODUCT),
    ast.Pow: POWER,
    ast.Not: NOT,
    ast.USub: SIGN,
    ast.UAdd: SIGN,
    ast.Or: OR,
    ast.And: AND,
}


def _level(node: ast.expr) -> int:
    """How tightly a node binds its operands."""
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp):
        return _LEVELS.get(type(node.op), BITS)
    if isinstance(node, ast.Compare):
        return COMPARISON
    return CONDITIONAL if isinstance(node, ast.IfExp | ast.Lambda | ast.Slice) else ATOM


class PythonWriter:
    """Each method returns the source of a node and how tightly it binds."""

    def __init__(self, rename: Mapping[str, str]) -> None:
        self.rename = rename

    def write(self, node: ast.expr) -> tuple[str, int]:
        return getattr(self, "_" + type(node).__name__.lower())(node)

    def _at(self, node: ast.expr, level: int) -> str:
        """The source, in parentheses where it binds less tightly than `level`."""
        text, own = self.write(node)
        return text if own >= level else f"({text})"

    def _renamed(self, name: str) -> tuple[str, int]:
        source = self.rename.get(name, name)
        return source, ATOM if source.isidentifier() else _level(ast.parse(source, mode="eval").body)

    def _name(self, node: ast.Name) -> tuple[str, int]:
        return (repr(WORDS[node.id]), ATOM) if node.id in WORDS else self._renamed(node.id)

    def _constant(self, node: ast.Constant) -> tuple[str, int]:
        return (_string(node.value) if isinstance(node.value, str) else repr(node.value)), ATOM

    def _list(self, node: ast.List) -> tuple[str, int]:
        return "[" + ", ".join(self._at(element, CONDITIONAL) for element in node.elts) + "]", ATOM

    def _ifexp(self, node: ast.IfExp) -> tuple[str, int]:
        body, test, orelse = self._at(node.body, OR), self._at(node.test, OR), self._at(node.orelse, 0)
        return f"{body} if {test} else {orelse}", CONDITIONAL

    def _boolop(self, node: ast.BoolOp) -> tuple[str, int]:
        level = _level(node)
        word = " or " if level == OR else " and "
        return word.join(self._at(operand, level + 1) for operand in node.values), level

    def _unaryop(self, node: ast.UnaryOp) -> tuple[str, int]:
        level = _level(node)
        text, own = self.write(node.operand)
        # A power needs no parentheses here; ruff sets them for the reader.
        text = text if own >= level and own != POWER else f"({text})"
        return UNARY[type(node.op)] + text, level

    def _compare(self, node: ast.Compare) -> tuple[str, int]:
        out = self._at(node.left, BITS)
        for operation, comparator in zip(node.ops, node.comparators, strict=True):
            out += f" {COMPARE[type(operation)]} {self._at(comparator, BITS)}"
        return out, COMPARISON

    def _binop(self, node: ast.BinOp) -> tuple[str, int]:
        symbol, level = BINARY[type(node.op)], _level(node)
        if level == POWER:
            # A power groups to the right, binds tighter than a sign before it and looser than one behind.
            left, right = self._at(node.left, POWER + 1), self._at(node.right, SIGN)
            return f"{left}**{right}" if _is_simple(left, right) else f"{left} ** {right}", level
        return f"{self._at(node.left, level)} {symbol} {self._at(node.right, level + 1)}", level

    def _subscript(self, node: ast.Subscript) -> tuple[str, int]:
        return f"{self._at(node.value, ATOM)}[{self._at(node.slice, CONDITIONAL)}]", ATOM

    def _slice(self, node: ast.Slice) -> tuple[str, int]:
        nodes = [node.lower, node.upper, *([node.step] if node.step else [])]
        ends = [self._at(end, CONDITIONAL) if end else "" for end in nodes]
        if all(end is None or _is_simple_end(end, text) for end, text in zip(nodes, ends, strict=True)):
            return ":".join(ends), CONDITIONAL
        out = ends[0]
        for before, end in pairwise(ends):
            out += (" :" if before else ":") + (f" {end}" if end else "")
        return out, CONDITIONAL

    def _call(self, node: ast.Call) -> tuple[str, int]:
        name = called(node)
        if name == "channels":
            return self._renamed(f"channels({ast.unparse(node.args[0])})")
        if name == "given" and (text := ast.unparse(node)) in self.rename:
            return self._renamed(text)
        prefix = "math." if name in ("ceil", "floor") else ""
        return f"{prefix}{name}({', '.join(self._at(argument, CONDITIONAL) for argument in node.args)})", ATOM


_NUMBER = r"\d+(\.\d+)?(e[-+]?\d+)?"
_SIMPLE_OPERAND = rf"[-+]?([\w.]+|{_NUMBER})"


def _is_simple(*operands: str) -> bool:
    """Whether ruff writes these around `**` without spaces: numbers and dotted names, also with a sign."""
    return all(re.fullmatch(_SIMPLE_OPERAND, operand) for operand in operands)


def _is_simple_end(node: ast.expr, text: str) -> bool:
    """Whether ruff writes the colon of a slice beside this without spaces: names and literals, with signs."""
    while isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        node = node.operand
    return isinstance(node, ast.Constant) or text.lstrip("+-").isidentifier()


def _string(text: str) -> str:
    """A literal in ASCII; in double quotes unless that needs more backslashes."""
    body = ascii(text + '"')[1:-2].replace("\\'", "'")
    if text.count('"') > text.count("'"):
        return "'" + body.replace("'", "\\'") + "'"
    return '"' + body.replace('"', '\\"') + '"'
