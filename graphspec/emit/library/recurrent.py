"""Recurrent layers with Keras' bias, initializers, outputs and masks.

Under a mask, PyTorch's kernels run over the unmasked steps only: those of each row move
to its front, and their outputs move back. This is exact for any mask, takes 1.2 to 2
times as long as the kernel alone, and can be exported. Packed sequences take several
times as long and cannot be exported.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropout_steps(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout with one mask for all steps, as in Keras' recurrent layers."""
    return x * F.dropout(torch.ones_like(x[:, :1]), p) if training else x


def unmasked_first(x: Tensor, mask: Tensor) -> Tensor:
    """The unmasked steps of each row in their order, then zeros."""
    # all masked steps are written to step 0, which is cut off
    rows = x.new_zeros(x.shape[0], x.shape[1] + 1, x.shape[2])
    examples = torch.arange(x.shape[0], device=x.device)[:, None]
    rows[examples, mask.cumsum(1) * mask] = x
    return rows[:, 1:]


def last_unmasked(y: Tensor, mask: Tensor, sequences: bool = False) -> Tensor:
    """The output at the last unmasked step, or zeros: at the end, or at every step."""
    steps = (mask.cumsum(1) if sequences else mask.sum(1, keepdim=True))[..., None]
    last = y.gather(1, (steps - 1).clamp(min=0).expand(-1, -1, y.shape[2]))
    return last.masked_fill(steps == 0, 0)


class KerasRNN(nn.Module):
    """Mixin: Keras' initializers for nn.GRU, nn.LSTM and nn.RNN."""

    all_weights: list[list[Tensor]]
    bias: bool
    forget_gate: bool

    def reset_parameters(self) -> None:
        for kernel, recurrent, *biases in self.all_weights:
            nn.init.xavier_uniform_(kernel)
            nn.init.orthogonal_(recurrent)
            for bias in biases:
                nn.init.zeros_(bias)
            if self.bias and self.forget_gate:
                nn.init.ones_(biases[0].detach().chunk(4)[1])  # the forget gate


class OneWay(KerasRNN):
    """Mixin: nn.GRU, nn.LSTM or nn.RNN in one direction, with Keras' bias."""

    one_bias: bool
    _init_flat_weights: Any

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        zero_output_for_mask: bool = False,
        activation: Any | None = None,
    ):
        super().__init__(
            input_size,
            hidden_size,
            bias=bias,
            batch_first=True,
            **({} if activation is None else {"nonlinearity": activation.__name__}),
        )
        self.return_sequences, self.return_state = return_sequences, return_state
        self.zero_output_for_mask, self.bias = zero_output_for_mask, bias
        if bias and self.one_bias:
            # PyTorch's second bias stays zero, untrained and unsaved
            zeros = torch.zeros(len(self.all_weights[0][-1]))
            del self.bias_hh_l0
            self.register_buffer("bias_hh_l0", zeros, persistent=False)
            self._init_flat_weights()


