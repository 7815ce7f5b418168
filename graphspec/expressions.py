"""The expression language: `$name`, `$(...)` and text with insertions.

    parse_value("$(4 * filters)")  ->  Expression, whose value keeps its type
    parse_value("block_$index")    ->  Template, whose value is text
    parse_value("costs $$5")       ->  "costs $5"

Python's own parser reads what stands in the parentheses; a closed list of node types decides what is allowed,
and the evaluator below computes it. Nothing is ever passed to `eval`. Every text ends in a value or in an
`ExpressionError`, within bounds on length, depth, digits and elements.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .diagnostics import nearest

Value = int | float | str | bool | None | list
Channels = Callable[[str], int]

MAX_LENGTH = 2_000
"""Characters of one expression."""
MAX_DEPTH = 40
"""Levels of nesting: brackets in the text, nodes in the tree, lists in a value."""
MAX_NUMBER = 10**18
"""Bound on the size of an integer: more than 18 digits are a mistake, and int64 ends soon after."""
MAX_TEXT = 10_000
"""Characters that insertions may add to a text, or a concatenation may have."""
MAX_ELEMENTS = 1_000
"""Numbers, strings and lists in a list that an expression builds."""

_WORDS = {"true": True, "false": False, "null": None}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INSERTION = re.compile(r"\$(?:(\$)|(\()|(\{)|([A-Za-z_][A-Za-z0-9_]*))?")


class ExpressionError(Exception):
    """What is wrong with an expression: `start` and `end` are offsets in the text it was read from.

    `path` says where in nested data that text stands; `evaluate` sets it.
    """

    def __init__(
        self, code: str, message: str, start: int = 0, end: int = 0, help: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.help = code, message, help
        self.start, self.end = start, end
        self.path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One expression; `text` is its source without `$(` and `)`, `start` where that stands in the value."""

    text: str
    tree: ast.expr
    start: int
    names: frozenset[str]
    channels: frozenset[str]

    def evaluate(self, scope: Mapping[str, Value], channels: Channels | None = None) -> Value:
        """The value. `channels` gives the last axis of a named input: it raises KeyError for one that is not
        there and may raise ExpressionError, to which the place is added.
        """
        try:
            return _Evaluator(self.text, scope, channels).value(self.tree)
        except ExpressionError as error:
            error.start += self.start
            error.end += self.start
            raise

    def python(self, rename: Mapping[str, str]) -> str:
        """The expression as Python source, formatted as ruff formats a line that is short enough.

        `rename` maps names, and `channels(x)` under the key "channels(x)", to Python expressions. `ceil` and
        `floor` become `math.ceil` and `math.floor`.
        """
        return _Writer(rename).write(self.tree)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Text with insertions."""

    parts: tuple[str | Expression, ...]
    names: frozenset[str] = field(init=False)
    channels: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        inserted = [part for part in self.parts if isinstance(part, Expression)]
        object.__setattr__(self, "names", frozenset().union(*(part.names for part in inserted)))
        object.__setattr__(self, "channels", frozenset().union(*(part.channels for part in inserted)))

    def evaluate(self, scope: Mapping[str, Value], channels: Channels | None = None) -> str:
        out: list[str] = []
        added = 0
        for part in self.parts:
            if isinstance(part, str):
                out.append(part)
                continue
            end = part.start + len(part.text)
            value = part.evaluate(scope, channels)
            if isinstance(value, list):
                message = f"`{part.text}` is a list, which cannot be inserted into text"
                raise ExpressionError("operand-type", message, part.start, end, "take one element: [0]")
            text = _as_text(value)
            added += len(text)
            if added > MAX_TEXT:
                message = f"the insertions add more than {MAX_TEXT:,} characters"
                raise ExpressionError("value-too-long", message, part.start, end)
            out.append(text)
        return "".join(out)


def _as_text(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


# --- reading


@lru_cache(maxsize=4096)
def parse_value(text: str) -> str | Expression | Template:
    """A string of a spec: plain text (with `$$` undone), one expression, or text with insertions."""
    if "$" not in text:
        return text
    parts: list[str | Expression] = []
    position = 0
    while match := _INSERTION.search(text, position):
        parts.append(text[position : match.start()])
        position = match.end()
        dollar, opened, braced, name = match.groups()
        if dollar:
            parts.append("$")
        elif name:
            parts.append(_name(name, match.start(4)))
        elif opened:
            end = closing(text, match.end() - 1)
            if end is None:
                help = "close it: every `(` needs its `)`, every quote its second"
                message = f"`{text[match.start() : match.start() + 40]}` is never closed"
                raise ExpressionError("unclosed-expression", message, match.start(), len(text), help)
            parts.append(_parse(text[position:end], position))
            position = end + 1
        else:
            raise _dollar_error(text, match.start(), braced)
    parts.append(text[position:])
    return _joined(parts)


def _joined(parts: list[str | Expression]) -> str | Expression | Template:
    merged: list[str | Expression] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    if not merged:
        return ""
    return merged[0] if len(merged) == 1 else Template(tuple(merged))


def _dollar_error(text: str, start: int, braced: str | None) -> ExpressionError:
    if not braced:
        return ExpressionError(
            "lone-dollar", "`$` stands before nothing", start, start + 1, "write `$$` for a dollar sign"
        )
    inner, end = braced_name(text, start)
    return ExpressionError(
        "dollar-brace", f"`{text[start:end]}` is not a parameter", start, end, brace_help(inner)
    )


def braced_name(text: str, start: int) -> tuple[str, int]:
    """What stands in the `${...}` at `start`, and where it ends."""
    end = text.find("}", start)
    end = len(text) if end < 0 else end + 1
    return text[start + 2 : end].removesuffix("}").strip(), end


def brace_help(inner: str) -> str:
    """The legal way to write `${inner}`."""
    if _IDENTIFIER.fullmatch(inner):
        return f"write `${inner}` or `$({inner})`"
    return f"write `$({inner})`" if inner else "write `$name` or `$(name)`"


_PAIRS = {")": "(", "]": "[", "}": "{"}


def closing(text: str, opening: int) -> int | None:
    """The offset of the `)` that closes the `(` at `opening`, or None. Brackets in quotes do not count.

    Looks no further than an expression may be long.
    """
    opened: list[str] = []
    quote = ""
    skip = False
    for position in range(opening, min(len(text), opening + MAX_LENGTH + 2)):
        char = text[position]
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            opened.append(char)
        elif char in _PAIRS:
            if opened.pop() != _PAIRS[char]:
                return None
            if not opened:
                return position
    return None


def _name(name: str, start: int) -> Expression:
    tree: ast.expr = ast.Constant(_WORDS[name]) if name in _WORDS else ast.Name(name)
    tree.col_offset, tree.end_col_offset = 0, len(name)
    names = frozenset() if name in _WORDS else frozenset([name])
    return Expression(name, tree, start, names, frozenset())


def _parse(text: str, start: int) -> Expression:
    """The expression between the parentheses of a `$(...)`; errors have offsets in the whole value."""
    try:
        tree = _tree(text)
        _check(tree, text)
    except ExpressionError as error:
        error.start += start
        error.end += start
        raise
    names: set[str] = set()
    channels: set[str] = set()
    for node in _outside_calls(tree):
        if isinstance(node, ast.Call) and _called(node) == "channels":
            channels.add(node.args[0].id)  # type: ignore[attr-defined]
        elif isinstance(node, ast.Name) and node.id not in _WORDS:
            names.add(node.id)
    return Expression(text, tree, start, frozenset(names), frozenset(channels))


def _outside_calls(tree: ast.expr) -> Iterator[ast.AST]:
    """Every node but the names of functions and the argument of `channels`."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.Call):
            todo += [] if _called(node) == "channels" else node.args
        else:
            todo += ast.iter_child_nodes(node)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _tree(text: str) -> ast.expr:
    """Python's tree of `text`, in which `col_offset` and `end_col_offset` are character offsets in `text`."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            "expression-too-long", f"the expression has more than {MAX_LENGTH:,} characters", 0, len(text)
        )
    _scan(text)
    # In parentheses Python takes line breaks and indentation as blanks; one line keeps offsets simple.
    source = "(" + re.sub(r"\s", " ", text) + ")"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        at = min(max((error.offset or 1) - 2, 0), max(len(text) - 1, 0))
        message = "the expression cannot be read: " + (error.msg.split("(")[0].strip() or "invalid syntax")
        raise ExpressionError("expression-syntax", message, at, at + 1) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("expression-too-long", "the expression is too complex", 0, len(text)) from None
    _to_characters(tree, source)
    return tree


def _scan(text: str) -> None:
    """Refuse what Python's parser would read otherwise than meant: comments, other letters, deep brackets."""
    if not text.strip():
        raise ExpressionError("expression-syntax", "the expression is empty", 0, len(text))
    depth = 0
    quote = ""
    skip = False
    for position, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ExpressionError(
                    "expression-too-long",
                    f"more than {MAX_DEPTH} brackets stand in one another",
                    position,
                    position + 1,
                )
        elif char in ")]}":
            depth -= 1
        elif char == "#" or char == "\\" or not (char.isascii() and (char.isprintable() or char.isspace())):
            shown = char if char.isprintable() else f"U+{ord(char):04X}"
            raise ExpressionError(
                "expression-syntax", f"`{shown}` has no meaning in an expression", position, position + 1
            )


