"""Keras 3's metrics of the confusion matrix: at thresholds, and in regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.objectives.curves import Confusion, Thresholds, class_misfit
from graphspec.objectives.formulas import aligned, divide
from graphspec.objectives.loss import Fraction, Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


class Counts(Confusion):
    """A metric of true positives, false positives, true negatives and false negatives at each threshold."""

    def decided(self, output: Values, target: Values) -> tuple[Values, Values, Sequence[float]]:
        """The values, their targets, and the thresholds above which a value is called positive."""
        raise NotImplementedError(f"{type(self).__name__} decides nothing")

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        """[4, thresholds]: true positives, false positives, true negatives, false negatives."""
        import torch

        output, target, thresholds = self.decided(output, target)
        called = output.reshape(1, -1) > output.new_tensor(thresholds).unsqueeze(1)
        positive = (target != 0).reshape(1, -1)
        cells = [positive & called, ~positive & called, ~positive & ~called, positive & ~called]
        if weight is None:
            return torch.stack([cell.sum(1) for cell in cells])
        flat = aligned(weight, output).expand(output.shape).reshape(-1)
        return torch.stack([cell.double() @ flat for cell in cells])


class ThresholdMetric(Counts):
    """A metric that calls positive what is above a threshold, or the `top_k` values of the last axis."""

    thresholds: Thresholds | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Number of largest values to consider."""
    class_id: Annotated[int, Field(ge=0)] | None = None

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        width = output.shape[-1]
        if self.top_k is not None and isinstance(width, int) and self.top_k > width:
            message = (
                f"`{self.name}` calls the {self.top_k} largest values positive, and {output} has {width}"
            )
            return (message, f"`top_k` is at most {width}")
        ranked = self.top_k is not None and self.thresholds is None
        problem = super().misfit(output, "sigmoid" if ranked else activation, loss)
        return class_misfit(self.name, self.class_id, output) or problem

    def decided(self, output: Values, target: Values) -> tuple[Values, Values, Sequence[float]]:
        import torch

        thresholds = self.thresholds or (0.5,)
        if self.top_k is not None:
            best = output.topk(self.top_k).indices
            output = torch.full_like(output, -torch.inf).scatter(-1, best, output.gather(-1, best))
            thresholds = self.thresholds or (torch.finfo(output.dtype).min,)
        if self.class_id is not None:
            output, target = output[..., self.class_id], target[..., self.class_id]
        return output, target, thresholds


class Precision(ThresholdMetric):
    """The fraction of predicted positives that are positive."""

    name: Literal["precision"] = "precision"

    def value(self, sums: Values) -> Values:
        return divide(sums[0], sums[0] + sums[1])


class Recall(ThresholdMetric):
    """The fraction of positives that are predicted positive."""

    name: Literal["recall"] = "recall"

    def value(self, sums: Values) -> Values:
        return divide(sums[0], sums[0] + sums[3])


class CellCount(Counts):
    """One of the four counts."""

    row: ClassVar[int]
    thresholds: Thresholds = (0.5,)

    def decided(self, output: Values, target: Values) -> tuple[Values, Values, Sequence[float]]:
        return output, target, self.thresholds

    def value(self, sums: Values) -> Values:
        return sums[self.row]


class TruePositives(CellCount):
    """The number of positives that are predicted positive."""

    row = 0
    name: Literal["true_positives"] = "true_positives"


class TrueNegatives(CellCount):
    """The number of negatives that are predicted negative."""

    row = 2
    name: Literal["true_negatives"] = "true_negatives"


class FalsePositives(CellCount):
    """The number of negatives that are predicted positive."""

    row = 1
    name: Literal["false_positives"] = "false_positives"
    direction = "down"


class FalseNegatives(CellCount):
    """The number of positives that are predicted negative."""

    row = 3
    name: Literal["false_negatives"] = "false_negatives"
    direction = "down"


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
    """Whether the target is an integer."""
    sparse_y_pred: bool = False
    """Whether the prediction is an integer."""
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
        metric = self.resolve(output, loss)
        assert isinstance(metric, Overlap)
        if max(metric.classes()) >= (metric.num_classes or 0):
            message = (
                f"`{self.name}` looks at class {max(metric.classes())}, and there are {metric.num_classes}"
            )
            return (message, "classes count from 0")
        return Metric.misfit(metric, output, activation, loss)

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        called = output if self.sparse_y_pred else output.argmax(-1)
        target = target if self.sparse_y_true else target.argmax(-1)
        assert self.num_classes is not None
        return _agreement(called, target, weight, self.num_classes, self.ignore_class)

    def value(self, sums: Values) -> Values:
        return _mean_over(by_class(sums)[0], self.classes())


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


class MeanDice(Overlap):
    """Dice's coefficient, twice what output and target agree on over what both say is a class; the mean over
    classes, without those that neither has. Otherwise as `mean_iou`.
    """

    name: Literal["mean_dice"] = "mean_dice"
    target_class_ids: ClassIds | None = None
    """Classes whose mean it is; all without it."""

    def classes(self) -> tuple[int, ...]:
        return self.target_class_ids or super().classes()

    def value(self, sums: Values) -> Values:
        return _mean_over(by_class(sums)[1], self.classes())


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
    """Probability from which a prediction is positive."""

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        return _agreement(output >= self.threshold, target, weight, 2)

    def value(self, sums: Values) -> Values:
        return _mean_over(by_class(sums)[0], self.target_class_ids)


class BinaryDice(BinaryIoU):
    """Dice's coefficient of what reaches `threshold` (class 1), of what does not (0), or their mean."""

    name: Literal["binary_dice"] = "binary_dice"  # type: ignore[assignment]
    target_class_ids: Annotated[tuple[Literal[0, 1], ...], Field(strict=False, min_length=1)] = (1,)

    def value(self, sums: Values) -> Values:
        return _mean_over(by_class(sums)[1], self.target_class_ids)


def _agreement(
    called: Values,
    target: Values,
    weight: Values | None,
    classes: int,
    ignored: int | None = None,
) -> Values:
    """[classes, classes]: how often a target of one class (row) was called another (column)."""
    import torch

    called, target = called.long(), target.long()
    there = (called >= 0) & (called < classes) & (target >= 0) & (target < classes)
    if ignored is not None:
        there &= target != ignored
    counts = there.double() if weight is None else there * aligned(weight, there)
    cells = torch.where(there, target * classes + called, 0).flatten()
    return counts.new_zeros(classes * classes).index_add_(0, cells, counts.flatten()).view(classes, classes)


def by_class(sums: Values) -> tuple[Values, Values]:
    """Intersection over union and Dice's coefficient of each class, from how often a target of one class
    (row) was called another (column); NaN for classes that neither has.
    """
    both, all_ = sums.diagonal(), sums.sum(0) + sums.sum(1)
    return both / (all_ - both), 2 * both / all_


def _mean_over(scores: Values, classes: Sequence[int]) -> Values:
    """The mean over these classes, without those that nothing is."""
    scores = scores[list(classes)]
    there = ~scores.isnan()
    return divide(scores.nan_to_num().sum(), there.sum().double())
