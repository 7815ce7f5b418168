"""Losses on classes that weigh hard and easy examples differently, or doubt their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graphspec.objectives.formulas import normalized
from graphspec.objectives.loss import Fraction
from graphspec.objectives.losses import Binary, Categorical, SparseLoss, smooth

if TYPE_CHECKING:
    from torch import Tensor as Values


class CategoricalGeneralizedCrossEntropy(SparseLoss):
    """`(1 - probability ** q) / q` of the right class, for targets that are class numbers, some of them wrong
    (Zhang and Sabuncu, 2018): near `sparse_categorical_crossentropy` for a small `q`, linear near 1.
    """

    name: Literal["categorical_generalized_cross_entropy"] = "categorical_generalized_cross_entropy"
    q: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Exponent: near 0 it is the cross-entropy, near 1 the absolute error."""

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
    """Factor of the loss of each class."""
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
    """Whether `alpha` weighs the classes."""
    alpha: Fraction = 0.25
    """Weight of class 1; that of class 0 is `1 - alpha`."""
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
