"""Spectral normalization."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def divide_by_norm(module: Any, _: object) -> None:
    """The hook of `spectral_norm`: a power iteration before the forward pass."""
    if not module.training:
        return
    with torch.no_grad():
        weight, u = module.weight.movedim(module.rows, 0).flatten(1), module.u
        for _ in range(module.iterations):
            v = F.normalize(u @ weight, dim=0)
            u = F.normalize(weight @ v, dim=0)
        norm = u @ weight @ v
        module.u.copy_(torch.where(norm == 0, module.u, u))
        module.weight.div_(torch.where(norm == 0, 1, norm))


def spectral_norm(module: Any, iterations: int = 1, dim: int = 0) -> Any:
    """Divides a module's weight by its largest singular value before it is called.

    It changes the weight itself, in training. `dim` is the axis of the matrix's rows.
    """
    u = torch.empty(module.weight.shape[dim])
    module.register_buffer("u", nn.init.trunc_normal_(u, std=0.02, a=-0.04, b=0.04))
    module.iterations, module.rows = iterations, dim
    module.register_forward_pre_hook(divide_by_norm)
    return module
