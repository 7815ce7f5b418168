"""The type of a tensor: its shape, with symbolic sizes, and its dtype.

A size is an `int`, or a `Size`: an integer expression over named sizes, kept in one canonical form so that
equal expressions compare equal. `length` through a convolution of width 5 and a pool of 5 is `(length - 4)
// 5` however it was reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

BATCH = "batch"
"""The name of the batch axis' size."""
DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
"""The dtypes that a spec can name, PyTorch's words."""

DTYPE_WORDS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "int": "int64",
    "integer": "int64",
    "long": "int64",
    "short": "int16",
    "byte": "uint8",
    "f32": "float32",
    "i64": "int64",
    "bf16": "bfloat16",
    "fp16": "float16",
    "boolean": "bool",
    "LongTensor": "int64",
    "IntTensor": "int32",
    "FloatTensor": "float32",
    "DoubleTensor": "float64",
    "HalfTensor": "float16",
    "BoolTensor": "bool",
    "ByteTensor": "uint8",
}
"""Other names of dtypes."""


@dataclass(frozen=True, slots=True)
class Floor:
    """`numerator // divisor`, where no part of the numerator can be taken out."""

    numerator: Size
    divisor: int

    def __str__(self) -> str:
        text = str(self.numerator)
        return f"({text}) // {self.divisor}" if " " in text else f"{text} // {self.divisor}"


Atom = str | Floor
Monomial = tuple[Atom, ...]  # a product of atoms, sorted; () is the constant term


