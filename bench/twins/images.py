"""The image networks of the gallery."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Conv(nn.Conv2d):
    """A convolution of odd width, padded to keep the size, then ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int = 3) -> None:
        super().__init__(in_channels, channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class Halving(nn.Conv2d):
    """A 3x3 convolution of stride 2, then ReLU. Keras pads even sizes by one row and column at the end."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(F.pad(x, (0, 1, 0, 1))), inplace=True)


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch_a = nn.Conv2d(32, 128, 1, stride=2)
        self.branch_b = nn.Sequential(Conv(32, 128, 1), Halving(128, 128))
        self.branch_c = Conv(32, 128)
        self.branch_d = nn.Sequential(Conv(32, 128, 1), Conv(128, 128), Halving(128, 128))

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.branch_a(x), inplace=True)
        pooled = F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=False)
        return torch.cat([a, self.branch_b(x), self.branch_c(pooled), self.branch_d(x)], 1)


class InceptionModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 32)
        self.inception = Inception()
        self.probs = nn.Linear(512, 10)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.inception(self.stem(image.permute(0, 3, 1, 2)))
        x = self.probs(x.mean((2, 3)))
        return x if logits else x.softmax(-1)


class Identity(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(Conv(channels, channels) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x) + x


class Projection(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(Conv(in_channels, channels), Conv(channels, channels))
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.convs(x), 2) + self.shortcut(x)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Conv(3, 32), Identity(32), Projection(32, 64), Identity(64))
        self.probs = nn.Linear(64, 10)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.blocks(image.permute(0, 3, 1, 2))
        x = self.probs(x.mean((2, 3)))
        return x if logits else x.softmax(-1)


def double(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(Conv(in_channels, channels), Conv(channels, channels))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList([double(3, 16), double(16, 32), double(32, 64)])
        self.bottom = double(64, 128)
        self.ups = nn.ModuleList([double(192, 64), double(96, 32), double(48, 16)])
        self.mask = nn.Conv2d(16, 1, 1)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        height, width = image.shape[1:3]
        if height % 8 or width % 8:
            raise ValueError(f"image: {height} x {width} is no multiple of 8")
        x = image.permute(0, 3, 1, 2)
        skips = []
        for down in self.downs:
            skips.append(down(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up in self.ups:
            x = up(torch.cat([F.interpolate(x, scale_factor=2), skips.pop()], 1))
        x = self.mask(x).permute(0, 2, 3, 1)
        return x if logits else x.sigmoid()
