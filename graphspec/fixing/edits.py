"""The edits of a remedy, placed in the text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.diagnostics import Change, Diagnostic, Diagnostics, Remedy, Span
from graphspec.fixing.reshaping import became
from graphspec.language.schema import Spec
from graphspec.source import read
from graphspec.source.places import line_starts, place
from graphspec.source.reader import Node

DECLARED_NAMES = frozenset(
    [
        "unknown-block",
        "unknown-channels",
        "unknown-name",
        "unknown-param",
        "unknown-preset",
        "unknown-reference",
        "unbound-output",
        "unused-feature",
    ]
)
"""Codes of names that the spec itself declares: the mistake may be in the declaration."""

_blank = re.compile(r"[ \t]*(?:\r|\n|\Z)")
_section = re.compile(rf"\s*(?:{'|'.join(Spec.model_fields)})[ \t]*:")
"""The start of a section of a file, which more likely belongs in the first column."""
_comment = re.compile(r"(?:^|(?<=\s))#[^\r\n]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Edit:
    """`content` in place of the characters from `start` to `end`, which `span` says in lines."""

    start: int
    end: int
    content: str
    span: Span

    def to_json(self) -> dict[str, Any]:
        span = self.span
        return {
            "file": span.file,
            "line": span.line,
            "column": span.column,
            "end_line": span.end_line,
            "end_column": span.end_column,
            "content": self.content,
        }


@dataclass(frozen=True, slots=True)
class Fix:
    """Edits of one file that mend one mistake. Those of a `safe` one are what can only have been meant; they
    keep all numbers unless the fix `drops` some.
    """

    message: str
    safe: bool
    edits: tuple[Edit, ...]
    drops: bool = False

    def to_json(self) -> dict[str, Any]:
        """The shape of `fix` in `check --json`."""
        return {
            "message": self.message,
            "applicability": "safe" if self.safe else "unsafe",
            "edits": [edit.to_json() for edit in self.edits],
        }


def fix_of(diagnostic: Diagnostic, sources: Mapping[str, str]) -> Fix | None:
    """The fix of a diagnostic; None where its remedy is no edit, or does not fit what is at its place."""
    help = diagnostic.help
    if not isinstance(help, Remedy):
        return None
    span = help.change.at or diagnostic.span
    if span is None or not span.line or span.file not in sources:
        return None
    text = sources[span.file].removeprefix("\ufeff")
    lines = line_starts(text)
    if max(span.line, span.end_line) > len(lines):
        return None
    start, end = offset(lines, span.line, span.column), offset(lines, span.end_line, span.end_column)
    change = help.change
    entry = None
    if change.where in ("value", "around", "merged"):
        found: Iterable[tuple[int, int, str]] = became(
            text, span.file, (start, end), change.value, change.where
        )
    else:
        entry = _entry(text, span.file, (start, end)) if change.where in ("entry", "key") else None
        found = _edits(change, text, lines, entry, start, end)
    edits = tuple(
        Edit(first, last, content, place(span.file, lines, first, last)) for first, last, content in found
    )
    declared = change.declared or diagnostic.code in DECLARED_NAMES
    safe = change.safe and (not declared or _surely_declared(change, text))
    if diagnostic.code == "yaml-tab":
        safe = safe and not _section.match(text, end)
    if change.only_for is not None:
        safe = safe and entry is not None and entry.value(text) in change.only_for
    if change.where == "key":
        safe = safe and entry is not None and not {*change.new.split()} & {*entry.beside}
    return Fix(str(help), safe, edits, change.drops) if edits else None


def _surely_declared(change: Change, text: str) -> bool:
    """Whether a name that replaces another is the right one: used elsewhere, too, and more often than the
    other. Else the declaration may have the mistake.
    """
    without_comments = _comment.sub("", text)
    there, wrong = (
        len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", without_comments))
        for word in (change.new, change.old or "")
    )
    return there - 1 > wrong if change.old else True


def offset(lines: list[int], line: int, column: int) -> int:
    """The offset of a line and a column, both from 1, in a text whose lines start at these offsets."""
    return lines[line - 1] + column - 1


def _edits(
    change: Change, text: str, lines: list[int], entry: _Entry | None, start: int, end: int
) -> Iterator[tuple[int, int, str]]:
    if change.where == "lines":
        for first, last in change.lines:
            for number in range(first, min(last, len(lines)) + 1):
                if not _blank.match(text, lines[number - 1]):
                    yield lines[number - 1], lines[number - 1], change.new
    elif change.where == "line end":
        stop = start + len(re.split(r"[\r\n]", text[start:], maxsplit=1)[0])
        stop = start + len(re.sub(r"\s*(?:#.*)?\Z", "", text[start:stop]))
        yield stop, stop, change.new
    elif change.where == "comment":
        yield start - (len(text[:start]) - len(text[:start].rstrip(" \t"))), end, change.new
    elif change.where == "entry":
        if entry is not None:
            yield (*_cleared(text, entry), change.new)
    elif change.where == "key":
        if entry is not None:
            yield entry.start, entry.end, _under(change.new.split(), text, entry)
    elif change.old is None:
        yield start, end, change.new
    else:
        before, after = (r"(?<![\w.$])", r"(?!\w)")
        word = f"{before if change.old[:1].isidentifier() else ''}{re.escape(change.old)}"
        word += after if re.search(r"\w\Z", change.old) else ""
        places = [match.span() for match in re.finditer(word, text[start:end])]
        if len(places) == 1:
            yield start + places[0][0], start + places[0][1], change.new


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry `key: value`, from `start` to `end`, in braces or not; its value begins at `middle`, and
    `beside` are all keys of its mapping.
    """

    start: int
    middle: int
    end: int
    in_braces: bool
    beside: Collection[Any]

    def value(self, text: str) -> str:
        return text[self.middle : self.end].strip("\"'").lower()


