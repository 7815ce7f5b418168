"""The losses of Keras 3 that few specs name: imported when one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphspec.objectives.formulas import EPSILON, activate, aligned, mean_at, normalized
from graphspec.objectives.losses import (
    Binary,
    Categorical,
    Fraction,
    Loss,
    Misfit,
    SparseLoss,
    Total,
    smooth,
    width_misfit,
)
from graphspec.tensor import Dim, Tensor, symbol

if TYPE_CHECKING:
    from torch import Tensor as Values


class CategoricalGeneralizedCrossEntropy(SparseLoss):
    """`(1 - probability ** q) / q` of the right class, for targets that are class numbers, some of them wrong
    (Zhang and Sabuncu, 2018): near `sparse_categorical_crossentropy` for a small `q`, linear near 1.
    """

    name: Literal["categorical_generalized_cross_entropy"] = "categorical_generalized_cross_entropy"
    q: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def logits_formula(self, logits: Values, target: Values) -> Values:
        right = logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
        return -(self.q * right).expm1() / self.q

    def formula(self, output: Values, target: Values) -> Values:
        """Of probabilities; one that is 0 has no gradient, which would be infinite."""
        import torch

        right = output.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        power = torch.where(right > 0, right.where(right > 0, 1) ** self.q, 0)
        return (1 - power) / self.q


class CategoricalFocalCrossentropy(Categorical):
    """`categorical_crossentropy` times `alpha * (1 - probability) ** gamma`: easy examples count less."""

    name: Literal["categorical_focal_crossentropy"] = "categorical_focal_crossentropy"
    alpha: Annotated[float, Field(gt=0)] = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0
    label_smoothing: Fraction = 0.0

    def logits_formula(self, logits: Values, target: Values) -> Values:
        return self._focused(logits.log_softmax(-1), target)

    def formula(self, output: Values, target: Values) -> Values:
        return self._focused(normalized(output).log(), target)

    def _focused(self, log: Values, target: Values) -> Values:
        focus = (1 - log.exp()).clamp(min=0).pow(self.gamma)
        return -(smooth(target, self.label_smoothing) * log * self.alpha * focus).sum(-1)


class BinaryFocalCrossentropy(Binary):
    """`binary_crossentropy` times `(1 - probability) ** gamma`.

    `alpha` weights the ones if `apply_class_balancing`.
    """

    name: Literal["binary_focal_crossentropy"] = "binary_focal_crossentropy"
    apply_class_balancing: bool = False
    alpha: Fraction = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0

    def logits_formula(self, logits: Values, target: Values) -> Values:
        return self._focused(self.crossentropy_of_logits(logits, target), logits.sigmoid(), target)

    def formula(self, output: Values, target: Values) -> Values:
        return self._focused(self.crossentropy(output, target), output, target)

    def _focused(self, crossentropy: Values, probability: Values, target: Values) -> Values:
        target = self.smoothed(target)
        right = target * probability + (1 - target) * (1 - probability)
        value = (1 - right).pow(self.gamma) * crossentropy
        if not self.apply_class_balancing:
            return value
        return value * (target * self.alpha + (1 - target) * (1 - self.alpha))


class Region(Loss):
    """A loss on how far the output's region and the target's overlap, both of values from 0 to 1.

    It sums over `axis`, counted from the batch's 0 (`[1, 2, 3]`: each image by itself), or over everything:
    then a batch has one value, and an epoch's is the mean of them.
    """

    axis: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] | None = None

    @property
    def compares_examples(self) -> bool:
        """Whether its sums run over the examples, too."""
        return self.axis is None or 0 in self.axis

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return 0, 1

    def legal_target(self, raw: Values, relative: Values) -> Values | None:
        return (relative > 0).to(raw.dtype)

    def summed(self, rank: int) -> tuple[int, ...]:
        """The axes, of so many, that it sums over, from 0."""
        return tuple(range(rank)) if self.axis is None else tuple(axis % rank for axis in self.axis)

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        problem = super().misfit(output, activation)
        if problem is not None:
            return problem
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

    def overlap(self, output: Values, target: Values, sums: Callable[[Values], Values]) -> Values:
        """The loss of regions, by sums over them."""
        raise NotImplementedError(f"{type(self).__name__} compares no regions")

    def values(
        self,
        output: Any,
        target: Values | None,
        activation: str | None,
        weight: Values | None,
        mask: Values | None,
    ) -> Values:
        """A value for what is left of the shape when `axis` is gone."""
        import torch

        assert target is not None
        output = activate(output, activation)
        target = target.to(output.dtype)
        if mask is not None:
            there = aligned(mask, output)
            output, target = torch.where(there, output, 0.0), torch.where(there, target, 0.0)
        axes = self.summed(output.dim())
        share = aligned(weight, output) if weight is not None and self.compares_examples else 1.0
        return self.overlap(output, target, lambda region: (region * share).sum(axes))

    def evaluate(
        self,
        output: Values | Sequence[Values],
        target: Values | None,
        activation: str | None,
        weight: Values | None = None,
        mask: Values | None = None,
        total: Total | None = None,
    ) -> Values:
        """Sums over a batch give it one value; a part of a larger batch gives its share of a mean."""
        if not self.compares_examples:
            return super().evaluate(output, target, activation, weight, mask, total)
        assert target is not None
        values = self.values(output, target, activation, weight, mask)
        if self.reduction == "sum":
            return values.sum()
        if total is None:
            return values.mean()
        own = self.divisor(self.positions(target, len(target), mask), weight, mask)
        return values.mean() * (own / total)

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        """One for each example where it reads all of the steps together."""
        if mask is None or target is None or self.compares_examples:
            return mask
        steps = [axis for axis in self.summed(target.dim()) if axis < mask.dim()]
        return mask.any(steps) if steps else mask

    def positions(self, target: Values | None, count: int, mask: Values | None = None) -> tuple[int, ...]:
        return super().positions(None if self.compares_examples else target, count, mask)

    def reduced(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        summed = self.summed(len(shape))
        return tuple(size for axis, size in enumerate(shape) if axis not in summed)


class Dice(Region):
    """1 minus the overlap, twice the sum of `target * output` relative to the sum of both."""

    name: Literal["dice"] = "dice"

    def overlap(self, output: Values, target: Values, sums: Callable[[Values], Values]) -> Values:
        return 1 - 2 * sums(target * output) / (sums(target) + sums(output) + EPSILON)


class Tversky(Region):
    """1 minus the overlap relative to it and what is missed: `alpha` weighs what the output leaves out of the
    target, `beta` what it adds (Salehi et al., 2017). With 0.5 for both it is `dice`.
    """

    name: Literal["tversky"] = "tversky"
    alpha: Annotated[float, Field(ge=0)] = 0.5
    beta: Annotated[float, Field(ge=0)] = 0.5

    def overlap(self, output: Values, target: Values, sums: Callable[[Values], Values]) -> Values:
        both, left_out, added = (
            sums(target * output),
            sums((1 - output) * target),
            sums(output * (1 - target)),
        )
        return 1 - both / (both + self.alpha * left_out + self.beta * added + EPSILON)


class CTC(Loss):
    """The negative logarithm of the probability of a target sequence, shorter than the output and aligned
    with it in any way (connectionist temporal classification; Graves et al., 2006).

    The output is [batch, steps, classes]; a target is a row of class numbers from 1 on, with zeros behind:
    class 0 is the blank between. Steps that a mask leaves out do not count. A target that does not fit into
    its steps has an infinite loss.
    """

    name: Literal["ctc", "CTC"] = "ctc"
    activation = "softmax"
    by_example = True

    def target(self, output: Tensor) -> Tensor:
        return Tensor((output.shape[0], symbol("target_length")), "int64")

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return (0, classes - 1) if isinstance(classes, int) else (None, None)

    def legal_target(self, raw: Values, relative: Values) -> Values | None:
        """The best class of each step, [n, steps]: repetitions are one, class 0 none; zeros after them."""
        import torch

        best = relative.argmax(-1)
        kept = best != 0
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
        order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
        return (best * kept).gather(1, order)

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        problem = super().misfit(output, activation)
        if problem is not None:
            return problem
        if output.rank != 3:
            return (
                f"`{self.name}` needs an output of shape [batch, steps, classes], and this one is {output}",
                "end the output in a Dense layer over a sequence",
            )
        if activation not in (None, "linear", "softmax", "unknown"):
            message = f"`{self.name}` takes scores of classes, but the output ends in {activation}"
            return (message, "end it in `activation: softmax`, or in no activation")
        return width_misfit(self.name, output)

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        return mask.flatten(1).any(1) if mask is not None and mask.dim() > 1 else mask

    def values(
        self,
        output: Any,
        target: Values | None,
        activation: str | None,
        weight: Values | None,
        mask: Values | None,
    ) -> Values:
        """A value for each example, from logits [n, steps, classes] and class numbers [n, length]."""
        import torch

        assert target is not None
        steps = output.new_full((len(output),), output.shape[1], dtype=torch.int64)
        if mask is not None and mask.dim() > 1:  # those that count go to the front
            order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
            output = output.gather(1, order.unsqueeze(-1).expand_as(output))
            steps = mask.sum(1)
        elif mask is not None:
            steps = torch.where(mask, steps, 0)
        lengths = torch.where(steps > 0, (target != 0).sum(1), 0)
        log = output.log_softmax(-1).transpose(0, 1)
        return torch.nn.functional.ctc_loss(log, target, steps, lengths, reduction="none")


class Circle(Loss):
    """Pulls vectors of one class together, pushes other classes apart, in the batch (Sun et al., 2020).

    The output is [batch, size], vectors of length 1 (`layer: UnitNormalization`), the targets are class
    numbers. An example counts where the batch has others of its class, and of other classes. It depends on
    the batch size.
    """

    name: Literal["circle"] = "circle"
    by_example = True
    gamma: Annotated[float, Field(gt=0)] = 80.0
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.4
    remove_diagonal: bool = True

    @property
    def compares_examples(self) -> bool:
        return True

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:1], "int64")

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        if output.rank != 2:
            return (
                f"`{self.name}` compares vectors, [batch, size], and gets {output}",
                "flatten or pool it",
            )
        return super().misfit(output, activation)

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        """Examples that it compares with nothing have no value."""
        if target is None:
            return mask
        same, other = self._pairs(target, mask)
        return same.any(1) & other.any(1)

    def _pairs(self, target: Values, mask: Values | None) -> tuple[Values, Values]:
        """Which examples are of one class, and which of different ones, bool [n, n]."""
        import torch

        same = target.unsqueeze(1) == target
        other = ~same
        if self.remove_diagonal:
            same = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        if mask is not None:
            both = mask.unsqueeze(1) & mask
            same, other = same & both, other & both
        return same, other

    def values(
        self,
        output: Any,
        target: Values | None,
        activation: str | None,
        weight: Values | None,
        mask: Values | None,
    ) -> Values:
        """A value for each example, 0 for those without others of their class or of another."""
        import torch

        assert target is not None
        distance = (1 - output @ output.mT).clamp(min=0)
        same, other = self._pairs(target, mask)
        near = -self.gamma * (self.margin + distance) * (self.margin - distance)
        far = self.gamma * (1 + self.margin - distance).clamp(min=0) * (1 - self.margin - distance)
        nothing = torch.finfo(output.dtype).min / 4  # -inf has no gradient
        return torch.nn.functional.softplus(
            torch.where(same, near, nothing).logsumexp(1) + torch.where(other, far, nothing).logsumexp(1)
        )


class Mean(Loss):
    """The output itself, averaged: a term of the loss that the graph computes. It reads no target."""

    name: Literal["mean"] = "mean"
    takes_target: ClassVar[bool] = False

    def values(
        self,
        output: Any,
        target: Values | None,
        activation: str | None,
        weight: Values | None,
        mask: Values | None,
    ) -> Values:
        return output

    def at_positions(self, values: Values, mask: Values | None) -> Values:
        return mean_at(values, mask)
