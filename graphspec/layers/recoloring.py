"""Random changes of colours in training: grayscale, inversion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphspec.contract.layer import Construct, Example, LayerError, Leaf, Site
from graphspec.contract.windows import DataFormat
from graphspec.layers.augmentation import Augmentation, UpTo, ValueRange
from graphspec.tensor import Dim, Tensor, product

Chance = Annotated[float, Field(ge=0, le=1)]


class RandomGrayscale(Augmentation, also="RandomGrayScale"):
    """Removes the colour of a share `factor` of the images in training: red, green and blue become equal."""

    factor: Chance = 0.5
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (
        Example({"factor": 0.4}, ((3, 4, 3),)),
        Example({"factor": 0.7, "data_format": "channels_first", "seed": None}, ((3, 2, 3),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        output = super().infer(x)
        if x.shape[-1 if self.data_format == "channels_last" else 1] != 3:
            message = f"RandomGrayscale takes images of three channels, and gets {x}"
            raise LayerError("shapes-differ", message, inputs=(0,))
        return output

    def module(self, site: Site) -> Construct:
        return Construct("RandomGrayscale", {"factor": float(self.factor)})

    def flops(self, site: Site) -> Dim:
        return 2 * product(site.x.shape[1:])


class RandomInvert(Augmentation, also="Invert"):
    """Inverts images in training, with a probability between two `factor`s."""

    factor: UpTo = (0.0, 1.0)
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (
        Example({"factor": 0.5, "value_range": [0, 1]}, ((3, 4, 2),)),
        Example({"factor": [0.6, 0.9], "data_format": "channels_first", "seed": None}, ((1, 2, 3),)),
    )

    def module(self, site: Site) -> Construct:
        positional: dict[str, Leaf] = {"factor": self.factor, "white": float(self.value_range[1])}
        return Construct("RandomInvert", positional)

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:])
