# Made by graphspec 0.1.0 from the spec digits_tuned with filters = 16, depth = 1,
# dropout = 0.3. It needs torch 2.10 or later.
"""digits_tuned: image uint8[N, 8, 8, 1] -> digit float32[N, 10]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ConvPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv(x), inplace=True), 2)  # [N, 16, 4, 4]


class DigitsTuned(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(ConvPool())
        self.drop = nn.Dropout(0.3)
        self.digit = nn.Linear(256, 10)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = image.to(self.digit.weight.dtype) / 16  # [N, 8, 8, 1]
        x = self.convs(x.permute(0, 3, 1, 2))  # [N, 16, 4, 4]
        x = self.drop(x.permute(0, 2, 3, 1).flatten(1))  # [N, 256]
        x = self.digit(x)  # [N, 10]
        return x if logits else x.softmax(-1)
