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

    examples = (Example({"units": 5}, ((6, 3),)),)

    @property
    def fast(self) -> bool:
        return self.activation in (TANH, RELU) and not self.recurrent_dropout
