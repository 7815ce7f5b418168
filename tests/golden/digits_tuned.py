# Made by graphspec 0.1.0 from the spec digits_tuned with depth = 2. It needs torch 2.10
# or later.
"""digits_tuned: image uint8[N, 8, 8, 1] -> digit float32[N, 10]."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def warp(x: Tensor, theta: Tensor, read: Callable[..., Tensor]) -> Tensor:
    """Applies an affine map to each image of [N, C, H, W].

    A row of `theta` [N, 6] maps positions in the output to positions in the input, all
    of them from -1 to 1. `read` says what is outside.
    """
    grid = F.affine_grid(theta.view(-1, 2, 3), [*x.shape], align_corners=False)
    return read(x, grid, "bilinear", 0.0)


class RandomTranslation(nn.Module):
    """Moves images [N, C, H, W] in training.

    The share of the height is drawn from `height`, that of the width from `width`.
    """

    def __init__(
        self,
        height: tuple[float, float],
        width: tuple[float, float],
        read: Callable[..., Tensor],
    ):
        super().__init__()
        self.height, self.width = height, width
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        down = x.new_empty(x.shape[0]).uniform_(*self.height)
        right = x.new_empty(x.shape[0]).uniform_(*self.width)
        one, zero = torch.ones_like(down), torch.zeros_like(down)
        theta = torch.stack([one, zero, -2 * right, zero, one, -2 * down], 1)
        return warp(x, theta, self.read)


def filled(x: Tensor, grid: Tensor, mode: str, fill: float) -> Tensor:
    """Images [N, C, H, W] at the places [N, H, W, 2] of a grid; `fill` is outside."""
    return F.grid_sample(x - fill, grid, mode, align_corners=False) + fill


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ConvPool(nn.Module):
    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv(x), inplace=True), 2)


class DigitsTuned(nn.Module):
    def __init__(
        self, filters: int = 16, dropout: float = 0.3, shift: float = 0.05
    ) -> None:
        super().__init__()
        self.moved = RandomTranslation((-shift, shift), (-shift, shift), filled)
        self.convs = nn.Sequential(ConvPool(1, filters), ConvPool(filters, filters * 2))
        self.drop = nn.Dropout(dropout)
        self.digit = nn.Linear(4 * (filters * 2), 10)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = image.to(self.digit.weight.dtype) / 16  # [N, 8, 8, 1]
        x = self.moved(x.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        x = self.convs(x).permute(0, 2, 3, 1).flatten(1)  # [N, 128]
        x = self.drop(x)  # [N, 128]
        x = self.digit(x)  # [N, 10]
        return x if logits else x.softmax(-1)
