# Made by graphspec 0.1.0 from the spec segmentation. It needs torch 2.10 or later.
"""segmentation: image uint8[N, 64, 64, 1] -> digit float32[N, 64, 64, 11]."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KerasBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization with Keras' running variance: no Bessel's correction."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def __init__(self, num_features: int, eps: float, momentum: float):
        super().__init__(num_features, eps, momentum)
        # only nn.SyncBatchNorm counts batches, and the count is not saved
        self.register_buffer("num_batches_tracked", torch.tensor(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        n, cudnn = x.numel() // x.shape[1], torch.backends.cudnn.enabled
        mean, var = self.running_mean.clone(), self.running_var.clone()
        weights = self.weight, self.bias
        # F.batch_norm refuses to train on one value per channel
        y = torch.batch_norm(x, *weights, mean, var, True, 1.0, self.eps, cudnn)
        self.running_mean.lerp_(mean, self.momentum)
        var = var * ((n - 1) / n) if n > 1 else torch.zeros_like(var)
        self.running_var.lerp_(var, self.momentum)
        return y

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Double(nn.Module):
    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, 3, padding="same", bias=False)
        self.norm = KerasBatchNorm2d(filters, eps=0.001, momentum=0.1)
        self.last = nn.Conv2d(filters, filters, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return F.relu(self.last(x), inplace=True)


class Down(nn.Module):
    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.skip = Double(in_channels, filters)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.skip(x)
        return F.max_pool2d(skip, 2), skip


class Up(nn.Module):
    def __init__(self, x_channels: int, skip_channels: int, filters: int) -> None:
        super().__init__()
        self.fused = Double(x_channels + skip_channels, filters)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.fused(torch.cat([F.interpolate(x, scale_factor=2), skip], 1))


class Segmentation(nn.Module):
    def __init__(self, depth: int = 2, width: int = 16) -> None:
        super().__init__()
        assert depth > 0, "depth must be more than 0"
        self.downs = nn.ModuleList(
            Down(1 if index == 0 else width * 2 ** (index - 1), width * 2**index)
            for index in range(depth)
        )
        self.bottom = Double(width * 2 ** (depth - 1), width * 2**depth)
        self.ups = nn.ModuleList(
            Up(
                width * 2 ** (depth - index),
                width * 2 ** (depth - index - 1),
                filters=width * 2 ** (depth - 1 - index),
            )
            for index in range(depth)
        )
        self.digit = nn.Conv2d(width, 11, 1)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = (image.to(self.digit.weight.dtype) * 0.0039).permute(0, 3, 1, 2)
        skips = []
        for down in self.downs:
            x, skip = down(x)
            skips.append(skip)
        x = self.bottom(x)  # [N, 64, 16, 16]
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
        x = self.digit(x).permute(0, 2, 3, 1)  # [N, 64, 64, 11]
        return x if logits else x.softmax(-1)
