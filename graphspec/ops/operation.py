"""The base classes of the ops, and tables of those that are one PyTorch expression.

Two tensors broadcast as in keras.ops: their last axes are aligned. (The merges align after the batch.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from types import new_class
from typing import Any, ClassVar

from graphspec.contract.activations import ActivationFunction
from graphspec.contract.arrays import Nested, elements, shape_of
from graphspec.contract.broadcasting import promote, shared_memory, stretch, to_float
from graphspec.contract.buffers import buffer, met, need_held
from graphspec.contract.fields import Constant
from graphspec.contract.layer import (
    Argument,
    Code,
    Example,
    Layer,
    LayerError,
    Leaf,
    Memory,
    ModuleCall,
    Site,
)
from graphspec.contract.proposals import misfit
from graphspec.contract.streaming import Streaming, elementwise, frame
from graphspec.tensor import Dim, Tensor


class Operation(Layer, kind="op", abstract=True):
    """A function of keras.ops. Axes count the batch as 0."""

    examples: ClassVar[tuple[Example, ...]] = (Example({}, ((3, 4),)),)

    def output_activation(self) -> str | None:
        return None


def need_kind(name: str, kind: str, dtype: str, fits: Callable[[Tensor], bool], *inputs: Tensor) -> None:
    """Refuses inputs that are not of a `kind` of numbers, into which a cast to `dtype` turns them."""
    for position, x in enumerate(inputs):
        if not fits(x):
            message = f"`{name}` takes {kind}, and {{input{position}}} is {x}"
            help = f"make {kind} of it: {{op: cast, from: {{input{position}}}, dtype: {dtype}}}"
            raise LayerError("wrong-dtype", message, help=help, inputs=(position,))


def need_numbers(name: str, *inputs: Tensor) -> None:
    """Refuses booleans, whose result would depend on the framework."""
    need_kind(name, "numbers", "float32", lambda x: x.dtype != "bool", *inputs)


def size_or_like(op: Operation, argument: str, like: Tensor | None, position: int) -> Dim:
    """A size that a number gives, or axis 1 of the tensor `like`, the input at this position."""
    size: int | None = getattr(op, argument)
    if (like is None) == (size is None):
        both = "" if like is None else ", not both"
        raise LayerError(
            "missing-key" if like is None else "input-count",
            f"`{op.spec_name}` takes `{argument}`, or a tensor that is as long{both}",
            help=f"write `like: node`, or `{argument}: {size or 100}`",
            argument=argument,
        )
    if like is None:
        assert size is not None
        return size
    if like.rank < 2:
        message = f"`{op.spec_name}` takes the size of axis 1, and {{input{position}}} is {like}"
        raise LayerError("wrong-rank", message, inputs=(position,))
    return like.shape[1]


def _lacking(few: Tensor, many: Tensor) -> int | list[int]:
    """The axes of size 1 with which `few` fits `many`: the first, where none fits better."""
    places = combinations(range(1, many.rank), many.rank - few.rank)
    first = next(places)
    for axes in (first, *places):
        sizes = iter(few.shape)
        aligned = [1 if axis in axes else next(sizes) for axis in range(many.rank)]
        if all(stretch(size, other) is not None for size, other in zip(aligned, many.shape, strict=True)):
            return axes[0] if len(axes) == 1 else [*axes]
    return first[0] if len(first) == 1 else [*first]


def meet(name: str, a: Tensor, b: Tensor, spare: int = 0) -> tuple[Dim, ...]:
    """The shape that two tensors broadcast to, their last axes aligned; a batch meets a batch, or size 1.

    The last `spare` axes of both are left out.
    """
    small, large = (0, 1) if a.rank < b.rank else (1, 0)
    few, many = (a, b) if small == 0 else (b, a)
    if few.rank < many.rank and few.shape[0] != 1:
        expand_dims = f"{{op: expand_dims, from: {{input{small}}}, axis: {_lacking(few, many)}}}"
        raise LayerError(
            "wrong-rank",
            f"`{name}` aligns last axes, so that the batch of {{input{small}}}, {few}, "
            f"would meet another axis of {{input{large}}}, {many}",
            help=f"give it axes of size 1: {expand_dims}; merges align after the batch",
            inputs=(0, 1),
        )
    shape: list[Dim] = list(many.shape[: many.rank - spare])
    for back, size in enumerate(reversed(few.shape[: few.rank - spare]), 1):
        met = stretch(shape[-back], size)
        if met is None:
            raise misfit(name, (a, b), 0, 1)
        shape[-back] = met
    return tuple(shape)


def beside(name: str, argument: str, value: Nested, other: Tensor) -> Tensor:
    """The type of a list of numbers in place of a tensor next to another. It has at most as many axes."""
    array = met(value, other)
    sizes = zip(reversed(array.shape[1:]), reversed(other.shape[1:]), strict=False)
    if array.rank > other.rank or any(stretch(a, b) is None for a, b in sizes):
        raise LayerError(
            "shapes-differ",
            f"`{name}` aligns last axes, and a list of shape {list(shape_of(value))} does not fit {other}",
            help="write a number for each element of the last axis, or {constant: ...} as a node of its own",
            argument=argument,
        )
    need_held(array.dtype, elements(value), argument)
    return array


def numbers_buffer(value: Nested, type: Tensor | int | float) -> ModuleCall:
    """The buffer that holds a list of numbers of this type."""
    assert isinstance(type, Tensor)
    return buffer(value, type.dtype)


class BinaryOperation(Operation, abstract=True):
    """A function of two tensors, or of a tensor and a constant: a number or a list of numbers.

    Tensors take the places that the constant leaves, in order.
    """

    flops_per_output = 1
    arguments = (Argument("x1", required=False), Argument("x2", required=False))
    floats: ClassVar[bool] = False  # integers give floats
    result: ClassVar[str] = ""  # the output's type, where the operands' types do not determine it
    takes_numbers: ClassVar[bool] = True  # in the place of a tensor

    x1: Constant = None
    x2: Constant = None

    def operands(self, inputs: tuple[Tensor | None, ...]) -> list[tuple[str, Tensor | int | float]]:
        """Both operands, each with its placeholder in a call."""
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
        word, value = ("x1", self.x1) if self.x1 is not None else ("x2", constants[0])
        constant: tuple[str, Tensor | int | float]
        if isinstance(value, Nested):
            constant = ("self", beside(self.spec_name, word, value, tensors[0][1]))
        else:
            constant = ("constant", value)
        return [constant, tensors[0]] if word == "x1" else [tensors[0], constant]

    def infer(self, x1: Tensor | None, x2: Tensor | None = None) -> Tensor:
        operands = [value for _, value in self.operands((x1, x2))]
        tensors = [value for value in operands if isinstance(value, Tensor)]
        self.check(*tensors)
        dtype = promote(*(x.dtype for x in tensors))
        if self.floats or any(isinstance(value, float) for value in operands):
            dtype = to_float(dtype)
        if self.divides and self.x2 is not None and 0 in elements(self.x2):
            raise LayerError("out-of-range", f"`{self.spec_name}` by zero", argument="x2")
        shape = meet(self.spec_name, tensors[0], tensors[1]) if len(tensors) == 2 else tensors[0].shape
        return Tensor(shape, self.result or dtype)

    def check(self, *tensors: Tensor) -> None:
        """Refuses operands of types that the function does not support."""
        need_numbers(self.spec_name, *tensors)

    def memory(self, *inputs: Tensor | None) -> Memory:
        if isinstance(self.x1, Nested) or isinstance(self.x2, Nested):
            return "spec"
        return shared_memory(*inputs)

    def text(self, left: str, right: str, constant: int | None, site: Site) -> str:
        """The expression for two operands; `constant` is the position of the one that is not a tensor."""
        return self.template.format(left, right)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)

    def code(self, site: Site) -> Code:
        operands = self.operands(site.inputs)
        names = [name for name, _ in operands]
        position = names.index("constant") if "constant" in names else None
        constants: dict[str, Leaf] = {}
        if position is not None:
            constant = operands[position][1]
            assert not isinstance(constant, Tensor)
            constants["constant"] = constant
        left, right = (f"{{{name}}}" for name in names)
        if not self.takes_numbers and position is not None:
            full = f"torch.full_like({right if position == 0 else left}, {{constant}})"
            left, right = (full, right) if position == 0 else (left, full)
        array = self.x1 if isinstance(self.x1, Nested) else self.x2
        construct = numbers_buffer(array, dict(operands)["self"]) if isinstance(array, Nested) else None
        return Code(self.text(left, right, position, site), construct, constants)


class UnaryOperation(Operation, abstract=True):
    """An elementwise function of one tensor."""

    memory_layout = "any"
    flops_per_input = 1
    template = "{x}"
    function: ClassVar[str] = "linear"  # one of Keras' activations
    floats: ClassVar[bool] = True  # integers give floats
    result: ClassVar[str] = ""  # the output's type, where the input's type does not determine it

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        return x.with_dtype(self.result or to_float(x.dtype)) if self.floats or self.result else x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])

    def code(self, site: Site) -> Code:
        return replace(super().code(site), activation=ActivationFunction.parse(self.function))


@dataclass(frozen=True, slots=True)
class OpRow:
    """A table row: a base class, with these class attributes."""

    name: str
    doc: str
    also: str
    attributes: dict[str, Any]


def row(name: str, doc: str, template: str | None = None, *, also: str = "", **attributes: Any) -> OpRow:
    """A row of a table: an op's name, description and PyTorch expression."""
    return OpRow(name, doc, also, attributes if template is None else {"template": template, **attributes})


def table(module: str, base: type[Operation], *rows: OpRow) -> None:
    """Creates an op for each row: a class in `module` that inherits `base`."""
    for row in rows:
        name = "".join(part.capitalize() for part in row.name.split("_"))
        body = {"__doc__": row.doc, "__module__": module, **row.attributes}
        new_class(name, (base,), {"spec_name": row.name, "also": row.also}, lambda space: space.update(body))  # noqa: B023
