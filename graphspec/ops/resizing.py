"""`image_resize`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.layer import Code, Example, Memory, Site
from graphspec.contract.windows import DataFormat
from graphspec.layers.resizing import CASES, Interpolation, interpolated, resized
from graphspec.ops.operations import Operation
from graphspec.tensor import Dim, Tensor, product


class ImageResize(Operation, spec_name="image_resize", also="interpolate"):
    """Images `[batch, height, width, channels]` in another `size`, `[height, width]`, as `Resizing` does."""

    size: Annotated[tuple[Positive, Positive], BeforeValidator(as_tuple)]
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    data_format: DataFormat = "channels_last"

    examples = (
        *(Example({"size": [3, 7], **case}, ((6, 5, 2),)) for case in CASES),
        Example({"size": [3, 7], "data_format": "channels_first"}, ((2, 6, 5),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        return resized("`image_resize`", x, self.size, self.data_format)

    def memory(self, x: Tensor) -> Memory:
        return "first" if self.data_format == "channels_last" else "spec"

    def code(self, site: Site) -> Code:
        return interpolated("{x}", self.size, self.interpolation, self.antialias)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * 7
