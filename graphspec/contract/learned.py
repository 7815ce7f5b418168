"""The statistics that buffers of a layer learn from training data before the first step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantiles:
    """`bins - 1` boundaries that divide the numbers of the layer's input into equally large bins.

    `epsilon` is the largest error of a boundary, as a share of the numbers.
    """

    boundaries: str
    bins: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class MeanAndVariance:
    """The mean and the variance of the layer's input, over all axes except `axes`."""

    mean: str
    variance: str
    axes: tuple[int, ...]


Learned = Quantiles | MeanAndVariance
"""A text is the name of the buffer, as in `Weight`."""
