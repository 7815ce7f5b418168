# Made by graphspec 0.1.0 from the spec byol. It needs torch 2.10 or later.
"""byol: image uint8[N, 8, 8, 1] -> unlike float32[N], digit float32[N, 10]."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UncountedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization whose count of batches is in no file, and may be in any."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)


class KerasBatchNorm(UncountedBatchNorm):
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


def by_rows(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Batch normalization of [N, C] or [N, C, L].

    Steps with their channels last are rows: torch.compile knows no gradient of them.
    """
    if x.dim() != 3 or x.is_contiguous() or not torch.is_grad_enabled():
        return norm(x)
    rows = norm(x.transpose(1, 2).flatten(0, 1))
    return rows.unflatten(0, (-1, x.shape[2])).transpose(1, 2)


class KerasBatchNorm1d(KerasBatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d with Keras' statistics."""

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(super().forward, x)


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


class FrozenBatchNorm(UncountedBatchNorm):
    """Batch normalization that never trains, as Keras' with `trainable=False`."""

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        weights = self.weight, self.bias

        def norm(x: Tensor) -> Tensor:
            return F.batch_norm(x, *statistics, *weights, eps=self.eps)

        return by_rows(norm, x)


def freeze(module: nn.Module) -> None:
    """Freezes a module: no gradients, and no updates of statistics."""
    module.requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.__class__ = FrozenBatchNorm
            layer.register_buffer(
                "num_batches_tracked", layer.num_batches_tracked, persistent=False
            )


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Byol):
        module.target.load_state_dict(module.online.state_dict())


class View(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shifted = RandomTranslation((-0.15, 0.15), (-0.15, 0.15), filled)
        self.turned = RandomRotation((-0.05, 0.05), filled)
        self.zoomed = RandomZoom((-0.15, 0.15), filled)

    def forward(self, image: Tensor) -> Tensor:
        return self.zoomed(self.turned(self.shifted(image)))


class Mlp(nn.Module):
    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, 2 * width)
        self.norm = KerasBatchNorm1d(2 * width, eps=0.001, momentum=0.01)
        self.out = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.hidden(x)), inplace=True)
        return self.out(x)


class Encoder(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(in_channels, 32, 3, padding="same"),
                nn.Conv2d(32, 64, 3, padding="same"),
            ]
        )
        self.projected = Mlp(4096, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        code = x.permute(0, 2, 3, 1).flatten(1)
        return self.projected(code), code


class Byol(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.online = Encoder(1, width)
        self.target = Encoder(1, width)
        freeze(self.target)
        self.predict = Mlp(width, width)
        self.one = View()
        self.two = View()
        self.digit = nn.Linear(4096, 10)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        scaled = image.to(self.digit.weight.dtype) / 16  # [N, 8, 8, 1]
        one = self.one(scaled.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        two = self.two(scaled.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        from_one_projected, _ = self.online(one)
        from_two_projected, _ = self.online(two)
        said_one_projected, _ = self.target(one)
        said_two_projected, _ = self.target(two)
        guess_one = self.predict(from_two_projected)  # [N, width]
        guess_two = self.predict(from_one_projected)  # [N, width]
        unlike_1 = F.normalize(guess_one, 2, -1, 1e-07)  # [N, width]
        x = F.normalize(said_one_projected, 2, -1, 1e-07)  # [N, width]
        unlike_5 = 2 - (unlike_1 * x).sum(-1)  # [N]
        unlike_6 = F.normalize(guess_two, 2, -1, 1e-07)  # [N, width]
        x = F.normalize(said_two_projected, 2, -1, 1e-07)  # [N, width]
        unlike = unlike_5 - (unlike_6 * x).sum(-1)  # [N]
        _, plain_code = self.online(scaled.permute(0, 3, 1, 2))
        digit = self.digit(plain_code.detach())  # [N, 10]
        return {"unlike": unlike, "digit": digit if logits else digit.softmax(-1)}
