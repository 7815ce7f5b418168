"""How a file of delimited text seems to be written, for a first spec. Reading data guesses nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice

from graphspec.data.folders import Found
from graphspec.data.lookalikes import EXPONENT, UNIT
from graphspec.data.tables.delimited import DELIMITERS
from graphspec.data.tables.streams import head

ROWS = 1000
"""How many rows are looked at for decimal commas."""
_BEFORE, _AFTER = r"\s*[$€£¥]?\s*[+-]?", rf"\s*{UNIT}\s*"
_GROUPED = r"[1-9]\d{0,2}(?:\.\d{3})+"
_WHOLE = rf"(?:\d*|{_GROUPED})"
COMMA = re.compile(rf"\s*[+-]?{_WHOLE},\d+{EXPONENT}\s*|{_BEFORE}{_WHOLE},\d{{1,2}}{_AFTER}")
"""A number with a decimal comma. Beside a unit, three digits after it are thousands."""
WHOLE = re.compile(rf"\s*[+-]?\s*|{_BEFORE}(?:\d+|{_GROUPED}){_AFTER}")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")
"""A number whose comma may separate thousands."""
POINT = re.compile(rf"{_BEFORE}(?:\d*\.(?:\d{{1,2}}|\d{{4,}})|0?\.\d{{3}}){_AFTER}")
"""A number whose point is no mark of thousands."""


def dialect(source: Found) -> dict[str, str]:
    """The options of `DataFile` that a file, or the first of several, seems to need.

    Raises `SpecError` where it cannot be read at all.
    """
    if source.kind not in ("delimited", "texts") or not source.files:
        return {}
    path = source.files[0]
    raw = head(path, "latin-1")[0].decode().encode("latin-1")
    options: dict[str, str] = {}
    encoding = _encoding(raw)
    if encoding != "utf-8":
        options["encoding"] = encoding
    if source.kind == "texts":
        return options
    text = raw.decode(encoding, "replace").removeprefix("\ufeff")
    usual = "\t" if ".tsv" in path.suffixes else ","
    delimiter = _delimiter(text, usual)
    if delimiter != usual:
        options["delimiter"] = delimiter
    if delimiter != "," and _has_decimal_comma(text, delimiter):
        options["decimal"] = ","
    return options


def _encoding(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in raw[:4]:
        return "utf-16-be" if raw[0] == 0 else "utf-16-le"
    lines = raw[: raw.rfind(b"\n") + 1] or raw  # a block may end inside a character
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252" if re.search(rb"[\x80-\x9f]", lines) else "latin-1"
    return "utf-8"


def _delimiter(text: str, usual: str) -> str:
    """The delimiter that the header has most of, where it lacks the usual one."""
    header = re.sub('"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    counts = {each: header.count(each) for each in DELIMITERS}
    best = max(counts, key=lambda each: counts[each])
    return usual if counts[usual] or not counts[best] else best


def _has_decimal_comma(text: str, delimiter: str) -> bool:
    """Whether some column has numbers with decimal commas, and else whole numbers. Where all commas may
    separate thousands, no column may have decimal points.
    """
    rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1, ROWS))
    columns = list(zip(*(row for row in rows if len(row) == len(rows[0])), strict=True))
    numbers = [cells for column in columns if (cells := _fractions(column, COMMA))]
    if any(not THOUSANDS.fullmatch(cell) for cells in numbers for cell in cells):
        return True
    return bool(numbers) and not any(_fractions(column, POINT) for column in columns)


def _fractions(column: Sequence[str], form: re.Pattern[str]) -> list[str]:
    """The numbers of a form in a column; none if over a tenth of its cells are neither such numbers nor
    integers.
    """
    fractions = [cell for cell in column if form.fullmatch(cell)]
    integer_count = sum(WHOLE.fullmatch(cell) is not None for cell in column)
    return fractions if len(fractions) + integer_count >= 0.9 * len(column) else []
