"""The metrics of Keras 3: names, arguments and defaults.

What they compute is in `graphspec.train.metrics`.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from graphspec.objectives.losses import (
    Binary,
    Loss,
    Misfit,
    SparseCategoricalCrossentropy,
    axis_misfit,
    width_misfit,
)
from graphspec.objectives.settings import Named
from graphspec.tensor import Tensor

Fraction = Annotated[float, Field(ge=0, le=1)]


def _as_tuple(value: object) -> object:
    if value == []:
        raise ValueError("`thresholds` is an empty list: give at least one")
    return value if isinstance(value, list | tuple) else (value,)


Thresholds = Annotated[tuple[Fraction, ...], Field(strict=False), BeforeValidator(_as_tuple)]
"""One threshold, or a list of them, which gives a list of results."""
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def _is_name(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word, re.ASCII):
        raise ValueError(f"`as` is a name of letters, digits and underscores, not `{word}`")
    return word


class Metric(Named):
    """What is reported beside the loss. Its name in the history is the name that was written, as in Keras,
    or `as`. It looks at all examples alike, unless `weighted` (Keras' `weighted_metrics`).

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
        """The metric that this one means for an output; itself unless it is `accuracy`."""
        return self

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        """Why it cannot judge `output` beside `loss`; None when it can.

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
        """What to write for targets of the other kind."""
        return "`accuracy` fits either kind of target"


class Accuracy(Metric):
    """The fraction that is right: binary, categorical or sparse, as the output and its loss ask."""

    name: Literal["accuracy", "acc"] = "accuracy"

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        """Keras' choice by shape; but with a binary loss each value is always judged by itself."""
        if isinstance(loss, Binary) or output.rank < 2 or output.shape[-1] == 1:
            return BinaryAccuracy()
        return (
            SparseCategoricalAccuracy()
            if isinstance(loss, SparseCategoricalCrossentropy)
            else CategoricalAccuracy()
        )

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


class Sparse(CategoricalMetric):
    """A categorical metric whose targets are class numbers."""

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "int64")


class CategoricalAccuracy(CategoricalMetric):
    """The fraction whose largest value is at the target's largest, for one-hot targets."""

    name: Literal["categorical_accuracy"] = "categorical_accuracy"

    @property
    def other_kind(self) -> str:
        return "write `sparse_categorical_accuracy`, or `accuracy`, which fits either"


class SparseCategoricalAccuracy(Sparse):
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


class SparseTopKCategoricalAccuracy(Sparse):
    """The fraction whose right class is among the `k` largest values, for class numbers."""

    name: Literal["sparse_top_k_categorical_accuracy"] = "sparse_top_k_categorical_accuracy"
    k: Count = 5

    @property
    def other_kind(self) -> str:
        return "write `top_k_categorical_accuracy`"


class MeanSquaredErrorMetric(Metric):
    """The mean of the squared differences."""

    name: Literal["mean_squared_error", "mse", "MSE"] = "mean_squared_error"
    direction = "down"


class RootMeanSquaredError(Metric):
    """The square root of the mean of the squared differences, over everything that was seen."""

    name: Literal["root_mean_squared_error", "rmse", "RMSE"] = "root_mean_squared_error"
    direction = "down"


class MeanAbsoluteErrorMetric(Metric):
    """The mean of the absolute differences."""

    name: Literal["mean_absolute_error", "mae", "MAE"] = "mean_absolute_error"
    direction = "down"


class MeanAbsolutePercentageErrorMetric(Metric):
    """100 times the mean of the absolute differences, each relative to its target."""

    name: Literal["mean_absolute_percentage_error", "mape", "MAPE"] = "mean_absolute_percentage_error"
    direction = "down"


class MeanSquaredLogarithmicErrorMetric(Metric):
    """The mean of the squared differences of `log(1 + x)`."""

    name: Literal["mean_squared_logarithmic_error", "msle", "MSLE"] = "mean_squared_logarithmic_error"
    direction = "down"


