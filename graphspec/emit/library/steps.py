"""Steps of a sequence that a module takes one by one."""

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
