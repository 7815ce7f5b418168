"""Zero padding of sequences, images and volumes."""

from __future__ import annotations

from typing import Any

from graphspec.contract.layer import Code, Example, Site
from graphspec.contract.margins import Margins, Margins1, Margins2, Margins3
from graphspec.contract.stepping import StepsPadded
from graphspec.contract.streaming import Streaming, frame, whole
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

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        ((before, after),) = self.padding
        if roles[0] != (None, "new", None):
            return None
        if after:
            return whole(
                "adds steps at the end", f"add them at the beginning alone: `padding: [{before or after}, 0]`"
            )
        if before == 0:
            return frame(roles[0])
        return Streaming("frame", ((None, "padded", None),), step=StepsPadded(before=before))


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
