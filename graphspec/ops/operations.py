"""Functions of keras.ops, element by element: what they share, and arithmetic with tensors and constants.

Two tensors meet as in keras.ops, their last axes aligned. (The merges align after the batch.)
"""

from __future__ import annotations

from typing import ClassVar, Literal

from graphspec.contract.broadcasting import promote, stretch, to_float
from graphspec.contract.fields import Constant
from graphspec.contract.layer import (
    Argument,
    Code,
    Example,
    Layer,
    LayerError,
    Leaf,
    Memory,
    Moved,
    Ref,
    Site,
)
from graphspec.contract.proposals import misfit
from graphspec.tensor import Dim, Tensor, product


class Operation(Layer, kind="op", abstract=True):
    """A function of keras.ops. Axes count the batch as 0."""

    def output_activation(self) -> str | None:
        return None


def need_numbers(name: str, *inputs: Tensor) -> None:
    """Refuses booleans, of which every framework makes other numbers."""
    for position, x in enumerate(inputs):
        if x.dtype == "bool":
            raise LayerError(
                "wrong-dtype",
                f"`{name}` takes numbers, and {{input{position}}} is {x}",
                help=f"make numbers of it: {{op: cast, from: {{input{position}}}, dtype: float32}}",
                inputs=(position,),
            )


def meet(name: str, a: Tensor, b: Tensor, spare: int = 0) -> tuple[Dim, ...]:
    """The shape in which two tensors meet, their last axes aligned; batches meet batches, or sizes of 1.

    The last `spare` axes of both take no part.
    """
    small, large = (0, 1) if a.rank < b.rank else (1, 0)
    few, many = (a, b) if small == 0 else (b, a)
    if few.rank < many.rank and few.shape[0] != 1:
        raise LayerError(
            "wrong-rank",
            f"`{name}` aligns last axes, so that the batch of {{input{small}}}, {few}, "
            f"would meet another axis of {{input{large}}}, {many}",
            help=f"give it axes of size 1: {{op: expand_dims, from: {{input{small}}}, axis: 1}}; "
            "merges align after the batch",
            inputs=(0, 1),
        )
    shape: list[Dim] = list(many.shape[: many.rank - spare])
    for back, size in enumerate(reversed(few.shape[: few.rank - spare]), 1):
        met = stretch(shape[-back], size)
        if met is None:
            raise misfit(name, (a, b), 0, 1)
        shape[-back] = met
    return tuple(shape)


class Binary(Operation, abstract=True):
    """A function of two tensors, or of a tensor and a constant; tensors fill what the constant leaves."""

    arguments = (Argument("x1", required=False), Argument("x2", required=False))
    template: ClassVar[str]  # of {0} and {1}
    floats: ClassVar[bool] = False  # integers give floats
    result: ClassVar[str] = ""  # the output's type, where it does not follow from the operands'
    divides: ClassVar[bool] = False  # the second operand may not be 0

    x1: Constant = None
    x2: Constant = None

    def operands(self, inputs: tuple[Tensor | None, ...]) -> list[tuple[str, Tensor | int | float]]:
        """Both operands, each with the hole that stands for it in a call."""
        tensors = [
            (argument.name, x) for argument, x in zip(self.arguments, inputs, strict=False) if x is not None
        ]
        constants = [c for c in (self.x1, self.x2) if c is not None]
        if not tensors or len(tensors) + len(constants) != 2:
            raise LayerError(
                "input-count",
                f"`{self.spec_name}` takes two operands, one of them a tensor, "
                f"and gets {len(tensors)} tensors and {len(constants)} constants",
                help=f"write from: [a, b], or a constant: {{op: {self.spec_name}, from: a, x2: 2}}",
            )
        if len(tensors) == 2:
            return list(tensors)
        if self.x1 is not None:
            return [("constant", self.x1), tensors[0]]
        return [tensors[0], ("constant", constants[0])]

    def infer(self, x1: Tensor | None, x2: Tensor | None = None) -> Tensor:
        operands = [value for _, value in self.operands((x1, x2))]
        tensors = [value for value in operands if isinstance(value, Tensor)]
        self.check(*tensors)
        dtype = promote(*(x.dtype for x in tensors))
        if self.floats or any(isinstance(value, float) for value in operands):
            dtype = to_float(dtype)
        if self.divides and self.x2 == 0:
            raise LayerError("out-of-range", f"`{self.spec_name}` by zero", argument="x2")
        shape = meet(self.spec_name, tensors[0], tensors[1]) if len(tensors) == 2 else tensors[0].shape
        return Tensor(shape, self.result or dtype)

    def check(self, *tensors: Tensor) -> None:
        """Refuses operands of types that the function does not take."""
        need_numbers(self.spec_name, *tensors)

    def memory(self, *inputs: Tensor | None) -> Memory:
        return "any" if len({x.rank for x in inputs if x is not None}) == 1 else "spec"

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        """The expression for two operands; `constant` is the position of the one that is no tensor."""
        return self.template.format(left, right)

    def code(self, site: Site) -> Code:
        operands = self.operands(site.inputs)
        names = [name for name, _ in operands]
        position = names.index("constant") if "constant" in names else None
        constants: dict[str, Leaf] = {}
        if position is not None:
            value = operands[position][1]
            assert not isinstance(value, Tensor)
            constants["constant"] = value
        left, right = (f"{{{name}}}" for name in names)
        return Code(self.text(left, right, position, site), constants=constants)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:])


