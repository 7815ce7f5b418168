"""`data.mix`: what mixes the examples of a training batch with one another. Nothing here imports numpy or
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.diagnostics import delete, did_you_mean
from graphspec.settings import Setting, each_of, show, unfit, validate

Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(gt=0, le=1)]
IMAGE = 4
"""Axes of images: the batch, height, width and channels."""
EXAMPLE = "write `mix: [{layer: MixUp}]`"


class Mixing(Setting):
    """A step that mixes each example of a batch with another one of it, inputs and targets alike."""

    layer: str
    """Layer that mixes."""

    remedies: ClassVar[Mapping[str, str]] = {
        "seed": delete("draws depend on the seed of `train`", safe=False),
        "data_format": delete("images are mixed as the inputs are declared"),
    }


class MixUp(Mixing):
    """Blends each example of a training batch with another one, and their targets by the same weights.

    Weights are drawn from Beta(alpha, alpha).
    """

    layer: Literal["MixUp"] = "MixUp"
    alpha: Annotated[float, Field(gt=0)] = 0.2
    """Both parameters of the beta distribution of weights."""


class CutMix(Mixing):
    """Pastes a rectangle of another image into each image of a training batch, and blends their targets by
    its area.

    The share of the image that stays is drawn from Beta(a, a), with one a for a batch, between two `factor`s.
    A single factor is `[0, factor]`.
    """

    layer: Literal["CutMix"] = "CutMix"
    factor: Share | Annotated[list[Share], Field(min_length=2, max_length=2)] = 1.0
    """Both parameters of the beta distribution of areas: a number, or two bounds."""

    @property
    def range(self) -> tuple[float, float]:
        """The lower and the upper factor."""
        if isinstance(self.factor, list):
            low, high = sorted(self.factor)
            return low, high
        return 0.0, self.factor


class Mosaic(Mixing):
    """Shows four images of a training batch on one canvas, which meet at a point, and blends their targets by
    area. Boxes and masks go with their images.

    Each image is drawn in a size, and is at least as large as its part of the canvas.
    """

    layer: Literal["Mosaic"] = "Mosaic"
    center: Annotated[list[Share], Field(min_length=2, max_length=2)] = [0.25, 0.75]
    """Where on each side the images meet: two bounds."""
    scale: Size | Annotated[list[Size], Field(min_length=2, max_length=2)] = [0.5, 1.0]
    """How large the images are on the canvas: a number, or two bounds."""
    probability: Share = 1.0
    """How likely an image becomes a mosaic."""

    @property
    def scales(self) -> tuple[float, float]:
        """The smallest and the largest scale."""
        low, *_, high = sorted(self.scale) if isinstance(self.scale, list) else [self.scale] * 2
        return low, high


MIXINGS: dict[str, type[Mixing]] = {"MixUp": MixUp, "CutMix": CutMix, "Mosaic": Mosaic}


def parse_mix(value: object) -> tuple[Mixing, ...]:
    """The steps of `mix`, in order. Raises `SettingError` with every problem."""
    if not isinstance(value, list):
        raise unfit("wrong-type", f"`mix` is a list of layers, not {show(value)}", EXAMPLE)
    return each_of(value, _step)


def _step(value: object) -> Mixing:
    name = value.get("layer") if isinstance(value, dict) else value
    if isinstance(name, str) and name not in MIXINGS:
        help = did_you_mean(name, MIXINGS, f"one of: {', '.join(MIXINGS)}")
        raise unfit("unknown-layer", f"`mix` has no layer `{name}`", help)
    if not isinstance(value, dict) or not isinstance(name, str):
        raise unfit("wrong-type", f"an entry of `mix` names a layer: {show(value)}", EXAMPLE)
    return validate(MIXINGS[name], value, f"`{name}`")
