"""Functions of keras.ops that bring vectors to unit size, or to mean 0 and variance 1."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.contract.broadcasting import example_axes
from graphspec.contract.fields import Finite
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Example, Leaf, Site
from graphspec.layers.layer_normalization import Axes
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product

Small = Annotated[Finite, Field(gt=0)]


class _Normalizing(Operation, abstract=True):
    """What these functions share."""

    axis: Axes = -1

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        example_axes(self.spec_name, self.axis, x.rank)
        return x

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * 4


class Normalize(_Normalizing, spec_name="normalize"):
    """Vectors along an axis divided by their norm of this order, which is at least `epsilon`."""

    axis: int = -1
    order: Annotated[int, Field(ge=1)] = 2
    epsilon: Small = 1e-7

    examples = (
        Example({}, ((3, 4),)),
        Example({"axis": 1, "order": 1}, ((3, 4),)),
        Example({"order": 3, "epsilon": 1e-3}, ((4,),)),
    )

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {
            "order": self.order,
            "axis": self.axis,
            "epsilon": float(self.epsilon),
        }
        return Code("F.normalize({x}, {order}, {axis}, {epsilon})", constants=constants)


class _AlongAxes(_Normalizing, abstract=True):
    """Along one or more axes; PyTorch's own functions run over the last ones."""

    epsilon: Small = 1e-7

    own: ClassVar[str]
    written: ClassVar[str]

    examples = (
        Example({}, ((3, 4),)),
        Example({"axis": -2, "epsilon": 0.1}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4),)),
    )

    def code(self, site: Site) -> Code:
        axes = example_axes(self.spec_name, self.axis, site.x.rank)
        constants: dict[str, Leaf] = {"epsilon": float(self.epsilon)}
        if axes == list(range(site.x.rank - len(axes), site.x.rank)):
            constants["last"] = -len(axes)
            return Code(f"{self.own}({{x}}, {{x}}.shape[{{last}}:], eps={{epsilon}})", constants=constants)
        return Code(self.written, constants={**constants, "axis": self.axis})


class LayerNormalize(_AlongAxes, spec_name="layer_normalization"):
    """Mean 0 and variance 1 along axes; `gamma` and `beta` are a `multiply` and an `add` behind it."""

    own = "F.layer_norm"
    written = (
        "({x} - {x}.mean({axis}, keepdim=True)) "
        "* ({x}.var({axis}, correction=0, keepdim=True) + {epsilon}).rsqrt()"
    )


class RMSNormalize(_AlongAxes, spec_name="rms_normalization"):
    """Divided by the root mean square along axes; `scale` is a `multiply` behind it."""

    own = "F.rms_norm"
    written = "{x} * ({x}.square().mean({axis}, keepdim=True) + {epsilon}).rsqrt()"