def _entry(text: str, file: str, at: tuple[int, int]) -> _Entry | None:
    """The entry whose key or value is at a place."""
    document = read(text, file, Diagnostics())
    stack: list[tuple[Node, bool]] = [] if document is None else [(document.root, False)]
    while stack:
        (begin, _, children), in_braces = stack.pop()
        in_braces = in_braces or text[begin : begin + 1] in ("{", "[")
        below = children.values() if isinstance(children, dict) else children or ()
        for child in below:
            if isinstance(children, dict):
                key, after, value = child
                if at in ((key, after), value[:2]):
                    return _Entry(key, value[0], value[1], in_braces, children)
                child = value
            stack.append((child, in_braces))
    return None


def _under(keys: list[str], text: str, entry: _Entry) -> str:
    """The value of an entry under each of these keys: on lines of their own where it is not in braces."""
    line = max(text.rfind("\n", 0, entry.start), text.rfind("\r", 0, entry.start)) + 1
    before = text[line : entry.start]
    ends = "\r\n" if "\r\n" in text else "\n"
    between = ", " if entry.in_braces else f"{ends}{re.sub('[^ ]', ' ', before)}"
    return between.join(f"{key}: {text[entry.middle : entry.end]}" for key in keys)


def _cleared(text: str, entry: _Entry) -> tuple[int, int]:
    """The range to delete with an entry: in braces one comma, else its lines where it has them for itself."""
    start, end = entry.start, entry.end
    if entry.in_braces and (after := re.compile(r"\s*,[ \t]*").match(text, end)):
        return start, after.end()
    if entry.in_braces and (before := re.search(r",\s*\Z", text[:start])):
        return before.start(), end
    line = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    rest = re.compile(r"[ \t]*(?:#[^\r\n]*)?(\r\n|\r|\n|\Z)").match(text, end)
    if not text[line:start].strip() and rest is not None:
        return line, rest.end()
    return start, end
