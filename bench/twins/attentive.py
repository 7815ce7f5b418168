"""Networks of papers with attention over images, which the gallery does not have."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Attention(nn.Module):
    """Attention of [batch, length, width], with separate projections as in its state dict."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.heads = heads

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(memory)), self.split(self.value(memory))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.output(y.transpose(1, 2).flatten(2))


class EfficientAttention(nn.Module):
    """Each pixel of [batch, height, width, channels] sees the patches of a smaller image."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None
        self.attention = Attention(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        memory = x
        if self.reduce is not None and self.norm is not None:
            memory = self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.attention(x.flatten(1, 2), memory.flatten(1, 2)).view(x.shape)


class MixFeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expanded = nn.Linear(width, 4 * width)
        self.spatial = nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width)
        self.projected = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.spatial(self.expanded(x).permute(0, 3, 1, 2)))
        return self.projected(x.permute(0, 2, 3, 1))


class SegFormerLayer(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = EfficientAttention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width)
        self.forward_ = MixFeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.forward_(self.norm2(x))


class SegFormerStage(nn.Module):
    def __init__(
        self,
        in_channels: int,
        width: int,
        depth: int,
        heads: int,
        reduction: int,
        kernel_size: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, kernel_size, stride, kernel_size // 2)
        self.norm1 = nn.LayerNorm(width)
        self.layers = nn.Sequential(*(SegFormerLayer(width, heads, reduction) for _ in range(depth)))
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.patches(x).permute(0, 2, 3, 1))
        return self.norm2(self.layers(x)).permute(0, 3, 1, 2)


class SegFormer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 160, 256)
        self.stages = nn.ModuleList()
        for index, (heads, reduction) in enumerate(((1, 8), (2, 4), (5, 2), (8, 1))):
            in_channels, kernel_size, stride = (widths[index - 1], 3, 2) if index else (3, 7, 4)
            self.stages.append(
                SegFormerStage(in_channels, widths[index], 2, heads, reduction, kernel_size, stride)
            )
        self.lifts = nn.ModuleList(nn.Linear(width, 256) for width in widths)
        self.fused = nn.Conv2d(4 * 256, 256, 1, bias=False)
        self.norm = nn.BatchNorm2d(256)
        self.drop = nn.Dropout(0.1)
        self.mask = nn.Conv2d(256, 150, 1)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x, levels = image.permute(0, 3, 1, 2), []
        for index, (stage, lift) in enumerate(zip(self.stages, self.lifts, strict=True)):
            x = stage(x)
            level = lift(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            if index:
                level = F.interpolate(level, scale_factor=2**index, mode="bilinear")
            levels.append(level)
        x = F.relu(self.norm(self.fused(torch.cat(levels, 1))), inplace=True)
        x = self.mask(self.drop(x)).permute(0, 2, 3, 1)
        return x if logits else x.softmax(-1)


def to_windows(x: Tensor, window: int) -> Tensor:
    """[batch, height, width, ...] -> [batch, windows, window * window, ...]."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class WindowAttention(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.table = nn.Parameter(torch.empty(1, (2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02, a=-0.04, b=0.04)
        self.out = nn.Linear(width, width)
        place = torch.arange(window**2)
        row, column = place // window, place % window
        down, right = row[:, None] - row + window - 1, column[:, None] - column + window - 1
        self.index = nn.Buffer(down * (2 * window - 1) + right, persistent=False)
        self.heads = heads

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.table[0][self.index].permute(2, 0, 1)
        x = F.scaled_dot_product_attention(q, k, v, bias if mask is None else bias + mask[:, None])
        return self.out(x.transpose(2, 3).flatten(3))


