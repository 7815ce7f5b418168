"""Layers that act only in training: dropout, noise, activity regularization."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from graphspec.contract.activity import Watched
from graphspec.contract.fields import as_tuple
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Example, Layer, LayerError, ModuleCall, Site
from graphspec.contract.penalties import Factor, Regularizer
from graphspec.contract.streaming import Streaming, frame
from graphspec.contract.windows import DataFormat, need_spatial
from graphspec.tensor import Tensor
from graphspec.traced import float_of

Share = Annotated[float, Field(ge=0, lt=1)]


class Dropout(Layer):
    """Sets a share `rate` of the elements to 0 in training, and scales the rest by `1 / (1 - rate)`.

    `noise_shape` has an entry for each axis, the batch first: null draws for each index, 1 once for all.
    `seed` may only be null: the run has one seed.
    """

    memory_layout = "any"
    flops_per_input = 1
    supports_masking = True
    random = True
    training_only = True

    rate: Annotated[float, Field(ge=0, le=1)]
    noise_shape: (
        Annotated[tuple[Annotated[int, Field(gt=0)] | None, ...], BeforeValidator(as_tuple)] | None
    ) = None
    """Shape of the mask that drops; sizes of 1 are dropped together."""
    seed: None = None

    examples = (Example({"rate": 0.25}, ((20, 20),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=self.spec_name)
        if self.noise_shape is not None and not self._fits(x, self.noise_shape):
            raise LayerError(
                "shapes-differ",
                f"`noise_shape` {list(self.noise_shape)} does not fit {x}",
                help="write null or 1 for each axis, the batch axis first",
                argument="noise_shape",
                inputs=(0,),
            )
        return x

    @staticmethod
    def _fits(x: Tensor, noise: tuple[int | None, ...]) -> bool:
        return len(noise) == x.rank and all(
            n in (None, 1) or n == size for n, size in zip(noise, x.shape, strict=True)
        )

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])

    def code(self, site: Site) -> Code:
        if self.noise_shape is None:
            return Code("{self}({x})", ModuleCall(f"nn.{self.spec_name}", {"p": float_of(self.rate)}))
        shared = ModuleCall(
            f"Shared{self.spec_name}", {"p": float_of(self.rate), "noise_shape": self.noise(site)}
        )
        return Code("{self}({x})", shared)

    def noise(self, site: Site) -> tuple[int | None, ...]:
        """`noise_shape` in the memory order of the axes."""
        assert self.noise_shape is not None
        noise = list(self.noise_shape)
        for axis, size in enumerate(self.noise_shape):
            noise[site.axis(axis)] = size
        return tuple(noise)


class AlphaDropout(Dropout):
    """Sets a share `rate` of elements to SELU's saturation value in training; keeps mean and variance.

    `noise_shape` has an entry for each axis, the batch first: null draws for each index, 1 once for all.
    """

    flops_per_input = 3

    rate: Share

    examples = (Example({"rate": 0.25}, ((8, 10),)),)


class _SpatialDropout(Layer, abstract=True):
    """Sets a share `rate` of the channels to 0 in training, and scales the rest by `1 / (1 - rate)`."""

    memory_layout = "data_format"
    flops_per_input = 1
    supports_masking = True
    random = True
    training_only = True

    rate: Annotated[float, Field(ge=0, le=1)]
    seed: None = None

    def infer(self, x: Tensor) -> Tensor:
        need_spatial(x, self.rank, self.layout, layer=self.spec_name)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])

    def code(self, site: Site) -> Code:
        return Code("{self}({x})", ModuleCall(f"nn.Dropout{self.rank}d", {"p": float_of(self.rate)}))


class SpatialDropout1D(_SpatialDropout, also="Dropout1d"):
    """Drops whole channels of sequences: each is kept, or 0 at all of its steps."""

    examples = (Example({"rate": 0.25}, ((5, 20),)),)


class SpatialDropout2D(_SpatialDropout, also="Dropout2d"):
    """Drops whole channels of images: each is kept, or 0 at all of its pixels."""

    data_format: DataFormat = "channels_last"

    examples = (Example({"rate": 0.25}, ((2, 3, 20),)),)


class SpatialDropout3D(_SpatialDropout, also="Dropout3d"):
    """Drops whole channels of volumes: each is kept, or 0 at all of its places."""

    data_format: DataFormat = "channels_last"

    examples = (Example({"rate": 0.25}, ((2, 2, 3, 20),)),)


class _NoisyLayer(Layer, abstract=True):
    """Normal noise for each element in training."""

    memory_layout = "any"
    flops_per_input = 2
    supports_masking = True
    random = True
    training_only = True

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=self.spec_name)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])


class GaussianNoise(_NoisyLayer):
    """Adds normal noise with standard deviation `stddev` in training."""

    stddev: Annotated[float, Field(ge=0, le=1)]
    seed: None = None

    examples = (Example({"stddev": 0.5}, ((8, 10),)),)

    def code(self, site: Site) -> Code:
        construct = ModuleCall("GaussianNoise", {"std": float_of(self.stddev)})
        return Code("{self}({x})", construct)


class GaussianDropout(_NoisyLayer):
    """Multiplies by normal noise of mean 1, standard deviation `sqrt(rate / (1 - rate))`, in training."""

    rate: Share
    seed: None = None

    examples = (Example({"rate": 0.25}, ((8, 10),)),)

    def code(self, site: Site) -> Code:
        construct = ModuleCall("GaussianDropout", {"p": float_of(self.rate)})
        return Code("{self}({x})", construct)


class ActivityRegularization(Watched):
    """Adds `l1` times the sum of absolute values, and `l2` times the sum of squares, to the loss."""

    l1: Factor = 0.0
    l2: Factor = 0.0

    examples = (Example({"l1": 0.5}, ((4,),)),)

    def activities(self) -> dict[str, Regularizer]:
        from graphspec.contract.regularizers import L1L2

        return {"": L1L2(l1=self.l1, l2=self.l2)}
