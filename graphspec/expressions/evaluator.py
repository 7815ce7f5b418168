"""Evaluating a checked expression, within bounds on digits, characters and elements."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

from graphspec import traced
from graphspec.diagnostics import Change, Remedy, did_you_mean, nearest, shortened
from graphspec.expressions.grammar import (
    BINARY,
    COMPARE,
    CONSTANTS,
    MAX_DEPTH,
    NUMERIC,
    TOO_LARGE,
    WORDS,
    ExpressionError,
    called,
    error_at,
    is_sound,
)
from graphspec.traced import NODES, OPERATIONS

Value = int | float | str | bool | None | list[Any]
Channels = Callable[[str], int]

MAX_TEXT = 10_000
"""Characters that insertions may add to a text, or a concatenation may have."""
MAX_ELEMENTS = 1_000
"""Numbers, strings and lists in a list that an expression builds."""

ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {NODES[word]: each for word, each in OPERATIONS.items()}
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    getattr(ast, word): each for word, each in traced.COMPARISONS.items()
}

_OF_A_NUMBER: dict[str, Callable[[Any], Any]] = {
    **{"ceil": math.ceil, "floor": math.floor, "int": int, "abs": abs},
    **NUMERIC,
}

_HOLDERS = frozenset(["args", "cfg", "config", "hparams", "param", "parameters", "params", "self", "vars"])
"""What holds params in other tools."""
_INDICES = frozenset(["block", "depth", "i", "idx", "layer", "layer_idx", "num", "step"])
"""What other tools call the number of an instance."""


def _is_number(value: object) -> bool:
    """Booleans count as 0 and 1, as in Python."""
    return isinstance(value, int | float)


def _kind(value: Value) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list"}
    return kinds[type(value)]


def _elements(value: Value) -> int:
    """Elements of nested lists, counted to just over the limit; too deep a nesting counts as too many."""
    count = 0
    todo = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        count += 1
        if count > MAX_ELEMENTS or depth > MAX_DEPTH:
            return MAX_ELEMENTS + 1
        if isinstance(item, list):
            if count + len(item) > MAX_ELEMENTS:
                return MAX_ELEMENTS + 1
            todo += [(element, depth + 1) for element in item]
    return count


class Evaluator:
    """Evaluates a checked tree; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, scope: Mapping[str, Value], channels: Channels | None) -> None:
        self.text, self.scope, self.channels = text, scope, channels

    def value(self, node: ast.AST) -> Any:
        return getattr(self, "_" + type(node).__name__.lower())(node)

    def _source(self, node: ast.expr) -> str:
        return shortened(self.text[node.col_offset : node.end_col_offset])

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in WORDS:
            return WORDS[node.id]
        if node.id in self.scope:
            return self.scope[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        known = [name for name in self.scope if not name.endswith(")")]
        listed = (
            "known here: " + ", ".join(known[:20])
            if known
            else "declare it under `params`; `$$` is a dollar sign"
        )
        if node.id in _HOLDERS and known:
            listed = f"params have no prefix; known here: {', '.join(known[:20])}"
        if node.id in _INDICES and "index" in known:
            listed = "did you mean `index`, the number of the instance?"
        help = did_you_mean(node.id, known, listed)
        if f"given({node.id})" in self.scope:
            help = f"`channels({node.id})` is the size of its last axis"
        raise error_at(node, "unknown-name", f"`{node.id}` is not a param here", help)

    def _list(self, node: ast.List) -> list[Any]:
        items = [self.value(element) for element in node.elts]
        self._bounded(node, items)
        return items

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _boolop(self, node: ast.BoolOp) -> Any:
        stop_at = isinstance(node.op, ast.Or)
        result: Any = None
        for operand in node.values:
            result = self.value(operand)
            if bool(result) is stop_at:
                break
        return result

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        operand = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return not operand
        if not _is_number(operand):
            message = f"`{self._source(node.operand)}` is {_kind(operand)}, not a number"
            raise error_at(node.operand, "operand-type", message)
        return -operand if isinstance(node.op, ast.USub) else +operand

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        operation = type(node.op)
        if _is_number(left) and _is_number(right):
            return self._arithmetic(node, left, right)
        if operation is ast.Add and type(left) is type(right) and isinstance(left, str | list):
            if isinstance(left, str) and len(left) + len(right) > MAX_TEXT:
                raise error_at(node, "value-too-long", f"the text has more than {MAX_TEXT:,} characters")
            return self._bounded(node, left + right)
        if operation is ast.Mult and list in (type(left), type(right)) and int in (type(left), type(right)):
            items, times = (left, right) if isinstance(left, list) else (right, left)
            if len(items) * times > MAX_ELEMENTS:
                raise error_at(node, "value-too-long", f"the list has more than {MAX_ELEMENTS:,} elements")
            return self._bounded(node, items * times)
        symbol = BINARY[operation]
        message = f"`{symbol}` does not work on {_kind(left)} and {_kind(right)}"
        has_text = isinstance(left, str) or isinstance(right, str)
        help = "join texts outside of the parentheses: `a_$(b)`" if has_text else None
        raise error_at(node, "operand-type", message, help)

    def _arithmetic(self, node: ast.BinOp, left: Any, right: Any) -> Any:
        operation = type(node.op)
        integers = isinstance(left, int) and isinstance(right, int)
        if operation is ast.Pow and integers and abs(left) > 1 and right > 64:
            raise error_at(node, "number-too-large", TOO_LARGE)
        try:
            result = ARITHMETIC[operation](left, right)
        except ZeroDivisionError:
            raise error_at(node, "division-by-zero", f"`{self._source(node)}` divides by zero") from None
        except OverflowError:
            raise error_at(node, "number-too-large", TOO_LARGE) from None
        if isinstance(result, complex):
            raise error_at(node, "operand-type", f"`{self._source(node)}` is not a real number")
        return self._sound(node, result)

    def _sound(self, node: ast.expr, result: Any) -> Any:
        if not is_sound(result):
            raise error_at(node, "number-too-large", f"`{self._source(node)}`: {TOO_LARGE}")
        return result

    def _bounded(self, node: ast.expr, value: Any) -> Any:
        if isinstance(value, list) and _elements(value) > MAX_ELEMENTS:
            raise error_at(node, "value-too-long", f"the list has more than {MAX_ELEMENTS:,} elements")
        return value

    def _compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for operation, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.value(comparator)
            if not self._compare_two(node, type(operation), left, right):
                return False
            left = right
        return True

    def _compare_two(self, node: ast.Compare, operation: type, left: Any, right: Any) -> bool:
        symbol = COMPARE[operation]
        if operation in (ast.In, ast.NotIn):
            fits = isinstance(right, list)
        elif operation in (ast.Eq, ast.NotEq):
            fits = None in (left, right) or _comparable(left, right) or type(left) is type(right)
        else:
            fits = _comparable(left, right)
        if not fits:
            message = f"`{symbol}` does not compare {_kind(left)} with {_kind(right)}"
            raise error_at(node, "operand-type", message)
        return COMPARISONS[operation](left, right)

    def _subscript(self, node: ast.Subscript) -> Any:
        items = self.value(node.value)
        if not isinstance(items, list):
            message = f"`{self._source(node.value)}` is {_kind(items)}, not a list"
            raise error_at(node.value, "operand-type", message)
        if isinstance(node.slice, ast.Slice):
            return items[self._slice(node.slice)]
        index = self._integer(node.slice)
        if not -len(items) <= index < len(items):
            message = f"index {index} is outside of a list of {len(items)} elements"
            raise error_at(node, "index-out-of-range", message, "the first element is [0], the last [-1]")
        return items[index]

    def _slice(self, node: ast.Slice) -> slice:
        ends = [None if end is None else self._integer(end) for end in (node.lower, node.upper, node.step)]
        if ends[2] == 0:
            raise error_at(node, "operand-type", "the step of a slice cannot be 0")
        return slice(*ends)

    def _integer(self, node: ast.expr) -> int:
        index = self.value(node)
        if not isinstance(index, int) or isinstance(index, bool):
            help = "divide with `//`" if isinstance(index, float) else None
            message = f"an index is an integer; `{self._source(node)}` is {_kind(index)}"
            raise error_at(node, "operand-type", message, help)
        return index

    def _call(self, node: ast.Call) -> Any:
        name = called(node)
        if name == "channels":
            return self._channels(node)
        if name == "vocabulary":
            return self._vocabulary(node)
        if name == "given":
            return self._given(node)
        arguments = [self.value(argument) for argument in node.args]
        if name in ("min", "max"):
            return self._extreme(node, name, arguments)
        if name == "len":
            return self._len(node, arguments[0])
        if name == "sum":
            return self._sum(node, arguments[0])
        for argument in arguments:
            if not _is_number(argument):
                raise error_at(node, "operand-type", f"`{name}` takes a number, not {_kind(argument)}")
        if not all(is_sound(argument) for argument in arguments):
            raise error_at(node, "number-too-large", TOO_LARGE)
        if name == "round":
            return self._round(node, arguments)
        try:
            return self._sound(node, _OF_A_NUMBER[name](arguments[0]))
        except ValueError:
            raise error_at(node, "operand-type", f"`{self._source(node)}` is not a real number") from None
        except OverflowError:
            raise error_at(node, "number-too-large", TOO_LARGE) from None

    def _round(self, node: ast.Call, arguments: list[Any]) -> Any:
        if len(arguments) == 2 and (not isinstance(arguments[1], int) or abs(arguments[1]) > 18):
            raise error_at(node.args[1], "operand-type", "`round` takes a number of digits from -18 to 18")
        return self._sound(node, round(*arguments))

    def _extreme(self, node: ast.Call, name: str, arguments: list[Any]) -> Any:
        items = arguments[0] if len(arguments) == 1 else arguments
        if not isinstance(items, list):
            raise error_at(node, "operand-type", f"`{name}` of one value takes a list, not {_kind(items)}")
        if not items:
            raise error_at(node, "operand-type", f"`{name}` of an empty list has no value")
        if not (all(map(_is_number, items)) or all(isinstance(item, str) for item in items)):
            raise error_at(node, "operand-type", f"`{name}` takes numbers")
        return min(items) if name == "min" else max(items)

    def _len(self, node: ast.Call, items: Any) -> int:
        if not isinstance(items, list | str):
            raise error_at(node, "operand-type", f"`len` takes a list or a string, not {_kind(items)}")
        return len(items)

    def _sum(self, node: ast.Call, items: Any) -> Any:
        if not isinstance(items, list) or not all(map(_is_number, items)):
            raise error_at(node, "operand-type", "`sum` takes a list of numbers")
        return self._sound(node, sum(items))

    def _channels(self, node: ast.Call) -> int:
        argument = node.args[0]
        if self.channels is None:
            help = "`channels` reads an input of its own block"
            raise error_at(node, "unknown-channels", "`channels` has no meaning here", help)
        try:
            return self.channels(ast.unparse(argument))
        except KeyError:
            message = f"`{self._source(argument)}` is not an input of this block"
            raise error_at(argument, "unknown-channels", message) from None
        except ExpressionError as error:
            raise error_at(node, error.code, error.message, error.help) from None

    def _given(self, node: ast.Call) -> bool:
        """The value of `given(name)` in the scope: whether the input is given."""
        argument, key = node.args[0], ast.unparse(node)
        if key in self.scope:
            return bool(self.scope[key])
        start, name = "given(", self._source(argument)
        there = [known.removeprefix(start)[:-1] for known in self.scope if known.startswith(start)]
        near = nearest(name, there)
        help = "`given` asks for an input of its own block"
        if there:
            help = (
                Remedy(f"did you mean `given({near})`?", Change(near))
                if near
                else f"inputs here: {', '.join(there)}"
            )
        raise error_at(argument, "unknown-reference", f"`{name}` is not an input of a block here", help)

    def _vocabulary(self, node: ast.Call) -> int:
        """The value of `vocabulary(name)` in the scope; None for a feature without a declared size."""
        argument, key = node.args[0], ast.unparse(node)
        size = self.scope.get(key)
        if isinstance(size, int):
            return size
        name = self._source(argument)
        if key in self.scope:
            message = f"the feature `{name}` does not say how many ids it has"
            raise error_at(node, "unknown-vocabulary", message, f"write `vocabulary: ...` at `{name}`")
        start = "vocabulary("
        there = [name.removeprefix(start)[:-1] for name in self.scope if name.startswith(start)]
        help = did_you_mean(name, there, f"features with ids: {', '.join(there) or 'none'}")
        raise error_at(argument, "unknown-vocabulary", f"`{name}` is not a feature of `data` here", help)


def _comparable(left: Any, right: Any) -> bool:
    """Numbers are comparable with numbers, strings with strings; a boolean is not a number here."""
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    return (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))
