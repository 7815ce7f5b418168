"""Metrics on classes: the best few, and what each class has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graphspec.objectives.accuracy import CategoricalMetric, SparseMetric
from graphspec.objectives.formulas import EPSILON, sums_by_class
from graphspec.objectives.loss import Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values

Count = Annotated[int, Field(ge=1)]


class TopKCategoricalAccuracy(CategoricalMetric):
    """The fraction whose right class is among the `k` largest values, for one-hot targets."""

    name: Literal["top_k_categorical_accuracy"] = "top_k_categorical_accuracy"
    k: Count = 5
    """Number of largest values to consider."""
    other_kind = "write `sparse_top_k_categorical_accuracy`"

    def each(self, output: Values, target: Values) -> Values:
        return in_top(output, target.argmax(-1), self.k)


class SparseTopKCategoricalAccuracy(SparseMetric):
    """The fraction whose right class is among the `k` largest values, for class numbers."""

    name: Literal["sparse_top_k_categorical_accuracy"] = "sparse_top_k_categorical_accuracy"
    k: Count = 5
    """Number of largest values to consider."""
    other_kind = "write `top_k_categorical_accuracy`"

    def each(self, output: Values, target: Values) -> Values:
        return in_top(output, target, self.k)


def in_top(output: Values, target: Values, k: int) -> Values:
    """1 where fewer than `k` values are larger than that of the right class; 0 when that is not finite."""
    right = output.gather(-1, target.unsqueeze(-1))
    return (((output > right).sum(-1) < k) & right.squeeze(-1).isfinite()).float()


class PerClass(Metric):
    """A metric that counts over the batch for each class: there is one axis beside it, of a known size."""

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if output.rank == 2 and isinstance(output.shape[-1], int):
            return super().misfit(output, activation, loss)
        message = f"`{self.name}` needs an output of shape [batch, classes], and this one is {output}"
        return (message, "use another metric")


class FBetaScore(PerClass):
    """The harmonic mean of precision and recall, in which recall counts `beta` times.

    Without a `threshold` the largest value is the choice. `average: null` gives one score for each class, as
    in Keras.
    """

    name: Literal["f_beta_score", "fbeta_score"] = "f_beta_score"
    average: Literal["micro", "macro", "weighted"] | None = None
    beta: Annotated[float, Field(gt=0)] = 1.0
    """How many times recall counts as much as precision."""
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Probability from which a prediction is positive; by default the largest class is."""

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        return _f_sums(output, target, weight, self.threshold)

    def value(self, sums: Values) -> Values:
        return _f_score(sums, self.average, self.beta)


class F1Score(PerClass):
    """The harmonic mean of precision and recall.

    Without a `threshold` the largest value is the choice. `average: null` gives one score for each class, as
    in Keras.
    """

    name: Literal["f1_score"] = "f1_score"
    average: Literal["micro", "macro", "weighted"] | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Probability from which a prediction is positive; by default the largest class is."""

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        return _f_sums(output, target, weight, self.threshold)

    def value(self, sums: Values) -> Values:
        return _f_score(sums, self.average, 1.0)


def _f_sums(output: Values, target: Values, weight: Values | None, threshold: float | None) -> Values:
    """[4, classes]: true positives, false positives, false negatives, positives."""
    if threshold is None:
        called = (output >= output.amax(-1, keepdim=True)) & (output.abs() > 1e-9)
    else:
        called = output > threshold
    c, t = called.double(), target.double()
    return sums_by_class((c * t, c * (1 - t), (1 - c) * t, t), weight)


def _f_score(sums: Values, average: str | None, beta: float) -> Values:
    if average == "micro":
        sums = sums.sum(1, keepdim=True)
    tp, fp, fn, positives = sums
    precision, recall = tp / (tp + fp + EPSILON), tp / (tp + fn + EPSILON)
    squared = beta**2
    scores: Values = (1 + squared) * precision * recall / (squared * precision + recall + EPSILON)
    if average == "weighted":
        scores = scores * positives / (positives.sum() + EPSILON)
        return scores.sum()
    return scores.mean() if average else scores
