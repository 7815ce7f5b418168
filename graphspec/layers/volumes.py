"""Layers over volumes and videos: `[depth, height, width, channels]`, or frames for the depth."""

from __future__ import annotations

from typing import ClassVar, Literal

from graphspec.contract.layer import Code, Example, Memory, Site
from graphspec.contract.windows import DataFormat, Window3, need_spatial, short, spatial
from graphspec.layers.convolution import _Convolution
from graphspec.layers.noise_layers import _SpatialDropout
from graphspec.layers.pooling import _GlobalPooling, _Pooling
from graphspec.layers.shaping import Margins3, _Cropping, _Spatial, _ZeroPadding
from graphspec.tensor import Tensor


class Conv3D(_Convolution, also="Conv3d Convolution3D"):
    """A convolution over a volume `[depth, height, width, channels]`."""

    rank: ClassVar[int] = 3
    module: ClassVar[str] = "nn.Conv3d"

    kernel_size: Window3
    strides: Window3 = (1, 1, 1)
    padding: Literal["valid", "same"] = "valid"
    dilation_rate: Window3 = (1, 1, 1)

    examples = (
        Example({"filters": 4, "kernel_size": 3}, ((5, 4, 6, 3),)),
        Example(
            {"filters": 4, "kernel_size": [3, 1, 5], "padding": "same", "activation": "relu"}, ((5, 4, 6, 3),)
        ),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, ((5, 4, 6, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": [2, 1, 3]}, ((6, 4, 7, 3),)),
        Example({"filters": 4, "kernel_size": [2, 3, 4], "padding": "same"}, ((5, 4, 6, 3),)),
        Example(
            {"filters": 4, "kernel_size": 2, "padding": "same", "strides": 3, "use_bias": False},
            ((7, 6, 5, 3),),
        ),
        Example({"filters": 2, "kernel_size": 3, "strides": [1, 2, 3]}, ((3, 5, 9, 3),)),
        Example(
            {"filters": 2, "kernel_size": 3, "dilation_rate": [1, 2, 1], "padding": "same"}, ((3, 5, 4, 3),)
        ),
        Example({"filters": 2, "kernel_size": 2, "dilation_rate": 2}, ((3, 5, 4, 3),)),
        Example({"filters": 6, "kernel_size": 2, "groups": 3, "activation": "softmax"}, ((3, 5, 4, 3),)),
        Example(
            {"filters": 4, "kernel_size": 2, "data_format": "channels_first", "activation": "softmax"},
            ((3, 5, 4, 3),),
        ),
        Example(
            {
                "filters": 4,
                "kernel_size": [3, 2, 2],
                "kernel_initializer": "he_normal",
                "bias_initializer": "glorot_uniform",
            },
            ((3, 5, 4, 3),),
        ),
    )


_WINDOWS = (
    Example({"pool_size": 2}, ((4, 5, 6, 3),)),
    Example({"pool_size": [2, 3, 1], "strides": [1, 2, 2]}, ((4, 5, 6, 3),)),
    Example({"pool_size": 2, "padding": "same"}, ((5, 4, 3, 2),)),
    Example({"pool_size": 3, "strides": 2, "padding": "same"}, ((6, 5, 4, 2),)),
    Example({"pool_size": 3, "strides": 1, "padding": "same"}, ((3, 5, 4, 2),)),
    Example({"pool_size": [2, 3, 4], "strides": [1, 2, 1], "padding": "same"}, ((3, 5, 6, 2),)),
    Example({"pool_size": 5, "strides": 3, "padding": "same"}, ((7, 6, 8, 2),)),
    Example({"pool_size": 2, "data_format": "channels_first"}, ((3, 4, 5, 6),)),
    Example({"pool_size": 3, "data_format": "channels_first", "padding": "same"}, ((2, 4, 5, 6),)),
)


class MaxPooling3D(_Pooling, also="MaxPool3d MaxPool3D"):
    """The largest value of each window of a volume."""

    rank: ClassVar[int] = 3
    mode: ClassVar[Literal["max", "avg"]] = "max"

    pool_size: Window3 = (2, 2, 2)
    strides: Window3 | None = None

    examples = (Example({}, ((4, 4, 6, 3),)), *_WINDOWS)


class AveragePooling3D(_Pooling, also="AvgPool3d AvgPool3D"):
    """The mean of each window of a volume. Padding does not count."""

    rank: ClassVar[int] = 3
    mode: ClassVar[Literal["max", "avg"]] = "avg"

    pool_size: Window3
    strides: Window3 | None = None

    examples = _WINDOWS


_GLOBAL = (
    Example({}, ((3, 5, 4, 2),)),
    Example({"keepdims": True}, ((3, 5, 4, 2),)),
    Example({"data_format": "channels_first", "keepdims": True}, ((2, 3, 5, 4),)),
)


class GlobalMaxPooling3D(_GlobalPooling, also="GlobalMaxPool3D AdaptiveMaxPool3d"):
    """The largest value of each channel of a volume."""

    rank: ClassVar[int] = 3
    method: ClassVar[Literal["amax", "mean"]] = "amax"
    examples = _GLOBAL


class GlobalAveragePooling3D(_GlobalPooling, also="GlobalAvgPool3D AdaptiveAvgPool3d"):
    """The mean of each channel of a volume."""

    rank: ClassVar[int] = 3
    method: ClassVar[Literal["amax", "mean"]] = "mean"
    examples = _GLOBAL


class SpatialDropout3D(_SpatialDropout, also="Dropout3d"):
    """Drops whole channels of volumes: each is kept, or 0 at all of its places."""

    rank: ClassVar[int] = 3

    data_format: DataFormat = "channels_last"

    examples = (
        Example({"rate": 0.25}, ((2, 2, 3, 90),)),
        Example({"rate": 0.5, "seed": None, "data_format": "channels_first"}, ((90, 2, 3, 2),)),
    )


class ZeroPadding3D(_ZeroPadding, also="ZeroPad3d ConstantPad3d"):
    """Zeros around a volume: `padding` of them, `[depth, height, width]`, or a pair for each of the three."""

    rank: ClassVar[int] = 3

    padding: Margins3 = ((1, 1), (1, 1), (1, 1))

    examples = (
        Example({}, ((2, 3, 4, 2),)),
        Example({"padding": 2}, ((2, 3, 4, 2),)),
        Example({"padding": [0, 3, 1]}, ((2, 3, 4, 2),)),
        Example({"padding": [[0, 1], [2, 3], [4, 0]]}, ((2, 3, 4, 2),)),
        Example({"padding": [[0, 1], [2, 3], [1, 1]], "data_format": "channels_first"}, ((2, 3, 4, 5),)),
    )


class Cropping3D(_Cropping):
    """A volume without `cropping` at each side, `[depth, height, width]`, or a pair for each of the three."""

    rank: ClassVar[int] = 3

    cropping: Margins3 = ((1, 1), (1, 1), (1, 1))
    data_format: DataFormat = "channels_last"

    examples = (
        Example({}, ((4, 3, 5, 2),)),
        Example({"cropping": 0}, ((4, 3, 5, 2),)),
        Example({"cropping": [1, 0, 2]}, ((4, 3, 5, 2),)),
        Example({"cropping": [[0, 1], [2, 0], [1, 3]]}, ((4, 3, 5, 2),)),
        Example({"cropping": [[1, 1], [0, 2], [0, 0]], "data_format": "channels_first"}, ((2, 4, 3, 5),)),
    )


class UpSampling3D(_Spatial):
    """A volume with each of its places `size` times along each axis."""

    rank: ClassVar[int] = 3

    size: Window3 = (2, 2, 2)
    data_format: DataFormat = "channels_last"

    examples = (
        Example({}, ((2, 3, 4, 2),)),
        Example({"size": 3}, ((2, 3, 2, 2),)),
        Example({"size": [1, 2, 3]}, ((2, 3, 4, 2),)),
        Example({"size": [41, 1, 1]}, ((4, 2, 1, 1),)),
        Example({"size": [2, 1, 3], "data_format": "channels_first"}, ((2, 3, 4, 5),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        sizes = zip(spatial(x, self.data_format), self.size, strict=True)
        return self.resized(x, tuple(size * times for size, times in sizes))

    def memory(self, x: Tensor) -> Memory:
        return "first" if self.data_format == "channels_last" else "spec"

    def code(self, site: Site) -> Code:
        # `nearest` multiplies by a rounded 1 / size, which from 41 on can be a place off
        mode = "nearest-exact" if max(self.size) > 40 else "nearest"
        text = f'F.interpolate({{x}}, scale_factor={{size}}, mode="{mode}")'
        return Code(text, constants={"size": short(self.size)})
