"""Convolutions that pad or crop as Keras does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.emit.library.padding import same_padding


class PaddedConv(nn.modules.conv._ConvNd):
    """Mixin: pads as Keras' `same` does at any stride, or `causal` before the start."""

    convolve: Any

    def __init__(
        self, *args: Any, padding: Any = "same", skips: bool = False, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.pads = padding
        # oneDNN writes out of bounds where a kernel of 1 strides over few channels
        self.skips = skips and self.kernel_size == (1, 1) and self.in_channels < 16

    def forward(self, x: Tensor) -> Tensor:
        if self.skips:
            x = x[:, :, :: self.stride[0], :: self.stride[1]]
            return F.conv2d(x, self.weight, self.bias, groups=self.groups)
        if self.pads == "valid":
            return super().forward(x)
        if self.pads == "causal":
            before = self.dilation[0] * (self.kernel_size[0] - 1)
            return super().forward(F.pad(x, (before, 0)))
        if self.pads != "same":  # numbers
            return self.convolve(
                x,
                self.weight,
                self.bias,
                self.stride,
                self.pads,
                self.dilation,
                self.groups,
            )
        pads = same_padding(x, self.kernel_size, self.stride, self.dilation)
        if torch.compiler.is_exporting() or pads[::2] != pads[1::2]:
            return super().forward(F.pad(x, pads))
        sides = pads[::-2]  # symmetric: no padded copy is needed
        return self.convolve(
            x, self.weight, self.bias, self.stride, sides, self.dilation, self.groups
        )


class PaddedConv1d(PaddedConv, nn.Conv1d):
    """nn.Conv1d that pads as Keras does."""

    convolve = F.conv1d


class PaddedConv2d(PaddedConv, nn.Conv2d):
    """nn.Conv2d padded as Keras' `same` at any stride: odd padding goes last."""

    convolve = F.conv2d


class PaddedConv3d(PaddedConv, nn.Conv3d):
    """nn.Conv3d padded as Keras' `same` at any stride: odd padding goes last."""

    convolve = F.conv3d


class CausalConv1d(nn.Conv1d):
    """nn.Conv1d with zeros before the start, so that no step sees a later one."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override, unused-ignore]
        before = self.dilation[0] * (self.kernel_size[0] - 1)
        return super().forward(F.pad(x, (before, 0)))


class CroppedConvTranspose1d(nn.ConvTranspose1d):
    """nn.ConvTranspose1d that crops `crop` more steps at the end, as Keras does."""

    def __init__(self, *args: Any, crop: int = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.crop = crop

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = super().forward(x)
        return y[..., : y.shape[-1] - self.crop]


class CroppedConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d that crops more rows and columns at the end, as Keras does."""

    def __init__(self, *args: Any, crop: int | tuple[int, int] = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.crop = crop if isinstance(crop, tuple) else (crop, crop)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = super().forward(x)
        height, width = self.crop
        return y[..., : y.shape[-2] - height, : y.shape[-1] - width]


class CroppedConvTranspose3d(nn.ConvTranspose3d):
    """nn.ConvTranspose3d that crops more planes at the end, as Keras does."""

    def __init__(self, *args: Any, crop: int | tuple[int, int, int] = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.crop = crop if isinstance(crop, tuple) else (crop,) * 3

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = super().forward(x)
        sizes = zip(y.shape[2:], self.crop, strict=True)
        depth, height, width = (size - crop for size, crop in sizes)
        return y[..., :depth, :height, :width]


class SeparableConv1d(nn.Module):
    """A depthwise convolution, then a pointwise one that mixes the channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        depth_multiplier: int = 1,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        channels = in_channels * depth_multiplier
        self.depthwise = nn.Conv1d(
            in_channels,
            channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.pointwise = nn.Conv1d(channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class SeparableConv2d(nn.Module):
    """A depthwise convolution, then a pointwise one that mixes the channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        depth_multiplier: int = 1,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
    ):
        super().__init__()
        channels = in_channels * depth_multiplier
        self.depthwise = nn.Conv2d(
            in_channels,
            channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class PaddedSeparable(nn.Module):
    """Mixin: pads as Keras' `same` does at any stride."""

    depthwise: Any

    def __init__(self, *args: Any, padding: Any = "same", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pads = padding == "same"

    def forward(self, x: Tensor) -> Tensor:
        if self.pads:
            conv = self.depthwise
            pads = same_padding(x, conv.kernel_size, conv.stride, conv.dilation)
            x = F.pad(x, pads)
        return super().forward(x)


class PaddedSeparableConv1d(PaddedSeparable, SeparableConv1d):
    """A SeparableConv1d that pads as Keras' `same` does at any stride."""


class PaddedSeparableConv2d(PaddedSeparable, SeparableConv2d):
    """A SeparableConv2d that pads as Keras' `same` does at any stride."""


def fill_depthwise_(w: Tensor, multiplier: int, fill: Callable[[Tensor], Any]) -> None:
    """Fills [C * M, 1, *kernel] as Keras does: `fill` gets [M, C, *kernel]."""
    kernel = w.new_empty(multiplier, len(w) // multiplier, *w.shape[2:])
    fill(kernel)
    w.detach().copy_(kernel.transpose(0, 1).reshape_as(w))


def conv_each(
    conv: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    groups: int = 1,
    **options: Any,
) -> Tensor:
    """A convolution with another kernel for each example, as groups of one image."""
    groups *= len(x)
    y = conv(x.flatten(0, 1)[None], weight.flatten(0, 1), groups=groups, **options)
    return y[0].unflatten(0, (len(x), -1))
