"""Preprocessing: rescaling, resizing and cropping."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Finite, Positive, as_tuple
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, Memory, Site
from graphspec.contract.streaming import Streaming, frame
from graphspec.contract.windows import AXES, DataFormat, assemble, need_axes, need_spatial, spatial
from graphspec.layers.upsampling import need_smooth
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of

Each = Annotated[tuple[Finite, ...], BeforeValidator(as_tuple), Field(min_length=1)]
"""A number for each element of the last axis."""


class Rescaling(Layer):
    """`x * scale + offset`, in floats. Both are numbers, or lists with one per channel (last axis)."""

    supports_masking = True

    scale: float | Each
    """Number that the input is multiplied by."""
    offset: float | Each = 0.0
    """Number that is added after `scale`."""

    examples = (Example({"scale": 0.0625}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        for name in ("scale", "offset"):
            value = getattr(self, name)
            if isinstance(value, tuple) and x.shape[-1] not in (len(value), 1):
                message = f"`{name}` has {len(value)} numbers, and the last axis of {x} another size"
                raise LayerError("shapes-differ", message, argument=name, inputs=(0,))
        shape = x.shape
        for value in (self.scale, self.offset):
            if isinstance(value, tuple):
                shape = (*shape[:-1], len(value))
        return Tensor(shape, x.dtype if x.is_float else "float32")

    def memory(self, *inputs: Tensor) -> Memory:
        lists = isinstance(self.scale, tuple) or isinstance(self.offset, tuple)
        return "spec" if lists else "any"

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])

    def code(self, site: Site) -> Code:
        x = "{x}" if site.x.is_float else "{x}.to({float})"
        offset = ""
        constants: dict[str, Leaf] = {"offset": self.offset}
        if isinstance(self.offset, tuple):
            offset = f" + {x}.new_tensor({{offset}})"
        elif self.offset:
            negative = self.offset < 0 and site.settled
            offset = " - {offset}" if negative else " + {offset}"
            constants["offset"] = abs(float_of(self.offset)) if negative else float_of(self.offset)
        if isinstance(self.scale, tuple):
            constants["scale"] = self.scale
            return Code(f"{x} * {x}.new_tensor({{scale}}){offset}", constants=constants)
        if not site.settled:
            return Code(f"{x} * {{scale}}{offset}", constants={**constants, "scale": self.scale})
        divisor = round(1 / self.scale) if 0 < abs(self.scale) < 1 else 0
        parts = abs(divisor) > 1 and 1 / divisor == self.scale  # 1/255, as people write it
        scale: Leaf = float_of(self.scale)
        if parts:
            scale = divisor
        elif self.scale == int(self.scale) and abs(self.scale) < 2**53:
            scale = int(self.scale)
        text = f"{x} / {{scale}}" if parts else f"{x} * {{scale}}"
        return Code(text + offset, constants={**constants, "scale": scale})

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * (2 if self.offset else 1)


Interpolation = Literal["bilinear", "nearest", "bicubic"]


def resized(name: str, x: Tensor, size: tuple[Dim, ...], data_format: DataFormat) -> Tensor:
    """The type of the resized images."""
    need_float(x, layer=name)
    need_spatial(x, 2, data_format, layer=name)
    return assemble(x, size, x.shape[-1 if data_format == "channels_last" else 1], data_format)


def interpolated(
    x: str,
    size: tuple[int, int] | str,
    interpolation: Interpolation,
    antialias: bool,
    align_corners: bool = False,
) -> Code:
    """The call that resizes images that have their channels at axis 1 in memory, to a size or its code."""
    constants: dict[str, Leaf] = {} if isinstance(size, str) else {"size": size}
    wanted = size if isinstance(size, str) else "{size}"
    if interpolation == "nearest":
        return Code(f'F.interpolate({x}, {wanted}, mode="nearest-exact")', constants=constants)
    smooth = ", antialias=True" if antialias else ""
    smooth += ", align_corners=True" if align_corners else ""
    return Code(f'F.interpolate({x}, {wanted}, mode="{interpolation}"{smooth})', constants=constants)


SMALL = ((6, 5, 2),)
"""An image of an example."""


class Resizing(Layer):
    """Resizes images to `height` and `width`; `antialias` smooths before bilinear and bicubic downscaling.

    To keep the aspect ratio, `crop_to_aspect_ratio` first crops both sides, and `pad_to_aspect_ratio` first
    pads them with `fill_value`. `align_corners` is PyTorch's: the corner pixels stay at the corners.
    """

    memory_layout = "data_format"
    flops_per_output = 7

    height: Positive
    width: Positive
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    crop_to_aspect_ratio: bool = False
    """Whether the image is cropped to the shape's aspect."""
    pad_to_aspect_ratio: bool = False
    """Whether the image is padded to the shape's aspect."""
    fill_mode: Literal["constant"] = "constant"
    fill_value: Finite = 0.0
    align_corners: bool = False
    data_format: DataFormat = "channels_last"

    examples = (Example({"height": 3, "width": 7}, ((6, 5, 2),)),)

    def fitted(self, x: Tensor) -> str:
        """The images cropped or padded to the aspect ratio, with channels at axis 1. Raises `LayerError`."""
        if not (self.crop_to_aspect_ratio or self.pad_to_aspect_ratio):
            return "{x}"
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            message = "Resizing crops or pads to keep the aspect, not both"
            raise LayerError("out-of-range", message, argument="pad_to_aspect_ratio")
        height, width = spatial(x, self.data_format)
        if not isinstance(height, int) or not isinstance(width, int):
            message = f"Resizing needs to know height and width of {x} to keep the aspect"
            raise LayerError("unknown-size", message, inputs=(0,))
        tall, wide = width * self.height // self.width, height * self.width // self.height
        if self.pad_to_aspect_ratio:
            down, right = (max(height, tall) - height) // 2, (max(width, wide) - width) // 2
            value = f", value={float(self.fill_value)!r}" if self.fill_value else ""
            return f"F.pad({{x}}, ({right}, {right}, {down}, {down}){value})" if down or right else "{x}"
        tall, wide = max(min(height, tall), 1), max(min(width, wide), 1)
        top, left = (height - tall) // 2, (width - wide) // 2
        if (tall, wide) == (height, width):
            return "{x}"
        rows = ":" if tall == height else f"{top}:{top + tall}"
        return f"{{x}}[:, :, {rows}]" if wide == width else f"{{x}}[:, :, {rows}, {left}:{left + wide}]"

    @property
    def halves(self) -> bool:  # type: ignore[override]
        """Only antialiasing needs more precision."""
        return not self.antialias

    def infer(self, x: Tensor) -> Tensor:
        need_smooth("Resizing", self.interpolation, self.align_corners)
        output = resized("Resizing", x, (self.height, self.width), self.data_format)
        self.fitted(x)
        return output

    def code(self, site: Site) -> Code:
        size = (self.height, self.width)
        return interpolated(self.fitted(site.x), size, self.interpolation, self.antialias, self.align_corners)


