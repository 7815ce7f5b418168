"""The losses of Keras 3: names, arguments and defaults. What they compute is in `graphspec.train.losses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.objectives.settings import Named
from graphspec.tensor import Tensor, symbol

Activation = Literal["softmax", "sigmoid"]
Reduction = Literal["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Misfit = tuple[str, str] | None
"""Why a loss or metric cannot judge an output, and what to do about it."""


class Loss(Named):
    """The settings of a loss: a function of output and target, averaged over all examples and positions.

    Weights of examples multiply its values, and their number divides the sum; `reduction:
    mean_with_sample_weight` divides by the sum of the weights, `sum` by nothing, as in Keras; a batch's size
    then scales the gradient.
    """

    reduction: Reduction = "sum_over_batch_size"

    activation: ClassVar[Activation | None] = None
    """The activation that the output should end in.

    The loss is then computed from what the activation takes.
    """
    takes_target: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("output",)
    """What it is computed from, in the order of an output's `from`."""

    @property
    def takes_logits(self) -> bool:
        """Whether the output's own values are logits, as `from_logits: true` says."""
        return getattr(self, "from_logits", False)

    def target(self, output: Tensor) -> Tensor | None:
        """The target's type, batch axis first; None where the loss reads no target."""
        return output.with_dtype("float32") if not output.is_float else output

    def count_misfit(self, count: int) -> Misfit:
        """Why it cannot take this many nodes; None if it can."""
        if count == len(self.takes):
            return None
        if len(self.takes) == 1:
            return (f"`{self.name}` takes one node, but `from` names {count}", "give each an output")
        names = ", ".join(self.takes)
        return (f"`{self.name}` compares {names}, and `from` names {count}", f"write `from: [{names}]`")

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        """Why this loss does not fit `output`, which ends in `activation`; None if it does.

        `activation` is the activation's name; None or `linear` for a layer without one; `unknown` where the
        values come from elsewhere, as in an average of several models' probabilities.
        """
        if not output.is_float:
            return (
                f"`{self.name}` needs a float output, and this one is {output}",
                "end the output in a layer with weights",
            )
        if self.takes_logits and activation in ("softmax", "sigmoid"):
            return (
                f"`{self.name}` with `from_logits: true` takes logits, but the output ends in {activation}",
                "leave `from_logits` out: the loss is computed from logits anyway",
            )
        return None


class Regression(Loss):
    """A loss on values; the target has the output's shape."""


class MeanSquaredError(Regression):
    """The mean of the squared differences."""

    name: Literal["mean_squared_error", "mse", "MSE"] = "mean_squared_error"


class MeanAbsoluteError(Regression):
    """The mean of the absolute differences."""

    name: Literal["mean_absolute_error", "mae", "MAE"] = "mean_absolute_error"


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

    name: Literal["categorical_hinge"] = "categorical_hinge"

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or width_misfit(self.name, output)


class KLDivergence(Regression):
    """The divergence of the output from the target, both distributions over the last axis."""

    name: Literal["kl_divergence", "kld", "KLD", "kullback_leibler_divergence"] = "kl_divergence"

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or width_misfit(self.name, output)


class Categorical(Loss):
    """A loss on one choice among several, along the last axis."""

    activation = "softmax"
    from_logits: bool = False
    axis: Literal[-1] = -1

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        found = super().misfit(output, activation) or width_misfit(self.name, output)
        if found is not None or self.takes_logits or activation in ("softmax", "unknown"):
            return found
        if activation == "sigmoid":
            return (
                f"`{self.name}` compares one class among several, but the output ends in sigmoid",
                "end it in `activation: softmax`, or use `binary_crossentropy` for independent labels",
            )
        ends = "no activation" if activation in (None, "linear") else activation
        return (
            f"`{self.name}` needs probabilities that add up to 1, but the output ends in {ends}",
            f"end it in `activation: softmax`, or write {{name: {self.name}, from_logits: true}}",
        )


class CategoricalCrossentropy(Categorical):
    """The negative logarithm of the right class's probability, for one-hot targets (or distributions)."""

    name: Literal["categorical_crossentropy"] = "categorical_crossentropy"
    label_smoothing: Fraction = 0.0


class SparseLoss(Categorical):
    """A loss on one choice among several, for targets that are class numbers."""

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "int64")


class SparseCategoricalCrossentropy(SparseLoss):
    """The negative logarithm of the right class's probability, for targets that are class numbers.

    Positions whose target is `ignore_class` do not count.
    """

    name: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"
    ignore_class: int | None = None


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


class Binary(Loss):
    """A loss on yes and no, each value by itself; targets are 0 and 1, of the output's shape."""

    activation = "sigmoid"
    from_logits: bool = False
    label_smoothing: Fraction = 0.0
    axis: Literal[-1] = -1

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        found = super().misfit(output, activation)
        if found is not None or self.takes_logits or activation in ("sigmoid", "unknown"):
            return found
        if activation == "softmax":
            sparse = "`categorical_crossentropy`, or `sparse_categorical_crossentropy` for class numbers"
            return (
                f"`{self.name}` treats each value separately, but the output ends in softmax",
                f"end it in `activation: sigmoid`, or use {sparse}",
            )
        return (
            f"`{self.name}` needs probabilities, but the output ends in {activation or 'no activation'}",
            f"end it in `activation: sigmoid`, or write {{name: {self.name}, from_logits: true}}",
        )


class BinaryCrossentropy(Binary):
    """The negative logarithm of the probability of the true value."""

    name: Literal["binary_crossentropy", "bce", "BCE"] = "binary_crossentropy"


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

    def target(self, output: Tensor) -> None:
        return None


Measure = Literal["euclidean", "squared_euclidean", "cosine"]
Margin = Annotated[float, Field(gt=0)]


class VectorLoss(Loss):
    """A loss on several vectors of each example, all [batch, size]."""

    def together(self, outputs: Sequence[Tensor]) -> Misfit:
        """Why these outputs cannot be compared; None when they can."""
        first = outputs[0]
        wrong = next((output for output in outputs if output.rank != 2 or output.shape != first.shape), None)
        if wrong is None:
            return None
        if wrong.rank == first.rank == 2:
            return (f"`{self.name}` compares vectors of one size, and gets {first} and {wrong}", _PROJECT)
        return (f"`{self.name}` compares vectors, [batch, size], and gets {wrong}", "flatten or pool it")


_PROJECT = "end both in layers with the same `units`"


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

    def target(self, output: Tensor) -> None:
        return None


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

    def target(self, output: Tensor) -> None:
        return None


def width_misfit(name: str, output: Tensor) -> Misfit:
    """The last axis holds classes, so there must be one, and more than one class."""
    if output.rank < 2:
        return (
            f"`{name}` needs an axis of classes after the batch axis, and the output is {output}",
            "end the output in a Dense layer",
        )
    if output.shape[-1] == 1:
        return (
            f"`{name}` needs a last axis of at least 2 classes, and the output is {output}",
            "for yes or no use `binary_crossentropy` with `activation: sigmoid`; for a value, `mse`",
        )
    return None


def axis_misfit(name: str, axis: int, output: Tensor) -> Misfit:
    """An axis that the output lacks, or the batch axis."""
    if axis in range(1, output.rank) or -axis in range(1, output.rank):
        return None
    return (f"`{name}` works along axis {axis}, and the output is {output}", "`axis: -1` is the last axis")
