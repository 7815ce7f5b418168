"""Fields whose types follow from the rank of a class: a window of `Conv2D` has two sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined


@dataclass(frozen=True, slots=True)
class OfRank:
    """Metadata of a field in a base class: in each class below, which has a rank, its type is `at(rank)`.

    A default of one element is that of each axis.
    """

    at: Callable[[int], Any]


def with_rank(cls: type[BaseModel], rank: int) -> None:
    """Gives the inherited fields of `OfRank` their types. `cls` has no fields of its own yet."""
    for name, field in cls.model_fields.items():
        kind = _at(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation, rank)
        if kind is None or name in cls.__annotations__:
            continue
        cls.__annotations__[name] = kind
        default = field.default
        if default is not PydanticUndefined:
            repeated = isinstance(default, tuple) and len(default) == 1
            setattr(cls, name, default * rank if repeated else default)


def _at(kind: Any, rank: int) -> Any:
    """The type at a rank; None if it is the same at each."""
    if get_origin(kind) is Annotated:
        return next((mark.at(rank) for mark in kind.__metadata__ if isinstance(mark, OfRank)), None)
    if get_origin(kind) not in (Union, UnionType):
        return None
    types = {choice: _at(choice, rank) for choice in get_args(kind)}
    return Union[tuple(types[choice] or choice for choice in types)] if any(types.values()) else None  # noqa: UP007
