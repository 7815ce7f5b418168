"""Linear algebra with Keras' conventions."""

import torch
from torch import Tensor


def lu_factor(x: Tensor) -> tuple[Tensor, Tensor]:
    """The LU factors, and the pivots, which count from 0."""
    factors, pivots = torch.linalg.lu_factor(x)
    return factors, pivots - 1
