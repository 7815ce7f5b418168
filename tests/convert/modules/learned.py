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
