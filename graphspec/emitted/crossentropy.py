"""Crossentropies of probabilities, kept away from 0 and 1 as Keras does."""

import torch
from torch import Tensor


def log_probabilities(output: Tensor) -> Tensor:
    """The logarithms of probabilities, made to sum to 1 along the last axis."""
    output = output / output.sum(-1, keepdim=True)
    return output.clamp(1e-7, 1 - 1e-7).log()


def categorical_crossentropy(target: Tensor, output: Tensor) -> Tensor:
    """Of probabilities along the last axis, and one-hot targets."""
    return -(target * log_probabilities(output)).sum(-1)


def binary_crossentropy(target: Tensor, output: Tensor) -> Tensor:
    """Of each probability, and a target from 0 to 1."""
    output = output.clamp(1e-7, 1 - 1e-7)
    return torch.lerp(-(1 - output).log(), -output.log(), target)
