"""One Python value as the text, the number or the date of a column; None where only a table can say."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

Transform = Literal["log1p", "sqrt", "quantile"]
"""Functions of a number before it is scaled."""
HALVES = re.compile("[\ud800-\udfff]")
"""Half of a character that takes two numbers in UTF-16."""
TICKS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Dates are whole microseconds since 1970, UTC."""


def is_half(text: str) -> bool:
    """Whether a text holds half of a character, which has no bytes."""
    return not text.isascii() and HALVES.search(text) is not None


def is_int64(value: int) -> bool:
    """Whether a whole number has 64 bits; the least that has is left to tables."""
    return abs(value) < 2**63


def numbers_among(na_values: Sequence[str]) -> list[float]:
    """Those of the texts for missing values that are numbers."""
    numbers = []
    for text in na_values:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return numbers


def row_text(value: object) -> str | None:
    """The text of a value."""
    if isinstance(value, str):
        return None if is_half(value) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) and is_int64(value) else None


def row_number(value: object) -> float | None:
    """A finite number."""
    if isinstance(value, int) and not is_int64(value):
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def ticks_of_row(value: object, format: str | None) -> int | None:
    """The microseconds since 1970 of the text of a date, in ISO 8601 or in that format."""
    try:
        return ticks_of(value, format) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def ticks_of(text: str, format: str | None) -> int:
    """As `ticks_of_row`. Raises `ValueError`, `OverflowError`."""
    moment = datetime.strptime(text, format) if format is not None else datetime.fromisoformat(text.strip())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * TICKS + delta.microseconds


def bin_of(text: str, bins: int) -> int:
    """The bin of a text, the same on every machine and in every version."""
    encoded = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest()) % bins
