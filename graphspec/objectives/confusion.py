"""Keras 3's metrics of the confusion matrix: at thresholds, along curves, in regions.

What they compute is in `graphspec.train.metrics` and `graphspec.train.curves`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from graphspec.objectives.losses import Fraction, Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor


def _as_tuple(value: object) -> object:
    if value == []:
        raise ValueError("`thresholds` is an empty list: give at least one")
    return value if isinstance(value, list | tuple) else (value,)


Thresholds = Annotated[tuple[Fraction, ...], Field(strict=False), BeforeValidator(_as_tuple)]
"""One threshold, or a list of them, which gives a list of results."""
NotNegative = Annotated[float, Field(ge=0)]


class Confusion(Metric):
    """A metric on the counts of true and false positives and negatives at one or several thresholds."""

    needs_probabilities: ClassVar[bool] = True


class CurveMetric(Confusion):
    """A metric on a curve over all thresholds, with a point at every value that occurs.

    `num_thresholds` (evenly spaced) gives it as many points, as in Keras, which takes 200.
    """

    num_thresholds: Annotated[int, Field(gt=1, le=100_000)] | None = None


class AUC(CurveMetric):
    """The area under the ROC or precision-recall curve, with a point at every value that occurs.

    `num_thresholds` (evenly spaced) or `thresholds` give the curve as many points, as in Keras, which takes
    200. `multi_label` is the mean of the areas of the labels on the last axis, weighted by `label_weights`;
    without it they weigh the values of the one curve.
    """

    name: Literal["auc", "AUC"] = "auc"
    curve: Literal["ROC", "PR"] = "ROC"
    summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation"
    thresholds: Thresholds | None = None
    multi_label: bool = False
    num_labels: Annotated[int, Field(ge=1)] | None = None
    label_weights: Annotated[tuple[NotNegative, ...], Field(strict=False)] | None = None
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


class ThresholdMetric(Confusion):
    """A metric that calls positive what is above a threshold, or the `top_k` values of the last axis."""

    thresholds: Thresholds | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    class_id: Annotated[int, Field(ge=0)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        width = output.shape[-1]
        if self.top_k is not None and isinstance(width, int) and self.top_k > width:
            message = (
                f"`{self.name}` calls the {self.top_k} largest values positive, and {output} has {width}"
            )
            return (message, f"`top_k` is at most {width}")
        ranked = self.top_k is not None and self.thresholds is None
        found = super().misfit(output, "sigmoid" if ranked else activation, loss)
        return class_misfit(self.name, self.class_id, output) or found


class Precision(ThresholdMetric):
    """The fraction of predicted positives that are positive."""

    name: Literal["precision"] = "precision"


class Recall(ThresholdMetric):
    """The fraction of positives that are predicted positive."""

    name: Literal["recall"] = "recall"


class TruePositives(Confusion):
    """The number of positives that are predicted positive."""

    name: Literal["true_positives"] = "true_positives"
    thresholds: Thresholds = (0.5,)


class TrueNegatives(Confusion):
    """The number of negatives that are predicted negative."""

    name: Literal["true_negatives"] = "true_negatives"
    thresholds: Thresholds = (0.5,)


class FalsePositives(Confusion):
    """The number of negatives that are predicted positive."""

    name: Literal["false_positives"] = "false_positives"
    thresholds: Thresholds = (0.5,)
    direction = "down"


class FalseNegatives(Confusion):
    """The number of positives that are predicted negative."""

    name: Literal["false_negatives"] = "false_negatives"
    thresholds: Thresholds = (0.5,)
    direction = "down"


class Attained(CurveMetric):
    """The best that one rate can be where another is at least a demanded value; 0 where that never is.
    `class_id` looks at one value of the last axis.
    """

    class_id: Annotated[int, Field(ge=0)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return class_misfit(self.name, self.class_id, output) or super().misfit(output, activation, loss)


class SensitivityAtSpecificity(Attained):
    """The largest sensitivity at a threshold whose specificity is at least `specificity`."""

    name: Literal["sensitivity_at_specificity"] = "sensitivity_at_specificity"
    specificity: Fraction


class SpecificityAtSensitivity(Attained):
    """The largest specificity at a threshold whose sensitivity is at least `sensitivity`."""

    name: Literal["specificity_at_sensitivity"] = "specificity_at_sensitivity"
    sensitivity: Fraction


class PrecisionAtRecall(Attained):
    """The largest precision at a threshold whose recall is at least `recall`."""

    name: Literal["precision_at_recall"] = "precision_at_recall"
    recall: Fraction


class RecallAtPrecision(Attained):
    """The largest recall at a threshold whose precision is at least `precision`."""

    name: Literal["recall_at_precision"] = "recall_at_precision"
    precision: Fraction


ClassIds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]


class Overlap(Metric):
    """Intersection over union: of what output or target say is a class, the fraction on which they agree; the
    mean over classes, without those that neither has.

    The class of an output is where its last axis is largest, of a target its number or where it is largest,
    as the loss reads it; `sparse_y_pred` and `sparse_y_true` say that values are class numbers, or not.
    `num_classes` is the size of the last axis. Targets of `ignore_class` do not count.
    """

    num_classes: Annotated[int, Field(ge=2)] | None = None
    ignore_class: int | None = None
    sparse_y_true: bool | None = None
    sparse_y_pred: bool = False
    axis: Literal[-1] = -1

    def classes(self) -> tuple[int, ...]:
        """Those whose mean it is."""
        return tuple(range(self.num_classes or 0))

    def target(self, output: Tensor) -> Tensor:
        sparse = self.sparse_y_true is not False
        shape = output.shape[:-1] if sparse and not self.sparse_y_pred else output.shape
        return Tensor(shape, "int64" if sparse else "float32")

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        known: dict[str, object] = {}
        if self.sparse_y_true is None:
            wanted = loss.target(output) if loss is not None else None
            known["sparse_y_true"] = wanted is None or not wanted.is_float
        if self.num_classes is None:
            known["num_classes"] = output.shape[-1]
        return self.model_copy(update=known) if known else self

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        width = output.shape[-1]
        if self.sparse_y_pred:
            if self.num_classes is None:
                return (f"`{self.name}` of class numbers needs `num_classes`", "give the number of classes")
        else:
            if width == 1 or output.rank < 2:
                message = f"`{self.name}` needs a last axis of at least 2 classes, and the output is {output}"
                return (message, "for yes or no use `binary_iou`")
            if self.num_classes not in (None, width):
                message = f"`{self.name}` has `num_classes: {self.num_classes}`, and the output is {output}"
                return (message, "leave it out: the output says how many there are")
        found = self.resolve(output, loss)
        assert isinstance(found, Overlap)
        if max(found.classes()) >= (found.num_classes or 0):
            message = (
                f"`{self.name}` looks at class {max(found.classes())}, and there are {found.num_classes}"
            )
            return (message, "classes count from 0")
        return Metric.misfit(found, output, activation, loss)


class MeanIoU(Overlap):
    """Intersection over union, the mean over all classes, without those that neither output nor target have.

    The class of an output is where its last axis is largest, of a target its number or where it is largest,
    as the loss reads it; `sparse_y_pred` and `sparse_y_true` say that values are class numbers, or not.
    """

    name: Literal["mean_iou", "mean_io_u"] = "mean_iou"


class IoU(Overlap):
    """Intersection over union of the classes `target_class_ids`, their mean; otherwise as `mean_iou`."""

    name: Literal["iou", "io_u"] = "iou"
    target_class_ids: ClassIds

    def classes(self) -> tuple[int, ...]:
        return self.target_class_ids


class OneHotMeanIoU(Overlap):
    """`mean_iou` for one-hot targets."""

    name: Literal["one_hot_mean_iou", "one_hot_mean_io_u"] = "one_hot_mean_iou"
    sparse_y_true: Literal[False] = False


class OneHotIoU(IoU):
    """`iou` for one-hot targets."""

    name: Literal["one_hot_iou", "one_hot_io_u"] = "one_hot_iou"  # type: ignore[assignment]
    sparse_y_true: Literal[False] = False


class BinaryIoU(Confusion):
    """Intersection over union of what reaches `threshold` (class 1), of what does not (0), or their mean."""

    name: Literal["binary_iou", "binary_io_u"] = "binary_iou"
    target_class_ids: Annotated[tuple[Literal[0, 1], ...], Field(strict=False, min_length=1)] = (0, 1)
    threshold: Fraction = 0.5


def class_misfit(name: str, class_id: int | None, output: Tensor) -> Misfit:
    width = output.shape[-1]
    if class_id is None or (output.rank > 1 and isinstance(width, int) and class_id < width):
        return None
    return (
        f"`{name}` looks at class {class_id}, and the output is {output}",
        "classes count from 0 along the last axis",
    )
