# Made by graphspec 0.1.0 from the spec fixmatch. It needs torch 2.10 or later.
"""fixmatch: image uint8[N, 8, 8, 1] -> digit float32[N, 10], unlike float32[N]."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GaussianNoise(nn.Module):
    """Adds normal noise in training."""

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        return f"std={self.std}"


def warp(x: Tensor, theta: Tensor, read: Callable[..., Tensor]) -> Tensor:
    """Applies an affine map to each image of [N, C, H, W].

    A row of `theta` [N, 6] maps positions in the output to positions in the input, all
    of them from -1 to 1. `read` says what is outside.
    """
    grid = F.affine_grid(theta.view(-1, 2, 3), [*x.shape], align_corners=False)
    return read(x, grid, "bilinear", 0.0)


class RandomRotation(nn.Module):
    """Rotates images [N, C, H, W] in training, by a number of turns from `factor`."""

    def __init__(self, factor: tuple[float, float], read: Callable[..., Tensor]):
        super().__init__()
        self.factor = factor
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        angle = 2 * torch.pi * x.new_empty(x.shape[0]).uniform_(*self.factor)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        tall = x.shape[2] / x.shape[3]
        theta = torch.stack([cos, -sin * tall, zero, sin / tall, cos, zero], 1)
        return warp(x, theta, self.read)


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


class RandomZoom(nn.Module):
    """Zooms images [N, C, H, W] in training: it shows 1 + h of the height of each.

    h is drawn from `height`. Without `width`, it shows as much of the width.
    """

    def __init__(self, height: tuple[float, float], read: Callable[..., Tensor]):
        super().__init__()
        self.height = height
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        tall = 1 + x.new_empty(x.shape[0]).uniform_(*self.height)
        zero = torch.zeros_like(tall)
        theta = torch.stack([tall, zero, zero, zero, tall, zero], 1)
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


class Weak(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shifted = RandomTranslation((-0.1, 0.1), (-0.1, 0.1), filled)

    def forward(self, x: Tensor) -> Tensor:
        return self.shifted(x)


class Network(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(in_channels, 16, 3, padding="same"),
                nn.Conv2d(16, 32, 3, padding="same"),
            ]
        )
        self.drop = nn.Dropout(0.3)
        self.scores = nn.Linear(512, 10)

    def forward(self, x: Tensor, *, logits: bool = False) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        x = self.drop(F.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1))
        x = self.scores(x)
        return x if logits else x.softmax(-1)


class Strong(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shifted = RandomTranslation((-0.15, 0.15), (-0.15, 0.15), filled)
        self.turned = RandomRotation((-0.05, 0.05), filled)
        self.zoomed = RandomZoom((-0.15, 0.15), filled)
        self.noisy = GaussianNoise(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.zoomed(self.turned(self.shifted(x)))
        return self.noisy(x)


class Fixmatch(nn.Module):
    def __init__(self, threshold: float = 0.8) -> None:
        super().__init__()
        self.network = Network(1)
        self.seen = Weak()
        self.changed = Strong()
        self.threshold = threshold
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        scaled = image.to(next(self.parameters()).dtype) / 16  # [N, 8, 8, 1]
        x = self.seen(scaled.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        digit_logits = self.network(x, logits=True)
        digit = digit_logits.softmax(-1)  # [N, 10]
        x = self.changed(scaled.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        said = self.network(x)  # [N, 10]
        known = digit.detach()  # [N, 10]
        x = known.amax(-1, keepdim=True).clamp(min=self.threshold)  # [N, 1]
        x = (known >= x).to(known.dtype) * (said + 1e-06).log()  # [N, 10]
        return {"digit": digit_logits if logits else digit, "unlike": -x.sum(-1)}
