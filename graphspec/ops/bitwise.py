"""Functions of keras.ops on integers: bitwise operations and divisors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.contract.arrays import elements
from graphspec.contract.broadcasting import promote, shared_memory
from graphspec.contract.input_checks import need_in_range
from graphspec.contract.layer import Argument, Code, Example, LayerError, Memory, Site
from graphspec.contract.streaming import Streaming, elementwise
from graphspec.ops.operation import BinaryOperation, Operation, UnaryOperation, meet, need_kind, row, table
from graphspec.tensor import Tensor


def _need_integers(name: str, *inputs: Tensor, booleans: bool = False) -> None:
    """Refuses floats, and booleans unless `booleans` allows them."""
    kinds = ("bool",) if booleans else ()
    need_kind(name, "integers", "int32", lambda x: x.is_integer or x.dtype in kinds, *inputs)


class _Bits(Operation, abstract=True):
    """A function of the bits of two integers; the second is a tensor or a constant."""

    flops_per_output = 1
    arguments = (Argument("x"), Argument("y", required=False))
    template: ClassVar[str]
    booleans: ClassVar[bool] = True

    y: int | None = None
    """A number that replaces the second tensor."""

    examples = (Example({}, ((3, 4), (3, 1)), dtype="int32", high=99),)

    def infer(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if (y is None) == (self.y is None):
            raise LayerError(
                "input-count",
                f"`{self.spec_name}` takes a tensor, and another or a constant",
                help=f"write from: [a, b], or {{op: {self.spec_name}, from: a, y: 1}}",
            )
        tensors = (x,) if y is None else (x, y)
        _need_integers(self.spec_name, *tensors, booleans=self.booleans and y is not None)
        if y is not None:
            return Tensor(meet(self.spec_name, x, y), promote(x.dtype, y.dtype))
        assert self.y is not None
        need_in_range(x.dtype, (self.y,), layer=f"`{self.spec_name}`", argument="y")
        return x

    def memory(self, x: Tensor, y: Tensor | None = None) -> Memory:
        return shared_memory(x, y)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)

    def code(self, site: Site) -> Code:
        if self.y is None:
            return Code(self.template.format("{x}", "{y}"))
        return Code(self.template.format("{x}", "{constant}"), constants={"constant": self.y})


table(
    __name__,
    _Bits,
    row("bitwise_and", "The bits that are set in both; for booleans, logical and.", "{} & {}"),
    row("bitwise_or", "The bits that are set in at least one; for booleans, logical or.", "{} | {}"),
    row(
        "bitwise_xor", "The bits that are set in exactly one; for booleans, logical exclusive or.", "{} ^ {}"
    ),
)


class _Shift(_Bits, abstract=True):
    """A bit shift by `y` places; `y` is not negative."""

    booleans = False

    y: Annotated[int, Field(ge=0, le=63)] | None = None

    examples = (Example({}, ((3, 4), (3, 1)), dtype="int32", high=9),)


table(
    __name__,
    _Shift,
    row("bitwise_left_shift", "`x` times 2 to the power of `y`: bits moved to the left.", "{} << {}"),
    row("left_shift", "`x` times 2 to the power of `y`: bits moved to the left.", "{} << {}"),
    row(
        "bitwise_right_shift",
        "`x` divided by 2 to the power of `y`, rounded down: bits moved to the right.",
        "{} >> {}",
    ),
    row(
        "right_shift",
        "`x` divided by 2 to the power of `y`, rounded down: bits moved to the right.",
        "{} >> {}",
    ),
)


class _Inversion(UnaryOperation, abstract=True):
    """The bits that are not set in `x`."""

    template = "~{x}"
    examples = (Example({}, ((3, 4),), dtype="int32", high=99),)

    def infer(self, x: Tensor) -> Tensor:
        _need_integers(self.spec_name, x, booleans=True)
        return x


table(
    __name__,
    _Inversion,
    row("bitwise_invert", "The bits that are not set in `x`; for booleans, logical not."),
    row("bitwise_not", "The bits that are not set in `x`; for booleans, logical not."),
)


class _Divisors(BinaryOperation, abstract=True):
    """A common divisor or multiple of two integers."""

    takes_numbers = False
    examples = (Example({}, ((3, 4), (3, 1)), dtype="int32", high=99),)

    def check(self, *tensors: Tensor) -> None:
        _need_integers(self.spec_name, *tensors)
        for argument, constant in (("x1", self.x1), ("x2", self.x2)):
            numbers = tuple(elements(constant)) if constant is not None else ()
            if any(isinstance(number, float) for number in numbers):
                message = f"`{self.spec_name}` takes integers"
                raise LayerError("out-of-range", message, argument=argument)
            need_in_range(tensors[0].dtype, numbers, layer=f"`{self.spec_name}`", argument=argument)


table(
    __name__,
    _Divisors,
    row("gcd", "The greatest common divisor of integers.", "torch.gcd({}, {})"),
    row("lcm", "The least common multiple of integers.", "torch.lcm({}, {})"),
)
