"""Functions of keras.ops.image that read images at other places: affine maps, perspectives, coordinates.

Images are `[batch, height, width, channels]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Finite, as_tuple
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.windows import DataFormat, channels_back, channels_moved, need_spatial, spatial
from graphspec.layers.augmentation import READERS, FillMode, Interpolation
from graphspec.ops.operation import Operation, need_numbers
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of


def _need_beside(name: str, argument: str, value: Tensor, shape: tuple[int, ...], images: Tensor) -> None:
    """Refuses what is no tensor of numbers of this shape for each image, or one for all."""
    need_numbers(name, images, value)
    if value.shape[1:] != shape or value.shape[0] not in (1, images.shape[0]):
        message = f"`{argument}` of `{name}` is {list(shape)} for each image, not {value}"
        raise LayerError("shapes-differ", message, inputs=(1,))


def _alike(argument: str, value: Tensor, other: str, wanted: Tensor) -> str:
    """An argument in the dtype of another one."""
    return f"{{{argument}}}" + (f".type_as({{{other}}})" if value.dtype != wanted.dtype else "")


class _Sampled(Operation, abstract=True):
    """Images read at other places, which tensors beside them say."""

    beside: ClassVar[tuple[int, ...]]  # the shape of these tensors, without the batch

    if TYPE_CHECKING:  # fields of the subclasses, which list all of their fields in Keras' order
        interpolation: Interpolation
        data_format: DataFormat

    def infer(self, images: Tensor, *others: Tensor) -> Tensor:
        need_float(images, layer=f"`{self.spec_name}`")
        need_spatial(images, 2, self.data_format, layer=f"`{self.spec_name}`")
        for argument, other in zip(self.arguments[1:], others, strict=True):
            _need_beside(self.spec_name, argument.name, other, self.beside, images)
        return images

    def numbers(self, site: Site) -> list[str]:
        """The tensors beside the images, in their dtype."""
        others = zip(self.arguments[1:], site.inputs[1:], strict=True)
        return [_alike(argument.name, x, "images", site.x) for argument, x in others]

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * (7 if self.interpolation == "bilinear" else 1)


class AffineTransform(_Sampled, spec_name="image_affine_transform"):
    """Each image under an affine map: the pixel at row y and column x shows the place that the row `[a0, a1,
    a2, b0, b1, b2, 0, 0]` of `transform` says.

    That is column a0 x + a1 y + a2 and row b0 x + b1 y + b2 of the image. `fill_mode` says what is outside.
    """

    arguments = (Argument("images"), Argument("transform"))
    beside = (8,)

    interpolation: Interpolation = "bilinear"
    fill_mode: FillMode = "constant"
    fill_value: Finite = 0.0
    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((4, 5, 1), (8,))),)

    def code(self, site: Site) -> Code:
        fill = float_of(self.fill_value) if self.fill_mode == "constant" else 0.0
        constants: dict[str, Leaf] = {
            "read": READERS[self.fill_mode],
            "mode": self.interpolation,
            "fill": fill,
        }
        images = channels_moved("images", self.data_format)
        (transform,) = self.numbers(site)
        text = f"affine_transform({images}, {transform}, {{read}}, {{mode}}, {{fill}})"
        return Code(channels_back(text, self.data_format), constants=constants)


class PerspectiveTransform(_Sampled, spec_name="image_perspective_transform"):
    """Each image under the perspective that moves four points, `[x, y]` each, from `start_points` to
    `end_points`. Pixels from outside of the image are `fill_value`.
    """

    arguments = (Argument("images"), Argument("start_points"), Argument("end_points"))
    beside = (4, 2)
    halves = False

    interpolation: Interpolation = "bilinear"
    fill_value: Finite = 0.0
    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((4, 5, 2), (4, 2), (4, 2))),)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"mode": self.interpolation, "fill": float_of(self.fill_value)}
        images = channels_moved("images", self.data_format)
        start, end = self.numbers(site)
        text = f"project({images}, homography({end}, {start}), {{mode}}, {{fill}})"
        return Code(channels_back(text, self.data_format), constants=constants)


class MapCoordinates(Operation, spec_name="image_map_coordinates"):
    """The elements of each example at its own `coordinates`, `[axes, ...]`: a position for each axis of it.

    Between elements `order` 1 interpolates, and 0 takes the nearest. `fill_mode` says what is outside.
    """

    arguments = (Argument("inputs"), Argument("coordinates"))

    order: Literal[0, 1]
    """Order of the interpolation: 1 is linear, 0 takes the nearest."""
    fill_mode: Literal["constant", "nearest", "wrap", "mirror", "reflect"] = "constant"
    fill_value: Finite = 0.0

    examples = (Example({"order": 1}, ((3, 4), (2, 5))),)

    def infer(self, inputs: Tensor, coordinates: Tensor) -> Tensor:
        for x in (inputs, coordinates):
            need_float(x, layer=f"`{self.spec_name}`")
        axes = inputs.rank - 1
        if not axes or coordinates.rank < 2 or coordinates.shape[1] != axes:
            message = f"`coordinates` have a position for each axis of an example of {inputs}: [{axes}, ...]"
            raise LayerError("shapes-differ", f"{message}, not {coordinates}", inputs=(0, 1))
        if coordinates.shape[0] not in (1, inputs.shape[0]):
            message = f"`{self.spec_name}` takes coordinates for each example, not {coordinates}"
            raise LayerError("shapes-differ", message, inputs=(1,))
        if self.fill_mode == "mirror" and 1 in inputs.shape[1:]:
            message = f"`fill_mode: mirror` needs two elements along each axis, unlike {inputs}"
            raise LayerError("window-too-large", message, argument="fill_mode", inputs=(0,))
        return inputs.with_shape(inputs.shape[0], *coordinates.shape[2:])

    def code(self, site: Site) -> Code:
        coordinates = _alike("coordinates", site.inputs[1], "inputs", site.x)
        text = f"map_coordinates({{inputs}}, {coordinates}, {{order}}, {{fill_mode}}, {{fill}})"
        fill = float_of(self.fill_value) if self.fill_mode == "constant" else 0.0
        return Code(text, constants={"order": self.order, "fill_mode": self.fill_mode, "fill": fill})

    def flops(self, site: Site) -> Dim:
        corners: int = (self.order + 1) ** (site.x.rank - 1)
        return product(site.outputs[0].shape[1:]) * corners * (site.x.rank + 1)


KERNELS = {
    **dict.fromkeys(("linear", "bilinear", "trilinear", "triangle"), "triangle"),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), "keys_cubic"),
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}
"""The function that weighs pixels by their distance, by Keras' name of the method."""
Each = Annotated[tuple[Finite, ...], BeforeValidator(as_tuple), Field(min_length=1)]


