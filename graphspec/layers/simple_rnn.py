"""SimpleRNN, in PyTorch's kernel and step by step."""

from __future__ import annotations

from graphspec.contract.helpers import helper
from graphspec.contract.layer import Example
from graphspec.layers.recurrent import Recurrent

helper(
    "SimpleRNN",
    '''
class SimpleRNN(nn.RNN):
    """nn.RNN with Keras' one bias, initializers and outputs."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        activation=torch.tanh,
    ):
        kind = activation.__name__
        super().__init__(input_size, hidden_size, 1, kind, bias=bias, batch_first=True)
        self.return_sequences, self.return_state = return_sequences, return_state
        keep_one_bias(self)

    def reset_parameters(self) -> None:
        reset_rnn(self)

    def forward(self, x: Tensor, initial_state: list[Tensor] | None = None):
        state = None
        if initial_state is not None:
            state = initial_state[0].expand(x.shape[0], -1)[None].contiguous()
        y, h = super().forward(x, state)
        y = y if self.return_sequences else h[0]
        return (y, h[0]) if self.return_state else y
''',
    "keep_one_bias",
    "reset_rnn",
)
helper(
    "ScannedSimpleRNN",
    '''
class ScannedSimpleRNN(Scanned):
    """Keras' SimpleRNN step by step."""

    def __init__(self, *sizes: int, activation=torch.tanh, **options):
        super().__init__(*sizes, **options)
        self.activation = activation
        reset_rnn(self)

    def step(self, x: Tensor, kept: Tensor | None, h: Tensor):
        held = h if kept is None else h * kept[0]
        return (self.activation(x[0] + F.linear(held, self.weight_hh_l0)),)
''',
    "Scanned",
    "reset_rnn",
)


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
        return self.activation in ("tanh", "relu") and not self.recurrent_dropout
