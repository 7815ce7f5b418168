"""Depthwise and separable convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.layer import Code, Example, Layer, Linear, ModuleCall, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.contract.windows import DataFormat, Margin, Window, short
from graphspec.layers.convolution import Convolving, even, padded_call
from graphspec.tensor import Dim, Tensor, product


class _Depthwise(Convolving, abstract=True):
    """The base of depthwise and separable convolutions: a depthwise kernel [channels * M, 1, *kernel]."""

    if TYPE_CHECKING:  # fields of the subclasses
        depth_multiplier: int
        depthwise_initializer: Initializer

    def kernel(self, x: Tensor, name: str, keras: str) -> Weight:
        """The depthwise kernel. Keras computes fan-in and fan-out from [*kernel, channels, M]."""
        channels, multiplier = self.channels(x), self.depth_multiplier
        front = (self.rank, self.rank + 1, *range(self.rank))
        fill = self.depthwise_initializer.statement()
        if self._is_turned():
            alone = fill.endswith("_({w})")
            function = fill[:-5] if alone else f"lambda kernel: {fill.replace('{w}', 'kernel')}"
            fill = f"fill_depthwise_({{w}}, {multiplier}, {function})"
        elif not self.depthwise_initializer.is_symmetric:
            fill = fill.replace("{w}", "{w}.transpose(0, 1)")
        return Weight(
            name,
            (channels * multiplier, 1, *self.kernel_size),
            keras,
            front,
            initializer=fill,
            particular=self._is_turned(),
            unmerged=(channels, multiplier, *self.kernel_size),
        )

    def _is_turned(self) -> bool:
        """Whether the initializer distinguishes axes, so that a view of the kernel is not enough."""
        initializer = self.depthwise_initializer
        return initializer.ranks[0] > 1 or (initializer.uses_fans and self.depth_multiplier > 1)


class _DepthwiseConv(_Depthwise, abstract=True):
    """`depth_multiplier` filters for each channel of the input."""

    kernel_size: Window
    strides: Window = (1,)
    padding: Margin = "valid"
    depth_multiplier: Positive = 1
    data_format: DataFormat = "channels_last"
    dilation_rate: Window = (1,)
    activation: ActivationFunction = LINEAR
    use_bias: bool = True
    depthwise_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    depthwise_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    depthwise_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    def infer(self, x: Tensor) -> Tensor:
        filters = self.need(x) * self.depth_multiplier
        need_fillable(self, depthwise_initializer=self.rank + 2, bias_initializer=1)
        return self.slid(x, filters)

    def regularizer(self, weight: Weight) -> Regularizer | None:
        return self.depthwise_regularizer if weight.word == "kernel" else super().regularizer(weight)

    def constraint(self, weight: Weight) -> Constraint | None:
        return self.depthwise_constraint if weight.word == "kernel" else super().constraint(weight)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        kernel = self.kernel(x, "weight", "kernel")
        return (kernel, *self.bias(kernel.shape[0]))

    def padded(self, pad: Layer, positive: bool) -> Layer | None:
        return self.with_zeros(pad)

    def linear(self) -> Linear:
        return Linear()

    def code(self, site: Site) -> Code:
        channels = self.channels(site.x)
        return self.convolution(site, channels * self.depth_multiplier, channels)

    def flops(self, site: Site) -> Dim:
        filters = self.channels(site.x) * self.depth_multiplier
        return self.places(site) * filters * (2 * product(self.kernel_size) + self.use_bias)


class DepthwiseConv1D(_DepthwiseConv):
    """A convolution of each channel of a sequence by itself, with `depth_multiplier` filters for each."""

    examples = (Example({"kernel_size": 3}, ((10, 3),)),)


class DepthwiseConv2D(_DepthwiseConv):
    """A convolution of each channel of an image by itself, with `depth_multiplier` filters for each."""

    examples = (Example({"kernel_size": 3}, ((7, 6, 4),)),)


class _SeparableConv(_Depthwise, abstract=True):
    """`depthwise.weight` [channels * M, 1, *kernel], `pointwise.weight` and `pointwise.bias` [filters]."""

    filters: Positive
    kernel_size: Window
    strides: Window = (1,)
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: Window = (1,)
    depth_multiplier: Positive = 1
    activation: ActivationFunction = LINEAR
    use_bias: bool = True
    depthwise_initializer: Initializer = GlorotUniform()
    pointwise_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    depthwise_regularizer: Regularizer | None = None
    pointwise_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    depthwise_constraint: Constraint | None = None
    pointwise_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    def infer(self, x: Tensor) -> Tensor:
        self.need(x)
        axes = self.rank + 2
        need_fillable(self, depthwise_initializer=axes, pointwise_initializer=axes, bias_initializer=1)
        return self.slid(x, self.filters)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        depthwise = self.kernel(x, "depthwise.weight", "depthwise_kernel")
        pointwise = Weight(
            "pointwise.weight",
            (self.filters, depthwise.shape[0], *(1,) * self.rank),
            "pointwise_kernel",
            (self.rank + 1, self.rank, *range(self.rank)),
            initializer=self.pointwise_initializer.statement(),
        )
        return (depthwise, pointwise, *self.bias(self.filters, "pointwise.bias"))

    def linear(self) -> Linear:
        return Linear("pointwise.weight", "pointwise.bias")

    def code(self, site: Site) -> Code:
        plain = f"SeparableConv{self.rank}d"
        general = f"Padded{plain}"
        pads = self.pads_at(site)
        target = plain if pads is not None or self.is_plain() else general
        construct = ModuleCall(
            target,
            {
                "in_channels": self.channels(site.x),
                "out_channels": self.filters,
                "kernel_size": short(self.kernel_size),
            },
            {
                "depth_multiplier": (self.depth_multiplier, 1),
                "stride": (short(self.strides), 1),
                "padding": even(pads) if pads is not None else self._padding(target == plain),
                "dilation": (short(self.dilation_rate), 1),
                "bias": (self.use_bias, True),
            },
            general=general,
        )
        return self.called(site, construct, *padded_call(pads))

    def flops(self, site: Site) -> Dim:
        channels = self.channels(site.x) * self.depth_multiplier
        depthwise = channels * 2 * product(self.kernel_size)
        return self.places(site) * (depthwise + self.filters * (2 * channels + self.use_bias))


class SeparableConv1D(_SeparableConv, also="SeparableConvolution1D"):
    """A convolution of each channel of a sequence by itself, then one of width 1 that mixes the channels."""

    examples = (Example({"filters": 5, "kernel_size": 3}, ((10, 3),)),)


class SeparableConv2D(_SeparableConv, also="SeparableConvolution2D"):
    """A convolution of each channel of an image by itself, then one of 1x1 that mixes the channels."""

    examples = (Example({"filters": 5, "kernel_size": 3}, ((7, 6, 3),)),)
