"""Recurrent layers.

Where Keras and PyTorch agree on the cell, a thin subclass of PyTorch's module runs its kernels; other
activations, and dropout of the state, are scanned step by step. Both have the same keys in the state dict.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.layers.activations import ACTIVATIONS, ActivationName
from graphspec.layers.base import (
    HELPERS,
    Argument,
    Code,
    Construct,
    Example,
    Layer,
    LayerError,
    Leaf,
    Ref,
    Site,
    Weight,
    helper,
    known_channels,
    need_float,
    need_rank,
)
from graphspec.layers.broadcasting import stretch
from graphspec.layers.core import Positive
from graphspec.layers.initializers import GlorotUniform, Initializer, Orthogonal, Zeros, need_fillable
from graphspec.tensor import Dim, Tensor

helper(
    "keep_one_bias",
    '''
def keep_one_bias(rnn: nn.RNNBase) -> None:
    """Keras has one bias, PyTorch two: the second stays zero, untrained and unsaved."""
    for name in [n for n, _ in rnn.named_parameters() if n.startswith("bias_hh")]:
        zeros = torch.zeros_like(getattr(rnn, name).detach())
        delattr(rnn, name)
        rnn.register_buffer(name, zeros, persistent=False)
    rnn._init_flat_weights()
''',
)
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
    "dropout_steps",
    '''
def dropout_steps(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout with one mask for all steps, as Keras' recurrent layers do."""
    return x * F.dropout(torch.ones_like(x[:, :1]), p) if training else x
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
            h, c = (s.expand(len(x), -1)[None].contiguous() for s in initial_state)
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
class ScannedLSTM(nn.Module):
    """Keras' LSTM step by step: any activation, and dropout of the state."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        activation=torch.tanh,
        recurrent_activation=torch.sigmoid,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size)) if bias else None
        self.return_sequences, self.return_state = return_sequences, return_state
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        reset_lstm(self)

    def drop(self, x: Tensor, p: float) -> Tensor:
        """One mask for all steps, but one for each gate: [4, *x.shape]."""
        mask = F.dropout(x.new_ones(4, len(x), *[1] * (x.dim() - 2), x.shape[-1]), p)
        return x * mask

    def forward(self, x: Tensor, initial_state: list[Tensor] | None = None):
        kernel = self.weight_ih_l0.unflatten(0, (4, -1)).mT  # [4, input, hidden]
        recurrent = self.weight_hh_l0.unflatten(0, (4, -1)).mT
        zeros = x.new_zeros(len(x), recurrent.shape[-1])
        h, c = (s.expand_as(zeros) for s in initial_state or (zeros, zeros))
        mask = None
        if self.training and self.dropout:
            x = self.drop(x, self.dropout)
        if self.training and self.recurrent_dropout:
            mask = self.drop(torch.ones_like(zeros), self.recurrent_dropout)
        z = x @ kernel[:, None]  # [4, batch, length, hidden]
        if self.bias_ih_l0 is not None:
            z = z + self.bias_ih_l0.view(4, 1, 1, -1)
        steps = []
        for step in z.unbind(2):
            i, f, g, o = step + (h if mask is None else h * mask) @ recurrent
            i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
            c = f * c + i * self.activation(g)
            h = o * self.activation(c)
            steps.append(h)
        y = torch.stack(steps, 1) if self.return_sequences else h
        return (y, h, c) if self.return_state else y
''',
    "reset_lstm",
)

Rate = Annotated[float, Field(ge=0, lt=1)]


class Recurrent(Layer, abstract=True):
    """What recurrent layers share: sequences [batch, length, features] become one step or all, and a state.

    `module` runs PyTorch's kernel, `scan` every other configuration, `both_ways` is `module` both ways. Their
    weights: `weight_ih_l0` [gates * units, features], `weight_hh_l0` [gates * units, units], `bias_ih_l0`.
    """

    arguments = (Argument("sequences"), Argument("initial_state", required=False, many=True))
    gates: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]]
    module: ClassVar[str]
    scan: ClassVar[str]
    both_ways: ClassVar[str]

    units: Positive
    activation: ActivationName = "tanh"
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    recurrent_initializer: Initializer = Orthogonal()
    bias_initializer: Initializer = Zeros()
    dropout: Rate = 0.0
    recurrent_dropout: Rate = 0.0
    seed: None = None
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: Literal[False] = False
    unroll: bool = False  # how Keras runs the loop; nothing here to choose

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        batch = self.accept(sequences, initial_state, len(self.state_names), self.spec_name)
        state = sequences.with_shape(batch, self.units)
        output = (
            sequences.with_shape(batch, sequences.shape[1], self.units) if self.return_sequences else state
        )
        return (output, *[state] * len(self.state_names)) if self.return_state else output

    def accept(self, sequences: Tensor, states: tuple[Tensor, ...] | None, count: int, layer: str) -> Dim:
        """Refuses inputs that do not fit `layer` with `count` initial states; gives the batch size."""
        need_rank(sequences, 3, layer=layer, shape="[length, features]")
        need_float(sequences, layer=layer)
        known_channels(sequences, layer=layer, what="features")
        need_fillable(self, kernel_initializer=2, recurrent_initializer=2, bias_initializer=1)
        if not states:
            return sequences.shape[0]
        if len(states) != count:
            raise LayerError(
                "input-count",
                f"`initial_state` of {layer} takes {count} tensors and gets {len(states)}",
                help=f"`return_state: true` gives as many: the state of a {self.spec_name} is "
                + " and ".join(f"`{name}`" for name in self.state_names),
                inputs=(1,),
            )
        for position, state in enumerate(states, 1):
            fits = state.rank == 2 and state.shape[1] == self.units and state.dtype == sequences.dtype
            if not fits or stretch(state.shape[0], sequences.shape[0]) != sequences.shape[0]:
                wanted = sequences.with_shape(sequences.shape[0], self.units)
                raise LayerError(
                    "shapes-differ",
                    f"the state of {layer} is {wanted}, and {{input{position}}} is {state}",
                    help=f"the layer that gives the state needs `units: {self.units}`",
                    inputs=(position,),
                )
        return sequences.shape[0]

    def output_names(self) -> tuple[str, ...]:
        return self.state_names if self.return_state else ()

    def output_activation(self) -> str | None:
        return None  # `activation` acts inside the cell

    @property
    def fast(self) -> bool:
        """Whether PyTorch's own kernel computes this cell."""
        return self.activation == "tanh" and not self.recurrent_dropout

    @property
    def input_dropout(self) -> float:
        """The rate of a dropout before the module; beside one of the state, the scan does it."""
        return 0.0 if self.recurrent_dropout else self.dropout

    def bias_statement(self) -> str:
        """The statement that fills the bias; "" where the module's own is Keras' default."""
        return "" if self.bias_initializer == Zeros() else self.bias_initializer.vector_statement()

    def cell_weights(self, features: int, prefix: str = "", suffix: str = "") -> tuple[Weight, ...]:
        """The weights of one direction; `prefix` and `suffix` tell its names apart."""
        kernel, recurrent = self.kernel_initializer, self.recurrent_initializer
        rows = self.gates * self.units
        weights = (
            Weight(
                f"{prefix}weight_ih_l0{suffix}",
                (rows, features),
                "kernel",
                (1, 0),
                initializer="" if kernel == GlorotUniform() else kernel.statement(),
            ),
            Weight(
                f"{prefix}weight_hh_l0{suffix}",
                (rows, self.units),
                "recurrent_kernel",
                (1, 0),
                initializer="" if recurrent == Orthogonal() else recurrent.statement(),
            ),
            Weight(f"{prefix}bias_ih_l0{suffix}", (rows,), "bias", initializer=self.bias_statement()),
        )
        return weights if self.use_bias else weights[:2]

    def weights(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None
    ) -> tuple[Weight, ...]:
        return self.cell_weights(known_channels(sequences, layer=self.spec_name))

    def options(self) -> dict[str, tuple[Leaf, Leaf]]:
        """The keywords of the scan; those that `module` lacks are at their defaults where it stands."""
        return {
            "bias": (self.use_bias, True),
            "return_sequences": (self.return_sequences, False),
            "return_state": (self.return_state, False),
            "activation": (Ref(ACTIVATIONS[self.activation].function), Ref("torch.tanh")),
            "dropout": (self.dropout - self.input_dropout, 0.0),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
        }

    def cell_module(self, features: int) -> Construct:
        """The module for sequences of `features`."""
        sizes: dict[str, Leaf] = {"input_size": features, "hidden_size": self.units}
        return Construct(self.module if self.fast else self.scan, sizes, self.options(), general=self.scan)

    def functions(self) -> tuple[str, ...]:
        """The activations that the cell calls."""
        return (self.activation,)

    def cell_helpers(self) -> tuple[str, ...]:
        """The helpers that the module, its activations and its initializers need."""
        names = [self.module if self.fast else self.scan]
        if not self.fast:
            functions = [ACTIVATIONS[name] for name in self.functions()]
            names += [code.function for code in functions if code.function in HELPERS]
        names += [*self.kernel_initializer.helpers(), *self.recurrent_initializer.helpers()]
        return (*names, *(self.bias_initializer.vector_helpers() if self.use_bias else ()))

    def code(self, site: Site) -> Code:
        sequences, helpers, constants = "{sequences}", self.cell_helpers(), {}
        if self.input_dropout:
            sequences = "dropout_steps({sequences}, {dropout}, {self}.training)"
            helpers, constants = (*helpers, "dropout_steps"), {"dropout": self.input_dropout}
        if self.go_backwards:
            sequences += ".flip(1)"
        state = ", {initial_state}" if any(site.inputs[1:]) else ""
        construct = self.cell_module(known_channels(site.x, layer=self.spec_name))
        return Code(f"{{self}}({sequences}{state})", construct, constants, helpers=helpers)

    def flops(self, site: Site) -> Dim:
        features = known_channels(site.x, layer=self.spec_name)
        products = 2 * self.gates * self.units * (features + self.units)
        return site.x.shape[1] * (products + self.gates * self.units * (1 + self.use_bias) + 5 * self.units)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter, 1997). The gates lie in the order input, forget, cell, output."""

    gates = 4
    state_names = ("state_h", "state_c")
    module = "LSTM"
    scan = "ScannedLSTM"
    both_ways = "BidirectionalLSTM"

    recurrent_activation: ActivationName = "sigmoid"
    unit_forget_bias: bool = True

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
        Example({"units": 3, "stateful": False, "unroll": True}, ((4, 2),)),
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

    def cell_helpers(self) -> tuple[str, ...]:
        return (
            *super().cell_helpers(),
            *(("forget_bias_",) if "forget_bias_" in self.bias_statement() else ()),
        )
