"""The layer `ActivityRegularization`, and the `activity_regularizer` of other layers."""

from __future__ import annotations

from typing import ClassVar

from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Layer, Memory, ModuleCall, Site
from graphspec.contract.penalties import Regularizer
from graphspec.tensor import Dim, Tensor, product


class Watched(Layer, abstract=True):
    """Hands on its input, which training looks at: a module of its own, so that it can be found."""

    supports_masking = True

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=self.spec_name)
        return x

    def memory(self, x: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        return Code("{self}({x})", ModuleCall("nn.Identity"))

    def flops(self, site: Site) -> Dim:
        return 3 * product(site.x.shape[1:])


class WatchedActivity(Watched, abstract=True):
    """Adds the penalty of a layer's `activity_regularizer` on its output."""

    title: ClassVar[str] = "ActivityRegularization"
    by_hand: ClassVar[str] = (
        f"put {{layer: {title}, l2: 0.01}} after it, or the layer into a block"  # where none is possible
    )

    regularizer_: Regularizer

    def activities(self) -> dict[str, Regularizer]:
        return {"": self.regularizer_}
