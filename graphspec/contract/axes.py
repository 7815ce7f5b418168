"""Axes of a tensor as a spec writes them: one number or a list."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError


def _axes(value: Any) -> int | tuple[int, ...]:
    items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        raise PydanticCustomError("axes_type", "an integer or a list of integers")
    return items if isinstance(value, (list, tuple)) else value


_AXIS = {"type": "integer"}
Axes = Annotated[
    int | tuple[int, ...],
    BeforeValidator(_axes),
    WithJsonSchema({"anyOf": [_AXIS, {"type": "array", "items": _AXIS, "minItems": 1}]}),
]
"""One axis or several, counted with the batch as 0 or from the end."""
