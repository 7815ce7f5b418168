"""LSTM, in PyTorch's kernel and step by step."""

from __future__ import annotations

from typing import Literal

from graphspec.contract.activations import ACTIVATIONS, ActivationName
from graphspec.contract.helpers import helper
from graphspec.contract.layer import Example, Leaf, Ref
from graphspec.layers.recurrent import Recurrent

helper(
    "reset_lstm",
    '''
def reset_lstm(lstm: nn.Module) -> None:
    """Keras' initializers: Glorot, orthogonal, zeros, ones for the forget gate."""
    for name, weight in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(weight)
        else:
            nn.init.zeros_(weight)
            nn.init.ones_(weight.detach().chunk(4)[1])
    for zeros in lstm.buffers():
        nn.init.zeros_(zeros)
''',
)
helper(
    "forget_bias_",
    '''
def forget_bias_(bias: Tensor, fill) -> None:
    """Fill an LSTM's bias, and the forget gate's part of it with ones."""
    fill(bias)
    nn.init.ones_(bias.detach().chunk(4)[1])
''',
)
helper(
    "LSTM",
    '''
class LSTM(nn.LSTM):
    """nn.LSTM with Keras' one bias, initializers and outputs."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
    ):
        super().__init__(input_size, hidden_size, bias=bias, batch_first=True)
        self.return_sequences, self.return_state = return_sequences, return_state
        keep_one_bias(self)

    def reset_parameters(self) -> None:
        reset_lstm(self)

    def forward(self, x: Tensor, initial_state: list[Tensor] | None = None):
        state = None
        if initial_state is not None:
            h, c = (s.expand(x.shape[0], -1)[None].contiguous() for s in initial_state)
            state = h, c
        y, (h, c) = super().forward(x, state)
        y = y if self.return_sequences else h[0]
        return (y, h[0], c[0]) if self.return_state else y
''',
    "keep_one_bias",
    "reset_lstm",
)
helper(
    "ScannedLSTM",
    '''
class ScannedLSTM(Scanned):
    """Keras' LSTM step by step."""

    gates, states = 4, 2

    def __init__(
        self,
        *sizes: int,
        activation=torch.tanh,
        recurrent_activation=torch.sigmoid,
        **options,
    ):
        super().__init__(*sizes, **options)
        self.activation, self.recurrent_activation = activation, recurrent_activation
        reset_lstm(self)

    def step(self, x: Tensor, kept: Tensor | None, h: Tensor, c: Tensor):
        products = state_products(h, self.weight_hh_l0, kept)
        i, f, g, o = (a + b for a, b in zip(x, products, strict=True))
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        c = f * c + i * self.activation(g)
        return o * self.activation(c), c
''',
    "Scanned",
    "state_products",
    "reset_lstm",
)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter, 1997). The gates lie in the order input, forget, cell, output."""

    gates = 4
    state_names = ("state_h", "state_c")
    module = "LSTM"
    pointwise = 5

    recurrent_activation: ActivationName = "sigmoid"
    unit_forget_bias: bool = True
    use_cudnn: bool | Literal["auto"] = "auto"  # as `unroll`

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
        return super().fast and self.recurrent_activation == "sigmoid"

    def options(self) -> dict[str, tuple[Leaf, Leaf]]:
        function = Ref(ACTIVATIONS[self.recurrent_activation].function)
        return {**super().options(), "recurrent_activation": (function, Ref("torch.sigmoid"))}

    def functions(self) -> tuple[str, ...]:
        return (self.activation, self.recurrent_activation)

    def bias_statement(self) -> str:
        fill = super().bias_statement()
        if not self.unit_forget_bias:
            return self.bias_initializer.vector_statement()
        return f"forget_bias_({{w}}, lambda w: {fill.format(w='w')})" if fill else ""

    def bias_helpers(self) -> tuple[str, ...]:
        helpers = super().bias_helpers()
        return ("forget_bias_", *helpers) if "forget_bias_" in self.bias_statement() else helpers