class ScaleAndTranslate(Operation, spec_name="image_scale_and_translate"):
    """Images scaled along `spatial_dims`, moved by `translation` pixels, and cut to `output_shape`, whose
    first size, -1, is the batch.

    `scale` and `translation` have a number for each of these axes. What comes from outside is 0. `antialias`
    smooths where images become smaller.
    """

    output_shape: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
    """Sizes, -1 for the batch."""
    scale: Annotated[tuple[Annotated[Finite, Field(gt=0)], ...], BeforeValidator(as_tuple)]
    """Factor of each of `spatial_dims`."""
    translation: Each
    """Pixels to move along each axis."""
    spatial_dims: Annotated[tuple[int, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    """Axes that are scaled and moved."""
    method: Literal[
        "linear",
        "bilinear",
        "trilinear",
        "triangle",
        "cubic",
        "bicubic",
        "tricubic",
        "lanczos3",
        "lanczos5",
    ]
    """Interpolation between pixels."""
    antialias: bool = True

    examples = (
        Example(
            {
                "output_shape": [-1, 3, 7, 2],
                "scale": [0.6, 1.5],
                "translation": [0.3, -1.2],
                "spatial_dims": [1, 2],
                "method": "linear",
            },
            ((5, 4, 2),),
        ),
    )

    def dims(self, x: Tensor) -> tuple[int, ...]:
        """The axes that change, from 0. Raises `LayerError`."""
        name, axes = self.spec_name, tuple(axis % x.rank for axis in self.spatial_dims)
        if (
            0 in axes
            or len(set(axes)) < len(axes)
            or any(not -x.rank <= a < x.rank for a in self.spatial_dims)
        ):
            message = (
                f"`spatial_dims` are different axes of {x} after the batch, not {list(self.spatial_dims)}"
            )
            raise LayerError("out-of-range", message, argument="spatial_dims", inputs=(0,))
        for argument in ("scale", "translation"):
            if len(getattr(self, argument)) != len(axes):
                message = f"`{argument}` of `{name}` has a number for each of {len(axes)} `spatial_dims`"
                raise LayerError("shapes-differ", message, argument=argument)
        return axes

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        dims, shape = self.dims(x), self.output_shape
        kept = [axis for axis in range(1, x.rank) if axis not in dims]
        if len(shape) != x.rank or shape[0] != -1 or any(size < 1 for size in shape[1:]):
            message = f"`output_shape` is -1 and a size for each axis of {x}, not {list(shape)}"
            raise LayerError("out-of-range", message, argument="output_shape", inputs=(0,))
        if any(shape[axis] != x.shape[axis] for axis in kept):
            message = f"`output_shape` changes an axis of {x} that is not one of `spatial_dims`"
            raise LayerError("shapes-differ", message, argument="output_shape", inputs=(0,))
        return x.with_shape(x.shape[0], *shape[1:])

    def code(self, site: Site) -> Code:
        text = "{x}"
        constants: dict[str, Leaf] = {}
        kernel = KERNELS[self.method]
        smooth = "" if self.antialias else ", antialias=False"
        for axis, scale, shift in zip(self.dims(site.x), self.scale, self.translation, strict=True):
            numbers = {f"size{axis}": self.output_shape[axis], f"scale{axis}": scale, f"shift{axis}": shift}
            constants |= numbers
            places = ", ".join(f"{{{name}}}" for name in numbers)
            text = f"resample({text}, {axis}, {places}, {kernel}{smooth})"
        return Code(text, constants=constants)

    def flops(self, site: Site) -> Dim:
        total: Dim = 0
        sizes = list(site.x.shape[1:])
        for axis in self.dims(site.x):
            work = 2 * sizes[axis - 1]
            sizes[axis - 1] = self.output_shape[axis]
            total = total + work * product(tuple(sizes))
        return total


class ElasticTransform(Operation, spec_name="image_elastic_transform"):
    """Images distorted at random, at each call: pixels move by smoothed noise times `alpha`.

    `sigma` is the deviation of the noise and of the Gaussian window that smooths it. `fill_mode` says what is
    outside of the image.
    """

    random = True
    halves = False

    alpha: Finite = 20.0
    """Factor of the noise."""
    sigma: Annotated[Finite, Field(gt=0)] = 5.0
    """Deviation of noise and window."""
    interpolation: Interpolation = "bilinear"
    fill_mode: FillMode = "reflect"
    fill_value: Finite = 0.0
    seed: None = None
    data_format: DataFormat = "channels_last"

    examples = (Example({"alpha": 4.0, "sigma": 0.6}, ((5, 4, 2),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        need_spatial(x, 2, self.data_format, layer=f"`{self.spec_name}`")
        return x

    def code(self, site: Site) -> Code:
        fill = float_of(self.fill_value) if self.fill_mode == "constant" else 0.0
        constants: dict[str, Leaf] = {
            "alpha": float_of(self.alpha),
            "sigma": float_of(self.sigma),
            "read": READERS[self.fill_mode],
            "mode": self.interpolation,
            "fill": fill,
        }
        how = "{alpha}, {sigma}, {read}, {mode}, {fill}"
        return Code(
            channels_back(
                f"elastic_transform({channels_moved('x', self.data_format)}, {how})", self.data_format
            ),
            constants=constants,
        )

    def flops(self, site: Site) -> Dim:
        height, width = spatial(site.x, self.data_format)
        return height * width * 4 * (int(6 * self.sigma) | 1) ** 2 + 7 * product(site.x.shape[1:])
