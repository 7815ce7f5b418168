"""Recurrent layers in both directions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.emit.library.recurrent import (
    KerasRNN,
    dropout_steps,
    last_cell,
    last_unmasked,
    unmasked_first,
)


def merge_directions(
    forward: Tensor, backward: Tensor, mode: str | None = "concat"
) -> Any:
    """The outputs of both directions as one."""
    if mode == "concat":
        return torch.cat((forward, backward), -1)
    if mode == "mul":
        return forward * backward
    if mode is None:
        return forward, backward
    total = forward + backward
    return total / 2 if mode == "ave" else total


def merge_masked(
    forward: Tensor,
    backward: Tensor,
    mask: Tensor,
    sequences: bool = False,
    mode: str | None = "concat",
) -> Any:
    """The outputs of both directions as one. Of sequences, masked steps are zero."""
    if not sequences:
        return merge_directions(forward[:, -1], backward[:, -1], mode)
    masked, backward = ~mask[..., None], backward.flip(1)
    return merge_directions(
        forward.masked_fill(masked, 0), backward.masked_fill(masked, 0), mode
    )


class Bidirectional(nn.Module):
    """A recurrent layer over the sequence, and one over the reversed sequence."""

    def __init__(
        self,
        layer: Any,
        *sizes: int,
        merge_mode: str | None = "concat",
        step_dropout: float = 0.0,
        back_dropout: float = 0.0,
        backward: nn.Module | None = None,
        **options: Any,
    ):
        super().__init__()
        self.forward_layer = layer(*sizes, **options)
        self.backward_layer = layer(*sizes, **options) if backward is None else backward
        self.merge_mode = merge_mode
        self.step_dropout, self.back_dropout = step_dropout, back_dropout

    def forward(
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        start = None
        back_start = None
        if initial_state is not None:
            half = len(initial_state) // 2
            start, back_start = initial_state[:half], initial_state[half:]
        back_mask = None if mask is None else mask.flip(1)
        reverse = x.flip(1)
        if self.step_dropout:
            x = dropout_steps(x, self.step_dropout, self.training)
        if self.back_dropout:
            reverse = dropout_steps(reverse, self.back_dropout, self.training)
        forward = self.forward_layer(x, initial_state=start, mask=mask)
        backward = self.backward_layer(
            reverse, initial_state=back_start, mask=back_mask
        )
        states: tuple[Tensor, ...] = ()
        if self.forward_layer.return_state:
            (forward, *ahead), (backward, *back) = forward, backward
            states = (*ahead, *back)
        if self.forward_layer.return_sequences:
            backward = backward.flip(1)
        y = merge_directions(forward, backward, self.merge_mode)
        if not states:
            return y
        return (*(y if self.merge_mode is None else (y,)), *states)


class TwoWays(KerasRNN):
    """Mixin: nn.GRU, nn.LSTM or nn.RNN in both directions, with Keras' bias."""

    one_bias: bool
    _init_flat_weights: Any

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        merge_mode: str | None = "concat",
        activation: Any | None = None,
    ):
        super().__init__(
            input_size,
            hidden_size,
            bias=bias,
            batch_first=True,
            bidirectional=True,
            **({} if activation is None else {"nonlinearity": activation.__name__}),
        )
        self.return_sequences, self.return_state = return_sequences, return_state
        self.merge_mode, self.bias = merge_mode, bias
        if bias and self.one_bias:
            # PyTorch's second biases stay zero, untrained and unsaved
            for name in ("bias_hh_l0", "bias_hh_l0_reverse"):
                zeros = torch.zeros_like(getattr(self, name).detach())
                delattr(self, name)
                self.register_buffer(name, zeros, persistent=False)
            self._init_flat_weights()