def _to_characters(tree: ast.expr, source: str) -> None:
    """Python counts the bytes of UTF-8 from the added parenthesis; we count characters of the text."""
    raw = source.encode()
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset = len(raw[: node.col_offset].decode()) - 1
            node.end_col_offset = len(raw[: node.end_col_offset].decode()) - 1


# --- what is allowed

_BINARY: dict[type, tuple[str, int]] = {
    ast.Add: ("+", 6),
    ast.Sub: ("-", 6),
    ast.Mult: ("*", 7),
    ast.Div: ("/", 7),
    ast.FloorDiv: ("//", 7),
    ast.Mod: ("%", 7),
    ast.Pow: ("**", 9),
}
_COMPARE: dict[type, str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_UNARY: dict[type, str] = {ast.UAdd: "+", ast.USub: "-", ast.Not: "not "}
_FUNCTIONS: dict[str, tuple[int, int]] = {
    "min": (1, MAX_LENGTH),
    "max": (1, MAX_LENGTH),
    "round": (1, 2),
    "ceil": (1, 1),
    "floor": (1, 1),
    "int": (1, 1),
    "abs": (1, 1),
    "len": (1, 1),
    "sum": (1, 1),
    "channels": (1, 1),
}
"""Each function with the least and the greatest number of its arguments."""

_REFUSED: dict[type, str] = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.Dict: "a mapping",
    ast.Set: "a set",
    ast.Tuple: "a tuple (a list is written `[a, b]`)",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred argument",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.YieldFrom: "`yield`",
}
_FORMS = (
    "expressions have + - * / // % **, comparisons, and, or, not, a if c else b, lists, indices and slices"
)


