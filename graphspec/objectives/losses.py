"""The losses of Keras 3 that most specs name: names, arguments, defaults, and what they compute on torch
tensors. The other files `..._losses.py` have the others, and are imported when one of theirs is named.

Where an output ends in the activation that its loss wants, the loss is computed from what the activation
takes, which no rounding can turn into `log(0)`. Elsewhere probabilities are clipped at `EPSILON`, as in
Keras. torch is imported inside of formulas: a spec is checked without it.
`Values` are torch tensors, a `Tensor` is the type of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator

from graphspec.objectives.formulas import EPSILON, activate, aligned, mean_at, normalized
from graphspec.settings.families import Named
from graphspec.tensor import Dim, Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values

Activation = Literal["softmax", "sigmoid"]
Reduction = Literal["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Misfit = tuple[str, str] | None
"""Why a loss or metric cannot judge an output, and what to do about it."""
Select = Callable[..., tuple[Any, Any]]
Bound = int | tuple[int | None, ...] | None
Total = Any
"""How many positions count: an integer known from shapes alone, or a tensor on the device."""


class LossContext(NamedTuple):
    """What is known of a batch besides output and target: the activation that was left off, the weight of
    each example, [n], or position, and which have a loss, bool [n] or [n, steps].
    """

    activation: str | None = None
    weight: Values | None = None
    mask: Values | None = None


NO_CONTEXT = LossContext()


class Loss(Named):
    """The settings of a loss: a function of output and target, averaged over all examples and positions.

    Weights of examples multiply its values, and their number divides the sum; `reduction:
    mean_with_sample_weight` divides by the sum of the weights, `sum` by nothing, as in Keras; a batch's size
    then scales the gradient.
    """

    reduction: Reduction = "sum_over_batch_size"
    """How the values of examples are reduced."""

    activation: ClassVar[Activation | None] = None
    """The activation that the output should end in.

    The loss is then computed from what the activation takes.
    """
    takes_target: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("output",)
    """What it is computed from, in the order of an output's `from`."""
    elementwise: ClassVar[bool] = False
    """Whether it has a value for each value of the output; those along the last axis are averaged."""
    by_example: ClassVar[bool] = False
    """Whether it has a value for each example, not one for each position of the target."""
    answers: ClassVar[bool] = False
    """Whether people get, and metrics read, something that follows from what the module returns."""
    ranks_candidates: ClassVar[bool] = False
    """Whether it compares queries with keys, so that metrics rank the keys of all training rows."""
    sees_padding: ClassVar[bool] = False
    """Whether it knows by itself where a padded target ends, whose steps are not those of the output."""

    @property
    def compares_examples(self) -> bool:
        """Whether the loss of an example depends on the other examples of its batch."""
        return False

    @property
    def reads_shares(self) -> bool:
        """Whether it reads which key each row has, and how frequent that is in training rows."""
        return False

    @property
    def takes_logits(self) -> bool:
        """Whether the output's own values are logits, as `from_logits: true` says."""
        return False

    @property
    def waits(self) -> bool:
        """Whether it computes on the CPU what it needs, which no compiled step can."""
        return False

    def answer(self, output: Values, select: Select | None = None) -> Values:
        """What people get for what the module returns; another thing where it `answers`. `select` does what
        `graphspec.objectives.boxes.selected` does.
        """
        return output

    def of_inputs(self, inputs: Mapping[str, Tensor]) -> Loss:
        """The same with what it takes from the types of the program's inputs, where it takes any."""
        return self

    def target(self, output: Tensor) -> Tensor | None:
        """The target's type, batch axis first; None where the loss reads no target."""
        if not self.takes_target:
            return None
        return output if output.is_float else output.with_dtype("float32")

    def target_range(self, classes: Dim) -> tuple[int | None, Bound]:
        """The least and the largest value of a target, or the largest of each position of its last axis;
        `classes` is the last axis of the output.
        """
        return None, None

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        """Legal targets from the outputs of some model, and from what it gives before its activation relative
        to the mean over all examples; None where class numbers, or the outputs themselves, are legal.
        """
        return None

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

    # --- what it computes

    def formula(self, output: Values, target: Values) -> Values:
        """A value for each position of the target, or for each value of the output where it is `elementwise`,
        of what the model returns.
        """
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def logits_formula(self, logits: Values, target: Values) -> Values:
        """The same of what the activation that it wants takes."""
        return self.formula(activate(logits, self.activation), target)

    def values(self, output: Any, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        """The values of `evaluate`, before they are weighted and averaged."""
        assert target is not None
        target = self.comparable(target, output)
        if self.takes_logits or (self.activation is not None and self.activation == given.activation):
            return self.logits_formula(output, target)
        return self.formula(activate(output, given.activation), target)

    def comparable(self, target: Values, output: Values) -> Values:
        """Targets in the dtype that the formula takes."""
        return target.to(output.dtype)

    def evaluate(
        self,
        output: Values | Sequence[Values],
        target: Values | None,
        activation: str | None,
        weight: Values | None = None,
        mask: Values | None = None,
        total: Total | None = None,
    ) -> Values:
        """The loss of a batch, a scalar.

        `output` is what `forward(..., logits=True)` gave, which left off `activation`, or several of these
        where the loss compares them; `target` has the shape of `target`. All start with the batch axis.
        `weight` multiplies the loss of each example, [n], or position; `mask` says which have one, bool [n]
        or [n, steps]. The sum is divided by `total`, the number of positions that count: those of this batch,
        unless it is a part of a larger one.
        """
        given = LossContext(activation, weight, mask)
        return self.averaged(self.values(output, target, given), target, given, total)

    def averaged(
        self, values: Values, target: Values | None, given: LossContext, total: Total | None
    ) -> Values:
        """The loss of a batch, of its `values`."""
        import torch

        weight, mask = given.weight, self.valid_mask(target, given.mask)
        if weight is None and mask is None and total is None and self.reduction != "sum":
            return values.mean()  # that of means of equal size
        values = self.at_positions(values, mask)
        if total is None:
            total = self.divisor(values.shape, weight, mask)
        if mask is not None:
            values = torch.where(aligned(mask, values), values, 0.0)
        if weight is not None:
            values = values * aligned(weight, values)
        return values.sum() / (total.masked_fill(total == 0, 1) if isinstance(total, torch.Tensor) else total)

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        """Which positions have a value, of those that `mask` leaves."""
        return mask

    def positions(self, target: Values | None, count: int, mask: Values | None = None) -> tuple[int, ...]:
        """The shape of what it averages: for each of `count` examples a value, or one for each position."""
        rank = 1 if mask is None else mask.dim()
        if target is None or self.by_example:
            return (count,) if mask is None else tuple(mask.shape)
        shape = tuple(target.shape)
        if self.elementwise:
            return shape[:-1] if len(shape) > rank else shape
        return self.reduced(shape)

    def reduced(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the formula's values, of targets of this shape."""
        return shape[:-1]

    def at_positions(self, values: Values, mask: Values | None) -> Values:
        """The values with one for each of `positions`."""
        rank = 1 if mask is None else mask.dim()
        return values.mean(-1) if self.elementwise and values.dim() > rank else values

    def divisor(
        self, shape: Sequence[int], weight: Values | None = None, mask: Values | None = None
    ) -> Total:
        """The divisor of the sum over positions of this shape, as in Keras; 0 if nothing counts."""
        if self.reduction == "sum":
            return 1
        if self.reduction == "mean_with_sample_weight" and weight is not None:
            weights = weight if mask is None else aligned(weight, mask) * aligned(mask, weight)
            return weights.sum() * (math.prod(shape) // math.prod(weights.shape))
        if mask is None:
            return math.prod(shape)
        return mask.sum() * (math.prod(shape) // max(1, mask.numel()))


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
                "end it in `activation: softmax`, or use `binary_crossentropy` for independent labels",
            )
        ends = "no activation" if activation in (None, "linear") else activation
        return (
            f"`{self.name}` needs probabilities that add up to 1, but the output ends in {ends}",
            f"end it in `activation: softmax`, or write {{name: {self.name}, from_logits: true}}",
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
                f"end it in `activation: sigmoid`, or use {sparse}",
            )
        return (
            f"`{self.name}` needs probabilities, but the output ends in {activation or 'no activation'}",
            f"end it in `activation: sigmoid`, or write {{name: {self.name}, from_logits: true}}",
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
