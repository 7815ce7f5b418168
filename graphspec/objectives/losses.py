"""The losses of Keras 3 that most specs name: names, arguments, defaults, and what they compute on torch
tensors. The other files `..._losses.py` have the others, and are imported when one of theirs is named.

Where an output ends in the activation that its loss wants, the loss is computed from what the activation
takes, which no rounding can turn into `log(0)`. Elsewhere probabilities are clipped at `EPSILON`, as in
Keras. torch is imported inside of formulas: a spec is checked without it.
`Values` are torch tensors, a `Tensor` is the type of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from graphspec.objectives.formulas import EPSILON, aligned, mean_at, normalized
from graphspec.objectives.loss import NO_CONTEXT, Fraction, Loss, LossContext, Misfit, ends_in
from graphspec.tensor import Dim, Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


class Regression(Loss):
    """A loss on values; the target has the output's shape."""

    elementwise = True


class MeanSquaredError(Regression):
    """The mean of the squared differences."""

    name: Literal["mean_squared_error", "mse", "MSE"] = "mean_squared_error"

    def formula(self, output: Values, target: Values) -> Values:
        return (output - target).square()


class MeanAbsoluteError(Regression):
    """The mean of the absolute differences."""

    name: Literal["mean_absolute_error", "mae", "MAE"] = "mean_absolute_error"

    def formula(self, output: Values, target: Values) -> Values:
        return (output - target).abs()


