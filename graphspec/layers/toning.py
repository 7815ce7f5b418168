"""Changes of tone: fewer bits, inverted highlights, stretched contrast."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.layer import Code, Example, Layer, ModuleCall, Site
from graphspec.contract.windows import DataFormat, need_axes
from graphspec.layers.augmentation import Augmentation, UpTo, ValueRange
from graphspec.layers.recoloring import floats
from graphspec.tensor import Tensor


def _bits(value: Any) -> Any:
    pair = tuple(value) if isinstance(value, (list, tuple)) else (1, value)
    if len(pair) != 2 or not all(type(item) is int and 1 <= item <= 8 for item in pair):
        raise PydanticCustomError("window_type", "a number of bits, 1 to 8, or a list of two")
    return min(pair), max(pair)


_BITS = {"type": "integer", "minimum": 1, "maximum": 8}
Bits = Annotated[
    tuple[int, int],
    BeforeValidator(_bits),
    WithJsonSchema({"anyOf": [_BITS, {"type": "array", "items": _BITS, "minItems": 2, "maxItems": 2}]}),
]


class RandomPosterization(Augmentation, also="Posterization RandomPosterize"):
    """Reduces each image in training to a random number of bits per value, of 8.

    The number is at least the first of two `factor`s and below the second, unless both are equal. A single
    factor is `[1, factor]`.
    """

    memory_layout = "any"
    flops_per_input = 5

    factor: Bits
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": [1, 4], "value_range": [-4, 9]}, ((3, 4, 2),)),)

    def module(self, site: Site) -> ModuleCall:
        low, high = sorted(floats(self.value_range))
        return ModuleCall("RandomPosterization", {"bits": self.factor, "value_range": (low, high)})


class Solarization(Augmentation, also="RandomSolarize RandomSolarization"):
    """Inverts the values above a random threshold in training, after adding a random number.

    On a scale of 0 to 255, the threshold is drawn up to `threshold_factor` times 255, the number up to
    `addition_factor` times 255. The first of two factors is the lower bound itself.
    """

    memory_layout = "any"
    flops_per_input = 8

    addition_factor: UpTo = (0.0, 0.0)
    """Range of what is added first: a number, or two bounds."""
    threshold_factor: UpTo = (0.0, 0.0)
    """Range of the threshold for inversion: a number, or two bounds."""
    value_range: ValueRange = (0, 255)
    seed: None = None

    examples = (
        Example({"addition_factor": 0.3, "threshold_factor": 0.8, "value_range": [-4, 9]}, ((3, 4, 2),)),
    )

    def module(self, site: Site) -> ModuleCall:
        (least, most), (low, high) = self.addition_factor, self.threshold_factor
        ranges = {"addition": (least, most * 255), "threshold": (low, high * 255)}
        low, high = sorted(floats(self.value_range))
        return ModuleCall("Solarization", {**ranges, "value_range": (low, high)})


class AutoContrast(Layer):
    """Stretches each channel of an image to the full `value_range`, in training and in inference."""

    memory_layout = "first"
    flops_per_input = 6

    value_range: ValueRange = (0, 255)

    examples = (Example({}, ((3, 4, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_axes(x, 2, "channels_last", layer=self.spec_name)
        return x if x.is_float else x.with_dtype("float32")

    def code(self, site: Site) -> Code:
        low, high = sorted(floats(self.value_range))
        x = "{x}" if site.x.is_float else "{x}.float()"
        return Code(f"auto_contrast({x}, {{low}}, {{high}})", constants={"low": low, "high": high})
