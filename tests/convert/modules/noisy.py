"""Modules that draw random numbers in training, as people write them."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FusedAttention(nn.Module):
    """Attention in one piece, whose rate has a name of the user's."""

    def __init__(self, rate: float = 0.25, masked: bool = False):
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.how_much, self.masked = rate, masked

    def forward(self, x: Tensor, seen: Any = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        rate = self.how_much if self.training else 0.0
        mask = x[:, None, None, :, 0] > -9 if self.masked else None
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=rate)
        return self.out(y.transpose(1, 2).flatten(2))


class Skip(nn.Module):
    """Stochastic depth, with names of the user's."""

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.chance == 0:
            return x
        keep = 1 - self.chance
        mask = keep + torch.rand((x.shape[0],) + (1,) * (x.dim() - 1), dtype=x.dtype, device=x.device)
        return x.div(keep) * mask.floor_()


class SkipBlock(nn.Module):
    def __init__(self, chance: float):
        super().__init__()
        self.norm, self.dense, self.skip = nn.LayerNorm(8), nn.Linear(8, 8), Skip(chance)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.skip(self.dense(self.norm(x)))


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SkipBlock(chance) for chance in (0.0, 0.1, 0.2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Inline(nn.Module):
    """What training adds, in the middle of a forward method."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.dense, self.norm = how, nn.Linear(6, 6), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x)
        if self.how == "norm":
            y = self.norm(y)
        elif self.training:
            y = self.changed(y)
        return x + torch.tanh(y)

    def train(self, mode: bool = True) -> Inline:
        super().train(mode)
        if self.how == "norm":
            self.norm.eval()
        return self

    def changed(self, y: Tensor) -> Tensor:
        if self.how == "dropout":
            return F.dropout(y, 0.3)
        if self.how == "steps":
            mask = y.new_empty(y.shape[0], y.shape[1], 1).bernoulli_(0.75)
            return y * mask / 0.75
        if self.how == "noise":
            return y + 0.5 * torch.randn_like(y)
        if self.how == "factor":
            return y * (1 + 0.5 * torch.randn_like(y))
        if self.how == "off":
            return F.dropout(y, 0.3, training=False)
        if self.how == "unscaled":
            return y * torch.empty(y.shape[0], 1, 1).bernoulli_(0.5)
        if self.how == "renormalized":
            mask = (torch.rand_like(y) > 0.3).to(y.dtype)
            return y * mask * (mask.numel() / mask.sum())
        if self.how == "python":
            return y * random.random()
        if self.how == "whole":
            return y * 0 if torch.rand(()) < 0.5 else y
        return y[torch.randperm(y.shape[0])]


class Always(nn.Module):
    """Dropout that inference has, too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x * 2, 0.5)
