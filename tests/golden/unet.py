# Made by graphspec 0.1.0 from the spec unet. It needs torch 2.10 or later.
"""unet: image float32[N, 8 * height, 8 * width, 3]
-> mask float32[N, 8 * height, 8 * width, 1].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Double(nn.Module):
    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(in_channels, filters, 3, padding="same"),
                nn.Conv2d(filters, filters, 3, padding="same"),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        return x


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


class Unet(nn.Module):
    def __init__(self, depth: int = 3, width: int = 16) -> None:
        super().__init__()
        assert depth > 0, "depth must be more than 0"
        self.downs = nn.ModuleList(
            Down(3 if index == 0 else width * 2 ** (index - 1), width * 2**index)
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
        self.mask = nn.Conv2d(width, 1, 1)
        self.height_factor = 2**depth
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        if any(size % self.height_factor != 0 for size in image.shape[1:3]):
            raise ValueError(
                f"image: `height`, `width` must be multiples of {self.height_factor}: {[*image.shape[1:3]]}",
            )
        x = image.permute(0, 3, 1, 2)
        skips = []
        for down in self.downs:
            x, skip = down(x)
            skips.append(skip)
        x = self.bottom(x)  # [N, 128, height, width]
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
        x = self.mask(x).permute(0, 2, 3, 1)  # [N, 8 * height, 8 * width, 1]
        return x if logits else x.sigmoid()
