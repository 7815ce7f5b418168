"""LSTM, by PyTorch's kernel or step by step."""

from __future__ import annotations

from typing import Literal

from graphspec.contract.activations import SIGMOID, ActivationFunction
from graphspec.contract.layer import Example, Leaf, Ref
from graphspec.layers.recurrent import Recurrent


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter, 1997). The gates are in the order input, forget, cell, output."""

    gates = 4
    state_names = ("state_h", "state_c")
    module = "LSTM"
    pointwise = 5

    recurrent_activation: ActivationFunction = SIGMOID
    unit_forget_bias: bool = True
    use_cudnn: bool | Literal["auto"] = "auto"  # no effect, as `unroll`

    examples = (Example({"units": 5}, ((6, 3),)),)

    @property
    def fast(self) -> bool:
        return super().fast and self.recurrent_activation == SIGMOID

    def options(self) -> dict[str, tuple[Leaf, Leaf]]:
        function = Ref(self.recurrent_activation.callable())
        return {**super().options(), "recurrent_activation": (function, Ref("torch.sigmoid"))}

    def functions(self) -> dict[str, ActivationFunction]:
        return {"activation": self.activation, "recurrent_activation": self.recurrent_activation}

    def bias_statement(self) -> str:
        fill = super().bias_statement()
        if not self.unit_forget_bias:
            return self.bias_initializer.vector_statement()
        return f"forget_bias_({{w}}, lambda w: {fill.format(w='w')})" if fill else ""
