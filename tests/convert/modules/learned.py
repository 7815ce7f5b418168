"""Modules that train a part of what they hold, or keep parts in another mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GatedRMSNorm(nn.Module):
    """Takes two tensors, which what its name says does not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), 2.0))
        self.eps = 1e-6

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        x = x * F.silu(gate)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = GatedRMSNorm()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x, x)


class PartsApart(nn.Module):
    """It does not run in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.dense(x)) @ torch.eye(4, dtype=torch.float32)


class BiasedAttention(nn.Module):
    """A bias that is learned, and looks like a mask at first."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((5, 5), -1e4 if causal else 0.0).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        return F.scaled_dot_product_attention(x, x, x, self.bias).squeeze(1)


class Stopped(nn.Module):
    """Gradients stop on their way: `how` says where."""

    kept: Tensor

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("kept", torch.full((2,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "in part":
            x = self.body(x) * torch.cat([self.scale, self.kept])
        elif self.how == "no_grad":
            with torch.no_grad():
                x = self.body(x)
        elif self.how == "detach":
            x = self.body(x).detach()
        elif self.how == "parameter":
            return self.head(x) * self.scale.detach() + self.scale
        elif self.how == "straight through":
            x = self.body(x)
            x = x + (torch.round(x) - x).detach()
        elif self.how == "in a bias":
            x = F.linear(x, self.body.weight, torch.cat([self.scale, self.kept])) ** 2
        elif self.how == "in a norm":
            x = F.group_norm(self.body(x), 1, torch.cat([self.scale, self.kept]))
        return self.head(x)


class Reordered(nn.Module):
    """A table that a spec does not list."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(70).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.order] * 2


class Tied(nn.Module):
    """Layers with one weight."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.first, self.second = nn.Linear(6, 4 if how == "turned" else 6), nn.Linear(6, 6)
        self.words = nn.Embedding(6, 6)
        if how != "turned":
            self.second.weight = self.words.weight if how == "table" else self.first.weight
        self.bias = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "table":
            return self.second(self.words((x > 0).long()).tanh())
        y = self.first(x).tanh()
        if self.how == "turned":
            return F.linear(y, self.first.weight.t(), self.bias)
        if self.how == "detached":
            return F.linear(y, self.first.weight.detach(), self.first.bias)
        return self.second(y)


class Spectrum(nn.Module):
    """Magnitudes that are zero somewhere: of them PyTorch's gradient is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x)
        return torch.fft.rfft(y - y).abs() + y[:, :5]


class Resized(nn.Module):
    """A size that is not what the factor makes of it."""

    def __init__(self, mode: str):
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x * 2, scale_factor=1.3, mode=self.mode)


class Written(nn.Module):
    """A mask and a bias that are written in part."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(4, 6)
        for row in range(2):
            mask[2 * row : 2 * row + 2, 3:] = row + 1
        bias = self.dense.bias.clone()
        bias[2:4].zero_()
        return F.linear(x, self.dense.weight, bias) + mask


class Fused(nn.Module):
    """A function of PyTorch's that is two of others."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, self.scale, x.tanh())


class Triangles(nn.Module):
    """Parts of matrices, and what is only checked on the way: a weight, and the type of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        torch._assert_async(self.dense.weight.sum() < 1e9)
        x = self.dense(x).to(torch.float64)
        return torch.tril(x) - torch.triu(x, 1)
