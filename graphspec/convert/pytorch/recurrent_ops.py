"""PyTorch's recurrent layers as functions of one piece, whose length stays open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

OPTIONS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"


def _define(function: str, states: int) -> None:
    """`graphspec::lstm` and those like it, which do what PyTorch's do; `states` is how many they have."""
    kind = "Tensor" if states == 1 else "Tensor[]"
    results = ", ".join(["Tensor"] * (1 + states))
    name = f"graphspec::{function}"
    torch.library.define(name, f"(Tensor input, {kind} hx, Tensor[] params, {OPTIONS}) -> ({results})")

    def fake(input: Tensor, hx: Any, params: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
        y = input.new_empty(*input.shape[:2], params[1].shape[1] * (1 + options[4]))
        return y, *map(torch.empty_like, [hx] if states == 1 else hx)

    torch.library.impl(name, "CompositeExplicitAutograd", getattr(torch, function))
    torch.library.register_fake(name, fake)


for _function, _states in {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}.items():
    _define(_function, _states)


def forward_of(module: nn.RNNBase) -> Callable[..., Any]:
    """The forward method of a recurrent layer, in one piece."""

    def forward(input: Any, hx: Any = None) -> Any:
        if not isinstance(input, Tensor) or input.dim() != 3 or module.proj_size:
            return type(module).forward(module, input, hx)
        is_lstm, ways = module.mode == "LSTM", 2 if module.bidirectional else 1
        if hx is None:
            batch = input.shape[0 if module.batch_first else 1]
            hx = input.new_zeros(module.num_layers * ways, batch, module.hidden_size)
            hx = (hx, hx) if is_lstm else hx
        params = [getattr(module, name) for name in module._flat_weights_names]
        words = (module.bias, module.num_layers, float(module.dropout), False, ways == 2, module.batch_first)
        function = getattr(torch.ops.graphspec, module.mode.lower())
        y, *states = function(input, list(hx) if is_lstm else hx, params, *words)
        return y, tuple(states) if is_lstm else states[0]

    return forward
