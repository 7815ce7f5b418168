"""Transposed convolutions of sequences, images and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from graphspec.contract.activation_types import activated
from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.layer import Code, Example, LayerError, Linear, ModuleCall, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.streaming import Streaming, enlarged
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.contract.windows import (
    AXES,
    Added,
    DataFormat,
    Window,
    assemble,
    margin_instead,
    short,
    spatial,
)
from graphspec.layers.convolution import Convolving
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import formulas_in


@dataclass(frozen=True, slots=True)
class Margin:
    """The elements to cut off the full output along one axis, of `(size - 1) * stride + span` places.

    PyTorch cuts `padding` off both ends and adds `output_padding` at the end; `crop` is cut off there, too.
    """

    padding: int
    output_padding: int
    crop: int


class Transposed(Convolving, abstract=True):
    """The base of transposed convolutions: `weight` [channels, filters, *kernel] and `bias` [filters]."""

    filters: Positive
    kernel_size: Window
    strides: Window = (1,)
    padding: Literal["valid", "same"] = "valid"
    output_padding: Added | None = None
    data_format: DataFormat = "channels_last"
    dilation_rate: Window = (1,)
    activation: ActivationFunction = LINEAR
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    @classmethod
    def instead(cls, argument: str, value: object) -> str | None:
        return margin_instead(argument, value, f"Cropping{cls.rank}D")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        first = 1 if self.data_format == "channels_last" else 2
        return enlarged(roles[0], first, self.strides, self.reach)

    def infer(self, x: Tensor) -> Tensor:
        self.need(x)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise LayerError(
                "out-of-range",
                f"{self.spec_name} takes strides or dilation, and not both: "
                f"`strides` is {short(self.strides)}, `dilation_rate` {short(self.dilation_rate)}",
                help="leave one of them 1",
                argument="dilation_rate",
            )
        self._need_output_padding()
        need_fillable(self, kernel_initializer=self.rank + 2, bias_initializer=1)
        sizes = tuple(self._grown(x))
        return activated(assemble(x, sizes, self.filters, self.data_format), self.activation)

    def _need_output_padding(self) -> None:
        """Refuses an output padding of a whole stride or more."""
        if self.output_padding is None:
            return
        for added, stride in zip(self.output_padding, self.strides, strict=True):
            if added >= stride:
                raise LayerError(
                    "out-of-range",
                    f"`output_padding` must be less than `strides`, and {added} is not less than {stride}",
                    help=f"{stride - 1} is the most; without `output_padding` the output has its usual size",
                    argument="output_padding",
                )

    def _grown(self, x: Tensor) -> list[Dim]:
        """The sizes of the output. Raises `LayerError` where nothing would be left."""
        grown: list[Dim] = []
        for axis, size, stride, span, margin in zip(
            AXES[self.rank],
            spatial(x, self.data_format),
            self.strides,
            self.spans(),
            self.margins(),
            strict=True,
        ):
            full_size = (size - 1) * stride + span
            left = full_size - 2 * margin.padding + margin.output_padding - margin.crop
            if isinstance(left, int) and left < 1:
                raise LayerError(
                    "window-too-large",
                    f"{self.spec_name} leaves nothing of {axis} {size} of {x}",
                    help="leave `output_padding` out, or write `padding: valid`",
                    argument="output_padding",
                    inputs=(0,),
                )
            grown.append(left)
        return grown

    def spans(self) -> tuple[int, ...]:
        """The extent of the kernel along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True))

    def margins(self) -> tuple[Margin, ...]:
        """The margins of the full output along each axis."""
        wanted = self.output_padding or (None,) * self.rank
        return tuple(map(self._margin, self.spans(), self.strides, wanted))

    def _margin(self, span: int, stride: int, wanted: int | None) -> Margin:
        if self.padding == "valid":
            return Margin(0, max(stride - span, 0) if wanted is None else wanted, 0)
        # `same` leaves size * stride places, or what `output_padding` says; an odd rest is cut off at the end
        cut = span - stride if wanted is None else span - span % 2 - wanted
        return Margin(cut // 2, 0, cut % 2) if cut >= 0 else Margin(0, -cut, 0)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = (self.channels(x), self.filters, *self.kernel_size)
        front = (self.rank + 1, self.rank, *range(self.rank))
        kernel = Weight("weight", shape, "kernel", front, initializer=self.kernel_initializer.statement())
        return (kernel, *self.bias(self.filters))

    def linear(self) -> Linear:
        return Linear(axis=1, width="filters")

    def code(self, site: Site) -> Code:
        margins = self.margins()
        general = f"CroppedConvTranspose{self.rank}d"
        crops = any(margin.crop or formulas_in(margin.crop) for margin in margins)
        target = general if crops else f"nn.ConvTranspose{self.rank}d"
        construct = ModuleCall(
            target,
            {
                "in_channels": self.channels(site.x),
                "out_channels": self.filters,
                "kernel_size": short(self.kernel_size),
            },
            {
                "stride": (short(self.strides), 1),
                "padding": (short(tuple(margin.padding for margin in margins)), 0),
                "output_padding": (short(tuple(margin.output_padding for margin in margins)), 0),
                "bias": (self.use_bias, True),
                "dilation": (short(self.dilation_rate), 1),
                "crop": (short(tuple(margin.crop for margin in margins)), 0),
            },
            general=general,
        )
        return self.called(site, construct)

    def flops(self, site: Site) -> Dim:
        taps = product(self.kernel_size) * self.channels(site.x) * self.filters
        bias = self.places(site) * self.filters if self.use_bias else 0
        return product(spatial(site.x, self.data_format)) * 2 * taps + bias


class Conv1DTranspose(Transposed, also="ConvTranspose1d Convolution1DTranspose"):
    """A transposed convolution of a sequence `[length, channels]`, which grows `strides` times."""

    examples = (Example({"filters": 4, "kernel_size": 3}, ((6, 3),)),)


class Conv2DTranspose(Transposed, also="ConvTranspose2d Convolution2DTranspose"):
    """A transposed convolution of an image `[height, width, channels]`, which grows `strides` times."""

    examples = (Example({"filters": 4, "kernel_size": 3}, ((5, 4, 3),)),)


class Conv3DTranspose(Transposed, also="ConvTranspose3d Convolution3DTranspose"):
    """A transposed convolution of a volume `[depth, height, width, channels]`; it grows `strides` times."""

    examples = (Example({"filters": 4, "kernel_size": 3}, ((3, 4, 2, 3),)),)
