"""Keras 3's metrics on curves: areas, and the best rate under a bound on another.

Their sums are positives and negatives above each threshold, or every value that occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from graphspec.objectives.formulas import EPSILON, aligned, divide
from graphspec.objectives.loss import Fraction, Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values

NotNegative = Annotated[float, Field(ge=0)]


def _as_tuple(value: object) -> object:
    if value == []:
        raise ValueError("`thresholds` is an empty list: give at least one")
    return value if isinstance(value, list | tuple) else (value,)


Thresholds = Annotated[tuple[Fraction, ...], Field(strict=False), BeforeValidator(_as_tuple)]
"""One threshold, or a list of them, which gives a list of results."""


class Confusion(Metric):
    """A metric on the counts of true and false positives and negatives at one or several thresholds."""

    needs_probabilities: ClassVar[bool] = True


class CurveMetric(Confusion):
    """A metric on a curve over all thresholds, with a point at every value that occurs.

    `num_thresholds` (evenly spaced) gives it as many points, as in Keras, which takes 200.
    """

    num_thresholds: Annotated[int, Field(gt=1, le=100_000)] | None = None
    """Number of points of the curve."""

    below: ClassVar[tuple[float, ...]] = (-EPSILON,)
    above: ClassVar[tuple[float, ...]] = (1 + EPSILON,)
    """Thresholds of a curve beside those within: values are above the first."""

    @property
    def listed_thresholds(self) -> Sequence[float] | None:
        """Thresholds that the spec lists."""
        return None

    @property
    def is_exact(self) -> bool:
        """Whether a curve has a point at every value instead of at thresholds."""
        return self.num_thresholds is None and self.listed_thresholds is None

    def joined(self, sums: Values, more: Values) -> Values:
        import torch

        return torch.cat((sums, more), 1) if self.is_exact else super().joined(sums, more)

    def above_each(self, output: Values, target: Values, weight: Values | None, labels: int = 1) -> Values:
        """[2, thresholds, labels]: positives and negatives above each threshold; of an exact curve, [3, n,
        labels]: values, and what is positive and negative about them. `weight` is one of each value.
        """
        import torch

        target = target.to(output.dtype)
        weights = torch.ones_like(target, dtype=torch.float64)
        if weight is not None:
            weights = weights * aligned(weight, target)
        weights = weights if self.label_factors is None else weights * weights.new_tensor(self.label_factors)
        values, target, weights = (x.reshape(-1, labels) for x in (output, target, weights))
        cells = torch.stack((target * weights, (1 - target) * weights))
        if self.is_exact:
            return torch.cat((values.double().unsqueeze(0), cells))
        thresholds = self._thresholds(output)
        cut = torch.bucketize(values.contiguous(), thresholds)
        histogram = cells.new_zeros(2, len(thresholds) + 1, labels).scatter_add_(
            1, cut.expand(2, -1, -1), cells
        )
        return histogram.flip(1).cumsum(1).flip(1)[:, 1:]

    @property
    def label_factors(self) -> Sequence[float] | None:
        """The weight of each label's values in the one curve."""
        return None

    def _thresholds(self, output: Values) -> Values:
        """Keras' thresholds: those given, or evenly spaced. Before them comes one that all values are above.
        The ends of an area are beyond 0 and 1; those of a rate, which is read off at a threshold, are not.
        """
        import torch

        if self.listed_thresholds is not None:
            inner = output.new_tensor(sorted(self.listed_thresholds), dtype=torch.float64)
        else:
            assert self.num_thresholds is not None
            count = self.num_thresholds
            inner = torch.arange(1, count - 1, device=output.device, dtype=torch.float64) / (count - 1)
        ends = inner.new_tensor(self.below), inner.new_tensor(self.above)
        return torch.cat((ends[0], inner, ends[1])).to(output.dtype)

    def points(self, sums: Values) -> tuple[Values, Values]:
        """The true and false positives of one label at each point of its curve."""
        if self.is_exact:
            return _every_point(sums)
        tp, fp = sums
        return tp, fp


