"""Activations as layers: by name, with arguments, with weights."""

from __future__ import annotations

import math
from typing import Any

from graphspec.contract.activation_types import activated
from graphspec.contract.activations import (
    LINEAR,
    RELU,
    ActivationFunction,
    NotNegative,
    SoftmaxFunction,
    rectified,
)
from graphspec.contract.axes import Axes
from graphspec.contract.broadcasting import example_axes, stretch
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import (
    Argument,
    Code,
    Example,
    Layer,
    LayerError,
    Memory,
    ModuleCall,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.streaming import Streaming, ahead, apart_from, elementwise, frame
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of


def need_stretching(mask: Tensor, x: Tensor) -> None:
    """Refuses a mask that does not broadcast to `x`, axis by axis."""
    if mask.dtype != "bool":
        raise LayerError("wrong-dtype", f"a mask is boolean, and {{input1}} is {mask}", inputs=(1,))
    if mask.rank != x.rank or any(stretch(a, b) != b for a, b in zip(mask.shape, x.shape, strict=True)):
        message = f"the mask {{input1}}, {mask}, does not broadcast to {{input0}}, {x}"
        help = "a mask has the number of axes of the tensor that it masks, each equal or of size 1"
        raise LayerError("shapes-differ", message, help=help, inputs=(0, 1))


class Activation(Layer):
    """Applies an activation function to each element (softmax and similar functions: along the last axis)."""

    memory_layout = "any"
    supports_masking = True

    activation: ActivationFunction

    examples = (Example({"activation": "celu"}, ((4, 6),)),)

    def infer(self, x: Tensor) -> Tensor:
        if self.activation not in (LINEAR, RELU):
            need_float(x, layer=f"`{self.activation.word}`")
        return activated(x, self.activation)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], self.activation.axes, unless="low")

    def code(self, site: Site) -> Code:
        return Code("{x}", activation=self.activation.with_axis(site.axis))

    def flops(self, site: Site) -> Dim:
        return 0 if self.activation == LINEAR else product(site.x.shape[1:])


class _Elementwise(Layer, abstract=True):
    """The base of elementwise activations."""

    memory_layout = "any"
    flops_per_input = 1
    supports_masking = True

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=self.spec_name)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])


class ReLU(_Elementwise):
    """`x` above `threshold`, at most `max_value`; `negative_slope * (x - threshold)` below."""

    max_value: NotNegative | None = None
    negative_slope: NotNegative = 0.0
    threshold: NotNegative = 0.0

    examples = (Example({}, ((4, 5),)),)

    def code(self, site: Site) -> Code:
        text, constants = rectified(self.negative_slope, self.max_value, self.threshold)
        return Code(text, constants=constants)

    def output_activation(self) -> str | None:
        plain = (self.max_value, self.negative_slope, self.threshold) == (None, 0, 0)
        return "relu" if plain else None


class LeakyReLU(_Elementwise):
    """`x` above 0, `negative_slope * x` below."""

    synonyms = {**_Elementwise.synonyms, "alpha": "negative_slope"}

    negative_slope: NotNegative = 0.3

    examples = (Example({}, ((4, 5),)),)

    def code(self, site: Site) -> Code:
        return Code("F.leaky_relu({x}, {slope})", constants={"slope": float_of(self.negative_slope)})


class ELU(_Elementwise):
    """`x` above 0, `alpha * (exp(x) - 1)` below."""

    alpha: float = 1.0

    examples = (Example({}, ((4, 5),)),)

    def code(self, site: Site) -> Code:
        if self.alpha == 1:
            return Code("F.elu({x})")
        return Code("F.elu({x}, {alpha})", constants={"alpha": float_of(self.alpha)})

    def output_activation(self) -> str | None:
        return "elu" if self.alpha == 1 else None


