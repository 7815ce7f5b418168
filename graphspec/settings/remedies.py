"""Remedies for values of the wrong type, where the value shows what was meant."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from graphspec.diagnostics import Change, Remedy, become, write, write_value
from graphspec.diagnostics.foreign_terms import LOOKALIKES

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_GROUPED = re.compile(r"\d{1,3}([_, ]\d{3})+")
"""An integer with its digits in groups: `1_000`."""
_ARITHMETIC = re.compile(r"\d[\d.]*(?:(?:\s*(?:[+*/%]|//|\*\*)\s*|\s+-\s+)\d[\d.]*)+")
_TIMES = re.compile(r"\(?\d+(?:\s*[x\u00d7*,]\s*\d+)+\)?")
"""Sizes with a sign between them: `3x3`."""
_PERCENT = re.compile(r"\d{1,3}(\.\d+)? ?%")
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:-|\.\.+|to|:)\s*(\d+(?:\.\d+)?)\s*")
"""Two ends with a sign between them: `8-64`."""
_BRACES = re.compile(r"\{{1,2}\s*([A-Za-z_]\w*)\s*\}{1,2}")
"""A param as other tools write it: `{{ width }}`, `{width}`."""
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
EXAMPLES = {"int_type": "write a number, such as 3", "float_type": "write a number, such as 0.5"}
"""Help where a number is wanted and the value is not one, by pydantic's name of the error."""


def remedy_of(kind: str, given: object) -> str | None:
    """The remedy for a value, by pydantic's name of the error; None where the value does not tell."""
    if kind == "bool_type":
        return boolean_help(given)
    if isinstance(given, str) and (plain := _plain(given)) != given:
        inner = remedy_of(kind, plain)
        if isinstance(inner, Remedy) and inner.change is not None and inner.change.new == plain:
            return write_value(plain, f": `{given[:20]}` has signs that only look like these")
        return inner if inner not in EXAMPLES.values() else None
    if isinstance(given, str) and (braces := _BRACES.fullmatch(given.strip())):
        return write(f"${braces[1]}")
    if (
        kind in ("list_type", "tuple_type", "window_type")
        and isinstance(given, str)
        and _TIMES.fullmatch(given)
    ):
        return write_value(f"[{', '.join(re.findall(r'[0-9]+', given))}]")
    if kind in ("list_type", "tuple_type") and isinstance(given, str) and (ends := _RANGE.fullmatch(given)):
        return write_value(f"[{ends[1]}, {ends[2]}]")
    if kind == "list_type" and isinstance(given, int | float | str) and "*" not in str(given):
        return write_value(f"[{given}]") if not isinstance(given, bool) and "$" not in str(given) else None
    if kind not in EXAMPLES and kind != "window_type":
        return None
    if kind != "float_type" and isinstance(given, float) and given.is_integer():
        return write_value(str(int(given)))
    if isinstance(given, list) and len(given) == 1 and type(given[0]) in (int, float):
        return write_value(str(given[0]))
    if not isinstance(given, str):
        return None
    if _GROUPED.fullmatch(given):
        return write_value(re.sub("[_, ]", "", given))
    if kind == "float_type" and _PERCENT.fullmatch(given):
        return write_value(f"{float(given.rstrip('% ')) / 100:g}")
    number = given.strip().rstrip(",;")
    if shortened := re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKM])", number):
        value = float(shortened[1]) * {"M": 1e6}.get(shortened[2], 1e3)
        return write_value(f"{value:.0f}" if value.is_integer() else f"{value:g}", safe=False)
    if re.fullmatch("0[bB][01]+", number):
        return write_value(str(int(number, 2)))
    if _ARITHMETIC.fullmatch(number):
        return write(f"$({number})")
    if not _NUMBER.fullmatch(number) or (kind == "int_type" and not float(number).is_integer()):
        return EXAMPLES.get(kind)
    if kind == "int_type" and not number.lstrip("+-").isdigit():
        return write_value(str(int(float(number))))
    quotes = "a number is written without quotes: " if number == given.strip() else "write "
    return Remedy(f"{quotes}{number}", Change(number))


def _plain(text: str) -> str:
    """A text with the dashes and digits that numbers have: `1e\u20133` as `1e-3`."""
    return re.sub(r"(?![0-9])\d", lambda digit: str(int(digit[0])), text.translate(LOOKALIKES))


def in_list(cls: type[BaseModel], key: str | int, given: object) -> str | None:
    """The remedy for one value where a list is wanted, if a list of it alone is legal."""
    field = cls.model_fields.get(str(key))
    if field is None or not isinstance(given, int | float | str):
        return None
    wanted: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter[Any](wanted, config=cls.model_config).validate_python([given])
    except ValidationError:
        return None
    return write_value(f"[{given}]")


def fraction(given: object) -> str | None:
    """The remedy for what is likely a percentage, where a part of a whole is a number from 0 to 1."""
    if not isinstance(given, int | float) or not 10 <= given <= 100 or given != int(given):
        return None
    return write_value(f"{given / 100:g}", ": it is a fraction, not a percentage", safe=False)


def boolean_help(given: object) -> str | None:
    """Remedy for a text that other formats read as true or false."""
    if isinstance(given, str) and given.lower() in ("true", "false"):
        return write(given.lower(), ", without quotes")
    if isinstance(given, str) and given.lower() in _BOOLEANS:
        return write(_BOOLEANS[given.lower()], f": `{given}` is a string in YAML 1.2")
    if given in (0, 1) and isinstance(given, int | float):
        return become(bool(given), f"write `{'true' if given else 'false'}`", drops=True)
    return None
