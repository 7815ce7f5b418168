"""Steps of a sequence that a module takes one by one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def apart(x: Tensor, training: bool) -> list[Tensor]:
    """[N, T, ...] as T tensors [N, ...] in training, else as one of [N * T, ...].

    What learns from a batch learns from each step by itself, one after another.
    """
    return list(x.unbind(1)) if training else [x.flatten(0, 1)]


def together(parts: list[Tensor], x: Tensor, training: bool) -> Tensor:
    """[N, T, ...]: what became of the parts of x [N, T, ...] that `apart` gave."""
    if training:
        return torch.stack(parts, 1)
    return parts[0].unflatten(0, x.shape[:2])


def scan(
    cell: Callable[..., Any],
    sequences: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    mask: Tensor | None = None,
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
        if mask is not None:
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