class OneState(OneWay):
    """Mixin: Keras' outputs and masks for nn.GRU and nn.RNN, which have one state."""

    def forward(  # type: ignore[override, unused-ignore]
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        state = None
        if initial_state is not None:
            state = initial_state[0].expand(x.shape[0], -1)[None].contiguous()
        if mask is None:
            y, h = super().forward(x, state)
            y = y if self.return_sequences else h[0]
            return (y, h[0]) if self.return_state else y
        y, _ = super().forward(unmasked_first(x, mask), state)
        y = last_unmasked(y, mask, self.return_sequences)
        last = y[:, -1]
        if state is not None:
            last = torch.where(mask.any(1, keepdim=True), last, state[0])
        if self.zero_output_for_mask:
            y = y.masked_fill(~mask[:, -y.shape[1] :, None], 0)
        y = y if self.return_sequences else y[:, -1]
        return (y, last) if self.return_state else y


class GRU(OneState, nn.GRU):  # type: ignore[misc]
    """nn.GRU that computes what Keras' GRU does."""

    one_bias, forget_gate = False, False


class SimpleRNN(OneState, nn.RNN):  # type: ignore[misc]
    """nn.RNN that computes what Keras' SimpleRNN does, with one bias."""

    one_bias, forget_gate = True, False


def last_cell(lstm: nn.LSTM, x: Tensor, mask: Tensor, state: Any, way: int) -> Any:
    """The outputs of nn.LSTM over `unmasked_first`, and the last state of its cell.

    `way` is the direction. One more feature marks the steps after the unmasked ones: it
    closes the input gate and opens the forget gate, so that the cell keeps its state.
    """
    weight, *others = lstm.all_weights[way]
    shut = weight.new_full((lstm.hidden_size, 1), -1e4)
    gates = torch.cat((shut, -shut, torch.zeros_like(shut), torch.zeros_like(shut)))
    weights = (torch.cat((weight, gates), 1), *others)
    after = ~unmasked_first(mask[..., None], mask)
    x = torch.cat((unmasked_first(x, mask), after), -1)
    has_bias = len(weights) > 2
    y, _, c = torch.lstm(
        x, state, weights, has_bias, 1, 0.0, lstm.training, False, True
    )
    return y, c[0]


class LSTM(OneWay, nn.LSTM):  # type: ignore[misc]
    """nn.LSTM that computes what Keras' LSTM does, with one bias."""

    one_bias, forget_gate = True, True

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        state = None
        if initial_state is not None:
            h, c = (s.expand(x.shape[0], -1)[None].contiguous() for s in initial_state)
            state = h, c
        if mask is None:
            y, (h, c) = super().forward(x, state)
            y = y if self.return_sequences else h[0]
            return (y, h[0], c[0]) if self.return_state else y
        if self.return_state:
            zeros = x.new_zeros(1, x.shape[0], self.hidden_size)
            start = (zeros, zeros) if state is None else state
            y, c = last_cell(self, x, mask, start, 0)
        else:
            y, _ = super().forward(unmasked_first(x, mask), state)
        y = last_unmasked(y, mask, self.return_sequences)
        h = y[:, -1]
        if state is not None:
            h = torch.where(mask.any(1, keepdim=True), h, state[0][0])
        if self.zero_output_for_mask:
            y = y.masked_fill(~mask[:, -y.shape[1] :, None], 0)
        y = y if self.return_sequences else y[:, -1]
        return (y, h, c) if self.return_state else y


def reset_rnn(rnn: nn.Module) -> None:
    """Fills weights by Keras' initializers: Glorot, orthogonal, zeros."""
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(weight)
        else:
            nn.init.zeros_(weight)


def reset_lstm(lstm: nn.Module) -> None:
    """Fills weights by Keras' initializers; the forget gate's bias is one."""
    for name, weight in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(weight)
        else:
            nn.init.zeros_(weight)
            nn.init.ones_(weight.detach().chunk(4)[1])


class StackedRNN(nn.ModuleList):
    """Recurrent layers, each of which reads the outputs of the one before.

    `states` is the number of states of each layer, `step_dropout` the rate before it.
    """

    def __init__(
        self,
        *layers: nn.Module,
        states: Any = None,
        return_state: bool = False,
        step_dropout: Any = None,
    ):
        super().__init__(layers)
        self.states, self.return_state = states, return_state
        self.step_dropout = step_dropout

    def forward(
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        start = None
        rest = iter(initial_state or ())
        states: list[Tensor] = []
        for number, layer in enumerate(self):
            if initial_state is not None:
                start = [next(rest) for _ in range(self.states[number])]
            if self.step_dropout is not None:
                x = dropout_steps(x, self.step_dropout[number], self.training)
            x = layer(x, initial_state=start, mask=mask)
            if self.return_state:
                x, *new = x
                states += new
        return (x, *states) if self.return_state else x


class Scanned(nn.Module):
    """Base class: a recurrent layer of Keras as a loop over the steps.

    It takes any activation, and drops parts of the state. Where a mask [batch, length]
    is false, the state does not change, and the output is that of the step before.
    """

    gates, states = 1, 1
    step: Callable[..., Any]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zero_output_for_mask: bool = False,
    ):
        super().__init__()
        rows = self.gates * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows)) if bias else None
        self.return_sequences, self.return_state = return_sequences, return_state
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.zero_output_for_mask = zero_output_for_mask

    def drop(self, x: Tensor, p: float) -> Tensor:
        """Drops elements, other ones for each gate: [gates, *x.shape]."""
        shape = (self.gates, x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
        return x * F.dropout(x.new_ones(shape), p)

    def forward(
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        kernel = self.weight_ih_l0.unflatten(0, (self.gates, -1)).mT
        recurrent = self.weight_hh_l0.unflatten(0, (self.gates, -1)).mT
        zeros = x.new_zeros(x.shape[0], recurrent.shape[-1])
        states: Any = [zeros] * self.states
        if initial_state is not None:
            states = [s.expand_as(zeros) for s in initial_state]
        kept = None
        if self.training and self.dropout:
            x = self.drop(x, self.dropout)
        if self.training and self.recurrent_dropout:
            kept = self.drop(torch.ones_like(zeros), self.recurrent_dropout)
        z = x @ kernel[:, None]  # [gates, batch, length, hidden]
        if self.bias_ih_l0 is not None:
            z = z + self.bias_ih_l0.view(self.gates, 1, 1, -1)
        outputs: list[Tensor] = []
        output = zeros
        for t, step in enumerate(z.unbind(2)):
            new = self.step(step, kept, *states)
            if mask is None:
                output, states = new[0], new
            else:
                seen = mask[:, t, None]
                before = zeros if self.zero_output_for_mask else output
                output = torch.where(seen, new[0], before)
                pairs = zip(new, states, strict=True)
                states = [torch.where(seen, now, before) for now, before in pairs]
            outputs.append(output)
        y = torch.stack(outputs, 1) if self.return_sequences else output
        return (y, *states) if self.return_state else y


def state_products(h: Tensor, weight: Tensor, kept: Tensor | None) -> list[Tensor]:
    """The products of a state with the kernels of all gates.

    `kept` has a dropout mask for each gate.
    """
    gates = len(weight) // h.shape[-1]
    if kept is None:
        return list(F.linear(h, weight).chunk(gates, -1))
    pairs = zip(kept, weight.chunk(gates), strict=True)
    return [F.linear(h * mask, kernel) for mask, kernel in pairs]


class ScannedGRU(Scanned):
    """Keras' GRU, with the reset gate before or after the matrix product."""

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        recurrent_activation: Callable[[Tensor], Tensor] = torch.sigmoid,
        reset_after: bool = True,
        **options: Any,
    ):
        super().__init__(input_size, hidden_size, bias, **options)
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.reset_after, both = reset_after, bias and reset_after
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size)) if both else None
        reset_rnn(self)

    def step(self, x: Tensor, kept: Tensor | None, h: Tensor) -> Any:
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


