"""Functions of keras.ops of each element of one tensor."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.contract.fields import Finite
from graphspec.contract.layer import Code, Example, LayerError, Site
from graphspec.ops.operations import NUMBERS, Unary
from graphspec.tensor import Tensor


class _Function(Unary, abstract=True):
    """A function of floats or integers."""

    examples: ClassVar[tuple[Example, ...]] = NUMBERS


class Exp(_Function, spec_name="exp"):
    """The exponential."""

    template = "{x}.exp()"
    examples = (Example({}, ((3, 4),)),)


class Exp2(_Function, spec_name="exp2"):
    """2 to the power of `x`."""

    template = "{x}.exp2()"


class Expm1(_Function, spec_name="expm1"):
    """`exp(x) - 1`, exact for small `x`."""

    template = "{x}.expm1()"
    examples = (Example({}, ((3, 4),)),)


class Log(_Function, spec_name="log"):
    """The natural logarithm."""

    template = "{x}.log()"


class Log2(_Function, spec_name="log2"):
    """The logarithm to the base of 2."""

    template = "{x}.log2()"


class Log10(_Function, spec_name="log10"):
    """The logarithm to the base of 10."""

    template = "{x}.log10()"


class Log1p(_Function, spec_name="log1p"):
    """`log(1 + x)`, exact for small `x`."""

    template = "{x}.log1p()"


class Sqrt(_Function, spec_name="sqrt"):
    """The square root."""

    template = "{x}.sqrt()"


class Rsqrt(_Function, spec_name="rsqrt"):
    """The reciprocal of the square root."""

    template = "{x}.rsqrt()"


class Cbrt(_Function, spec_name="cbrt"):
    """The cube root."""

    template = "{x}.sign() * {x}.abs() ** (1 / 3)"


class Square(_Function, spec_name="square"):
    """`x * x`."""

    template = "{x}.square()"
    floats = False


class Reciprocal(_Function, spec_name="reciprocal"):
    """`1 / x`."""

    template = "{x}.reciprocal()"


class Negative(_Function, spec_name="negative", also="neg"):
    """`-x`."""

    template = "-{x}"
    floats = False


class Abs(_Function, spec_name="abs"):
    """The absolute value."""

    template = "{x}.abs()"
    floats = False


class Absolute(Abs, spec_name="absolute"):
    """The absolute value."""


class Sign(_Function, spec_name="sign"):
    """-1, 0 or 1."""

    template = "{x}.sign()"
    floats = False


class Floor(_Function, spec_name="floor"):
    """The next integer below; without a gradient."""

    template = "{x}.floor()"
    floats = False


class Ceil(_Function, spec_name="ceil"):
    """The next integer above; without a gradient."""

    template = "{x}.ceil()"
    floats = False


class Trunc(_Function, spec_name="trunc"):
    """The next integer towards 0; without a gradient."""

    template = "{x}.trunc()"
    floats = False


class Round(_Function, spec_name="round"):
    """The nearest number with so many decimals, the even one of two; without a gradient."""

    decimals: Annotated[int, Field(ge=0)] = 0

    floats = False
    examples = (Example({}, ((3, 4),)), Example({"decimals": 1}, ((3, 4),)))

    def code(self, site: Site) -> Code:
        if not self.decimals or not site.x.is_float:
            return Code("{x}.round()")
        return Code("{x}.round(decimals={decimals})", constants={"decimals": self.decimals})


class Sin(_Function, spec_name="sin"):
    """The sine of an angle in radians."""

    template = "{x}.sin()"


class Cos(_Function, spec_name="cos"):
    """The cosine of an angle in radians."""

    template = "{x}.cos()"


class Tan(_Function, spec_name="tan"):
    """The tangent of an angle in radians."""

    template = "{x}.tan()"


class Arcsin(_Function, spec_name="arcsin", also="asin"):
    """The angle in radians whose sine is `x`."""

    template = "{x}.asin()"


class Arccos(_Function, spec_name="arccos", also="acos"):
    """The angle in radians whose cosine is `x`."""

    template = "{x}.acos()"


class Arctan(_Function, spec_name="arctan", also="atan"):
    """The angle in radians whose tangent is `x`."""

    template = "{x}.atan()"


class Sinh(_Function, spec_name="sinh"):
    """The hyperbolic sine."""

    template = "{x}.sinh()"


class Cosh(_Function, spec_name="cosh"):
    """The hyperbolic cosine."""

    template = "{x}.cosh()"


class Arcsinh(_Function, spec_name="arcsinh", also="asinh"):
    """The inverse of the hyperbolic sine."""

    template = "{x}.asinh()"


class Arccosh(_Function, spec_name="arccosh", also="acosh"):
    """The inverse of the hyperbolic cosine."""

    template = "{x}.acosh()"


class Arctanh(_Function, spec_name="arctanh", also="atanh"):
    """The inverse of the hyperbolic tangent."""

    template = "{x}.atanh()"


class Deg2rad(_Function, spec_name="deg2rad"):
    """Degrees in radians."""

    template = "torch.deg2rad({x})"


class Rad2deg(_Function, spec_name="rad2deg"):
    """Radians in degrees."""

    template = "torch.rad2deg({x})"


class Sinc(_Function, spec_name="sinc"):
    """`sin(pi * x) / (pi * x)`, 1 at 0."""

    template = "torch.sinc({x})"


class Erf(_Function, spec_name="erf"):
    """The error function."""

    template = "{x}.erf()"


class Erfc(_Function, spec_name="erfc"):
    """1 minus the error function."""

    template = "{x}.erfc()"


class Erfinv(_Function, spec_name="erfinv"):
    """The inverse of the error function."""

    template = "{x}.erfinv()"


class Isnan(_Function, spec_name="isnan"):
    """Whether `x` is NaN."""

    template = "{x}.isnan()"
    result = "bool"


class Isinf(_Function, spec_name="isinf"):
    """Whether `x` is infinite."""

    template = "{x}.isinf()"
    result = "bool"


class Isposinf(_Function, spec_name="isposinf"):
    """Whether `x` is infinite and positive."""

    template = "torch.isposinf({x})"
    result = "bool"


class Isneginf(_Function, spec_name="isneginf"):
    """Whether `x` is infinite and negative."""

    template = "torch.isneginf({x})"
    result = "bool"


class Isfinite(_Function, spec_name="isfinite"):
    """Whether `x` is neither infinite nor NaN."""

    template = "{x}.isfinite()"
    result = "bool"


class Signbit(_Function, spec_name="signbit"):
    """Whether `x` is less than 0, or -0.0."""

    template = "{x}.signbit()"
    result = "bool"


class NanToNum(_Function, spec_name="nan_to_num"):
    """`x` with numbers in place of NaN and infinity: `nan`, and the largest unless `posinf`, `neginf` say."""

    nan: Finite = 0.0
    posinf: Finite | None = None
    neginf: Finite | None = None

    floats = False
    examples = (Example({}, ((3, 4),)), Example({"nan": 1.0, "posinf": 9.0, "neginf": -9.0}, ((3, 4),)))

    def code(self, site: Site) -> Code:
        constants = {"nan": self.nan, "posinf": self.posinf, "neginf": self.neginf}
        return Code("{x}.nan_to_num({nan}, {posinf}, {neginf})", constants=constants)


class Clip(_Function, spec_name="clip", also="clamp"):
    """`x`, at least `x_min` and at most `x_max`."""

    x_min: int | Finite
    x_max: int | Finite

    examples = (
        Example({"x_min": -0.5, "x_max": 1}, ((3, 4),)),
        Example({"x_min": 2, "x_max": 5}, ((4,),), dtype="int32", high=9),
    )

    @property
    def floats(self) -> bool:  # type: ignore[override]
        return isinstance(self.x_min, float) or isinstance(self.x_max, float)

    def infer(self, x: Tensor) -> Tensor:
        if self.x_min > self.x_max:
            raise LayerError("out-of-range", f"`x_max` must be at least {self.x_min}", argument="x_max")
        return super().infer(x)

    def code(self, site: Site) -> Code:
        return Code("{x}.clamp({x_min}, {x_max})", constants={"x_min": self.x_min, "x_max": self.x_max})


class StopGradient(_Function, spec_name="stop_gradient", also="detach"):
    """`x`, as a constant to whatever trains: no gradient flows back through it."""

    template = "{x}.detach()"

    def infer(self, x: Tensor) -> Tensor:
        return x


class ZerosLike(_Function, spec_name="zeros_like"):
    """Zeros in the shape of `x`."""

    template = "torch.zeros_like({x})"

    def infer(self, x: Tensor) -> Tensor:
        return x


class OnesLike(_Function, spec_name="ones_like"):
    """Ones in the shape of `x`."""

    template = "torch.ones_like({x})"

    def infer(self, x: Tensor) -> Tensor:
        return x


class FullLike(_Function, spec_name="full_like"):
    """`fill_value` in the shape of `x`, and of its type."""

    fill_value: int | Finite

    floats = False
    examples = (
        Example({"fill_value": 0.5}, ((3, 4),)),
        Example({"fill_value": 2}, ((4,),), dtype="int32", high=9),
    )

    def infer(self, x: Tensor) -> Tensor:
        if isinstance(self.fill_value, float) and not x.is_float:
            raise LayerError(
                "wrong-dtype", f"`full_like` fills {x} with integers", argument="fill_value", inputs=(0,)
            )
        return super().infer(x)

    def code(self, site: Site) -> Code:
        return Code("torch.full_like({x}, {fill_value})", constants={"fill_value": self.fill_value})
