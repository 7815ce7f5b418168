# Made by graphspec 0.1.0 from the spec invented. It needs torch 2.10 or later.
"""invented: letters int64[N, length] -> next float32[N, length, 110]."""

from typing import Any

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """nn.LSTM that computes what Keras' LSTM does, with one bias."""

    def __init__(
        self, input_size: int, hidden_size: int, return_sequences: bool = False
    ):
        super().__init__(input_size, hidden_size, batch_first=True)
        self.return_sequences = return_sequences
        # PyTorch's second bias stays zero, untrained and unsaved
        zeros = torch.zeros(len(self.all_weights[0][-1]))
        del self.bias_hh_l0
        self.register_buffer("bias_hh_l0", zeros, persistent=False)
        self._init_flat_weights()

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        y, (h, _) = super().forward(x)
        return y if self.return_sequences else h[0]

    def reset_parameters(self) -> None:
        for kernel, recurrent, *biases in self.all_weights:
            nn.init.xavier_uniform_(kernel)
            nn.init.orthogonal_(recurrent)
            for bias in biases:
                nn.init.zeros_(bias)
            nn.init.ones_(biases[0].detach().chunk(4)[1])  # the forget gate


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Layer(nn.Module):
    def __init__(self, width: int, rate: float) -> None:
        super().__init__()
        self.memory = LSTM(width, width, return_sequences=True)
        self.out = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.memory(x))


class Invented(nn.Module):
    def __init__(self, width: int = 128, depth: int = 2, rate: float = 0.2) -> None:
        super().__init__()
        self.vectors = nn.Embedding(110, width)
        self.layers = nn.Sequential(*(Layer(width, rate) for _ in range(depth)))
        self.next = nn.Linear(width, 110)
        self.apply(init_weights)

    def forward(self, letters: Tensor, *, logits: bool = False) -> Tensor:
        x = self.vectors(letters)  # [N, length, width]
        x = self.layers(x)  # [N, length, width]
        x = self.next(x)  # [N, length, 110]
        return x if logits else x.softmax(-1)
