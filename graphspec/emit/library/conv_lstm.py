"""Convolutional LSTMs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.emit.library.padding import same_padding
from graphspec.emit.library.recurrent import reset_lstm


class ConvLSTM(nn.Module):
    """Keras' ConvLSTM over [batch, steps, *sizes, channels].

    Where a mask [batch, steps] is false, the state does not change, and the output is
    that of the step before.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, ...],
        stride: Any = 1,
        padding: str = "valid",
        dilation: Any = 1,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        recurrent_activation: Callable[[Tensor], Tensor] = torch.sigmoid,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        channels_first: bool = False,
    ):
        super().__init__()
        rows = 4 * out_channels
        self.weight_ih = nn.Parameter(torch.empty(rows, in_channels, *kernel_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, out_channels, *kernel_size))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.pads = [n // 2 for k in reversed(kernel_size) for n in (k - 1, k)]
        self.return_sequences, self.return_state = return_sequences, return_state
        self.activation, self.recurrent_activation = activation, recurrent_activation
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.channels_first = channels_first
        reset_lstm(self)

    def convolve(self, x: Tensor, weight: Tensor, **options: Any) -> Tensor:
        return (F.conv1d, F.conv2d, F.conv3d)[x.dim() - 3](x, weight, **options)

    def convolved_steps(self, x: Tensor) -> Tensor:
        """The convolutions of all steps, [batch, steps, 4 * channels, *sizes]."""
        batch, groups = x.shape[0], 1
        if self.training and self.dropout:
            masks = F.dropout(x.new_ones(batch, 4, *x.shape[2:]), self.dropout)
            x = (x[:, :, None] * masks[:, None]).flatten(2, 3)
            groups = 4
        x = x.flatten(0, 1)
        if self.padding == "same":
            window = self.weight_ih.shape[2:]
            ones = (1,) * len(window)
            stride = ones if self.stride == 1 else self.stride
            dilation = ones if self.dilation == 1 else self.dilation
            x = F.pad(x, same_padding(x, window, stride, dilation))
        options = {"stride": self.stride, "dilation": self.dilation, "groups": groups}
        x = self.convolve(x, self.weight_ih, bias=self.bias_ih, **options)
        return x.unflatten(0, (batch, -1))

    def forward(
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        if not self.channels_first:
            x = x.movedim(-1, 2)
        x = self.convolved_steps(x)
        zeros = torch.zeros_like(x[:, 0].chunk(4, 1)[0])
        h, c = zeros, zeros
        if initial_state is not None:
            axis = 1 if self.channels_first else -1
            h, c = (s.movedim(axis, 1).expand_as(zeros) for s in initial_state)
        kept = None
        if self.training and self.recurrent_dropout:
            ones = h.new_ones(h.shape[0], 4, *h.shape[1:])
            kept = F.dropout(ones, self.recurrent_dropout)
        output, outputs = zeros, []
        for t, step in enumerate(x.unbind(1)):
            groups, held = 1, h
            if kept is not None:
                groups, held = 4, (h[:, None] * kept).flatten(1, 2)
            held = F.pad(held, self.pads)
            products = self.convolve(held, self.weight_hh, groups=groups)
            i, f, g, o = (step + products).chunk(4, 1)
            i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
            cell = f * c + i * self.activation(g)
            new = o * self.activation(cell)
            if mask is None:
                h, c, output = new, cell, new
            else:
                seen = mask[:, t].view(-1, *[1] * (h.dim() - 1))
                h, c = torch.where(seen, new, h), torch.where(seen, cell, c)
                output = torch.where(seen, new, output)
            outputs.append(output)
        y = torch.stack(outputs, 1) if self.return_sequences else output
        if not self.channels_first:
            y = y.movedim(2 if self.return_sequences else 1, -1)
            h, c = h.movedim(1, -1), c.movedim(1, -1)
        return (y, h, c) if self.return_state else y
