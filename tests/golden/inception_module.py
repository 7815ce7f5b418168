# Made by graphspec 0.1.0 from the spec inception_module. It needs torch 2.10 or later.
"""inception_module: image float32[N, 32, 32, 3] -> probs float32[N, 10]."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def same_padding(x: Tensor, kernel_size: Any, stride: Any, dilation: Any) -> list[int]:
    """Keras' `same` padding, as F.pad takes it: an odd row or column goes last."""
    pads: list[int] = []
    for n, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation, strict=True):
        missing = d * (k - 1) + 1 - s + -n % s
        total = max(missing, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads


class PaddedConv2d(nn.Conv2d):
    """nn.Conv2d padded as Keras' `same` at any stride: odd padding goes last."""

    def forward(self, x: Tensor) -> Tensor:
        pads = same_padding(x, self.kernel_size, self.stride, self.dilation)
        if pads[::2] != pads[1::2]:
            return super().forward(F.pad(x, pads))
        sides = pads[::-2]  # symmetric: no padded copy is needed
        return F.conv2d(
            x, self.weight, self.bias, self.stride, sides, self.dilation, self.groups
        )


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Conv(nn.Module):
    def __init__(
        self,
        in_channels: int,
        filters: int = 128,
        kernel_size: int = 1,
        strides: int = 1,
    ) -> None:
        super().__init__()
        self.conv = PaddedConv2d(in_channels, filters, kernel_size, strides)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


class Inception(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch_a = Conv(in_channels, strides=2)
        self.reduce_b = Conv(in_channels)
        self.branch_b = Conv(128, kernel_size=3, strides=2)
        self.branch_c = Conv(in_channels, kernel_size=3)
        self.reduce_d = Conv(in_channels)
        self.middle_d = Conv(128, kernel_size=3)
        self.branch_d = Conv(128, kernel_size=3, strides=2)

    def forward(self, x: Tensor) -> Tensor:
        branch_a = self.branch_a(x)
        branch_b = self.branch_b(self.reduce_b(x))
        y = F.avg_pool2d(x, 3, stride=2, ceil_mode=True, count_include_pad=False)
        branch_c = self.branch_c(y)
        x = self.branch_d(self.middle_d(self.reduce_d(x)))
        return torch.cat([branch_a, branch_b, branch_c, x], 1)


class InceptionModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding="same")
        self.module = Inception(32)
        self.probs = nn.Linear(512, 10)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.stem(image.permute(0, 3, 1, 2)), inplace=True)
        x = self.module(x).mean((2, 3))  # [N, 512]
        x = self.probs(x)  # [N, 10]
        return x if logits else x.softmax(-1)
