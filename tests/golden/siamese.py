# Made by graphspec 0.1.0 from the spec siamese. It needs torch 2.10 or later.
"""siamese: left float32[N, left_length, 128], right float32[N, right_length, 128]
-> similarity float32[N, 1].
"""

import torch
from torch import Tensor, nn


def keep_one_bias(rnn: nn.RNNBase) -> None:
    """Keras has one bias, PyTorch two: the second stays zero, untrained and unsaved."""
    for name in [n for n, _ in rnn.named_parameters() if n.startswith("bias_hh")]:
        zeros = torch.zeros_like(getattr(rnn, name).detach())
        delattr(rnn, name)
        rnn.register_buffer(name, zeros, persistent=False)
    rnn._init_flat_weights()


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
    for zeros in lstm.buffers():  # the second bias
        nn.init.zeros_(zeros)


class LSTM(nn.LSTM):
    """nn.LSTM with Keras' one bias, initializers, outputs and masks."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size, batch_first=True)
        keep_one_bias(self)

    def reset_parameters(self) -> None:
        reset_lstm(self)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        _, (h, _) = super().forward(x)
        return h[0]


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = LSTM(128, 32)
        self.similarity = nn.Linear(64, 1)
        self.apply(init_weights)

    def forward(self, left: Tensor, right: Tensor, *, logits: bool = False) -> Tensor:
        left_code = self.encoder(left)  # [N, 32]
        x = self.encoder(right)  # [N, 32]
        x = self.similarity(torch.cat([left_code, x], -1))  # [N, 1]
        return x if logits else x.sigmoid()
