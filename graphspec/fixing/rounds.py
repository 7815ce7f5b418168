"""The fixes of a text, applied in rounds: what one mistake hid, the next round mends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from graphspec.diagnostics import Diagnostic
from graphspec.fixing.edits import Edit, Fix, fix_of, offset
from graphspec.source.places import line_starts

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
    refused: set[tuple[str, str]] = set()
    for _ in range(MAX_ROUNDS):
        found, sources = check(text)
        fixes = list(_wanted(found, sources, name, unsafe, refused))
        if not fixes:
            break
        together = list(_apart(fixes))
        if (after := _kept(text, together, found, check)) is not None:
            text, count = after, count + len(together)
            continue
        for each in together:
            if (after := _kept(text, [each], found, check)) is not None:
                text, count = after, count + 1
                break
            refused.add(_key(each[0]))
    return Fixed(text, count)


Placed = tuple[Diagnostic, Fix]


def _wanted(
    found: list[Diagnostic], sources: dict[str, str], name: str, unsafe: bool, refused: set[tuple[str, str]]
) -> Iterator[Placed]:
    for diagnostic in found:
        fix = fix_of(diagnostic, sources)
        here = fix is not None and all(edit.span.file == name for edit in fix.edits)
        if fix is not None and here and (fix.safe or unsafe) and _key(diagnostic) not in refused:
            yield diagnostic, fix


def _key(diagnostic: Diagnostic) -> tuple[str, str]:
    return diagnostic.code, diagnostic.message


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
    """The text after these fixes, if each of them mends what it was made for."""
    edits = [edit for _, fix in fixes for edit in fix.edits]
    after = apply(text, edits)
    found, _ = check(after)
    known = {_key(diagnostic) for diagnostic in before}
    left = {_key(diagnostic) for diagnostic in found}
    if any(_key(diagnostic) in left for diagnostic, _ in fixes):
        return None
    new = [each for each in found if each.severity == "error" and _key(each) not in known]
    if new and any(diagnostic.code in _GUESSES for diagnostic, _ in fixes):
        return None
    written = _written(edits)
    return None if any(_touches(each, after, written) for each in new) else after


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text after edits of which none overlaps another."""
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.content + text[edit.end :]
    return text


def _written(edits: list[Edit]) -> list[tuple[int, int]]:
    """Where the contents of edits lie after all of them."""
    shift, places = 0, []
    for edit in sorted(edits, key=lambda edit: edit.start):
        start = edit.start + shift
        places.append((start, start + len(edit.content)))
        shift += len(edit.content) - (edit.end - edit.start)
    return places


def _touches(diagnostic: Diagnostic, text: str, places: list[tuple[int, int]]) -> bool:
    """Whether an error lies where something was written: its place begins in it."""
    span, lines = diagnostic.span, line_starts(text)
    if span is None or not 0 < span.line <= len(lines):
        return False
    at = offset(lines, span.line, span.column)
    return any(start <= at < end for start, end in places)
