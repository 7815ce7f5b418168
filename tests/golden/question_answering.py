# Made by graphspec 0.1.0 from the spec question_answering. It needs torch 2.10 or
# later.
"""question_answering: text int64[N, text_length], question int64[N, question_length]
-> answer float32[N, 500].
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
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class QuestionAnswering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text_vectors = nn.Embedding(10000, 64)
        self.text_code = LSTM(64, 32)
        self.question_vectors = nn.Embedding(10000, 32)
        self.question_code = LSTM(32, 32)
        self.answer = nn.Linear(64, 500)
        self.apply(init_weights)

    def forward(
        self, text: Tensor, question: Tensor, *, logits: bool = False
    ) -> Tensor:
        x = self.text_vectors(text)  # [N, text_length, 64]
        text_code = self.text_code(x)  # [N, 32]
        x = self.question_vectors(question)  # [N, question_length, 32]
        x = self.question_code(x)  # [N, 32]
        x = self.answer(torch.cat([text_code, x], -1))  # [N, 500]
        return x if logits else x.softmax(-1)
