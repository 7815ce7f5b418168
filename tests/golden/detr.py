# Made by graphspec 0.1.0 from the spec detr. It needs torch 2.10 or later.
"""detr: image uint8[N, 64, 64, 1]
-> boxes float32[N, 16, 15], early float32[N, 16, 15].
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


class MultiHeadAttention(nn.Module):
    """Multi-head attention. A mask is true where a query attends to a key."""

    def __init__(self, in_features: int, num_heads: int, key_dim: int):
        super().__init__()
        self.query = nn.Linear(in_features, num_heads * key_dim)
        self.key = nn.Linear(in_features, num_heads * key_dim)
        self.value = nn.Linear(in_features, num_heads * key_dim)
        self.output = nn.Linear(num_heads * key_dim, in_features)
        self.num_heads = num_heads

    def split(self, x: Tensor) -> Tensor:
        """[batch, length, heads * size] -> [batch, heads, length, size]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, value: Tensor, key: Tensor) -> Tensor:
        q = self.split(self.query(query))
        k = self.split(self.key(key))
        v = self.split(self.value(value))
        x = F.scaled_dot_product_attention(q, k, v)
        return self.output(x.transpose(1, 2).flatten(2))


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
    def __init__(self, in_channels: int, filters: int, strides: int = 1) -> None:
        super().__init__()
        self.conv = PaddedConv2d(in_channels, filters, 3, strides, bias=False)
        self.norm = KerasBatchNorm2d(filters, eps=0.001, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Look(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.found = MultiHeadAttention(width, heads, width // heads)
        self.norm = nn.LayerNorm(width, eps=0.001)

    def forward(self, x: Tensor, place: Tensor, seen: Tensor, at: Tensor) -> Tensor:
        return self.norm(x + self.found(x + place, seen, seen + at))


class Hidden(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expanded = nn.Linear(width, 2 * width)
        self.projected = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.projected(F.relu(self.expanded(x), inplace=True))
        return self.norm(x)


class Decoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.others = Look(width, heads)
        self.picture = Look(width, heads)
        self.hidden = Hidden(width)

    def forward(self, x: Tensor, place: Tensor, seen: Tensor, at: Tensor) -> Tensor:
        x = self.picture(self.others(x, place, x, place), place, seen, at)
        return self.hidden(x)


class Head(nn.Module):
    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.deep = nn.Linear(width, width)
        self.moved = nn.Linear(width, 4)
        self.kinds = nn.Linear(width, classes + 1)

    def forward(self, x: Tensor, center: Tensor) -> Tensor:
        sides = self.moved(F.relu(self.deep(x), inplace=True)) + center
        x = self.kinds(x)
        return torch.cat([sides, x], -1)


class Detr(nn.Module):
    def __init__(self, classes: int = 10, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.head = Head(classes, width)
        self.half_ = Conv(1, 16, strides=2)
        self.fourth = Conv(16, 32, strides=2)
        self.eighth = Conv(32, width, strides=2)
        self.wide = Conv(width, width)
        self.at = nn.Parameter(torch.empty(1, 64, width))
        nn.init.normal_(self.at, 0.0, 0.02)
        self.far = Conv(width, width, strides=2)
        self.place = nn.Parameter(torch.empty(1, 16, width))
        nn.init.normal_(self.place, 0.0, 0.02)
        self.center = nn.Buffer(
            torch.tensor(
                [
                    [
                        [-1.95, -1.95, -0.85, -0.85],
                        [-0.51, -1.95, -0.85, -0.85],
                        [0.51, -1.95, -0.85, -0.85],
                        [1.95, -1.95, -0.85, -0.85],
                        [-1.95, -0.51, -0.85, -0.85],
                        [-0.51, -0.51, -0.85, -0.85],
                        [0.51, -0.51, -0.85, -0.85],
                        [1.95, -0.51, -0.85, -0.85],
                        [-1.95, 0.51, -0.85, -0.85],
                        [-0.51, 0.51, -0.85, -0.85],
                        [0.51, 0.51, -0.85, -0.85],
                        [1.95, 0.51, -0.85, -0.85],
                        [-1.95, 1.95, -0.85, -0.85],
                        [-0.51, 1.95, -0.85, -0.85],
                        [0.51, 1.95, -0.85, -0.85],
                        [1.95, 1.95, -0.85, -0.85],
                    ],
                ]
            ),
            persistent=False,
        )
        self.first = Decoder(width, heads)
        self.second = Decoder(width, heads)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = image.to(next(self.parameters()).dtype) * 0.0039  # [N, 64, 64, 1]
        x = self.half_(x.permute(0, 3, 1, 2))  # [N, 16, 32, 32]
        x = self.fourth(x)  # [N, 32, 16, 16]
        x = self.eighth(x)  # [N, width, 8, 8]
        wide = self.wide(x)  # [N, width, 8, 8]
        seen = wide.permute(0, 2, 3, 1).flatten(1, 2)  # [N, 64, width]
        x = self.far(wide).permute(0, 2, 3, 1).flatten(1, 2)  # [N, 16, width]
        first = self.first(x, self.place, seen, self.at)  # [N, 16, width]
        second = self.second(first, self.place, seen, self.at)  # [N, 16, width]
        early = self.head(first, self.center)  # [N, 16, classes + 5]
        boxes = self.head(second, self.center)  # [N, 16, classes + 5]
        return {"boxes": boxes, "early": early}
