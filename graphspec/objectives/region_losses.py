"""Losses on regions of images: their overlap with the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graphspec.objectives.formulas import EPSILON, activate, aligned
from graphspec.objectives.loss import NO_CONTEXT, Loss, LossContext, Misfit, Total, ends_in
from graphspec.tensor import Dim, Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


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

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return (relative > 0).to(output.dtype)

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
                ends_in("sigmoid", "`softmax` for one class of several"),
            )
        return None

    def overlap(self, output: Values, target: Values, sums: Callable[[Values], Values]) -> Values:
        """The loss of regions, by sums over them."""
        raise NotImplementedError(f"{type(self).__name__} compares no regions")

    def values(self, output: Values, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        """A value for what is left of the shape when `axis` is gone."""
        import torch

        assert target is not None
        output, (_, weight, mask) = activate(output, given.activation), given
        target = target.to(output.dtype)
        if mask is not None:
            there = aligned(mask, output)
            output, target = torch.where(there, output, 0.0), torch.where(there, target, 0.0)
        axes = self.summed(output.dim())
        share = aligned(weight, output) if weight is not None and self.compares_examples else 1.0
        return self.overlap(output, target, lambda region: (region * share).sum(axes))

    def averaged(
        self, values: Values, target: Values | None, given: LossContext, total: Total | None
    ) -> Values:
        """Sums over a batch give it one value; a part of a larger batch gives its share of a mean."""
        if not self.compares_examples:
            return super().averaged(values, target, given, total)
        assert target is not None
        if self.reduction == "sum":
            return values.sum()
        if total is None:
            return values.mean()
        places = self.positions(target, len(target), given.mask)
        share: float | Values = self.divisor(places, given.weight, given.mask) / total
        return values.mean() * share

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
    """Weight of false negatives: parts of the target that the output leaves out."""
    beta: Annotated[float, Field(ge=0)] = 0.5
    """Weight of false positives: what the output adds to the target."""

    def overlap(self, output: Values, target: Values, sums: Callable[[Values], Values]) -> Values:
        both, left_out = sums(target * output), sums((1 - output) * target)
        added = sums(output * (1 - target))
        return 1 - both / (both + self.alpha * left_out + self.beta * added + EPSILON)