class QuantileLoss(Loss):
    """The pinball loss: the last axis of the output has a quantile of the target for each of `levels`."""

    phrases: ClassVar = {"levels": "levels: [0.1, 0.5, 0.9]"}

    name: Literal["quantile", "pinball"] = "quantile"
    levels: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    """Quantiles that the last axis of the output has, from low to high."""

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
        problem = super().misfit(output, activation)
        if problem is None and (output.rank < 2 or output.shape[-1] != len(self.levels)):
            count = len(self.levels)
            message = (
                f"`{self.name}` has {count} levels, and the last axis of the output is another: {output}"
            )
            return (message, f"end it in `units: {count}`, or reshape it to [steps, {count}]")
        return problem

    def reduced(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return output[..., self.middle]

    def formula(self, output: Values, target: Values) -> Values:
        """The mean over the levels."""
        import torch

        over = (target.unsqueeze(-1) - output).unbind(-1)  # levels as a tensor would be copied at each step
        each = zip(self.levels, over, strict=True)
        return torch.stack([(level * x).maximum((level - 1) * x) for level, x in each], -1).mean(-1)


class Categorical(Loss):
    """A loss on one choice among several, along the last axis."""

    activation = "softmax"
    from_logits: bool = False
    axis: Literal[-1] = -1

    @property
    def takes_logits(self) -> bool:
        return self.from_logits

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        problem = super().misfit(output, activation) or width_misfit(self.name, output)
        if problem is not None or self.takes_logits or activation in ("softmax", "unknown"):
            return problem
        if activation == "sigmoid":
            return (
                f"`{self.name}` compares one class among several, but the output ends in sigmoid",
                ends_in("softmax", "use `binary_crossentropy` for independent labels"),
            )
        ends = "no activation" if activation in (None, "linear") else activation
        return (
            f"`{self.name}` needs probabilities that add up to 1, but the output ends in {ends}",
            ends_in("softmax", f"write {{name: {self.name}, from_logits: true}}"),
        )

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return 0, 1

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return one_hot(output, relative)


class CategoricalCrossentropy(Categorical):
    """The negative logarithm of the right class's probability, for one-hot targets (or distributions)."""

    name: Literal["categorical_crossentropy"] = "categorical_crossentropy"
    label_smoothing: Fraction = 0.0

    def logits_formula(self, logits: Values, target: Values) -> Values:
        return -(smooth(target, self.label_smoothing) * logits.log_softmax(-1)).sum(-1)

    def formula(self, output: Values, target: Values) -> Values:
        return -(smooth(target, self.label_smoothing) * normalized(output).log()).sum(-1)


class SparseLoss(Categorical):
    """A loss on one choice among several, for targets that are class numbers."""

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "int64")

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return (0, classes - 1) if isinstance(classes, int) else (None, None)

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return None

    def comparable(self, target: Values, output: Values) -> Values:
        return target

    def reduced(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


class SparseCategoricalCrossentropy(SparseLoss):
    """The negative logarithm of the right class's probability, for targets that are class numbers.

    Positions whose target is `ignore_class` do not count.
    """

    name: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"
    ignore_class: int | None = None

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        if self.ignore_class is None or target is None:
            return mask
        kept = target != self.ignore_class
        return kept if mask is None else kept & aligned(mask, kept)

    def _class_numbers(self, target: Values) -> Values:
        """Class numbers for torch, which skips -100."""
        return target if self.ignore_class is None else target.masked_fill(target == self.ignore_class, -100)

    def logits_formula(self, logits: Values, target: Values) -> Values:
        from torch.nn import functional as F

        target = self._class_numbers(target)
        if logits.dim() == 2:
            return F.cross_entropy(logits, target, reduction="none")
        flat = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
        return flat.view(target.shape)

    def formula(self, output: Values, target: Values) -> Values:
        from torch.nn import functional as F

        log = normalized(output).log().flatten(0, -2)
        return F.nll_loss(log, self._class_numbers(target).flatten(), reduction="none").view(target.shape)


class Binary(Loss):
    """A loss on yes and no, each value by itself; targets are 0 and 1, of the output's shape."""

    activation = "sigmoid"
    elementwise = True
    from_logits: bool = False
    label_smoothing: Fraction = 0.0
    axis: Literal[-1] = -1

    @property
    def takes_logits(self) -> bool:
        return self.from_logits

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        problem = super().misfit(output, activation)
        if problem is not None or self.takes_logits or activation in ("sigmoid", "unknown"):
            return problem
        if activation == "softmax":
            sparse = "`categorical_crossentropy`, or `sparse_categorical_crossentropy` for class numbers"
            return (
                f"`{self.name}` treats each value separately, but the output ends in softmax",
                ends_in("sigmoid", f"use {sparse}"),
            )
        return (
            f"`{self.name}` needs probabilities, but the output ends in {activation or 'no activation'}",
            ends_in("sigmoid", f"write {{name: {self.name}, from_logits: true}}"),
        )

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return 0, 1

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return (relative > 0).to(output.dtype)

    def smoothed(self, target: Values) -> Values:
        """Targets moved to 0.5 by `label_smoothing`."""
        smoothing = self.label_smoothing
        return target * (1 - smoothing) + 0.5 * smoothing if smoothing else target

    def crossentropy_of_logits(self, logits: Values, target: Values) -> Values:
        """The negative logarithm of the probability of the true value."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits, self.smoothed(target), reduction="none")

    def crossentropy(self, output: Values, target: Values) -> Values:
        """The same of probabilities."""
        from torch.nn.functional import binary_cross_entropy

        clipped = output.clamp(EPSILON, 1 - EPSILON)
        return binary_cross_entropy(clipped, self.smoothed(target), reduction="none")


class BinaryCrossentropy(Binary):
    """The negative logarithm of the probability of the true value."""

    name: Literal["binary_crossentropy", "bce", "BCE"] = "binary_crossentropy"

    def logits_formula(self, logits: Values, target: Values) -> Values:
        return self.crossentropy_of_logits(logits, target)

    def formula(self, output: Values, target: Values) -> Values:
        return self.crossentropy(output, target)


class Mean(Loss):
    """The output itself, averaged: a term of the loss that the graph computes. It reads no target."""

    name: Literal["mean"] = "mean"
    takes_target: ClassVar[bool] = False

    def values(self, output: Values, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        return output

    def at_positions(self, values: Values, mask: Values | None) -> Values:
        return mean_at(values, mask)


class VectorLoss(Loss):
    """A loss on several vectors of each example, all [batch, size]."""

    by_example = True

    def compare(self, vectors: Sequence[Values], target: Values | None) -> Values:
        """A value for each example, of its vectors."""
        raise NotImplementedError(f"{type(self).__name__} compares nothing")

    def values(self, output: Any, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        return self.compare(output, target)

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


def one_hot(raw: Values, relative: Values) -> Values:
    """The largest of each example, as legal one-hot targets."""
    import torch

    return torch.nn.functional.one_hot(relative.argmax(-1), raw.shape[-1]).to(raw.dtype)


def smooth(target: Values, smoothing: float) -> Values:
    """One-hot targets with a part of their mass spread over all classes."""
    return target * (1 - smoothing) + smoothing / target.shape[-1] if smoothing else target


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
