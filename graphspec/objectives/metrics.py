"""The metrics of Keras 3: names, arguments and defaults.

What they compute is in `graphspec.train.metrics`.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from graphspec.objectives.losses import (
    Binary,
    Fraction,
    Loss,
    Misfit,
    SparseLoss,
    axis_misfit,
    width_misfit,
)
from graphspec.objectives.settings import Named
from graphspec.tensor import Tensor

Count = Annotated[int, Field(ge=1)]


def _is_name(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word, re.ASCII):
        raise ValueError(f"`as` is a name of letters, digits and underscores, not `{word}`")
    return word


class Metric(Named):
    """The settings of a metric. Its name in the history is the name that was written, as in Keras,
    or `as`. It weights all examples equally, unless `weighted` (Keras' `weighted_metrics`).

    Unless a class says otherwise the target has the output's shape.
    """

    weighted: bool = False
    label: Annotated[str, AfterValidator(_is_name)] | None = Field(None, alias="as")

    direction: ClassVar[Literal["up", "down"]] = "up"
    """Which way is better."""
    needs_probabilities: ClassVar[bool] = False

    def target(self, output: Tensor) -> Tensor:
        """The type of target that it compares with; the batch axis comes first."""
        return output if output.is_float else output.with_dtype("float32")

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        """The metric for an output; itself unless it is `accuracy`."""
        return self

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        """Why it does not fit `output` with `loss`; None if it does.

        `activation` is as in `Loss.misfit`.
        """
        wanted = self.target(output)
        target = loss.target(output) if loss is not None else None
        if loss is not None and target is not None and target.rank != wanted.rank:
            kinds = ("class numbers", "one value for each class")
            given, taken = kinds if target.rank < wanted.rank else kinds[::-1]
            message = f"`{self.name}` compares with {taken}, but the targets of `{loss.name}` are {given}"
            return (message, self.other_kind)
        logits = loss is not None and loss.takes_logits
        if self.needs_probabilities and (activation == "linear" or (activation is None and logits)):
            message = (
                f"`{self.name}` compares probabilities with a threshold, but the output ends in no sigmoid"
            )
            return (message, "end it in `activation: sigmoid`")
        return None

    @property
    def other_kind(self) -> str:
        """The remedy for targets of the other kind."""
        return "`accuracy` fits either kind of target"


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
    needs_probabilities: ClassVar[bool] = False


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

    @property
    def other_kind(self) -> str:
        return "write `sparse_categorical_accuracy`, or `accuracy`, which fits either"


class SparseCategoricalAccuracy(SparseMetric):
    """The fraction whose largest value is at the target's class number."""

    name: Literal["sparse_categorical_accuracy"] = "sparse_categorical_accuracy"

    @property
    def other_kind(self) -> str:
        return "write `categorical_accuracy`, or `accuracy`, which fits either"


class TopKCategoricalAccuracy(CategoricalMetric):
    """The fraction whose right class is among the `k` largest values, for one-hot targets."""

    name: Literal["top_k_categorical_accuracy"] = "top_k_categorical_accuracy"
    k: Count = 5

    @property
    def other_kind(self) -> str:
        return "write `sparse_top_k_categorical_accuracy`"


class SparseTopKCategoricalAccuracy(SparseMetric):
    """The fraction whose right class is among the `k` largest values, for class numbers."""

    name: Literal["sparse_top_k_categorical_accuracy"] = "sparse_top_k_categorical_accuracy"
    k: Count = 5

    @property
    def other_kind(self) -> str:
        return "write `top_k_categorical_accuracy`"


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


class R2Score(Metric):
    """The fraction of the targets' variance that the outputs explain, averaged over the last axis.

    `num_regressors`, how many predictors there are, adjusts it for them, where there are more examples.
    """

    name: Literal["r2_score"] = "r2_score"
    class_aggregation: Literal["uniform_average", "variance_weighted_average"] | None = "uniform_average"
    num_regressors: Annotated[int, Field(ge=0)] = 0

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return rank_misfit(self.name, output) or super().misfit(output, activation, loss)


class FBetaScore(Metric):
    """The harmonic mean of precision and recall, in which recall counts `beta` times.

    Without a `threshold` the largest value is the choice. `average: null` gives one score for each class, as
    in Keras.
    """

    name: Literal["f_beta_score", "fbeta_score"] = "f_beta_score"
    average: Literal["micro", "macro", "weighted"] | None = None
    beta: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return rank_misfit(self.name, output) or super().misfit(output, activation, loss)


class F1Score(Metric):
    """The harmonic mean of precision and recall.

    Without a `threshold` the largest value is the choice. `average: null` gives one score for each class, as
    in Keras.
    """

    name: Literal["f1_score"] = "f1_score"
    average: Literal["micro", "macro", "weighted"] | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return rank_misfit(self.name, output) or super().misfit(output, activation, loss)


def rank_misfit(name: str, output: Tensor) -> Misfit:
    """These count over the batch for each class, so there is one axis beside it, of a known size."""
    if output.rank == 2 and isinstance(output.shape[-1], int):
        return None
    return (
        f"`{name}` needs an output of shape [batch, classes], and this one is {output}",
        "use another metric",
    )
