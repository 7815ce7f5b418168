# Made by graphspec 0.1.0 from the spec detector. It needs torch 2.10 or later.
"""detector: image uint8[N, 64, 64, 1] -> boxes float32[N, 80, 14]."""

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
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Conv(nn.Module):
    def __init__(self, in_channels: int, filters: int = 32, strides: int = 1) -> None:
        super().__init__()
        self.conv = PaddedConv2d(in_channels, filters, 3, strides, bias=False)
        self.norm = KerasBatchNorm2d(filters, eps=0.001, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Head(nn.Module):
    def __init__(self, in_channels: int, classes: int = 10) -> None:
        super().__init__()
        self.deep = Conv(in_channels, filters=48)
        self.sides = nn.Conv2d(48, 4, 3, padding="same")
        self.scores = nn.Conv2d(48, classes, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(x)
        x = torch.cat([self.sides(x).exp(), self.scores(x) * 1 - 4.6], 1)
        return x.permute(0, 2, 3, 1).flatten(1, 2)


class Detector(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.head = Head(48, classes=classes)
        self.half_ = Conv(1, filters=16, strides=2)
        self.fourth = Conv(16, strides=2)
        self.eighth = Conv(32, filters=48, strides=2)
        self.far = Conv(48, filters=48, strides=2)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        x = image.to(next(self.parameters()).dtype) * 0.0039  # [N, 64, 64, 1]
        x = self.half_(x.permute(0, 3, 1, 2))  # [N, 16, 32, 32]
        x = self.fourth(x)  # [N, 32, 16, 16]
        eighth = self.eighth(x)  # [N, 48, 8, 8]
        far = self.far(eighth)  # [N, 48, 4, 4]
        x = eighth + F.interpolate(far, scale_factor=2)  # [N, 48, 8, 8]
        small = self.head(x)  # [N, 64, 4 + classes]
        large = self.head(far)  # [N, 16, 4 + classes]
        return torch.cat([small, large], 1)  # [N, 80, 4 + classes]
