"""What brings images and other numbers to the size and range that a network takes."""

from __future__ import annotations

from typing import Any, Literal

from graphspec.contract.fields import Positive
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import (
    Code,
    Example,
    Layer,
    Leaf,
    Memory,
    Site,
)
from graphspec.contract.windows import AXES, DataFormat, assemble, need_axes, need_spatial, spatial
from graphspec.tensor import Dim, Tensor, product


class Rescaling(Layer):
    """`x * scale + offset`, in floats."""

    supports_masking = True

    scale: float
    offset: float = 0.0

    examples = (
        Example({"scale": 0.0625}, ((3, 4),)),
        Example({"scale": 2, "offset": -1.0}, ((2, 2, 1),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        return x if x.is_float else x.with_dtype("float32")

    def memory(self, *inputs: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        whole = round(1 / self.scale) if 0 < abs(self.scale) < 1 else 0
        parts = abs(whole) > 1 and 1 / whole == self.scale  # 1/255, as it is written
        scale: Leaf = float(self.scale)
        if parts:
            scale = whole
        elif self.scale == int(self.scale):
            scale = int(self.scale)
        x = "{x}" if site.x.is_float else "{x}.to({float})"
        text = f"{x} / {{scale}}" if parts else f"{x} * {{scale}}"
        text += " + {offset}" if self.offset else ""
        return Code(text, constants={"scale": scale, "offset": float(self.offset)})

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * (2 if self.offset else 1)


Interpolation = Literal["bilinear", "nearest", "bicubic"]


def resized(name: str, x: Tensor, size: tuple[int, int], data_format: DataFormat) -> Tensor:
    """The type of images in another size."""
    need_float(x, layer=name)
    need_spatial(x, 2, data_format, layer=name)
    return assemble(x, size, x.shape[-1 if data_format == "channels_last" else 1], data_format)


def interpolated(x: str, size: tuple[int, int], interpolation: Interpolation, antialias: bool) -> Code:
    """The call that resizes images whose channels lie at axis 1 in memory."""
    constants: dict[str, Leaf] = {"size": size}
    if interpolation == "nearest":
        return Code(f'F.interpolate({x}, {{size}}, mode="nearest-exact")', constants=constants)
    smooth = ", antialias=True" if antialias else ""
    return Code(f'F.interpolate({x}, {{size}}, mode="{interpolation}"{smooth})', constants=constants)


CASES: tuple[dict[str, Any], ...] = (
    {},
    {"interpolation": "nearest"},
    {"interpolation": "bicubic", "antialias": True},
    {"antialias": True},
)


class Resizing(Layer):
    """Images of `height` and `width`; `antialias` smooths what bilinear and bicubic make smaller."""

    height: Positive
    width: Positive
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    data_format: DataFormat = "channels_last"

    examples = (
        *(Example({"height": 3, "width": 7, **case}, ((6, 5, 2),)) for case in CASES),
        Example({"height": 3, "width": 7, "data_format": "channels_first"}, ((2, 6, 5),)),
    )

    @property
    def halves(self) -> bool:  # type: ignore[override]
        """Only what smooths needs more."""
        return not self.antialias

    def infer(self, x: Tensor) -> Tensor:
        return resized("Resizing", x, (self.height, self.width), self.data_format)

    def memory(self, x: Tensor) -> Memory:
        return "first" if self.data_format == "channels_last" else "spec"

    def code(self, site: Site) -> Code:
        return interpolated("{x}", (self.height, self.width), self.interpolation, self.antialias)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * 7


class CenterCrop(Layer):
    """A window of `height` and `width` in the middle of each image.

    Where images are smaller, the largest window in the middle that has this aspect, brought to this size.
    """

    height: Positive
    width: Positive
    data_format: DataFormat = "channels_last"

    examples = (
        Example({"height": 3, "width": 4}, ((6, 7, 2),)),
        Example({"height": 3, "width": 4, "data_format": "channels_first"}, ((2, 5, 4),)),
        Example({"height": 5, "width": 7}, ((5, 7, 1),)),
        Example({"height": 4, "width": 6}, ((5, 4, 1),)),
        Example({"height": 2, "width": 3}, ((5, 4, 1),), dtype="uint8", high=256),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_axes(x, 2, self.data_format, layer="CenterCrop")
        axes = (1, 2) if self.data_format == "channels_last" else (2, 3)
        for axis, what in zip(axes, AXES[2], strict=True):
            known_channels(x, axis, layer="CenterCrop", what=what)
        x = x if x.is_float else x.with_dtype("float32")
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        return assemble(x, (self.height, self.width), channels, self.data_format)

    def memory(self, x: Tensor) -> Memory:
        return "first" if self.data_format == "channels_last" else "spec"

    def code(self, site: Site) -> Code:
        x = "{x}" if site.x.is_float else "{x}.float()"
        height, width = spatial(site.x, self.data_format)
        assert isinstance(height, int) and isinstance(width, int)
        down, right = height - self.height, width - self.width
        if down < 0 or right < 0:
            constants: dict[str, Leaf] = {"height": self.height, "width": self.width}
            return Code(f"fit({x}, {{height}}, {{width}})", constants=constants, helpers=("fit",))
        top, left = down // 2, right // 2
        constants = {"top": top, "bottom": top + self.height, "left": left, "right": left + self.width}
        return Code(f"{x}[:, :, {{top}}:{{bottom}}, {{left}}:{{right}}]", constants=constants)
