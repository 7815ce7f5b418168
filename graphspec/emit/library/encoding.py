"""Encodings of integers and categories as vectors."""

import torch
from torch import Tensor, nn


class Discretization(nn.Module):
    """Maps each number to the index of its bin: 0 below the first boundary."""

    bin_boundaries: Tensor

    def __init__(self, bin_boundaries: tuple[float, ...]):
        super().__init__()
        boundaries = torch.tensor(bin_boundaries)
        self.register_buffer("bin_boundaries", boundaries, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.bucketize(
            x.contiguous(), self.bin_boundaries.to(x.dtype), right=True
        )


class QuantileBins(nn.Module):
    """The index of the bin of each number, between quantiles of training data.

    They are NaN until the model is trained or its weights are loaded.
    """

    boundaries: Tensor

    def __init__(self, num_bins: int):
        super().__init__()
        self.register_buffer("boundaries", torch.full((num_bins - 1,), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        known = ~self.boundaries.isnan().any()
        torch._assert_async(known, "no boundaries yet: train the model or load weights")
        boundaries = self.boundaries.to(x.dtype)
        return torch.bucketize(x.contiguous(), boundaries, right=True)


def count_classes(x: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """The count of each class in each row, as torch.bincount; below 0 is none."""
    each = torch.ones(x.shape, device=x.device) if weights is None else weights
    zeros = each.new_zeros(x.shape[0], num_classes + 1)
    return zeros.scatter_add(1, x.clamp(min=-1) + 1, each)[:, 1:]


def one_hot(x: Tensor, num_classes: int) -> Tensor:
    """A vector for each integer; zeros where it is no class."""
    classes = torch.arange(num_classes, device=x.device)
    return (x.unsqueeze(-1) == classes).float()


def multi_hot(x: Tensor, num_classes: int) -> Tensor:
    """1 for each class that occurs in a row, otherwise 0; below 0 is none."""
    zeros = torch.zeros(x.shape[0], num_classes + 1, device=x.device)
    return zeros.scatter(1, x.clamp(min=-1) + 1, 1.0)[:, 1:]
