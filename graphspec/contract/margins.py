"""Numbers of elements before and after each spatial axis, as padding and cropping take them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

Margins = tuple[tuple[int, int], ...]


def _pair(value: Any, wanted: str) -> tuple[int, int]:
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(sizes) != 2 or not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes):
        raise PydanticCustomError("margin_type", wanted)
    if min(sizes) < 0:
        raise PydanticKnownError("greater_than_equal", {"ge": 0})
    return sizes


def _around_sequence(value: Any) -> Margins:
    return (_pair(value, "an integer of 0 or more, or a list [before, after]"),)


def _around(value: Any, rank: int, wanted: str) -> Margins:
    items = tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank
    if len(items) != rank:
        raise PydanticCustomError("margin_type", wanted)
    return tuple(_pair(item, wanted) for item in items)


def _around_image(value: Any) -> Margins:
    wanted = "an integer of 0 or more, or a list [height, width] or [[top, bottom], [left, right]]"
    return _around(value, 2, wanted)


def _around_volume(value: Any) -> Margins:
    listed = "[depth, height, width] or [[front, back], [top, bottom], [left, right]]"
    return _around(value, 3, f"an integer of 0 or more, or a list {listed}")


_SIZE: dict[str, Any] = {"type": "integer", "minimum": 0}


_PAIR: dict[str, Any] = {"type": "array", "items": _SIZE, "minItems": 2, "maxItems": 2}


_EITHER: dict[str, Any] = {"anyOf": [_SIZE, _PAIR]}


Margins1 = Annotated[Margins, BeforeValidator(_around_sequence), WithJsonSchema(_EITHER)]


Margins2 = Annotated[
    Margins,
    BeforeValidator(_around_image),
    WithJsonSchema({"anyOf": [_SIZE, {**_PAIR, "items": _EITHER}]}),
]


Margins3 = Annotated[
    Margins,
    BeforeValidator(_around_volume),
    WithJsonSchema({"anyOf": [_SIZE, {"type": "array", "items": _EITHER, "minItems": 3, "maxItems": 3}]}),
]
