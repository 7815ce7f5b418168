"""Random changes of colours in training: hue, saturation, grayscale, inversion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from graphspec.contract.layer import Example, LayerError, Leaf, ModuleCall, Site
from graphspec.contract.windows import DataFormat
from graphspec.layers.augmentation import Augmentation, BothWays, UpTo, ValueRange
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of

Chance = Annotated[float, Field(ge=0, le=1)]


def floats(value_range: tuple[float, float]) -> tuple[float, float]:
    """The bounds of a range as floats."""
    low, high = map(float, value_range)
    return low, high


class _Recoloring(Augmentation, abstract=True):
    """A layer that changes the colours of RGB images."""

    def infer(self, x: Tensor) -> Tensor:
        output = super().infer(x)
        if x.shape[-1 if self.layout == "channels_last" else 1] != 3:
            message = f"{self.spec_name} takes images of three channels, and gets {x}"
            raise LayerError("shapes-differ", message, inputs=(0,))
        return output


class RandomHue(_Recoloring):
    """Shifts the hue of each image in training, either way, by half of a number between two `factor`s.

    A shift of 1 is the full circle. A single factor is `[0, factor]`.
    """

    flops_per_input = 20

    factor: UpTo
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": 0.5, "value_range": [-4, 9]}, ((3, 4, 3),)),)

    def module(self, site: Site) -> ModuleCall:
        return ModuleCall("RandomHue", {"factor": self.factor, "value_range": floats(self.value_range)})


class RandomSaturation(_Recoloring):
    """Multiplies the saturation of each image in training by `f / (1 - f)`, for an `f` between two `factor`s.

    0.5 changes nothing, 0 gives grayscale. A single factor is `[-factor, factor]`.
    """

    flops_per_input = 20

    factor: BothWays
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": [0.2, 0.6], "value_range": [0, 1]}, ((3, 4, 3),)),)


class RandomColorDegeneration(_Recoloring):
    """Blends each image with its grayscale version in training; a factor of 1 removes all colour.

    A single factor is `[-factor, factor]`. The result is clipped to `value_range`.
    """

    flops_per_input = 5

    factor: BothWays
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": [0.1, 0.8], "value_range": [-2, 6]}, ((3, 4, 3),)),)


class RandomColorJitter(_Recoloring, also="ColorJitter"):
    """RandomBrightness, RandomContrast, RandomSaturation and RandomHue, where their factors are given."""

    value_range: ValueRange = (0, 255)
    brightness_factor: BothWays | None = None
    """The `factor` of RandomBrightness, or null."""
    contrast_factor: UpTo | None = None
    """The `factor` of RandomContrast, or null."""
    saturation_factor: BothWays | None = None
    """The `factor` of RandomSaturation, or null."""
    hue_factor: UpTo | None = None
    """The `factor` of RandomHue, or null."""
    seed: None = None
    data_format: Literal["channels_last"] = "channels_last"

    examples = (
        Example({"brightness_factor": 0.2, "hue_factor": [0.1, 0.3], "value_range": [0, 8]}, ((3, 4, 3),)),
    )

    def module(self, site: Site) -> ModuleCall:
        contrast = (
            None
            if self.contrast_factor is None
            else (1 - self.contrast_factor[0], 1 + self.contrast_factor[1])
        )
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "brightness": (self.brightness_factor, None),
            "contrast": (contrast, None),
            "saturation": (self.saturation_factor, None),
            "hue": (self.hue_factor, None),
        }
        return ModuleCall("RandomColorJitter", {"value_range": floats(self.value_range)}, keyword)

    def flops(self, site: Site) -> Dim:
        factors = (self.brightness_factor, self.contrast_factor, self.saturation_factor, self.hue_factor)
        costs = zip(factors, (3, 5, 20, 20), strict=True)
        return sum(cost for factor, cost in costs if factor is not None) * product(site.x.shape[1:])


class RandomGrayscale(_Recoloring, also="RandomGrayScale"):
    """Removes the colour of a share `factor` of the images in training: red, green and blue become equal."""

    flops_per_input = 2

    factor: Chance = 0.5
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": 0.4}, ((3, 4, 3),)),)

    def module(self, site: Site) -> ModuleCall:
        return ModuleCall("RandomGrayscale", {"factor": float_of(self.factor)})


class RandomInvert(Augmentation, also="Invert"):
    """Inverts images in training, with a probability between two `factor`s."""

    flops_per_input = 1

    factor: UpTo = (0.0, 1.0)
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": 0.5, "value_range": [0, 1]}, ((3, 4, 2),)),)

    def module(self, site: Site) -> ModuleCall:
        positional: dict[str, Leaf] = {"factor": self.factor, "white": float_of(self.value_range[1])}
        return ModuleCall("RandomInvert", positional)
