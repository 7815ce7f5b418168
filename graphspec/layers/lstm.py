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

    examples = (
        Example({"units": 5}, ((6, 3),)),
        Example({"units": 4, "return_sequences": True}, ((6, 3),)),
        Example({"units": 4, "return_state": True}, ((5, 3),)),
        Example(
            {"units": 4, "return_sequences": True, "return_state": True, "go_backwards": True}, ((5, 3),)
        ),
        Example({"units": 3, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "relu", "recurrent_activation": "hard_sigmoid"}, ((4, 2),)),
        Example({"units": 3, "activation": "softmax", "return_sequences": True}, ((4, 2),)),
        Example(
            {"units": 3, "activation": {"name": "relu", "negative_slope": 0.2, "max_value": 0.1}}, ((4, 2),)
        ),
        Example({"units": 3, "activation": None, "use_bias": False, "return_state": True}, ((4, 2),)),
        Example(
            {"units": 3, "kernel_initializer": "he_normal", "recurrent_initializer": "glorot_uniform"},
            ((4, 2),),
        ),
        Example({"units": 3, "bias_initializer": "ones", "unit_forget_bias": False}, ((4, 2),)),
        Example({"units": 3, "bias_initializer": {"name": "constant", "value": 0.5}}, ((4, 2),)),
        Example({"units": 3, "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None}, ((4, 2),)),
        Example({"units": 3, "stateful": False, "unroll": True, "use_cudnn": "auto"}, ((4, 2),)),
        Example({"units": 4, "return_sequences": True, "return_state": True}, ((5, 3), (4,), (4,))),
        *Recurrent.masked_examples,
    )

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