class SwinLayer(nn.Module):
    def __init__(self, width: int, heads: int, side: int, shift: int, window: int = 7) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.expanded = nn.Linear(width, 4 * width)
        self.projected = nn.Linear(4 * width, width)
        self.shift, self.window = shift, window
        mask = None
        if shift:
            part = torch.zeros(side, dtype=torch.int64)
            part[-window:-shift], part[-shift:] = 1, 2
            parts = to_windows((3 * part[:, None] + part)[None], window)[0]
            mask = torch.where(parts[:, :, None] == parts[:, None], 0.0, -100.0)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y, window = self.norm1(x), self.window
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = self.attention(to_windows(y, window), self.mask)
        y = y.unflatten(2, (window, window)).unflatten(1, (-1, x.shape[2] // window))
        y = y.transpose(2, 3).reshape(x.shape)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.projected(F.gelu(self.expanded(self.norm2(x))))


class Merge(nn.Module):
    """Four neighbours become one patch of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.merged = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = (x[:, row::2, column::2] for column in (0, 1) for row in (0, 1))
        return self.merged(self.norm(torch.cat(list(corners), -1)))


class Swin(nn.Module):
    def __init__(self, depths: Sequence[int] = (2, 2, 6, 2)) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 96, 4, 4)
        self.norm = nn.LayerNorm(96)
        layers: list[nn.Module] = []
        for stage, (depth, heads) in enumerate(zip(depths, (3, 6, 12, 24), strict=True)):
            width, side = 96 * 2**stage, 56 // 2**stage
            if stage:
                layers.append(Merge(width // 2))
            for index in range(depth):
                layers.append(SwinLayer(width, heads, side, 3 if index % 2 and side > 7 else 0))
        self.layers = nn.Sequential(*layers)
        self.last_norm = nn.LayerNorm(768)
        self.probs = nn.Linear(768, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.patches(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = self.last_norm(self.layers(self.norm(x)))
        x = self.probs(x.mean((1, 2)))
        return x if logits else x.softmax(-1)


class TimeEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        powers = torch.arange(width // 2) * (-math.log(10000) / (width // 2 - 1))
        self.rates = nn.Buffer(powers.exp(), persistent=False)
        self.hidden = nn.Linear(width, 4 * width)
        self.code = nn.Linear(4 * width, 4 * width)

    def forward(self, time: Tensor) -> Tensor:
        angles = time[:, None] * self.rates
        return self.code(F.silu(self.hidden(torch.cat([angles.sin(), angles.cos()], -1))))


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(32, in_channels, eps=1e-6)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.time = nn.Linear(time_width, channels)
        self.norm2 = nn.GroupNorm(32, channels, eps=1e-6)
        self.drop = nn.Dropout(0.1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, channels, 1) if in_channels != channels else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        y = self.conv2(self.drop(F.silu(self.norm2(y))))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PixelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.attention = Attention(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        y = self.attention(y, y).transpose(1, 2)
        return x + y.unflatten(2, x.shape[2:])


class DiffusionLayer(nn.Module):
    def __init__(self, in_channels: int, channels: int, time_width: int, attends: bool) -> None:
        super().__init__()
        self.residual = ResidualBlock(in_channels, channels, time_width)
        self.attend = PixelAttention(channels) if attends else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.residual(x, time)
        return x if self.attend is None else self.attend(x)


class Down(nn.Module):
    def __init__(self, in_channels: int, channels: int, time_width: int, attends: bool, last: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DiffusionLayer(n, channels, time_width, attends) for n in (in_channels, channels)
        )
        self.halve = None if last else nn.Conv2d(channels, channels, 3, 2)

    def forward(self, x: Tensor, time: Tensor, skips: list[Tensor]) -> Tensor:
        for layer in self.layers:
            x = layer(x, time)
            skips.append(x)
        if self.halve is not None:
            x = self.halve(F.pad(x, (0, 1, 0, 1)))
            skips.append(x)
        return x


class Up(nn.Module):
    def __init__(
        self, in_channels: Sequence[int], channels: int, time_width: int, attends: bool, last: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DiffusionLayer(n, channels, time_width, attends) for n in in_channels)
        self.conv = None if last else nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, skips: list[Tensor]) -> Tensor:
        for layer in self.layers:
            x = layer(torch.cat([x, skips.pop()], 1), time)
        return x if self.conv is None else self.conv(F.interpolate(x, scale_factor=2))


class DiffusionUNet(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        time_width, channels = 4 * width, [width, 2 * width, 2 * width, 2 * width]
        self.time = TimeEmbedding(width)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.downs = nn.ModuleList(
            Down(n, c, time_width, level == 1, level == 3)
            for level, (n, c) in enumerate(zip([width, *channels], channels, strict=False))
        )
        self.first = ResidualBlock(channels[-1], channels[-1], time_width)
        self.attend = PixelAttention(channels[-1])
        self.second = ResidualBlock(channels[-1], channels[-1], time_width)
        self.ups = nn.ModuleList()
        x = channels[-1]
        for level in (3, 2, 1, 0):
            c, entered = channels[level], channels[max(level - 1, 0)]
            self.ups.append(Up((x + c, 2 * c, c + entered), c, time_width, level == 1, level == 0))
            x = c
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.noise = nn.Conv2d(width, 3, 3, padding=1)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        time = self.time(time)
        x = self.stem(image.permute(0, 3, 1, 2))
        skips = [x]
        for down in self.downs:
            x = down(x, time, skips)
        x = self.second(self.attend(self.first(x, time)), time)
        for up in self.ups:
            x = up(x, time, skips)
        return self.noise(F.silu(self.norm(x))).permute(0, 2, 3, 1)