def _error(code: str, node: ast.AST, message: str, help: str | None = None) -> ExpressionError:
    return ExpressionError(code, message, node.col_offset, node.end_col_offset, help)  # type: ignore[attr-defined]


def _check(tree: ast.expr, text: str) -> None:
    """Every node is of a known kind, and none stands too deep."""
    todo: list[tuple[ast.AST, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise ExpressionError(
                "expression-too-long", f"the expression is nested more than {MAX_DEPTH} deep", 0, len(text)
            )
        for child in _children(node, text):
            todo.append((child, depth + 1))


def _children(node: ast.AST, text: str) -> list[ast.AST]:
    """The operands of an allowed node; raises for any other."""
    if isinstance(node, ast.Constant):
        _check_constant(node, text)
        return []
    if isinstance(node, ast.Name):
        return []
    if isinstance(node, ast.Call):
        return _check_call(node, text)
    if isinstance(node, ast.Attribute):
        message = f"`.{node.attr}` reads an attribute; an expression has none"
        help = "a reference stands outside of the parentheses: `node.$(index).output`"
        raise _error("expression-attribute", node, message, help)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return [node.operand]
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.BoolOp | ast.IfExp | ast.List | ast.Subscript):
        return [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.boolop | ast.expr_context)]
    if isinstance(node, ast.Slice):
        return list(ast.iter_child_nodes(node))
    what = _REFUSED.get(type(node))
    if what is None and isinstance(node, ast.Compare):
        raise _error(
            "expression-form", node, "`is` is not an operation of an expression", "compare with `==`"
        )
    what = what or f"`{text[node.col_offset : node.end_col_offset]}`"  # type: ignore[attr-defined]
    raise _error("expression-form", node, f"{what} is not part of an expression", _FORMS)


