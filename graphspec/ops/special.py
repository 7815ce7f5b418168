"""Functions of keras.ops of each element that physics and statistics use."""

from __future__ import annotations

from graphspec.contract.broadcasting import promote, to_float
from graphspec.contract.fields import Constant
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Memory, Ref, Site
from graphspec.ops.operations import NUMBERS, Operation, Unary, meet, need_numbers
from graphspec.tensor import Dim, Tensor, product


class I0(Unary, spec_name="i0"):
    """The modified Bessel function of the first kind, of order 0."""

    template = "torch.i0({x})"
    examples = NUMBERS


class Heaviside(Operation, spec_name="heaviside"):
    """0 where `x1` is negative, 1 where it is positive, `x2`, a tensor or a constant, where it is 0."""

    arguments = (Argument("x1"), Argument("x2", required=False))

    x2: Constant = None

    examples = (
        Example({}, ((3, 4), (3, 1)), dtypes=("float32", "float32")),
        Example({}, ((3, 4), (3, 1)), dtype="int32", high=3),
        Example({"x2": 0.5}, ((4,),), dtype="int32", high=3),
        Example({"x2": 1}, ((4,),)),
    )

    def infer(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        if (x2 is None) == (self.x2 is None):
            raise LayerError(
                "input-count",
                "`heaviside` takes a tensor, and another or a constant",
                help="write from: [a, b], or {op: heaviside, from: a, x2: 0.5}",
            )
        if x2 is None:
            need_numbers(self.spec_name, x1)
            return x1.with_dtype(to_float(x1.dtype))
        need_numbers(self.spec_name, x1, x2)
        return Tensor(meet(self.spec_name, x1, x2), to_float(promote(x1.dtype, x2.dtype)))

    def memory(self, x1: Tensor, x2: Tensor | None = None) -> Memory:
        return "any" if x2 is None or x1.rank == x2.rank else "spec"

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"dtype": Ref(f"torch.{site.outputs[0].dtype}")}
        middle = "{x2}"
        if self.x2 is not None:
            middle, constants["constant"] = "{constant}", self.x2
        # torch.heaviside cannot be differentiated
        text = f"torch.where({{x1}} == 0, {middle}, ({{x1}} > 0).to({{dtype}}))"
        return Code(text, constants=constants)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:])


class Ldexp(Operation, spec_name="ldexp"):
    """Floats `x1` times 2 to the power of integers `x2`."""

    arguments = (Argument("x1"), Argument("x2"))
    examples = (
        Example({}, ((3, 4), (3, 4)), dtypes=("float32", "int32"), high=9),
        Example({}, ((3, 4), (3, 1)), dtypes=("float32", "int64"), high=9),
    )

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        for position, x in enumerate((x1, x2)):
            if x.is_float != (position == 0) or x.dtype == "bool":
                message = f"`ldexp` takes floats and integers, and gets {x1} and {x2}"
                raise LayerError("wrong-dtype", message, inputs=(position,))
        return Tensor(meet(self.spec_name, x1, x2), x1.dtype)

    def memory(self, x1: Tensor, x2: Tensor) -> Memory:
        return "any" if x1.rank == x2.rank else "spec"

    def code(self, site: Site) -> Code:
        return Code("torch.ldexp({x1}, {x2})")

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * 2
