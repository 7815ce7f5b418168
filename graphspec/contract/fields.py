"""Types of fields that many layers share."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, WithJsonSchema
from pydantic_core import PydanticKnownError

from graphspec.contract.arrays import Array
from graphspec.tensor import Size
from graphspec.traced import plain


def as_tuple(value: object) -> object:
    """A YAML list as a tuple, which strict fields require."""
    return tuple(value) if isinstance(value, list) else value


def same(a: object, b: object) -> bool:
    """Whether values are equal and of the same type, in lists, too: 1, 1.0 and True are three values."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return (type(a) is type(b) or type(plain(a)) is type(plain(b))) and bool(a == b)


def _number(value: float) -> float:
    if math.isnan(value):
        raise PydanticKnownError("finite_number")
    return value


NamedSize = Annotated[InstanceOf[Size], WithJsonSchema({"type": "string"})]
"""A size that a spec says by the names of its inputs' sizes: `length`, `length // 2`."""
Positive = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Unbounded = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_number)]
"""A number, or an infinity: what masks scores before a softmax."""
Constant = int | Finite | Array | None
"""A number, or a list of them, in the place of a tensor, or null."""
NumberType = Literal["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]
"""A type of numbers that an operation computes in."""
Axis = Annotated[int | tuple[int, ...] | None, BeforeValidator(as_tuple)]
"""One axis or several, or null."""
