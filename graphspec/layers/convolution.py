"""Convolutions over sequences, images and volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from graphspec.contract.activation_types import activated
from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels
from graphspec.contract.layer import (
    Argument,
    Code,
    Example,
    Layer,
    LayerError,
    Leaf,
    Linear,
    ModuleCall,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import StepState, Streaming, frame
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.contract.windows import (
    CausalMargin1,
    DataFormat,
    Margin,
    Window,
    assemble,
    margin_instead,
    need_spatial,
    same_pads,
    short,
    slide,
    spatial,
    streamed,
)
from graphspec.tensor import Dim, Tensor, product

Pads = tuple[tuple[int, int], ...]
"""Zeros before and after each axis."""


def even(pads: Pads) -> tuple[Leaf, Leaf]:
    """The argument `padding` of PyTorch's convolutions, and its default; 0 where the call pads, too."""
    alike = all(before == behind for before, behind in pads)
    return (short(tuple(before for before, _ in pads)) if alike else 0), 0


def padded_call(pads: Pads | None, causal: bool = False) -> tuple[str, Mapping[str, Leaf]]:
    """The call of a convolution whose module pads symmetrically, and its constants. The zeros before a causal
    one follow from its arguments; others are for the sizes of its input.
    """
    if pads is None or all(before == behind for before, behind in pads):
        return "{self}({x})", {}
    flat = tuple(side for axis in reversed(pads) for side in axis)
    if causal:
        return "{self}(F.pad({x}, {pads}))", {"pads": flat}
    return f"{{self}}(F.pad({{x}}, {flat}))", {}


class Convolving(Layer, abstract=True):
    """The base of layers with a sliding kernel."""

    memory_layout = "data_format"
    reads_padded = True

    if TYPE_CHECKING:  # fields of the subclasses, which list all of their fields in Keras' order
        kernel_size: tuple[int, ...]
        strides: tuple[int, ...]
        padding: str | tuple[int, ...]
        data_format: DataFormat
        dilation_rate: tuple[int, ...]
        activation: ActivationFunction
        use_bias: bool
        bias_initializer: Initializer

    @classmethod
    def instead(cls, argument: str, value: object) -> str | None:
        return margin_instead(argument, value, f"ZeroPadding{cls.rank}D")

    @property
    def reach(self) -> tuple[int, ...]:
        """The elements of a window along each axis besides its first."""
        return tuple(d * (k - 1) for k, d in zip(self.kernel_size, self.dilation_rate, strict=True))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return streamed(roles[0], self.data_format, self.reach, self.strides, self.padding)

    def channels(self, x: Tensor) -> int:
        """The number of input channels. Raises `LayerError` where it is a dynamic size."""
        return known_channels(x, -1 if self.data_format == "channels_last" else 1, layer=self.spec_name)

    def need(self, x: Tensor) -> int:
        """Refuses inputs that are not valid for a convolution; returns the number of input channels."""
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        return self.channels(x)

    def slid(self, x: Tensor, filters: int) -> Tensor:
        """The type of the output with this many channels, before the activation."""
        sizes = spatial(x, self.data_format)
        if isinstance(self.padding, tuple):
            sizes = tuple(size + 2 * side for size, side in zip(sizes, self.padding, strict=True))
        sizes = slide(
            x,
            sizes,
            self.kernel_size,
            self.strides,
            self.padding if isinstance(self.padding, str) else "valid",
            self.dilation_rate,
            layer=self.spec_name,
            argument="kernel_size",
        )
        return activated(assemble(x, sizes, filters, self.data_format), self.activation)

    def bias(self, filters: int, name: str = "bias") -> tuple[Weight, ...]:
        """The bias, if there is one."""
        fill = self.bias_initializer.vector_statement()
        return (Weight(name, (filters,), "bias", initializer=fill),) if self.use_bias else ()

    def is_plain(self) -> bool:
        """Whether PyTorch's padding is Keras': it refuses `same` with strides, and warns at even kernels."""
        if self.padding == "same":
            return max(self.strides) == 1 and not any(span % 2 for span in self.reach)
        return self.padding != "causal"

    def _padding(self, plain: bool) -> tuple[Leaf, Leaf]:
        """The padding argument of the module, and its default: a word, or numbers set by `with_zeros`."""
        default = "valid" if plain else "causal" if self.padding == "causal" else "same"
        return (self.padding, default) if isinstance(self.padding, str) else (short(self.padding), 0)

    def with_zeros(self, pad: Layer) -> Self | None:
        """The same layer with the zeros that `pad` adds as its padding, if they are symmetric."""
        margins = pad.pads()
        if (
            margins is None
            or self.padding != "valid"
            or getattr(pad, "data_format", None) != self.data_format
        ):
            return None
        alike = all(before == behind for before, behind in margins)
        slides = max(self.kernel_size) > 1 or not any(before for before, _ in margins)
        return self.model_copy(update={"padding": tuple(b for b, _ in margins)}) if alike and slides else None

    def pads_at(self, site: Site) -> Pads | None:
        """The zeros to add where torch's `same` is not Keras' and the sizes are known."""
        if self.is_plain() or not site.settled:
            return None
        if self.padding == "causal":
            return ((self.dilation_rate[0] * (self.kernel_size[0] - 1), 0),)
        sizes = spatial(site.x, self.data_format)
        return same_pads(sizes, self.kernel_size, self.strides, self.dilation_rate)

    def _skips(self, x: Tensor) -> bool:
        """Whether it only skips rows and columns of an image with few channels.

        There oneDNN, in torch 2.13, writes out of bounds in the backward pass, so the rows are skipped
        before.
        """
        one = self.rank == 2 and max(self.kernel_size) == 1 and isinstance(self.padding, str)
        return one and max(self.strides) > 1 and self.channels(x) < 16

    def convolution(self, site: Site, filters: int, groups: int) -> Code:
        """PyTorch's convolution, or the helper of the same name where its padding differs from Keras'."""
        general = f"PaddedConv{self.rank}d"
        few = self._skips(site.x)
        skips = few and site.settled
        pads = None if skips else self.pads_at(site)
        plain = skips or pads is not None or (self.is_plain() and not few)
        padded = "CausalConv1d" if self.padding == "causal" else general
        construct = ModuleCall(
            f"nn.Conv{self.rank}d" if plain else padded,
            {
                "in_channels": self.channels(site.x),
                "out_channels": filters,
                "kernel_size": short(self.kernel_size),
            },
            {
                "stride": (1 if skips else short(self.strides), 1),
                "padding": even(pads) if pads is not None else self._padding(plain),
                "dilation": (short(self.dilation_rate), 1),
                "groups": (groups, 1),
                "bias": (self.use_bias, True),
            },
            general=general,
            by_place=2 if plain else 1,
            common={"skips": True} if few and not skips else {},
        )
        if not skips:
            return self.called(site, construct, *padded_call(pads, self.padding == "causal"))
        steps = dict(zip(("rows", "columns"), self.strides, strict=True))
        return self.called(site, construct, "{self}({x}[:, :, ::{rows}, ::{columns}])", steps)

    def called(
        self,
        site: Site,
        construct: ModuleCall,
        call: str = "{self}({x})",
        constants: Mapping[str, Leaf] = MappingProxyType({}),
    ) -> Code:
        """A call of this module and the activation of its result."""
        return Code(call, construct, constants, activation=self.activation.with_axis(site.axis))

    def places(self, site: Site) -> Dim:
        """The number of positions of the kernel."""
        return product(spatial(site.outputs[0], self.data_format))


