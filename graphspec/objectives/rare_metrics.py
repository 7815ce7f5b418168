"""The metrics of Keras 3 that few specs name, but for those of `confusion.py` and `loss_metrics.py`: imported
when one is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from graphspec.objectives.losses import Loss, Misfit, QuantileLoss, axis_misfit
from graphspec.objectives.metrics import CategoricalMetric, Metric, SparseMetric
from graphspec.tensor import Tensor

Count = Annotated[int, Field(ge=1)]


class Coverage(Metric):
    """The fraction of targets between the lowest and the highest quantile of an output."""

    name: Literal["coverage"] = "coverage"

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "float32")

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if isinstance(loss, QuantileLoss) and len(loss.levels) > 1:
            return None
        message = "`coverage` counts the targets between two quantiles, and the output has none"
        return (message, "write `loss: {name: quantile, levels: [0.1, 0.5, 0.9]}`")


class TopKCategoricalAccuracy(CategoricalMetric):
    """The fraction whose right class is among the `k` largest values, for one-hot targets."""

    name: Literal["top_k_categorical_accuracy"] = "top_k_categorical_accuracy"
    k: Count = 5
    other_kind = "write `sparse_top_k_categorical_accuracy`"


class SparseTopKCategoricalAccuracy(SparseMetric):
    """The fraction whose right class is among the `k` largest values, for class numbers."""

    name: Literal["sparse_top_k_categorical_accuracy"] = "sparse_top_k_categorical_accuracy"
    k: Count = 5
    other_kind = "write `top_k_categorical_accuracy`"


class CosineSimilarityMetric(Metric):
    """The cosine of the angle between output and target along `axis`; 1 is the same direction."""

    name: Literal["cosine_similarity"] = "cosine_similarity"
    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return axis_misfit(self.name, self.axis, output) or super().misfit(output, activation, loss)


class Correlation(Metric):
    """A metric on how outputs and targets vary together along `axis`, the mean over all others. `axis: 0` is
    over all examples of an epoch, for each value of the output by itself.
    """

    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if self.axis != 0:
            found = axis_misfit(self.name, self.axis, output)
            if found is not None:
                return found
            if output.shape[self.axis] == 1:
                message = (
                    f"`{self.name}` compares several values along axis {self.axis}, and {output} has one"
                )
                return (message, f"over the examples it is {{name: {self.name}, axis: 0}}")
        return super().misfit(output, activation, loss)


class PearsonCorrelation(Correlation):
    """The covariance of output and target, relative to their deviations: 1 where one is a rising line of the
    other.
    """

    name: Literal["pearson_correlation"] = "pearson_correlation"


class ConcordanceCorrelation(Correlation):
    """Twice the covariance of output and target, relative to their variances and the squared difference of
    their means (Lin, 1989): 1 where they are equal.
    """

    name: Literal["concordance_correlation"] = "concordance_correlation"


class PerClass(Metric):
    """A metric that counts over the batch for each class: there is one axis beside it, of a known size."""

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if output.rank == 2 and isinstance(output.shape[-1], int):
            return super().misfit(output, activation, loss)
        message = f"`{self.name}` needs an output of shape [batch, classes], and this one is {output}"
        return (message, "use another metric")


class R2Score(PerClass):
    """The fraction of the targets' variance that the outputs explain, averaged over the last axis.

    `num_regressors`, how many predictors there are, adjusts it for them, where there are more examples.
    """

    name: Literal["r2_score"] = "r2_score"
    class_aggregation: Literal["uniform_average", "variance_weighted_average"] | None = "uniform_average"
    num_regressors: Annotated[int, Field(ge=0)] = 0


class FBetaScore(PerClass):
    """The harmonic mean of precision and recall, in which recall counts `beta` times.

    Without a `threshold` the largest value is the choice. `average: null` gives one score for each class, as
    in Keras.
    """

    name: Literal["f_beta_score", "fbeta_score"] = "f_beta_score"
    average: Literal["micro", "macro", "weighted"] | None = None
    beta: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None


class F1Score(PerClass):
    """The harmonic mean of precision and recall.

    Without a `threshold` the largest value is the choice. `average: null` gives one score for each class, as
    in Keras.
    """

    name: Literal["f1_score"] = "f1_score"
    average: Literal["micro", "macro", "weighted"] | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
