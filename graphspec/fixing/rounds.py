"""The fixes of a text, applied in rounds: what one mistake hid, the next round mends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from graphspec.diagnostics import Diagnostic, Diagnostics, Span
from graphspec.fixing.edits import Edit, Fix, fix_of, offset
from graphspec.source import read
from graphspec.source.places import line_end, line_starts

MAX_ROUNDS = 100
Check = Callable[[str], tuple[list[Diagnostic], dict[str, str]]]
"""The diagnostics of a text, and the texts of all files that they point into."""

_GUESSES = frozenset(["unknown-reference", "unknown-name"])
"""Codes of names that the spec itself declares: the right one was found if nothing else fails."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A text after its fixes, and how many were applied."""

    text: str
    count: int


def fixed(text: str, name: str, check: Check, unsafe: bool = False) -> Fixed:
    """A text with all fixes that mend something; those that are `unsafe` only where that is asked for.

    A fix stays if its diagnostic is gone after it and no error lies where it wrote.
    """
    text, count = text.removeprefix("\ufeff"), 0
    refused: set[Mistake] = set()
    for _ in range(MAX_ROUNDS):
        diagnostics, sources = check(text)
        fixes = list(_wanted(diagnostics, sources, name, unsafe, refused))
        if not fixes:
            break
        together = list(_apart(fixes))
        if (after := _kept(text, together, diagnostics, check)) is not None:
            text, count = after, count + len(together)
            continue
        for each in together:
            if (after := _kept(text, [each], diagnostics, check)) is not None:
                text, count = after, count + 1
                break
            refused.add((*_key(each[0]), _line(each[0], text)))
    return Fixed(text, count)


Placed = tuple[Diagnostic, Fix]
Mistake = tuple[str, str, str]
"""The code and message of a mistake, and its line: two nodes may have equal ones."""


def _wanted(
    diagnostics: list[Diagnostic], sources: dict[str, str], name: str, unsafe: bool, refused: set[Mistake]
) -> Iterator[Placed]:
    repeated = [each for each in diagnostics if each.code == "duplicate-key"]
    twice = {label.span for each in repeated for label in each.labels}
    for diagnostic in diagnostics:
        if diagnostic.span in twice:  # another name for the first would hide that there are two values
            continue
        fix = fix_of(diagnostic, sources)
        here = fix is not None and all(edit.span.file == name for edit in fix.edits)
        if fix is None or not here or not (fix.safe or unsafe):
            continue
        if (*_key(diagnostic), _line(diagnostic, sources[name])) not in refused:
            yield diagnostic, fix


def _key(diagnostic: Diagnostic) -> tuple[str, str]:
    return diagnostic.code, diagnostic.message


def _line(diagnostic: Diagnostic, text: str) -> str:
    """The line of a text that a diagnostic points into."""
    start = _start(diagnostic.span, line_starts(text))
    return "" if start is None else text[start : line_end(text, start, len(text))]


def _start(span: Span | None, lines: list[int]) -> int | None:
    """Where a place begins in a text whose lines start at these offsets."""
    return offset(lines, span.line, span.column) if span is not None and 0 < span.line <= len(lines) else None


def _apart(fixes: Iterable[Placed]) -> Iterator[Placed]:
    """Fixes of which none touches another: of several in one place the first."""
    taken: list[tuple[int, int]] = []
    for diagnostic, fix in fixes:
        places = [(edit.start, edit.end) for edit in fix.edits]
        if any(a <= end and start <= b for a, b in places for start, end in taken):
            continue
        taken += places
        yield diagnostic, fix


def _kept(text: str, fixes: list[Placed], before: list[Diagnostic], check: Check) -> str | None:
    """The text after these fixes, if each of them mends what it was made for, and makes no new mistake: what
    it wrote is in none, and the text reads as well as before. Other errors were hidden.
    """
    edits = [edit for _, fix in fixes for edit in fix.edits]
    after = apply(text, edits)
    diagnostics, _ = check(after)
    lines, written = line_starts(after), _written(edits, after)
    known = {_key(diagnostic) for diagnostic in before}
    left = {(*_key(diagnostic), _start(diagnostic.span, lines)) for diagnostic in diagnostics}
    if any((*_key(each), _moved(_start(each.span, line_starts(text)), edits)) in left for each, _ in fixes):
        return None
    new = [each for each in diagnostics if each.severity == "error" and _key(each) not in known]
    if new and any(diagnostic.code in _GUESSES for diagnostic, _ in fixes):
        return None
    unreadable = _unreadable(after) - _unreadable(text)
    if unreadable and not any(_key(diagnostic) in _unreadable(text) for diagnostic, _ in fixes):
        return None
    spans = [span for each in new for span in (each.span, *(label.span for label in each.labels))]
    starts = [start for span in spans if (start := _start(span, lines)) is not None]
    return None if any(a <= start < b for start in starts for a, b in written) else after


def _unreadable(text: str) -> set[tuple[str, str]]:
    """The mistakes of a text as YAML."""
    diagnostics = Diagnostics()
    read(text, "", diagnostics)
    return {_key(diagnostic) for diagnostic in diagnostics}


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text after edits of which none overlaps another."""
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.content + text[edit.end :]
    return text


def _written(edits: list[Edit], after: str) -> list[tuple[int, int]]:
    """Where the contents of edits lie in the text `after` all of them; an indentation goes with its line."""
    shift, places = 0, []
    for edit in sorted(edits, key=lambda edit: edit.start):
        start = edit.start + shift
        end = start + len(edit.content)
        indents = edit.content and not edit.content.strip(" ")
        places.append((start, line_end(after, end, len(after)) if indents else end))
        shift += len(edit.content) - (edit.end - edit.start)
    return places


def _moved(start: int | None, edits: list[Edit]) -> int | None:
    """Where what began at an offset begins after all edits; what one of them replaced begins with it."""
    if start is None:
        return None
    moved = start
    for edit in edits:
        if edit.end <= start:
            moved += len(edit.content) - (edit.end - edit.start)
        elif edit.start < start:
            moved -= start - edit.start
    return moved