class AUC(CurveMetric):
    """The area under the ROC or precision-recall curve, with a point at every value that occurs.

    `num_thresholds` (evenly spaced) or `thresholds` give the curve as many points, as in Keras, which takes
    200. `multi_label` is the mean of the areas of the labels on the last axis, weighted by `label_weights`;
    without it they weigh the values of the one curve.
    """

    name: Literal["auc", "AUC"] = "auc"
    curve: Literal["ROC", "PR"] = "ROC"
    """Curve: ROC or PR."""
    summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation"
    """How the area is approximated."""
    thresholds: Thresholds | None = None
    multi_label: bool = False
    """Whether an example may have several labels."""
    num_labels: Annotated[int, Field(ge=1)] | None = None
    """How many labels there are."""
    label_weights: Annotated[tuple[NotNegative, ...], Field(strict=False)] | None = None
    """Weight of each label."""
    from_logits: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> AUC:
        if self.thresholds is not None and self.num_thresholds is not None:
            raise ValueError("`auc` takes `num_thresholds` or `thresholds`, not both")
        if self.num_labels is not None and not self.multi_label:
            raise ValueError("`num_labels` of `auc` counts the labels of `multi_label: true`")
        return self

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        width = output.shape[-1]
        if self.label_weights is not None and isinstance(width, int) and len(self.label_weights) != width:
            message = f"`auc` has {len(self.label_weights)} label weights, and the output has {width} labels"
            return (message, "give one for each label")
        if self.num_labels not in (None, width):
            message = f"`auc` has `num_labels: {self.num_labels}`, and the output has {width} labels"
            return (message, "leave it out: the output says how many there are")
        if self.from_logits and activation in ("softmax", "sigmoid"):
            message = f"`auc` with `from_logits: true` takes logits, but the output ends in {activation}"
            return (message, "leave `from_logits` out")
        return super().misfit(output, "sigmoid" if self.from_logits else activation, loss)

    @property
    def listed_thresholds(self) -> Sequence[float] | None:
        return self.thresholds

    @property
    def label_factors(self) -> Sequence[float] | None:
        return None if self.multi_label else self.label_weights

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        values = output.sigmoid() if self.from_logits else output
        return self.above_each(values, target, weight, values.shape[-1] if self.multi_label else 1)

    def value(self, sums: Values) -> Values:
        """The area under each label's curve: one, or the mean of several."""
        import torch

        areas = [self._area(*self.points(sums[..., label])) for label in range(sums.shape[-1])]
        label_areas = torch.stack(areas)
        if not self.multi_label:
            return label_areas[0]
        weights = label_areas.new_tensor(self.label_weights or [1.0] * len(label_areas))
        return divide((label_areas * weights).sum(), weights.sum())

    def _area(self, tp: Values, fp: Values) -> Values:
        import torch

        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated_area(tp, fp)
        recall = divide(tp, tp[0].expand_as(tp))
        x, y = (
            (divide(fp, fp[0].expand_as(fp)), recall)
            if self.curve == "ROC"
            else (recall, divide(tp, tp + fp))
        )
        a, b = y[:-1], y[1:]
        heights = {
            "interpolation": (a + b) / 2,
            "minoring": torch.minimum(a, b),
            "majoring": torch.maximum(a, b),
        }
        return ((x[:-1] - x[1:]) * heights[self.summation_method]).sum()


class Attained(CurveMetric):
    """The best that one rate can be where another is at least a demanded value; 0 where that never is.
    `class_id` looks at one value of the last axis.
    """

    below = (-EPSILON, 0.0)
    above = (1.0,)

    class_id: Annotated[int, Field(ge=0)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return class_misfit(self.name, self.class_id, output) or super().misfit(output, activation, loss)

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        if self.class_id is not None:
            output, target = output[..., self.class_id], target[..., self.class_id]
        return self.above_each(output, target, weight)

    def value(self, sums: Values) -> Values:
        """The largest of one rate at the thresholds where the other is at least what is demanded."""
        import torch

        tp, fp = self.points(sums[..., 0])
        rates = {
            "recall": divide(tp, tp[0].expand_as(tp)),
            "precision": divide(tp, tp + fp),
            "specificity": divide(fp[0] - fp, fp[0].expand_as(fp)),
        }
        rates["sensitivity"] = rates["recall"]
        wanted, _, demanded = self.canonical.partition("_at_")
        attained = torch.where(rates[demanded] >= getattr(self, demanded), rates[wanted], 0.0)
        return attained.max() if self.is_exact else attained[1:].max()


class SensitivityAtSpecificity(Attained):
    """The largest sensitivity at a threshold whose specificity is at least `specificity`."""

    name: Literal["sensitivity_at_specificity"] = "sensitivity_at_specificity"
    specificity: Fraction
    """Specificity at which the other is measured."""


class SpecificityAtSensitivity(Attained):
    """The largest specificity at a threshold whose sensitivity is at least `sensitivity`."""

    name: Literal["specificity_at_sensitivity"] = "specificity_at_sensitivity"
    sensitivity: Fraction
    """Sensitivity at which the other is measured."""


class PrecisionAtRecall(Attained):
    """The largest precision at a threshold whose recall is at least `recall`."""

    name: Literal["precision_at_recall"] = "precision_at_recall"
    recall: Fraction
    """Recall at which the other is measured."""


class RecallAtPrecision(Attained):
    """The largest recall at a threshold whose precision is at least `precision`."""

    name: Literal["recall_at_precision"] = "recall_at_precision"
    precision: Fraction
    """Precision at which the other is measured."""


def _every_point(points: Values) -> tuple[Values, Values]:
    """Positives and negatives at or above each value that occurs, ascending, and none at the end."""
    import torch

    values, order = points[0].sort()
    cells = points[1:, order].flip(1).cumsum(1).flip(1)
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = values[1:] != values[:-1]
    tp, fp = torch.cat((cells[:, first], cells.new_zeros(2, 1)), 1)
    return tp, fp


def _interpolated_area(tp: Values, fp: Values) -> Values:
    """The area under the precision-recall curve by Davis and Goadrich's interpolation, as in Keras."""
    import torch

    called = tp + fp
    gained, step = tp[:-1] - tp[1:], called[:-1] - called[1:]
    slope = divide(gained, step)
    intercept = tp[1:] - slope * called[1:]
    ratio = torch.where(
        (called[:-1] > 0) & (called[1:] > 0), divide(called[:-1], called[1:]), torch.ones_like(slope)
    )
    return divide(slope * (gained + intercept * ratio.log()), tp[0].expand_as(slope)).sum()


def class_misfit(name: str, class_id: int | None, output: Tensor) -> Misfit:
    width = output.shape[-1]
    if class_id is None or (output.rank > 1 and isinstance(width, int) and class_id < width):
        return None
    return (
        f"`{name}` looks at class {class_id}, and the output is {output}",
        "classes count from 0 along the last axis",
    )
