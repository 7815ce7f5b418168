"""Texts of dates in a `format` to the numbers in them: the text is cut into numbers and words."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np

from graphspec.export.columns.graph import MICROSOFT, NUMBER, WHOLE, GraphWriter
from graphspec.export.columns.traced import GraphValue

OF_YEAR = r"36[0-6]|3[0-5]\d|[12]\d\d|0[1-9]\d|00[1-9]"
DIGITS: Mapping[str, tuple[str, str]] = {
    "%Y": (r"\d{4}", r"\d{4}"),
    "%y": (r"\d{2}", r"\d{2}"),
    "%m": (r"(0?[1-9]|1[0-2])", r"(0[1-9]|1[0-2])"),
    "%d": (r"( ?[1-9]|0[1-9]|[12]\d|3[01])", r"(0[1-9]|[12]\d|3[01])"),
    "%j": (rf"({OF_YEAR}|[1-9]\d|0?[1-9])", f"({OF_YEAR})"),
    "%H": (r"([01]?\d|2[0-3])", r"([01]\d|2[0-3])"),
    "%I": (r"(0?[1-9]|1[0-2])", r"(0[1-9]|1[0-2])"),
    "%M": (r"[0-5]?\d", r"[0-5]\d"),
    "%S": (r"[0-5]?\d", r"[0-5]\d"),
    "%f": (r"\d{1,6}", r"\d{6}"),
}
"""Patterns of a number: alone, and among others that follow each other, where it has all its digits."""
WIDTHS = {"%Y": 4, "%j": 3, "%f": 6}
"""How many digits that are, if not 2."""
NAMES: Mapping[str, list[str]] = {
    "%b": [*calendar.month_abbr][1:],
    "%B": [*calendar.month_name][1:],
    "%a": [*calendar.day_abbr],
    "%A": [*calendar.day_name],
    "%p": ["AM", "PM"],
}
ALIKE = (("%Y", "%y"), ("%m", "%b", "%B", "%j"), ("%d", "%j"), ("%H", "%I"))
"""Fields of which a format has one."""
PIECES = "[0-9]+|[A-Za-z]+"
"""Cuts a text into pieces; all else in it is known from the format."""


def unreadable(format: str) -> str | None:
    """Why dates of a format cannot be read in a file; None where they can."""
    parts = _parts(format)
    fields = [part for part in parts if part.startswith("%") and part != "%%"]
    unknown = [field for field in fields if field not in DIGITS and field not in NAMES]
    if unknown:
        return f"the format {format} has {', '.join(unknown)}, which ONNX cannot read"
    for several in ((field, field) for field in fields if fields.count(field) > 1):
        return f"the format {format} has {several[0]} twice"
    for alike in ALIKE:
        if len(found := [field for field in fields if field in alike]) > 1:
            return f"the format {format} has {' and '.join(found)}"
    if not fields or any(part.isdigit() for part in parts):
        return f"the format {format} has digits of its own, or no field"
    if any(len(group) > 1 and any(part in NAMES for part in group) for group in _groups(format)):
        return f"the format {format} has a name and a letter side by side"
    return None


def _parts(format: str) -> list[str]:
    """Fields, and single letters between them."""
    return re.findall(r"%.|[\s\S]", format)


def _groups(format: str) -> list[list[str]]:
    """The parts of a format for each piece of a text: the fields of a number, a name, or letters."""

    def kind(part: str) -> str:
        if part in DIGITS:
            return "number"
        return "word" if part in NAMES or (part.isascii() and part.isalpha()) else ""

    return [list(group) for word, group in groupby(_parts(format), kind) if word]


def pattern_of(format: str) -> str:
    """The pattern of texts that a file reads, some of those that Python's `strptime` does."""
    among = {part for group in _groups(format) if len(group) > 1 for part in group}
    return "".join(_pattern(part, part in among) for part in _parts(re.sub(r"\s+", " ", format)))


def _pattern(part: str, among: bool) -> str:
    if part in DIGITS:
        return DIGITS[part][among]
    if part in NAMES:
        return f"({'|'.join(_written(part))})"
    return r"\s+" if part.isspace() else rf"\x{{{ord(part[-1]):x}}}"


def _written(field: str) -> dict[str, int]:
    """The names of a field as people write them, and the number of each."""
    return {
        way(name): number
        for number, name in enumerate(NAMES[field])
        for way in (str, str.lower, str.upper, str.capitalize)
    }


def sample_of(format: str) -> str:
    return datetime(1970, 1, 1).strftime(format)


def fields_of(g: GraphWriter, text: str, format: str) -> dict[str, str]:
    """The fields of texts that match, int64 [batch]; names count from 0."""
    cut: dict[str, Any] = {"mark": 0, "pad_value": "", "mincharnum": 1}
    pieces = g.op("Tokenizer", text, domain=MICROSOFT, tokenexp=PIECES, **cut)
    fields: dict[str, str] = {}
    for place, group in enumerate(_groups(format)):
        (first, *others), piece = group, g.item(pieces, place)
        if first in NAMES:
            known = _written(first)
            fields[first] = g.look_up(piece, list(known), list(known.values()), 0)
        elif first in DIGITS and others:
            digits = g.op("Tokenizer", piece, domain=MICROSOFT, separators=[""], **cut)
            fields |= _cut(g, g.cast(digits, WHOLE), group)
        elif first == "%f":
            fields[first] = micros_of(g, piece).name
        elif first in DIGITS:
            fields[first] = g.whole(piece)
    return fields


def micros_of(g: GraphWriter, digits: str) -> GraphValue:
    """The microseconds of the digits behind the point of a second."""
    share = (
        GraphValue(g, g.op("StringConcat", g.constant(np.array(["0."], object)), digits)).as_(NUMBER) * 1e6
    )
    return share.made("Round", share.name).as_(WHOLE)


def _cut(g: GraphWriter, digits: str, group: list[str]) -> dict[str, str]:
    """The fields of digits, [batch, n], each as wide as it always is."""
    fields, start = {}, 0
    for field in group:
        width = WIDTHS.get(field, 2)
        powers = g.constant(10 ** np.arange(width)[::-1], np.int64)
        value = g.op("Mul", g.sliced(digits, start, start + width), powers)
        fields[field] = g.op("ReduceSum", value, g.constant([1], np.int64), keepdims=0)
        start += width
    return fields
