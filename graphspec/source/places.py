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
    line, end_line = bisect_right(lines, start), bisect_right(lines, end)
    return Span(file, line, start - lines[line - 1] + 1, end_line, end - lines[end_line - 1] + 1)


def line_end(text: str, start: int, reach: int) -> int:
    """The end of the line at `start`, or `start + reach` where that is nearer."""
    return start + len(re.split(r"[\r\n]", text[start : start + reach], maxsplit=1)[0])