class CenterCrop(Layer):
    """A window of `height` and `width` in the center of each image.

    For smaller images, the largest centered window of this aspect ratio, resized.
    """

    memory_layout = "data_format"

    height: Positive
    width: Positive
    data_format: DataFormat = "channels_last"

    examples = (Example({"height": 3, "width": 4}, ((6, 7, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_axes(x, 2, self.data_format, layer="CenterCrop")
        axes = (1, 2) if self.data_format == "channels_last" else (2, 3)
        for axis, what in zip(axes, AXES[2], strict=True):
            known_channels(x, axis, layer="CenterCrop", what=what)
        x = x if x.is_float else x.with_dtype("float32")
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        return assemble(x, (self.height, self.width), channels, self.data_format)

    def code(self, site: Site) -> Code:
        x = "{x}" if site.x.is_float else "{x}.float()"
        height, width = spatial(site.x, self.data_format)
        assert isinstance(height, int) and isinstance(width, int)
        down, right = height - self.height, width - self.width
        if down < 0 or right < 0:
            constants: dict[str, Leaf] = {"height": self.height, "width": self.width}
            return Code(f"fit({x}, {{height}}, {{width}})", constants=constants)
        top, left = down // 2, right // 2
        constants = {"top": top, "bottom": top + self.height, "left": left, "right": left + self.width}
        return Code(f"{x}[:, :, {{top}}:{{bottom}}, {{left}}:{{right}}]", constants=constants)