class Softmax(_Elementwise, also="Softmax2d"):
    """Positive numbers that sum to 1 along `axis`, or over several axes together; 0 where a mask is false."""

    flops_per_input = 5
    arguments = (Argument("x"), Argument("mask", required=False, carried=False))
    axis: Axes = -1

    examples = (Example({}, ((5,),)),)

    def infer(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        example_axes(self.spec_name, self.axis, x.rank)
        if mask is not None:
            need_stretching(mask, x)
        return super().infer(x)

    def memory(self, x: Tensor, mask: Tensor | None = None) -> Memory:
        return "any" if mask is None else "spec"

    def counting_back(self, rank: int) -> Layer:
        axis = self.single()
        return self if axis is None or axis < 0 else self.model_copy(update={"axis": axis - rank})

    def single(self) -> int | None:
        """The axis, if there is only one."""
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return axes[0] if len(axes) == 1 else None

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        mask = roles[1] if len(roles) > 1 else None
        axes = example_axes(self.spec_name, self.axis, site.x.rank)
        if mask is None:
            return apart_from(roles[0], axes, unless="low")
        aligned = elementwise(roles, site.x.rank)
        streamed = [axis for axis in axes if roles[0][axis] is not None or mask[axis] is not None]
        return aligned if all(mask[axis] == "nought" for axis in streamed) else ahead()

    def code(self, site: Site) -> Code:
        axis = self.single()
        if site.inputs[1] is not None:
            dims = axis if axis is not None else example_axes(self.spec_name, self.axis, site.x.rank)
            return Code("masked_softmax({x}, {mask}, {axes})", None, {"axes": dims})
        if axis is not None:
            return Code("{x}", activation=SoftmaxFunction(axis=site.axis(axis)))
        axes = example_axes(self.spec_name, self.axis, site.x.rank)
        constants = {"axes": tuple(sorted(site.axis(a) for a in axes))}
        return Code("softmax_over({x}, {axes})", constants=constants)

    def output_activation(self) -> str | None:
        return "softmax" if self.single() == -1 else None  # a loss takes logits along the last axis only


class PReLU(_Elementwise):
    """`x` above 0, `alpha * x` below, with a learned `alpha` for each element of an example.

    Elements share it along `shared_axes`, counted from 1: `[1, 2]` has one for each channel of an image.
    """

    flops_per_input = 2

    alpha_initializer: Initializer = Zeros()
    alpha_regularizer: Regularizer | None = None
    alpha_constraint: Constraint | None = None
    shared_axes: Axes | None = None
    """Axes that share a slope."""

    examples = (Example({}, ((5,),)),)

    def infer(self, x: Tensor) -> Tensor:
        super().infer(x)
        if x.rank < 2:
            raise LayerError(
                "wrong-rank", f"PReLU takes at least one axis besides the batch, and gets {x}", inputs=(0,)
            )
        wrong = next((axis for axis in self.shared() if not 1 <= axis < x.rank), None)
        if wrong is not None:
            raise LayerError(
                "out-of-range",
                f"`shared_axes` holds axes of an example of {x}, counted from 1, not {wrong}",
                help="[1, 2] are an image's height and width",
                argument="shared_axes",
                inputs=(0,),
            )
        need_fillable(self, alpha_initializer=len(self.shape(x)))
        return x

    def shared(self) -> tuple[int, ...]:
        """The axes along which elements share a slope."""
        axes = self.shared_axes
        return () if axes is None else axes if isinstance(axes, tuple) else (axes,)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of Keras' `alpha`."""
        shared = self.shared()
        return tuple(
            1 if axis in shared else known_channels(x, axis, layer="PReLU", what=f"size of axis {axis}")
            for axis in range(1, x.rank)
        )

    def channel(self, x: Tensor) -> int | None:
        """The only axis along which slopes differ; 1 where all elements share one, None for several axes."""
        separate = [axis for axis in range(1, x.rank) if axis not in self.shared()]
        return None if len(separate) > 1 else separate[0] if separate else 1

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = self.shape(x)
        fill = self.fill(x)
        if self.channel(x) is not None:
            return (Weight("weight", (math.prod(shape),), "alpha", initializer=fill, unmerged=shape),)
        return (
            Weight("weight", shape, "alpha", initializer="" if self.alpha_initializer == Zeros() else fill),
        )

    def fill(self, x: Tensor) -> str:
        """The statement that fills the weight."""
        channel, initializer = self.channel(x), self.alpha_initializer
        if channel is None or x.rank == 2 or not (initializer.uses_fans or initializer.ranks[0] > 1):
            return initializer.unturned(x.rank - 1)
        # a vector [C], in Keras' layout [.., C], [.., C, 1] or [C, .., 1, 1]
        turned = {1: "{w}[:, None]", 2: "{w}[None]"}.get(x.rank - channel, "{w}[None, None]")
        return initializer.statement().replace("{w}", turned)

    def memory(self, x: Tensor) -> Memory:
        if len(set(self.shared())) == x.rank - 1:
            return "any"
        return "first" if x.rank > 2 and self.channel(x) == x.rank - 1 else "spec"

    def code(self, site: Site) -> Code:
        shape, channel = self.shape(site.x), self.channel(site.x)
        if channel is None:
            return Code("{self}({x})", ModuleCall("PReLU", {"shape": shape}))
        construct = ModuleCall("nn.PReLU", {"num_parameters": math.prod(shape)})
        axis = site.axis(channel)
        if axis == 1 or math.prod(shape) == 1:
            return Code("{self}({x})", construct)
        text = "{self}({x}.movedim({axis}, 1)).movedim(1, {axis})"
        return Code(text, construct, {"axis": axis})
