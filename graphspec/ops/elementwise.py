"""Elementwise functions of keras.ops that take one tensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from graphspec.contract.buffers import need_held
from graphspec.contract.fields import Finite
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Moved, Ref, Site
from graphspec.ops.operation import UnaryOperation, need_numbers, row, table
from graphspec.tensor import Tensor
from graphspec.traced import float_of

Dtype = Literal[
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"
]


class _Function(UnaryOperation, abstract=True):
    """A function of floats or integers."""


class _Rounding(_Function, abstract=True):
    """A function that rounds floats, and makes floats of integers."""

    def code(self, site: Site) -> Code:
        return super().code(site) if site.x.is_float else Code("{x}.float()")


table(
    __name__,
    _Rounding,
    row("floor", "The next integer below, as a float. It has no gradient.", "{x}.floor()"),
    row("ceil", "The next integer above, as a float. It has no gradient.", "{x}.ceil()"),
)
table(
    __name__,
    _Function,
    row("exp", "The exponential.", "{x}.exp()"),
    row("exp2", "2 to the power of `x`.", "{x}.exp2()"),
    row("expm1", "`exp(x) - 1`, exact for small `x`.", "{x}.expm1()"),
    row("log", "The natural logarithm.", "{x}.log()"),
    row("log2", "The logarithm to the base of 2.", "{x}.log2()"),
    row("log10", "The logarithm to the base of 10.", "{x}.log10()"),
    row("log1p", "`log(1 + x)`, exact for small `x`.", "{x}.log1p()"),
    row("sqrt", "The square root.", "{x}.sqrt()"),
    row("rsqrt", "The reciprocal of the square root.", "{x}.rsqrt()"),
    row("cbrt", "The cube root.", "{x}.sign() * {x}.abs() ** (1 / 3)"),
    row("square", "`x * x`.", "{x}.square()", floats=False),
    row("reciprocal", "`1 / x`.", "{x}.reciprocal()"),
    row("negative", "`-x`.", "-{x}", also="neg", floats=False),
    row("abs", "The absolute value.", "{x}.abs()", floats=False),
    row("absolute", "The absolute value.", "{x}.abs()", floats=False),
    row("sign", "-1, 0 or 1.", "{x}.sign()", floats=False),
    row("trunc", "The next integer towards 0. It has no gradient.", "{x}.trunc()", floats=False),
    row("sin", "The sine of an angle in radians.", "{x}.sin()"),
    row("cos", "The cosine of an angle in radians.", "{x}.cos()"),
    row("tan", "The tangent of an angle in radians.", "{x}.tan()"),
    row("arcsin", "The angle in radians whose sine is `x`.", "{x}.asin()", also="asin"),
    row("arccos", "The angle in radians whose cosine is `x`.", "{x}.acos()", also="acos"),
    row("arctan", "The angle in radians whose tangent is `x`.", "{x}.atan()", also="atan"),
    row("sinh", "The hyperbolic sine.", "{x}.sinh()"),
    row("cosh", "The hyperbolic cosine.", "{x}.cosh()"),
    row("arcsinh", "The inverse of the hyperbolic sine.", "{x}.asinh()", also="asinh"),
    row("arccosh", "The inverse of the hyperbolic cosine.", "{x}.acosh()", also="acosh"),
    row("arctanh", "The inverse of the hyperbolic tangent.", "{x}.atanh()", also="atanh"),
    row("deg2rad", "Degrees in radians.", "torch.deg2rad({x})"),
    row("rad2deg", "Radians in degrees.", "torch.rad2deg({x})"),
    row("sinc", "`sin(pi * x) / (pi * x)`, 1 at 0.", "torch.sinc({x})"),
    row("i0", "The modified Bessel function of the first kind, of order 0.", "torch.i0({x})"),
    row("erf", "The error function.", "{x}.erf()"),
    row("erfc", "1 minus the error function.", "{x}.erfc()"),
    row("erfinv", "The inverse of the error function.", "{x}.erfinv()"),
    row("isnan", "Whether `x` is NaN.", "{x}.isnan()", result="bool"),
    row("isinf", "Whether `x` is infinite.", "{x}.isinf()", result="bool"),
    row("isposinf", "Whether `x` is infinite and positive.", "torch.isposinf({x})", result="bool"),
    row("isneginf", "Whether `x` is infinite and negative.", "torch.isneginf({x})", result="bool"),
    row("isfinite", "Whether `x` is neither infinite nor NaN.", "{x}.isfinite()", result="bool"),
    row("signbit", "Whether `x` is less than 0, or -0.0.", "{x}.signbit()", result="bool"),
)


class Round(_Function, spec_name="round"):
    """`x` rounded to `decimals` decimal places, half to even. It has no gradient."""

    decimals: Annotated[int, Field(ge=0)] = 0
    """Digits after the decimal point."""

    floats = False

    def code(self, site: Site) -> Code:
        if not self.decimals or not site.x.is_float:
            return Code("{x}.round()")
        return Code("{x}.round(decimals={decimals})", constants={"decimals": self.decimals})


class NanToNum(_Function, spec_name="nan_to_num"):
    """`x` without NaN (`nan` instead) and infinity (`posinf`, `neginf`, by default the largest numbers)."""

    template = "{x}.nan_to_num({nan}, {posinf}, {neginf})"

    nan: Finite = 0.0
    """Replacement for NaN."""
    posinf: Finite | None = None
    """Replacement for infinity."""
    neginf: Finite | None = None
    """Replacement for minus infinity."""

    floats = False


class Clip(_Function, spec_name="clip", also="clamp"):
    """`x` limited to the range from `x_min` to `x_max`."""

    template = "{x}.clamp({x_min}, {x_max})"

    x_min: int | Finite
    """Lower bound."""
    x_max: int | Finite
    """Upper bound."""

    examples = (Example({"x_min": -0.5, "x_max": 1}, ((3, 4),)),)

    @property
    def floats(self) -> bool:  # type: ignore[override]
        return isinstance(self.x_min, float) or isinstance(self.x_max, float)

    def infer(self, x: Tensor) -> Tensor:
        if self.x_min > self.x_max:
            raise LayerError("out-of-range", f"`x_max` must be at least {self.x_min}", argument="x_max")
        return super().infer(x)

    def code(self, site: Site) -> Code:
        code = super().code(site)
        if not self.floats:
            return code
        bounds = {
            "x_min": float_of(self.x_min),
            "x_max": float_of(self.x_max),
        }  # of one type, as ONNX has them
        return replace(code, constants={**code.constants, **bounds})


class StopGradient(_Function, spec_name="stop_gradient", also="detach"):
    """`x` as a constant: no gradient flows back through it."""

    template = "{x}.detach()"

    def infer(self, x: Tensor) -> Tensor:
        return x


class _Like(_Function, abstract=True):
    """A tensor filled with one number, with the shape of `x` and its type or `dtype`."""

    dtype: Dtype | None = None

    floats = False

    def infer(self, x: Tensor) -> Tensor:
        return x if self.dtype is None else x.with_dtype(self.dtype)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {}
        if self.dtype not in (None, site.x.dtype):
            constants["dtype"] = Ref(f"torch.{self.dtype}")
        argument = ", dtype={dtype}" if constants else ""
        return Code(self.template.replace(")", f"{argument})"), constants=constants)


class ZerosLike(_Like, spec_name="zeros_like"):
    """Zeros with the shape of `x`, and its type or `dtype`."""

    template = "torch.zeros_like({x})"


class OnesLike(_Like, spec_name="ones_like"):
    """Ones with the shape of `x`, and its type or `dtype`."""

    template = "torch.ones_like({x})"


class FullLike(_Like, spec_name="full_like"):
    """`fill_value` in the shape of `x`, with its type or `dtype`."""

    template = "torch.full_like({x}, {fill_value})"

    fill_value: int | Finite
    """Value of all elements."""
    dtype: Dtype | None = None

    examples = (Example({"fill_value": 0.5}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        x = super().infer(x)
        need_numbers(self.spec_name, x)
        if isinstance(self.fill_value, float) and not x.is_float:
            raise LayerError(
                "wrong-dtype", f"`full_like` fills {x} with integers", argument="fill_value", inputs=(0,)
            )
        need_held(x.dtype, [self.fill_value], "fill_value")
        return x

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call, constants={**code.constants, "fill_value": self.fill_value})


class Cast(UnaryOperation, spec_name="cast"):
    """The same numbers in another type: `dtype`, or the type of the tensor `like`."""

    arguments = (Argument("x"), Argument("like", required=False))

    dtype: Dtype | None = None

    examples = (Example({"dtype": "float32"}, ((3, 4),), dtype="int64", high=9),)

    def infer(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        if (self.dtype is None) == (like is None):
            raise LayerError(
                "missing-key" if like is None else "input-count",
                "`cast` takes a `dtype`, or a tensor that has it",
                help="write `dtype: float32`, or `like: node`",
                argument="dtype",
            )
        return x.with_dtype(str(self.dtype) if like is None else like.dtype)

    def moves(self, x: Tensor, like: Tensor | None = None) -> tuple[Moved, ...]:
        return ("same",) if self.infer(x, like).is_integer else ()

    def code(self, site: Site) -> Code:
        if self.dtype is None:
            return Code("{x}.to({like}.dtype)")
        return Code("{x}.to({dtype})", constants={"dtype": Ref(f"torch.{self.dtype}")})