def _check_constant(node: ast.Constant, text: str) -> None:
    value = node.value
    if not isinstance(value, int | float | str | None):
        raise _error(
            "expression-form", node, f"`{text[node.col_offset : node.end_col_offset]}` is not a value", _FORMS
        )
    if isinstance(value, int | float) and not _is_sound(value):
        raise _error("number-too-large", node, _TOO_LARGE)


def _check_call(node: ast.Call, text: str) -> list[ast.AST]:
    name = _called(node)
    if name not in _FUNCTIONS:
        called = text[node.func.col_offset : node.func.end_col_offset]
        if isinstance(node.func, ast.Attribute):
            raise _error(
                "expression-attribute", node.func, f"`{called}` reads an attribute; an expression has none"
            )
        near = nearest(name, _FUNCTIONS)
        help = f"did you mean `{near}`? " if near else ""
        help += "functions are " + ", ".join(_FUNCTIONS)
        raise _error("unknown-function", node.func, f"`{called}` cannot be called in an expression", help)
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise _error("call-arguments", node, f"`{name}` takes plain arguments, without names or stars")
    least, most = _FUNCTIONS[name]
    if not least <= len(node.args) <= most:
        expected = "one argument" if most == 1 else "one or two arguments" if most == 2 else "arguments"
        raise _error("call-arguments", node, f"`{name}` takes {expected}, not {len(node.args)}")
    if name == "channels" and not isinstance(node.args[0], ast.Name):
        help = "write the name of an input of the block: channels(x)"
        raise _error("call-arguments", node.args[0], "`channels` takes the name of an input", help)
    return list(node.args)


# --- evaluation

_TOO_LARGE = "a number has more than 18 digits or no end"
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}

_ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "int": int,
    "abs": abs,
}


def _is_sound(value: object) -> bool:
    if isinstance(value, int):
        return -MAX_NUMBER < value < MAX_NUMBER
    return isinstance(value, float) and math.isfinite(value)


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


