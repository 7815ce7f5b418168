"""What every loss is: its settings, what fits it, and how its values are averaged over a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from graphspec.diagnostics import gain
from graphspec.objectives.formulas import activate, aligned
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


def ends_in(activation: str, otherwise: str = "") -> str:
    """The remedy for an output whose node has another activation."""
    words = f"end it in `activation: {activation}`"
    return gain({"activation": activation}, f"{words}, or {otherwise}" if otherwise else words, safe=False)


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
