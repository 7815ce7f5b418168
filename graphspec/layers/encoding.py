"""Integers as one-hot, multi-hot and count vectors, and numbers as bin indices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, Layer, LayerError, ModuleCall, Site, Weight
from graphspec.contract.learned import Learned, Quantiles
from graphspec.tensor import Tensor


def single(x: Tensor) -> bool:
    """Whether the last axis has size 1, so that the vector replaces it."""
    return x.rank > 1 and x.shape[-1] == 1


def encoding(name: str, x: Tensor, mode: str, num_tokens: int) -> Tensor:
    """The type of integers encoded as vectors of `num_tokens` floats."""
    if mode == "one_hot":
        return Tensor((*(x.shape[:-1] if single(x) else x.shape), num_tokens))
    if x.rank != 2:
        raise LayerError(
            "wrong-rank",
            f"{name} with `{mode}` takes `[batch, length]`, and gets {x}",
            help="`output_mode: one_hot` makes a vector of each integer",
            inputs=(0,),
        )
    return Tensor((x.shape[0], num_tokens))


def encoded(x: str, mode: str, alone: bool) -> str:
    """The expression that encodes int64 integers `x` as vectors of `{num_tokens}` floats.

    `alone` says that the last axis has size 1, so that the vector replaces it.
    """
    if mode == "one_hot":
        return f"one_hot({x}{'.squeeze(-1)' if alone else ''}, {{num_tokens}})"
    name = "multi_hot" if mode == "multi_hot" else "count_classes"
    return f"{name}({x}, {{num_tokens}})"


class CategoryEncoding(Layer, also="OneHot"):
    """Encodes integers below `num_tokens` as vectors of `num_tokens` floats.

    `one_hot` makes one vector of each integer. `multi_hot` and `count` make one of all integers of an
    example: 1 for each integer in it, or how often it occurs, weighted by the tensor `count_weights` if
    given. In `one_hot` the vector replaces a last axis of size 1.
    """

    arguments = (Argument("x"), Argument("count_weights", required=False))

    num_tokens: Positive
    """How many different integers there may be."""
    output_mode: Literal["multi_hot", "one_hot", "count"] = "multi_hot"

    examples = (Example({"num_tokens": 6}, ((4,),), dtype="int64", high=6),)

    def infer(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is not None:
            if self.output_mode != "count":
                message = "`count_weights` of CategoryEncoding weigh what `output_mode: count` counts"
                raise LayerError("input-count", message, argument="output_mode", inputs=(1,))
            if weights.shape != x.shape or not weights.is_float:
                message = f"`count_weights` are floats of the shape of {x}, and not {weights}"
                raise LayerError("shapes-differ", message, inputs=(1,))
        if not x.is_integer:
            raise LayerError(
                "wrong-dtype",
                f"CategoryEncoding takes integers and gets {x}",
                help="write `dtype: int64` on the input",
                inputs=(0,),
            )
        return encoding(self.spec_name, x, self.output_mode, self.num_tokens)

    def code(self, site: Site) -> Code:
        constants = {"num_tokens": self.num_tokens}
        wide = "" if site.x.dtype == "int64" else ".long()"
        if len(site.inputs) > 1 and site.inputs[1] is not None:
            text = f"count_classes({{x}}{wide}, {{num_tokens}}, {{count_weights}})"
            return Code(text, constants=constants)
        text = encoded(f"{{x}}{wide}", self.output_mode, single(site.x))
        return Code(text, constants=constants)

    def limit(self) -> int | None:
        return self.num_tokens


class Discretization(Layer):
    """The index of the bin of a number, by `bin_boundaries`; bin 0 is below the first boundary.

    With `num_bins` the boundaries are quantiles of the training data, found before the first step; `epsilon`
    is the share of numbers that a bin may be off. The index is int64, or encoded as `CategoryEncoding` does.
    """

    bin_boundaries: Annotated[tuple[float, ...], BeforeValidator(as_tuple), Field(min_length=1)] | None = None
    """Numbers between the bins, in rising order."""
    num_bins: Annotated[int, Field(ge=2)] | None = None
    """Number of bins; training data tell their boundaries."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of numbers that a bin may be off."""
    output_mode: Literal["int", "one_hot", "multi_hot", "count"] = "int"

    examples = (Example({"bin_boundaries": [-1, 0.25, 1]}, ((3, 4),)),)

    @property
    def bins(self) -> int:
        """The number of bins."""
        if self.bin_boundaries is None:
            assert self.num_bins is not None
            return self.num_bins
        return len(self.bin_boundaries) + 1

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="Discretization")
        self._need_one()
        boundaries = self.bin_boundaries or ()
        if list(boundaries) != sorted(set(boundaries)):
            message = f"`bin_boundaries` must rise, unlike {list(boundaries[:10])}"
            raise LayerError("out-of-range", message, argument="bin_boundaries")
        if self.output_mode == "int":
            return x.with_dtype("int64")
        return encoding(self.spec_name, x, self.output_mode, self.bins)

    def _need_one(self) -> None:
        """Raises `LayerError` unless either boundaries are given or their number."""
        if self.bin_boundaries is None and self.num_bins is None:
            message = "Discretization needs `bin_boundaries`, or `num_bins` to find them in the training data"
            raise LayerError("missing-key", message, help="write `num_bins: 10`")
        if self.bin_boundaries is not None and self.num_bins is not None:
            message = "Discretization takes `bin_boundaries` or `num_bins`, not both"
            raise LayerError("out-of-range", message, help="leave one of them out", argument="num_bins")
        if self.num_bins is not None and self.epsilon * self.num_bins > 1:
            message = f"{self.num_bins} bins need an `epsilon` of {1 / self.num_bins:.2g} or less"
            raise LayerError("out-of-range", message, argument="epsilon")

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        if self.bin_boundaries is not None:
            return ()
        return (Weight("boundaries", (self.bins - 1,), "bin_boundaries", trainable=False),)

    def learned(self, x: Tensor) -> Learned | None:
        return None if self.bin_boundaries is not None else Quantiles("boundaries", self.bins, self.epsilon)

    def code(self, site: Site) -> Code:
        if self.bin_boundaries is None:
            construct = ModuleCall("QuantileBins", {"num_bins": self.bins})
        else:
            boundaries = tuple(float(boundary) for boundary in self.bin_boundaries)
            construct = ModuleCall("Discretization", {"bin_boundaries": boundaries})
        if self.output_mode == "int":
            return Code("{self}({x})", construct)
        text = encoded("{self}({x})", self.output_mode, single(site.x))
        return Code(text, construct, constants={"num_tokens": self.bins})
