"""The layout: two blanks for each level, one after a comma and a colon, values of names in one column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.formatting.tokens import Token, tokens
from graphspec.source import read

ALIGNED = frozenset(["nodes", "shared", "inputs", "outputs", "features", "presets"])
"""Sections whose keys are names: what follows them in braces starts in one column."""


def formatted(text: str) -> str | None:
    """A text in the layout, or as it is where that would change what it holds; None if it cannot be read."""
    return laid_out(text)[0]


def laid_out(text: str) -> tuple[str | None, bool]:
    """The same, and whether the text has the layout."""
    text = text.removeprefix("\ufeff")
    diagnostics = Diagnostics()
    before = read(text, "", diagnostics)
    if before is None or unreadable(diagnostics):
        return None, False
    token_list = list(tokens(text))
    after = _Layout(token_list).run()
    if "\r\n" in text:
        after = after.replace("\n", "\r\n")
    again = read(after, "", Diagnostics())
    if again is None or again.value != before.value or _comments(token_list) != _comments(tokens(after)):
        return text, False
    return after, True


def unreadable(diagnostics: Diagnostics) -> list[Diagnostic]:
    """The errors of a text that leave its values open; the holes of an exercise have a layout, too."""
    return [each for each in diagnostics.sorted() if each.severity == "error" and each.code != "hole"]


def _comments(tokens: Iterable[Token]) -> list[str]:
    return [_spaced(comment) for token in tokens for comment, _, _ in token.comments]


def _spaced(comment: str) -> str:
    return re.sub(r"\A#(?=[^\s#!:])", "# ", comment)


@dataclass(slots=True)
class _Level:
    """A collection that is open, in this `column` of the text that is read. `entries` are those whose values
    are put into one column: where the blank before the value is in the output, and how long the key is.
    """

    kind: str  # mapping, sequence, flow
    indent: int
    column: int = 0
    aligned: bool = False
    key: str = ""
    entries: list[tuple[int, int]] = field(default_factory=list)


class _Layout:
    """One pass over tokens. `out` are the pieces of the output."""

    def __init__(self, tokens: list[Token]):
        self.tokens = tokens
        self.out: list[str] = []
        self.levels: list[_Level] = []
        self.fresh = True  # the output is at the start of a line
        self.indent = 0  # of the line that is being written
        self.key: str | None = None  # the key that waits for its value
        self.wants_key = False
        self.previous = ""  # the kind of the last token that was written
        self.ended: list[_Level] = []  # since that token, the innermost first
        self.keeps = False  # the last text keeps the empty lines after it

    def run(self) -> str:
        for index, token in enumerate(self.tokens):
            self._token(token, index)
        text = "".join(self.out).lstrip("\n")
        return text if self.keeps else text.rstrip("\n") + "\n"

    def _token(self, token: Token, index: int) -> None:
        level = self.levels[-1] if self.levels else None
        if token.kind == "mapping":
            self.levels.append(_Level("mapping", self._deeper(), token.column, self.key in ALIGNED))
        elif token.kind == "sequence":
            self.levels.append(_Level("sequence", self._deeper(), token.column))
        elif token.kind == "end":
            self._end_indentless()
            self.ended.append(self.levels.pop())
            self._align(self.ended[-1])
        elif token.kind == "key":
            self._end_indentless()
            self.wants_key = True
        elif token.kind == "stop":
            self._comments(token, 0, -1)
        elif token.kind == "---":
            self._start_line(token, 0)
            self._write(token.text)
        elif level is not None and level.kind == "flow":
            self._in_flow(token)
        else:
            self._in_block(token, index)

    def _deeper(self) -> int:
        """The indentation of a collection that opens here."""
        if not self.levels:
            return 0
        return self.levels[-1].indent + 2

    def _end_indentless(self) -> None:
        """Ends a list whose dashes are in the column of its key, which has no token of its own."""
        if self.levels and self.levels[-1].kind == "indentless":
            self.ended.append(self.levels.pop())

    # --- blocks

    def _in_block(self, token: Token, index: int) -> None:
        if token.kind == "-":
            if self.levels[-1].kind == "mapping":
                self.levels.append(_Level("indentless", self._deeper(), token.column))
            self._start_line(token, self.levels[-1].indent)
            self._write("-")
        elif token.kind == ":":
            self._comments(token, self.indent, token.column)
            self.out.append(":")
            self.previous = ":"
        elif self.wants_key and token.kind in ("scalar", "anchor"):
            level = self.levels[-1]
            self._start_line(token, level.indent)
            self._write(token.text)
            if token.kind == "scalar":
                self.wants_key = False
                self.key = level.key = _unquoted(token.text)
        else:
            self._value(token, index)

    def _value(self, token: Token, index: int) -> None:
        """A value after its key or its dash, or the only one."""
        level = self.levels[-1] if self.levels else None
        indent = level.indent + 2 if level is not None else 0
        self._comments(token, indent, token.column)
        if self.previous == "comment":
            self._break(1, indent)
        if (
            token.kind == "{"
            and level is not None
            and level.aligned
            and self.previous == ":"
            and not self.fresh
        ):
            level.entries.append((len(self.out), len(level.key)))
        self._write(
            _indented(token.text, level.indent + 2, level.column) if level is not None else token.text
        )
        if token.kind in "{[":
            self.levels.append(_Level("flow", self.indent + 2))
            self.previous = token.kind

    def _start_line(self, token: Token, indent: int) -> None:
        """Begins a line, unless a dash is before the token."""
        if self.previous == "-" and not self.fresh and token.breaks == 0 and not token.comments:
            return
        self._comments(token, indent, token.column)
        self._break(token.breaks, indent)

    def _break(self, breaks: int, indent: int) -> None:
        """Ends the line and begins one, after an empty one where the text has some."""
        if not self.fresh:
            self.out.append("\n")
        if breaks > 1 and self.out:
            self.out.append("\n")
        self.out.append(" " * indent)
        self.fresh, self.indent, self.previous = True, indent, ""

    def _write(self, text: str) -> None:
        if not self.fresh:
            self.out.append(" ")
        self.out.append(text)
        self.keeps = text.startswith(("|", ">")) and "+" in text.split(maxsplit=1)[0]
        self.fresh, self.previous = text.endswith("\n"), text if text == "-" else "scalar"
        self.ended.clear()

    # --- braces and brackets

    def _in_flow(self, token: Token) -> None:
        closes = token.kind in "}]"
        level = self.levels[-1]
        indent = level.indent - 2 if closes else level.indent
        self._comments(token, level.indent, token.column)
        if self.previous == ":" and token.kind in "},":
            self.out.append(" ")  # after a key without a value
        if token.kind in ",:" and self.previous != "comment":
            self.out.append(token.kind)
        elif (token.breaks and not self.fresh) or self.previous == "comment":
            self._break(1, indent)
            self.indent = level.indent - 2
            self.out.append(_joined(token.text))
        else:
            bare = self.fresh or closes or self.previous in ("{", "[")
            self.out.append(_joined(token.text) if bare else f" {_joined(token.text)}")
        self.fresh, self.previous = False, token.kind
        self.wants_key = False
        if token.kind in "{[":
            self.levels.append(_Level("flow", level.indent + 2))
        elif closes:
            self.levels.pop()
            self.previous = "scalar"

    # --- comments

    def _comments(self, token: Token, indent: int, start: int) -> None:
        """Writes the comments before a token, which starts in a column: after the last one on its line, or on
        lines of their own. These belong to the token, or to what ends before it and is not deeper than they.
        """
        ended = [each for each in self.ended if each.column + (each.kind == "indentless") > start]
        for text, column, breaks in token.comments:
            text = _spaced(text)
            if breaks == 0 and self.out and not self.fresh:
                self.out.append(f"  {text}\n")
            else:
                around = (
                    each.indent for each in ended if column >= each.column + (each.kind == "indentless")
                )
                self._break(breaks, next(around, indent))
                self.out.append(f"{text}\n")
            self.fresh, self.previous = True, "comment"

    def _align(self, level: _Level) -> None:
        """Puts the values of a section's names into one column."""
        width = max((length for _, length in level.entries), default=0)
        for at, length in level.entries:
            self.out[at] = " " * (width - length + 1)


def _unquoted(text: str) -> str:
    return text.strip("\"'")


def _joined(text: str) -> str:
    """A text in braces on one line, as YAML folds it."""
    return re.sub(r"[ \t]*\r?\n[ \t]*", " ", text) if "\n" in text and "\n\n" not in text else text


def _indented(text: str, indent: int, column: int) -> str:
    """A text over several lines, its other lines at least so deep. What it belongs to was in this column."""
    if "\n" not in text:
        return text
    first, *rest = text.replace("\r\n", "\n").split("\n")
    if text[:1] not in "|>":
        return "\n".join([first, *(" " * indent + line.strip() if line.strip() else "" for line in rest)])
    if (depth := re.search(r"\A[|>][+-]?([1-9])", first)) is not None:
        margin = column + int(depth[1])
        first = first.replace(depth[1], "2", 1)
    else:
        margin = min((len(line) - len(line.lstrip(" ")) for line in rest if line.strip()), default=0)
    return "\n".join([first, *(" " * indent + line[margin:] if line[margin:] else "" for line in rest)])
