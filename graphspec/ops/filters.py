"""Functions of keras.ops.image that filter images and compare them.

Images are `[batch, height, width, channels]`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.windows import DataFormat, channels_back, channels_moved, need_spatial, spatial
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product

Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[Positive | tuple[Positive, Positive], BeforeValidator(as_tuple)]
Deviations = Annotated[Deviation | tuple[Deviation, Deviation], BeforeValidator(as_tuple)]


class GaussianBlur(Operation, spec_name="image_gaussian_blur"):
    """Images under a Gaussian window of `kernel_size` times `kernel_size` pixels, with zeros around.

    `sigma` has the standard deviation in pixels, or two: along the width, and along the height.
    """

    kernel_size: Size = 3
    sigma: Deviations = 1.0
    """Standard deviation of the window: a number, or one for each axis."""
    data_format: DataFormat = "channels_last"

    examples = (
        Example({"kernel_size": [3, 3], "sigma": [1.0, 1.0], "data_format": "channels_last"}, ((4, 5, 2),)),
    )

    def side(self) -> int:
        """The width and height of the window. Raises `LayerError`."""
        sizes = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,) * 2
        if len(set(sizes)) > 1 or sizes[0] % 2 == 0:
            message = f"the window of `{self.spec_name}` is a square with a pixel in the middle"
            help = f"write an odd number: `kernel_size: {max(sizes) // 2 * 2 + 1}`"
            raise LayerError("out-of-range", message, help=help, argument="kernel_size")
        return sizes[0]

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, 2, self.data_format, layer=f"`{self.spec_name}`")
        self.side()
        return x

    def code(self, site: Site) -> Code:
        sigma = self.sigma if isinstance(self.sigma, tuple) else (self.sigma,) * 2
        constants: dict[str, Leaf] = {"size": self.side(), "sigma": sigma}
        call = f"gaussian_blur({channels_moved('x', self.data_format)}, {{size}}, {{sigma}})"
        return Code(channels_back(call, self.data_format), constants=constants)

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * 2 * self.side() ** 2


class SobelEdges(Operation, spec_name="image_sobel_edges"):
    """How fast each channel of images grows downwards, and to the right: a last axis of two."""

    flops_per_input = 36

    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((4, 5, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, 2, self.data_format, layer=f"`{self.spec_name}`")
        return x.with_shape(*x.shape, 2)

    def code(self, site: Site) -> Code:
        text = f"sobel_edges({channels_moved('x', self.data_format)})"
        return Code(text + (".movedim(1, 3)" if self.data_format == "channels_last" else ""))


class Ssim(Operation, spec_name="image_ssim"):
    """The structural similarity of two images (Wang, 2004), a number for each example: 1 if they are equal.

    `max_val` is the largest value that a pixel may have. Windows are Gaussian, `filter_size` pixels wide.
    """

    arguments = (Argument("image1"), Argument("image2"))

    max_val: Deviation = 1.0
    """Largest value that a pixel may have."""
    filter_size: Positive = 11
    """Width of the window in pixels."""
    filter_sigma: Deviation = 1.5
    """Standard deviation of the window in pixels."""
    k1: float = 0.01
    """Small number that keeps the comparison of means stable."""
    k2: float = 0.03
    """Small number that keeps the comparison of variances stable."""
    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((12, 11, 2), (12, 11, 2))),)

    def infer(self, image1: Tensor, image2: Tensor) -> Tensor:
        name = f"`{self.spec_name}`"
        for image in (image1, image2):
            need_spatial(image, 2, self.data_format, layer=name)
        if image1 != image2:
            message = f"{name} compares images of one shape and type, and gets {image1} and {image2}"
            raise LayerError("shapes-differ", message, inputs=(0, 1))
        sizes = spatial(image1, self.data_format)
        if any(isinstance(size, int) and size < self.filter_size for size in sizes):
            message = f"the window of {name}, {self.filter_size} pixels wide, is larger than {image1}"
            raise LayerError("window-too-large", message, argument="filter_size", inputs=(0,))
        return image1.with_shape(image1.shape[0])

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {
            "size": self.filter_size,
            "sigma": self.filter_sigma,
            "c1": (self.k1 * self.max_val) ** 2,
            "c2": (self.k2 * self.max_val) ** 2,
        }
        images = ", ".join(channels_moved(name, self.data_format) for name in ("image1", "image2"))
        return Code(
            f"structural_similarity({images}, {{size}}, {{sigma}}, {{c1}}, {{c2}})", constants=constants
        )

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * (10 * self.filter_size**2 + 20)
