"""Source text: literals, templates, and lines wrapped as ruff wraps them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator

from graphspec.contract.layer import Leaf, Ref

WIDTH = 88


def literal(value: Leaf) -> str:
    """The one way a value gets into source: trusted code, or the `repr` of a plain value, strings in
    double quotes.
    """
    if isinstance(value, Ref):
        return value.text
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, float):
        if math.isinf(value) or math.isnan(value):
            return f'float("{value}")'
        return repr(value)
    if isinstance(value, str):
        return '"' + ascii(value)[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    if isinstance(value, tuple | list):
        inner = ", ".join(literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise TypeError(f"no literal for {type(value).__name__}")


def comment(text: str) -> str:
    """Text that is safe in a comment or docstring: printable ASCII, no quotes that could end it."""
    return re.sub(r"[^ -~]", "?", text).replace("\\", "/").replace('"""', "'''")


def atomic(expression: str) -> bool:
    """Whether a method can be called on an expression without parentheses around it."""
    if expression.isidentifier():
        return True
    node = ast.parse(expression, mode="eval").body
    return isinstance(
        node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.List | ast.Tuple | ast.Constant
    )


def fill(template: str, value: Callable[[str], str]) -> str:
    """A template with each `{hole}` filled, in parentheses where precedence asks for them."""

    def replace(match: re.Match[str]) -> str:
        text = value(match[1])
        before, after = template[: match.start()].rstrip()[-1:], template[match.end() :].lstrip()[:1]
        if (before in ("", "(", ",", "[", "=") and after in ("", ")", ",", "]")) or match[1] in ("*", "list"):
            return text
        return text if atomic(text) else f"({text})"

    return re.sub(r"\{([\w*]+)\}", replace, template)


def lines(prefix: str, expression: str, indent: int, suffix: str = "") -> list[str]:
    """`prefix expression suffix` as one or more lines at an indent of so many spaces."""
    pad = " " * indent
    single = f"{pad}{prefix}{expression}{suffix}"
    if len(single) <= WIDTH:
        return [single]
    chain = _chain(expression)
    if len(chain) > 2 and prefix.endswith(("= ", "return ")) and not suffix:
        return [
            f"{pad}{prefix}(",
            *(part for text in chain for part in lines("", text, indent + 4)),
            f"{pad})",
        ]
    if len(chain) > 2 and not prefix:
        parts = [part for text in chain for part in lines("", text, indent)]
        return [*parts[:-1], parts[-1] + suffix]
    operands = _parts(expression)
    split = _last_brackets(expression) if len(operands) == 1 else None
    if len(operands) == 2 and _grouped(operands[0][1]):
        (_, group), (operator, rest) = operands
        inner = _operands(group[1:-1], indent + 4)
        return [f"{pad}{prefix}(", *inner, f"{pad}) {operator}{rest}{suffix}"]
    if split is None:
        if prefix.endswith(("= ", "return ")) and not suffix:
            return [f"{pad}{prefix}(", *_operands(expression, indent + 4), f"{pad})"]
        if not prefix and len(operands) > 1:
            parts = _operands(expression, indent)
            return [*parts[:-1], parts[-1] + suffix]
        return [single]
    head, items, tail = split
    if _grouped(expression):
        return [f"{pad}{prefix}(", *_operands(items[0], indent + 4), f"{pad}){suffix}"]
    body = ", ".join(items)
    if len(pad) + 4 + len(body) <= WIDTH and head[-1] == "(":
        return [f"{pad}{prefix}{head}", f"{pad}    {body}", f"{pad}{tail}{suffix}"]
    looped = len(items) == 1 and _comprehension_at(items[0]) is not None
    if looped or (len(items) == 1 and items[0].startswith("[") and head[-1] == "("):
        inner = _comprehension(items[0], indent + 4) if looped else lines("", items[0], indent + 4)
        return [f"{pad}{prefix}{head}", *inner, f"{pad}{tail}{suffix}"]
    out = [f"{pad}{prefix}{head}"]
    for item in items:
        out += lines("", item, indent + 4, ",")
    return [*out, f"{pad}{tail}{suffix}"]


def _comprehension(text: str, indent: int) -> list[str]:
    """A comprehension in its brackets: on one line, or its loop on a line of its own."""
    pad = " " * indent
    if len(pad + text) <= WIDTH:
        return [pad + text]
    cut = _comprehension_at(text)
    assert cut is not None
    return [*lines("", text[:cut], indent), *lines("for ", text[cut + 5 :], indent)]


def _comprehension_at(text: str) -> int | None:
    """Where ` for ` begins outside brackets and strings."""
    depth = 0
    for position, char in _code(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and char == " " and text.startswith(" for ", position):
            return position
    return None


def _operands(expression: str, indent: int) -> list[str]:
    pad = " " * indent
    if len(pad + expression) <= WIDTH:
        return [pad + expression]
    out: list[str] = []
    for prefix, operand in _parts(expression):
        out += lines(prefix, operand, indent)
    return out


def _parts(expression: str) -> list[tuple[str, str]]:
    """The operands of the loosest operators of an expression, each with the operator before it."""
    depth, top = 0, set()
    for position, char in _code(expression):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and char == " ":
            top.add(position)
    for words in ((" if ", " else "), (" | ",), (" & ",), (" + ", " - "), (" * ", " / ", " @ ")):
        cuts = [m for m in re.finditer("|".join(map(re.escape, words)), expression) if m.start() in top]
        if cuts:
            ends = [*(m.start() for m in cuts[1:]), len(expression)]
            first = ("", expression[: cuts[0].start()])
            return [
                first,
                *((m[0][1:], expression[m.end() : end]) for m, end in zip(cuts, ends, strict=True)),
            ]
    return [("", expression)]


def _grouped(text: str) -> bool:
    """Whether parentheses stand around the whole of a text, and make no tuple of it."""
    split = _last_brackets(text)
    return split is not None and split[0] == "(" and len(split[1]) == 1 and not text.endswith(",)")


def _chain(expression: str) -> list[str]:
    """A chain of method calls: what it begins with, then `.method(...)` each."""
    if len(_parts(expression)) > 1:
        return [expression]
    depth, cuts = 0, [0]
    for position, char in _code(expression):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and char in ")]" and expression[position + 1 : position + 2] == ".":
            cuts.append(position + 1)
    return [expression[a:b] for a, b in zip(cuts, [*cuts[1:], len(expression)], strict=True)]


def _last_brackets(text: str) -> tuple[str, list[str], str] | None:
    """The text up to its last top-level opening bracket, what stands between, and from its closing bracket
    on.
    """
    if not text.endswith((")", "]", "}")):
        return None
    depth, opening = 0, -1
    spans: list[tuple[int, int]] = []
    for position, char in _code(text):
        if char in "([{":
            if depth == 0:
                opening = position
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                spans.append((opening, position))
    if not spans or spans[-1][1] != len(text) - 1:
        return None
    start, end = spans[-1]
    items = split_items(text[start + 1 : end])
    return (text[: start + 1], items, text[end:]) if items else None


def split_items(text: str) -> list[str]:
    """The parts of a text between commas outside brackets and strings; a comprehension is one."""
    if _comprehension_at(text) is not None:
        return [text]
    items, depth, begin = [], 0, 0
    for position, char in _code(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[begin:position].strip())
            begin = position + 1
    items.append(text[begin:].strip())
    return [item for item in items if item]


def _code(text: str) -> Iterator[tuple[int, str]]:
    """The characters outside string literals."""
    inside = False
    escaped = False
    for position, char in enumerate(text):
        if inside:
            inside = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            inside = True
        else:
            yield position, char
