"""Upsampling of sequences, images and volumes."""

from __future__ import annotations

from typing import Any, Literal

from graphspec.contract.fields import Positive
from graphspec.contract.layer import Code, Example, LayerError, Site
from graphspec.contract.streaming import Streaming, enlarged
from graphspec.contract.windows import (
    DataFormat,
    Spatial,
    Window,
    need_spatial,
    short,
    spatial,
)
from graphspec.tensor import Dim, Tensor, product


class UpSampling1D(Spatial):
    """Repeats each step of a sequence `size` times."""

    size: Positive = 2

    examples = (Example({}, ((5, 3),)),)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return enlarged(roles[0], 1, (self.size,))

    def infer(self, x: Tensor) -> Tensor:
        self.need(x)
        return self.resized(x, (x.shape[1] * self.size,))

    def code(self, site: Site) -> Code:
        (axis,) = self.axes(site)
        constants = {"size": self.size, "axis": axis}
        return Code("{x}.repeat_interleave({size}, dim={axis})", constants=constants)


class _Enlarged(Spatial, abstract=True):
    """The base of layers that make each axis longer by its factor in `size`."""

    memory_layout = "data_format"

    size: Window = (2,)
    data_format: DataFormat = "channels_last"

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return enlarged(roles[0], 1 if self.data_format == "channels_last" else 2, self.size)

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        sizes = zip(spatial(x, self.data_format), self.size, strict=True)
        return self.resized(x, tuple(size * times for size, times in sizes))


class UpSampling2D(_Enlarged, also="Upsample UpsamplingNearest2d UpsamplingBilinear2d"):
    """Enlarges an image `size` times, by repeating or interpolating rows and columns.

    `align_corners` is PyTorch's: the corner pixels stay at the corners.
    """

    interpolation: Literal["nearest", "bilinear", "bicubic"] = "nearest"
    align_corners: bool = False

    examples = (Example({}, ((3, 4, 2),)),)

    def code(self, site: Site) -> Code:
        # `nearest` multiplies by a rounded 1 / size, which can be a pixel off from 41 on
        exact = self.interpolation == "nearest" and max(self.size) > 40
        return interpolated("nearest-exact" if exact else self.interpolation, self.size, self.align_corners)

    def infer(self, x: Tensor) -> Tensor:
        need_smooth(self.spec_name, self.interpolation, self.align_corners)
        return super().infer(x)

    def flops(self, site: Site) -> Dim:
        each = {"nearest": 0, "bilinear": 8, "bicubic": 32}[self.interpolation]
        return each * product(site.outputs[0].shape[1:])


class UpSampling3D(_Enlarged):
    """Repeats each voxel of a volume `size` times along each axis."""

    examples = (Example({}, ((2, 3, 4, 2),)),)

    def code(self, site: Site) -> Code:
        # `nearest` multiplies by a rounded 1 / size, which can be a place off from 41 on
        return interpolated("nearest-exact" if max(self.size) > 40 else "nearest", self.size)


def need_smooth(name: str, interpolation: str, align_corners: bool) -> None:
    """Refuses `align_corners` of pixels that are repeated."""
    if align_corners and interpolation == "nearest":
        message = f"{name} with `align_corners` interpolates, and `nearest` repeats"
        raise LayerError(
            "out-of-range", message, help="write `interpolation: bilinear`", argument="align_corners"
        )


def interpolated(mode: str, size: tuple[int, ...], align_corners: bool = False) -> Code:
    """`F.interpolate` by integer factors; `nearest` is its default."""
    named = "" if mode == "nearest" else f', mode="{mode}"'
    named += ", align_corners=True" if align_corners else ""
    return Code(f"F.interpolate({{x}}, scale_factor={{size}}{named})", constants={"size": short(size)})
