"""Modules that draw random numbers in training, as people write them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FusedAttention(nn.Module):
    """Attention in one piece, whose rate has a name of the user's."""

    def __init__(self, rate: float = 0.25, masked: bool = False, causal: bool = False, added: bool = False):
        super().__init__()
        self.added = added
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.how_much, self.masked, self.causal = rate, masked, causal

    def forward(self, x: Tensor, seen: Any = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        rate = self.how_much if self.training else 0.0
        mask = x[:, None, None, :, 0] > 0 if self.masked else None
        if mask is not None and self.added:
            mask = torch.zeros(()).masked_fill(~mask, -torch.inf)
        q = q.tanh() if self.causal else q
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=rate, is_causal=self.causal)
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
        if self.how == "normal":
            return y + torch.normal(0.0, 0.1, y.shape)
        if self.how == "channels":
            return F.dropout1d(y, 0.3)
        if self.how in UNLIKE:
            return UNLIKE[self.how](y)
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


UNLIKE: dict[str, Callable[[Tensor], Tensor]] = {
    "biased": lambda y: y + torch.empty_like(y).normal_(0.3, 0.1),
    "relative": lambda y: y + 0.1 * y.std() * torch.randn_like(y),
    "share": lambda y: y * (torch.rand_like(y) > 0.1) * 2,
    "rare": lambda y: y * (torch.rand(y.shape[0], 1, 1) > 0.005),
    "rectified": lambda y: F.dropout(y.relu(), 0.3),
    "rectified mask": lambda y: y.clamp(min=0) * (torch.rand_like(y) > 0.5) * 2,
    "twice": lambda y: F.dropout(y, 0.3) * 2,
    "scaled": lambda y: y * 2,
    "untrained": torch.no_grad()(lambda y: F.dropout(y, 0.3) * 2),
    "dependent": lambda y: y * (torch.rand_like(y).argsort(-1) < 3) * 2,
    "bits": lambda y: torch.bernoulli(torch.sigmoid(y)),
}
"""What looks like dropout or noise, and is neither."""


class Several(nn.Module):
    """The sum of what several make of an input."""

    def __init__(self, hows: list[str]):
        super().__init__()
        self.parts = nn.ModuleList(Inline(how) for how in hows)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([part(x) for part in self.parts]).sum(0)


class Always(nn.Module):
    """Dropout that inference has, too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x * 2, 0.5)


class AlwaysAttention(FusedAttention):
    """Attention that drops in inference, too."""

    def forward(self, x: Tensor, seen: Any = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, dropout_p=0.2).transpose(1, 2).flatten(2))


class Beside(nn.Module):
    """A tensor with noise, and the same without it, as arguments of one function."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 3
        return (F.dropout(y, 0.5) if self.training else y) - y


class HeadDrop(FusedAttention):
    """Attention that drops whole heads."""

    def forward(self, x: Tensor, seen: Any = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / 2).softmax(-1)
        if self.training:
            weights = weights * (torch.rand(*weights.shape[:2], 1, 1) > 0.25) / 0.75
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class LayerDrop(nn.Module):
    """A layer that is skipped by a number of Python's own, after attention with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.other = FusedAttention(), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(x)
        return y if self.training and random.random() < 0.5 else y + self.other(y)


class Writes(nn.Module):
    """Changes its parameters, buffers, attributes and generator where it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.done = nn.Linear(6, 6), False
        self.mean: Tensor | None
        self.register_buffer("mean", None)
        self.generator, self.seen = torch.Generator().manual_seed(3), list[float]()

    def forward(self, x: Tensor) -> Tensor:
        y = F.dropout(self.dense(x), 0.1, self.training)
        if self.training:
            with torch.no_grad():
                self.dense.weight.clamp_(-0.1, 0.1)
            self.mean, self.done = y.detach().mean(0), True
            self.seen.append(random.random())
            y = y * (torch.rand(y.shape, generator=self.generator) > 0.5)
        return y


class ForInference(nn.Linear):
    """Does not go into training mode."""

    def train(self, mode: bool = True) -> ForInference:
        if mode:
            raise RuntimeError("for inference")
        super().train(mode)
        return self


class Helper(nn.Linear):
    """Returns what helps it learn."""

    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return (y, y.relu()) if self.training else y


class ViewBefore(nn.Module):
    """Reads a part of a tensor that was taken before it was written into."""

    def forward(self, x: Tensor) -> Tensor:
        table = x.new_zeros(4, 6)
        row = table[1]
        table[:2] = 1.0
        return x * 2 + row
