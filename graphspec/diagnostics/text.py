"""Text of a spec as people see it: lines, and characters that are not seen."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache

_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
)


@cache
def _one_of(characters: str) -> re.Pattern[str]:
    return re.compile(f"[{characters}]")


def hidden_in(text: str) -> Iterator[re.Match[str]]:
    """Control, zero-width and bidirectional characters, surrogates: text with them does not read as it
    looks.
    """
    if text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return iter(())  # no hidden character is printable, which is quick to see
    return _one_of(_HIDDEN).finditer(text)


def visible(text: str) -> str:
    """`text` with hidden characters written out as `<U+200B>`."""
    return _one_of(f"\t\n\r{_HIDDEN}").sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    return f"<U+{ord(match[0]):04X}>"


def line_of(error: object, most: int = 200) -> str:
    """The message of another library's error, as one line of at most so many characters."""
    return " ".join(str(error).split())[:most]


def first_line(error: BaseException) -> str:
    """The first line of what an error says; one that says nothing has the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def legible(text: str) -> str:
    """`visible` text whose lines and tabs stay."""
    return _one_of(f"\r{_HIDDEN}").sub(_written_out, text)


def shortened(text: str) -> str:
    """`text`, shortened for quoting in a message."""
    return text if len(text) <= 60 else text[:57] + "..."


def plain(number: float) -> str:
    """A number with four digits, as people write it: `0.0312`, `41250`, and powers of ten only of the very
    large and small. One of a hundredth or more keeps its zeros, so that a column of a value aligns.
    """
    if not math.isfinite(number) or number == 0 or not 1e-7 <= abs(number) < 1e15:
        return f"{number:.4g}"
    text = f"{number:.{max(0, 3 - math.floor(math.log10(abs(number))))}f}"
    return text.rstrip("0") if abs(number) < 0.01 else text


def split_lines(text: str) -> list[str]:
    """The lines as YAML and editors count them: `\\n`, `\\r\\n` and `\\r` end a line, nothing else does."""
    return re.split(r"\r\n|\r|\n", text)
