"""Functions of keras.ops with a sliding window over sequences, images and volumes.

Pooling is what the layers do. The kernel of a convolution is a tensor: a `parameter`, or each example's own.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.layer import Argument, Code, Example, Layer, LayerError, Leaf, Memory, Site
from graphspec.contract.registry import REGISTRY
from graphspec.contract.streaming import Streaming, streamed_axes
from graphspec.contract.windows import DataFormat, same_pads, short, slide, streamed
from graphspec.layers.transposed import Transposed
from graphspec.ops.matrices import need_floats
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import attached, plain

NotNegative = Annotated[int, Field(ge=0)]
USUAL: dict[str, Leaf] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
"""The defaults of PyTorch's convolutions."""
OPTIONS = "".join(f", {word}={{{word}}}" for word in USUAL)
Sizes = Annotated[Positive | tuple[Positive, ...], BeforeValidator(as_tuple)]


class _AsLayer(Operation, abstract=True):
    """A layer without weights, as one function for sequences, images and volumes."""

    arguments = (Argument("inputs"),)
    reads_padded = True
    family: ClassVar[str]

    data_format: DataFormat = "channels_last"

    def layer(self, inputs: Tensor) -> Layer:
        """The layer for an input of this rank."""
        rank = inputs.rank - 2
        if rank not in (1, 2, 3):
            message = f"`{self.spec_name}` takes sequences, images and volumes, and gets {inputs}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        fields = type(self).model_fields
        settings = {name: self.sized(name, rank) for name in fields if getattr(self, name) is not None}
        instance: Layer = REGISTRY["layer"][f"{self.family}{rank}D"].model_validate(plain(settings))
        traced: Layer = attached(settings, instance)
        return traced

    def sized(self, name: str, rank: int) -> object:
        """A field's value; a list of sizes has one for each axis."""
        value = getattr(self, name)
        if isinstance(value, tuple) and len(value) != rank:
            message = f"`{name}` has a size for each of {rank} axes, and is {list(value)}"
            raise LayerError("out-of-range", message, argument=name)
        return value

    def infer(self, inputs: Tensor) -> Tensor:
        output = self.layer(inputs).infer(inputs)
        assert isinstance(output, Tensor)
        return output

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return self.layer(site.x).stream(site, roles)

    def memory(self, inputs: Tensor) -> Memory:
        return self.layer(inputs).memory(inputs)

    def code(self, site: Site) -> Code:
        layer_code = self.layer(site.x).code(site)
        return Code(layer_code.call.replace("{x}", "{inputs}"), layer_code.construct, layer_code.constants)

    def flops(self, site: Site) -> Dim:
        return self.layer(site.x).flops(site)


class _Pool(_AsLayer, abstract=True):
    """Pooling over windows."""

    pool_size: Sizes
    strides: Sizes | None = None
    padding: Literal["valid", "same"] = "valid"


class MaxPool(_Pool, spec_name="max_pool"):
    """The maximum of each window of a sequence, image or volume."""

    family = "MaxPooling"
    examples = (Example({"pool_size": 2}, ((6, 3),)),)


class AveragePool(_Pool, spec_name="average_pool"):
    """The mean of each window of a sequence, image or volume. Padding does not count."""

    family = "AveragePooling"
    examples = (Example({"pool_size": 2}, ((6, 3),)),)


class _AdaptivePool(_AsLayer, abstract=True):
    """Adaptive pooling: windows that follow from the size of the output, `output_size`."""

    output_size: Sizes

    examples = (Example({"output_size": 2}, ((6, 3),)),)


class AdaptiveMaxPool(_AdaptivePool, spec_name="adaptive_max_pool"):
    """The maximum of each window; the windows follow from the size of the output, `output_size`."""

    family = "AdaptiveMaxPooling"


class AdaptiveAveragePool(_AdaptivePool, spec_name="adaptive_average_pool"):
    """The mean of each window; the windows follow from the size of the output, `output_size`."""

    family = "AdaptiveAveragePooling"


