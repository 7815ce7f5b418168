"""Metrics on values: coverage by quantiles, correlation, explained variance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graphspec.objectives.class_metrics import PerClass
from graphspec.objectives.formulas import EPSILON, aligned, cosine, mean_sums, sums_by_class
from graphspec.objectives.loss import Loss, Misfit
from graphspec.objectives.losses import QuantileLoss, axis_misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


class Coverage(Metric):
    """The fraction of targets between the lowest and the highest quantile of an output."""

    name: Literal["coverage"] = "coverage"

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "float32")

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if isinstance(loss, QuantileLoss) and len(loss.levels) > 1:
            return None
        message = "`coverage` counts the targets between two quantiles, and the output has none"
        return (message, "write `loss: {name: quantile, levels: [0.1, 0.5, 0.9]}`")

    def each(self, output: Values, target: Values) -> Values:
        return ((target >= output[..., 0]) & (target <= output[..., -1])).float()


class CosineSimilarityMetric(Metric):
    """The cosine of the angle between output and target along `axis`; 1 is the same direction."""

    name: Literal["cosine_similarity"] = "cosine_similarity"
    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return axis_misfit(self.name, self.axis, output) or super().misfit(output, activation, loss)

    def each(self, output: Values, target: Values) -> Values:
        return cosine(output, target.to(output.dtype), self.axis)


class Correlation(Metric):
    """A metric on how outputs and targets vary together along `axis`, the mean over all others. `axis: 0` is
    over all examples of an epoch, for each value of the output by itself.
    """

    axis: int = -1

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if self.axis != 0:
            problem = axis_misfit(self.name, self.axis, output)
            if problem is not None:
                return problem
            if output.shape[self.axis] == 1:
                message = (
                    f"`{self.name}` compares several values along axis {self.axis}, and {output} has one"
                )
                return (message, f"over the examples it is {{name: {self.name}, axis: 0}}")
        return super().misfit(output, activation, loss)

    def of_moments(self, variances: tuple[Values, Values], apart: Values, together: Values) -> Values:
        """The metric of variances, the squared difference of the means, and the covariance."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def _of_sums(self, sums: Values) -> Values:
        """Of weights, outputs, targets, their squares and products."""
        count, y, t, yy, tt, yt = sums
        y, t = y / count, t / count
        return self.of_moments((yy / count - y * y, tt / count - t * t), (y - t).square(), yt / count - y * t)

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        """[6, values]: weights, outputs, targets, their squares and products over the examples; along another
        axis, the mean of what they give.
        """
        import torch

        y, t = output.double(), target.double()
        moments = (torch.ones_like(y), y, t, y.square(), t.square(), y * t)
        if self.axis == 0:
            return sums_by_class(moments, weight)
        means = torch.stack([values.mean(self.axis) for values in moments])
        return mean_sums(self._of_sums(means), weight)

    def value(self, sums: Values) -> Values:
        return self._of_sums(sums).mean() if self.axis == 0 else super().value(sums)


class PearsonCorrelation(Correlation):
    """The covariance of output and target, relative to their deviations: 1 where one is a rising line of the
    other.
    """

    name: Literal["pearson_correlation"] = "pearson_correlation"

    def of_moments(self, variances: tuple[Values, Values], apart: Values, together: Values) -> Values:
        y, t = variances
        return together / (y.clamp(min=0) * t.clamp(min=0)).sqrt()


class ConcordanceCorrelation(Correlation):
    """Twice the covariance of output and target, relative to their variances and the squared difference of
    their means (Lin, 1989): 1 where they are equal.
    """

    name: Literal["concordance_correlation"] = "concordance_correlation"

    def of_moments(self, variances: tuple[Values, Values], apart: Values, together: Values) -> Values:
        y, t = variances
        return 2 * together / (y + t + apart + EPSILON)


class R2Score(PerClass):
    """The fraction of the targets' variance that the outputs explain, averaged over the last axis.

    `num_regressors`, how many predictors there are, adjusts it for them, where there are more examples.
    """

    name: Literal["r2_score"] = "r2_score"
    class_aggregation: Literal["uniform_average", "variance_weighted_average"] | None = "uniform_average"
    """How classes are averaged."""
    num_regressors: Annotated[int, Field(ge=0)] = 0
    """Inputs of the regression, for the adjusted measure."""

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        """[5, classes]: targets, squared targets, squared errors, what they weigh, how many there are."""
        import torch

        t, y = target.double(), output.double()
        sums = sums_by_class((t, t.square(), (t - y).square(), torch.ones_like(t)), weight)
        there = torch.ones_like(t) if weight is None else (aligned(weight, t) != 0).expand_as(t)
        return torch.cat((sums, there.sum(0, keepdim=True, dtype=torch.float64)))

    def value(self, sums: Values) -> Values:
        import torch

        total, squares, errors, count, examples = sums
        spread = squares - total * total / count
        scores: Values = 1 - errors / spread
        scores = torch.where(scores.isinf(), torch.zeros_like(scores), scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation:
            scores = (spread * scores).sum() / spread.sum()
        free = examples.max() - 1 - self.num_regressors
        if self.num_regressors and free > 0:
            scores = 1 - (1 - scores) * (examples.max() - 1) / free
        return scores
