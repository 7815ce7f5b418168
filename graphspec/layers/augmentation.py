"""Random augmentation of images in training: flips, rotations, translations, crops, brightness, erasing.

Images are float, `[batch, height, width, channels]`. Each image is changed independently, but `RandomCrop`
crops one window from all images of a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from graphspec.contract.fields import Finite, Positive, as_tuple
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, MemoryRule, ModuleCall, Ref, Site
from graphspec.contract.windows import DataFormat, assemble, need_axes, spatial
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of

Range = tuple[float, float]


def _pair(low: float, high: float, single: float, least: bool = True) -> BeforeValidator:
    """Reads two numbers from `low` to `high`. A single number means itself and `single` times itself."""

    def parse(value: Any) -> Range:
        pair = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not 1 <= len(pair) <= 2 or not all(type(item) in (int, float) for item in pair):
            raise PydanticCustomError("window_type", "a number, or a list of two")
        for item in pair:
            if item <= low and not least:
                raise PydanticKnownError("greater_than", {"gt": low})
            if item < low:
                raise PydanticKnownError("greater_than_equal", {"ge": low})
            if not item <= high:
                raise PydanticKnownError("less_than_equal", {"le": high})
        if len(pair) == 1:
            pair = (single * abs(pair[0]), abs(pair[0]))
        return float(min(pair)), float(max(pair))

    return BeforeValidator(parse)


def _one_or_two(**bounds: float) -> WithJsonSchema:
    number = {"type": "number", **bounds}
    return WithJsonSchema(
        {"anyOf": [number, {"type": "array", "items": number, "minItems": 2, "maxItems": 2}]}
    )


BothWays = Annotated[Range, _pair(-1, 1, -1), _one_or_two(minimum=-1, maximum=1)]
ZoomFactor = Annotated[Range, _pair(-1, 1, -1, least=False), _one_or_two(exclusiveMinimum=-1, maximum=1)]
UpTo = Annotated[Range, _pair(0, 1, 0), _one_or_two(minimum=0, maximum=1)]
ValueRange = Annotated[tuple[Finite, Finite], BeforeValidator(as_tuple)]
Interpolation = Literal["nearest", "bilinear"]
FillMode = Literal["reflect", "wrap", "constant", "nearest"]


class Augmentation(Layer, abstract=True):
    """A layer that changes images in training, and only converts them to floats in inference."""

    memory_layout: ClassVar[MemoryRule] = "data_format"
    random = True
    training_only = True

    if TYPE_CHECKING:  # fields of most subclasses, which list all of their fields in Keras' order
        factor: Any
        value_range: ValueRange

    def infer(self, x: Tensor) -> Tensor:
        need_axes(x, 2, self.layout, layer=self.spec_name)
        return x if x.is_float else x.with_dtype("float32")

    def module(self, site: Site) -> ModuleCall:
        """The construction of the helper module, which has the name of the layer."""
        low, high = sorted(map(float, self.value_range))
        return ModuleCall(self.spec_name, {"factor": self.factor, "value_range": (low, high)})

    def code(self, site: Site) -> Code:
        x = "{x}" if site.x.is_float else "{x}.float()"
        return Code(f"{{self}}({x})", self.module(site))


class RandomFlip(Augmentation, also="RandomHorizontalFlip RandomVerticalFlip"):
    """Flips half of the images, chosen at random, in training: along `mode`, one side or both at once."""

    memory_layout = "any"

    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal_and_vertical"
    """Along which axes images are flipped."""
    seed: None = None
    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((3, 4, 2),)),)

    def module(self, site: Site) -> ModuleCall:
        height, width = (1, 2) if self.data_format == "channels_last" else (2, 3)
        axes = {"horizontal": (width,), "vertical": (height,)}.get(self.mode, (height, width))
        return ModuleCall("RandomFlip", {"dims": tuple(site.axis(axis) for axis in axes)})


READERS = {
    "reflect": Ref("reflected"),
    "nearest": Ref("nearest"),
    "constant": Ref("filled"),
    "wrap": Ref("wrapped"),
}
"""The functions that read images beyond their borders, by `fill_mode`."""


class _Warp(Augmentation, abstract=True):
    """The base of layers that move pixels. `fill_mode` says what is outside of the image."""

    if TYPE_CHECKING:  # fields of the subclasses, which list all of their fields in Keras' order
        fill_mode: FillMode
        interpolation: Interpolation
        fill_value: float
        data_format: DataFormat

    ranges: ClassVar[dict[str, str]]
    """The fields whose ranges it draws from, by the names of the module's arguments."""

    def module(self, site: Site) -> ModuleCall:
        fill = float_of(self.fill_value) if self.fill_mode == "constant" else 0.0
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "mode": (self.interpolation, "bilinear"),
            "fill": (fill, 0.0),
        }
        positional = {name: getattr(self, key) for name, key in self.ranges.items()}
        return ModuleCall(self.spec_name, {**positional, "read": READERS[self.fill_mode]}, keyword)

    def flops(self, site: Site) -> Dim:
        return (7 if self.interpolation == "bilinear" else 0) * product(site.x.shape[1:])


