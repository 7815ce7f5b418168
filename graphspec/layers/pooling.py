"""Pooling over windows, and over whole sequences, images and volumes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from graphspec.contract.input_checks import need_mask
from graphspec.contract.layer import Argument, Code, Example, Layer, LayerError, Leaf, Site
from graphspec.contract.streaming import SO_FAR, Streaming, apart_from
from graphspec.contract.windows import (
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


def _count(size: Any, side: int, width: int, stride: int, ceil_mode: bool) -> Dim:
    """The number of windows of PyTorch's pooling along an axis."""
    count: Dim = (size + 2 * side - width + (stride - 1) * ceil_mode) // stride + 1
    begins_behind = ceil_mode and (count - 1) * stride >= size + side
    return count - begins_behind


class _Pooling(Layer, abstract=True):
    """The base of pooling over windows. Without `strides` windows do not overlap.

    `ceil_mode` is PyTorch's: a partial window at the end counts as a window, too.
    """

    memory_layout = "data_format"
    reads_padded = True
    mode: ClassVar[Literal["max", "avg"]]

    pool_size: Window
    strides: Window | None = None
    padding: Any = "valid"
    data_format: DataFormat = "channels_last"
    ceil_mode: bool = False
    """Whether a window may extend beyond the end."""

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        spans = tuple(size - 1 for size in self.pool_size)
        return streamed(roles[0], self.data_format, spans, self.steps, self.padding)

    @classmethod
    def instead(cls, argument: str, value: object) -> str | None:
        if argument == "padding" and cls.mode == "max" and not isinstance(value, str):
            return "a number is added at both ends of an axis, and is at most half of `pool_size`"
        return margin_instead(argument, value, f"ZeroPadding{cls.rank}D")

    @property
    def steps(self) -> tuple[int, ...]:
        """The strides, given or default."""
        return self.strides or self.pool_size

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        if isinstance(self.padding, tuple):
            return assemble(x, self._widened(x, self.padding), x.shape[self._channels], self.data_format)
        if self.ceil_mode:
            return assemble(x, self._rounded_up(x), x.shape[self._channels], self.data_format)
        sizes = slide(
            x,
            spatial(x, self.data_format),
            self.pool_size,
            self.steps,
            self.padding,
            layer=self.spec_name,
            argument="pool_size",
        )
        return assemble(x, sizes, x.shape[self._channels], self.data_format)

    @property
    def _channels(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def _widened(self, x: Tensor, margins: tuple[int, ...]) -> tuple[Dim, ...]:
        """The output sizes where the lowest value is before and after each axis."""
        counts: list[Dim] = []
        sizes = spatial(x, self.data_format)
        for size, side, width, stride in zip(sizes, margins, self.pool_size, self.steps, strict=True):
            if 2 * side > width:
                message = f"a padding of {side} is more than half of the window, {width}"
                help = f"a number up to {width // 2}, or ZeroPadding{self.rank}D before it, which adds zeros"
                raise LayerError("out-of-range", message, help=help, argument="padding")
            if self.ceil_mode and not isinstance(size, int):
                message = "`ceil_mode` with a number as `padding` needs sizes that are known"
                raise LayerError("out-of-range", message, argument="ceil_mode")
            if isinstance(size, int) and size + 2 * side < width:
                message = f"{self.spec_name} slides a window of {width} over {size} of {x}"
                raise LayerError("window-too-large", message, argument="pool_size", inputs=(0,))
            count = (size + 2 * side - width) // stride + 1
            counts.append(_count(size, side, width, stride, True) if self.ceil_mode else count)
        return tuple(counts)

    def _rounded_up(self, x: Tensor) -> tuple[Dim, ...]:
        """The output sizes where the last window may extend past the end."""
        if self.padding == "same":
            message = "`ceil_mode` rounds up what `padding: valid` leaves; `same` has a window for all"
            raise LayerError("out-of-range", message, argument="ceil_mode")
        counts: list[Dim] = []
        for size, width, stride in zip(spatial(x, self.data_format), self.pool_size, self.steps, strict=True):
            if stride > width:
                message = "with `ceil_mode` no stride is larger than its window"
                raise LayerError("out-of-range", message, argument="strides")
            count = (size - width + stride - 1) // stride + 1
            small = self._within and isinstance(size, int) and size < width
            if small or (isinstance(count, int) and count < 1):
                message = f"{self.spec_name} slides a window of {width} over {size} of {x}"
                raise LayerError("window-too-large", message, argument="pool_size", inputs=(0,))
            counts.append(count)
        return tuple(counts)

    @property
    def _within(self) -> bool:
        """Whether PyTorch refuses windows that are larger than the input without its padding."""
        return self.mode == "avg" and self.rank == 3

    def shortest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        if not (self.ceil_mode and self._within):
            return ()
        return tuple(zip(spatial(x, self.data_format), self.pool_size, strict=True))

    def padded(self, pad: Layer, positive: bool) -> Layer | None:
        """PyTorch pads a maximum with the lowest value: the same as zeros where no value is negative."""
        takes = self.rank > 1 and not self._within and (positive or self.mode == "avg")
        margins = pad.pads() if takes else None
        if (
            margins is None
            or self.padding != "valid"
            or self.ceil_mode
            or getattr(pad, "data_format", None) != self.data_format
        ):
            return None
        sides = tuple(before for before, _ in margins)
        alike = all(before == behind for before, behind in margins)
        fits = all(2 * side <= size for side, size in zip(sides, self.pool_size, strict=True))
        return self.model_copy(update={"padding": sides}) if alike and fits else None

    def code(self, site: Site) -> Code:
        sizes = spatial(site.x, self.data_format)
        known = all(isinstance(size, int) for size in sizes)
        windows = zip(sizes, self.pool_size, strict=True)
        inside = not self._within or all(isinstance(size, int) and size >= width for size, width in windows)
        function = f"F.{self.mode}_pool{self.rank}d"
        constants = {"pool_size": short(self.pool_size)}
        text = "{x}, {pool_size}"
        if self.strides is not None:
            constants["strides"] = short(self.strides)
            text += ", stride={strides}"
        count = "" if self.mode == "max" else ", count_include_pad=False"
        padding: Any = self.padding
        if isinstance(padding, tuple):  # of a spec, or from `padded`
            constants["padding"] = short(padding)
            text += ", padding={padding}"
        if self.ceil_mode:
            return Code(f"{function}({text}, ceil_mode=True)", constants=constants)
        if isinstance(padding, tuple):
            pass
        elif padding == "valid":
            if self.mode == "max" and self.rank == 1 and not known and site.exporting:
                function = "max_pool1d"
        elif not inside:
            return self._padded()
        elif site.settled and max(self.steps) == 1 and all(size % 2 for size in self.pool_size):
            constants["padding"] = short(tuple(size // 2 for size in self.pool_size))
            text += f", padding={{padding}}{count}"
        elif (same_padding := self._own_padding(site)) is not None:
            constants |= same_padding
            text += f", padding={{padding}}, ceil_mode={{ceil_mode}}{count}"
        else:
            return self._padded()
        defaults: dict[str, Leaf] = {"padding": 0, "ceil_mode": False}
        return Code(f"{function}({text})", constants=constants, defaults=defaults)

    def _own_padding(self, site: Site) -> dict[str, Leaf] | None:
        """PyTorch's arguments that give Keras' `same` at these sizes; None where there are none.

        PyTorch's padding is symmetric, and `ceil_mode` adds the windows that end past the input.
        """
        sizes = spatial(site.x, self.data_format)
        pads = same_pads(sizes, self.pool_size, self.steps, (1,) * self.rank)
        if pads is None or not site.settled or not all(isinstance(size, int) for size in sizes):
            return None
        padding = tuple(before for before, _ in pads)
        windows = list(zip(sizes, padding, self.pool_size, self.steps, strict=True))
        if any(2 * side > width for _, side, width, _ in windows):
            return None
        for ceil_mode in (max(self.steps) > 1, False):
            if all(_count(*window, ceil_mode) == -(-window[0] // window[3]) for window in windows):
                return {"padding": short(padding), "ceil_mode": ceil_mode}
        return None

    def _padded(self) -> Code:
        """A helper, where the padding depends on the size."""
        name = f"{self.mode}_pool3d_same" if self.rank == 3 else f"{self.mode}_pool_same"
        if self.rank > 1:
            text, pool_size, strides = "({x}, {pool_size}, {strides})", self.pool_size, self.steps
        else:
            text = "({x}.unsqueeze(2), {pool_size}, {strides}).squeeze(2)"
            pool_size, strides = (1, *self.pool_size), (1, *self.steps)
        return Code(name + text, constants={"pool_size": pool_size, "strides": strides})

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * product(self.pool_size)


class _MaxPooling(_Pooling, abstract=True):
    mode = "max"

    pool_size: Window = (2,)
    padding: Margin = "valid"


class _AveragePooling(_Pooling, abstract=True):
    mode = "avg"

    padding: Literal["valid", "same"] = "valid"


class MaxPooling1D(_MaxPooling, also="MaxPool1d MaxPool1D"):
    """The largest value of each window of a sequence."""

    examples = (Example({}, ((8, 3),)),)


class MaxPooling2D(_MaxPooling, also="MaxPool2d MaxPool2D"):
    """The largest value of each window of an image. A number as `padding` widens it, as in PyTorch."""

    examples = (Example({}, ((6, 6, 3),)),)


class AveragePooling1D(_AveragePooling, also="AvgPool1d AvgPool1D AvgPooling1D"):
    """The mean of each window of a sequence. Padding does not count."""

    examples = (Example({"pool_size": 2}, ((9, 3),)),)


class AveragePooling2D(_AveragePooling, also="AvgPool2d AvgPool2D AvgPooling2D"):
    """The mean of each window of an image. Padding does not count."""

    examples = (Example({"pool_size": 2}, ((6, 7, 3),)),)


class MaxPooling3D(_MaxPooling, also="MaxPool3d MaxPool3D"):
    """The largest value of each window of a volume."""

    examples = (Example({}, ((4, 4, 6, 3),)),)


class AveragePooling3D(_AveragePooling, also="AvgPool3d AvgPool3D AvgPooling3D"):
    """The mean of each window of a volume. Padding does not count."""

    halves = False

    examples = (Example({"pool_size": 2}, ((4, 5, 6, 3),)),)


class _GlobalPooling(Layer, abstract=True):
    """The base of pooling over a whole sequence, image or volume. `keepdims` leaves axes of size 1."""

    memory_layout = "any"
    flops_per_input = 1
    method: ClassVar[Literal["amax", "mean"]]

    data_format: DataFormat = "channels_last"
    keepdims: bool = False

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        return assemble(x, (1,) * self.rank if self.keepdims else (), channels, self.data_format)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], range(1, site.x.rank), remedy=SO_FAR)

    def code(self, site: Site) -> Code:
        start = 1 if self.data_format == "channels_last" else 2
        axes = tuple(site.axis(axis) for axis in range(start, start + self.rank))
        text = f"{{x}}.{self.method}({{axes}}" + (", keepdim=True)" if self.keepdims else ")")
        return Code(text, constants={"axes": short(axes) if len(axes) == 1 else axes})


class _GlobalMax(_GlobalPooling, abstract=True):
    method = "amax"


class _GlobalAverage(_GlobalPooling, abstract=True):
    method = "mean"


class GlobalMaxPooling1D(_GlobalMax, also="GlobalMaxPool1D"):
    """The largest value of each channel of a sequence."""

    examples = (Example({}, ((7, 3),)),)


class GlobalMaxPooling2D(_GlobalMax, also="GlobalMaxPool2D"):
    """The largest value of each channel of an image."""

    examples = (Example({}, ((5, 4, 3),)),)


class GlobalAveragePooling1D(_GlobalAverage, also="GlobalAvgPool1D GlobalAvgPooling1D"):
    """The mean of each channel of a sequence, over the steps that a mask keeps."""

    arguments = (Argument("x"), Argument("mask", required=False))
    examples = (Example({}, ((7, 3),)),)

    def infer(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        output = super().infer(x)
        steps = x if self.data_format == "channels_last" else x.with_shape(x.shape[0], x.shape[2], x.shape[1])
        need_mask(mask, steps, layer=self.spec_name)
        return output

    def code(self, site: Site) -> Code:
        if site.inputs[1] is None:
            return super().code(site)
        axis = site.axis(1 if self.data_format == "channels_last" else 2)
        call = (
            "masked_mean({x}, {mask}, {axis}, keepdim=True)"
            if self.keepdims
            else "masked_mean({x}, {mask}, {axis})"
        )
        return Code(call, constants={"axis": axis})


class GlobalAveragePooling2D(_GlobalAverage, also="GlobalAvgPool2D GlobalAvgPooling2D"):
    """The mean of each channel of an image."""

    examples = (Example({}, ((5, 4, 3),)),)


class GlobalMaxPooling3D(_GlobalMax, also="GlobalMaxPool3D"):
    """The largest value of each channel of a volume."""

    examples = (Example({}, ((3, 5, 4, 2),)),)


class GlobalAveragePooling3D(_GlobalAverage, also="GlobalAvgPool3D GlobalAvgPooling3D"):
    """The mean of each channel of a volume."""

    examples = (Example({}, ((3, 5, 4, 2),)),)