class BothWays(TwoWays):
    """Mixin: Keras' outputs and masks for nn.GRU and nn.RNN, which have one state."""

    hidden_size: int
    kernel: Callable[..., Any]

    def forward(  # type: ignore[override, unused-ignore]
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        state = None
        if initial_state is not None:
            state = torch.stack([s.expand(x.shape[0], -1) for s in initial_state])
        if mask is not None:
            zeros = x.new_zeros(2, x.shape[0], self.hidden_size)
            start = zeros if state is None else state
            ahead, last = self.skip(x, mask, 0, start[0])
            back, back_last = self.skip(x.flip(1), mask.flip(1), 1, start[1])
            y = merge_masked(ahead, back, mask, self.return_sequences, self.merge_mode)
            h = torch.stack((last, back_last))
        else:
            y, h = super().forward(x, state)
            if not self.return_sequences:
                y = merge_directions(h[0], h[1], self.merge_mode)
            elif self.merge_mode != "concat":
                ahead, back = y.chunk(2, -1)
                y = merge_directions(ahead, back, self.merge_mode)
        if not self.return_state:
            return y
        return (*(y if self.merge_mode is None else (y,)), *h)

    def skip(
        self, x: Tensor, mask: Tensor, way: int, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The outputs and the last state over the unmasked steps, in one direction."""
        x, h0 = unmasked_first(x, mask), h[None].contiguous()
        weights = self.all_weights[way]
        y, _ = self.kernel(
            x, h0, weights, self.bias, 1, 0.0, self.training, False, True
        )
        y = last_unmasked(y, mask, self.return_sequences)
        return y, torch.where(mask.any(1, keepdim=True), y[:, -1], h)


class BidirectionalGRU(BothWays, nn.GRU):  # type: ignore[misc]
    """nn.GRU in both directions that computes what Keras' GRU does."""

    one_bias, forget_gate = False, False
    kernel = torch.gru


class BidirectionalSimpleRNN(BothWays, nn.RNN):  # type: ignore[misc]
    """nn.RNN in both directions that computes what Keras' SimpleRNN does."""

    one_bias, forget_gate = True, False

    def kernel(self, *args: Any) -> Any:
        return (torch.rnn_relu if self.mode == "RNN_RELU" else torch.rnn_tanh)(*args)


class BidirectionalLSTM(TwoWays, nn.LSTM):  # type: ignore[misc]
    """nn.LSTM in both directions that computes what Keras' LSTM does, with one bias."""

    one_bias, forget_gate = True, True

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        state = None
        if initial_state is not None:
            h, c, back_h, back_c = (s.expand(x.shape[0], -1) for s in initial_state)
            state = torch.stack((h, back_h)), torch.stack((c, back_c))
        if mask is not None:
            zeros = x.new_zeros(2, x.shape[0], self.hidden_size)
            h, c = (zeros, zeros) if state is None else state
            ahead, *states = self.skip(x, mask, 0, h[0], c[0])
            back, *rest = self.skip(x.flip(1), mask.flip(1), 1, h[1], c[1])
            states += rest
            y = merge_masked(ahead, back, mask, self.return_sequences, self.merge_mode)
        else:
            y, (h, c) = super().forward(x, state)
            states = [h[0], c[0], h[1], c[1]]
            if not self.return_sequences:
                y = merge_directions(h[0], h[1], self.merge_mode)
            elif self.merge_mode != "concat":
                ahead, back = y.chunk(2, -1)
                y = merge_directions(ahead, back, self.merge_mode)
        if not self.return_state:
            return y
        return (*(y if self.merge_mode is None else (y,)), *states)

    def skip(
        self, x: Tensor, mask: Tensor, way: int, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs and the last states over the unmasked steps, in one direction."""
        start = h[None].contiguous(), c[None].contiguous()
        if self.return_state:
            y, c = last_cell(self, x, mask, start, way)
        else:
            x, weights = unmasked_first(x, mask), self.all_weights[way]
            y, _, _ = torch.lstm(
                x, start, weights, self.bias, 1, 0.0, self.training, False, True
            )
        y = last_unmasked(y, mask, self.return_sequences)
        return y, torch.where(mask.any(1, keepdim=True), y[:, -1], h), c
