"""Metrics that are the fraction of correct predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from graphspec.objectives.loss import Fraction, Loss, Misfit
from graphspec.objectives.losses import Binary, SparseLoss, width_misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


class Accuracy(Metric):
    """The fraction of correct predictions: binary, categorical or sparse, by the output and its loss."""

    name: Literal["accuracy", "acc"] = "accuracy"

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        """Keras' choice by shape; but with a binary loss each value is always judged by itself."""
        if isinstance(loss, Binary) or output.rank < 2 or output.shape[-1] == 1:
            return BinaryAccuracy()
        return SparseCategoricalAccuracy() if isinstance(loss, SparseLoss) else CategoricalAccuracy()

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return self.resolve(output, loss).misfit(output, activation, loss)


class BinaryAccuracy(Metric):
    """The fraction of values on the target's side of `threshold`."""

    name: Literal["binary_accuracy"] = "binary_accuracy"
    threshold: Fraction = 0.5
    """Probability from which a prediction is positive."""

    def each(self, output: Values, target: Values) -> Values:
        return ((output > self.threshold).to(target.dtype) == target).float()


class CategoricalMetric(Metric):
    """A metric on one choice among several; the last axis holds the classes."""

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return width_misfit(self.name, output) or super().misfit(output, activation, loss)


class SparseMetric(CategoricalMetric):
    """A categorical metric whose targets are class numbers."""

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "int64")


class CategoricalAccuracy(CategoricalMetric):
    """The fraction whose largest value is at the target's largest, for one-hot targets."""

    name: Literal["categorical_accuracy"] = "categorical_accuracy"
    reads_order = True
    other_kind = "write `sparse_categorical_accuracy`, or `accuracy`, which fits either"

    def each(self, output: Values, target: Values) -> Values:
        return (output.argmax(-1) == target.argmax(-1)).float()


class SparseCategoricalAccuracy(SparseMetric):
    """The fraction whose largest value is at the target's class number."""

    name: Literal["sparse_categorical_accuracy"] = "sparse_categorical_accuracy"
    reads_order = True
    other_kind = "write `categorical_accuracy`, or `accuracy`, which fits either"

    def each(self, output: Values, target: Values) -> Values:
        return (output.argmax(-1) == target).float()
