"""What the tests of imports share: Keras models with weights that tell mistakes apart."""

from typing import Any

import pytest
import torch

KERAS_WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
"""Keras' own, where it saves a tensor of torch."""


def randomize(model: Any, seed: int = 0) -> None:
    """Other weights than the initial ones, that keep activations near 1; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    for variable in model.weights:
        if variable.dtype != "float32" or "seed" in variable.path:
            continue
        value = torch.randn(tuple(variable.shape), generator=generator)
        if "variance" in variable.name:
            value = value.abs() + 0.5
        elif len(variable.shape) > 1:
            value = value / max(1, variable.value.numel() // variable.shape[-1]) ** 0.5
        else:
            value = 1 + value / 10 if "gamma" in variable.name else value / 10
        variable.assign(value)
