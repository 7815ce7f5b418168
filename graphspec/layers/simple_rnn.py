"""SimpleRNN, by PyTorch's kernel or step by step."""

from __future__ import annotations

from graphspec.contract.activations import RELU, TANH
from graphspec.contract.layer import Example
from graphspec.layers.recurrent import Recurrent


class SimpleRNN(Recurrent):
    """A fully connected recurrent layer: `activation(x @ kernel + state @ recurrent_kernel + bias)`."""

    gates = 1
    state_names = ("state",)
    module = "SimpleRNN"

    examples = (
        Example({"units": 5}, ((6, 3),)),
        Example({"units": 4, "return_sequences": True, "activation": "relu"}, ((6, 3),)),
        Example({"units": 4, "return_state": True, "go_backwards": True}, ((5, 3),)),
        Example({"units": 4, "return_state": True, "return_sequences": True}, ((5, 3), (4,))),
        Example({"units": 3, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "softmax", "return_sequences": True}, ((4, 2),)),
        Example({"units": 3, "activation": None, "use_bias": False, "return_state": True}, ((4, 2), (3,))),
        Example(
            {"units": 3, "kernel_initializer": "he_normal", "recurrent_initializer": "glorot_uniform"},
            ((4, 2),),
        ),
        Example({"units": 3, "bias_initializer": {"name": "constant", "value": 0.5}}, ((4, 2),)),
        Example({"units": 3, "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None}, ((4, 2),)),
        Example({"units": 3, "stateful": False, "unroll": True}, ((4, 2),)),
        *Recurrent.masked_examples,
    )

    @property
    def fast(self) -> bool:
        return self.activation in (TANH, RELU) and not self.recurrent_dropout
