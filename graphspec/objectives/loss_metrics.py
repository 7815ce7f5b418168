"""The metrics of Keras 3 that are means of a loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr

from graphspec.objectives import losses, rare_losses
from graphspec.objectives.losses import Fraction, Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor


class OfLoss(Metric):
    """The mean of a loss, whose arguments it takes, over the values that the model returns."""

    direction = "down"
    of: ClassVar[type[Loss]]
    _level: int | None = PrivateAttr(None)
    """Of an output of quantiles, the place of the one that is compared: that in the middle."""

    @property
    def loss(self) -> Loss:
        """The loss with these arguments."""
        taken = set(self.of.model_fields) - {"name", "reduction"}
        return self.of(name=self.of.names()[0], **{key: getattr(self, key) for key in taken})

    @property
    def level(self) -> int | None:
        return self._level

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        if not isinstance(loss, losses.QuantileLoss):
            return self
        found = self.model_copy()
        found._level = loss.middle
        return found

    def target(self, output: Tensor) -> Tensor:
        output = output if self._level is None else Tensor(output.shape[:-1], output.dtype)
        return self.loss.target(output) or output

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if isinstance(loss, losses.QuantileLoss) and self._level is None:
            return self.resolve(output, loss).misfit(output, activation, loss)
        judged = output if self._level is None else Tensor(output.shape[:-1], output.dtype)
        return super().misfit(output, activation, loss) or self.loss.misfit(judged, activation)


class MeanSquaredError(OfLoss):
    """The mean of the squared differences."""

    name: Literal["mean_squared_error", "mse", "MSE"] = "mean_squared_error"
    of = losses.MeanSquaredError


class RootMeanSquaredError(OfLoss):
    """The square root of the mean of the squared differences, over everything that was seen."""

    name: Literal["root_mean_squared_error", "rmse", "RMSE"] = "root_mean_squared_error"
    of = losses.MeanSquaredError


class MeanAbsoluteError(OfLoss):
    """The mean of the absolute differences."""

    name: Literal["mean_absolute_error", "mae", "MAE"] = "mean_absolute_error"
    of = losses.MeanAbsoluteError


class MeanAbsolutePercentageError(OfLoss):
    """100 times the mean of the absolute differences, each relative to its target."""

    name: Literal["mean_absolute_percentage_error", "mape", "MAPE"] = "mean_absolute_percentage_error"
    of = rare_losses.MeanAbsolutePercentageError


class MeanSquaredLogarithmicError(OfLoss):
    """The mean of the squared differences of `log(1 + x)`."""

    name: Literal["mean_squared_logarithmic_error", "msle", "MSLE"] = "mean_squared_logarithmic_error"
    of = rare_losses.MeanSquaredLogarithmicError


class Huber(OfLoss):
    """The mean of differences, squared near zero, linear where they are more than `delta`."""

    name: Literal["huber", "huber_loss"] = "huber"
    of = rare_losses.Huber
    delta: Annotated[float, Field(gt=0)] = 1.0


class LogCoshError(OfLoss):
    """The mean of `log(cosh(difference))`."""

    name: Literal["log_cosh", "log_cosh_error", "logcosh"] = "log_cosh"
    of = rare_losses.LogCosh


class Poisson(OfLoss):
    """The mean of `output - target * log(output)`."""

    name: Literal["poisson"] = "poisson"
    of = rare_losses.Poisson


class Hinge(OfLoss):
    """The mean of `max(1 - target * output, 0)`, for targets of -1 and 1, or 0 and 1."""

    name: Literal["hinge"] = "hinge"
    of = rare_losses.Hinge


class SquaredHinge(OfLoss):
    """The mean of the squares of `hinge`."""

    name: Literal["squared_hinge"] = "squared_hinge"
    of = rare_losses.SquaredHinge


class CategoricalHinge(OfLoss):
    """The mean of `max(largest wrong score - right score + 1, 0)`, for one-hot targets."""

    name: Literal["categorical_hinge"] = "categorical_hinge"
    of = rare_losses.CategoricalHinge


class KLDivergence(OfLoss):
    """The mean divergence of the output from the target, both distributions over the last axis."""

    name: Literal["kl_divergence", "kld", "KLD", "kullback_leibler_divergence"] = "kl_divergence"
    of = rare_losses.KLDivergence


class BinaryCrossentropy(OfLoss):
    """The mean negative logarithm of the probability given to what is the case, each value by itself."""

    name: Literal["binary_crossentropy", "bce", "BCE"] = "binary_crossentropy"
    of = losses.BinaryCrossentropy
    from_logits: bool = False
    label_smoothing: Fraction = 0.0
    axis: Literal[-1] = -1


class BinaryFocalCrossentropy(OfLoss):
    """The mean of `binary_crossentropy` times `(1 - probability) ** gamma`."""

    name: Literal["binary_focal_crossentropy"] = "binary_focal_crossentropy"
    of = rare_losses.BinaryFocalCrossentropy
    apply_class_balancing: bool = False
    alpha: Fraction = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0
    from_logits: bool = False
    label_smoothing: Fraction = 0.0
    axis: Literal[-1] = -1


class CategoricalCrossentropy(OfLoss):
    """The mean negative logarithm of the right class's probability, for one-hot targets."""

    name: Literal["categorical_crossentropy"] = "categorical_crossentropy"
    of = losses.CategoricalCrossentropy
    from_logits: bool = False
    label_smoothing: Fraction = 0.0
    axis: Literal[-1] = -1
    other_kind = "write `sparse_categorical_crossentropy`"


class CategoricalFocalCrossentropy(OfLoss):
    """The mean of `categorical_crossentropy` times `alpha * (1 - probability) ** gamma`."""

    name: Literal["categorical_focal_crossentropy"] = "categorical_focal_crossentropy"
    of = rare_losses.CategoricalFocalCrossentropy
    alpha: Annotated[float, Field(gt=0)] = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0
    from_logits: bool = False
    label_smoothing: Fraction = 0.0
    axis: Literal[-1] = -1


class SparseCategoricalCrossentropy(OfLoss):
    """The mean negative logarithm of the right class's probability, for class numbers; targets of
    `ignore_class` do not count.
    """

    name: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"
    of = losses.SparseCategoricalCrossentropy
    from_logits: bool = False
    ignore_class: int | None = None
    axis: Literal[-1] = -1
    other_kind = "write `categorical_crossentropy`"
