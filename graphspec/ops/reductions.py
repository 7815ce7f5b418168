"""Reductions and cumulative functions of keras.ops, along axes.

Axes count the batch as 0. What would mix examples is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphspec.contract.broadcasting import example_axes, example_axis, stretch, to_float, without_axis
from graphspec.contract.fields import Axis, Finite, NumberType
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Memory, Ref, Site
from graphspec.contract.proposals import misfit
from graphspec.contract.streaming import Role, Streaming, streamed_axes, without
from graphspec.ops.operation import Operation, need_numbers, row, table
from graphspec.tensor import Tensor
from graphspec.traced import float_of


def accumulated(dtype: str) -> str:
    """The dtype of sums and products of numbers of this one."""
    return "int32" if dtype in ("uint8", "int8", "int16") else dtype


def as_float(x: Tensor) -> str:
    """The expression of `x` as floats."""
    return "{x}" if x.is_float else "{x}.float()"


class Method(Operation, abstract=True):
    """A method of PyTorch's tensors, along axes."""

    flops_per_input = 1
    method: ClassVar[str]
    keywords: ClassVar[str] = ""  # further arguments of the method
    of_floats: ClassVar[str] = ""  # the expression for floats, where these need another than integers
    if TYPE_CHECKING:
        axis: Any  # a field of the subclasses

    @property
    def keep(self) -> str:
        """The argument of PyTorch's functions that keeps the axes."""
        return ", keepdim=True" if getattr(self, "keepdims", False) else ""

    def operand(self, x: Tensor) -> str:
        """The expression of `x` that the method is called on."""
        return "{x}"

    def is_cast(self, x: Tensor) -> bool:
        """Whether PyTorch needs to be told the type of the output."""
        return False

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"axis": self.axis}
        if self.of_floats and site.x.is_float:
            return Code(self.of_floats.replace("{axis}", f"{{axis}}{self.keep}"), constants=constants)
        dtype = ""
        if self.is_cast(site.x):
            dtype, constants["dtype"] = ", dtype={dtype}", Ref(f"torch.{site.outputs[0].dtype}")
        call = f"{self.operand(site.x)}.{self.method}({{axis}}{self.keywords}{self.keep}{dtype})"
        return Code(call, constants=constants)


