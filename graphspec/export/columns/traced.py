"""Python's operators, and the functions that cells are written with, as nodes of a graph of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, partialmethod
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from graphspec.data.rows.functions import Functions
from graphspec.export.columns.graph import NUMBER, WHOLE, GraphWriter

BOOL = TensorProto.BOOL


def _writes(
    op: str, kind: int | None = None, turned: bool = False
) -> Callable[[GraphValue, Any], GraphValue]:
    """The method that writes a node of two operands; its value has their type where `kind` says no other."""

    def write(self: GraphValue, other: Any) -> GraphValue:
        operands = (self.name, self.like(other).name)
        return self.made(op, *(operands[::-1] if turned else operands), kind=kind)

    return write


@dataclass(frozen=True, slots=True, eq=False)
class GraphValue:
    """A value of a graph. A number beside it has its type. `//` and `%` take no negative numbers."""

    g: GraphWriter
    name: str
    kind: int = NUMBER

    __add__ = __radd__ = _writes("Add")
    __sub__, __rsub__ = _writes("Sub"), _writes("Sub", turned=True)
    __mul__ = __rmul__ = _writes("Mul")
    __truediv__ = __floordiv__ = _writes("Div")
    __mod__ = _writes("Mod")
    __lt__, __le__ = _writes("Less", BOOL), _writes("LessOrEqual", BOOL)
    __gt__, __ge__ = _writes("Greater", BOOL), _writes("GreaterOrEqual", BOOL)
    __eq__ = _writes("Equal", BOOL)  # type: ignore[assignment]
    __and__, __or__ = _writes("And"), _writes("Or")

    def made(self, op: str, *operands: str, kind: int | None = None, **attributes: Any) -> GraphValue:
        """The value of a node."""
        kind = self.kind if kind is None else kind
        return GraphValue(self.g, self.g.op(op, *operands, **attributes), kind)

    def like(self, value: Any) -> GraphValue:
        """A number, or an array of several, as a constant of this type."""
        if isinstance(value, GraphValue):
            return value
        array = np.asarray(value, helper.tensor_dtype_to_np_dtype(self.kind))
        return GraphValue(self.g, self.g.constant(np.atleast_1d(array)), self.kind)

    def alone(self, op: str, kind: int | None = None) -> GraphValue:
        """The value of a node of this one."""
        return self.made(op, self.name, kind=kind)

    __neg__, __invert__ = partialmethod(alone, "Neg"), partialmethod(alone, "Not")

    def expanded(self) -> GraphValue:
        """With an axis of 1 at the end."""
        return self.made("Unsqueeze", self.name, self.g.constant([-1], np.int64))

    def as_(self, kind: int) -> GraphValue:
        return GraphValue(self.g, self.g.cast(self.name, kind), kind)


def functions(column: str = "") -> Functions:
    """The functions on values of a graph; a run that they end is so for the sake of a column."""
    sin, cos, sqrt = (partial(GraphValue.alone, op=op) for op in ("Sin", "Cos", "Sqrt"))
    isnan, refuse = partial(GraphValue.alone, op="IsNaN", kind=BOOL), partial(_refuse, f"column {column}: ")
    number = partial(GraphValue.as_, kind=NUMBER)
    return Functions(where, isnan, _clip, sqrt, _log1p, _expm1, sin, cos, _interp, number, refuse)


def where(mask: GraphValue, yes: Any, no: Any) -> GraphValue:
    """One of two values, or numbers."""
    first, second = (yes, yes.like(no)) if isinstance(yes, GraphValue) else (no.like(yes), no)
    return first.made("Where", mask.name, first.name, second.name)


def how_many(mask: GraphValue) -> GraphValue:
    """How many of the last axis are true."""
    whole = mask.as_(WHOLE)
    return whole.made("ReduceSum", whole.name, whole.g.constant([-1], np.int64), keepdims=0)


def _refuse(prefix: str, x: GraphValue, mask: GraphValue, reason: str) -> GraphValue:
    return GraphValue(x.g, x.g.guarded(x.name, x.kind, (~mask).name, prefix + reason), x.kind)


def _clip(x: GraphValue, low: float, high: float) -> GraphValue:
    return x.made("Clip", x.name, *(x.g.constant(each, np.float64) for each in (low, high)))


def _log1p(x: GraphValue) -> GraphValue:
    """log(1 + x) to the last digits, of small numbers too: what 1 + x loses is made good by its quotient."""
    u = x + 1.0
    lost = u - 1.0
    same = lost == 0.0
    return where(same, x, u.alone("Log") * (x / where(same, 1.0, lost)))


def _expm1(x: GraphValue) -> GraphValue:
    """exp(x) - 1, in the same way."""
    u = x.alone("Exp")
    lost, log = u - 1.0, u.alone("Log")
    exact = lost * x / where(log == 0.0, 1.0, log)
    return where(lost == 0.0, x, where(x.alone("Abs") > 1.0, lost, exact))


def _interp(x: GraphValue, points: np.ndarray, values: np.ndarray) -> GraphValue:
    """`numpy.interp`: of equal points the last one."""
    if len(points) == 1:
        return x - x + float(values[0])
    low = how_many(x.expanded() >= points) - 1
    low = low.made("Clip", low.name, *(low.g.constant(each) for each in (0, len(points) - 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(values) / np.diff(points)
    slopes[~np.isfinite(slopes)] = 0.0
    start, base, slope = (x.made("Gather", x.like(each).name, low.name) for each in (points, values, slopes))
    inside = slope * (x - start) + base
    return where(x >= points[-1], values[-1], where(x < points[0], values[0], inside))
