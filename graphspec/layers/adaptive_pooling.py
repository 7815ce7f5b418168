"""Poolings to an output of a given size, however large the input is."""

from __future__ import annotations

from typing import ClassVar, Literal

from graphspec.contract.layer import Code, Example, Layer, Site
from graphspec.contract.windows import (
    DataFormat,
    Window,
    assemble,
    need_spatial,
    short,
)
from graphspec.tensor import Tensor


class _AdaptivePooling(Layer, abstract=True):
    """The base of pooling whose windows follow from the size of the output. Windows may overlap."""

    memory_layout = "data_format"
    flops_per_input = 1
    mode: ClassVar[Literal["max", "avg"]]

    output_size: Window
    data_format: DataFormat = "channels_last"

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        return assemble(x, self.output_size, channels, self.data_format)

    def code(self, site: Site) -> Code:
        text = f"F.adaptive_{self.mode}_pool{self.rank}d({{x}}, {{output_size}})"
        return Code(text, constants={"output_size": short(self.output_size)})


class _AdaptiveAverage(_AdaptivePooling, abstract=True):
    mode = "avg"


class _AdaptiveMax(_AdaptivePooling, abstract=True):
    mode = "max"


class AdaptiveAveragePooling1D(
    _AdaptiveAverage, also="AdaptiveAvgPool1d AdaptiveAvgPool1D AdaptiveAvgPooling1D"
):
    """The mean of each window of a sequence. The windows follow from the output size, `output_size`."""

    examples = (Example({"output_size": 3}, ((6, 2),)),)


class AdaptiveAveragePooling2D(
    _AdaptiveAverage, also="AdaptiveAvgPool2d AdaptiveAvgPool2D AdaptiveAvgPooling2D"
):
    """The mean of each window of an image. The windows follow from the output size, `output_size`."""

    examples = (Example({"output_size": 1}, ((5, 4, 3),)),)


class AdaptiveAveragePooling3D(
    _AdaptiveAverage, also="AdaptiveAvgPool3d AdaptiveAvgPool3D AdaptiveAvgPooling3D"
):
    """The mean of each window of a volume. The windows follow from the output size, `output_size`."""

    examples = (Example({"output_size": 2}, ((4, 5, 6, 2),)),)


class AdaptiveMaxPooling1D(_AdaptiveMax, also="AdaptiveMaxPool1d AdaptiveMaxPool1D"):
    """The maximum of each window of a sequence. The windows follow from the output size, `output_size`."""

    examples = (Example({"output_size": 3}, ((6, 2),)),)


class AdaptiveMaxPooling2D(_AdaptiveMax, also="AdaptiveMaxPool2d AdaptiveMaxPool2D"):
    """The maximum of each window of an image. The windows follow from the output size, `output_size`."""

    examples = (Example({"output_size": 1}, ((5, 4, 3),)),)


class AdaptiveMaxPooling3D(_AdaptiveMax, also="AdaptiveMaxPool3d AdaptiveMaxPool3D"):
    """The maximum of each window of a volume. The windows follow from the output size, `output_size`."""

    examples = (Example({"output_size": 2}, ((4, 5, 6, 2),)),)
