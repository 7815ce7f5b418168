"""Texts that people take for numbers and no reader does: separated thousands, units, dates, gaps.

Each has its remedy, chosen by the value that was seen and by the rest of its column.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

GAPS = ("na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?", "-", "--", ".", "missing", "unknown", "")
"""Texts for a missing value, in small letters."""
UNIT = r"[%‰°$€£¥]?[^\W\d_]{0,8}[²³]?(?:/[^\W\d_]{1,4}[²³]?)?"
EXPONENT = r"(?:[eE][+-]?\d+)?"
"""The end of a number."""
MEASURED = re.compile(
    r"(?P<before>[$€£¥]?)\s*[+-]?"
    r"(?:(?P<grouped>[1-9]\d{0,2}(?:[,.' \u00a0\u202f]\d{3})+(?:[.,]\d+)?)|(?:\d+(?:[.,]\d+)?|[.,]\d+)"
    rf"{EXPONENT})\s*(?P<after>{UNIT})"
)
"""A number with a unit before or after it, or with separated thousands."""
DATES = tuple(
    date + time
    for date in (
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d-%m-%Y",
        "%m-%d-%Y",
        "%Y/%m/%d",
        "%d/%m/%y",
        "%m/%d/%y",
        "%b %d, %Y",
        "%B %d, %Y",
        "%b %d %Y",
        "%B %d %Y",
        "%d %b %Y",
        "%d %B %Y",
        "%d-%b-%Y",
        "%m/%Y",
        "%Y-%m",
    )
    for time in ("", " %H:%M", " %H:%M:%S")
)
"""Formats of dates that are not ISO 8601. Where rows fit several, the first is taken."""
YEARS = range(1900, 2101)
"""The years of dates without a day: `1/1000` is no month of a year."""
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_COMMA = re.compile(rf"[+-]?\d*,\d+{EXPONENT}")
"""A number with a decimal comma, or with a thousand's comma."""
_ALONE = '; or where other columns have another, `decimal: "%s"` at the feature'
_POINT = re.compile(rf"[+-]?\d*\.\d+{EXPONENT}")


def fits(text: str, format: str) -> bool:
    """Whether a text is a date of a format."""
    try:
        moment = datetime.strptime(text, format)
    except ValueError:
        return False
    return "%d" in format or moment.year in YEARS


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def is_iso(text: str) -> bool:
    """Whether a text is a date of ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return len(text) >= 8


def number_remedy(cell: str, column: Iterable[str | None], decimal: str = ".") -> str | None:
    """Remedy for a text in a column of numbers; None for a text that is no number at all.

    `column` are the other texts: they tell a decimal comma from a thousand's. `decimal` is the decimal mark
    that was read by.
    """
    text = cell.strip()
    if text.lower() in GAPS:
        texts = f'"", "{cell}"' if cell else '""'
        return f"if it means a missing value, write `na_values: [{texts}]` under `data`"
    if _COMMA.fullmatch(text) and decimal == "." and not _grouped(text, column):
        return f'if the comma is the decimal mark, write {{path: ..., decimal: ","}}{_ALONE % ","}'
    if _POINT.fullmatch(text) and decimal == ",":
        return f"the point is the decimal mark: leave `decimal` out{_ALONE % '.'}"
    if _TIME.fullmatch(text):
        seconds = ":%S" if text.count(":") == 2 else ""
        return f'it is a time: {{encode: date, parts: [hour, minute], format: "%H:%M{seconds}"}}'
    if is_iso(text):
        return "it is a date: {encode: date, parts: [year, month, day]}"
    beside = [each.strip() for each in column if each]
    formats = [format for format in DATES if fits(text, format)]
    for format in sorted(formats, key=lambda format: not all(fits(each, format) for each in beside)):
        return f'it is a date: {{encode: date, parts: [year, month, day], format: "{format}"}}'
    return _plain(text)


def _grouped(text: str, column: Iterable[str | None]) -> bool:
    """Whether the comma of a number separates thousands: three digits follow it in the whole column."""
    commas = [each for each in (text, *column) if each and "," in each]
    return all(re.search(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?\s*$", each) for each in commas)


def _plain(text: str) -> str | None:
    """The remedy for a number with something around it: how it is written in the file."""
    if re.fullmatch(r"[\u2212\u2013]\s*\d+([.,]\d+)?", text):
        return f"its minus is another character: write -{text[1:].strip()} in the file"
    if re.fullmatch(r"\(\d+([.,]\d+)?\)", text):
        return f"write -{text[1:-1]} in the file"
    digits = "".join(str(unicodedata.digit(each, each)) for each in text)
    if digits != text and re.fullmatch(r"[+-]?\d+([.,]\d+)?", digits, re.ASCII):
        return f"its digits are other characters: write {digits} in the file"
    match = MEASURED.fullmatch(text)
    if match is None:
        return None
    if unit := match["before"] or match["after"]:
        word = unit.replace("$", "$$")
        key = f"`prefix: {word}`" if match["before"] else f"`unit: {word}`"
        grouped = ' and `thousands: ","`' if match["grouped"] and "," in match["grouped"] else ""
        return f"`{unit}` is a unit: write {key}{grouped} at the feature"
    if match["grouped"]:
        mark = next(each for each in match["grouped"] if not each.isdigit())
        number = re.sub(rf"\{mark}(?=\d{{3}})", "", text)
        words = {",": "comma", ".": "point", "'": "apostrophe"}.get(mark, "space")
        key = f'`thousands: "{mark}"`' if mark in ",. '" else f"plain numbers in the file, {number}"
        return f"the {words} separates thousands: write {key}" + (" at the feature" if mark in ",. '" else "")
    return None
