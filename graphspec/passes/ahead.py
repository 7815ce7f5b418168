"""Values at steps ahead of a new one, and at that step itself, as far as constants tell.

So a mask is known for one that hides later steps, however it is computed: a comparison of places, a triangle,
a sum with large negative numbers, a product with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graphspec.contract.arrays import Nested, elements
from graphspec.contract.streaming import Role, Roles
from graphspec.diagnostics.foreign_terms import OF_ACTIVATION
from graphspec.graph import Op, flatten

Range = tuple[float, float] | None
"""The least and the greatest that elements may be; None where nothing is known."""

LOW = -1e4
"""A score that is at most this much is nothing in a softmax."""
NOUGHT, ONE = (0.0, 0.0), (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Elements:
    """Bounds of a value at step `i` and of step `j`: its elements where j is `ahead` of i, and `at` j = i.
    `line` are numbers a, b, c where they are a + b * i + c * j.
    """

    ahead: Range = None
    at: Range = None
    line: tuple[float, float, float] | None = None

    @property
    def role(self) -> Role:
        """The role of an axis that has all steps."""
        if self.ahead is not None and self.ahead[1] <= LOW and not (self.at and self.at[1] <= LOW):
            return "low"
        return "nought" if self.ahead == NOUGHT else "all"


UNKNOWN = Elements()


def along(line: tuple[float, float, float]) -> Elements:
    """The elements of a linear function of both steps."""
    start, slope, other = line
    if slope != -other:
        return Elements(line=line)
    beyond = start - slope  # at the first step that is ahead
    far = (-math.inf, beyond) if slope > 0 else (beyond, math.inf)
    return Elements(far if slope else (start, start), (start, start), line)


def filled(numbers: Iterable[float]) -> Elements:
    """The elements of a constant, the same at all steps."""
    numbers = [*numbers]
    least, greatest = float(min(numbers)), float(max(numbers))
    found = (least, greatest)
    return Elements(found, found, (least, 0.0, 0.0) if least == greatest else None)


def elements_of(op: Op, known: Sequence[Elements], roles: Sequence[Roles]) -> Elements:
    """The bounds of an op's output, from those of its inputs and their roles."""
    layer: Any = op.layer
    name = layer.spec_name if layer is not None else ""
    if op.wrapper is not None or (name.lower() not in _MOVES and len(op.outputs) != 1):
        return UNKNOWN
    if name in _FILLS:
        return filled(_FILLS[name](layer))
    if name.lower() in _MOVES or (name == "cast" and layer.dtype != "bool"):
        return known[0] if known else UNKNOWN
    if name in _OF_BOOLEANS and op.output.tensor.dtype == "bool":
        name = _OF_BOOLEANS[name]
    if name == "arange" and layer.stop is None:
        return along((layer.start, layer.step, 0.0))
    if name in ("tril", "triu"):
        return _triangle(layer, known[0], roles[0])
    if name in ("log_softmax", OF_ACTIVATION) or name.lower() == "softmax":
        return _softmax(layer, known, roles)
    if name == "where":
        return _chosen(op, known)
    if name in _BINARY:
        return _combined(name, _operands(op, known))
    one = known[0] if len(known) == 1 else UNKNOWN
    return Elements(_one(name, one.ahead), _one(name, one.at))


def _operands(op: Op, known: Sequence[Elements]) -> list[Elements]:
    """Both operands of a function, or more of a merge, also those that are written as numbers."""
    layer: Any = op.layer
    if not hasattr(layer, "operands"):
        return [*known]
    left = iter(known)
    operands = layer.operands(op.site().inputs)
    found = []
    for word, value in operands:
        if word == "self":
            nested = layer.x1 if isinstance(layer.x1, Nested) else layer.x2
            found.append(filled(elements(nested)))
        else:
            found.append(filled([value]) if isinstance(value, int | float) else next(left))
    return found


