"""The losses of Keras 3 that few specs name: imported when one is."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.objectives.losses import (
    Binary,
    Categorical,
    Fraction,
    Loss,
    Misfit,
    Regression,
    SparseLoss,
    VectorLoss,
    axis_misfit,
    width_misfit,
)
from graphspec.tensor import Tensor, symbol


class MeanAbsolutePercentageError(Regression):
    """100 times the mean of the absolute differences, each relative to its target."""

    name: Literal["mean_absolute_percentage_error", "mape", "MAPE"] = "mean_absolute_percentage_error"


class MeanSquaredLogarithmicError(Regression):
    """The mean of the squared differences of `log(1 + x)`; negative values count as zero."""

    name: Literal["mean_squared_logarithmic_error", "msle", "MSLE"] = "mean_squared_logarithmic_error"


class Huber(Regression):
    """Squared near zero, linear where the difference is more than `delta`."""

    name: Literal["huber", "huber_loss"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 1.0


class LogCosh(Regression):
    """The mean of `log(cosh(difference))`: squared near zero, linear far from it."""

    name: Literal["log_cosh", "logcosh"] = "log_cosh"


class Poisson(Regression):
    """`output - target * log(output)`: counts with an expected value. The output must be positive."""

    name: Literal["poisson"] = "poisson"


class CosineSimilarity(Regression):
    """The negative cosine of the angle between output and target along `axis`: -1 is the same direction."""

    elementwise = False
    name: Literal["cosine_similarity"] = "cosine_similarity"
    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or axis_misfit(self.name, self.axis, output)


class Hinge(Regression):
    """`max(1 - target * output, 0)`, for targets of -1 and 1; targets of 0 and 1 are converted."""

    name: Literal["hinge"] = "hinge"


class SquaredHinge(Regression):
    """The square of `hinge`."""

    name: Literal["squared_hinge"] = "squared_hinge"


class CategoricalHinge(Regression):
    """`max(largest wrong score - right score + 1, 0)`, for one-hot targets."""

    elementwise = False
    name: Literal["categorical_hinge"] = "categorical_hinge"

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or width_misfit(self.name, output)


class KLDivergence(Regression):
    """The divergence of the output from the target, both distributions over the last axis."""

    elementwise = False
    name: Literal["kl_divergence", "kld", "KLD", "kullback_leibler_divergence"] = "kl_divergence"

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or width_misfit(self.name, output)


class CategoricalGeneralizedCrossEntropy(SparseLoss):
    """`(1 - probability ** q) / q` of the right class, for targets that are class numbers, some of them wrong
    (Zhang and Sabuncu, 2018): near `sparse_categorical_crossentropy` for a small `q`, linear near 1.
    """

    name: Literal["categorical_generalized_cross_entropy"] = "categorical_generalized_cross_entropy"
    q: Annotated[float, Field(gt=0, lt=1)] = 0.5


class CategoricalFocalCrossentropy(Categorical):
    """`categorical_crossentropy` times `alpha * (1 - probability) ** gamma`: easy examples count less."""

    name: Literal["categorical_focal_crossentropy"] = "categorical_focal_crossentropy"
    alpha: Annotated[float, Field(gt=0)] = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0
    label_smoothing: Fraction = 0.0


class BinaryFocalCrossentropy(Binary):
    """`binary_crossentropy` times `(1 - probability) ** gamma`.

    `alpha` weights the ones if `apply_class_balancing`.
    """

    name: Literal["binary_focal_crossentropy"] = "binary_focal_crossentropy"
    apply_class_balancing: bool = False
    alpha: Fraction = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0


class Region(Loss):
    """A loss on how far the output's region and the target's overlap, both of values from 0 to 1.

    It sums over `axis`, counted from the batch's 0 (`[1, 2, 3]`: each image by itself), or over everything:
    then a batch has one value, and an epoch's is the mean of them.
    """

    axis: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] | None = None

    @property
    def over_batch(self) -> bool:
        """Whether its sums run over the examples, too."""
        return self.axis is None or 0 in self.axis

    def summed(self, rank: int) -> tuple[int, ...]:
        """The axes, of so many, that it sums over, from 0."""
        return tuple(range(rank)) if self.axis is None else tuple(axis % rank for axis in self.axis)

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        found = super().misfit(output, activation)
        if found is not None:
            return found
        if self.axis is not None:
            axes = self.summed(output.rank)
            if any(axis not in range(-output.rank, output.rank) for axis in self.axis):
                message = f"`{self.name}` sums over axes {list(self.axis)}, and the output is {output}"
                return (message, "axes count from 0, the batch; without `axis` it sums over everything")
            if len(set(axes)) < len(axes):
                return (f"`{self.name}` sums over an axis twice: {list(self.axis)}", "name each once")
        if activation in (None, "linear"):
            return (
                f"`{self.name}` needs values from 0 to 1, but the output ends in no activation",
                "end it in `activation: sigmoid`, or `softmax` for one class of several",
            )
        return None


class Dice(Region):
    """1 minus the overlap, twice the sum of `target * output` relative to the sum of both."""

    name: Literal["dice"] = "dice"


class Tversky(Region):
    """1 minus the overlap relative to it and what is missed: `alpha` weighs what the output leaves out of the
    target, `beta` what it adds (Salehi et al., 2017). With 0.5 for both it is `dice`.
    """

    name: Literal["tversky"] = "tversky"
    alpha: Annotated[float, Field(ge=0)] = 0.5
    beta: Annotated[float, Field(ge=0)] = 0.5


class CTC(Loss):
    """The negative logarithm of the probability of a target sequence, shorter than the output and aligned
    with it in any way (connectionist temporal classification; Graves et al., 2006).

    The output is [batch, steps, classes]; a target is a row of class numbers from 1 on, with zeros behind:
    class 0 is the blank between. Steps that a mask leaves out do not count. A target that does not fit into
    its steps has an infinite loss.
    """

    name: Literal["ctc", "CTC"] = "ctc"
    activation = "softmax"

    def target(self, output: Tensor) -> Tensor:
        return Tensor((output.shape[0], symbol("target_length")), "int64")

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        found = super().misfit(output, activation)
        if found is not None:
            return found
        if output.rank != 3:
            return (
                f"`{self.name}` needs an output of shape [batch, steps, classes], and this one is {output}",
                "end the output in a Dense layer over a sequence",
            )
        if activation not in (None, "linear", "softmax", "unknown"):
            message = f"`{self.name}` takes scores of classes, but the output ends in {activation}"
            return (message, "end it in `activation: softmax`, or in no activation")
        return width_misfit(self.name, output)


class Circle(Loss):
    """Pulls vectors of one class together, pushes other classes apart, in the batch (Sun et al., 2020).

    The output is [batch, size], vectors of length 1 (`layer: UnitNormalization`), the targets are class
    numbers. An example counts where the batch has others of its class, and of other classes. It depends on
    the batch size.
    """

    name: Literal["circle"] = "circle"
    gamma: Annotated[float, Field(gt=0)] = 80.0
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.4
    remove_diagonal: bool = True

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:1], "int64")

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        if output.rank != 2:
            return (
                f"`{self.name}` compares vectors, [batch, size], and gets {output}",
                "flatten or pool it",
            )
        return super().misfit(output, activation)


class Mean(Loss):
    """The output itself, averaged: a term of the loss that the graph computes. It reads no target."""

    name: Literal["mean"] = "mean"
    takes_target: ClassVar[bool] = False


Measure = Literal["euclidean", "squared_euclidean", "cosine"]
Margin = Annotated[float, Field(gt=0)]


class Contrastive(VectorLoss):
    """Pulls pairs with target 1 together, pushes pairs with target 0 `margin` apart (Hadsell et al., 2006).

    `target * d ** 2 + (1 - target) * max(margin - d, 0) ** 2`, of the distance d.
    """

    name: Literal["contrastive"] = "contrastive"
    takes: ClassVar[tuple[str, ...]] = ("left", "right")
    margin: Margin = 1.0
    distance: Measure = "euclidean"

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:1], output.dtype)


class Triplet(VectorLoss):
    """The anchor is nearer to the positive than to the negative, by `margin` (Schroff et al., 2015).

    `max(d(anchor, positive) - d(anchor, negative) + margin, 0)`; it reads no target.
    """

    name: Literal["triplet"] = "triplet"
    takes: ClassVar[tuple[str, ...]] = ("anchor", "positive", "negative")
    takes_target: ClassVar[bool] = False
    margin: Margin = 1.0
    distance: Measure = "euclidean"


class InBatchSoftmax(VectorLoss):
    """Each query classifies its key among all keys of the batch: similarities, divided by `temperature`, are
    logits (van den Oord et al., 2018); it reads no target.

    `symmetric` averages it with that of each key among the queries. It depends on the batch size, and its
    value on an epoch's last, smaller batch is lower.
    """

    name: Literal["in_batch_softmax"] = "in_batch_softmax"
    takes: ClassVar[tuple[str, ...]] = ("query", "key")
    takes_target: ClassVar[bool] = False
    temperature: Annotated[float, Field(gt=0)] = 0.05
    similarity: Literal["cosine", "dot"] = "cosine"
    symmetric: bool = False
