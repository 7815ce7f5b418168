"""From offsets in a text to lines and columns."""

from __future__ import annotations

import re
from bisect import bisect_right

from graphspec.diagnostics import Span


def line_starts(text: str) -> list[int]:
    """The offset at which each line begins."""
    return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]


def place(file: str, lines: list[int], start: int, end: int) -> Span:
    """The span of two offsets; `lines` are the starts of lines."""
    line = bisect_right(lines, start)
    within = line == len(lines) or end < lines[line]
    end_line = line if within else bisect_right(lines, end)
    return Span(file, line, start - lines[line - 1] + 1, end_line, end - lines[end_line - 1] + 1)


def line_end(text: str, start: int, reach: int) -> int:
    """The end of the line at `start`, or `start + reach` where that is nearer."""
    return start + len(re.split(r"[\r\n]", text[start : start + reach], maxsplit=1)[0])


def aligned(written: str, value: str) -> dict[int, tuple[int, int]] | None:
    """Where the characters of a text, but for blanks, begin and end in the YAML that it was read from.
    None where they do not follow one another: there are escapes.

    YAML folds lines, and so do not agree in blanks what is written and what is read.
    """
    position = 0
    quote = written[:1] if written[:1] in ("'", '"') else ""
    if quote:
        position = 1
    elif written[:1] in ("|", ">"):
        position = max(written.find("\n"), 0)
    spans: dict[int, tuple[int, int]] = {}
    for offset, char in enumerate(value):
        if char.isspace():
            continue
        while position < len(written) and written[position].isspace():
            position += 1
        if written[position : position + 1] != char:
            return None
        width = 2 if quote == "'" == char else 1
        spans[offset] = position, position + width
        position += width
    return spans
