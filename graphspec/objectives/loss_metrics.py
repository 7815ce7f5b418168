"""The metrics of Keras 3 that are means of a loss. They are made from the losses, whose names and arguments
they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PrivateAttr, create_model

from graphspec.objectives import class_losses, losses, regression_losses
from graphspec.objectives.formulas import aligned, mean_sums
from graphspec.objectives.loss import Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


class OfLoss(Metric):
    """The mean of a loss, whose arguments it takes, over the values that the model returns."""

    direction = "down"
    of: ClassVar[type[Loss]]
    fields_of: ClassVar[type[Loss] | None] = None
    """The loss whose docstrings explain its arguments."""
    _level: int | None = PrivateAttr(None)
    """Of an output of quantiles, the place of the one that is compared: that in the middle."""

    @property
    def loss(self) -> Loss:
        """The loss with these arguments."""
        taken = (self.of.model_fields.keys() & type(self).model_fields) - {"name", "reduction"}
        return self.of(name=self.of.names()[0], **{key: getattr(self, key) for key in taken})

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        if not isinstance(loss, losses.QuantileLoss):
            return self
        metric = self.model_copy()
        metric._level = loss.middle
        return metric

    def target(self, output: Tensor) -> Tensor:
        output = output if self._level is None else Tensor(output.shape[:-1], output.dtype)
        return self.loss.target(output) or output

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if isinstance(loss, losses.QuantileLoss) and self._level is None:
            return self.resolve(output, loss).misfit(output, activation, loss)
        compared = output if self._level is None else Tensor(output.shape[:-1], output.dtype)
        return super().misfit(output, activation, loss) or self.loss.misfit(compared, activation)

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        loss = self.loss
        if self._level is not None:
            output = output[..., self._level]
        kept = loss.valid_mask(target, None)
        if kept is not None:
            weight = kept.double() if weight is None else aligned(weight, kept) * kept
        target = target.to(output.dtype) if target.is_floating_point() else target
        formula = loss.logits_formula if loss.takes_logits else loss.formula
        return mean_sums(formula(output, target), weight)


class RootMeanSquaredError(OfLoss):
    """The square root of the mean of the squared differences, over everything that was seen."""

    name: Literal["root_mean_squared_error", "rmse", "RMSE"] = "root_mean_squared_error"
    of = losses.MeanSquaredError

    def value(self, sums: Values) -> Values:
        return super().value(sums).sqrt()


class Perplexity(OfLoss):
    """The exponential of the mean crossentropy, over everything that was seen: among how many tokens a model
    wavers. Targets are class numbers.
    """

    name: Literal["perplexity"] = "perplexity"
    from_logits: bool = False
    ignore_class: int | None = None
    of = fields_of = losses.SparseCategoricalCrossentropy

    def value(self, sums: Values) -> Values:
        return super().value(sums).exp()


OTHER_KINDS = {
    "categorical_crossentropy": "write `sparse_categorical_crossentropy`",
    "sparse_categorical_crossentropy": "write `categorical_crossentropy`",
}
"""The remedy for targets of the other kind."""


def _mean_of(loss: type[Loss], *more: str) -> type[OfLoss]:
    """The metric that is the mean of a loss; `more` are names that the loss does not have."""
    names = (*loss.names(), *more)
    arguments: dict[str, Any] = {
        key: (field.annotation, field)
        for key, field in loss.model_fields.items()
        if key not in ("name", "reduction")
    }
    arguments["name"] = (Literal[names], names[0])
    metric = create_model(
        loss.__name__, __base__=OfLoss, __module__=__name__, __doc__=loss.__doc__, **arguments
    )
    metric.of = metric.fields_of = loss
    metric.other_kind = OTHER_KINDS.get(names[0])
    return metric


LOSSES: tuple[type[Loss], ...] = (
    *(losses.MeanSquaredError, losses.MeanAbsoluteError),
    *(regression_losses.MeanAbsolutePercentageError, regression_losses.MeanSquaredLogarithmicError),
    *(regression_losses.Huber, regression_losses.Poisson),
    *(regression_losses.Hinge, regression_losses.SquaredHinge),
    *(regression_losses.CategoricalHinge, regression_losses.KLDivergence),
    *(losses.BinaryCrossentropy, class_losses.BinaryFocalCrossentropy),
    *(losses.CategoricalCrossentropy, class_losses.CategoricalFocalCrossentropy),
    losses.SparseCategoricalCrossentropy,
)
"""Those of which Keras has a metric with the same names."""
MEANS = (*map(_mean_of, LOSSES), _mean_of(regression_losses.LogCosh, "log_cosh_error"))
globals().update({cls.__name__: cls for cls in MEANS})  # where pickle looks for them
