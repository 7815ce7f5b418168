"""Gradients as values."""

from collections.abc import Callable

import torch
from torch import Tensor


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of a function's values by its input."""
    again = torch.is_grad_enabled()  # it has gradients itself
    with torch.inference_mode(False), torch.enable_grad():
        given = x.clone() if x.is_inference() else x.detach()
        watched = x if x.requires_grad else given.requires_grad_()
        total = function(watched).sum()
        (gradient,) = torch.autograd.grad(total, watched, create_graph=again)
    return gradient