class _Reduction(Method, abstract=True):
    """A reduction along one or more axes."""

    unless: ClassVar[Role] = None  # what makes no difference, of steps that are ahead

    axis: Axis = None
    keepdims: bool = False

    examples: ClassVar[tuple[Example, ...]] = (Example({"axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        self.check(x)
        axes = self.axes(x)
        kept = [1 if i in axes else s for i, s in enumerate(x.shape) if self.keepdims or i not in axes]
        return Tensor(tuple(kept), self.result(x.dtype))

    def memory(self, *inputs: Any) -> Memory:
        whole = len(inputs) == 1 and len(self.axes(inputs[0])) == inputs[0].rank - 1
        return "any" if whole and not self.keepdims else "spec"  # all axes of an example, in either order

    def check(self, x: Tensor) -> None:
        """Refuses types that the function does not support."""
        need_numbers(self.spec_name, x)

    def axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes as nonnegative numbers, in order."""
        if self.axis is None or self.axis == ():
            raise without_axis(self.spec_name, x, many=True)
        return example_axes(self.spec_name, self.axis, x.rank)

    def result(self, dtype: str) -> str:
        """The dtype of the output."""
        return dtype

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return without(roles[0], self.axes(site.x), self.keepdims, self.unless)


class Sum(_Reduction, spec_name="sum"):
    """The sum along axes."""

    method = "sum"
    unless = "nought"

    def result(self, dtype: str) -> str:
        return accumulated(dtype)

    def is_cast(self, x: Tensor) -> bool:
        return not x.is_float and x.dtype != "int64"


class MeanOperation(_Reduction, spec_name="mean"):
    """The mean along axes. Integers give floats."""

    method = "mean"

    def result(self, dtype: str) -> str:
        return to_float(dtype)

    def is_cast(self, x: Tensor) -> bool:
        return not x.is_float


class _Extreme(_Reduction, abstract=True):
    """The maximum or the minimum, also of `initial`."""

    bound: ClassVar[str]  # the keyword of clamp

    initial: Finite | None = None
    """A number that takes part in the comparison."""

    def infer(self, x: Tensor) -> Tensor:
        if self.initial is not None and not x.is_float and not float(self.initial).is_integer():
            message = f"`initial: {self.initial}` is not one of the integers of {x}"
            raise LayerError("out-of-range", message, argument="initial")
        return super().infer(x)

    def code(self, site: Site) -> Code:
        code = super().code(site)
        if self.initial is None:
            return code
        first: Leaf = self.initial if site.x.is_float else int(self.initial)
        return Code(
            f"{code.call}.clamp({self.bound}={{initial}})", constants={**code.constants, "initial": first}
        )


class Max(_Extreme, spec_name="max"):
    """The maximum along axes, and of `initial`."""

    unless = "low"
    method = "amax"
    bound = "min"


class Min(_Extreme, spec_name="min"):
    """The minimum along axes, and of `initial`."""

    method = "amin"
    bound = "max"


class Amax(_Reduction, spec_name="amax"):
    """The maximum along axes."""

    unless = "low"
    method = "amax"


class Amin(_Reduction, spec_name="amin"):
    """The minimum along axes."""

    method = "amin"


class Ptp(_Reduction, spec_name="ptp"):
    """The maximum minus the minimum along axes."""

    template = "{x}.amax({axis}, keepdim={keepdims}) - {x}.amin({axis}, keepdim={keepdims})"
    optional = ("keepdims",)

    def code(self, site: Site) -> Code:
        return Operation.code(self, site)


class Product(_Reduction, abstract=True):
    """The product along axes."""

    examples: ClassVar[tuple[Example, ...]] = ()

    def result(self, dtype: str) -> str:
        return accumulated(dtype)

    def is_cast(self, x: Tensor) -> bool:
        return not x.is_float and x.dtype != "int64"

    def code(self, site: Site) -> Code:
        axes = self.axes(site.x) if isinstance(self.axis, tuple) else [self.axis]
        constants: dict[str, Leaf] = {f"axis{i}": axis for i, axis in enumerate(reversed(axes))}
        keep = self.keep
        if self.is_cast(site.x):
            keep, constants["dtype"] = keep + ", dtype={dtype}", Ref(f"torch.{site.outputs[0].dtype}")
        # PyTorch multiplies along one axis at a time
        calls = "".join(f".prod({{axis{i}}}{keep})" for i in range(len(axes)))
        return Code(self.operand(site.x) + calls, constants=constants)


class Prod(Product, spec_name="prod"):
    """The product along axes, as `dtype` if given."""

    dtype: NumberType | None = None

    examples = (Example({"axis": 1}, ((3, 4),)),)

    def result(self, dtype: str) -> str:
        return self.dtype if self.dtype is not None else super().result(dtype)

    def is_cast(self, x: Tensor) -> bool:
        return self.dtype is not None or super().is_cast(x)


class _OfFloats(_Reduction, abstract=True):
    """A reduction of floats; integers are converted to floats."""

    def result(self, dtype: str) -> str:
        return to_float(dtype)

    def operand(self, x: Tensor) -> str:
        return as_float(x)


class Var(_OfFloats, spec_name="var"):
    """The variance along axes, without Bessel's correction."""

    method = "var"
    keywords = ", correction=0"


table(
    __name__,
    _OfFloats,
    row(
        "std",
        "The standard deviation along axes, without Bessel's correction.",
        method="std",
        keywords=", correction=0",
    ),
    row(
        "logsumexp",
        "The logarithm of the sum of the exponentials along axes.",
        method="logsumexp",
        unless="low",
    ),
    row("nanmean", "The mean along axes, ignoring NaN.", method="nanmean"),
)


class Norm(_Reduction, spec_name="norm"):
    """The norm along an axis, of order 2 unless `ord` is given; along several axes always of order 2."""

    unless = "nought"

    ord: Finite | None = None
    """Order of the norm."""

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="`norm`")
        if self.ord is not None and len(self.axes(x)) > 1:
            message = "`norm` has an `ord` only along one axis"
            help = "leave it out: along several axes the norm is the root of the sum of squares"
            raise LayerError("out-of-range", message, argument="ord", help=help)
        return super().infer(x)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"axis": self.axis, "ord": 2 if self.ord is None else self.ord}
        return Code(f"torch.linalg.vector_norm({{x}}, {{ord}}, {{axis}}{self.keep})", constants=constants)


class _Whether(_Reduction, abstract=True):
    """A boolean reduction; a number counts as true unless it is 0."""

    examples = (Example({"axis": 1}, ((3, 4),), dtype="bool"),)

    def check(self, x: Tensor) -> None:
        pass

    def result(self, dtype: str) -> str:
        return "bool"

    def operand(self, x: Tensor) -> str:
        return "{x}" if x.dtype == "bool" else "{x}.bool()"


table(
    __name__,
    _Whether,
    row("all", "Whether all elements along axes are true.", method="all"),
    row("any", "Whether any element along axes is true.", method="any", unless="nought"),
)


class _AlongOne(Method, abstract=True):
    """A reduction along a single axis."""

    axis: int | None = None
    keepdims: bool = False

    examples = (Example({"axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        if self.axis is None:
            raise without_axis(self.spec_name, x)
        axis = example_axis(self.spec_name, self.axis, x.rank)
        kept = (1,) if self.keepdims else ()
        return Tensor((*x.shape[:axis], *kept, *x.shape[axis + 1 :]), self.result(x.dtype))

    def result(self, dtype: str) -> str:
        """The dtype of the output."""
        return "int64"

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return without(roles[0], (self.axis or 0,), self.keepdims)


class Argmax(_AlongOne, spec_name="argmax"):
    """The index of the maximum along an axis, as int64, PyTorch's type of indices."""

    method = "argmax"


class Argmin(_AlongOne, spec_name="argmin"):
    """The index of the minimum along an axis, as int64, PyTorch's type of indices."""

    method = "argmin"


class CountNonzero(Operation, spec_name="count_nonzero"):
    """The number of elements along axes that are not 0, as int64."""

    template = "{x}.count_nonzero({axis})"
    flops_per_input = 1

    axis: Axis = None

    examples = (Example({"axis": 1}, ((3, 4),), dtype="int32"),)

    def infer(self, x: Tensor) -> Tensor:
        if self.axis is None or self.axis == ():
            raise without_axis(self.spec_name, x, many=True)
        axes = example_axes(self.spec_name, self.axis, x.rank)
        return Tensor(tuple(size for i, size in enumerate(x.shape) if i not in axes), "int64")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        assert self.axis is not None
        return without(roles[0], example_axes(self.spec_name, self.axis, site.x.rank))


class Quantile(_AlongOne, spec_name="quantile"):
    """The quantile `q` along an axis; `method` says how to interpolate."""

    function: ClassVar[str] = "quantile"
    halves = False

    q: Annotated[Finite, Field(ge=0, le=1)]
    """Share of the elements that are below: 0.5 is the median."""
    method: Literal["linear", "lower", "higher", "midpoint", "nearest"] = "linear"  # type: ignore[misc]
    """Interpolation between two values."""

    examples = (Example({"axis": 1, "q": 0.3}, ((3, 4),)),)

    def result(self, dtype: str) -> str:
        return to_float(dtype)

    def code(self, site: Site) -> Code:
        text = f"{as_float(site.x)}.{self.function}({{q}}, {{axis}}{self.keep}"
        constants: dict[str, Leaf] = {"q": float_of(self.q), "axis": self.axis}
        if self.method != "linear":
            text, constants["method"] = text + ", interpolation={method}", self.method
        return Code(text + ")", constants=constants)


class Median(_AlongOne, spec_name="median"):
    """The median along an axis; of an even number of elements, the mean of the middle two."""

    function: ClassVar[str] = "quantile"
    halves = False

    def result(self, dtype: str) -> str:
        return to_float(dtype)

    def code(self, site: Site) -> Code:
        call = f"{as_float(site.x)}.{self.function}(0.5, {{axis}}{self.keep})"
        return Code(call, constants={"axis": self.axis})


class Percentile(Quantile, spec_name="percentile"):
    """The percentile `q` along an axis; `method` says how to interpolate."""

    q: Annotated[Finite, Field(ge=0, le=100)]
    """Percentage of the elements that are below: 50 is the median."""

    examples = (Example({"axis": 1, "q": 30}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        code = super().code(site)
        return Code(code.call, constants={**code.constants, "q": self.q / 100})


class Nanpercentile(Percentile, spec_name="nanpercentile"):
    """The percentile `q` along an axis, ignoring NaN."""

    function = "nanquantile"


class AverageOperation(Operation, spec_name="average"):
    """The weighted mean along an axis.

    `weights` has the shape of `x`, or is [batch, size] with one weight for each index of the axis.
    """

    flops_per_input = 2
    arguments = (Argument("x"), Argument("weights", required=False))

    axis: int | None = None

    examples = (Example({"axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        need_float(x, layer="`average`")
        if self.axis is None:
            raise without_axis(self.spec_name, x)
        axis = example_axis(self.spec_name, self.axis, x.rank)
        if weights is not None:
            need_float(weights, layer="`average`")
            alike = weights.rank == x.rank and weights.shape[1:] == x.shape[1:]
            along = weights.rank == 2 and weights.shape[1] == x.shape[axis]
            if not (alike or along) or stretch(x.shape[0], weights.shape[0]) != x.shape[0]:
                raise misfit(self.spec_name, (x, weights), 0, 1)
        return x.with_shape(*x.shape[:axis], *x.shape[axis + 1 :])

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        x, weights = (*roles, None)[:2]
        return None if weights is not None and streamed_axes(weights) else without(x, (self.axis or 0,))

    def code(self, site: Site) -> Code:
        assert self.axis is not None
        x, weights = (*site.inputs, None)[:2]
        constants: dict[str, Leaf] = {"axis": self.axis}
        if weights is None:
            return Code("{x}.mean({axis})", constants=constants)
        axis, held = self.axis % x.rank, "{weights}"
        if weights.rank < x.rank:
            held += f"[:{', None' * (axis - 1)}, :{', None' * (x.rank - axis - 1)}]"
        return Code(f"({{x}} * {held}).sum({{axis}}) / {held}.sum({{axis}})", constants=constants)


class Trapezoid(Operation, spec_name="trapezoid"):
    """The integral of `y` along an axis by the trapezoidal rule, with samples `dx` apart."""

    template = "torch.trapezoid({y}, dx={dx}, dim={axis})"
    optional = ("dx",)
    flops_per_input = 2
    arguments = (Argument("y"),)

    dx: Finite = 1.0
    """Distance between samples."""
    axis: int = -1

    def infer(self, y: Tensor) -> Tensor:
        need_float(y, layer="`trapezoid`")
        axis = example_axis(self.spec_name, self.axis, y.rank)
        return y.with_shape(*y.shape[:axis], *y.shape[axis + 1 :])
