"""Padding, cropping, upsampling, and other ways to bring the same elements into another shape."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.input_checks import need_rank
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, Memory, Site
from graphspec.contract.windows import AXES, DataFormat, Window2, assemble, need_spatial, short, spatial
from graphspec.tensor import Dim, Tensor, product

Margins = tuple[tuple[int, int], ...]


def _pair(value: Any, wanted: str) -> tuple[int, int]:
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(sizes) != 2 or not all(type(size) is int for size in sizes):
        raise PydanticCustomError("margin_type", wanted)
    if min(sizes) < 0:
        raise PydanticKnownError("greater_than_equal", {"ge": 0})
    return sizes


def _around_sequence(value: Any) -> Margins:
    return (_pair(value, "an integer of 0 or more, or a list [before, behind]"),)


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


class _Spatial(Layer, abstract=True):
    """What layers that change the sizes of a sequence or image share."""

    rank: ClassVar[int]

    @property
    def layout(self) -> DataFormat:
        """The data format, which some of Keras' layers cannot be told."""
        return getattr(self, "data_format", "channels_last")

    def memory(self, x: Tensor) -> Memory:
        return "any"

    def axes(self, site: Site) -> list[int]:
        """Where the axes that change lie in memory."""
        start = 1 if self.layout == "channels_last" else 2
        return [site.axis(axis) for axis in range(start, start + self.rank)]

    def need(self, x: Tensor) -> None:
        """Refuses tensors of another rank."""
        names = ", ".join(AXES[self.rank])
        shape = f"[{names}, channels]" if self.layout == "channels_last" else f"[channels, {names}]"
        need_rank(x, self.rank + 2, layer=self.spec_name, shape=shape)

    def resized(self, x: Tensor, sizes: tuple[Dim, ...]) -> Tensor:
        """The type of the output with these sizes."""
        return assemble(x, sizes, x.shape[-1 if self.layout == "channels_last" else 1], self.layout)


class _ZeroPadding(_Spatial, abstract=True):
    """Zeros around a sequence or image."""

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
        # F.pad counts from the last axis on
        backwards = range(site.x.rank - 1, min(around) - 1, -1)
        pads = [side for axis in backwards for side in around.get(axis, (0, 0))]
        return Code("F.pad({x}, {padding})", constants={"padding": tuple(pads)})


class ZeroPadding1D(_ZeroPadding, also="ZeroPad1d ConstantPad1d"):
    """Zeros before and behind a sequence: `padding` of them at each end, or `[before, behind]`."""

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
    """Zeros around an image: `padding` of them, `[height, width]`, or `[[top, bottom], [left, right]]`."""

    rank: ClassVar[int] = 2

    padding: Margins2 = ((1, 1), (1, 1))

    examples = (
        Example({}, ((4, 5, 3),)),
        Example({"padding": 2}, ((4, 5, 3),)),
        Example({"padding": [0, 3]}, ((4, 5, 3),)),
        Example({"padding": [[0, 1], [2, 3]]}, ((4, 5, 3),)),
        Example({"padding": [[0, 1], [2, 3]], "data_format": "channels_first"}, ((3, 4, 5),)),
    )


class _Cropping(_Spatial, abstract=True):
    """A sequence or image without its margins."""

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
    """A sequence without `cropping` steps at each end, or without `[before, behind]`."""

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
    """An image without `cropping` at each side, `[height, width]`, or `[[top, bottom], [left, right]]`."""

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


class UpSampling1D(_Spatial):
    """A sequence with each of its steps `size` times."""

    rank: ClassVar[int] = 1

    size: Positive = 2

    examples = (
        Example({}, ((5, 3),)),
        Example({"size": 3}, ((4, 2),)),
        Example({"size": 2}, ((4, 2),), dtype="int32"),
    )

    def infer(self, x: Tensor) -> Tensor:
        self.need(x)
        return self.resized(x, (x.shape[1] * self.size,))

    def code(self, site: Site) -> Code:
        (axis,) = self.axes(site)
        constants = {"size": self.size, "axis": axis}
        return Code("{x}.repeat_interleave({size}, dim={axis})", constants=constants)


