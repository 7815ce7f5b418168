"""A layer, block or model at each step: TimeDistributed."""

from __future__ import annotations

from graphspec.contract.layer import Example, LayerError, Wrapper
from graphspec.tensor import Dim, Tensor


class TimeDistributed(Wrapper):
    """Applies a layer, block or model to each step of axis 1, with one set of weights.

    A mask of the steps is handed on; what is wrapped sees none.
    """

    supports_masking = True

    examples = (
        Example({"wraps": {"layer": "Dense", "units": 4}}, ((3, 5),)),
        Example({"wraps": {"layer": "Conv2D", "filters": 2, "kernel_size": 3}}, ((2, 5, 5, 3),)),
    )

    def enter(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.rank < 3:
            raise LayerError(
                "wrong-rank",
                f"TimeDistributed takes at least 3 axes, `[batch, steps, ...]`, and gets {x.rank}: {x}",
                inputs=(0,),
            )
        return (x.with_shape(x.shape[0] * x.shape[1], *x.shape[2:]),)

    def leave(self, output: Tensor, x: Tensor) -> Tensor:
        return output.with_shape(*x.shape[:2], *output.shape[1:])

    def enter_code(self) -> str:
        return "{x}.flatten(0, 1)"

    def leave_code(self) -> str:
        return "{y}.unflatten(0, {x}.shape[:2])"

    def times(self, x: Tensor) -> Dim:
        return x.shape[1]
