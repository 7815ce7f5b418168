"""Functions of keras.ops.image, and those that move pixels to channels and back.

Images are `[batch, height, width, channels]`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.windows import (
    DataFormat,
    Window,
    assemble,
    need_axes,
    need_spatial,
    slide,
    spatial,
)
from graphspec.layers.preprocessing import Interpolation, interpolated, resized
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product


class _Colours(Operation, abstract=True):
    """A conversion of images with three channels to another colour space."""

    flops_per_input = 8
    function: ClassVar[str]

    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((4, 5, 3),)),)

    @property
    def axis(self) -> int:
        """The axis of the channels."""
        return -1 if self.data_format == "channels_last" else 1

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        need_axes(x, 2, self.data_format, layer=f"`{self.spec_name}`")
        if x.shape[self.axis] != 3:
            message = f"`{self.spec_name}` takes images of 3 channels, and gets {x}"
            raise LayerError("shapes-differ", message, inputs=(0,))
        return x

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"axis": self.axis}
        return Code(f"{self.function}({{x}}, {{axis}})", constants=constants)


class RgbToHsv(_Colours, spec_name="image_rgb_to_hsv"):
    """Converts red, green and blue to hue, saturation and value."""

    function = "rgb_to_hsv"


class HsvToRgb(_Colours, spec_name="image_hsv_to_rgb"):
    """Converts hue, saturation and value to red, green and blue."""

    function = "hsv_to_rgb"


class RgbToGrayscale(_Colours, spec_name="image_rgb_to_grayscale"):
    """Converts red, green and blue to one channel of perceived brightness."""

    def infer(self, x: Tensor) -> Tensor:
        x = super().infer(x)
        return assemble(x, spatial(x, self.data_format), 1, self.data_format)

    def code(self, site: Site) -> Code:
        at = "..., " if self.data_format == "channels_last" else ":, "
        parts = ((0.2989, ":1"), (0.587, "1:2"), (0.114, "2:"))
        return Code(" + ".join(f"{weight} * {{x}}[{at}{part}]" for weight, part in parts))


Size = Annotated[int, Field(ge=0)]


class _Border(Operation, abstract=True):
    """Images with a border added or removed. For each axis, two of both ends and the size are given."""

    before: ClassVar[dict[str, str]]  # the axis' argument for both of its ends, by the axis' name
    behind: ClassVar[dict[str, str]]
    sign: ClassVar[int]  # 1 where the border is added, -1 where it is removed

    target_height: Positive | None = None
    """Output rows."""
    target_width: Positive | None = None
    """Output columns."""
    data_format: DataFormat = "channels_last"

    def borders(self, x: Tensor) -> list[tuple[int | None, int | None, Dim]]:
        """The border before and after each axis, and the output size; None where unknown."""
        need_axes(x, 2, self.data_format, layer=f"`{self.spec_name}`")
        margins = []
        for axis, size in zip(("height", "width"), spatial(x, self.data_format), strict=True):
            fields = self.before[axis], self.behind[axis], f"target_{axis}"
            before, behind, target = (getattr(self, field) for field in fields)
            if (before, behind, target).count(None) != 1:
                message = f"`{self.spec_name}` takes two of `{'`, `'.join(fields)}`"
                raise LayerError("missing-key", message, argument=fields[0])
            margins.append(self.border(x, size, (before, behind, target), fields))
        return margins

    def border(
        self, x: Tensor, size: Dim, borders: tuple[int | None, ...], fields: tuple[str, ...]
    ) -> tuple[int | None, int | None, Dim]:
        """The same of one axis."""
        before, behind, target = borders
        if before is not None and behind is not None:
            left = size + self.sign * (before + behind)
            if isinstance(left, int) and left < 1:
                raise self.refuse(x, fields[0])
            return before, behind, left
        assert target is not None
        known = before if before is not None else behind
        assert known is not None
        if not isinstance(size, int):
            message = f"`{self.spec_name}` to a `{fields[2]}` needs to know the size there of {x}"
            help = f"give `{fields[0]}` and `{fields[1]}`"
            raise LayerError("unknown-size", message, help=help, argument=fields[2], inputs=(0,))
        rest = self.sign * (target - size) - known
        if rest < 0:
            raise self.refuse(x, fields[2])
        return (before, rest, target) if before is not None else (rest, behind, target)

    def refuse(self, x: Tensor, argument: str) -> LayerError:
        """The error for sizes that are impossible."""
        message = f"`{self.spec_name}` has no such border for {x}"
        return LayerError("out-of-range", message, argument=argument, inputs=(0,))

    def infer(self, x: Tensor) -> Tensor:
        sizes = tuple(size for _, _, size in self.borders(x))
        return assemble(x, sizes, x.shape[-1 if self.data_format == "channels_last" else 1], self.data_format)


class CropImages(_Border, spec_name="image_crop_images"):
    """Crops images: removes a border."""

    before = {"height": "top_cropping", "width": "left_cropping"}
    behind = {"height": "bottom_cropping", "width": "right_cropping"}
    sign = -1

    top_cropping: Size | None = None
    """Rows to crop at the top."""
    left_cropping: Size | None = None
    """Columns to crop at the left."""
    bottom_cropping: Size | None = None
    """Rows to crop at the bottom."""
    right_cropping: Size | None = None
    """Columns to crop at the right."""

    examples = (
        Example(
            {"top_cropping": 1, "bottom_cropping": 2, "left_cropping": 0, "target_width": 3}, ((6, 5, 2),)
        ),
    )

    def code(self, site: Site) -> Code:
        slices = []
        for before, behind, _ in self.borders(site.x):
            slices.append(f"{before or ''}:{-behind if behind else ''}")
        at = ":, " if self.data_format == "channels_last" else "..., "
        return Code(f"{{x}}[{at}{', '.join(slices)}]")


class PadImages(_Border, spec_name="image_pad_images"):
    """Pads images with a border of zeros."""

    before = {"height": "top_padding", "width": "left_padding"}
    behind = {"height": "bottom_padding", "width": "right_padding"}
    sign = 1

    top_padding: Size | None = None
    """Rows of zeros at the top."""
    left_padding: Size | None = None
    """Columns of zeros at the left."""
    bottom_padding: Size | None = None
    """Rows of zeros at the bottom."""
    right_padding: Size | None = None
    """Columns of zeros at the right."""

    examples = (
        Example({"top_padding": 1, "bottom_padding": 2, "left_padding": 0, "target_width": 7}, ((6, 5, 2),)),
    )

    def code(self, site: Site) -> Code:
        rows, columns = ((before, behind) for before, behind, _ in self.borders(site.x))
        channels = (0, 0) if self.data_format == "channels_last" else ()
        return Code("F.pad({x}, {pads})", constants={"pads": (*channels, *columns, *rows)})


class _Patches(Operation, abstract=True):
    """Patches of images or volumes, as channels."""

    size: Window
    """Size of a patch along each axis: a number, or one for each."""
    strides: Window | None = None
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"

    def infer(self, x: Tensor) -> Tensor:
        name = f"`{self.spec_name}`"
        need_float(x, layer=name)
        need_spatial(x, self.rank, self.data_format, layer=name)
        image_sizes = spatial(x, self.data_format)
        if self.padding == "same" and not all(isinstance(size, int) for size in image_sizes):
            message = f"{name} with `padding: same` needs to know the sizes of {x}"
            raise LayerError("unknown-size", message, argument="padding", inputs=(0,))
        steps = self.strides or self.size
        left = slide(x, image_sizes, self.size, steps, self.padding, layer=name, argument="size")
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        return assemble(x, left, channels * product(self.size), self.data_format)

    def code(self, site: Site) -> Code:
        rank, last, steps = self.rank, self.data_format == "channels_last", self.strides or self.size
        x, constants = padded_to_same(site.x, self.size, steps, self.padding, self.data_format)
        for axis, (size, step) in enumerate(zip(self.size, steps, strict=True)):
            x += f".unfold({axis + (1 if last else 2)}, {{size{axis}}}, {{step{axis}}})"
            constants |= {f"size{axis}": size, f"step{axis}": step}
        # within a patch the channels change fastest, then the columns
        places = range(1, rank + 1) if last else range(2, rank + 2)
        channels, inside = rank + 1 if last else 1, range(rank + 2, 2 * rank + 2)
        order = (*places, *inside, channels) if last else (*inside, channels, *places)
        flat = f"{rank + 1}" if last else f"1, {rank + 1}"
        return Code(f"{x}.permute(0, {', '.join(map(str, order))}).flatten({flat})", constants=constants)


class ExtractPatches(_Patches, spec_name="image_extract_patches"):
    """Patches of `size`, flattened to channels, every `strides` pixels (by default side by side)."""

    rank = 2

    examples = (Example({"size": 2}, ((4, 6, 3),)),)


class ExtractPatches3D(_Patches, spec_name="image_extract_patches_3d"):
    """Patches of `size` of volumes `[batch, depth, height, width, channels]`, flattened to channels, every
    `strides` voxels (by default side by side).
    """

    rank = 3

    examples = (Example({"size": 2}, ((4, 6, 2, 3),)),)


def padded_to_same(
    x: Tensor, sizes: tuple[int, ...], steps: tuple[int, ...], padding: str, data_format: DataFormat
) -> tuple[str, dict[str, Leaf]]:
    """The expression of `x` with the border that `padding: same` adds, and its constants."""
    if padding != "same":
        return "{x}", {}
    pads: list[int] = []
    for n, width, step in zip(spatial(x, data_format), sizes, steps, strict=True):
        assert isinstance(n, int)
        total = max(width - step + -n % step, 0)
        pads = [total // 2, total - total // 2, *pads]
    if not any(pads):
        return "{x}", {}
    channels = (0, 0) if data_format == "channels_last" else ()
    return "F.pad({x}, {pads})", {"pads": (*channels, *pads)}


class _Blocks(Operation, abstract=True):
    """A conversion of blocks of `block_size` times `block_size` pixels."""

    block_size: Annotated[int, Field(ge=2)]
    """How many pixels a side make a block."""
    data_format: DataFormat = "channels_last"

    def parts(self, x: Tensor) -> tuple[tuple[Dim, ...], Dim]:
        """Height and width, and channels. Raises `LayerError` where `x` is not a batch of images."""
        need_axes(x, 2, self.data_format, layer=f"`{self.spec_name}`")
        return spatial(x, self.data_format), x.shape[-1 if self.data_format == "channels_last" else 1]

    def divided(self, x: Tensor, size: Dim, by: int, what: str) -> Dim:
        """`size` divided by a number that it must be a multiple of."""
        if size // by * by != size:
            message = f"`{self.spec_name}` divides the {what} by {by}, and {x} has {size}"
            raise LayerError("shapes-differ", message, argument="block_size", inputs=(0,))
        return size // by


class DepthToSpace(_Blocks, spec_name="depth_to_space"):
    """Moves channels to pixels: each pixel becomes a block of pixels, with fewer channels."""

    examples = (Example({"block_size": 2}, ((3, 5, 8),)),)

    def infer(self, x: Tensor) -> Tensor:
        sizes, channels = self.parts(x)
        left = self.divided(x, channels, self.block_size**2, "channels")
        return assemble(x, tuple(size * self.block_size for size in sizes), left, self.data_format)

    def code(self, site: Site) -> Code:
        if self.data_format == "channels_first":
            return Code("F.pixel_shuffle({x}, {size})", constants={"size": self.block_size})
        # unlike in F.pixel_shuffle, the channels of one pixel are adjacent
        text = "{x}.unflatten(3, {block}).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)"
        return Code(text, constants={"block": (self.block_size, self.block_size, -1)})


class SpaceToDepth(_Blocks, spec_name="space_to_depth"):
    """Moves pixels to channels: each block of pixels becomes one pixel, with more channels."""

    examples = (Example({"block_size": 2}, ((4, 6, 3),)),)

    def infer(self, x: Tensor) -> Tensor:
        sizes, channels = self.parts(x)
        left = tuple(
            self.divided(x, size, self.block_size, what)
            for size, what in zip(sizes, ("height", "width"), strict=True)
        )
        return assemble(x, left, channels * self.block_size**2, self.data_format)

    def code(self, site: Site) -> Code:
        if self.data_format == "channels_first":
            return Code("F.pixel_unshuffle({x}, {size})", constants={"size": self.block_size})
        text = "{x}.unflatten(2, {block}).unflatten(1, {block}).permute(0, 1, 3, 2, 4, 5).flatten(3)"
        return Code(text, constants={"block": (-1, self.block_size)})


class ImageResize(Operation, spec_name="image_resize", also="interpolate"):
    """Resizes images `[batch, height, width, channels]` to `size`, `[height, width]`, as `Resizing` does, or
    to the size of the images `like`.
    """

    memory_layout = "data_format"
    flops_per_output = 7
    arguments = (Argument("x"), Argument("like", required=False))

    size: Annotated[tuple[Positive, Positive], BeforeValidator(as_tuple)] | None = None
    """Height and width of the output."""
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    data_format: DataFormat = "channels_last"

    examples = (Example({"size": [3, 7]}, ((6, 5, 2),)),)

    @property
    def halves(self) -> bool:  # type: ignore[override]
        """Only antialiasing needs more precision."""
        return not self.antialias

    def infer(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        if (like is None) == (self.size is None):
            raise LayerError(
                "missing-key" if like is None else "input-count",
                "`image_resize` takes `size`, or images that are as large",
                help="write `like: image`, or `size: [224, 224]`",
                argument="size",
            )
        if like is not None and like.rank != 4:
            message = f"`image_resize` takes the height and width of images, and {{input1}} is {like}"
            raise LayerError("wrong-rank", message, inputs=(1,))
        size = self.size if like is None else spatial(like, self.data_format)
        assert size is not None
        return resized("`image_resize`", x, size, self.data_format)

    def code(self, site: Site) -> Code:
        return interpolated("{x}", self.size or "{like}.shape[2:]", self.interpolation, self.antialias)
