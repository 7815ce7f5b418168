"""Crossentropies of probabilities, which are clipped as in Keras."""

import torch
from torch import Tensor


def log_probabilities(output: Tensor) -> Tensor:
    """The logarithms of probabilities, scaled to sum to 1 over the last axis."""
    output = output / output.sum(-1, keepdim=True)
    return output.clamp(1e-7, 1 - 1e-7).log()


def categorical_crossentropy(target: Tensor, output: Tensor) -> Tensor:
    """The crossentropy of probabilities over the last axis and one-hot targets."""
    return -(target * log_probabilities(output)).sum(-1)


def binary_crossentropy(target: Tensor, output: Tensor) -> Tensor:
    """The crossentropy of each probability and its target, from 0 to 1."""
    output = output.clamp(1e-7, 1 - 1e-7)
    return torch.lerp(-(1 - output).log(), -output.log(), target)