class CosineSimilarityMetric(Metric):
    """The cosine of the angle between output and target along `axis`; 1 is the same direction."""

    name: Literal["cosine_similarity"] = "cosine_similarity"
    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return axis_misfit(self.name, self.axis, output) or super().misfit(output, activation, loss)


class R2Score(Metric):
    """The fraction of the targets' variance that the outputs explain, averaged over the last axis."""

    name: Literal["r2_score"] = "r2_score"
    class_aggregation: Literal["uniform_average", "variance_weighted_average"] | None = "uniform_average"

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


class Confusion(Metric):
    """A metric on the counts of true and false positives and negatives at one or several thresholds."""

    needs_probabilities: ClassVar[bool] = True


class AUC(Confusion):
    """The area under the ROC or precision-recall curve, with a point at every value that occurs.

    `num_thresholds` (evenly spaced) or `thresholds` give the curve as many points, as in Keras, which takes
    200. `multi_label` is the mean of the areas of the labels on the last axis, weighted by `label_weights`.
    """

    name: Literal["auc", "AUC"] = "auc"
    num_thresholds: Annotated[int, Field(gt=1, le=100_000)] | None = None
    curve: Literal["ROC", "PR"] = "ROC"
    summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation"
    thresholds: Thresholds | None = None
    multi_label: bool = False
    label_weights: Annotated[tuple[NotNegative, ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AUC:
        if self.thresholds is not None and self.num_thresholds is not None:
            raise ValueError("`auc` takes `num_thresholds` or `thresholds`, not both")
        if self.label_weights is not None and not self.multi_label:
            raise ValueError("`label_weights` of `auc` weigh the labels of `multi_label: true`")
        return self

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        width = output.shape[-1]
        if self.label_weights is not None and isinstance(width, int) and len(self.label_weights) != width:
            message = f"`auc` has {len(self.label_weights)} label weights, and the output has {width} labels"
            return (message, "give one for each label")
        return super().misfit(output, activation, loss)


class Precision(Confusion):
    """The fraction of what was called positive that is."""

    name: Literal["precision"] = "precision"
    thresholds: Thresholds = (0.5,)
    class_id: Annotated[int, Field(ge=0)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return class_misfit(self.name, self.class_id, output) or super().misfit(output, activation, loss)


class Recall(Confusion):
    """The fraction of what is positive that was called so."""

    name: Literal["recall"] = "recall"
    thresholds: Thresholds = (0.5,)
    class_id: Annotated[int, Field(ge=0)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return class_misfit(self.name, self.class_id, output) or super().misfit(output, activation, loss)


class TruePositives(Confusion):
    """How many are positive and were called so."""

    name: Literal["true_positives"] = "true_positives"
    thresholds: Thresholds = (0.5,)


class TrueNegatives(Confusion):
    """How many are negative and were called so."""

    name: Literal["true_negatives"] = "true_negatives"
    thresholds: Thresholds = (0.5,)


class FalsePositives(Confusion):
    """How many are negative and were called positive."""

    name: Literal["false_positives"] = "false_positives"
    thresholds: Thresholds = (0.5,)
    direction = "down"


class FalseNegatives(Confusion):
    """How many are positive and were called negative."""

    name: Literal["false_negatives"] = "false_negatives"
    thresholds: Thresholds = (0.5,)
    direction = "down"


def rank_misfit(name: str, output: Tensor) -> Misfit:
    """These count over the batch for each class, so there is one axis beside it, of a known size."""
    if output.rank == 2 and isinstance(output.shape[-1], int):
        return None
    return (
        f"`{name}` needs an output of shape [batch, classes], and this one is {output}",
        "use another metric",
    )


def class_misfit(name: str, class_id: int | None, output: Tensor) -> Misfit:
    width = output.shape[-1]
    if class_id is None or (output.rank > 1 and isinstance(width, int) and class_id < width):
        return None
    return (
        f"`{name}` looks at class {class_id}, and the output is {output}",
        "classes count from 0 along the last axis",
    )
