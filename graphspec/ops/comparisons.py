"""Comparisons and logical functions of keras.ops."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.contract.arrays import Array, Nested, kind_of
from graphspec.contract.broadcasting import promote, shared_memory, to_float
from graphspec.contract.fields import Finite, Unbounded
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Memory, Ref, Site
from graphspec.contract.streaming import Streaming, elementwise
from graphspec.ops.operation import (
    BinaryOperation,
    Operation,
    UnaryOperation,
    beside,
    meet,
    numbers_buffer,
    row,
    table,
)
from graphspec.tensor import Tensor


class _Comparison(BinaryOperation, abstract=True):
    """A comparison of two tensors, or of a tensor and a constant; gives booleans."""

    result = "bool"
    examples = (Example({}, ((3, 4), (3, 1)), dtype="int32", high=3),)

    def check(self, *tensors: Tensor) -> None:
        pass


table(
    __name__,
    _Comparison,
    row("equal", "Whether `x1` and `x2` are equal.", "{} == {}", also="eq"),
    row("not_equal", "Whether `x1` and `x2` differ.", "{} != {}", also="ne"),
    row("greater", "Whether `x1` is more than `x2`.", "{} > {}", also="gt"),
    row("greater_equal", "Whether `x1` is at least `x2`.", "{} >= {}", also="ge"),
    row("less", "Whether `x1` is less than `x2`.", "{} < {}", also="lt"),
    row("less_equal", "Whether `x1` is at most `x2`.", "{} <= {}", also="le"),
)


class Isclose(_Comparison, spec_name="isclose"):
    """Whether `x1` and `x2` differ by at most `atol + rtol * abs(x2)`."""

    template = "torch.isclose({}, {}, {{rtol}}, {{atol}}, {{equal_nan}})"
    takes_numbers = False

    rtol: Annotated[Finite, Field(ge=0)] = 1e-5
    """Relative tolerance."""
    atol: Annotated[Finite, Field(ge=0)] = 1e-8
    """Absolute tolerance."""
    equal_nan: bool = False
    """Whether NaN equals NaN."""

    examples = (Example({"rtol": 0.5, "atol": 0.1}, ((3, 40), (3, 1))),)

    def check(self, *tensors: Tensor) -> None:
        dtypes = {x.dtype for x in tensors}
        if len(dtypes) > 1 or not tensors[0].is_float:
            raise LayerError(
                "wrong-dtype",
                "`isclose` takes floats of one type, and gets " + " and ".join(str(x) for x in tensors),
                inputs=tuple(range(len(tensors))),
            )

    def code(self, site: Site) -> Code:
        code = super().code(site)
        tolerances = {"rtol": self.rtol, "atol": self.atol, "equal_nan": self.equal_nan}
        return replace(code, constants={**code.constants, **tolerances})


class _Logic(Operation, abstract=True):
    """A logical function of booleans. A number counts as true unless it is 0."""

    flops_per_output = 1
    arguments = (Argument("x1"), Argument("x2"))
    template: ClassVar[str]
    examples = (Example({}, ((3, 4), (3, 4)), dtype="bool"),)

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        return Tensor(meet(self.spec_name, x1, x2), "bool")

    def memory(self, x1: Tensor, x2: Tensor) -> Memory:
        return shared_memory(x1, x2)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)

    def code(self, site: Site) -> Code:
        x1, x2 = (
            f"{{x{i}}}" + (".bool()" if x.dtype != "bool" else "") for i, x in enumerate(site.inputs, 1)
        )
        return Code(self.template.format(x1, x2))


table(
    __name__,
    _Logic,
    row("logical_and", "Whether both are true.", "{} & {}"),
    row("logical_or", "Whether at least one is true.", "{} | {}"),
    row("logical_xor", "Whether exactly one is true.", "{} ^ {}"),
)


class LogicalNot(UnaryOperation, spec_name="logical_not"):
    """Whether `x` is false; a number counts as false if it is 0."""

    examples = (Example({}, ((3, 4),), dtype="bool"),)

    def infer(self, x: Tensor) -> Tensor:
        return x.with_dtype("bool")

    def code(self, site: Site) -> Code:
        return Code("~{x}" if site.x.dtype == "bool" else "{x} == 0")


class Where(Operation, spec_name="where"):
    """`x1` where `condition` is true, else `x2`. Both are tensors or constants."""

    flops_per_output = 1
    arguments = (Argument("condition"), Argument("x1", required=False), Argument("x2", required=False))

    x1: int | Unbounded | Array | None = None
    x2: int | Unbounded | Array | None = None

    examples = (Example({}, ((3, 4), (3, 4), (3, 1)), dtypes=("bool", "float32", "float32")),)

    def operands(self, inputs: tuple[Tensor | None, ...]) -> list[tuple[str, Tensor | int | float]]:
        """The two choices, each with its placeholder in a call."""
        names = [argument.name for argument in self.arguments]
        tensors = [(name, x) for name, x in zip(names, inputs, strict=False) if x is not None][1:]
        others = [x for _, x in tensors]
        choices: list[tuple[str, Tensor | int | float]] = []
        for hole, word, constant in (("c1", "x1", self.x1), ("c2", "x2", self.x2)):
            if isinstance(constant, Nested):
                choices.append(("self", self._beside(word, constant, inputs[0], others)))
            elif constant is not None:
                choices.append((hole, constant))
            elif tensors:
                choices.append(tensors.pop(0))
        if len(choices) != 2 or tensors:
            raise LayerError(
                "input-count",
                "`where` takes a condition, and two tensors or constants to choose from",
                help="write {op: where, from: [condition, a, b]}, "
                "or with a number {op: where, from: [condition, a], x2: 0}",
            )
        return choices

    def _beside(self, word: str, array: Nested, condition: Tensor | None, others: list[Tensor]) -> Tensor:
        """The type of a list that is one of the choices: the type of the tensor that is the other choice."""
        if isinstance(self.x1, Nested) and isinstance(self.x2, Nested):
            help = "write the other as a node: {constant: [...]}"
            raise LayerError("input-count", "`where` takes one list of numbers", help=help, argument="x2")
        assert condition is not None
        number = self.x2 if word == "x1" else self.x1
        floats = isinstance(number, float) or kind_of(array) is float
        dtype = others[0].dtype if others else "float32" if floats else "int32"
        return beside(self.spec_name, word, array, condition.with_dtype(dtype))

    def infer(self, condition: Tensor, x1: Tensor | None = None, x2: Tensor | None = None) -> Tensor:
        choices = [value for _, value in self.operands((condition, x1, x2))]
        shape = condition
        for tensor in choices:
            if isinstance(tensor, Tensor):
                shape = Tensor(meet(self.spec_name, shape, tensor))
        return shape.with_dtype(self.dtype(choices))

    @staticmethod
    def dtype(branches: list[Tensor | int | float]) -> str:
        """The type of the output."""
        tensors = [x.dtype for x in branches if isinstance(x, Tensor)]
        if not tensors:
            return "float32" if any(isinstance(x, float) for x in branches) else "int32"
        dtype = promote(*tensors)
        if any(isinstance(x, float) for x in branches):
            return to_float(dtype)
        return "int32" if dtype == "bool" and len(tensors) < len(branches) else dtype

    def memory(self, *inputs: Tensor | None) -> Memory:
        if isinstance(self.x1, Nested) or isinstance(self.x2, Nested):
            return "spec"
        return shared_memory(*inputs)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)

    def code(self, site: Site) -> Code:
        choices = self.operands(site.inputs)
        constants: dict[str, Leaf] = {name: x for name, x in choices if not isinstance(x, Tensor)}
        condition = "{condition}" + ("" if site.x.dtype == "bool" else ".bool()")
        first, second = (f"{{{name}}}" for name, _ in choices)
        text = f"torch.where({condition}, {first}, {second})"
        numbers = all(not isinstance(x, Tensor) or x.dtype == "bool" for _, x in choices)
        if numbers and site.outputs[0].dtype == "int32":  # PyTorch promotes integers and booleans to int64
            text, constants["dtype"] = f"{text}.to({{dtype}})", Ref("torch.int32")
        array = self.x1 if isinstance(self.x1, Nested) else self.x2
        construct = numbers_buffer(array, dict(choices)["self"]) if isinstance(array, Nested) else None
        return Code(text, construct, constants)
