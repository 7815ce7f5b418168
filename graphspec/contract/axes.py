"""Axes of a tensor as a spec writes them: one number or a list."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.broadcasting import example_axis
from graphspec.contract.layer import LayerError


def _axes(value: Any) -> int | tuple[int, ...]:
    items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(type(item) is int for item in items):
        raise PydanticCustomError("axes_type", "an integer or a list of integers")
    return items if isinstance(value, (list, tuple)) else value


_AXIS = {"type": "integer"}
Axes = Annotated[
    int | tuple[int, ...],
    BeforeValidator(_axes),
    WithJsonSchema({"anyOf": [_AXIS, {"type": "array", "items": _AXIS, "minItems": 1}]}),
]
"""One axis or several, counted with the batch as 0 or from the end."""


def positive_axes(name: str, axis: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Axes in order, counted from 0. Refuses the batch axis, an empty list, and repeated axes."""
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = sorted(example_axis(name, a, rank) for a in given)
    if not axes or len(set(axes)) != len(axes):
        wrong = "gets the same axis twice" if axes else "needs at least one axis"
        raise LayerError("out-of-range", f"`{name}` {wrong}", help="-1 is the last axis", argument="axis")
    return tuple(axes)