@dataclass(frozen=True)
class Size:
    """A polynomial with integer coefficients over named sizes and floor divisions of such polynomials.

    Made by `symbol(name)` and arithmetic. An expression that turns out constant is an `int`, never a `Size`.
    """

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        return _collect([*self.terms, *_terms(other)])

    def __mul__(self, other: Dim) -> Dim:
        return _collect(
            (tuple(sorted((*m, *n), key=str)), a * b) for m, a in self.terms for n, b in _terms(other)
        )

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Dim:
        quotient: list[tuple[Monomial, int]] = [(m, c // divisor) for m, c in self.terms]
        rest = [(m, c % divisor) for m, c in self.terms if c % divisor]
        common = math.gcd(divisor, *(c for m, c in rest if m))
        rest = [(m, c // common) for m, c in rest]
        divisor //= common
        variable = [(m, c) for m, c in rest if m]
        if divisor == 1 or not variable:
            return _collect([*quotient, *rest] if divisor == 1 else quotient)
        if len(variable) == 1 and variable[0][1] == 1 and len(variable[0][0]) == 1:
            atom, offset = variable[0][0][0], sum(c for m, c in rest if not m)
            if isinstance(atom, Floor):
                return _collect(quotient) + (atom.numerator + offset * atom.divisor) // (
                    atom.divisor * divisor
                )
        numerator = _collect(rest)
        assert isinstance(numerator, Size)
        return _collect([*quotient, ((Floor(numerator, divisor),), 1)])

    @cached_property
    def names(self) -> frozenset[str]:
        """The named sizes it depends on."""
        size_names: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                size_names |= {atom} if isinstance(atom, str) else atom.numerator.names
        return frozenset(size_names)

    def substitute(self, sizes: Mapping[str, Dim]) -> Dim:
        """The same expression with named sizes replaced by others, or by integers."""
        total: Dim = 0
        for monomial, coefficient in self.terms:
            product: Dim = coefficient
            for atom in monomial:
                if isinstance(atom, str):
                    factor = sizes.get(atom, None)
                    product = product * (symbol(atom) if factor is None else factor)
                else:
                    product = product * (atom.numerator.substitute(sizes) // atom.divisor)
            total = total + product
        return total

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Its value. `KeyError` when a name has none."""
        total = 0
        for monomial, coefficient in self.terms:
            for atom in monomial:
                coefficient *= (
                    sizes[atom] if isinstance(atom, str) else atom.numerator.evaluate(sizes) // atom.divisor
                )
            total += coefficient
        return total

    def __str__(self) -> str:
        floors = [m[0] for m, c in self.terms if len(m) == 1 and c == 1 and isinstance(m[0], Floor)]
        if len(floors) == 1 and len(self.terms) == 2 and isinstance(floors[0], Floor):
            offset = next((c for m, c in self.terms if not m), 0)
            numerator = floors[0].numerator + offset * floors[0].divisor
            assert isinstance(numerator, Size)
            return str(Floor(numerator, floors[0].divisor))  # (length - 4) // 5, not (length + 1) // 5 - 1
        parts: list[str] = []
        for monomial, coefficient in sorted(
            self.terms, key=lambda term: (term[0] == (), term[1] < 0, str(term[0]))
        ):
            factors = [
                f"({a})" if isinstance(a, Floor) and (len(monomial) > 1 or abs(coefficient) > 1) else str(a)
                for a in monomial
            ]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            sign = ("- " if coefficient < 0 else "+ ") if parts else ("-" if coefficient < 0 else "")
            parts.append(sign + " * ".join(factors))
        return " ".join(parts)

    __repr__ = __str__


Dim = int | Size
Shape = tuple[Dim, ...]


def symbol(name: str) -> Size:
    """The size called `name`: any positive integer."""
    return Size((((name,), 1),))


def quotient(size: Dim, divisor: Dim) -> Dim | None:
    """The size that times `divisor` is `size`, where that is a number or a product of names; else None."""
    terms = list(_terms(divisor))
    if len(terms) != 1 or not terms[0][1]:
        return None
    ((atoms, factor),) = terms
    quotient_terms: list[tuple[Monomial, int]] = []
    for monomial, coefficient in _terms(size):
        left = list(monomial)
        for atom in atoms:
            if atom not in left:
                return None
            left.remove(atom)
        if coefficient % factor:
            return None
        quotient_terms.append((tuple(left), coefficient // factor))
    return _collect(quotient_terms)


def ceil_div(size: Dim, divisor: int) -> Dim:
    """`size / divisor`, rounded up."""
    return (size + divisor - 1) // divisor


def sum_of(sizes: Iterable[Dim]) -> Dim:
    """The sum of sizes; 0 for none."""
    total: Dim = 0
    for size in sizes:
        total = total + size
    return total


def product(sizes: Iterable[Dim]) -> Dim:
    """The product of sizes; 1 for none."""
    total: Dim = 1
    for size in sizes:
        total = total * size
    return total


def names_of(dim: Dim) -> frozenset[str]:
    """The named sizes that a size depends on; none for an integer."""
    return dim.names if isinstance(dim, Size) else frozenset()


def unit_of(dim: Dim) -> tuple[str, int] | None:
    """The name and the factor of a size that is a name, or a multiple of one, `16 * height`; else None."""
    if isinstance(dim, Size) and len(dim.terms) == 1:
        ((monomial, factor),) = dim.terms
        if len(monomial) == 1 and isinstance(monomial[0], str) and factor > 0:
            return monomial[0], factor
    return None


def factors(tensors: Iterable[Tensor]) -> dict[str, int]:
    """The largest factor of each named size in the shapes of these tensors."""
    largest_factors: dict[str, int] = {}
    for unit in (unit_of(size) for tensor in tensors for size in tensor.shape):
        if unit is not None:
            largest_factors[unit[0]] = max(unit[1], largest_factors.get(unit[0], 1))
    return largest_factors


def sizes_of(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The values of the named sizes of those tensors whose shape is given."""
    sizes: dict[str, int] = {}
    for name in tensors.keys() & shapes.keys():
        for unit, length in zip(map(unit_of, tensors[name].shape), shapes[name], strict=True):
            if unit is not None:
                sizes[unit[0]] = length // unit[1]
    return sizes


_WIDTHS = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "int64": 8,
    "float64": 8,
}
"""Bytes of an element of each dtype that has not four."""


def nbytes(tensor: Tensor) -> Dim:
    """Bytes of one example of a tensor, or of the whole tensor where its batch axis is 1."""
    elements = product(size for size in tensor.shape if names_of(size) != {BATCH})
    return elements * _WIDTHS.get(tensor.dtype, 4)


def value_of(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The integer that a size is, given its named sizes."""
    return dim.evaluate(sizes) if isinstance(dim, Size) else dim


def smallest(constraints: Iterable[Dim], name: str) -> int:
    """The smallest value of `name`, at most 2**31, for which every constraint in it alone is at least 1.

    Sizes in a graph grow with their inputs, so the legal values have no gaps and can be bisected. 1 where
    nothing constrains.
    """
    alone = [c for c in constraints if isinstance(c, Size) and c.names == {name}]
    return _first(lambda value: all(c.evaluate({name: value}) >= 1 for c in alone))


def largest(bounds: Iterable[tuple[Dim, int]], name: str) -> int | None:
    """The largest value of `name` for which no size in it alone passes its bound; None where none has one."""
    alone = [(size, most) for size, most in bounds if isinstance(size, Size) and size.names == {name}]
    if not alone:
        return None
    return _first(lambda value: any(size.evaluate({name: value}) > most for size, most in alone)) - 1


def _first(legal: Callable[[int], bool]) -> int:
    """The smallest positive integer, at most 2**31, from which a condition holds."""
    high = 1
    while not legal(high) and high < 2**31:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if legal(middle) else (middle, high)
    return high


def _terms(dim: Dim) -> Iterable[tuple[Monomial, int]]:
    return dim.terms if isinstance(dim, Size) else [((), dim)]


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    totals: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        totals[monomial] = totals.get(monomial, 0) + coefficient
    kept = [(m, c) for m, c in totals.items() if c]
    if all(m == () for m, _ in kept):
        return kept[0][1] if kept else 0
    return Size(tuple(sorted(kept, key=lambda term: str(term[0]))))


Limit = int | tuple[int | None, ...]
"""An exclusive upper bound: of all elements of a tensor, or of each position of its last axis, where that has
one.
"""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's type. `shape` has the batch axis first (`symbol("batch")`, or 1 for a parameter); images
    are channels-last.
    """

    shape: Shape
    dtype: str = "float32"

    @property
    def rank(self) -> int:
        """The number of axes, the batch axis among them."""
        return len(self.shape)

    @property
    def is_single(self) -> bool:
        """Whether it has one element, so that it broadcasts with any tensor in any order of axes."""
        return all(size == 1 for size in self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def is_integer(self) -> bool:
        return self.dtype.startswith(("int", "uint"))

    def with_shape(self, *shape: Dim) -> Tensor:
        """The same dtype in another shape."""
        return Tensor(shape, self.dtype)

    def with_dtype(self, dtype: str) -> Tensor:
        return Tensor(self.shape, dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(show_size(size) for size in self.shape)}]"


def is_size(value: object) -> bool:
    """Whether a value is a size that is known: a positive integer, and not true."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def show_size(size: Dim) -> str:
    """A size as text: an anonymous one (`null` in a spec) is `?`."""
    if isinstance(size, int):
        return str(size)
    return "?" if any(name.startswith("?") for name in size.names) else str(size)
