"""Sizes of a traced module's tensors: whole numbers, or expressions of the sizes that stay open; types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy
from torch import SymBool, SymFloat, SymInt

Size = Any
"""An int, or a sympy expression."""


def known_number(value: Any) -> Any:
    """A number as an int where it is known, as an expression where not; lists likewise."""
    if isinstance(value, (SymInt, SymFloat, SymBool)):
        value = value.node.expr
    if isinstance(value, sympy.Expr) and value.is_Integer:
        return int(value)
    if isinstance(value, (list, tuple)):
        return type(value)(known_number(item) for item in value)
    return value


def hint(value: Any) -> Any:
    """A number that a module was traced with."""
    return value.node.hint if isinstance(value, (SymInt, SymFloat, SymBool)) else value


def product(sizes: Iterable[Size]) -> Size:
    """Their product."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return known_number(total)


def quotient(a: Size, b: Size) -> Size | None:
    """`a / b` where that is whole, else None."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    ratio = sympy.cancel(sympy.sympify(a) / sympy.sympify(b))
    is_integer = ratio.is_Integer or (
        sympy.fraction(ratio)[1] == 1 and all(number.is_Integer for number in ratio.atoms(sympy.Number))
    )
    return known_number(ratio) if is_integer else None


def dtype_of(x: Any) -> str:
    """The type of a tensor of PyTorch as a spec calls it."""
    return str(x.dtype).removeprefix("torch.")
