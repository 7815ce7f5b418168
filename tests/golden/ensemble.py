# Made by graphspec 0.1.0 from the spec ensemble. It needs torch 2.10 or later.
"""ensemble: image uint8[N, 8, 8, 1] -> digit float32[N, 10]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Digits(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding="same")
        self.conv2 = nn.Conv2d(32, 64, 3, padding="same")
        self.drop = nn.Dropout(0.3)
        self.digit = nn.Linear(1024, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.conv1(image.to(self.conv1.weight.dtype) / 16), inplace=True)
        x = F.relu(self.conv2(F.max_pool2d(x, 2)), inplace=True)
        return self.digit(self.drop(x.permute(0, 2, 3, 1).flatten(1))).softmax(-1)


class Ensemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Digits(1) for _ in range(3))
        self.members.requires_grad_(False)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2)
        members = [member(x) for member in self.members]
        return torch.stack(members).mean(0)  # [N, 10]
