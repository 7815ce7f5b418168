"""The value of a plain scalar by the core schema of YAML 1.2."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

# Without libyaml PyYAML is some twenty times slower, and as right.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 100
MAX_DIGITS = 18

NULLS = frozenset(["", "~", "null", "Null", "NULL"])
_KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(NULLS),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"([-+]?[0-9]+)|0o([0-7]+)|0x([0-9a-fA-F]+)")
_BASES = {1: 10, 2: 8, 3: 16}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class NumberTooLarge(Exception):
    """A number that is not read; `stand_in` is one of its type, with which reading can go on."""

    def __init__(self, message: str, stand_in: int | float) -> None:
        super().__init__(message)
        self.stand_in = stand_in


def resolve(text: str) -> Any:
    """None, a bool, an int, a float, or `text` itself. Raises NumberTooLarge."""
    if text in _KEYWORDS:
        return _KEYWORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if match := _INTEGER.fullmatch(text):
        group = match.lastindex or 1
        digits, base = match[group], _BASES[group]
        if len(digits.lstrip("+-0")) > MAX_DIGITS or abs(integer := int(digits, base)) >= 10**MAX_DIGITS:
            raise NumberTooLarge(f"an integer has at most {MAX_DIGITS} digits", 1)
        return integer
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    if math.isinf(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
        raise NumberTooLarge(f"`{text[:40]}` is beyond what a double-precision number can hold", 1)
    return number
