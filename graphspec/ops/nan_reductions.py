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
    """`template` with the call of a helper above in place of its braces."""
    keep = ", keepdim=True" if keepdims else ""
    return Code(template.format(f"{{axis}}{keep}"), constants={"axis": axis})


def _without(code: Code, value: int) -> Code:
    """The same reduction of `{x}` with a number in place of NaN."""
    call = code.call.replace("{x}", f"{{x}}.masked_fill({{x}}.isnan(), {value})", 1)
    return Code(call, constants=code.constants)


class Nanmax(Amax, spec_name="nanmax"):
    """The largest along axes that is not NaN."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("nan_max({{x}}, {})", "nan_max", self.axis, self.keepdims)


class Nanmin(Amin, spec_name="nanmin"):
    """The smallest along axes that is not NaN."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("-nan_max(-{{x}}, {})", "nan_max", self.axis, self.keepdims)


class Nanprod(Product, spec_name="nanprod"):
    """The product along axes, without what is NaN."""

    examples = Amax.examples

    def code(self, site: Site) -> Code:
        return _without(super().code(site), 1) if site.x.is_float else super().code(site)


class Nanvar(Var, spec_name="nanvar"):
    """The variance along axes of what is not NaN, without Bessel's correction."""

    after: ClassVar[str] = ""

    def code(self, site: Site) -> Code:
        x = "{{x}}" if site.x.is_float else "{{x}}.float()"
        return _called(f"nan_var({x}, {{}}){self.after}", "nan_var", self.axis, self.keepdims)


class Nanstd(Nanvar, spec_name="nanstd"):
    """The standard deviation along axes of what is not NaN, without Bessel's correction."""

    after = ".sqrt()"


class Nanargmax(Argmax, spec_name="nanargmax"):
    """Where the largest along an axis stands that is not NaN, as int64; -1 where there is none."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("nan_argmax({{x}}, {})", "nan_argmax", self.axis, self.keepdims)


class Nanargmin(Argmin, spec_name="nanargmin"):
    """Where the smallest along an axis stands that is not NaN, as int64; -1 where there is none."""

    def code(self, site: Site) -> Code:
        if not site.x.is_float:
            return super().code(site)
        return _called("nan_argmax(-{{x}}, {})", "nan_argmax", self.axis, self.keepdims)


class Nanquantile(Quantile, spec_name="nanquantile"):
    """What a share `q` along an axis is at most, of all that is not NaN."""

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call.replace(".quantile(", ".nanquantile("), constants=code.constants)


class Nanmedian(Median, spec_name="nanmedian"):
    """What half along an axis is at most, of all that is not NaN."""

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call.replace(".quantile(", ".nanquantile("), constants=code.constants)


class Nancumsum(Cumsum, spec_name="nancumsum"):
    """The sum of all up to each place along an axis, without what is NaN."""

    def code(self, site: Site) -> Code:
        return _without(super().code(site), 0) if site.x.is_float else super().code(site)


class Nancumprod(Cumprod, spec_name="nancumprod"):
    """The product of all up to each place along an axis, without what is NaN."""

    def code(self, site: Site) -> Code:
        return _without(super().code(site), 1) if site.x.is_float else super().code(site)
