"""Functions of keras.ops that trade channels of images for pixels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphspec.contract.input_checks import need_rank
from graphspec.contract.layer import Code, Example, LayerError, Site
from graphspec.contract.windows import DataFormat, assemble, spatial
from graphspec.ops.operations import Operation
from graphspec.tensor import Dim, Tensor


class _Blocks(Operation, abstract=True):
    """Blocks of `block_size` times `block_size` pixels."""

    block_size: Annotated[int, Field(ge=2)]
    data_format: DataFormat = "channels_last"

    def parts(self, x: Tensor) -> tuple[tuple[Dim, ...], Dim]:
        """Height and width, and channels. Raises `LayerError` for what is no image."""
        last = self.data_format == "channels_last"
        shape = "[height, width, channels]" if last else "[channels, height, width]"
        need_rank(x, 4, layer=f"`{self.spec_name}`", shape=shape)
        return spatial(x, self.data_format), x.shape[-1 if last else 1]

    def divided(self, x: Tensor, size: Dim, by: int, what: str) -> Dim:
        """A size that must be a multiple."""
        if size // by * by != size:
            message = f"`{self.spec_name}` divides the {what} by {by}, and {x} has {size}"
            raise LayerError("shapes-differ", message, argument="block_size", inputs=(0,))
        return size // by


class DepthToSpace(_Blocks, spec_name="depth_to_space"):
    """Images with a block of pixels in place of each, of fewer channels."""

    examples = (
        Example({"block_size": 2}, ((3, 5, 8),)),
        Example({"block_size": 3, "data_format": "channels_first"}, ((18, 2, 4),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        sizes, channels = self.parts(x)
        left = self.divided(x, channels, self.block_size**2, "channels")
        return assemble(x, tuple(size * self.block_size for size in sizes), left, self.data_format)

    def code(self, site: Site) -> Code:
        if self.data_format == "channels_first":
            return Code("F.pixel_shuffle({x}, {size})", constants={"size": self.block_size})
        # unlike F.pixel_shuffle, the channels of one pixel lie together
        text = "{x}.unflatten(3, {block}).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)"
        return Code(text, constants={"block": (self.block_size, self.block_size, -1)})


class SpaceToDepth(_Blocks, spec_name="space_to_depth"):
    """Images with one pixel in place of each block of them, of more channels."""

    examples = (
        Example({"block_size": 2}, ((4, 6, 3),)),
        Example({"block_size": 3, "data_format": "channels_first"}, ((2, 3, 6),)),
    )

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
