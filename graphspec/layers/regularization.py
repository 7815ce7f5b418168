"""Layers that act in training only."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import as_tuple
from graphspec.contract.helpers import helper
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Construct, Example, Layer, LayerError, Memory, Site
from graphspec.tensor import Dim, Tensor, product

helper(
    "SharedDropout",
    '''
class SharedDropout(nn.Module):
    """Dropout that decides once for all elements along the axes where `noise_shape` is 1."""

    def __init__(self, p: float, noise_shape: tuple[int | None, ...]):
        super().__init__()
        self.p, self.noise_shape = p, noise_shape

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = [
            n if s is None else s
            for n, s in zip(x.shape, self.noise_shape, strict=True)
        ]
        return x * F.dropout(x.new_ones(shape), self.p)
''',
)


class Dropout(Layer):
    """Sets a share `rate` of the elements to 0 in training, and scales the rest by `1 / (1 - rate)`.

    `noise_shape` has an entry for each axis, the batch first: null decides for each index, 1 once for all.
    `seed` is accepted where it is null: the run has one seed.
    """

    supports_masking = True
    random = True
    training_only = True

    rate: Annotated[float, Field(ge=0, le=1)]
    noise_shape: (
        Annotated[tuple[Annotated[int, Field(gt=0)] | None, ...], BeforeValidator(as_tuple)] | None
    ) = None
    seed: None = None

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"rate": 0.25}, ((40, 50),)),
        Example({"rate": 0.0, "seed": None}, ((6,),)),
        Example({"rate": 1}, ((6,),)),
        Example({"rate": 0.5, "noise_shape": [None, 1, 500]}, ((4, 500),)),
        Example({"rate": 0.5, "noise_shape": [None, None, 1, 200]}, ((4, 5, 200),)),
    )

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

    def memory(self, x: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        if self.noise_shape is None:
            return Code("{self}({x})", Construct("nn.Dropout", {"p": float(self.rate)}))
        construct = Construct("SharedDropout", {"p": float(self.rate), "noise_shape": self.noise(site)})
        return Code("{self}({x})", construct, helpers=("SharedDropout",))

    def noise(self, site: Site) -> tuple[int | None, ...]:
        """`noise_shape`, as the axes lie in memory."""
        assert self.noise_shape is not None
        noise = list(self.noise_shape)
        for axis, size in enumerate(self.noise_shape):
            noise[site.axis(axis)] = size
        return tuple(noise)

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:])
