"""Tensors that a spec writes out: nested lists of numbers or booleans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import CoreSchema
from pydantic_core.core_schema import is_instance_schema

from graphspec.traced import plain


class Nested(tuple[Any, ...]):
    """Nested lists of numbers or booleans, as `torch.tensor` takes them. In emitted source they are lists."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return is_instance_schema(cls)


class Pairs(tuple[Any, ...]):
    """A mapping: its keys, each with its value. In emitted source it is a dict."""

    __slots__ = ()


MAX_ELEMENTS = 100_000
"""Numbers in one constant: more belong into a file of weights."""
MAX_RANK = 8
NATURAL = {float: "float32", int: "int64", bool: "bool"}
"""The dtype that PyTorch gives to plain values."""


def as_array(value: Any) -> Any:
    """A nested list as a `Nested`; any other value unchanged.

    Raises `ValueError` if the list is not a tensor: ragged, empty, of text, or with numbers and booleans
    mixed.
    """
    if not isinstance(value, list | tuple):
        return value
    array = _nested(plain(value), 1)
    shape_of(array)
    kinds = {type(item) for item in elements(array)}
    if not kinds <= {int, float} and kinds != {bool}:
        other = next(item for item in elements(array) if type(item) not in (int, float))
        raise ValueError(f"a constant holds numbers, or booleans, and {_shown(other)} is among its elements")
    if any(type(item) is int and not -(2**63) <= item < 2**63 for item in elements(array)):
        raise ValueError("an integer of a constant has more than 64 bits")
    if any(item != item for item in elements(array)):
        raise ValueError("a constant must not hold NaN")
    return array


def _nested(value: list[Any] | tuple[Any, ...], depth: int) -> Nested:
    if depth > MAX_RANK:
        raise ValueError(f"a constant has at most {MAX_RANK} axes")
    return Nested(_nested(item, depth + 1) if isinstance(item, list | tuple) else item for item in value)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def elements(array: Any) -> Iterator[Any]:
    """The elements of nested lists, in order; a plain value is one element."""
    if isinstance(array, tuple):
        for item in array:
            yield from elements(item)
    else:
        yield array


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of nested lists; () for a plain value. Raises `ValueError` if they are ragged."""
    if not isinstance(array, tuple):
        return ()
    if not array:
        raise ValueError("a list of a constant is empty")
    shapes = {shape_of(item) for item in array}
    if len(shapes) > 1:
        raise ValueError("the lists of a constant have different lengths")
    (shape,) = shapes
    if len(array) * _count(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"a constant has at most {MAX_ELEMENTS:,} elements: load more as the weights of a `parameter`"
        )
    return (len(array), *shape)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def kind_of(array: Any) -> type:
    """The type of the elements: float if any of them is a float, else int, or bool."""
    kinds = {type(item) for item in elements(array)}
    return float if float in kinds else int if int in kinds else bool


def natural_dtype(array: Any) -> str:
    """The dtype that PyTorch gives to these values."""
    return NATURAL[kind_of(array)]


def _numbers(value: Any) -> Any:
    array = as_array(value)
    if isinstance(array, Nested) and kind_of(array) is bool:
        raise ValueError("a list that replaces a tensor holds numbers")
    return array


Array = Annotated[Nested, BeforeValidator(_numbers), WithJsonSchema({"type": "array", "minItems": 1})]
"""A nested list of numbers in the place of a tensor."""
