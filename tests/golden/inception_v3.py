# Made by graphspec 0.1.0 from the spec inception_v3 with size = 299. It needs torch
# 2.10 or later.
"""inception_v3: image float32[N, 299, 299, 3] -> probs float32[N, 1000]."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KerasBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization with Keras' running variance: no Bessel's correction."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def __init__(
        self, num_features: int, eps: float, momentum: float, scale: bool = True
    ):
        super().__init__(num_features, eps, momentum)
        # only nn.SyncBatchNorm counts batches, and the count is not saved
        self.register_buffer("num_batches_tracked", torch.tensor(0), persistent=False)
        if not scale:
            self.register_parameter("weight", None)

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
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Conv(nn.Module):
    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int | tuple[int, int] = 1,
        strides: int = 1,
        padding: str = "same",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, filters, kernel_size, strides, padding, bias=False
        )
        self.norm = KerasBatchNorm2d(filters, eps=0.001, momentum=0.01, scale=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class InceptionA(nn.Module):
    def __init__(self, in_channels: int, pool_filters: int) -> None:
        super().__init__()
        self.branch1 = Conv(in_channels, 64)
        self.branch5 = nn.Sequential(Conv(in_channels, 48), Conv(48, 64, 5))
        self.branch3 = nn.Sequential(
            Conv(in_channels, 64), Conv(64, 96, 3), Conv(96, 96, 3)
        )
        self.pooled = Conv(in_channels, pool_filters)

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat(
            [self.branch1(x), self.branch5(x), self.branch3(x), self.pooled(y)], 1
        )


class ReductionA(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3 = Conv(in_channels, 384, 3, strides=2, padding="valid")
        self.double3 = nn.Sequential(Conv(in_channels, 64), Conv(64, 96, 3))
        self.branch3x = Conv(96, 96, 3, strides=2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        branch3 = self.branch3(x)
        y = self.branch3x(self.double3(x))
        return torch.cat([branch3, y, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionB(nn.Module):
    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.branch1 = Conv(in_channels, 192)
        self.branch7 = nn.Sequential(
            Conv(in_channels, filters),
            Conv(filters, filters, (1, 7)),
            Conv(filters, 192, (7, 1)),
        )
        self.double7 = nn.Sequential(
            Conv(in_channels, filters),
            Conv(filters, filters, (7, 1)),
            Conv(filters, filters, (1, 7)),
            Conv(filters, filters, (7, 1)),
            Conv(filters, 192, (1, 7)),
        )
        self.pooled = Conv(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat(
            [self.branch1(x), self.branch7(x), self.double7(x), self.pooled(y)], 1
        )


class ReductionB(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3 = nn.Sequential(
            Conv(in_channels, 192), Conv(192, 320, 3, strides=2, padding="valid")
        )
        self.branch7 = nn.Sequential(
            Conv(in_channels, 192),
            Conv(192, 192, (1, 7)),
            Conv(192, 192, (7, 1)),
            Conv(192, 192, 3, strides=2, padding="valid"),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [self.branch3(x), self.branch7(x), F.max_pool2d(x, 3, stride=2)], 1
        )


class Fork(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.wide = Conv(in_channels, 384, (1, 3))
        self.tall = Conv(in_channels, 384, (3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.wide(x), self.tall(x)], 1)


class InceptionC(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1 = Conv(in_channels, 320)
        self.reduce3 = Conv(in_channels, 384)
        self.branch3 = Fork(384)
        self.double3 = nn.Sequential(Conv(in_channels, 448), Conv(448, 384, 3))
        self.branch9 = Fork(384)
        self.pooled = Conv(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        branch1 = self.branch1(x)
        branch3 = self.branch3(self.reduce3(x))
        branch9 = self.branch9(self.double3(x))
        x = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        x = self.pooled(x)
        return torch.cat([branch1, branch3, branch9, x], 1)


class InceptionV3(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem1 = Conv(3, 32, 3, strides=2, padding="valid")
        self.stem2 = Conv(32, 32, 3, padding="valid")
        self.stem3 = Conv(32, 64, 3)
        self.stem4 = Conv(64, 80, padding="valid")
        self.stem5 = Conv(80, 192, 3, padding="valid")
        self.mixed_a = nn.Sequential(
            InceptionA(192, 32), InceptionA(256, 64), InceptionA(288, 64)
        )
        self.reduced_a = ReductionA(288)
        self.mixed_b = nn.Sequential(
            InceptionB(768, 128),
            InceptionB(768, 160),
            InceptionB(768, 160),
            InceptionB(768, 192),
        )
        self.reduced_b = ReductionB(768)
        self.mixed_c = nn.Sequential(InceptionC(1280), InceptionC(2048))
        self.probs = nn.Linear(2048, classes)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.stem1(image.permute(0, 3, 1, 2))  # [N, 32, 149, 149]
        x = self.stem2(x)  # [N, 32, 147, 147]
        x = F.max_pool2d(self.stem3(x), 3, stride=2)  # [N, 64, 73, 73]
        x = self.stem4(x)  # [N, 80, 73, 73]
        x = F.max_pool2d(self.stem5(x), 3, stride=2)  # [N, 192, 35, 35]
        x = self.mixed_a(x)  # [N, 288, 35, 35]
        x = self.reduced_a(x)  # [N, 768, 17, 17]
        x = self.mixed_b(x)  # [N, 768, 17, 17]
        x = self.reduced_b(x)  # [N, 1280, 8, 8]
        x = self.mixed_c(x).mean((2, 3))  # [N, 2048]
        x = self.probs(x)  # [N, classes]
        return x if logits else x.softmax(-1)
