"""Plain records as JSON, and back: numbers, texts, lists, mappings, and dataclasses of known kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from graphspec.data.rows import fields as in_rows
from graphspec.data.rows import outputs, reader
from graphspec.data.rows.numbers import NumberCurve
from graphspec.data.rows.tokenizers import TextIds
from graphspec.tensor import Floor, Size

KINDS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(in_rows.BinsInRow, in_rows.IdCut, in_rows.DatesInRow, in_rows.ElementsInRow, in_rows.IdsInRow),
        *(in_rows.NumbersInRow, in_rows.PlainInRow, in_rows.SetInRow, in_rows.TextInRow),
        *(outputs.ClassesWritten, outputs.NumbersWritten, outputs.QuantilesWritten, outputs.SetWritten),
        *(outputs.StepCount, outputs.TensorsWritten, outputs.ValuesWritten),
        *(reader.ArrayField, reader.EncodedField, reader.PlainRows),
        *(Floor, NumberCurve, Size, TextIds),
    )
}


def to_json(value: Any) -> Any:
    """A value as JSON: what is no number and no text is a mapping of one key, which says what it is."""
    if isinstance(value, TextIds):
        return {"TextIds": value.to_json()}
    if is_dataclass(value):
        return {type(value).__name__: [to_json(getattr(value, f.name)) for f in fields(value) if f.init]}
    if isinstance(value, Mapping):
        return {"map": [[key, to_json(each)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [to_json(each) for each in value]}
    assert value is None or isinstance(value, bool | int | float | str), type(value)
    return value


def from_json(value: Any, kinds: Mapping[str, type[Any]] = KINDS) -> Any:
    """The value that `to_json` has made this of, lists as tuples. Raises `SpecError` where the tokenizers
    library is not installed.
    """
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "TextIds":
        return TextIds.from_json(content)
    if kind == "map":
        return {key: from_json(each, kinds) for key, each in content}
    items = tuple(from_json(each, kinds) for each in content)
    return items if kind == "list" else kinds[kind](*items)
