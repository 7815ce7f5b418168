"""Noise in training."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GaussianDropout(nn.Module):
    """Multiplies by normal noise around 1 in training. `p` is the dropout rate."""

    def __init__(self, p: float):
        super().__init__()
        self.p, self.std = p, (p / (1 - p)) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.std * torch.randn_like(x)) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class GaussianNoise(nn.Module):
    """Adds normal noise in training."""

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        return f"std={self.std}"


class SharedAlphaDropout(nn.Module):
    """Alpha dropout with one decision along the axes where `noise_shape` is 1."""

    def __init__(self, p: float, noise_shape: tuple[int | None, ...]):
        super().__init__()
        self.p, self.noise_shape = p, noise_shape

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        low = -1.7580993408473766  # what SELU saturates at
        shape = [
            n if s is None else s
            for n, s in zip(x.shape, self.noise_shape, strict=True)
        ]
        kept = torch.rand(shape, device=x.device) >= self.p
        scale = ((1 - self.p) * (1 + self.p * low**2)) ** -0.5
        return scale * (torch.where(kept, x, low) - self.p * low)

    def extra_repr(self) -> str:
        return f"p={self.p}, noise_shape={self.noise_shape}"


class SharedDropout(nn.Module):
    """Dropout with one decision along the axes where `noise_shape` is 1."""

    def __init__(self, p: float, noise_shape: tuple[int | None, ...]):
        super().__init__()
        self.p, self.noise_shape = p, noise_shape

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = [
            n if s is None else s
            for n, s in zip(x.shape, self.noise_shape, strict=True)
        ]
        return x * F.dropout(x.new_ones(shape), self.p)


def shuffled(x: Tensor, dim: int) -> Tensor:
    """Shuffles along an axis, in another order for each index of the axes before it."""
    order = torch.rand(x.shape[: dim + 1], device=x.device).argsort(dim)
    for _ in range(x.dim() - dim - 1):
        order = order.unsqueeze(-1)
    return x.take_along_dim(order, dim)
