"""Functions of keras.ops of numbers on a grid: turned, integrated, seen through windows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from graphspec.contract.broadcasting import example_axis
from graphspec.contract.fields import Finite, Positive, as_tuple
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product


class Rot90(Operation, spec_name="rot90"):
    """Turned by `k` quarters, from the first of two axes towards the second."""

    k: int = 1
    axes: Annotated[tuple[int, int], BeforeValidator(as_tuple)]

    examples = (
        Example({"axes": [1, 2]}, ((3, 4),)),
        Example({"axes": [-1, 1], "k": -2}, ((3, 4, 2),), dtype="int32"),
        Example({"axes": [1, 3], "k": 3}, ((3, 4, 2),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        a, b = (example_axis(self.spec_name, axis, x.rank, "axes") for axis in self.axes)
        if a == b:
            raise LayerError("out-of-range", f"`rot90` needs two axes, and both are {a}", argument="axes")
        shape = list(x.shape)
        if self.k % 2:
            shape[a], shape[b] = shape[b], shape[a]
        return x.with_shape(*shape)

    def code(self, site: Site) -> Code:
        return Code("{x}.rot90({k}, {axes})", constants={"k": self.k, "axes": self.axes})


class Trapezoid(Operation, spec_name="trapezoid"):
    """The integral of `y` along an axis, whose values stand `dx` apart."""

    arguments = (Argument("y"),)

    dx: Finite = 1.0
    axis: int = -1

    examples = (Example({}, ((3, 4),)), Example({"dx": 0.5, "axis": 1}, ((3, 4),)))

    def infer(self, y: Tensor) -> Tensor:
        need_float(y, layer="`trapezoid`")
        axis = example_axis(self.spec_name, self.axis, y.rank)
        return y.with_shape(*y.shape[:axis], *y.shape[axis + 1 :])

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"axis": self.axis}
        spacing = ""
        if self.dx != 1:
            spacing, constants["dx"] = "dx={dx}, ", self.dx
        return Code(f"torch.trapezoid({{y}}, {spacing}dim={{axis}})", constants=constants)

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * 2


class ExtractSequences(Operation, spec_name="extract_sequences"):
    """Windows of `sequence_length`, every `sequence_stride` along the last axis, on an axis before it."""

    sequence_length: Positive
    sequence_stride: Positive

    examples = (
        Example({"sequence_length": 4, "sequence_stride": 2}, ((11,),)),
        Example({"sequence_length": 2, "sequence_stride": 3}, ((3, 8),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        if x.rank < 2:
            message = f"`extract_sequences` takes `[batch, ..., steps]`, and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        steps = x.shape[-1]
        if isinstance(steps, int) and steps < self.sequence_length:
            message = f"the last axis of {x} has {steps} steps, fewer than `sequence_length`"
            raise LayerError("window-too-large", message, argument="sequence_length", inputs=(0,))
        count = (steps - self.sequence_length) // self.sequence_stride + 1
        return x.with_shape(*x.shape[:-1], count, self.sequence_length)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"length": self.sequence_length, "stride": self.sequence_stride}
        return Code("{x}.unfold(-1, {length}, {stride})", constants=constants)
