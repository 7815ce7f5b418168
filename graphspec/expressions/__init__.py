"""The expression language: `$name`, `$(...)` and text with insertions.

    parse_value("$(4 * filters)")  ->  Expression, whose value keeps its type
    parse_value("block_$index")    ->  Template, whose value is text
    parse_value("costs $$5")       ->  "costs $5"

Python's own parser reads what is in the parentheses; a closed list of node types decides what is allowed
(`grammar`), a small evaluator computes it (`evaluator`), and it can be written as Python again (`writer`).
Nothing is ever passed to `eval`. Every text ends in a value or in an `ExpressionError`, within bounds on
length, depth, digits and elements.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from graphspec.diagnostics import Change, Remedy, shortened
from graphspec.expressions.evaluator import MAX_TEXT, Channels, Evaluator, Value
from graphspec.expressions.grammar import (
    IDENTIFIER,
    MAX_LENGTH,
    NAMED,
    WORDS,
    ExpressionError,
    called,
    outside_quotes,
    parse_tree,
)
from graphspec.expressions.substitution import as_python

__all__ = [
    "MAX_LENGTH",
    "UNCLOSED_HELP",
    "Channels",
    "Expression",
    "ExpressionError",
    "Template",
    "Value",
    "brace_help",
    "braced_name",
    "closing",
    "evaluate",
    "names_in",
    "parse_value",
]


_INDEX = re.compile(r"\[[^\[\]]*\]")
"""Matches an index after the name of a list."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression; `text` is its source without `$(` and `)`, `start` where that is in the value.
    Those of equal text are equal. To its `names` belong `vocabulary(kinds)` and `given(memory)`, which the
    scope may hold, too.
    """

    text: str
    tree: ast.expr = field(compare=False, repr=False)
    start: int = field(compare=False)
    names: frozenset[str]
    channels: frozenset[str]

    def evaluate(self, scope: Mapping[str, Value], channels: Channels | None = None) -> Value:
        """The value. `channels` gives the last axis of a named input: it raises KeyError for one that is not
        there and may raise ExpressionError, to which the place is added.
        """
        try:
            value: Value = Evaluator(self.text, scope, channels).value(self.tree)
            return value
        except ExpressionError as error:
            raise error.shifted(self.start) from None

    def python(self, values: Mapping[str, ast.expr]) -> ast.expr:
        """The expression as a tree of Python.

        `values` maps names, and `channels(x)` under the key "channels(x)", to Python expressions. `ceil` and
        `floor` become `math.ceil` and `math.floor`.
        """
        return as_python(self.tree, values)


@dataclass(frozen=True, slots=True)
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
        for position, part in enumerate(self.parts):
            if isinstance(part, str):
                out.append(part)
                continue
            end = part.start + len(part.text)
            value = part.evaluate(scope, channels)
            if isinstance(value, list):
                message = f"`{part.text}` is a list, which cannot be inserted into text"
                behind = self.parts[position + 1] if position + 1 < len(self.parts) else ""
                index = _INDEX.match(behind) if isinstance(behind, str) else None
                element = f"{part.text.lstrip('$(').rstrip(')')}{index[0] if index else '[0]'}"
                raise ExpressionError("operand-type", message, part.start, end, f"write `$({element})`")
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


UNCLOSED_HELP = "close it: every `(` needs its `)`, every quote its second"
MAX_PARTS = 200
"""Insertions of one text, and the texts between them."""
_INSERTION = re.compile(rf"\$(?:(\$)|(\()|(\{{)|({IDENTIFIER.pattern}))?")


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
                message = f"`{shortened(text[match.start() :])}` is never closed"
                raise ExpressionError("unclosed-expression", message, match.start(), len(text), UNCLOSED_HELP)
            parts.append(_parse(text[position:end], position))
            position = end + 1
        else:
            raise _dollar_error(text, match.start(), braced)
        if len(parts) > MAX_PARTS:
            message = f"the text has more than {MAX_PARTS // 2} insertions"
            raise ExpressionError("value-too-long", message, match.start(), position)
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
        spaced = re.match(r"\$ +([A-Za-z_]\w*)\s*\Z", text[start:])
        formula = re.match(r"\$(\d[\w .+*/%$-]*[-+*/%][\w .+*/%$-]*)\Z", text[start:])
        help = f"write `${spaced[1]}`" if spaced else "write `$$` for a dollar sign"
        if formula:
            help = f"write `$({formula[1].replace('$', '')})`"
        return ExpressionError("lone-dollar", "`$` has no name after it", start, start + 1, help)
    inner, end = braced_name(text, start)
    return ExpressionError(
        "dollar-brace", f"`{shortened(text[start:end])}` is not a param", start, end, brace_help(inner)
    )


def braced_name(text: str, start: int) -> tuple[str, int]:
    """The content of the `${...}` at `start`, and its end."""
    end = text.find("}", start)
    end = len(text) if end < 0 else end + 1
    return text[start + 2 : end].removesuffix("}").strip(), end


def brace_help(inner: str) -> str:
    """The legal way to write `${inner}`."""
    inner = re.sub(r"^params?\.(?=\w+$)", "", inner)  # as other languages name where a parameter is kept
    if inner.isupper():  # a variable of the environment
        return f"write the value: a spec reads no environment; or declare `{inner}` under `params`"
    if IDENTIFIER.fullmatch(inner):
        return Remedy(f"write `${inner}` or `$({inner})`", Change(f"$({inner})"))
    if ":" in inner:  # a variable of the environment, in other languages
        return "write `$name` of a param, whose value `--set name=...` gives"
    return (
        Remedy(f"write `$({shortened(inner)})`", Change(f"$({inner})"))
        if inner
        else "write `$name` or `$(name)`"
    )


_PAIRS = {")": "(", "]": "[", "}": "{"}


def closing(text: str, opening: int) -> int | None:
    """The offset of the `)` that closes the `(` at `opening`, or None. Brackets in quotes do not count."""
    opened: list[str] = []
    for position, char in outside_quotes(text, opening):
        if char in "([{":
            opened.append(char)
        elif char in _PAIRS:
            if opened.pop() != _PAIRS[char]:
                return None
            if not opened:
                return position
    return None


def _name(name: str, start: int) -> Expression:
    tree: ast.expr = ast.Constant(WORDS[name]) if name in WORDS else ast.Name(name)
    tree.col_offset, tree.end_col_offset = 0, len(name)
    names = frozenset() if name in WORDS else frozenset([name])
    return Expression(name, tree, start, names, frozenset())


def _parse(text: str, start: int) -> Expression:
    """The expression between the parentheses of a `$(...)`; errors have offsets in the whole value."""
    try:
        tree = parse_tree(text)
    except ExpressionError as error:
        raise error.shifted(start) from None
    names: set[str] = set()
    channels: set[str] = set()
    for node in _outside_calls(tree):
        if isinstance(node, ast.Call) and called(node) == "channels":
            channels.add(ast.unparse(node.args[0]))
        elif isinstance(node, ast.Call) and called(node) in ("vocabulary", "given"):
            names.add(ast.unparse(node))
        elif isinstance(node, ast.Name) and node.id not in WORDS:
            names.add(node.id)
    return Expression(text, tree, start, frozenset(names), frozenset(channels))


def _outside_calls(tree: ast.expr) -> Iterator[ast.AST]:
    """Every node but the names of functions, and names in those that take no values."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.Call):
            todo += [] if called(node) in NAMED else node.args
        else:
            todo += ast.iter_child_nodes(node)


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
