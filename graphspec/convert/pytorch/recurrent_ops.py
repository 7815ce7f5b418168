"""PyTorch's recurrent layers as functions of one piece, whose length stays open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


@torch.library.custom_op("graphspec::lstm", mutates_args=())
def _lstm(
    input: Tensor,
    hx: list[Tensor],
    params: list[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)


@_lstm.register_fake
def _(
    input: Tensor,
    hx: list[Tensor],
    params: list[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    width = params[1].shape[1] * (1 + bidirectional)
    return input.new_empty(*input.shape[:2], width), torch.empty_like(hx[0]), torch.empty_like(hx[0])


def _single(function: str) -> None:
    """`graphspec::gru` and those like it, which have one state."""

    def run(
        input: Tensor,
        hx: Tensor,
        params: list[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, Tensor]:
        options = (has_biases, num_layers, dropout, train, bidirectional, batch_first)
        output, state = getattr(torch, function)(input, hx, params, *options)
        return output, state

    run.__annotations__ = {
        "input": Tensor,
        "hx": Tensor,
        "params": list[Tensor],
        "has_biases": bool,
        "num_layers": int,
        "dropout": float,
        "train": bool,
        "bidirectional": bool,
        "batch_first": bool,
        "return": tuple[Tensor, Tensor],
    }
    op: Any = torch.library.custom_op(f"graphspec::{function}", run, mutates_args=())

    def fake(input: Tensor, hx: Tensor, params: list[Tensor], *others: Any) -> tuple[Tensor, Tensor]:
        width = params[1].shape[1] * (1 + others[4])
        return input.new_empty(*input.shape[:2], width), torch.empty_like(hx)

    op.register_fake(fake)


for _function in ("gru", "rnn_tanh", "rnn_relu"):
    _single(_function)


def forward_of(module: nn.RNNBase) -> Callable[..., Any]:
    """The forward method of a recurrent layer, in one piece."""

    def forward(input: Any, hx: Any = None) -> Any:
        if not isinstance(input, Tensor) or input.dim() != 3 or module.proj_size:
            return type(module).forward(module, input, hx)
        batch = input.shape[0 if module.batch_first else 1]
        ways = 2 if module.bidirectional else 1
        if hx is None:
            hx = input.new_zeros(module.num_layers * ways, batch, module.hidden_size)
            hx = (hx, hx) if module.mode == "LSTM" else hx
        params = [getattr(module, name) for name in module._flat_weights_names]
        words = (
            module.bias,
            module.num_layers,
            float(module.dropout),
            False,
            module.bidirectional,
            module.batch_first,
        )
        if module.mode == "LSTM":
            y, h, c = torch.ops.graphspec.lstm(input, list(hx), params, *words)
            return y, (h, c)
        return getattr(torch.ops.graphspec, module.mode.lower())(input, hx, params, *words)

    return forward
