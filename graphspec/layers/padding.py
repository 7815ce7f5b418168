"""Zero padding and cropping of sequences, images and volumes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from graphspec.contract.layer import Code, Example, LayerError, Leaf, Site
from graphspec.contract.windows import (
    AXES,
    DataFormat,
    Spatial,
    spatial,
)
from graphspec.tensor import Dim, Tensor

Margins = tuple[tuple[int, int], ...]


def _pair(value: Any, wanted: str) -> tuple[int, int]:
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(sizes) != 2 or not all(type(size) is int for size in sizes):
        raise PydanticCustomError("margin_type", wanted)
    if min(sizes) < 0:
        raise PydanticKnownError("greater_than_equal", {"ge": 0})
    return sizes


def _around_sequence(value: Any) -> Margins:
    return (_pair(value, "an integer of 0 or more, or a list [before, after]"),)


def _around(value: Any, rank: int, wanted: str) -> Margins:
    items = tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank
    if len(items) != rank:
        raise PydanticCustomError("margin_type", wanted)
    return tuple(_pair(item, wanted) for item in items)


def _around_image(value: Any) -> Margins:
    wanted = "an integer of 0 or more, or a list [height, width] or [[top, bottom], [left, right]]"
    return _around(value, 2, wanted)


def _around_volume(value: Any) -> Margins:
    listed = "[depth, height, width] or [[front, back], [top, bottom], [left, right]]"
    return _around(value, 3, f"an integer of 0 or more, or a list {listed}")


_SIZE: dict[str, Any] = {"type": "integer", "minimum": 0}


_PAIR: dict[str, Any] = {"type": "array", "items": _SIZE, "minItems": 2, "maxItems": 2}


_EITHER: dict[str, Any] = {"anyOf": [_SIZE, _PAIR]}


Margins1 = Annotated[Margins, BeforeValidator(_around_sequence), WithJsonSchema(_EITHER)]


Margins2 = Annotated[
    Margins,
    BeforeValidator(_around_image),
    WithJsonSchema({"anyOf": [_SIZE, {**_PAIR, "items": _EITHER}]}),
]


Margins3 = Annotated[
    Margins,
    BeforeValidator(_around_volume),
    WithJsonSchema({"anyOf": [_SIZE, {"type": "array", "items": _EITHER, "minItems": 3, "maxItems": 3}]}),
]


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

    rank: ClassVar[int] = 1

    padding: Margins1 = ((1, 1),)

    examples = (
        Example({}, ((5, 3),)),
        Example({"padding": 2}, ((5, 3),)),
        Example({"padding": [0, 3]}, ((5, 3),)),
        Example({"padding": [1, 2], "data_format": "channels_first"}, ((3, 5),)),
        Example({"padding": 1}, ((5, 3),), dtype="int32"),
    )


class ZeroPadding2D(_ZeroPadding, also="ZeroPad2d ConstantPad2d"):
    """Adds `padding` zeros around an image, or `[height, width]`, or `[[top, bottom], [left, right]]`."""

    rank: ClassVar[int] = 2

    padding: Margins2 = ((1, 1), (1, 1))

    examples = (
        Example({}, ((4, 5, 3),)),
        Example({"padding": 2}, ((4, 5, 3),)),
        Example({"padding": [0, 3]}, ((4, 5, 3),)),
        Example({"padding": [[0, 1], [2, 3]]}, ((4, 5, 3),)),
        Example({"padding": [[0, 1], [2, 3]], "data_format": "channels_first"}, ((3, 4, 5),)),
    )


class ZeroPadding3D(_ZeroPadding, also="ZeroPad3d ConstantPad3d"):
    """Adds `padding` zeros around a volume, or `[depth, height, width]`, or a pair for each of the three."""

    rank: ClassVar[int] = 3

    padding: Margins3 = ((1, 1), (1, 1), (1, 1))

    examples = (
        Example({}, ((2, 3, 4, 2),)),
        Example({"padding": 2}, ((2, 3, 4, 2),)),
        Example({"padding": [0, 3, 1]}, ((2, 3, 4, 2),)),
        Example({"padding": [[0, 1], [2, 3], [4, 0]]}, ((2, 3, 4, 2),)),
        Example({"padding": [[0, 1], [2, 3], [1, 1]], "data_format": "channels_first"}, ((2, 3, 4, 5),)),
    )


class _Cropping(Spatial, abstract=True):
    """Cropping at both ends of each axis."""

    cropping: Margins

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

    rank: ClassVar[int] = 1

    cropping: Margins1 = ((1, 1),)

    examples = (
        Example({}, ((5, 3),)),
        Example({"cropping": 2}, ((6, 3),)),
        Example({"cropping": [0, 2]}, ((5, 3),)),
        Example({"cropping": [2, 0]}, ((5, 3),)),
        Example({"cropping": 0}, ((5, 3),)),
        Example({"cropping": 1}, ((5, 3),), dtype="int64"),
    )


class Cropping2D(_Cropping):
    """Removes `cropping` at each side of an image, `[height, width]`, or `[[top, bottom], [left, right]]`."""

    rank: ClassVar[int] = 2

    cropping: Margins2 = ((0, 0), (0, 0))
    data_format: DataFormat = "channels_last"

    examples = (
        Example({}, ((4, 5, 3),)),
        Example({"cropping": 1}, ((4, 5, 3),)),
        Example({"cropping": [[0, 1], [1, 3]]}, ((4, 6, 3),)),
        Example({"cropping": [[0, 1], [2, 0]]}, ((4, 6, 3),)),
        Example({"cropping": [[1, 1], [0, 2]], "data_format": "channels_first"}, ((3, 4, 6),)),
    )


class Cropping3D(_Cropping):
    """Removes `cropping` at each side of a volume, `[depth, height, width]`, or a pair for each axis."""

    rank: ClassVar[int] = 3

    cropping: Margins3 = ((1, 1), (1, 1), (1, 1))
    data_format: DataFormat = "channels_last"

    examples = (
        Example({}, ((4, 3, 5, 2),)),
        Example({"cropping": 0}, ((4, 3, 5, 2),)),
        Example({"cropping": [1, 0, 2]}, ((4, 3, 5, 2),)),
        Example({"cropping": [[0, 1], [2, 0], [1, 3]]}, ((4, 3, 5, 2),)),
        Example({"cropping": [[1, 1], [0, 2], [0, 0]], "data_format": "channels_first"}, ((2, 4, 3, 5),)),
    )
