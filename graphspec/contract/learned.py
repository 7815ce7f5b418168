"""What buffers of a layer learn of training data, before the first step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantiles:
    """`bins - 1` boundaries between bins with equally many of the numbers of the layer's input. A boundary
    may be off by `epsilon`, a share of the numbers.
    """

    boundaries: str
    bins: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class MeanAndVariance:
    """The mean and the variance of the layer's input, over all axes but `axes`."""

    mean: str
    variance: str
    axes: tuple[int, ...]


Learned = Quantiles | MeanAndVariance
"""A text is the name of the buffer, as in `Weight`."""