class _Evaluator:
    """Evaluates a checked tree; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, scope: Mapping[str, Value], channels: Channels | None) -> None:
        self.text, self.scope, self.channels = text, scope, channels

    def value(self, node: ast.AST) -> Any:
        return getattr(self, "_" + type(node).__name__.lower())(node)

    def _source(self, node: ast.expr) -> str:
        return self.text[node.col_offset : node.end_col_offset]

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.scope:
            return self.scope[node.id]
        if node.id in _WORDS:
            return _WORDS[node.id]
        near = nearest(node.id, self.scope)
        if near:
            help = f"did you mean `{near}`?"
        elif self.scope:
            help = "known here: " + ", ".join(list(self.scope)[:20])
        else:
            help = "declare it under `params`"
        raise _error("unknown-name", node, f"`{node.id}` is not a parameter here", help)

    def _list(self, node: ast.List) -> list:
        return self._bounded(node, [self.value(element) for element in node.elts])

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
            raise _error("operand-type", node.operand, message)
        return -operand if isinstance(node.op, ast.USub) else +operand

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        operation = type(node.op)
        if _is_number(left) and _is_number(right):
            return self._arithmetic(node, left, right)
        if operation is ast.Add and type(left) is type(right) and isinstance(left, str | list):
            if isinstance(left, str) and len(left) + len(right) > MAX_TEXT:
                raise _error("value-too-long", node, f"the text has more than {MAX_TEXT:,} characters")
            return self._bounded(node, left + right)
        if operation is ast.Mult and list in (type(left), type(right)) and int in (type(left), type(right)):
            items, times = (left, right) if isinstance(left, list) else (right, left)
            if len(items) * times > MAX_ELEMENTS:
                raise _error("value-too-long", node, f"the list has more than {MAX_ELEMENTS:,} elements")
            return self._bounded(node, items * times)
        symbol = _BINARY[operation][0]
        message = f"`{symbol}` does not work on {_kind(left)} and {_kind(right)}"
        has_text = isinstance(left, str) or isinstance(right, str)
        help = "text is put together outside of the parentheses: `a_$(b)`" if has_text else None
        raise _error("operand-type", node, message, help)

    def _arithmetic(self, node: ast.BinOp, left: Any, right: Any) -> Any:
        operation = type(node.op)
        integers = isinstance(left, int) and isinstance(right, int)
        if operation is ast.Pow and integers and abs(left) > 1 and right > 64:
            raise _error("number-too-large", node, _TOO_LARGE)
        try:
            result = _ARITHMETIC[operation](left, right)
        except ZeroDivisionError:
            raise _error("division-by-zero", node, f"`{self._source(node)}` divides by zero") from None
        except OverflowError:
            raise _error("number-too-large", node, _TOO_LARGE) from None
        if isinstance(result, complex):
            raise _error("operand-type", node, f"`{self._source(node)}` is not a real number")
        return self._sound(node, result)

    def _sound(self, node: ast.expr, result: Any) -> Any:
        if not _is_sound(result):
            raise _error("number-too-large", node, f"`{self._source(node)}`: {_TOO_LARGE}")
        return result

    def _bounded(self, node: ast.expr, value: Any) -> Any:
        if isinstance(value, list) and _elements(value) > MAX_ELEMENTS:
            raise _error("value-too-long", node, f"the list has more than {MAX_ELEMENTS:,} elements")
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
        symbol = _COMPARE[operation]
        if operation in (ast.In, ast.NotIn):
            fits = isinstance(right, list)
        elif operation in (ast.Eq, ast.NotEq):
            fits = None in (left, right) or _comparable(left, right) or type(left) is type(right)
        else:
            fits = _comparable(left, right)
        if not fits:
            message = f"`{symbol}` does not compare {_kind(left)} with {_kind(right)}"
            raise _error("operand-type", node, message)
        return _COMPARISONS[operation](left, right)

    def _subscript(self, node: ast.Subscript) -> Any:
        items = self.value(node.value)
        if not isinstance(items, list):
            message = f"`{self._source(node.value)}` is {_kind(items)}, not a list"
            raise _error("operand-type", node.value, message)
        if isinstance(node.slice, ast.Slice):
            return items[self._slice(node.slice)]
        index = self._integer(node.slice)
        if not -len(items) <= index < len(items):
            message = f"index {index} is outside of a list of {len(items)} elements"
            raise _error("index-out-of-range", node, message, "the first element is [0], the last [-1]")
        return items[index]

    def _slice(self, node: ast.Slice) -> slice:
        ends = [None if end is None else self._integer(end) for end in (node.lower, node.upper, node.step)]
        if ends[2] == 0:
            raise _error("operand-type", node, "the step of a slice cannot be 0")
        return slice(*ends)

    def _integer(self, node: ast.expr) -> int:
        index = self.value(node)
        if not isinstance(index, int) or isinstance(index, bool):
            help = "divide with `//`" if isinstance(index, float) else None
            message = f"an index is an integer; `{self._source(node)}` is {_kind(index)}"
            raise _error("operand-type", node, message, help)
        return index

    def _call(self, node: ast.Call) -> Any:
        name = _called(node)
        if name == "channels":
            return self._channels(node)
        arguments = [self.value(argument) for argument in node.args]
        if name in ("min", "max"):
            return self._extreme(node, name, arguments)
        if name == "len":
            if not isinstance(arguments[0], list | str):
                raise _error(
                    "operand-type", node, f"`len` takes a list or a string, not {_kind(arguments[0])}"
                )
            return len(arguments[0])
        if name == "sum":
            return self._sum(node, arguments[0])
        for argument in arguments:
            if not _is_number(argument):
                raise _error("operand-type", node, f"`{name}` takes a number, not {_kind(argument)}")
        if not all(_is_sound(argument) for argument in arguments):
            raise _error("number-too-large", node, _TOO_LARGE)
        if name == "round":
            return self._round(node, arguments)
        return self._sound(node, _ROUNDINGS[name](arguments[0]))

    def _round(self, node: ast.Call, arguments: list) -> Any:
        if len(arguments) == 2 and (not isinstance(arguments[1], int) or abs(arguments[1]) > 18):
            raise _error("operand-type", node.args[1], "`round` takes a number of digits from -18 to 18")
        return self._sound(node, round(*arguments))

    def _extreme(self, node: ast.Call, name: str, arguments: list) -> Any:
        items = arguments[0] if len(arguments) == 1 else arguments
        if not isinstance(items, list):
            raise _error("operand-type", node, f"`{name}` of one value takes a list, not {_kind(items)}")
        if not items:
            raise _error("operand-type", node, f"`{name}` of an empty list has no value")
        if not (all(map(_is_number, items)) or all(isinstance(item, str) for item in items)):
            raise _error("operand-type", node, f"`{name}` takes numbers")
        return min(items) if name == "min" else max(items)

    def _sum(self, node: ast.Call, items: Any) -> Any:
        if not isinstance(items, list) or not all(map(_is_number, items)):
            raise _error("operand-type", node, "`sum` takes a list of numbers")
        return self._sound(node, sum(items))

    def _channels(self, node: ast.Call) -> int:
        argument = node.args[0]
        name = argument.id  # type: ignore[attr-defined]
        if self.channels is None:
            help = "`channels` reads an input of the block it stands in"
            raise _error("unknown-channels", node, "`channels` has no meaning here", help)
        try:
            return self.channels(name)
        except KeyError:
            message = f"`{name}` is not an input of this block"
            raise _error("unknown-channels", argument, message) from None
        except ExpressionError as error:
            error.start, error.end = node.col_offset, node.end_col_offset or 0
            raise


def _comparable(left: Any, right: Any) -> bool:
    """Numbers with numbers, strings with strings; a boolean is no number here."""
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    return (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))


# --- writing Python

_ATOM = 10


class _Writer:
    """Writes a checked tree with the fewest parentheses, spaced as ruff spaces it.

    Each method returns the source and its precedence, from 0 (a conditional) to 10 (an atom).
    """

    def __init__(self, rename: Mapping[str, str]) -> None:
        self.rename = rename

    def write(self, node: ast.AST) -> tuple[str, int]:
        return getattr(self, "_" + type(node).__name__.lower())(node)

    def _at(self, node: ast.AST, level: int) -> str:
        """The source, in parentheses when it binds less tightly than `level`."""
        text, own = self.write(node)
        return text if own >= level else f"({text})"

    def _name(self, node: ast.Name) -> tuple[str, int]:
        if node.id in self.rename:
            return self._renamed(self.rename[node.id])
        return (repr(_WORDS[node.id]) if node.id in _WORDS else node.id), _ATOM

    def _renamed(self, source: str) -> tuple[str, int]:
        return (source, _ATOM) if re.fullmatch(r"[\w.]+(\(\w*\))?", source) else (f"({source})", _ATOM)

    def _constant(self, node: ast.Constant) -> tuple[str, int]:
        if isinstance(node.value, str):
            single = ascii(node.value)
            body = single[1:-1]
            return (single if '"' in body else f'"{body}"'), _ATOM
        return repr(node.value), _ATOM

    def _list(self, node: ast.List) -> tuple[str, int]:
        return "[" + ", ".join(self._at(element, 0) for element in node.elts) + "]", _ATOM

    def _ifexp(self, node: ast.IfExp) -> tuple[str, int]:
        return f"{self._at(node.body, 1)} if {self._at(node.test, 1)} else {self._at(node.orelse, 0)}", 0

    def _boolop(self, node: ast.BoolOp) -> tuple[str, int]:
        word, level = ("or", 1) if isinstance(node.op, ast.Or) else ("and", 2)
        return f" {word} ".join(self._at(operand, level + 1) for operand in node.values), level

    def _unaryop(self, node: ast.UnaryOp) -> tuple[str, int]:
        level = 3 if isinstance(node.op, ast.Not) else 8
        return _UNARY[type(node.op)] + self._at(node.operand, level), level

    def _compare(self, node: ast.Compare) -> tuple[str, int]:
        out = self._at(node.left, 5)
        for operation, comparator in zip(node.ops, node.comparators, strict=True):
            out += f" {_COMPARE[type(operation)]} {self._at(comparator, 5)}"
        return out, 4

    def _binop(self, node: ast.BinOp) -> tuple[str, int]:
        symbol, level = _BINARY[type(node.op)]
        if symbol == "**":
            # Binds to the right, tighter than a sign on its left and looser than one on its right.
            tight = _is_simple_power(node.left) and _is_simple_power(node.right)
            left, right = self._at(node.left, level + 1), self._at(node.right, 8)
            return f"{left}{'**' if tight else ' ** '}{right}", level
        return f"{self._at(node.left, level)} {symbol} {self._at(node.right, level + 1)}", level

    def _subscript(self, node: ast.Subscript) -> tuple[str, int]:
        return f"{self._at(node.value, _ATOM)}[{self._at(node.slice, 0)}]", _ATOM

    def _slice(self, node: ast.Slice) -> tuple[str, int]:
        ends = [node.lower, node.upper, *([node.step] if node.step else [])]
        spaced = any(end is not None and not _is_simple_end(end) for end in ends)
        out = ""
        for position, end in enumerate(ends):
            if position:
                out += " :" if spaced and out and not out.endswith(":") else ":"
                out += " " if spaced and end else ""
            out += self._at(end, 0) if end is not None else ""
        return out, 0

    def _call(self, node: ast.Call) -> tuple[str, int]:
        name = _called(node)
        if name == "channels":
            argument = node.args[0].id  # type: ignore[attr-defined]
            return self._renamed(self.rename.get(f"channels({argument})", f"channels({argument})"))
        prefix = "math." if name in ("ceil", "floor") else ""
        return f"{prefix}{name}({', '.join(self._at(argument, 0) for argument in node.args)})", _ATOM


def _is_simple_power(node: ast.AST) -> bool:
    """What ruff writes beside `**` without spaces: names, numbers, and those with a sign."""
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        node = node.operand
    return isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and not isinstance(node.value, str))


def _is_simple_end(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        node = node.operand
    return isinstance(node, ast.Name | ast.Constant)


# --- nested data


def names_in(value: Any) -> frozenset[str]:
    """The free names of every string in nested plain data; raises ExpressionError with its `path`."""
    names: set[str] = set()
    for path, text in _strings(value, ()):
        try:
            parsed = parse_value(text)
        except ExpressionError as error:
            raise _placed(error, path) from None
        if not isinstance(parsed, str):
            names |= parsed.names
    return frozenset(names)


def _strings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        if "$" in value:
            yield path, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings(item, (*path, key))


def evaluate(value: Any, scope: Mapping[str, Value], channels: Channels | None = None) -> Any:
    """Nested plain data with every expression replaced by its value, as new lists and dicts.

    Raises ExpressionError whose `path` says where inside `value` it happened.
    """
    if isinstance(value, str):
        if "$" not in value:
            return value
        parsed = parse_value(value)
        return parsed if isinstance(parsed, str) else parsed.evaluate(scope, channels)
    if isinstance(value, dict):
        return {key: _evaluate_item(key, item, scope, channels) for key, item in value.items()}
    if isinstance(value, list):
        return [_evaluate_item(index, item, scope, channels) for index, item in enumerate(value)]
    return value


def _evaluate_item(key: str | int, item: Any, scope: Mapping[str, Value], channels: Channels | None) -> Any:
    try:
        return evaluate(item, scope, channels)
    except ExpressionError as error:
        raise _placed(error, (key,)) from None


def _placed(error: ExpressionError, path: tuple[str | int, ...]) -> ExpressionError:
    error.path = path + error.path
    return error