def _combined(name: str, operands: list[Elements]) -> Elements:
    function, result = _BINARY[name], operands[0]
    for other in operands[1:]:
        line = _line(name, result.line, other.line)
        gap = _line("subtract", result.line, other.line) if name in _COMPARED else None
        if gap is not None:
            result, other = along(gap), filled([0.0])
        if line is not None:
            result = along(line)
        else:
            result = Elements(function(result.ahead, other.ahead), function(result.at, other.at))
    return result


def _line(name: str, a: Any, b: Any) -> tuple[float, float, float] | None:
    if a is None or b is None:
        return None
    if name in ("add", "subtract"):
        sign = 1 if name == "add" else -1
        return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]
    if name in ("multiply", "divide", "true_divide") and (b[1:] == (0, 0) or name == "multiply"):
        a, b = (a, b) if b[1:] == (0, 0) else (b, a)
        if b[1:] == (0, 0) and (b[0] or name == "multiply"):
            factor = b[0] if name == "multiply" else 1 / b[0]
            return a[0] * factor, a[1] * factor, a[2] * factor
    return None


def _triangle(layer: Any, x: Elements, roles: Roles) -> Elements:
    lower, k = layer.spec_name == "tril", layer.k
    if roles[-1] == "new":  # the transposed triangle
        lower, k = not lower, -k
    if lower:
        return Elements(NOUGHT if k <= 0 or x.ahead == NOUGHT else None, x.at if k >= 0 else NOUGHT)
    return Elements(x.ahead if k <= 1 else _either(x.ahead, NOUGHT), x.at if k <= 0 else NOUGHT)


def _softmax(layer: Any, known: Sequence[Elements], roles: Sequence[Roles]) -> Elements:
    """Nothing is left of what is low, along the axis of its steps."""
    name = layer.spec_name
    if name == OF_ACTIVATION:
        if layer.activation.word not in ("softmax", "log_softmax"):
            one = known[0]
            word = layer.activation.word
            return Elements(_one(word, one.ahead), _one(word, one.at))
        name, axes = layer.activation.word, layer.activation.axes
    else:
        axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    marked = zip(roles, ("low", "nought"), strict=False)  # of scores, and of their mask
    if not any(mark == each[axis] for each, mark in marked for axis in axes):
        return UNKNOWN
    return Elements(_add(known[0].ahead, None) if name == "log_softmax" else NOUGHT)


def _chosen(op: Op, known: Sequence[Elements]) -> Elements:
    x1, x2 = _operands(op, known[1:])

    def choice(truth: Range, a: Range, b: Range) -> Range:
        known = _truth(truth)
        return a if known == ONE else b if known == NOUGHT else _either(a, b)

    condition = known[0]
    return Elements(choice(condition.ahead, x1.ahead, x2.ahead), choice(condition.at, x1.at, x2.at))


# --- functions of ranges


def _either(a: Range, b: Range) -> Range:
    return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


def _truth(a: Range) -> Range:
    if a is None:
        return None
    return NOUGHT if a == NOUGHT else ONE if a[0] > 0 or a[1] < 0 else None


def _add(a: Range, b: Range) -> Range:
    if a is None or b is None:  # of a score of ordinary size and one that is low
        one = a or b
        return (-math.inf, one[1] / 2) if one is not None and one[1] <= LOW else None
    return _bounds(a[0] + b[0], a[1] + b[1])


def _negative(a: Range) -> Range:
    return None if a is None else (-a[1], -a[0])


def _multiply(a: Range, b: Range) -> Range:
    if NOUGHT in (a, b):
        return NOUGHT
    if a is None or b is None:
        return None
    return _bounds(*(0.0 if 0 in (x, y) else x * y for x in a for y in b))


def _divide(a: Range, b: Range) -> Range:
    if a == NOUGHT:
        return NOUGHT
    if a is None or b is None or b[0] <= 0 <= b[1]:
        return None
    return _multiply(a, (1 / b[1], 1 / b[0]))


def _power(a: Range, b: Range) -> Range:
    if a is None or b is None or a[0] <= 0:
        return None
    return _bounds(*(_exp(math.log(x) * y) if x != 1 else 1.0 for x in a for y in b))


