"""Writes to the terminal: everything that commands and reports print goes through here.

Names of files, directories, columns and tensors are the choice of others. A control character in one is
written out, as `<U+001B>`; printed as it is, the terminal would obey it.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from graphspec.diagnostics.text import hidden_in, legible

__all__ = [
    "at_once",
    "cells",
    "columns",
    "entries_for_json",
    "for_json",
    "legible",
    "say",
    "say_json",
    "without_failing",
]

if TYPE_CHECKING:
    from rich.table import Column
    from rich.text import Text


PLAIN = str.maketrans(
    {**dict.fromkeys("━─", "-"), **dict.fromkeys("┃│", "|"), **dict.fromkeys("┏┳┓┡╇┩└┴┘", "+")}
)
"""The lines of tables, for terminals and pipes whose encoding lacks them."""


def without_failing() -> None:
    """From now on letters that a terminal does not have are no reason to fail: lines of tables become ASCII,
    and others are written out.
    """
    codecs.register_error("graphspec", _encodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="graphspec")


def _encodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end].translate(PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode(), error.end


def say(text: str, stream: TextIO | None = None, end: str = "\n", painted: bool = False) -> None:
    """Prints text to `stream`, by default stdout. `painted` text has colors of ours, and nothing else that is
    hidden.
    """
    print(text if painted else legible(text), end=end, file=stream or sys.stdout, flush=True)


def at_once(text: str) -> None:
    """Writes a line to standard error past all buffers, as the handler of a signal must: whatever it came
    between may hold one. After the ^C of a terminal it is on a line of its own.
    """
    with suppress(OSError):  # nobody reads any more
        os.write(2, f"\n{text}\n".removeprefix("" if os.isatty(2) else "\n").encode())


def for_json(value: Any) -> Any:
    """The same value with null for every number that JSON does not have."""
    if isinstance(value, dict):
        return entries_for_json(value)
    if isinstance(value, list | tuple):
        return [for_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def entries_for_json(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The same entries with null for every number that JSON does not have."""
    return {key: for_json(item) for key, item in entries.items()}


def say_json(value: Any, stream: TextIO | None = None, indent: int | None = None) -> None:
    """Prints a value as JSON; hidden characters in its texts are escapes."""
    text = json.dumps(for_json(value), indent=indent, ensure_ascii=False, allow_nan=False)
    matches = [match for match in hidden_in(text) if match[0] != "\n"]
    for match in reversed(matches):
        text = text[: match.start()] + json.dumps(match[0])[1:-1] + text[match.end() :]
    print(text, file=stream or sys.stdout, flush=True)


def cells(*texts: str) -> list[Text]:
    """Texts as cells of a table of rich: shown as they are, brackets included."""
    from rich.text import Text

    return [Text(legible(text)) for text in texts]


def columns(*names: str) -> list[Column]:
    """The columns of such a table, by their heads."""
    from rich.table import Column

    return [Column(cell) for cell in cells(*names)]