NUMBERS = (Example({}, ((3, 4),)), Example({}, ((4,),), dtype="int32", high=9))
"""Examples of functions that take floats and integers."""

PAIRS = (Example({}, ((3, 4), (3, 4))), Example({}, ((3, 4), (3, 1))), Example({"x2": 0.5}, ((3, 4),)))


class Add(Binary, spec_name="add"):
    """`x1 + x2`."""

    template = "{} + {}"
    examples = (*PAIRS, Example({"x1": 3}, ((4,),)), Example({"x2": 2}, ((4,),), dtype="int32", high=9))


class Subtract(Binary, spec_name="subtract", also="sub"):
    """`x1 - x2`."""

    template = "{} - {}"
    examples = (*PAIRS, Example({"x1": 1.0}, ((4,),)))


class Multiply(Binary, spec_name="multiply", also="mul"):
    """`x1 * x2`."""

    template = "{} * {}"
    examples = (*PAIRS, Example({"x1": -2.5}, ((4,),)))


class Divide(Binary, spec_name="divide", also="div"):
    """`x1 / x2`; integers give floats."""

    template = "{} / {}"
    floats = True
    divides = True
    examples = (*PAIRS, Example({"x1": 1.0}, ((4,),)), Example({"x2": 2}, ((4,),), dtype="int32", high=9))


class TrueDivide(Divide, spec_name="true_divide"):
    """`x1 / x2`; integers give floats."""


class Mod(Binary, spec_name="mod", also="remainder"):
    """The rest of `x1 / x2`, with the sign of `x2`."""

    template = "{} % {}"
    divides = True
    examples = (*PAIRS, Example({"x1": 7}, ((4,),)), Example({"x2": 3}, ((4,),), dtype="int32", high=9))

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant == 0 and any(x is not None and x.is_float for x in site.inputs):
            left = f"torch.full_like({right}, {left})"  # PyTorch cannot differentiate `constant % tensor`
        return self.template.format(left, right)


class FloorDivide(Binary, spec_name="floor_divide"):
    """`x1 / x2`, rounded down; without a gradient."""

    template = "{} // {}"
    divides = True
    examples = (*PAIRS, Example({"x1": 7}, ((4,),)), Example({"x2": 3}, ((4,),), dtype="int32", high=9))

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if not site.outputs[0].is_float:
            return self.template.format(left, right)
        if constant == 0:
            left = f"torch.full_like({right}, {left})"
        return f'torch.div({left}, {right}, rounding_mode="floor")'  # `//` cannot be differentiated


class Power(Binary, spec_name="power", also="pow"):
    """`x1` to the power of `x2`."""

    template = "{} ** {}"
    examples = (
        Example({"x2": 2}, ((3, 4),)),
        Example({"x2": 3.0}, ((3, 4),)),
        Example({"x1": 2.0}, ((4,),)),
        Example({}, ((3,), (3,)), dtype="int32", high=3),
    )


class _Extreme(Binary, abstract=True):
    bound: ClassVar[str]  # the keyword of clamp

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant is None:
            return self.template.format(left, right)
        x, limit = (right, left) if constant == 0 else (left, right)
        return f"{x}.clamp({self.bound}={limit})"


class Maximum(_Extreme, spec_name="maximum"):
    """The larger of `x1` and `x2`."""

    template = "torch.maximum({}, {})"
    bound = "min"
    examples = (*PAIRS, Example({"x1": 0}, ((4,),)))


