# Made by graphspec 0.1.0 from the spec resnet with kind = "bottleneck", size = 224. It
# needs torch 2.10 or later.
"""resnet: image float32[N, 224, 224, 3] -> probs float32[N, 1000]."""

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
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ConvNorm(nn.Module):
    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        use_bias: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, filters, kernel_size, strides, kernel_size // 2, bias=use_bias
        )
        self.norm = KerasBatchNorm2d(filters, eps=1.001e-05, momentum=0.01)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Bottleneck(nn.Module):
    def __init__(
        self, in_channels: int, filters: int, strides: int = 1, use_bias: bool = False
    ) -> None:
        super().__init__()
        self.shortcut = (
            ConvNorm(
                in_channels, 4 * filters, strides=strides, use_bias=use_bias, relu=False
            )
            if strides > 1 or in_channels != 4 * filters
            else None
        )
        self.reduce = ConvNorm(in_channels, filters, strides=strides, use_bias=use_bias)
        self.spatial = ConvNorm(filters, filters, 3, use_bias=use_bias)
        self.expand = ConvNorm(filters, 4 * filters, use_bias=use_bias, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = shortcut + self.expand(self.spatial(self.reduce(x)))
        return F.relu(x, inplace=True)


class Stage(nn.Module):
    def __init__(
        self,
        in_channels: int,
        filters: int,
        depth: int,
        strides: int,
        use_bias: bool = False,
    ) -> None:
        super().__init__()
        self.first = Bottleneck(
            in_channels, filters, strides=strides, use_bias=use_bias
        )
        self.rest = nn.Sequential(
            *(
                Bottleneck(4 * filters, filters, use_bias=use_bias)
                for _ in range(depth - 1)
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x))


class Resnet(nn.Module):
    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        widths: tuple[int, ...] = (64, 128, 256, 512),
        use_bias: bool = False,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, strides=2, use_bias=use_bias)
        assert len(widths) == len(depths), "widths and depths must be equally long"
        self.stages = nn.Sequential(
            *(
                Stage(
                    64 if index == 0 else 4 * widths[index - 1],
                    filters=widths[index],
                    depth=depths[index],
                    strides=1 if index == 0 else 2,
                    use_bias=use_bias,
                )
                for index in range(len(widths))
            ),
        )
        self.probs = nn.Linear(4 * widths[-1], classes)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.stem(image.permute(0, 3, 1, 2))  # [N, 64, 112, 112]
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # [N, 64, 56, 56]
        x = self.stages(x).mean((2, 3))  # [N, 2048]
        x = self.probs(x)  # [N, classes]
        return x if logits else x.softmax(-1)


RESNET50 = dict(depths=(3, 4, 6, 3))
RESNET101 = dict(depths=(3, 4, 23, 3))
RESNET152 = dict(depths=(3, 8, 36, 3))
