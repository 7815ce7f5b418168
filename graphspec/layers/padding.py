"""Zero padding of sequences, images and volumes."""

from __future__ import annotations

from typing import Any

from graphspec.contract.layer import Code, Example, Layer, Site
from graphspec.contract.margins import Margins, Margins1, Margins2, Margins3
from graphspec.contract.stepping import padded_steps
from graphspec.contract.streaming import Streaming
from graphspec.contract.windows import (
    DataFormat,
    Spatial,
    spatial,
)
from graphspec.tensor import Tensor


class _ZeroPadding(Spatial, abstract=True):
    """Zero padding around a sequence, image or volume."""

    padding: Margins
    data_format: DataFormat = "channels_last"

    def infer(self, x: Tensor) -> Tensor:
        self.need(x)
        sizes = zip(spatial(x, self.data_format), self.padding, strict=True)
        return self.resized(x, tuple(size + before + behind for size, (before, behind) in sizes))

    def pads(self) -> tuple[tuple[int, int], ...]:
        return self.padding

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        first = 1 if self.layout == "channels_last" else 2
        pads = [(0, 0)] * site.x.rank
        pads[first : first + self.rank] = self.padding

        def others(axis: int) -> Layer:
            kept = [(0, 0) if first + place == axis else pad for place, pad in enumerate(self.padding)]
            return self.model_copy(update={"padding": tuple(kept)})

        return padded_steps(site.x, roles[0], pads, others)

    def code(self, site: Site) -> Code:
        around = dict(zip(self.axes(site), self.padding, strict=True))
        # F.pad takes the last axis first
        backwards = range(site.x.rank - 1, min(around) - 1, -1)
        pads = [side for axis in backwards for side in around.get(axis, (0, 0))]
        return Code("F.pad({x}, {padding})", constants={"padding": tuple(pads)})


class ZeroPadding1D(_ZeroPadding, also="ZeroPad1d ConstantPad1d"):
    """Adds `padding` zeros at each end of a sequence, or `[before, after]`."""

    padding: Margins1 = ((1, 1),)
    """Zeros before and after."""

    examples = (Example({}, ((5, 3),)),)


class ZeroPadding2D(_ZeroPadding, also="ZeroPad2d ConstantPad2d"):
    """Adds `padding` zeros around an image, or `[height, width]`, or `[[top, bottom], [left, right]]`."""

    padding: Margins2 = ((1, 1), (1, 1))
    """Zeros around: a number, [height, width], or a pair for each."""

    examples = (Example({}, ((4, 5, 3),)),)


class ZeroPadding3D(_ZeroPadding, also="ZeroPad3d ConstantPad3d"):
    """Adds `padding` zeros around a volume, or `[depth, height, width]`, or a pair for each of the three."""

    padding: Margins3 = ((1, 1), (1, 1), (1, 1))
    """Zeros around: a number, [depth, height, width], or a pair for each."""

    examples = (Example({}, ((2, 3, 4, 2),)),)
