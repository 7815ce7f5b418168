"""Reductions of keras.ops that ignore NaN."""

from __future__ import annotations

from typing import ClassVar

from graphspec.contract.layer import Code, Leaf, Site
from graphspec.ops.reductions import (
    Amax,
    Amin,
    Argmax,
    Argmin,
    Cumprod,
    Cumsum,
    Median,
    Product,
    Quantile,
    Var,
)


def _called(template: str, name: str, axis: Leaf, keepdims: bool) -> Code:
    """`template`, with the call of the helper `name` in place of its braces."""
    keep = ", keepdim=True" if keepdims else ""
    return Code(template.format(f"{{axis}}{keep}"), constants={"axis": axis})


def _without(code: Code, value: int) -> Code:
    """The same reduction of `{x}`, with NaN replaced by a number."""
    call = code.call.replace("{x}", f"{{x}}.masked_fill({{x}}.isnan(), {value})", 1)
    return Code(call, constants=code.constants)


class Nanmax(Amax, spec_name="nanmax"):
    """The maximum along axes, ignoring NaN."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("nan_max({{x}}, {})", "nan_max", self.axis, self.keepdims)


class Nanmin(Amin, spec_name="nanmin"):
    """The minimum along axes, ignoring NaN."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("-nan_max(-{{x}}, {})", "nan_max", self.axis, self.keepdims)


class Nanprod(Product, spec_name="nanprod"):
    """The product along axes, ignoring NaN."""

    examples = Amax.examples

    def code(self, site: Site) -> Code:
        return _without(super().code(site), 1) if site.x.is_float else super().code(site)


class Nanvar(Var, spec_name="nanvar"):
    """The variance along axes, ignoring NaN, without Bessel's correction."""

    after: ClassVar[str] = ""

    def code(self, site: Site) -> Code:
        x = "{{x}}" if site.x.is_float else "{{x}}.float()"
        return _called(f"nan_var({x}, {{}}){self.after}", "nan_var", self.axis, self.keepdims)


class Nanstd(Nanvar, spec_name="nanstd"):
    """The standard deviation along axes, ignoring NaN, without Bessel's correction."""

    after = ".sqrt()"


class Nanargmax(Argmax, spec_name="nanargmax"):
    """The index of the maximum along an axis, ignoring NaN, as int64; -1 where all are NaN."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("nan_argmax({{x}}, {})", "nan_argmax", self.axis, self.keepdims)


class Nanargmin(Argmin, spec_name="nanargmin"):
    """The index of the minimum along an axis, ignoring NaN, as int64; -1 where all are NaN."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("nan_argmax(-{{x}}, {})", "nan_argmax", self.axis, self.keepdims)


class Nanquantile(Quantile, spec_name="nanquantile"):
    """The quantile `q` along an axis, ignoring NaN."""

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call.replace(".quantile(", ".nanquantile("), constants=code.constants)


class Nanmedian(Median, spec_name="nanmedian"):
    """The median along an axis, ignoring NaN."""

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call.replace(".quantile(", ".nanquantile("), constants=code.constants)


class Nancumsum(Cumsum, spec_name="nancumsum"):
    """The cumulative sum along an axis, ignoring NaN."""

    def code(self, site: Site) -> Code:
        return _without(super().code(site), 0) if site.x.is_float else super().code(site)


class Nancumprod(Cumprod, spec_name="nancumprod"):
    """The cumulative product along an axis, ignoring NaN."""

    def code(self, site: Site) -> Code:
        return _without(super().code(site), 1) if site.x.is_float else super().code(site)
