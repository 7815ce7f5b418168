"""Keras' initializers that draw from one distribution, whatever the shape, or an orthogonal matrix."""

from __future__ import annotations

from math import inf

from graphspec.contract.initializers import Initializer
from graphspec.traced import text_of


class Uniform(Initializer, word="random_uniform", aliases="uniform"):
    """Drawn evenly from `minval` to `maxval`."""

    minval: float = -0.05
    maxval: float = 0.05

    def statement(self) -> str:
        return text_of("nn.init.uniform_({w}, ", self.minval, ", ", self.maxval, ")")


class Normal(Initializer, word="random_normal"):
    """Drawn from a normal distribution."""

    mean: float = 0.0
    stddev: float = 0.05

    def statement(self) -> str:
        return text_of("nn.init.normal_({w}, ", self.mean, ", ", self.stddev, ")")


class TruncatedNormal(Initializer, word="truncated_normal"):
    """Drawn from a normal distribution truncated at two standard deviations from the mean."""

    mean: float = 0.0
    stddev: float = 0.05

    def statement(self) -> str:
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        return text_of(
            "nn.init.trunc_normal_({w}, ", self.mean, ", ", self.stddev, ", ", low, ", ", high, ")"
        )


class Orthogonal(Initializer, word="orthogonal"):
    """A random matrix with orthogonal rows or columns, times `gain` (Saxe et al., 2014)."""

    ranks = (2, inf)
    gain: float = 1.0
    """Factor of the matrix."""

    def statement(self) -> str:
        return (
            "nn.init.orthogonal_({w})"
            if self.gain == 1.0
            else text_of("nn.init.orthogonal_({w}, ", self.gain, ")")
        )

    def unturned(self, rank: int) -> str:
        if rank < 3:  # PyTorch's writes into a view of one memory order
            return super().unturned(rank)
        gain = () if self.gain == 1.0 else (", ", self.gain)
        return text_of("orthogonal_({w}", *gain, ")")