class RandomRotation(_Warp):
    """Rotates each image in training, counter-clockwise, by a share of a full turn between two `factor`s.

    A single factor is the maximum in both directions.
    """

    factor: BothWays
    fill_mode: FillMode = "reflect"
    interpolation: Interpolation = "bilinear"
    seed: None = None
    fill_value: Finite = 0.0
    data_format: DataFormat = "channels_last"

    examples = (Example({"factor": 0.2}, ((5, 6, 2),)),)
    ranges = {"factor": "factor"}


class RandomTranslation(_Warp):
    """Moves each image in training, by shares of its height (down) and width (right) between two factors.

    A single factor is the maximum in both directions.
    """

    height_factor: BothWays
    width_factor: BothWays
    fill_mode: FillMode = "reflect"
    interpolation: Interpolation = "bilinear"
    seed: None = None
    fill_value: Finite = 0.0
    data_format: DataFormat = "channels_last"

    examples = (Example({"height_factor": 0.3, "width_factor": 0.2}, ((5, 6, 2),)),)
    ranges = {"height": "height_factor", "width": "width_factor"}


class RandomZoom(_Warp, also="RandomResizedCrop RandomAffine"):
    """Shows more of each image in training (a factor above 0), or less of it, between two factors.

    Without `width_factor` the aspect ratio stays. A single factor is the maximum in both directions.
    """

    height_factor: ZoomFactor
    width_factor: ZoomFactor | None = None
    fill_mode: FillMode = "reflect"
    interpolation: Interpolation = "bilinear"
    seed: None = None
    fill_value: Finite = 0.0
    data_format: DataFormat = "channels_last"

    examples = (Example({"height_factor": 0.5}, ((5, 6, 2),)),)
    ranges = {"height": "height_factor", "width": "width_factor"}

    def module(self, site: Site) -> ModuleCall:
        call = super().module(site)
        keyword = {"width": (self.width_factor, None), **call.keyword}
        positional = {word: value for word, value in call.positional.items() if word != "width"}
        return replace(call, positional=positional, keyword=keyword)


class RandomShear(_Warp):
    """Shears each image at random in training: along the width between two `x_factor`s, along the height
    between two `y_factor`s; the sign of both is inverted for half of the images.

    A single factor is the maximum in both directions.
    """

    x_factor: BothWays = (0.0, 0.0)
    """Range along the width, per row: a number, or two bounds."""
    y_factor: BothWays = (0.0, 0.0)
    """Range along the height, per column: a number, or two bounds."""
    interpolation: Interpolation = "bilinear"
    fill_mode: FillMode = "reflect"
    fill_value: Finite = 0.0
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"x_factor": 0.4, "y_factor": 0.2}, ((5, 6, 2),)),)
    ranges = {"across": "x_factor", "down": "y_factor"}


