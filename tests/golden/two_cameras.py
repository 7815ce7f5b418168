# Made by graphspec 0.1.0 from the spec two_cameras. It needs torch 2.10 or later.
"""two_cameras: left float32[N, 250, 250, 3], right float32[N, 250, 250, 3]
-> distance float32[N, 1].
"""

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


class SeparableConv2d(nn.Module):
    """A depthwise convolution, then a pointwise one that mixes the channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        padding: int | tuple[int, int] | str = 0,
        bias: bool = True,
    ):
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            padding=padding,
            groups=in_channels,
            bias=False,
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


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
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, kernel_size, strides, bias=False)
        self.norm = KerasBatchNorm2d(filters, eps=0.001, momentum=0.01)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Separable(nn.Module):
    def __init__(self, in_channels: int, filters: int, relu: bool = True) -> None:
        super().__init__()
        self.conv = SeparableConv2d(in_channels, filters, 3, padding="same", bias=False)
        self.norm = KerasBatchNorm2d(filters, eps=0.001, momentum=0.01)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Down(nn.Module):
    def __init__(
        self, in_channels: int, filters: int, first: int, pool_padding: int
    ) -> None:
        super().__init__()
        self.wide = Separable(in_channels, first)
        self.deep = Separable(first, filters, relu=False)
        self.shortcut = Conv(in_channels, filters, strides=2, relu=False)
        self.pool_padding = pool_padding

    def forward(self, x: Tensor) -> Tensor:
        y = self.deep(self.wide(F.relu(x)))
        y = F.max_pool2d(y, 3, stride=2, padding=self.pool_padding, ceil_mode=True)
        return y + self.shortcut(x)


class Residual(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            Separable(in_channels, in_channels),
            Separable(in_channels, in_channels),
            Separable(in_channels, in_channels, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(F.relu(x)) + x


class Xception(nn.Module):
    def __init__(
        self,
        in_channels: int,
        pool_padding: int,
        entry_1_pool_padding: int,
        exit_pool_padding: int,
    ) -> None:
        super().__init__()
        self.stem1 = Conv(in_channels, 32, 3, strides=2)
        self.stem2 = Conv(32, 64, 3)
        self.entry = nn.Sequential(
            Down(64, filters=128, first=128, pool_padding=pool_padding),
            Down(128, filters=256, first=256, pool_padding=entry_1_pool_padding),
            Down(256, filters=728, first=728, pool_padding=1),
        )
        self.middle = nn.Sequential(*(Residual(728) for _ in range(8)))
        self.exit = Down(728, filters=1024, first=728, pool_padding=exit_pool_padding)
        self.last1 = Separable(1024, 1536)
        self.last2 = Separable(1536, 2048)

    def forward(self, image: Tensor) -> Tensor:
        x = self.entry(self.stem2(self.stem1(image)))
        x = self.last1(self.exit(self.middle(x)))
        return self.last2(x).mean((2, 3))


class TwoCameras(nn.Module):
    def __init__(self, size: int = 250) -> None:
        super().__init__()
        self.vision = Xception(
            3,
            pool_padding=(1 + -((size + 1) // 2 - 3) % 2) // 2,
            entry_1_pool_padding=(1 + -((size + 1) // 4 - 1) % 2) // 2,
            exit_pool_padding=(1 + -((size + 9) // 16) % 2) // 2,
        )
        self.distance = nn.Linear(4096, 1)
        self.apply(init_weights)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        left_eye = self.vision(left.permute(0, 3, 1, 2))  # [N, 2048]
        right_eye = self.vision(right.permute(0, 3, 1, 2))  # [N, 2048]
        return self.distance(torch.cat([left_eye, right_eye], -1))  # [N, 1]
