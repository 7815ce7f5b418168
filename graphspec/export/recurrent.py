"""Recurrent layers as scans, for the export only.

PyTorch's kernels of `nn.LSTM`, `nn.GRU` and `nn.RNN`, and loops in Python, are traced for one length. A scan
computes the same at any length, and is an operator of both formats.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops import scan
from torch.nn import functional as F

from graphspec.export.functions import Replacing

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State, Tensor, Tensor | None], State]


def lstm_cell(x: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """One step: `x` is the product with the input [batch, 4 * units]; gates in the order i, f, g, o."""
    h, c = state
    i, f, g, o = (x + F.linear(h, weight, bias)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_cell(x: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """One step: `x` is the product with the input [batch, 3 * units]; gates in the order r, z, n."""
    (h,) = state
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, h_n = F.linear(h, weight, bias).chunk(3, -1)
    z = (x_z + h_z).sigmoid()
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return ((1 - z) * n + z * h,)


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    def cell(x: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        return (activation(x + F.linear(state[0], weight, bias)),)

    return cell


CELLS: dict[Callable[..., Any], Cell] = {
    torch.lstm: lstm_cell,
    torch.gru: gru_cell,
    torch.rnn_tanh: _rnn_cell(torch.tanh),
    torch.rnn_relu: _rnn_cell(torch.relu),
}


@contextmanager
def scans(module: nn.Module) -> Iterator[None]:
    """While it is active, scans compute every recurrent kernel that PyTorch is asked for, and every loop over
    steps in a module of the emitted class `Scanned`, or by the emitted function `scan`.
    """
    loops: set[Any] = {
        cls for part in module.modules() for cls in type(part).__mro__ if cls.__name__ == "Scanned"
    }
    before = {cls: cls.forward for cls in loops}
    functions = sys.modules[type(module).__module__].__dict__
    of_cells = functions.get("scan")
    for cls in loops:
        cls.forward = _loop
    if of_cells is not None:
        functions["scan"] = _over_steps
    try:
        with Replacing({kernel: partial(_scanned, cell) for kernel, cell in CELLS.items()}):
            yield
    finally:
        for cls, forward in before.items():
            cls.forward = forward
        if of_cells is not None:
            functions["scan"] = of_cells


def _scanned(
    cell: Cell,
    x: Tensor,
    state: Tensor | State,
    weights: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """The kernels' own arguments and results: all steps, then the last state as [layers * directions, batch,
    units]. `dropout` between layers acts in training, which is not exported.
    """
    first = state if isinstance(state, tuple | list) else (state,)
    per_layer, directions = (4 if has_biases else 2), (2 if bidirectional else 1)
    last = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            layer_weights = weights[number * per_layer : (number + 1) * per_layer]
            start = tuple(part[number].clone() for part in first)
            output, end = _direction(cell, x, start, layer_weights, bool(direction), batch_first)
            outputs.append(output)
            last.append(end)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
    return x, *(torch.stack(parts) for parts in zip(*last, strict=True))


def _direction(
    cell: Cell, x: Tensor, start: State, weights: Sequence[Tensor], reverse: bool, batch_first: bool
) -> tuple[Tensor, State]:
    """One layer in one direction."""
    kernel, recurrent, *biases = weights
    bias, recurrent_bias = biases or (None, None)

    def step(state: State, product: Tensor) -> tuple[State, Tensor]:
        state = cell(product, state, recurrent, recurrent_bias)
        return state, state[0].clone()  # a scan's step may not return one tensor twice

    products = F.linear(x, kernel, bias)
    steps = products.transpose(0, 1) if batch_first else products
    end, output = scan(step, start, steps.clone(memory_format=torch.contiguous_format), reverse=reverse)
    return output.transpose(0, 1) if batch_first else output, end


def _loop(
    self: Any, x: Tensor, initial_state: Sequence[Tensor] | None = None, mask: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    """The `forward` of `Scanned` for inference."""
    kernel = self.weight_ih_l0.unflatten(0, (self.gates, -1)).mT
    zeros = x.new_zeros(x.shape[0], self.weight_hh_l0.shape[-1])
    states = [state.expand_as(zeros) for state in initial_state or [zeros] * self.states]
    products = x @ kernel[:, None]
    if self.bias_ih_l0 is not None:
        products = products + self.bias_ih_l0.view(self.gates, 1, 1, -1)

    def step(before: State, step_inputs: tuple[Tensor, ...]) -> tuple[State, Tensor]:
        product, *seen = step_inputs
        output, *old = before
        new = self.step(product, None, *old)
        last = new[0]
        if seen:
            last = torch.where(seen[0], last, zeros if self.zero_output_for_mask else output)
            new = [torch.where(seen[0], *pair) for pair in zip(new, old, strict=True)]
        return (last.clone(), *(state.clone() for state in new)), last.clone()

    steps = (products.permute(2, 0, 1, 3), *(() if mask is None else (mask.t()[..., None],)))
    start = tuple(tensor.clone() for tensor in (zeros, *states))
    (last, *states), outputs = scan(step, start, steps)
    y = outputs.transpose(0, 1) if self.return_sequences else last
    return (y, *states) if self.return_state else y


def _over_steps(
    cell: Callable[..., Any], sequences: State, states: State, mask: Tensor | None = None
) -> State:
    """The emitted function `scan`, for export."""
    batch, count = sequences[0].shape[0], len(states)
    start = tuple(state.expand(batch, *state.shape[1:]).clone() for state in states)

    def run(steps: Sequence[Tensor], old: Sequence[Tensor]) -> State:
        results = cell(*steps, *old)
        return results if isinstance(results, tuple) else (results,)

    def step(before: State, now: State) -> tuple[State, State]:
        steps, old = now[: len(sequences)], before[len(before) - count :]
        new = run(steps, old)
        if mask is not None:
            seen = [now[-1].view(-1, *[1] * (part.dim() - 1)) for part in new]
            new = tuple(torch.where(*each) for each in zip(seen, new, before, strict=True))
        kept = new if mask is not None else new[len(new) - count :]
        return tuple(part.clone() for part in kept), tuple(part.clone() for part in new[: len(new) - count])

    if mask is not None:  # outputs are carried, too, from zeros
        first = run([x[:, 0] for x in sequences], start)
        start = (*(torch.zeros_like(part) for part in first[: len(first) - count]), *start)
    over = tuple(x.transpose(0, 1) for x in (*sequences, *(() if mask is None else (mask,))))
    last, outputs = scan(step, start, over)
    return (*(y.transpose(0, 1) for y in outputs), *last[len(last) - count :])
