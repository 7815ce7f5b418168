"""Renders diagnostics as text, in the style of rustc: the line at fault, underlined, with the remedy."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from graphspec.diagnostics.diagnostic import Diagnostic, Span
from graphspec.diagnostics.text import split_lines, visible

Paint = Callable[[str, str], str]

LINE_WIDTH = 120
"""Display columns of source that a snippet shows, if there is room; a longer line is cut around its marks."""
NARROWEST = 24
REACH = 20 * LINE_WIDTH
"""Characters on both sides of a mark among which the part that is shown is chosen."""

_COLORS = {"error": "1;31", "warning": "1;33", "code": "1", "frame": "1;94", "note": "1;32", "help": "1;36"}


def render(
    diagnostic: Diagnostic, sources: Mapping[str, str], color: bool = False, columns: int | None = None
) -> str:
    """The diagnostic as text, without a final newline, in the manner of rustc.

    `sources` maps file names to their text; a place in a file that is not there is named without its line.
    Lines of source fit into so many `columns`.
    """
    paint = _painter(color)
    head = paint(diagnostic.severity, f"{diagnostic.severity}[{diagnostic.code}]")
    out = [head + paint("code", ": " + visible(diagnostic.message))]
    if diagnostic.span is not None:
        out += _snippets(diagnostic, diagnostic.span, sources, paint, columns)
    for kind, text in [*(("note", note) for note in diagnostic.notes), ("help", diagnostic.help or "")]:
        if text:
            first, *rest = text.split("\n")
            out.append(paint(kind, f"{kind}:") + " " + visible(first))
            out += [" " * (len(kind) + 2) + visible(line) for line in rest]
    return "\n".join(out)


def _painter(color: bool) -> Paint:
    if not color:
        return lambda kind, text: text
    return lambda kind, text: f"\x1b[{_COLORS.get(kind, '0')}m{text}\x1b[0m"


@dataclass(frozen=True, slots=True)
class _Mark:
    span: Span
    text: str
    primary: bool


def _snippets(
    diagnostic: Diagnostic, span: Span, sources: Mapping[str, str], paint: Paint, columns: int | None
) -> list[str]:
    marks = [_Mark(span, diagnostic.label, True)]
    marks += [_Mark(label.span, label.text, False) for label in diagnostic.labels]
    width = len(str(max(mark.span.line for mark in marks)))
    beside = width + len(" | ") + 2 * len("...")
    room = LINE_WIDTH if columns is None else min(LINE_WIDTH, max(NARROWEST, columns - beside))
    files = dict.fromkeys(mark.span.file for mark in marks)
    out: list[str] = []
    for file in files:
        here = sorted((mark for mark in marks if mark.span.file == file), key=lambda mark: mark.span)
        first = next((mark for mark in here if mark.primary), here[0])
        arrow = "-->" if file == span.file else ":::"
        out.append(" " * width + paint("frame", arrow) + " " + visible(str(first.span)))
        if file in sources:
            out += _file_snippet(here, sources[file], width, room, diagnostic.severity, paint)
        else:
            out += [f"note: {visible(str(m.span))}: {visible(m.text)}" for m in here if m.text]
    return out


@lru_cache(maxsize=4)  # hundreds of mistakes are in one file
def _lines(source: str) -> list[str]:
    return split_lines(source.removeprefix("\ufeff"))


def _file_snippet(
    marks: list[_Mark], source: str, width: int, room: int, severity: str, paint: Paint
) -> list[str]:
    # A byte order mark is no character of the first line.
    lines = _lines(source)
    bar = paint("frame", "|")
    blank = " " * (width + 1) + bar
    out = [blank]
    previous: int | None = None
    for number, group in _groups(marks, lines, room):
        if previous is not None and number > previous + 1:
            out.append(paint("frame", "..."))
        text = lines[number - 1] if number <= len(lines) else ""
        shown, rows = _line_snippet(text, number, group, room, severity, paint)
        out.append(f"{paint('frame', str(number).rjust(width))} {bar} {shown}".rstrip())
        out += [f"{blank} {row}" for row in rows]
        previous = number
    return out


def _groups(marks: list[_Mark], lines: list[str], room: int) -> Iterator[tuple[int, list[_Mark]]]:
    """Marks by line; on a line too long to show, those that fit into one window together."""
    by_line: dict[int, list[_Mark]] = {}
    for mark in marks:
        by_line.setdefault(mark.span.line, []).append(mark)
    for number, group in by_line.items():
        text = lines[number - 1] if number <= len(lines) else ""
        window: list[_Mark] = []
        for mark in group:
            reach = mark.span.end_column if mark.span.end_line == number else len(text) + 1
            if window and len(text) > room and reach - window[0].span.column > room // 2:
                yield number, window
                window = []
            window.append(mark)
        yield number, window


def _line_snippet(
    text: str, number: int, marks: list[_Mark], room: int, severity: str, paint: Paint
) -> tuple[str, list[str]]:
    """The line as shown, and the rows of marks and labels under it."""
    passed = max(0, min(mark.span.column for mark in marks) - REACH)
    text = text[passed : passed + 2 * REACH]  # of a longer line no more is looked at
    cells = [_cell(char) for char in text]
    starts = [0]
    for cell in cells:
        starts.append(starts[-1] + _width(cell))

    def at(column: int) -> int:
        beyond = max(column - 1 - len(cells), 0)
        return starts[min(column - 1, len(cells))] + min(beyond, 1)

    places = []
    for mark in marks:
        begin = at(mark.span.column - passed)
        end = at(mark.span.end_column - passed) if mark.span.end_line == number else starts[-1]
        places.append((begin, max(end, begin + 1), mark))
    source, shift, limit = _window(cells, starts, places, room)
    shown = [(max(b + shift, 0), min(max(e + shift, b + shift + 1), limit), mark) for b, e, mark in places]
    return source, _mark_rows(shown, severity, paint)


def _window(
    cells: list[str], starts: list[int], places: list[tuple[int, int, _Mark]], room: int
) -> tuple[str, int, int]:
    """The part of the line to show, how far its columns moved, and how far marks may reach."""
    total = starts[-1]
    if total <= room:
        return "".join(cells).rstrip(), 0, total + 2
    begin = min(place[0] for place in places)
    end = min(max(place[1] for place in places), begin + room - 10)
    left = max(0, min(begin - (room - (end - begin)) // 2, total - room))
    right = left + room
    # A cell that straddles an edge of the window is left out; `first` keeps the columns right.
    inside = [i for i in range(len(cells)) if starts[i] >= left and starts[i + 1] <= right]
    first = starts[inside[0]] if inside else left
    before, after = ("..." if first > 0 else ""), ("..." if right < total else "")
    body = "".join(cells[i] for i in inside)
    return (before + body + after).rstrip(), len(before) - first, len(before) + room + 2


def _cell(char: str) -> str:
    return "    " if char == "\t" else visible(char)


def _width(cell: str) -> int:
    """Terminal columns of what is shown for one character."""
    if len(cell) > 1:
        return len(cell)
    if unicodedata.category(cell) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in "WF" else 1


def _mark_rows(places: list[tuple[int, int, _Mark]], severity: str, paint: Paint) -> list[str]:
    """`^^^` and `---`, the label of the last mark beside them, the others below at their marks' columns."""
    canvas: list[tuple[str, str]] = [(" ", "")] * max(end for _, end, _ in places)
    for begin, end, mark in sorted(places, key=lambda place: (place[0] - place[1], place[2].primary)):
        canvas[begin:end] = [("^", severity) if mark.primary else ("-", "frame")] * (end - begin)
    labelled = sorted((place for place in places if place[2].text), key=lambda p: (p[1], p[0], p[2].primary))
    rows = []
    row = _join(canvas, paint)
    if labelled and labelled[-1][1] == len(canvas):
        row += " " + _label(labelled.pop()[2], severity, paint)
    rows.append(row)
    labelled.sort(key=lambda place: place[0])
    while labelled:
        begin, _, mark = labelled.pop()
        bars = [(" ", "")] * begin
        for other, _, pending in labelled:
            if other < begin:
                bars[other] = ("|", severity if pending.primary else "frame")
        rows.append(_join(bars, paint) + _label(mark, severity, paint))
    return rows


def _label(mark: _Mark, severity: str, paint: Paint) -> str:
    return paint(severity if mark.primary else "frame", visible(mark.text))


def _join(canvas: list[tuple[str, str]], paint: Paint) -> str:
    """The characters with runs of one colour painted as one."""
    edges = [0, *(i for i, (a, b) in enumerate(pairwise(canvas), 1) if a[1] != b[1]), len(canvas)]
    out = []
    for a, b in pairwise(edges):
        text = "".join(char for char, _ in canvas[a:b])
        out.append(paint(canvas[a][1], text) if text.strip() else text)
    return "".join(out)
