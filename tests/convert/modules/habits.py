"""Modules as people write them: parts written in place, states and dataclasses returned, masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Applied(nn.Module):
    """A function of a dense layer's output and of the other inputs."""

    def __init__(self, function: Callable[..., Any], width: int = 4) -> None:
        super().__init__()
        self.function, self.dense = function, nn.Linear(width, width)

    def forward(self, x: Tensor) -> Any:
        return self.function(self.dense(x))


class AppliedToTwo(Applied):
    def forward(self, x: Tensor, y: Tensor) -> Any:  # type: ignore[override]
        return self.function(self.dense(x), y)


class AppliedToIntegers(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function, self.bias = function, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Any:
        return self.function(x) * self.bias


def writes(y: Tensor) -> Tensor:
    y[:, :, 0] = 0.0
    y[..., 2:] *= 2
    y[:, [1, 3]] = 1.0
    y[y < -0.5] = -0.5
    y[:, 2] = y[:, 0] + 1
    return y


def shifts(x: Tensor) -> Tensor:
    """Channels from the step after, from the step before, and from the step itself."""
    out = torch.zeros_like(x)
    out[:, :-1, :1] = x[:, 1:, :1]
    out[:, 1:, 1:2] = x[:, :-1, 1:2]
    out[:, :, 2:] = x[:, :, 2:]
    return out


def fills(x: Tensor) -> Tensor:
    out = torch.zeros(x.size(0), x.size(1), 2)
    for step in range(x.size(1)):
        out[:, step] = x[:, step, :2].cumsum(-1)
    return out


def writes_after_a_look(y: Tensor) -> tuple[Tensor, Tensor]:
    """Doubles what was looked at before."""
    first = y[:, 0]
    y.mul_(2)
    return y + 1, first.exp()


def writes_after_flattening(y: Tensor) -> tuple[Tensor, Tensor]:
    """Of a copy, which stays as it was, and of what may be one, and shows the tensor."""
    copy, same = y.transpose(1, 2).flatten(1), y.flatten(1)
    y.mul_(2)
    return copy + 1, same + 1


def before_the_first(x: Tensor) -> Tensor:
    """Each step is the one before."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1) + x


def finite(x: Tensor) -> Tensor:
    return x + (x.isnan() | x.isinf()).float() + (~x.isnan()).float()


def one_key_head(x: Tensor) -> Tensor:
    """Attention of two heads to the keys and values of one."""
    n, length, width = x.shape
    query = x.view(n, length, 2, width // 2).transpose(1, 2)
    one = x[..., : width // 2].unsqueeze(1)
    return F.scaled_dot_product_attention(query, one, one).transpose(1, 2).reshape(n, length, width)


def skewed(x: Tensor) -> Tensor:
    """The reshapes of relative attention."""
    n, rows, columns = x.shape
    moved = F.pad(x, (1, 0)).reshape(n, columns + 1, rows)
    return moved[:, 1:].reshape(n, rows, columns)


def last_seen(x: Tensor, places: Tensor) -> Tensor:
    return x[torch.arange(x.size(0)), places]


def gathered(x: Tensor, places: Tensor) -> Tensor:
    """One feature of each of the picked steps."""
    return torch.gather(x, 1, places.unsqueeze(-1))


def bits(x: Tensor) -> Tensor:
    return (x & 3).float() + (x | 8).float() + (x ^ 5).float() + (x << 1).float() + (x >> 1).float()


class MaskedEncoder(nn.Module):
    """Each step sees those before it that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        encoded: Tensor = self.encoder(x, mask=causal, src_key_padding_mask=padding)
        return encoded


@dataclass
class Scores:
    logits: Tensor
    hidden: Tensor


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Scores]:
        hidden = self.dense(x).tanh()
        return {"scores": Scores(self.head(hidden), hidden)}


class States(nn.Module):
    """Returns the last states of stacked layers, with the batch as their second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 5, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.gru(x)


Hide = Callable[[Tensor, Tensor], Tensor]
"""Hides scores of keys by a table of ones below the diagonal, which is cut to their length."""
HIDES: dict[str, Hide] = {
    "filled": lambda scores, seen: scores.masked_fill(seen == 0, float("-inf")),
    "chosen": lambda scores, seen: torch.where(seen > 0, scores, torch.finfo(scores.dtype).min),
    "added": lambda scores, seen: scores + torch.zeros_like(seen).masked_fill(seen == 0, float("-inf")),
    "subtracted": lambda scores, seen: scores - 1e10 * (1 - seen),
    "window": lambda scores, seen: scores.masked_fill(seen.triu(-3) == 0, -1e9),
    "transposed": lambda scores, seen: scores.masked_fill(seen.transpose(0, 1) == 0, -1e9),
}


class CausalByHand(nn.Module):
    """Attention as of the first GPTs: a buffer of ones, cut to the length of the text."""

    seen: Tensor

    def __init__(self, hide: Hide, rate: float = 0.1) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.dropout, self.hide = nn.Dropout(rate), hide
        self.register_buffer("seen", torch.tril(torch.ones(32, 32)))

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = (each.view(b, t, 4, 6).transpose(1, 2) for each in self.qkv(x).split(width, dim=2))
        scores = self.hide((q @ k.transpose(-2, -1)) / math.sqrt(6), self.seen[:t, :t])
        weights = self.dropout(scores.softmax(-1))
        y: Tensor = self.out((weights @ v).transpose(1, 2).reshape(b, t, width))
        return y


def seen_before(x: Tensor) -> Tensor:
    """The mean of all steps so far."""
    weights = torch.tril(torch.ones(x.shape[1], x.shape[1]))
    return weights / weights.sum(1, keepdim=True) @ x


def scores_of_the_past(x: Tensor) -> Tensor:
    """Scores without those of later steps."""
    hidden = torch.triu(torch.full((x.shape[1], x.shape[1]), float("-inf")), diagonal=1)
    return (x @ x.transpose(1, 2) + hidden).softmax(-1) @ x


def later_steps(x: Tensor) -> Tensor:
    """The steps that come two later, and after."""
    later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), diagonal=2)
    return later.float() @ x