class Conv(Operation, spec_name="conv"):
    """A convolution whose kernel is a tensor, [*window, channels / groups, filters].

    The kernel is a `parameter`, or each example's own.
    """

    arguments = (Argument("inputs"), Argument("kernel"))
    depthwise: ClassVar[bool] = False
    reads_padded = True

    strides: Sizes = 1
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: Sizes = 1

    examples = (Example({}, ((7, 3), (2, 3, 4))),)

    def windows(self, inputs: Tensor, kernel: Tensor) -> tuple[tuple[int, ...], ...]:
        """Width, stride and dilation for each spatial axis."""
        rank = inputs.rank - 2
        need_floats(self.spec_name, inputs, kernel)
        if rank not in (1, 2, 3) or kernel.rank != rank + 3:
            message = f"`{self.spec_name}` takes [batch, *sizes, channels] and a kernel [*window, ...]"
            raise LayerError("wrong-rank", f"{message}, and gets {inputs} and {kernel}", inputs=(0, 1))
        width = tuple(size for size in kernel.shape[1:-2] if isinstance(size, int))
        if len(width) < rank:
            message = f"`{self.spec_name}` needs to know the window of the kernel, {kernel}"
            raise LayerError("unknown-size", message, inputs=(1,))
        per_axis = []
        for name in ("strides", "dilation_rate"):
            value = getattr(self, name)
            sizes = value if isinstance(value, tuple) else (value,) * rank
            if len(sizes) != rank:
                message = f"`{name}` has a size for each of {rank} axes, and is {list(sizes)}"
                raise LayerError("out-of-range", message, argument=name)
            per_axis.append(sizes)
        return width, *per_axis

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if streamed_axes(roles[1]):
            return None
        width, strides, dilation = self.windows(*site.inputs[:2])
        spans = tuple(gap * (size - 1) for size, gap in zip(width, dilation, strict=True))
        return streamed(roles[0], self.data_format, spans, strides, self.padding)

    def batch(self, inputs: Tensor, kernel: Tensor) -> Dim:
        """The batch of the result: either may be the same for every example."""
        return kernel.shape[0] if inputs.shape[0] == 1 else inputs.shape[0]

    def operand(self, inputs: Tensor, kernel: Tensor) -> str:
        """A template for the inputs as PyTorch takes them: channels first, and one for each kernel."""
        text = "{inputs}"
        if inputs.shape[0] != self.batch(inputs, kernel):
            text += f".expand({{kernel}}.shape[0]{', -1' * (inputs.rank - 1)})"
        return text + (".movedim(-1, 1)" if self.data_format == "channels_last" else "")

    def channels(self, inputs: Tensor, kernel: Tensor) -> tuple[int, int]:
        """The number of groups, and of filters."""
        last = self.data_format == "channels_last"
        channels, (each, filters) = inputs.shape[-1 if last else 1], kernel.shape[-2:]
        if not (isinstance(channels, int) and isinstance(each, int) and isinstance(filters, int)):
            message = f"`{self.spec_name}` needs to know the channels of {inputs} and {kernel}"
            raise LayerError("unknown-size", message, inputs=(0, 1))
        if self.depthwise:
            fits, groups, filters = channels == each, channels, channels * filters
        else:
            fits, groups = channels % each == 0, channels // each
            fits = fits and filters % max(groups, 1) == 0
        if not fits:
            message = f"the kernel {kernel} does not fit the {channels} channels of {inputs}"
            raise LayerError("shapes-differ", message, inputs=(0, 1))
        return groups, filters

    def infer(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        width, strides, dilation = self.windows(inputs, kernel)
        _, filters = self.channels(inputs, kernel)
        last = self.data_format == "channels_last"
        space = inputs.shape[1:-1] if last else inputs.shape[2:]
        if self.padding == "same" and same_pads(space, width, strides, dilation) is None:
            raise LayerError(
                "unknown-size",
                f"`padding: same` of `{self.spec_name}` needs to know the sizes of {inputs}",
                help="or that they are multiples of the strides, as `2 * height` in `inputs` is of 2",
                argument="padding",
                inputs=(0,),
            )
        sizes = slide(
            inputs, space, width, strides, self.padding, dilation, layer=self.spec_name, argument="strides"
        )
        shape = (*sizes, filters) if last else (filters, *sizes)
        return inputs.with_shape(self.batch(inputs, kernel), *shape)

    def code(self, site: Site) -> Code:
        inputs, kernel = site.inputs
        rank, last = inputs.rank - 2, self.data_format == "channels_last"
        width, strides, dilation = self.windows(inputs, kernel)
        groups, _ = self.channels(inputs, kernel)
        text = self.operand(inputs, kernel)
        constants: dict[str, Leaf] = {
            "stride": short(strides), "padding": 0, "dilation": short(dilation), "groups": groups,
        }  # fmt: skip
        even = all(spacing * (size - 1) % 2 == 0 for size, spacing in zip(width, dilation, strict=True))
        if self.padding == "same" and set(strides) == {1} and even:  # else torch warns
            constants["padding"] = "same"
        elif self.padding == "same":
            space = inputs.shape[1:-1] if last else inputs.shape[2:]
            pads = same_pads(space, width, strides, dilation) or ()
            if all(before == behind for before, behind in pads):
                constants["padding"] = short(tuple(before for before, _ in pads))
            else:
                sides = tuple(side for pair in reversed(pads) for side in pair)
                text, constants["pads"] = f"F.pad({text}, {{pads}})", sides
        shared = kernel.shape[0] == 1
        each_kernel, at = ("{kernel}[0]", 0) if shared else ("{kernel}", 1)
        weight = f"{each_kernel}.movedim((-1, -2), ({at}, {at + 1}))"
        if self.depthwise:
            weight = f"{each_kernel}.flatten(-2).movedim(-1, {at}).unsqueeze({at + 1})"
        text = f"F.conv{rank}d({text}, {weight}{OPTIONS})"
        if not shared:
            text = text.replace(f"F.conv{rank}d(", f"conv_each(F.conv{rank}d, ", 1)
        text += ".movedim(1, -1)" if last else ""
        return Code(text, constants=constants, defaults=USUAL)

    def flops(self, site: Site) -> Dim:
        each = 1 if self.depthwise else site.inputs[1].shape[-2]
        return product(site.outputs[0].shape[1:]) * product(site.inputs[1].shape[1:-2]) * each * 2


class DepthwiseConv(Conv, spec_name="depthwise_conv"):
    """A depthwise convolution whose kernel is a tensor, [*window, channels, multiplier].

    The kernel is a `parameter`, or each example's own.
    """

    depthwise = True

    examples = (Example({}, ((7, 3), (2, 3, 2))),)


class SeparableConv(Operation, spec_name="separable_conv"):
    """A convolution of each channel by itself, then one of all channels at each place. Its kernels are
    tensors: [*window, channels, multiplier] and [*ones, channels * multiplier, filters].
    """

    arguments = (Argument("inputs"), Argument("depthwise_kernel"), Argument("pointwise_kernel"))
    reads_padded = True

    strides: Sizes = 1
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: Sizes = 1

    examples = (Example({}, ((7, 3), (2, 3, 2), (1, 6, 4))),)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return self.parts()[0].stream(site, roles) if not streamed_axes(roles[2]) else None

    def parts(self) -> tuple[Conv, Conv]:
        """The two convolutions."""
        first = DepthwiseConv.model_validate({name: getattr(self, name) for name in type(self).model_fields})
        return first, Conv(data_format=self.data_format)

    def between(self, inputs: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
        """The result of the depthwise convolution. Raises `LayerError` where the kernels do not fit."""
        first, _ = self.parts()
        need_floats(self.spec_name, inputs, depthwise, pointwise)
        intermediate = first.infer(inputs, depthwise)
        channels = intermediate.shape[-1 if self.data_format == "channels_last" else 1]
        ones = (1,) * (inputs.rank - 2)
        if pointwise.shape[1:-1] != (*ones, channels):
            wanted = ", ".join(map(str, (*ones, channels)))
            message = f"the last kernel of `separable_conv` is [{wanted}, filters] here, and not {pointwise}"
            raise LayerError("shapes-differ", message, inputs=(1, 2))
        return intermediate

    def infer(self, inputs: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
        return self.parts()[1].infer(self.between(inputs, depthwise, pointwise), pointwise)

    def code(self, site: Site) -> Code:
        inputs, depthwise, pointwise = site.inputs
        between = self.between(inputs, depthwise, pointwise)
        first, second = self.parts()
        before = first.code(Site((inputs, depthwise), (between,)))
        text = second.code(Site((between, pointwise), site.outputs)).call.replace(OPTIONS, "")
        text = text.replace("{kernel}", "{pointwise_kernel}")
        text = text.replace("{inputs}", before.call.replace("{kernel}", "{depthwise_kernel}"))
        text = text.replace(".movedim(1, -1).movedim(-1, 1)", "")
        return Code(text, constants=before.constants, defaults=before.defaults)

    def flops(self, site: Site) -> Dim:
        inputs, depthwise, pointwise = site.inputs
        between = self.between(inputs, depthwise, pointwise)
        first, second = self.parts()
        both = first.flops(Site((inputs, depthwise), (between,)))
        return both + second.flops(Site((between, pointwise), site.outputs))


class ConvTranspose(Conv, spec_name="conv_transpose"):
    """A transposed convolution, whose kernel is a tensor,
    [*window, filters, channels]: a `parameter`, or each example's own.
    """

    output_padding: Annotated[NotNegative | tuple[NotNegative, ...] | None, BeforeValidator(as_tuple)] = None

    examples = (Example({}, ((7, 3), (2, 4, 3))),)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return None

    def channels(self, inputs: Tensor, kernel: Tensor) -> tuple[int, int]:
        last = self.data_format == "channels_last"
        filters, channels = kernel.shape[-2:]
        x_channels = inputs.shape[-1 if last else 1]
        if not isinstance(filters, int) or not isinstance(channels, int):
            message = f"`{self.spec_name}` needs to know the channels of {kernel}"
            raise LayerError("unknown-size", message, inputs=(1,))
        if x_channels != channels:
            message = f"the kernel {kernel} does not fit the {x_channels} channels of {inputs}"
            raise LayerError("shapes-differ", message, inputs=(0, 1))
        return 1, filters

    def layer(self, inputs: Tensor, kernel: Tensor) -> Transposed:
        """The layer whose weight the kernel is."""
        width, strides, dilation = self.windows(inputs, kernel)
        rank = len(width)
        added = self.output_padding
        if isinstance(added, tuple) and len(added) != rank:
            message = f"`output_padding` has a size for each of {rank} axes, and is {list(added)}"
            raise LayerError("out-of-range", message, argument="output_padding")
        settings = {"filters": self.channels(inputs, kernel)[1], "kernel_size": width, "strides": strides}
        settings |= {"dilation_rate": dilation, "output_padding": added}
        settings |= {"padding": self.padding, "data_format": self.data_format}
        transposed = REGISTRY["layer"][f"Conv{rank}DTranspose"].model_validate(plain(settings))
        made: Transposed = attached(settings, transposed)
        return made

    def infer(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        shape = self.layer(inputs, kernel).infer(inputs).shape
        return inputs.with_shape(self.batch(inputs, kernel), *shape[1:])

    def code(self, site: Site) -> Code:
        inputs, kernel = site.inputs
        last, shared = self.data_format == "channels_last", kernel.shape[0] == 1
        layer = self.layer(inputs, kernel)
        margins = layer.margins()
        each_kernel, at = ("{kernel}[0]", 0) if shared else ("{kernel}", 1)
        options, constants = "", dict[str, Leaf]()
        for name, value, default in (
            ("stride", layer.strides, 1),
            ("padding", tuple(margin.padding for margin in margins), 0),
            ("output_padding", tuple(margin.output_padding for margin in margins), 0),
            ("dilation", layer.dilation_rate, 1),
        ):
            if set(value) != {default}:
                constants[name] = value if len(set(value)) > 1 else value[0]
                options += f", {name}={{{name}}}"
        function = f"F.conv_transpose{len(margins)}d"
        function = f"{function}(" if shared else f"conv_each({function}, "
        text = f"{function}{self.operand(inputs, kernel)}, "
        text += f"{each_kernel}.movedim((-1, -2), ({at}, {at + 1})){options})"
        if any(margin.crop for margin in margins):
            text += f"[..., {', '.join(f':{-margin.crop}' if margin.crop else ':' for margin in margins)}]"
        return Code(text + (".movedim(1, -1)" if last else ""), constants=constants)

    def flops(self, site: Site) -> Dim:
        return self.layer(*site.inputs).flops(Site(site.inputs[:1], site.outputs))


Pair = Annotated[Positive | tuple[Positive, Positive], BeforeValidator(as_tuple)]


def _two(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


class Unfold(Operation, spec_name="unfold"):
    """The windows of images [batch, channels, height, width], each flattened to a column of the result."""

    template = "F.unfold({x}, {kernel_size}, dilation={dilation}, padding={padding}, stride={stride})"
    optional = ("dilation", "padding", "stride")

    kernel_size: Pair
    dilation: Pair = 1
    """Distance between the elements that the window reads."""
    padding: Annotated[NotNegative | tuple[NotNegative, NotNegative], BeforeValidator(as_tuple)] = 0
    """Rows and columns of zeros on each side."""
    stride: Pair = 1
    """Stride of the window."""

    examples = (Example({"kernel_size": 2}, ((2, 4, 5),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_floats(self.spec_name, x)
        if x.rank != 4:
            message = f"`unfold` takes images, [batch, channels, height, width], and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        counts = self.counts(x.shape[2:])
        if any(isinstance(count, int) and count < 1 for count in counts):
            message = f"a window of `unfold` is larger than {x}"
            raise LayerError("window-too-large", message, argument="kernel_size", inputs=(0,))
        return x.with_shape(x.shape[0], x.shape[1] * product(_two(self.kernel_size)), product(counts))

    def counts(self, sizes: tuple[Dim, ...]) -> list[Dim]:
        """The number of windows along both axes."""
        arguments = (self.kernel_size, self.dilation, self.padding, self.stride)
        each = zip(sizes, *(_two(value) for value in arguments), strict=True)
        return [(size + 2 * pad - gap * (width - 1) - 1) // step + 1 for size, width, gap, pad, step in each]


class Fold(Unfold, spec_name="fold"):
    """Adds the columns of `unfold` up to images of `output_size`, [batch, channels, height, width]."""

    template = Unfold.template.replace("F.unfold({x}, ", "F.fold({x}, {output_size}, ")

    output_size: Pair
    """Height and width of the images."""

    examples = (Example({"output_size": [4, 5], "kernel_size": 2}, ((8, 12),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_floats(self.spec_name, x)
        window = prod(_two(self.kernel_size))
        columns = product(self.counts(_two(self.output_size)))
        if x.rank != 3 or x.shape[2] != columns or x.shape[1] // window * window != x.shape[1]:
            message = f"`fold` takes [batch, channels * {window}, {columns}] here, and gets {x}"
            raise LayerError("shapes-differ", message, argument="output_size", inputs=(0,))
        return x.with_shape(x.shape[0], x.shape[1] // window, *_two(self.output_size))
