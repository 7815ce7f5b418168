"""What a table seems to mean and does not say, told with its first spec: a header that is a row."""

from __future__ import annotations

import re
from collections.abc import Sequence

SHOWN = 3
"""How many names or values a note shows."""


def headless(names: Sequence[str]) -> str | None:
    """The note about names of columns that are a row of numbers; None where they seem to be names.

    Numbers that count the columns are names.
    """
    numbers = [number for name in names if (number := _number(name)) is not None]
    counted = any(numbers == [float(first + n) for n in range(len(names))] for first in (0, 1))
    fractions = any(not number.is_integer() for number in numbers)
    if counted or not (fractions or len(numbers) == len(names)):
        return None
    share = "all names" if len(numbers) == len(names) else "some names"
    which = [name.strip() for name in names if _number(name) is not None]
    named = ", ".join(map(_quoted, which[:SHOWN])) + (", ..." if which[SHOWN:] else "")
    return (
        f"{share} of columns are numbers: {named}. The first line of the file is read as the header: "
        "if it is a row, write a line with names above it"
    )


def _quoted(text: str) -> str:
    """A text for a message, and for a comment of a spec, which takes no control characters."""
    return f"`{text}`" if text.isprintable() else f"`{ascii(text)[1:-1]}`"


def _number(name: str) -> float | None:
    """The number that a name is."""
    try:
        return float(name) if re.fullmatch(r"\s*[+-]?[\d.]+(e[+-]?\d+)?\s*", name, re.I) else None
    except ValueError:
        return None