def _bounds(*numbers: float) -> Range:
    return None if any(map(math.isnan, numbers)) else (min(numbers), max(numbers))


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _less(a: Range, b: Range) -> Range:
    if a is None or b is None:
        return None
    return ONE if a[1] < b[0] else NOUGHT if a[0] >= b[1] else None


def _not(a: Range) -> Range:
    truth = _truth(a)
    return None if truth is None else NOUGHT if truth == ONE else ONE


def _and(a: Range, b: Range) -> Range:
    both = {_truth(a), _truth(b)}
    return NOUGHT if NOUGHT in both else ONE if both == {ONE} else None


def _equal(a: Range, b: Range) -> Range:
    if a is None or b is None:
        return None
    return NOUGHT if a[1] < b[0] or b[1] < a[0] else ONE if a == b and a[0] == a[1] else None


_BINARY: dict[str, Callable[[Range, Range], Range]] = {
    "add": _add,
    "subtract": lambda a, b: _add(a, _negative(b)),
    "multiply": _multiply,
    "divide": _divide,
    "true_divide": _divide,
    "power": _power,
    "maximum": lambda a, b: None if a is None or b is None else (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: None if a is None or b is None else (min(a[0], b[0]), min(a[1], b[1])),
    "less": _less,
    "greater": lambda a, b: _less(b, a),
    "less_equal": lambda a, b: _not(_less(b, a)),
    "greater_equal": lambda a, b: _not(_less(a, b)),
    "equal": _equal,
    "not_equal": lambda a, b: _not(_equal(a, b)),
    "logical_and": _and,
    "logical_or": lambda a, b: _not(_and(_not(a), _not(b))),
}
"""By the name of an op or a merge."""
_OF_BOOLEANS = {
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_not": "logical_not",
    "bitwise_invert": "logical_not",
}
"""Functions of bits, as those of booleans: the operators of formulas."""
_COMPARED = {"less", "greater", "less_equal", "greater_equal", "equal", "not_equal"}

_RISING: dict[str, Callable[[float], float]] = {
    "exp": _exp,
    "exponential": _exp,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + _exp(-x)),
    "tanh": math.tanh,
    "sign": lambda x: math.copysign(1.0, x) if x else 0.0,
}
"""Functions that never fall."""


def _one(name: str, a: Range) -> Range:
    """A function of one number."""
    if a is None:
        return None
    if name == "cast":
        return _truth(a)
    if name == "logical_not":
        return _not(a)
    if name == "negative":
        return _negative(a)
    if name in ("abs", "absolute"):
        return (0.0 if a[0] <= 0 <= a[1] else min(map(abs, a)), max(map(abs, a)))
    if name in ("square",):
        return _multiply(a, a) if a[0] >= 0 or a[1] <= 0 else None
    return _bounds(*map(_RISING[name], a)) if name in _RISING else None


_MOVES = {
    *("expand_dims", "squeeze", "transpose", "swapaxes", "moveaxis", "reshape", "permute"),
    *("repeat", "tile", "broadcast_to", "get_item", "stop_gradient", "rearrange", "identity"),
}
"""Ops that give elements of their input unchanged."""

_FILLS: dict[str, Callable[[Any], Sequence[float]]] = {
    "zeros_like": lambda _: [0.0],
    "ones_like": lambda _: [1.0],
    "full_like": lambda layer: [layer.fill_value],
    "zeros": lambda _: [0.0],
    "ones": lambda _: [1.0],
    "full": lambda layer: [layer.fill_value],
}


def held(op: Op) -> Elements:
    """The bounds of the output of an op that reads no steps."""
    layer: Any = op.layer
    name = layer.spec_name if layer is not None else ""
    if op.kind == "constant" and layer is not None and op.varying is None:
        return filled([*map(float, elements(layer.values))])
    return filled(_FILLS[name](layer)) if name in _FILLS and not flatten(op.arguments) else UNKNOWN
