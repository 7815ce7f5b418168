"""Reductions of keras.ops that ignore NaN."""

from __future__ import annotations

from typing import ClassVar

from graphspec.contract.layer import Code, Site
from graphspec.ops.cumulative import Cumprod, Cumsum
from graphspec.ops.reductions import (
    Amax,
    Amin,
    Argmax,
    Argmin,
    Median,
    Product,
    Quantile,
    Sum,
    Var,
)
from graphspec.tensor import Tensor


class Nanmax(Amax, spec_name="nanmax"):
    """The maximum along axes, ignoring NaN."""

    of_floats = "nan_max({x}, {axis})"


class Nanmin(Amin, spec_name="nanmin"):
    """The minimum along axes, ignoring NaN."""

    of_floats = "-nan_max(-{x}, {axis})"


class Nanargmax(Argmax, spec_name="nanargmax"):
    """The index of the maximum along an axis, ignoring NaN, as int64; -1 where all are NaN."""

    of_floats = "nan_argmax({x}, {axis})"


class Nanargmin(Argmin, spec_name="nanargmin"):
    """The index of the minimum along an axis, ignoring NaN, as int64; -1 where all are NaN."""

    of_floats = "nan_argmax(-{x}, {axis})"


class Nanvar(Var, spec_name="nanvar"):
    """The variance along axes, ignoring NaN, without Bessel's correction."""

    after: ClassVar[str] = ""

    def code(self, site: Site) -> Code:
        call = f"nan_var({self.operand(site.x)}, {{axis}}{self.keep}){self.after}"
        return Code(call, constants={"axis": self.axis})


class Nanstd(Nanvar, spec_name="nanstd"):
    """The standard deviation along axes, ignoring NaN, without Bessel's correction."""

    after = ".sqrt()"


class Nansum(Sum, spec_name="nansum"):
    """The sum along axes, ignoring NaN."""

    method = "nansum"


class Nanquantile(Quantile, spec_name="nanquantile"):
    """The quantile `q` along an axis, ignoring NaN."""

    function = "nanquantile"


class Nanmedian(Median, spec_name="nanmedian"):
    """The median along an axis, ignoring NaN."""

    function = "nanquantile"


def _filled(x: Tensor, value: int) -> str:
    """The expression of `x` with NaN replaced by a number."""
    return f"{{x}}.masked_fill({{x}}.isnan(), {value})" if x.is_float else "{x}"


class Nanprod(Product, spec_name="nanprod"):
    """The product along axes, ignoring NaN."""

    examples = Amax.examples

    def operand(self, x: Tensor) -> str:
        return _filled(x, 1)


class Nancumsum(Cumsum, spec_name="nancumsum"):
    """The cumulative sum along an axis, ignoring NaN."""

    def operand(self, x: Tensor) -> str:
        return _filled(x, 0)


class Nancumprod(Cumprod, spec_name="nancumprod"):
    """The cumulative product along an axis, ignoring NaN."""

    def operand(self, x: Tensor) -> str:
        return _filled(x, 1)
