"""Functions of keras.ops that take two tensors, or a tensor and a constant."""

from __future__ import annotations

from typing import Any, ClassVar

from graphspec.contract.arrays import Nested
from graphspec.contract.broadcasting import promote, shared_memory, to_float
from graphspec.contract.fields import Constant
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Memory, Ref, Site
from graphspec.contract.streaming import Streaming, elementwise
from graphspec.ops.operation import (
    BinaryOperation,
    Operation,
    beside,
    meet,
    need_kind,
    need_numbers,
    numbers_buffer,
    row,
    table,
)
from graphspec.tensor import Tensor


class _Arithmetic(BinaryOperation, abstract=True):
    """A function of two numbers, floats or integers."""

    examples = (Example({}, ((3, 4), (3, 4))),)


table(
    __name__,
    _Arithmetic,
    row("add", "`x1 + x2`.", "{} + {}"),
    row("subtract", "`x1 - x2`.", "{} - {}", also="sub"),
    row("multiply", "`x1 * x2`.", "{} * {}", also="mul"),
    row("divide", "`x1 / x2`; integers give floats.", "{} / {}", also="div", floats=True, divides=True),
    row("true_divide", "`x1 / x2`; integers give floats.", "{} / {}", floats=True, divides=True),
)


class Mod(BinaryOperation, spec_name="mod", also="remainder"):
    """The remainder of `x1 / x2`, with the sign of `x2`."""

    template = "{} % {}"
    divides = True
    examples = (Example({}, ((3, 4), (3, 4))),)

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant == 0 and any(x is not None and x.is_float for x in site.inputs):
            left = f"torch.full_like({right}, {left})"  # PyTorch cannot differentiate `constant % tensor`
        return self.template.format(left, right)


class FloorDivide(BinaryOperation, spec_name="floor_divide"):
    """`x1 / x2`, rounded down. It has no gradient."""

    template = "{} // {}"
    divides = True
    examples = (Example({}, ((3, 4), (3, 4))),)

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if not site.outputs[0].is_float:
            return self.template.format(left, right)
        if constant == 0:
            left = f"torch.full_like({right}, {left})"
        return f'torch.div({left}, {right}, rounding_mode="floor")'  # PyTorch cannot differentiate `//`


class Power(BinaryOperation, spec_name="power", also="pow"):
    """`x1` to the power of `x2`."""

    template = "{} ** {}"
    examples = (Example({"x2": 2}, ((3, 4),)),)


class _ExtremeOfTwo(BinaryOperation, abstract=True):
    """The larger or the smaller of two values."""

    bound: ClassVar[str]  # the keyword of clamp
    examples = (Example({}, ((3, 4), (3, 4))),)

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant is None:
            return self.template.format(left, right)
        x, limit = (right, left) if constant == 0 else (left, right)
        return f"{x}.clamp({self.bound}={limit})"


table(
    __name__,
    _ExtremeOfTwo,
    row("maximum", "The larger of `x1` and `x2`.", "torch.maximum({}, {})", bound="min"),
    row("minimum", "The smaller of `x1` and `x2`.", "torch.minimum({}, {})", bound="max"),
)


class DivideNoNan(BinaryOperation, spec_name="divide_no_nan"):
    """`x1 / x2`, and 0 where `x2` is 0. Integers give floats."""

    floats = True
    divides = True
    examples = (Example({}, ((3, 4), (3, 4))),)

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant == 1:
            return f"{left} / {right}"
        safe = f"torch.where({right} == 0, 1, {right})"  # the branch that is not chosen has a gradient, too
        return f"torch.where({right} == 0, 0, {left} / {safe})"


class _OfTwoFloats(BinaryOperation, abstract=True):
    """A function that PyTorch has only for two tensors of floats."""

    takes_numbers = False
    examples = (Example({}, ((3, 4), (3, 1))),)

    def check(self, *tensors: Tensor) -> None:
        need_kind(self.spec_name, "floats", "float32", lambda x: x.is_float, *tensors)


table(
    __name__,
    _OfTwoFloats,
    row(
        "arctan2",
        "The angle of the point with height `x1` and width `x2`, from -pi to pi.",
        "torch.atan2({}, {})",
        also="atan2",
    ),
    row("hypot", "`sqrt(x1**2 + x2**2)`.", "torch.hypot({}, {})"),
    row("logaddexp", "`log(exp(x1) + exp(x2))`.", "torch.logaddexp({}, {})"),
    row("logaddexp2", "`log2(2**x1 + 2**x2)`.", "torch.logaddexp2({}, {})"),
    row("fmod", "The remainder of `x1 / x2`, with the sign of `x1`.", "torch.fmod({}, {})", divides=True),
    row("fmax", "The larger of `x1` and `x2`, or the one that is not NaN.", "torch.fmax({}, {})"),
    row("fmin", "The smaller of `x1` and `x2`, or the one that is not NaN.", "torch.fmin({}, {})"),
)


class Heaviside(Operation, spec_name="heaviside"):
    """0 where `x1` is negative, 1 where it is positive, and `x2` (a tensor or a constant) where it is 0."""

    flops_per_output = 1
    arguments = (Argument("x1"), Argument("x2", required=False))

    x2: Constant = None

    examples = (Example({}, ((3, 4), (3, 1)), dtypes=("float32", "float32")),)

    def infer(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        if (x2 is None) == (self.x2 is None):
            raise LayerError(
                "input-count",
                "`heaviside` takes a tensor, and another or a constant",
                help="write from: [a, b], or {op: heaviside, from: a, x2: 0.5}",
            )
        if isinstance(self.x2, Nested):
            x2 = beside(self.spec_name, "x2", self.x2, x1)
        if x2 is None:
            need_numbers(self.spec_name, x1)
            return x1.with_dtype(to_float(x1.dtype))
        need_numbers(self.spec_name, x1, x2)
        return Tensor(meet(self.spec_name, x1, x2), to_float(promote(x1.dtype, x2.dtype)))

    def memory(self, x1: Tensor, x2: Tensor | None = None) -> Memory:
        if isinstance(self.x2, Nested):
            return "spec"
        return shared_memory(x1, x2)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"dtype": Ref(f"torch.{site.outputs[0].dtype}")}
        middle, construct = "{x2}", None
        if isinstance(self.x2, Nested):
            middle, construct = "{self}", numbers_buffer(self.x2, site.outputs[0])
        elif self.x2 is not None:
            middle, constants["constant"] = "{constant}", self.x2
        # PyTorch cannot differentiate torch.heaviside
        text = f"torch.where({{x1}} == 0, {middle}, ({{x1}} > 0).to({{dtype}}))"
        return Code(text, construct, constants)


class Ldexp(Operation, spec_name="ldexp"):
    """`x1 * 2**x2` of floats `x1` and integers `x2`."""

    template = "torch.ldexp({x1}, {x2})"
    flops_per_output = 2
    arguments = (Argument("x1"), Argument("x2"))
    examples = (Example({}, ((3, 4), (3, 4)), dtypes=("float32", "int32"), high=9),)

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        for position, x in enumerate((x1, x2)):
            if x.is_float != (position == 0) or x.dtype == "bool":
                message = f"`ldexp` takes floats and integers, and gets {x1} and {x2}"
                raise LayerError("wrong-dtype", message, inputs=(position,))
        return Tensor(meet(self.spec_name, x1, x2), x1.dtype)

    def memory(self, x1: Tensor, x2: Tensor) -> Memory:
        return shared_memory(x1, x2)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)