class Minimum(_Extreme, spec_name="minimum"):
    """The smaller of `x1` and `x2`."""

    template = "torch.minimum({}, {})"
    bound = "max"
    examples = (*PAIRS, Example({"x1": 0}, ((4,),)))


class DivideNoNan(Binary, spec_name="divide_no_nan"):
    """`x1 / x2`, and 0 where `x2` is 0; integers give floats."""

    floats = True
    divides = True
    examples = (*PAIRS, Example({"x1": 2.0}, ((4,),)), Example({}, ((4,), (4,)), dtype="int32", high=3))

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant == 1:
            return f"{left} / {right}"
        safe = f"torch.where({right} == 0, 1, {right})"  # what is not chosen has a gradient, too
        return f"torch.where({right} == 0, 0, {left} / {safe})"


class _OfFloats(Binary, abstract=True):
    """A function that PyTorch has for two tensors of floats only."""

    def check(self, *tensors: Tensor) -> None:
        for position, x in enumerate(tensors):
            if not x.is_float:
                raise LayerError(
                    "wrong-dtype",
                    f"`{self.spec_name}` takes floats, and {{input{position}}} is {x}",
                    help=f"make floats of it: {{op: cast, from: {{input{position}}}, dtype: float32}}",
                    inputs=(position,),
                )

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        if constant == 0:
            left = f"torch.full_like({right}, {left})"
        elif constant == 1:
            right = f"torch.full_like({left}, {right})"
        return self.template.format(left, right)


_FLOATS = (Example({}, ((3, 4), (3, 1))), Example({"x1": -1.5}, ((4,),)), Example({"x2": 2}, ((4,),)))


class Arctan2(_OfFloats, spec_name="arctan2", also="atan2"):
    """The angle of the point with height `x1` and width `x2`, from -pi to pi."""

    template = "torch.atan2({}, {})"
    examples = _FLOATS


class Hypot(_OfFloats, spec_name="hypot"):
    """`sqrt(x1**2 + x2**2)`."""

    template = "torch.hypot({}, {})"
    examples = _FLOATS


class Logaddexp(_OfFloats, spec_name="logaddexp"):
    """`log(exp(x1) + exp(x2))`."""

    template = "torch.logaddexp({}, {})"
    examples = _FLOATS


class Logaddexp2(_OfFloats, spec_name="logaddexp2"):
    """`log2(2**x1 + 2**x2)`."""

    template = "torch.logaddexp2({}, {})"
    examples = _FLOATS


class Fmod(_OfFloats, spec_name="fmod"):
    """The rest of `x1 / x2`, with the sign of `x1`."""

    template = "torch.fmod({}, {})"
    divides = True
    examples = _FLOATS


class Fmax(_OfFloats, spec_name="fmax"):
    """The larger of `x1` and `x2`, or the one that is not NaN."""

    template = "torch.fmax({}, {})"
    examples = _FLOATS


class Fmin(_OfFloats, spec_name="fmin"):
    """The smaller of `x1` and `x2`, or the one that is not NaN."""

    template = "torch.fmin({}, {})"
    examples = _FLOATS


class Unary(Operation, abstract=True):
    """A function of each element."""

    template: ClassVar[str] = "{x}"
    function: ClassVar[str] = "linear"  # one of Keras' activations
    floats: ClassVar[bool] = True  # integers give floats
    result: ClassVar[str] = ""  # the output's type, where it does not follow from the input's

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        return x.with_dtype(self.result or to_float(x.dtype)) if self.floats or self.result else x

    def memory(self, *inputs: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        return Code(self.template, activation=self.function)

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:])


DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


class Cast(Unary, spec_name="cast"):
    """The same numbers in another type."""

    dtype: Literal[DTYPES]  # type: ignore[valid-type]

    examples = (
        Example({"dtype": "float32"}, ((3, 4),), dtype="int64", high=9),
        Example({"dtype": "int32"}, ((3, 4),)),
        Example({"dtype": "bool"}, ((3, 4),), dtype="int32"),
    )

    def infer(self, x: Tensor) -> Tensor:
        return x.with_dtype(self.dtype)

    def moves(self, x: Tensor) -> tuple[Moved, ...]:
        return ("same",) if x.is_integer and self.infer(x).is_integer else ()

    def code(self, site: Site) -> Code:
        return Code("{x}.to({dtype})", constants={"dtype": Ref(f"torch.{self.dtype}")})