class ScannedLSTM(Scanned):
    """Keras' LSTM with any activations."""

    gates, states = 4, 2

    def __init__(
        self,
        *sizes: Any,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        recurrent_activation: Callable[[Tensor], Tensor] = torch.sigmoid,
        **options: Any,
    ):
        super().__init__(*sizes, **options)
        self.activation, self.recurrent_activation = activation, recurrent_activation
        reset_lstm(self)

    def step(self, x: Tensor, kept: Tensor | None, h: Tensor, c: Tensor) -> Any:
        products = state_products(h, self.weight_hh_l0, kept)
        i, f, g, o = (a + b for a, b in zip(x, products, strict=True))
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        c = f * c + i * self.activation(g)
        return o * self.activation(c), c


class ScannedSimpleRNN(Scanned):
    """Keras' SimpleRNN with any activation."""

    def __init__(
        self,
        *sizes: Any,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        **options: Any,
    ):
        super().__init__(*sizes, **options)
        self.activation = activation
        reset_rnn(self)

    def step(self, x: Tensor, kept: Tensor | None, h: Tensor) -> Any:
        held = h if kept is None else h * kept[0]
        return (self.activation(x[0] + F.linear(held, self.weight_hh_l0)),)


def fill_row_(row: Tensor, fill: Callable[[Tensor], object]) -> None:
    """Fills one of the two rows of Keras' bias, which is [2, 3 * units]."""
    bias = row.detach().new_empty(len(row), 2)
    fill(bias)
    row.detach().copy_(bias[:, 0])


def forget_bias_(bias: Tensor, fill: Callable[[Tensor], object]) -> None:
    """Fills an LSTM's bias, and the part of the forget gate with ones."""
    fill(bias)
    nn.init.ones_(bias.detach().chunk(4)[1])
