"""Cropping of sequences, images and volumes."""

from __future__ import annotations

from typing import Any

from graphspec.contract.layer import Code, Example, LayerError, Leaf, Site
from graphspec.contract.margins import Margins, Margins1, Margins2, Margins3
from graphspec.contract.streaming import PADDED, Streaming, frame, whole
from graphspec.contract.windows import AXES, DataFormat, Spatial, spatial
from graphspec.tensor import Dim, Tensor


class _Cropping(Spatial, abstract=True):
    """Cropping at both ends of each axis."""

    reads_padded = True

    cropping: Margins
    """Number of elements to crop at each side."""

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        first = 1 if self.layout == "channels_last" else 2
        cut = {axis for axis, sides in enumerate(self.cropping, first) if any(sides)}
        if any(role in ("new", "all") and axis in cut for axis, role in enumerate(roles[0])):
            return whole("leaves out steps", PADDED)
        return frame(roles[0])

    def infer(self, x: Tensor) -> Tensor:
        self.need(x)
        left: list[Dim] = []
        for axis, size, cut in zip(AXES[self.rank], spatial(x, self.layout), self.cropping, strict=True):
            if isinstance(size, int) and size <= sum(cut):
                raise LayerError(
                    "window-too-large",
                    f"{self.spec_name} cuts {cut[0]} + {cut[1]} off {axis} {size} of {x}: nothing is left",
                    help=f"crop less than {axis} {size}, or shrink the input less before",
                    argument="cropping" if "cropping" in self.model_fields_set else None,
                    inputs=(0,),
                )
            left.append(size - sum(cut))
        return self.resized(x, tuple(left))

    def code(self, site: Site) -> Code:
        slices = [":"] * site.x.rank
        constants: dict[str, Leaf] = {}
        for axis, name, (before, behind) in zip(self.axes(site), AXES[self.rank], self.cropping, strict=True):
            start, stop = f"{name}_start", f"{name}_end"
            slices[axis] = (f"{{{start}}}" if before else "") + ":" + (f"-{{{stop}}}" if behind else "")
            constants |= ({start: before} if before else {}) | ({stop: behind} if behind else {})
        if not constants:
            return Code("{x}")
        while slices[-1] == ":":
            slices.pop()
        return Code(f"{{x}}[{', '.join(slices)}]", constants=constants)


class Cropping1D(_Cropping):
    """Removes `cropping` steps at each end of a sequence, or `[before, after]`."""

    cropping: Margins1 = ((1, 1),)

    examples = (Example({}, ((5, 3),)),)


class Cropping2D(_Cropping):
    """Removes `cropping` at each side of an image, `[height, width]`, or `[[top, bottom], [left, right]]`."""

    cropping: Margins2 = ((0, 0), (0, 0))
    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((4, 5, 3),)),)


class Cropping3D(_Cropping):
    """Removes `cropping` at each side of a volume, `[depth, height, width]`, or a pair for each axis."""

    cropping: Margins3 = ((1, 1), (1, 1), (1, 1))
    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((4, 3, 5, 2),)),)
