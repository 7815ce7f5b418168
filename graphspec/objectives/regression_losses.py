"""The losses on values but for the squared and the absolute error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graphspec.objectives.formulas import EPSILON, cosine
from graphspec.objectives.loss import Misfit
from graphspec.objectives.losses import Regression, axis_misfit, one_hot, width_misfit
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


class MeanAbsolutePercentageError(Regression):
    """100 times the mean of the absolute differences, each relative to its target."""

    name: Literal["mean_absolute_percentage_error", "mape", "MAPE"] = "mean_absolute_percentage_error"

    def formula(self, output: Values, target: Values) -> Values:
        return 100 * ((target - output) / target.abs().clamp(min=EPSILON)).abs()


class MeanSquaredLogarithmicError(Regression):
    """The mean of the squared differences of `log(1 + x)`; negative values count as zero."""

    name: Literal["mean_squared_logarithmic_error", "msle", "MSLE"] = "mean_squared_logarithmic_error"

    def formula(self, output: Values, target: Values) -> Values:
        return (output.clamp(min=EPSILON).log1p() - target.clamp(min=EPSILON).log1p()).square()


class Huber(Regression):
    """Squared near zero, linear where the difference is more than `delta`."""

    name: Literal["huber", "huber_loss"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 1.0
    """Error from which the loss is linear."""

    def formula(self, output: Values, target: Values) -> Values:
        from torch.nn.functional import huber_loss

        return huber_loss(output, target, reduction="none", delta=self.delta)


class LogCosh(Regression):
    """The mean of `log(cosh(difference))`: squared near zero, linear far from it."""

    name: Literal["log_cosh", "logcosh"] = "log_cosh"

    def formula(self, output: Values, target: Values) -> Values:
        from torch.nn.functional import softplus

        difference = output - target
        return difference + softplus(-2 * difference) - math.log(2)


class Poisson(Regression):
    """`output - target * log(output)`: counts with an expected value. The output must be positive."""

    name: Literal["poisson"] = "poisson"

    def formula(self, output: Values, target: Values) -> Values:
        return output - target * (output + EPSILON).log()


class CosineSimilarity(Regression):
    """The negative cosine of the angle between output and target along `axis`: -1 is the same direction."""

    elementwise = False
    name: Literal["cosine_similarity"] = "cosine_similarity"
    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or axis_misfit(self.name, self.axis, output)

    def formula(self, output: Values, target: Values) -> Values:
        return -cosine(output, target, self.axis)

    def reduced(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axis = self.axis % len(shape)
        return shape[:axis] + shape[axis + 1 :]


class Hinge(Regression):
    """`max(1 - target * output, 0)`, for targets of -1 and 1; targets of 0 and 1 are converted."""

    name: Literal["hinge"] = "hinge"

    def formula(self, output: Values, target: Values) -> Values:
        return (1 - _hinge_target(target) * output).clamp(min=0)

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return (relative > 0).to(output.dtype)


class SquaredHinge(Regression):
    """The square of `hinge`."""

    name: Literal["squared_hinge"] = "squared_hinge"

    def formula(self, output: Values, target: Values) -> Values:
        return (1 - _hinge_target(target) * output).clamp(min=0).square()

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return (relative > 0).to(output.dtype)


def _hinge_target(target: Values) -> Values:
    """Targets of 0 and 1 as -1 and 1; others as they are."""
    import torch

    binary = ((target == 0) | (target == 1)).all()
    return torch.where(binary, 2 * target - 1, target)


class CategoricalHinge(Regression):
    """`max(largest wrong score - right score + 1, 0)`, for one-hot targets."""

    elementwise = False
    name: Literal["categorical_hinge"] = "categorical_hinge"

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or width_misfit(self.name, output)

    def formula(self, output: Values, target: Values) -> Values:
        return (((1 - target) * output).amax(-1) - (target * output).sum(-1) + 1).clamp(min=0)

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return one_hot(output, relative)


class KLDivergence(Regression):
    """The divergence of the output from the target, both distributions over the last axis."""

    elementwise = False
    name: Literal["kl_divergence", "kld", "KLD", "kullback_leibler_divergence"] = "kl_divergence"

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return super().misfit(output, activation) or width_misfit(self.name, output)

    def formula(self, output: Values, target: Values) -> Values:
        target, output = target.clamp(EPSILON, 1), output.clamp(EPSILON, 1)
        return (target * (target / output).log()).sum(-1)

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return one_hot(output, relative)
