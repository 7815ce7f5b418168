"""Modules whose layers have some of their weights in common, and tensors that nothing trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.convert.modules.given import floats, ids


class Two(nn.Module):
    """Two layers, one after the other: weights of the second that `words` names are those of the first."""

    def __init__(self, make: Callable[[], nn.Module], *words: str):
        super().__init__()
        self.first, self.second = make(), make()
        for word in words:
            setattr(self.second, word, getattr(self.first, word))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


class Tables(nn.Module):
    """A table in two embeddings and a projection with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.scores = nn.Embedding(40, 4), nn.Embedding(40, 4), nn.Linear(4, 40)
        self.second.weight = self.scores.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.first(x) + self.second(39 - x))


class Recurrent(nn.Module):
    """One layer over two sequences: over the second from the state of the first, or from its own."""

    def __init__(self, cls: Any, goes_on: bool, reads: str, **words: Any):
        super().__init__()
        self.layer, self.goes_on, self.reads = cls(3, 5, batch_first=True, **words), goes_on, reads

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        first, state = self.layer(a)
        second, last = self.layer(b, state) if self.goes_on else self.layer(b)
        if self.reads == "last step":
            return second[:, -1] + first[:, -1]
        if self.reads == "state":
            last = last[0] if isinstance(last, tuple) else last
            return first.mean(1) + last[-1]
        return first + second


class Used(nn.Module):
    """A weight of a layer that is computed with elsewhere: `how` says where."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.dense, self.table = nn.Linear(4, 6), nn.Embedding(40, 4)
        self.conv, self.scale = nn.Conv1d(4, 4, 3, padding=1), nn.PReLU()
        self.grid = nn.Parameter(torch.randn(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "norm of rows":
            return self.dense(x) + self.dense.weight.pow(2).sum(1)
        if self.how == "mean of a table":
            return self.table((x > 0).long()) * self.table.weight.mean(0)
        if self.how == "other dilation":
            return self.conv(x) + F.conv1d(x, self.conv.weight, self.conv.bias, padding=2, dilation=2)
        if self.how == "other rank":
            return self.scale(x) + self.scale(x.mean(1)).unsqueeze(1)
        if self.how == "other axes":
            return x.transpose(1, 2) * self.grid.t() + (x * self.grid).transpose(1, 2)
        return F.layer_norm(x, (5,), self.grid[0, :1].expand(5))


class Fixed(nn.Module):
    """A tensor that `forward` makes, and nothing trains."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.dense = how, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "kernel":
            edges = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
            return self.dense(F.conv2d(x, edges[None, None]))
        if self.how == "upwards":
            return F.conv_transpose2d(self.dense(x), torch.ones(1, 2, 3, 3))
        if self.how == "table":
            return self.dense(F.embedding(x, torch.arange(160.0).reshape(40, 4)))
        if self.how == "bias":
            return F.linear(x, self.dense.weight, torch.full((4,), 2.0))
        if self.how == "norm":
            return F.layer_norm(self.dense(x), (4,), torch.arange(4.0), self.dense.bias)
        return self.dense(x) @ (torch.ones(4, 3) if self.how == "ones" else torch.full((4, 3), 0.5))


class Constant(nn.Module):
    """A normalization by statistics that `forward` makes."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.dense(x), torch.ones(4), torch.full((4,), 2.0), self.scale)


class Frozen(nn.Module):
    """Parameters of one layer, of which some train."""

    def __init__(self, *frozen: str):
        super().__init__()
        self.dense, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        for name in frozen:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.dense(x))


class Constants(nn.Module):
    """Weights that begin as zeros, ones, another number or an identity, next to a table that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.place = nn.Embedding(40, 8), nn.Parameter(torch.zeros(1, 9, 8))
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scale, self.heat = nn.Parameter(1e-6 * torch.ones(8)), nn.Parameter(torch.tensor(0.07).log())
        self.layer, self.out = nn.LSTM(8, 4, batch_first=True), nn.Linear(4, 4)
        for name, parameter in (*self.heads.named_parameters(), *self.layer.named_parameters()):
            nn.init.constant_(parameter, 0 if "bias" in name else 0.5 if "hh" in name else 0.25)
        nn.init.eye_(self.out.weight)
        nn.init.ones_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.table(x) + self.place
        x = x + self.scale * self.heads(x, x, x)[0]
        return self.out(self.layer(x)[0]) * self.heat


class Step(nn.Module):
    """One of several alike, with a function that another might be taken for."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.act = nn.Linear(4, 4), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(2 * self.dense(x))


class Counts(nn.Module):
    """What it gives depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


TWO: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], Tensor]] = {
    "kernels": (lambda: nn.Linear(4, 4), ("weight",), floats(2, 4)),
    "biases": (lambda: nn.Linear(4, 4), ("bias",), floats(2, 4)),
    "all": (lambda: nn.Linear(4, 4), ("weight", "bias"), floats(2, 4)),
    "conv": (lambda: nn.Conv2d(3, 3, 3), ("weight",), floats(2, 3, 8, 8)),
    "conv bias": (lambda: nn.Conv1d(3, 3, 3, groups=3), ("bias",), floats(2, 3, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 3, 3, 2, 1), ("weight",), floats(2, 3, 8, 8)),
    "layer norm": (lambda: nn.LayerNorm((3, 4)), ("weight",), floats(2, 3, 4)),
    "group norm": (lambda: nn.GroupNorm(3, 6), ("bias",), floats(2, 6, 4)),
    "batch norm": (lambda: nn.BatchNorm2d(3), ("weight",), floats(2, 3, 4, 4)),
    "rms norm": (lambda: nn.RMSNorm(4), ("weight",), floats(2, 4)),
}
USED = {
    "norm of rows": floats(2, 4),
    "mean of a table": floats(2, 5),
    "other dilation": floats(2, 4, 8),
    "other rank": floats(2, 3, 4),
    "other axes": floats(2, 4, 5),
    "stretched": floats(2, 3, 5),
}
FIXED = {
    "kernel": floats(2, 1, 6, 6),
    "upwards": floats(2, 1, 4, 4),
    "table": ids(),
    "bias": floats(2, 4),
    "norm": floats(2, 4),
    "ones": floats(2, 4),
    "full": floats(2, 4),
}
