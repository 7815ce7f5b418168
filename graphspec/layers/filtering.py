"""Random filters of images in training: sharpening, blurring."""

from __future__ import annotations

from graphspec.contract.layer import Example, LayerError, Leaf, ModuleCall, Site
from graphspec.contract.windows import DataFormat, Window2
from graphspec.layers.augmentation import Augmentation, UpTo, ValueRange
from graphspec.layers.recoloring import floats
from graphspec.tensor import Dim, Tensor, product


class RandomSharpness(Augmentation, also="RandomAdjustSharpness"):
    """Sharpens or blurs each image in training, by a number between two `factor`s; clips to `value_range`.

    0.5 changes nothing, 0 blurs, 1 sharpens. A single factor is `[0, factor]`.
    """

    flops_per_input = 22

    factor: UpTo
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({"factor": [0.2, 0.9], "value_range": [-1, 6]}, ((4, 3, 2),)),)


class RandomGaussianBlur(Augmentation, also="GaussianBlur"):
    """Blurs images in training, with a probability between two `factor`s; clips to `value_range`.

    The standard deviation of the Gaussian kernel, along each axis, is drawn between two `sigma`s, once for
    all images of a batch. A single factor or sigma is the upper bound; the lower is 0.
    """

    factor: UpTo = (0.0, 1.0)
    kernel_size: Window2 = (3, 3)
    sigma: UpTo = (0.0, 1.0)
    """Range of the standard deviation: a number, or two bounds."""
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = "channels_last"
    seed: None = None

    examples = (Example({}, ((4, 3, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        height, width = self.kernel_size
        if height != width or height % 2 == 0:
            message = f"`kernel_size` is odd, and the same along both axes, not {[height, width]}"
            raise LayerError("out-of-range", message, help="write `kernel_size: 3`", argument="kernel_size")
        return super().infer(x)

    def module(self, site: Site) -> ModuleCall:
        positional: dict[str, Leaf] = {"factor": self.factor, "sigma": self.sigma}
        keyword: dict[str, tuple[Leaf, Leaf]] = {"kernel_size": (self.kernel_size[0], 3)}
        return ModuleCall(
            "RandomGaussianBlur", {**positional, "value_range": floats(self.value_range)}, keyword
        )

    def flops(self, site: Site) -> Dim:
        return 2 * product(self.kernel_size) * product(site.x.shape[1:])
