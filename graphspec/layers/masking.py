"""`Masking`: masks steps by their value."""

from __future__ import annotations

from typing import Any

from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Derived, Example, Layer, LayerError, Site
from graphspec.contract.masks import MaskNotEqual
from graphspec.contract.streaming import Streaming, apart_from
from graphspec.tensor import Tensor


class Masking(Layer):
    """Masks the steps whose features all equal `mask_value`, and sets them to zero."""

    template = "{x}.masked_fill(({x} == {mask_value}).all(-1, keepdim=True), 0.0)"
    flops_per_input = 1

    mask_value: float = 0.0
    """Value that marks a masked step."""

    supports_masking = True
    examples = (Example({}, ((5, 3),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="Masking")
        if x.rank < 3:
            raise LayerError(
                "wrong-rank",
                f"Masking takes steps of features, `[batch, steps, features]`, and gets {x}",
                inputs=(0,),
            )
        return x

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return Derived(MaskNotEqual(value=self.mask_value, steps=True), (inputs[0],))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (-1,))
