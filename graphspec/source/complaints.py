"""What libyaml complains about, in the words of someone who writes YAML."""

from __future__ import annotations

_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        "a key cannot stand here",
        "one line has one `key: value`; a text with a colon and a space needs quotes; indent with care",
    ),
    (
        "did not find expected key",
        "this line is indented like none above it",
        "keys of one mapping begin in the same column",
    ),
    ("expected '-' indicator", "a list goes on with `- `", "items of one list begin in the same column"),
    ("expected ',' or ']'", "a `,` or `]` should stand here", "text with brackets needs quotes"),
    ("expected ',' or '}'", "a `,` or `}` should stand here", "text with braces needs quotes"),
    ("cannot start any token", "no value begins with this character", "put the text in quotes"),
    ("unknown escape", "double quotes have no such escape", "use single quotes, or a doubled backslash"),
    ("expected ':'", "a `:` should stand here", "write `key: value`"),
    ("found unexpected ':'", "a colon wants a space behind it", "write `key: value`"),
    (
        "found unexpected document",
        "a document ends inside of a value",
        "close the quote or the bracket above",
    ),
    ("expected node content", "a value should stand here", "put a text in quotes"),
    ("unexpected end of stream", "the file ends inside of a value", "close the quote or the bracket above"),
    ("sequence entries are not allowed", "a list cannot begin here", "begin it on a line of its own"),
    ("undefined tag handle", "no value begins with `!`", "put the text in quotes"),
    ("alphabetic or numeric", "`*` and `&` want a name behind them", "put the text in quotes"),
)


def explain(problem: str, context: str) -> tuple[str, str | None]:
    """A message and a help for what the parser reports."""
    for needle, message, help in _SYNTAX:
        if needle in problem:
            return message, help
    return f"this is not YAML: {problem}" + (f" {context}" if context else ""), None