class RandomPerspective(Augmentation):
    """A random perspective of each image in training, with a probability between two `factor`s.

    A single factor is `[0, factor]`. Each corner but the first moves by up to half of `scale` times its
    distance from the first. Pixels from outside of the image are `fill_value`.
    """

    halves = False

    factor: UpTo = (0.0, 1.0)
    scale: Annotated[Finite, Field(ge=0, le=1)] = 1.0
    """How far corners move, as a share of half the image."""
    interpolation: Interpolation = "bilinear"
    fill_value: Finite = 0.0
    seed: None = None
    data_format: DataFormat = "channels_last"

    examples = (Example({"factor": 0.7}, ((5, 6, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        output = super().infer(x)
        if 1 in spatial(x, self.data_format):
            message = f"RandomPerspective takes images of two rows and columns or more, and gets {x}"
            raise LayerError("window-too-large", message, inputs=(0,))
        return output

    def module(self, site: Site) -> ModuleCall:
        positional: dict[str, Leaf] = {"factor": self.factor, "scale": float_of(self.scale)}
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "mode": (self.interpolation, "bilinear"),
            "fill": (float_of(self.fill_value), 0.0),
        }
        return ModuleCall("RandomPerspective", positional, keyword)

    def flops(self, site: Site) -> Dim:
        return (7 if self.interpolation == "bilinear" else 0) * product(site.x.shape[1:])


class RandomCrop(Augmentation):
    """A random window of `height` and `width` in training, the same for all images of a batch.

    In inference, and where images are not larger in both directions, it takes the largest centered window of
    this aspect ratio and resizes it.
    """

    training_only = False

    height: Positive
    width: Positive
    seed: None = None
    data_format: DataFormat = "channels_last"

    examples = (Example({"height": 3, "width": 4}, ((5, 7, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        x = super().infer(x)
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        return assemble(x, (self.height, self.width), channels, self.data_format)

    def module(self, site: Site) -> ModuleCall:
        return ModuleCall("RandomCrop", {"height": self.height, "width": self.width})

    def flops(self, site: Site) -> Dim:
        return 7 * product(site.outputs[0].shape[1:])


class RandomBrightness(Augmentation):
    """Adds a share of `value_range`, between two `factor`s, to each image in training; clips to the range.

    A single factor is the maximum in both directions.
    """

    memory_layout = "any"
    flops_per_input = 3

    factor: BothWays
    value_range: ValueRange = (0, 255)
    seed: None = None

    examples = (Example({"factor": 0.2, "value_range": [-1, 6]}, ((3, 4, 2),)),)


class RandomContrast(Augmentation):
    """Moves each channel of an image nearer to its mean or further away in training, within `value_range`.

    A difference of 1 becomes 1 - `factor[0]` to 1 + `factor[1]`; a single factor is `[0, factor]`.
    """

    flops_per_input = 5

    factor: UpTo
    value_range: ValueRange = (0, 255)
    seed: None = None

    examples = (Example({"factor": 0.5, "value_range": [-1, 6]}, ((3, 4, 2),)),)

    def module(self, site: Site) -> ModuleCall:
        low, high = self.factor
        positional: dict[str, Leaf] = {
            "factor": (1 - low, 1 + high),
            "value_range": tuple(map(float, self.value_range)),
        }
        return ModuleCall("RandomContrast", positional)


def _fill(value: Any) -> Any:
    items = value if isinstance(value, (list, tuple)) else [value]
    if len(items) not in (1, 3) or not all(type(item) in (int, float) for item in items):
        raise PydanticCustomError("window_type", "a number, a list of three, or null")
    return tuple(map(float, items)) if isinstance(value, (list, tuple)) else float(value)


_NUMBER = {"type": "number"}
Fill = Annotated[
    tuple[float, ...] | float,
    BeforeValidator(_fill),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3}]}),
]


class RandomErasing(Augmentation):
    """Fills a rectangle of each image in training, with a probability between two `factor`s.

    A single factor is `[0, factor]`. Each side's share of the image's is the root of a number from `scale`.
    `fill_value` is a number, one for each of three channels, or null for noise; it stays in `value_range`.
    """

    flops_per_input = 1

    factor: UpTo = (0.0, 1.0)
    scale: UpTo = (0.02, 0.33)
    """Share of the image that is erased: a number, or two bounds."""
    fill_value: Fill | None = None
    """Value of erased pixels: a number, one for each channel, or null for noise."""
    value_range: ValueRange = (0, 255)
    seed: None = None
    data_format: DataFormat = "channels_last"

    examples = (Example({"fill_value": 7.5}, ((5, 6, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        x = super().infer(x)
        channels = x.shape[-1 if self.data_format == "channels_last" else 1]
        if isinstance(self.fill_value, tuple) and channels != 3:
            raise LayerError(
                "shapes-differ",
                f"`fill_value` has a number for each of 3 channels, and {x} has {channels}",
                argument="fill_value",
                inputs=(0,),
            )
        return x

    def module(self, site: Site) -> ModuleCall:
        low, high = map(float, self.value_range)
        positional = {"factor": self.factor, "scale": self.scale}
        return ModuleCall(
            "RandomErasing", {**positional, "fill": self.fill_value, "value_range": (low, high)}
        )
