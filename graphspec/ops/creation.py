"""Functions of keras.ops that create a tensor, from nothing or along an axis of another tensor.

Shapes leave out the batch axis. It has size 1, and broadcasts with the batch of other tensors.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from graphspec.contract.broadcasting import example_axis
from graphspec.contract.buffers import BUFFER, need_held
from graphspec.contract.fields import Finite, Positive, as_tuple
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, ModuleCall, Ref, Site
from graphspec.contract.stepping import StepPlaces
from graphspec.contract.streaming import Streaming
from graphspec.ops.operation import Operation, size_or_like
from graphspec.tensor import Dim, Tensor
from graphspec.traced import float_of

Sizes = Annotated[tuple[Positive, ...], BeforeValidator(as_tuple)]
Float = Literal["float32", "float64", "float16", "bfloat16"]
Number = Literal["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]
Dtype = Number | Literal["bool"]

FIRST = "nn.Buffer({module}[None], persistent=False)"
"""A buffer with a batch axis of 1 before the axes of what it holds."""


def typed(dtype: str, natural: str = "float32") -> tuple[Leaf, Leaf]:
    """The keyword `dtype` of a PyTorch function whose default type is `natural`."""
    return (None if dtype == natural else Ref(f"torch.{dtype}")), None


class _Filled(Operation, abstract=True):
    """A tensor filled with one number."""

    arguments = ()

    shape: Sizes
    dtype: Dtype = "float32"

    examples = (Example({"shape": [2, 3]}, ()),)

    def infer(self) -> Tensor:
        return Tensor((1, *self.shape), self.dtype)

    def code(self, site: Site) -> Code:
        sizes = {f"size{axis}": size for axis, size in enumerate((1, *self.shape))}
        return Code(
            "{self}",
            ModuleCall(f"torch.{self.spec_name}", sizes, {"dtype": typed(self.dtype)}, around=BUFFER),
        )


class ZerosOf(_Filled, spec_name="zeros"):
    """A tensor of zeros. `shape` leaves out the batch axis, which has size 1."""


class OnesOf(_Filled, spec_name="ones"):
    """A tensor of ones. `shape` leaves out the batch axis, which has size 1."""


class Full(Operation, spec_name="full"):
    """A tensor filled with `fill_value`. `shape` leaves out the batch axis, which has size 1."""

    arguments = ()

    shape: Sizes
    fill_value: int | Finite
    """Value of all elements."""
    dtype: Number = "float32"

    examples = (Example({"shape": [2, 3], "fill_value": 0.5}, ()),)

    def infer(self) -> Tensor:
        type = Tensor((1, *self.shape), self.dtype)
        if isinstance(self.fill_value, float) and not type.is_float:
            raise LayerError("wrong-dtype", f"`full` fills {type} with integers", argument="fill_value")
        need_held(self.dtype, [self.fill_value], "fill_value")
        return type

    def code(self, site: Site) -> Code:
        is_float = site.outputs[0].is_float
        values: dict[str, Leaf] = {
            "size": (1, *self.shape),
            "value": float_of(self.fill_value) if is_float else self.fill_value,
        }
        keywords = {"dtype": typed(self.dtype, "float32" if is_float else "int64")}
        return Code("{self}", ModuleCall("torch.full", values, keywords, around=BUFFER))


class EyeOf(Operation, spec_name="eye"):
    """A matrix with 1 on diagonal `k` and 0 elsewhere: `N` rows, and `M` columns (`N` by default)."""

    arguments = ()

    N: Positive
    """Number of rows."""
    M: Positive | None = None
    """Number of columns; by default that of the rows."""
    k: int = 0
    dtype: Number = "float32"

    examples = (Example({"N": 3}, ()),)

    def infer(self) -> Tensor:
        return Tensor((1, self.N, self.M or self.N), self.dtype)

    def code(self, site: Site) -> Code:
        sizes: dict[str, Leaf] = {"n": self.N, "m": self.M or self.N}
        if self.k == 0:
            sizes = {"n": self.N} if self.M in (None, self.N) else sizes
            return Code("{self}", ModuleCall("torch.eye", sizes, {"dtype": typed(self.dtype)}, around=FIRST))
        band = f"nn.Buffer({{module}}.triu({self.k}).tril({self.k})[None], persistent=False)"
        return Code("{self}", ModuleCall("torch.ones", sizes, {"dtype": typed(self.dtype)}, around=band))


class Linspace(Operation, spec_name="linspace"):
    """`num` evenly spaced numbers from `start` to `stop`; `endpoint` includes `stop`."""

    arguments = ()

    start: int | Finite
    stop: int | Finite
    """Last number."""
    num: Positive = 50
    """How many numbers there are."""
    endpoint: bool = True
    """Whether the last number is among them."""
    dtype: Float = "float32"

    examples = (Example({"start": 0, "stop": 1, "num": 5}, ()),)

    def infer(self) -> Tensor:
        need_held(self.dtype, [self.start], "start")
        need_held(self.dtype, [self.stop], "stop")
        return Tensor((1, self.num), self.dtype)

    def code(self, site: Site) -> Code:
        last = self.stop if self.endpoint else self.stop - (self.stop - self.start) / self.num
        values: dict[str, Leaf] = {"start": self.start, "stop": last, "num": self.num}
        return Code(
            "{self}", ModuleCall("torch.linspace", values, {"dtype": typed(self.dtype)}, around=FIRST)
        )


class Arange(Operation, spec_name="arange"):
    """The numbers 0, 1, 2 and so on: one per element of `x` along `axis`, or all below `stop`.

    They start at `start` and grow by `step`. The batch axis has size 1.
    """

    arguments = (Argument("x", required=False),)

    axis: int | None = None
    start: int | Finite = 0
    stop: int | Finite | None = None
    """End, exclusive."""
    step: int | Finite = 1
    dtype: Number = "int64"

    examples = (Example({"axis": 1}, ((3, 4),)),)

    @classmethod
    def reads_nothing(cls, names: Collection[str]) -> bool:
        return "stop" in names

    @classmethod
    def positional(cls, count: int) -> tuple[str, ...]:
        return ("stop",) if count == 1 else ("start", "stop", "step", "dtype")

    def infer(self, x: Tensor | None = None) -> Tensor:
        floats = [word for word in ("start", "stop", "step") if isinstance(getattr(self, word), float)]
        if floats and not self.dtype.startswith(("float", "bfloat")):
            message = f"`arange` of {self.dtype} takes integers"
            raise LayerError("wrong-dtype", message, help="write `dtype: float32`", argument=floats[0])
        if (self.stop if x is None else self.axis) is None:
            raise LayerError(
                "missing-key",
                "`arange` needs the axis of the tensor along which it counts, or `stop`",
                help="`axis: 1` counts along an axis of the tensor, `stop: 8` from 0 to 7",
                argument="axis",
            )
        for word in ("start", "stop", "step"):
            need_held(self.dtype, [getattr(self, word) or 0], word)
        if self.step == 0:
            raise LayerError("out-of-range", "the step of `arange` cannot be 0", argument="step")
        if x is not None:
            return Tensor((1, self._along(x)), self.dtype)
        if self._count() < 1:
            message = f"`arange` has no number from {self.start} to {self.stop}"
            raise LayerError("out-of-range", message, argument="stop")
        return Tensor((1, self._count()), self.dtype)

    def _along(self, x: Tensor) -> Dim:
        assert self.axis is not None
        if self.stop is not None:
            message = "`arange` along an axis stops where that does"
            raise LayerError("out-of-range", message, help="remove `stop`", argument="stop")
        return x.shape[example_axis(self.spec_name, self.axis, x.rank)]

    def _count(self) -> int:
        assert self.stop is not None
        count = -((self.start - self.stop) // self.step)
        return count if isinstance(count, int) else int(count)

    def numbers_below(self, x: Tensor | None = None) -> Dim | None:
        if isinstance(self.start, float) or isinstance(self.step, float) or self.dtype.startswith(("f", "b")):
            return None
        count = self._along(x) if x is not None else self._count()
        return self.start + 1 + (count - 1) * self.step if self.step > 0 else self.start + 1

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if self.axis is None or roles[0][self.axis] != "new":
            return None
        step = StepPlaces(axis=self.axis, start=self.start, step=self.step, dtype=self.dtype)
        return Streaming("place", ((None, "new"),), step=step)

    def code(self, site: Site) -> Code:
        floats = site.outputs[0].is_float
        natural = (
            "float32" if any(isinstance(v, float) for v in (self.start, self.stop, self.step)) else "int64"
        )
        if site.inputs[0] is None:
            values: dict[str, Leaf] = {"start": self.start, "stop": self.stop, "step": self.step}
            for word, default in (("step", 1), ("start", 0)):
                if (
                    type(values[word]) is int
                    and values[word] == default
                    and (word == "step" or "step" not in values)
                ):
                    del values[word]
            return Code(
                "{self}",
                ModuleCall("torch.arange", values, {"dtype": typed(self.dtype, natural)}, around=FIRST),
            )
        constants: dict[str, Leaf] = {"axis": self.axis}
        kind = ""
        if floats or self.dtype != "int64":
            kind, constants["dtype"] = ", dtype={dtype}", Ref(f"torch.{self.dtype}")
        text = f"torch.arange({{x}}.shape[{{axis}}]{kind}, device={{x}}.device)"
        if self.step != 1:
            text, constants["step"] = f"{text} * {{step}}", self.step
        if self.start != 0:
            text, constants["start"] = f"{text} + {{start}}", self.start
        return Code(
            f"({text})[None]" if " * " in text or " + " in text else f"{text}[None]", constants=constants
        )


class SequenceMask(Operation, spec_name="sequence_mask"):
    """A mask that keeps the first `lengths` steps of each example, out of `maxlen` or of the steps of `like`.

    The steps are a new last axis: `[batch]` gives `[batch, steps]`, the mask of a layer that takes one.
    """

    arguments = (Argument("lengths"), Argument("like", required=False))

    maxlen: Positive | None = None
    """How many positions there are."""

    examples = (Example({"maxlen": 5}, ((),), dtype="int64", high=7),)

    def infer(self, lengths: Tensor, like: Tensor | None = None) -> Tensor:
        if not lengths.is_integer:
            raise LayerError("wrong-dtype", f"`sequence_mask` takes integers and gets {lengths}", inputs=(0,))
        return Tensor((*lengths.shape, size_or_like(self, "maxlen", like, 1)), "bool")

    def code(self, site: Site) -> Code:
        steps = "{maxlen}" if self.maxlen is not None else "{like}.shape[1]"
        constants: dict[str, Leaf] = {} if self.maxlen is None else {"maxlen": self.maxlen}
        text = f"torch.arange({steps}, device={{lengths}}.device) < {{lengths}}[..., None]"
        return Code(text, constants=constants)
