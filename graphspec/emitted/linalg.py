"""Linear algebra as Keras has it."""

import torch
from torch import Tensor


def lu_factor(x: Tensor) -> tuple[Tensor, Tensor]:
    """The factors, and pivots that count from 0."""
    factors, pivots = torch.linalg.lu_factor(x)
    return factors, pivots - 1
