"""ensemble: image uint8[N, 8, 8, 1] -> digit float32[N, 10]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def freeze(module: nn.Module) -> None:
    """Takes a module out of training: no gradients, and batch normalization keeps its statistics."""
    module.requires_grad_(False)
    for layer in module.modules():
        layer.frozen = True


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding="same")
        self.conv2 = nn.Conv2d(32, 64, 3, padding="same")
        self.drop = nn.Dropout(0.3)
        self.digit = nn.Linear(1024, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(image * 0.0625), inplace=True), 2)
        x = F.relu(self.conv2(x), inplace=True).permute(0, 2, 3, 1).flatten(1)
        return self.digit(self.drop(x)).softmax(-1)


class Ensemble(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(Digits() for _ in range(3))
        freeze(self.members)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        members = [member(image.permute(0, 3, 1, 2)) for member in self.members]
        return (members[0] + members[1] + members[2]) / 3  # [N, 10]
