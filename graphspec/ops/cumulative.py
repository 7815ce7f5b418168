"""Cumulative functions of keras.ops along an axis, which streams go on from their last value."""

from __future__ import annotations

from typing import Any

from graphspec.contract.broadcasting import example_axis, without_axis
from graphspec.contract.fields import NumberType
from graphspec.contract.layer import Argument, Code, Example, Leaf, Ref, Site
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import StepState, Streaming, frame
from graphspec.ops.operation import Operation, need_numbers
from graphspec.ops.reductions import Method, accumulated
from graphspec.tensor import Tensor


class _Running(Method, abstract=True):
    """A cumulative function along an axis."""

    axis: int | None = None
    dtype: NumberType | None = None

    examples = (Example({"axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        if self.axis is None:
            raise without_axis(self.spec_name, x)
        example_axis(self.spec_name, self.axis, x.rank)
        if self.dtype is not None:
            return x.with_dtype(self.dtype)
        return x.with_dtype(accumulated(x.dtype))

    def is_cast(self, x: Tensor) -> bool:
        return self.dtype is not None or (not x.is_float and x.dtype != "int64")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        assert self.axis is not None
        if roles[0][self.axis] != "new":
            return frame(roles[0])
        axis = self.axis % site.x.rank
        sizes = [1 if place == axis else size for place, size in enumerate(site.outputs[0].shape)][1:]
        state = StepState(self.method, tuple(sizes), site.outputs[0].dtype)
        return Streaming("state", (roles[0],), step=StepRunning(of=self), states=(state,))


class Cumsum(_Running, spec_name="cumsum"):
    """The cumulative sum along an axis."""

    method = "cumsum"


class Cumprod(_Running, spec_name="cumprod"):
    """The cumulative product along an axis."""

    method = "cumprod"


class StepRunning(Operation, abstract=True, spec_name="running"):
    """A cumulative function that goes on from its last value."""

    arguments = (Argument("x"), PLACES, Argument("last"))

    of: _Running

    def infer(self, x: Tensor, places: Tensor, last: Tensor) -> Tensor:
        return self.of.infer(x)

    def code(self, site: Site) -> Code:
        product = ", True" if self.of.method.endswith("prod") else ""
        x = "{x}" if site.x.dtype == site.outputs[0].dtype else "{x}.to({dtype})"
        constants: dict[str, Leaf] = {"axis": self.of.axis, "dtype": Ref(f"torch.{site.outputs[0].dtype}")}
        return Code(f"running({x}, {{axis}}, {{last}}, {{places}}{product})", constants=constants)
