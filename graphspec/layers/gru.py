"""GRU, in PyTorch's kernel and step by step."""

from __future__ import annotations

from typing import Literal

from graphspec.contract.activations import ACTIVATIONS, ActivationName
from graphspec.contract.helpers import helper
from graphspec.contract.layer import Example, Leaf, Ref, Weight
from graphspec.layers.recurrent import Recurrent

helper(
    "fill_row_",
    '''
def fill_row_(row: Tensor, fill) -> None:
    """Fill one of the two rows of Keras' bias, which is [2, 3 * units]."""
    bias = row.detach().new_empty(len(row), 2)
    fill(bias)
    row.detach().copy_(bias[:, 0])
''',
)
helper(
    "GRU",
    '''
class GRU(nn.GRU):
    """nn.GRU with Keras' initializers and outputs."""

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
    "reset_rnn",
)
helper(
    "ScannedGRU",
    '''
class ScannedGRU(Scanned):
    """Keras' GRU step by step, with the reset gate before or after the product."""

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        activation=torch.tanh,
        recurrent_activation=torch.sigmoid,
        reset_after: bool = True,
        **options,
    ):
        super().__init__(input_size, hidden_size, bias, **options)
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.reset_after, self.bias_hh_l0 = reset_after, None
        if bias and reset_after:
            self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size))
        reset_rnn(self)

    def step(self, x: Tensor, kept: Tensor | None, h: Tensor):
        weight, units = self.weight_hh_l0, h.shape[-1]
        if self.reset_after:
            products = state_products(h, weight, kept)
            if self.bias_hh_l0 is not None:
                biases = self.bias_hh_l0.chunk(3)
                products = [a + b for a, b in zip(products, biases, strict=True)]
            r = self.recurrent_activation(x[0] + products[0])
            z = self.recurrent_activation(x[1] + products[1])
            n = self.activation(x[2] + r * products[2])
        else:
            first = None if kept is None else kept[:2]
            products = state_products(h, weight[: 2 * units], first)
            r = self.recurrent_activation(x[0] + products[0])
            z = self.recurrent_activation(x[1] + products[1])
            held = h if kept is None else h * kept[2]
            n = self.activation(x[2] + F.linear(r * held, weight[2 * units :]))
        return ((1 - z) * n + z * h,)
''',
    "Scanned",
    "state_products",
    "reset_rnn",
)


class GRU(Recurrent):
    """Gated recurrent unit (Cho, 2014). `reset_after: false` resets the state before the product with it.

    The gates lie in the order reset, update, new, which is PyTorch's.
    """

    gates = 3
    order = (1, 0, 2)
    pointwise = 5
    state_names = ("state",)
    module = "GRU"

    recurrent_activation: ActivationName = "sigmoid"
    reset_after: bool = True
    use_cudnn: bool | Literal["auto"] = "auto"  # as `unroll`

    examples = (
        Example({"units": 5}, ((6, 3),)),
        Example({"units": 4, "return_sequences": True}, ((6, 3),)),
        Example({"units": 4, "return_state": True, "go_backwards": True}, ((5, 3),)),
        Example({"units": 4, "return_state": True, "return_sequences": True}, ((5, 3), (4,))),
        Example({"units": 4, "reset_after": False, "return_sequences": True}, ((5, 3), (4,))),
        Example({"units": 4, "reset_after": False, "use_bias": False, "return_state": True}, ((5, 3),)),
        Example({"units": 3, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "relu", "recurrent_activation": "hard_sigmoid"}, ((4, 2),)),
        Example({"units": 3, "activation": "softmax", "return_sequences": True}, ((4, 2),)),
        Example({"units": 3, "recurrent_activation": "softmax", "use_bias": False}, ((4, 2),)),
        Example(
            {"units": 3, "kernel_initializer": "he_normal", "recurrent_initializer": "glorot_uniform"},
            ((4, 2),),
        ),
        Example({"units": 16, "bias_initializer": "glorot_uniform"}, ((4, 2),)),
        Example({"units": 16, "bias_initializer": "glorot_uniform", "reset_after": False}, ((4, 2),)),
        Example({"units": 3, "bias_initializer": {"name": "constant", "value": 0.5}}, ((4, 2),)),
        Example({"units": 3, "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None}, ((4, 2),)),
        Example({"units": 3, "stateful": False, "unroll": True, "use_cudnn": "auto"}, ((4, 2),)),
        *Recurrent.masked_examples,
        Example({"units": 4, "reset_after": False, "return_state": True}, ((6, 3),), masks={"mask": (6,)}),
    )

    @property
    def fast(self) -> bool:
        return super().fast and self.recurrent_activation == "sigmoid" and self.reset_after

    @property
    def two_biases(self) -> bool:
        """Whether the product with the state has a bias of its own."""
        return self.use_bias and self.reset_after

    def options(self) -> dict[str, tuple[Leaf, Leaf]]:
        function = Ref(ACTIVATIONS[self.recurrent_activation].function)
        return {
            **super().options(),
            "recurrent_activation": (function, Ref("torch.sigmoid")),
            "reset_after": (self.reset_after, True),
        }

    def functions(self) -> tuple[str, ...]:
        return (self.activation, self.recurrent_activation)

    def bias_statement(self) -> str:
        if not (self.two_biases and self.bias_initializer.uses_fans):
            return super().bias_statement()
        return f"fill_row_({{w}}, lambda w: {self.bias_initializer.statement().format(w='w')})"

    def bias_helpers(self) -> tuple[str, ...]:
        if not (self.two_biases and self.bias_initializer.uses_fans):
            return super().bias_helpers()
        return ("fill_row_", *self.bias_initializer.helpers())

    def biases(self, prefix: str, suffix: str) -> tuple[Weight, ...]:
        if not self.two_biases:
            return super().biases(prefix, suffix)
        return tuple(
            self.bias_weight(f"{prefix}{name}{suffix}", row)
            for row, name in enumerate(("bias_ih_l0", "bias_hh_l0"))
        )
