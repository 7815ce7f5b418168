"""The losses of Keras 3 that most specs name: names, arguments and defaults. `rare_losses.py` has the others.

What they compute is in `graphspec.train.losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from graphspec.settings import Named
from graphspec.tensor import Tensor

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
    elementwise: ClassVar[bool] = False
    """Whether it has a value for each value of the output; those along the last axis are averaged."""

    @property
    def takes_logits(self) -> bool:
        """Whether the output's own values are logits, as `from_logits: true` says."""
        return getattr(self, "from_logits", False)

    def target(self, output: Tensor) -> Tensor | None:
        """The target's type, batch axis first; None where the loss reads no target."""
        if not self.takes_target:
            return None
        return output if output.is_float else output.with_dtype("float32")

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

    elementwise = True


class MeanSquaredError(Regression):
    """The mean of the squared differences."""

    name: Literal["mean_squared_error", "mse", "MSE"] = "mean_squared_error"


class MeanAbsoluteError(Regression):
    """The mean of the absolute differences."""

    name: Literal["mean_absolute_error", "mae", "MAE"] = "mean_absolute_error"


class QuantileLoss(Loss):
    """The pinball loss: the last axis of the output has a quantile of the target for each of `levels`."""

    phrases: ClassVar = {"levels": "levels: [0.1, 0.5, 0.9]"}

    name: Literal["quantile", "pinball"] = "quantile"
    levels: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]

    @field_validator("levels")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if any(low >= high for low, high in pairwise(value)):
            raise ValueError("`levels` rise, as [0.1, 0.5, 0.9]")
        return value

    @property
    def middle(self) -> int:
        """The place of the level that is nearest to the median."""
        return min(range(len(self.levels)), key=lambda index: abs(self.levels[index] - 0.5))

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], output.dtype if output.is_float else "float32")

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        found = super().misfit(output, activation)
        if found is None and (output.rank < 2 or output.shape[-1] != len(self.levels)):
            count = len(self.levels)
            message = (
                f"`{self.name}` has {count} levels, and the last axis of the output is another: {output}"
            )
            return (message, f"end it in `units: {count}`, or reshape it to [steps, {count}]")
        return found


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


class Binary(Loss):
    """A loss on yes and no, each value by itself; targets are 0 and 1, of the output's shape."""

    activation = "sigmoid"
    elementwise = True
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
