# Made by graphspec 0.1.0 from the spec siamese. It needs torch 2.10 or later.
"""siamese: left float32[N, left_length, 128], right float32[N, right_length, 128]
-> similarity float32[N, 1].
"""

from typing import Any

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """nn.LSTM that computes what Keras' LSTM does, with one bias."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size, batch_first=True)
        # PyTorch's second bias stays zero, untrained and unsaved
        zeros = torch.zeros(len(self.all_weights[0][-1]))
        del self.bias_hh_l0
        self.register_buffer("bias_hh_l0", zeros, persistent=False)
        self._init_flat_weights()

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        _, (h, _) = super().forward(x)
        return h[0]

    def reset_parameters(self) -> None:
        for kernel, recurrent, *biases in self.all_weights:
            nn.init.xavier_uniform_(kernel)
            nn.init.orthogonal_(recurrent)
            for bias in biases:
                nn.init.zeros_(bias)
            nn.init.ones_(biases[0].detach().chunk(4)[1])  # the forget gate


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = LSTM(128, 32)
        self.similarity = nn.Linear(64, 1)
        self.apply(init_weights)

    def forward(self, left: Tensor, right: Tensor, *, logits: bool = False) -> Tensor:
        left_code = self.encoder(left)  # [N, 32]
        right_code = self.encoder(right)  # [N, 32]
        x = self.similarity(torch.cat([left_code, right_code], -1))  # [N, 1]
        return x if logits else x.sigmoid()
