# Made by graphspec 0.1.0 from the spec names_xlstm. It needs torch 2.10 or later.
"""names_xlstm: name int64[N, letters] -> language float32[N, 8]."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def scan(
    cell: Callable[..., Any],
    sequences: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    mask: Tensor,
) -> tuple[Tensor, ...]:
    """Runs a cell over the steps of sequences [N, T, ...], from a state to the next.

    Gives its outputs at all steps, then its last states. Where a mask [N, T] is false,
    states and outputs are those of the step before; outputs before it are zeros.
    """
    rows: list[tuple[Tensor, ...]] = []
    batch = sequences[0].shape[0]
    states = tuple(state.expand(batch, *state.shape[1:]) for state in states)
    for t, steps in enumerate(zip(*(x.unbind(1) for x in sequences), strict=True)):
        results = cell(*steps, *states)
        new = results if isinstance(results, tuple) else (results,)
        count = len(new) - len(states)
        before = rows[-1] if rows else tuple(map(torch.zeros_like, new[:count]))
        pairs = zip(new, before + states, strict=True)
        seen = mask[:, t]
        new = tuple(
            torch.where(seen.view(-1, *[1] * (now.dim() - 1)), now, old)
            for now, old in pairs
        )
        rows.append(new[:count])
        states = new[count:]
    return (*(torch.stack(row, 1) for row in zip(*rows, strict=True)), *states)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


class Slstm(nn.Module):
    def __init__(self, x_features: int, units: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(x_features + width, units)
        self.keep = nn.Linear(x_features + width, units)
        self.new = nn.Linear(x_features + width, units)
        self.out = nn.Linear(x_features + width, units)

    def forward(
        self, x: Tensor, h: Tensor, cell: Tensor, count: Tensor, most: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        both = torch.cat([x, h], -1)
        enter = self.enter(both)
        keep = F.logsigmoid(self.keep(both))
        new = self.new(both).tanh()
        out = self.out(both).sigmoid()
        top = torch.maximum(keep + most, enter)
        kept = (keep + most - top).exp()
        taken = (enter - top).exp()
        sum_ = kept * cell + taken * new
        weight = kept * count + taken
        return out * sum_ / weight, sum_, weight, top


class NamesXlstm(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.vectors = nn.Embedding(100, 32)
        self.zeros = nn.Buffer(torch.zeros(1, width), persistent=False)
        self.letters = Slstm(32, units=width, width=width)
        self.drop = nn.Dropout(0.3)
        self.language = nn.Linear(width, 8)
        self.apply(init_weights)

    def forward(self, name: Tensor, *, logits: bool = False) -> Tensor:
        vectors_mask = name != 0  # [N, letters]
        x = self.vectors(name)  # [N, letters, 32]
        letters_h, _, _, _ = scan(
            self.letters,
            (x,),
            (self.zeros, self.zeros, self.zeros, self.zeros),
            vectors_mask,
        )
        x = self.drop(letters_h)  # [N, width]
        x = self.language(x)  # [N, 8]
        return x if logits else x.softmax(-1)