class _Convolution(Convolving, abstract=True):
    """The base of all convolutions: `weight` [filters, channels / groups, *kernel] and `bias` [filters]."""

    filters: Positive
    kernel_size: Window
    strides: Window = (1,)
    padding: Margin = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: Window = (1,)
    groups: Positive = 1
    """Number of groups of channels of the convolution."""
    activation: ActivationFunction = LINEAR
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    def infer(self, x: Tensor) -> Tensor:
        channels = self.need(x)
        for what, count in (("input channels", channels), ("filters", self.filters)):
            if count % self.groups:
                raise LayerError(
                    "out-of-range",
                    f"{self.groups} groups do not divide the {count} {what} of {self.spec_name}",
                    help="`groups` divides both `filters` and the input's channels",
                    argument="groups",
                    inputs=(0,) if count is channels else (),
                )
        need_fillable(self, kernel_initializer=self.rank + 2, bias_initializer=1)
        return self.slid(x, self.filters)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = (self.filters, self.channels(x) // self.groups, *self.kernel_size)
        front = (self.rank + 1, self.rank, *range(self.rank))
        kernel = Weight("weight", shape, "kernel", front, initializer=self.kernel_initializer.statement())
        return (kernel, *self.bias(self.filters))

    def padded(self, pad: Layer, positive: bool) -> Layer | None:
        return self.with_zeros(pad)

    def linear(self) -> Linear:
        return Linear(width="filters" if self.groups == 1 else None)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        last = self.data_format == "channels_last"
        if self.padding != "causal" or not last or roles[0] != (None, "new", None) or max(self.strides) > 1:
            return super().stream(site, roles)
        if (span := self.reach[0]) == 0:
            return frame(roles[0])
        state = StepState("window", (span, self.channels(site.x)), site.x.dtype)
        return Streaming("window", (roles[0],), step=StepConvolution(of=self), states=(state,))

    def code(self, site: Site) -> Code:
        return self.convolution(site, self.filters, self.groups)

    def flops(self, site: Site) -> Dim:
        taps = product(self.kernel_size) * (self.channels(site.x) // self.groups)
        return self.places(site) * self.filters * (2 * taps + self.use_bias)


class Conv1D(_Convolution, also="Conv1d Convolution1D"):
    """A convolution over a sequence `[length, channels]`. `padding: causal` sees no future steps."""

    padding: CausalMargin1 = "valid"

    examples = (Example({"filters": 4, "kernel_size": 3}, ((10, 3),)),)


class Conv2D(_Convolution, also="Conv2d Convolution2D"):
    """A convolution over an image `[height, width, channels]`. A number as `padding` adds zeros around it."""

    examples = (Example({"filters": 4, "kernel_size": 3}, ((7, 6, 3),)),)


class Conv3D(_Convolution, also="Conv3d Convolution3D"):
    """A convolution over a volume `[depth, height, width, channels]`."""

    examples = (Example({"filters": 4, "kernel_size": 3}, ((5, 4, 6, 3),)),)


class StepConvolution(Layer, abstract=True, spec_name="convolution"):
    """A causal convolution that goes on from the last steps before the new ones."""

    arguments = (Argument("x"), PLACES, Argument("window"))

    of: _Convolution

    def infer(self, x: Tensor, places: Tensor, window: Tensor) -> Tensor:
        return self.of.infer(x)

    def weights(self, x: Tensor, places: Tensor, window: Tensor) -> tuple[Weight, ...]:
        return self.of.weights(x)

    def code(self, site: Site) -> Code:
        valid = self.of.model_copy(update={"padding": "valid"})
        code = valid.code(Site((site.x,), site.outputs, channels_first=True))
        call = code.call.replace("{x}", "window({x}, {window}).mT") + ".mT"
        return replace(code, call=call, activation=self.of.activation)

    def flops(self, site: Site) -> Dim:
        return self.of.flops(Site((site.x,), site.outputs))
