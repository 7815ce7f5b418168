"""GRU, by PyTorch's kernel or step by step."""

from __future__ import annotations

from typing import Literal

from graphspec.contract.activations import SIGMOID, ActivationFunction
from graphspec.contract.layer import Example, Leaf, Ref, Weight
from graphspec.layers.recurrent import Recurrent


class GRU(Recurrent):
    """Gated recurrent unit (Cho, 2014). `reset_after: false` resets the state before the product with it.

    The gates are in PyTorch's order: reset, update, new.
    """

    gates = 3
    order = (1, 0, 2)
    pointwise = 5
    state_names = ("state",)
    module = "GRU"

    recurrent_activation: ActivationFunction = SIGMOID
    reset_after: bool = True
    use_cudnn: bool | Literal["auto"] = "auto"  # no effect, as `unroll`

    examples = (Example({"units": 5}, ((6, 3),)),)

    @property
    def fast(self) -> bool:
        return super().fast and self.recurrent_activation == SIGMOID and self.reset_after

    @property
    def two_biases(self) -> bool:
        """Whether the product with the state has its own bias."""
        return self.use_bias and self.reset_after

    def options(self) -> dict[str, tuple[Leaf, Leaf]]:
        function = Ref(self.recurrent_activation.callable())
        return {
            **super().options(),
            "recurrent_activation": (function, Ref("torch.sigmoid")),
            "reset_after": (self.reset_after, True),
        }

    def functions(self) -> dict[str, ActivationFunction]:
        return {"activation": self.activation, "recurrent_activation": self.recurrent_activation}

    def bias_statement(self) -> str:
        if not (self.two_biases and self.bias_initializer.uses_fans):
            return super().bias_statement()
        return f"fill_row_({{w}}, lambda w: {self.bias_initializer.statement().format(w='w')})"

    def biases(self, prefix: str, suffix: str) -> tuple[Weight, ...]:
        if not self.two_biases:
            return super().biases(prefix, suffix)
        return tuple(
            self.bias_weight(f"{prefix}{name}{suffix}", row)
            for row, name in enumerate(("bias_ih_l0", "bias_hh_l0"))
        )
