"""The fixes of a text, applied in rounds: what one mistake hid, the next round mends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from graphspec.diagnostics import Diagnostic, Diagnostics, Span
from graphspec.fixing.edits import Edit, Fix, fix_of, offset
from graphspec.source import Document, read
from graphspec.source.places import line_end, line_starts

MAX_ROUNDS = 100
MAX_DEPTH = 6
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

    A fix stays if its diagnostic is gone after it, no error lies where it wrote, and no number is lost.
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


_NUMBER = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+")
_EXPRESSION = re.compile(r"\$[A-Za-z_]\w*|\$\([^\n]*?\)")
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


def _kept(
    text: str, fixes: list[Placed], before: list[Diagnostic], check: Check, depth: int = MAX_DEPTH
) -> str | None:
    """The text after these fixes, if each of them mends what it was made for, and makes no new mistake: what
    it wrote is in none that further safe fixes do not mend, at most `depth` of them one after the other, and
    the text reads as well as before. Other errors were hidden.
    """
    edits = [edit for _, fix in fixes for edit in fix.edits]
    after = apply(text, edits)
    diagnostics, sources = check(after)
    lines, written = line_starts(after), _written(edits, after)
    known = {_key(diagnostic) for diagnostic in before}
    left = {(*_key(diagnostic), _start(diagnostic.span, lines)) for diagnostic in diagnostics}
    if any((*_key(each), _moved(_start(each.span, line_starts(text)), edits)) in left for each, _ in fixes):
        return None
    new = [each for each in diagnostics if each.severity == "error" and _key(each) not in known]
    if new and any(diagnostic.code in _GUESSES for diagnostic, _ in fixes):
        return None
    (document, unreadable), (earlier, unread) = _read(after), _read(text)
    if unreadable - unread and not any(_key(diagnostic) in unread for diagnostic, _ in fixes):
        return None
    numbers, params = _lost(earlier, text, after)
    if params or (numbers and not any(fix.drops for _, fix in fixes)):
        return None
    written = [_with_its_entry(document, *place) for place in written]
    left_there = [each for each in new if any(_is_at(span, lines, written) for span in _spans(each))]
    return (
        after if depth and _mend_themselves(after, left_there, sources, diagnostics, check, depth) else None
    )


def _mend_themselves(
    text: str,
    left: list[Diagnostic],
    sources: dict[str, str],
    diagnostics: list[Diagnostic],
    check: Check,
    depth: int,
) -> bool:
    """Whether what is left where a fix wrote has safe fixes, which leave nothing there either."""
    fixes = [(each, fix) for each in left if (fix := fix_of(each, sources)) is not None and fix.safe]
    if len(fixes) < len(left):
        return False
    together = list(_apart(fixes))
    return not fixes or _kept(text, together, diagnostics, check, depth - 1) is not None


def _spans(diagnostic: Diagnostic) -> Iterator[Span | None]:
    yield diagnostic.span
    yield from (label.span for label in diagnostic.labels)


def _is_at(span: Span | None, lines: list[int], places: list[tuple[int, int]]) -> bool:
    """Whether a place begins in one of several."""
    start = _start(span, lines)
    return start is not None and any(a <= start < b for a, b in places)


def _read(text: str) -> tuple[Document | None, set[tuple[str, str]]]:
    """A text as YAML, and its mistakes."""
    diagnostics = Diagnostics()
    document = read(text, "", diagnostics)
    return document, {_key(diagnostic) for diagnostic in diagnostics}


def _lost(document: Document | None, text: str, after: str) -> tuple[Counter[float], Counter[str]]:
    """The numbers of a document that a text does not have, and uses of its params."""
    waiting, numbers = [document.value if document is not None else None], Counter[float]()
    declared = set[str]()
    while waiting:
        value = waiting.pop()
        params = value.get("params") if isinstance(value, dict) else None
        declared |= params.keys() if isinstance(params, dict) else set()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers[abs(float(value))] += 1
        elif isinstance(value, str) and "(" in value:
            numbers += _numbers(value.partition("(")[2])
    numbers -= _numbers(after)
    uses = _params(text) - _params(after)
    return numbers, Counter({name: count for name, count in uses.items() if name in declared})


def _numbers(text: str) -> Counter[float]:
    return Counter(float(int(n, 0) if n[1:2] in ("x", "o") else n) for n in _NUMBER.findall(text))


def _params(text: str) -> Counter[str]:
    """The names in the expressions of a text."""
    return Counter(word for part in _EXPRESSION.findall(text) for word in re.findall(r"[A-Za-z_]\w*", part))


def _with_its_entry(document: Document | None, start: int, end: int) -> tuple[int, int]:
    """The range from `start` to `end`, extended by its value where it is a key."""
    if document is None:
        return start, end
    return start, max(end, document.value_ends().get(start, end))


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
