"""Offsets in a text and the positions of the protocol: lines from 0, and columns in units of UTF-16."""

from __future__ import annotations

from bisect import bisect_right

from graphspec.source.places import line_starts


class Positions:
    """The lines of one text, whose first begins after `before` columns."""

    def __init__(self, text: str, before: int = 0):
        self.text, self.lines, self.before = text, line_starts(text), before

    def offset(self, line: int, column: int) -> int:
        """The offset of a position; the end of its line where the column is beyond."""
        if line >= len(self.lines):
            return len(self.text)
        start = self.lines[line]
        end = self.lines[line + 1] if line + 1 < len(self.lines) else len(self.text)
        column -= 0 if line else self.before
        for index, char in enumerate(self.text[start:end]):
            if column <= 0 or char in "\r\n":
                return start + index
            column -= 2 if ord(char) > 0xFFFF else 1
        return end

    def position(self, offset: int) -> tuple[int, int]:
        """The line and the column of an offset."""
        line = bisect_right(self.lines, offset) - 1
        before = self.text[self.lines[line] : offset]
        column = len(before) if before.isascii() else len(before.encode("utf-16-le", "surrogatepass")) // 2
        return line, column if line else column + self.before