class UpSampling2D(_Spatial, also="Upsample UpsamplingNearest2d UpsamplingBilinear2d"):
    """An image with `size` times as many rows and columns: repeated ones, or interpolated ones."""

    rank: ClassVar[int] = 2

    size: Window2 = (2, 2)
    data_format: DataFormat = "channels_last"
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    examples = (
        Example({}, ((3, 4, 2),)),
        Example({"size": 3}, ((3, 4, 2),)),
        Example({"size": [1, 2]}, ((3, 4, 2),)),
        Example({"size": 41}, ((4, 2, 1),)),
        Example({"size": [2, 3], "interpolation": "bilinear"}, ((3, 4, 2),)),
        Example({"size": 2, "interpolation": "bilinear"}, ((1, 4, 2),)),
        Example({"size": [2, 3], "data_format": "channels_first"}, ((2, 3, 4),)),
        Example({"interpolation": "bilinear", "data_format": "channels_first"}, ((2, 3, 4),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.data_format, layer=self.spec_name)
        sizes = zip(spatial(x, self.data_format), self.size, strict=True)
        return self.resized(x, tuple(size * times for size, times in sizes))

    def memory(self, x: Tensor) -> Memory:
        return "first" if self.data_format == "channels_last" else "spec"

    def code(self, site: Site) -> Code:
        # `nearest` multiplies by a rounded 1 / size, which from 41 on can be a pixel off
        exact = self.interpolation == "nearest" and max(self.size) > 40
        mode = "nearest-exact" if exact else self.interpolation
        text = f'F.interpolate({{x}}, scale_factor={{size}}, mode="{mode}")'
        return Code(text, constants={"size": short(self.size)})

    def flops(self, site: Site) -> Dim:
        return 0 if self.interpolation == "nearest" else 8 * product(site.outputs[0].shape[1:])


class Permute(Layer):
    """The axes of an example in the order `dims`, which counts them from 1."""

    rearranges = True
    dims: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]

    examples = (
        Example({"dims": [2, 1]}, ((3, 4),)),
        Example({"dims": [3, 1, 2]}, ((2, 3, 4),)),
        Example({"dims": [1]}, ((3,),)),
        Example({"dims": [2, 1]}, ((3, 4),), dtype="int32"),
    )

    def infer(self, x: Tensor) -> Tensor:
        axes = list(range(1, x.rank))
        if sorted(self.dims) != axes:
            raise LayerError(
                "out-of-range",
                f"`dims` holds every axis of an example of {x} once, counted from 1, not {list(self.dims)}",
                help=f"for example `dims: {axes[::-1]}`" if axes else None,
                argument="dims",
                inputs=(0,),
            )
        return x.with_shape(x.shape[0], *(x.shape[axis] for axis in self.dims))

    def code(self, site: Site) -> Code:
        return Code("{x}.permute({dims})", constants={"dims": (0, *self.dims)})


class RepeatVector(Layer):
    """A sequence that has the input at each of its `n` steps."""

    n: Positive

    examples = (Example({"n": 3}, ((4,),)), Example({"n": 1}, ((4,),), dtype="int64"))

    def infer(self, x: Tensor) -> Tensor:
        need_rank(x, 2, layer="RepeatVector", shape="[features]")
        return x.with_shape(x.shape[0], self.n, x.shape[1])

    def code(self, site: Site) -> Code:
        return Code("{x}.unsqueeze(1).expand(-1, {n}, -1)", constants={"n": self.n})


class Identity(Layer):
    """The input itself."""

    supports_masking = True
    rearranges = True

    examples = (
        Example({}, ((4,),)),
        Example({}, ((2, 3, 4),)),
        Example({}, ((4,),), dtype="int64"),
    )

    def memory(self, x: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        return Code("{x}")
