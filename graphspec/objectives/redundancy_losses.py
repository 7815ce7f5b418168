"""Losses on two views of each example that say how their features vary over a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.objectives.formulas import EPSILON
from graphspec.objectives.losses import VectorLoss

if TYPE_CHECKING:
    from torch import Tensor as Values

Factor = Annotated[float, Field(ge=0)]


class OfBatch(VectorLoss):
    """One number for a batch, made of means over its examples; it reads no target."""

    takes: ClassVar[tuple[str, ...]] = ("one", "two")
    takes_target: ClassVar[bool] = False

    @property
    def compares_examples(self) -> bool:
        return True

    def compare(self, vectors: Sequence[Values], target: Values | None) -> Values:
        one, two = vectors
        return self.whole(one, two).expand(len(one))

    def whole(self, one: Values, two: Values) -> Values:
        """The loss of a batch of pairs of vectors, [n, size] each."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")


class CrossCorrelation(OfBatch):
    """Makes each feature of one view tell that of the other, and no other feature: Barlow Twins (Zbontar et
    al., 2021); it reads no target.

    Of the correlations c of features over the batch, the sum of `(1 - c) ** 2` of the same, and
    `off_diagonal` times that of `c ** 2` of different ones.
    """

    name: Literal["cross_correlation"] = "cross_correlation"
    off_diagonal: Factor = 0.005
    """Weight of the correlations of different features."""

    def whole(self, one: Values, two: Values) -> Values:
        a, b = _standard(one), _standard(two)
        correlations = a.mT @ b / len(a)
        diagonal = correlations.diagonal()
        beside = correlations.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + self.off_diagonal * beside


class VICReg(OfBatch):
    """Keeps two views alike, each feature spread over the batch, and features without covariance (Bardes et
    al., 2022); it reads no target.
    """

    name: Literal["vicreg"] = "vicreg"
    invariance: Factor = 25.0
    """Weight of the mean squared difference of the views."""
    variance: Factor = 25.0
    """Weight of what standard deviations lack to 1."""
    covariance: Factor = 1.0
    """Weight of the squares of covariances of different features."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-4

    def whole(self, one: Values, two: Values) -> Values:
        alike = (one - two).square().mean()
        spread = (self._lack(one) + self._lack(two)) / 2
        return (
            self.invariance * alike + self.variance * spread + self.covariance * (_shared(one) + _shared(two))
        )

    def _lack(self, x: Values) -> Values:
        centered = x - x.mean(0)
        variance = centered.square().sum(0) / max(len(x) - 1, 1)
        return (1 - (variance + self.epsilon).sqrt()).clamp(min=0).mean()


def _standard(x: Values) -> Values:
    """Features with the mean 0 and the variance 1 over the batch."""
    centered = x - x.mean(0)
    return centered / (centered.square().mean(0) + EPSILON).sqrt()


def _shared(x: Values) -> Values:
    """The squares of covariances of different features, summed, for each feature."""
    centered = x - x.mean(0)
    covariances = centered.mT @ centered / max(len(x) - 1, 1)
    return (covariances.square().sum() - covariances.diagonal().square().sum()) / x.shape[-1]
