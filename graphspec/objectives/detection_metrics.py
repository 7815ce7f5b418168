"""COCO's scores of detectors: average precision and recall of boxes, equal to those of pycocotools.

The sums of an epoch are its answers, each with what it was matched to, and its targets; so an epoch keeps
them, and no picture is looked at twice. torch and numpy are imported inside of functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from graphspec.objectives.boxes import CROWD
from graphspec.objectives.loss import Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor, symbol

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor as Values

    Array = NDArray[Any]

Level = Annotated[float, Field(gt=0, le=1)]
Size = Literal["all", "small", "medium", "large"]
SIZES: dict[Size, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""The areas of boxes in pixels of the network's input, as COCO has them: both ends are inside."""
MOST = 100
"""How many boxes of a class count in a picture."""
TARGET = 2.0
"""Fills the place of a score in a target."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


Levels = Annotated[
    tuple[Level, ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_listed, json_schema_input_type=Level | tuple[Level, ...]),
]


class OfBoxes(Metric):
    """A score of the boxes that an output with `loss: detection` answers with.

    A box is right where it is of the class of a target, overlaps it by the IoU that is asked for, and no
    better one does. One that no target takes and that lies in a crowd of its class does not count. It is the
    mean over levels of `iou`, and over the classes that have targets.
    """

    iou: Levels | None = None
    """IoU from which on a box is right, or a list of them; by default 0.5, 0.55 to 0.95."""
    size: Size = "all"
    """Targets that count, by their area in the network's input: below 32 x 32, to 96 x 96, or above."""
    average: Literal["macro"] | None = "macro"
    """`null` gives a score for each class."""

    def target(self, output: Tensor) -> Tensor:
        return Tensor((output.shape[0], symbol("boxes"), 5), "float32")

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if loss is not None and loss.answers:
            return None
        message = f"`{self.name}` scores boxes, and the output gives none"
        return (message, "write `loss: detection`, whose output is points with boxes and classes")

    @property
    def levels(self) -> Array:
        """The IoUs from which on boxes are right."""
        import numpy as np

        return np.array(self.iou if self.iou is not None else np.linspace(0.5, 0.95, 10))

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        """[3 + 2 * levels, rows]: of each answer the score, the class, its rank in its picture, and for each
        level whether it is right, and whether it counts; of each target `TARGET` and its class.
        """
        import torch

        answers, targets = (x.detach().double().cpu().numpy() for x in (output, target))
        if weight is not None:
            there = weight.cpu().numpy() != 0
            answers, targets = answers[there], targets[there]
        rows = matched(answers, targets, self.levels, SIZES[self.size])
        return output.new_tensor(rows, dtype=torch.float64)

    def joined(self, sums: Values, more: Values) -> Values:
        import torch

        return torch.cat((sums, more), 1)

    def value(self, sums: Values) -> Values:
        import numpy as np

        rows = sums.cpu().numpy()
        count = self._class_count(rows)
        scores = [self._of_class(rows[:, rows[1] == kind]) for kind in range(count)]
        if self.average is None:
            return sums.new_tensor([0.0 if score is None else score for score in scores])
        known = [score for score in scores if score is not None]
        return sums.new_tensor(float(np.mean(known)) if known else 0.0)

    def _class_count(self, rows: Array) -> int:
        return int(rows[1].max(initial=-1)) + 1

    def _of_class(self, rows: Array) -> float | None:
        """The score of one class; None where it has no targets."""
        import numpy as np

        is_target = rows[0] == TARGET
        total = int(is_target.sum())
        if not total:
            return None
        found = self._ordered(rows)
        flags = found[3:].reshape(len(self.levels), 2, found.shape[1])
        return float(np.mean([self.at_level(right, counts, found[2], total) for right, counts in flags]))

    def _ordered(self, rows: Array) -> Array:
        """The answers of a class, best first."""
        import numpy as np

        found = rows[:, rows[0] != TARGET]
        ordered: Array = found[:, np.argsort(-found[0], kind="stable")]
        return ordered

    def at_level(self, right: Array, counts: Array, rank: Array, total: int) -> float:
        """The score of one class at one IoU, of its answers, best first."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")


class MeanAveragePrecision(OfBoxes):
    """COCO's mean average precision of boxes: the precision at 101 recalls, of the answers in the order of
    their scores, 100 of a class in a picture.

    It is the mean over ten levels of IoU, 0.5 to 0.95, and over the classes that have targets.
    """

    name: Literal["mean_average_precision"] = "mean_average_precision"

    def at_level(self, right: Array, counts: Array, rank: Array, total: int) -> float:
        return float(self.precision(right, counts, total).mean())

    def curves(self, sums: Values) -> dict[int, list[float]]:
        """For each class with targets its precision at 101 recalls, 0 to 1, at the first level."""
        rows, found = sums.cpu().numpy(), dict[int, list[float]]()
        for kind in range(self._class_count(rows)):
            own = rows[:, rows[1] == kind]
            if total := int((own[0] == TARGET).sum()):
                answers = self._ordered(own)
                found[kind] = self.precision(answers[3], answers[4], total).tolist()
        return found

    def precision(self, right: Array, counts: Array, total: int) -> Array:
        """The precision at 101 recalls, of the answers of a class, best first."""
        import numpy as np

        hits, misses = np.cumsum(right * counts), np.cumsum((1 - right) * counts)
        precision = hits / (hits + misses + np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(hits / total, np.linspace(0, 1, 101), side="left")
        at_recalls: Array = np.append(precision, 0.0)[places]
        return at_recalls


class MeanAverageRecall(OfBoxes):
    """COCO's mean average recall of boxes: the share of targets that the `top` best boxes of a class in a
    picture find.

    It is the mean over ten levels of IoU, 0.5 to 0.95, and over the classes that have targets.
    """

    name: Literal["mean_average_recall"] = "mean_average_recall"
    top: Annotated[int, Field(ge=1, le=MOST)] = MOST
    """Number of boxes of a class in a picture that count."""

    def at_level(self, right: Array, counts: Array, rank: Array, total: int) -> float:
        return float((right * counts)[rank < self.top].sum() / total)


def matched(answers: Array, targets: Array, levels: Array, span: tuple[float, float]) -> Array:
    """The rows of `OfBoxes.sums`, of answers [n, top, 6], best first, and targets [n, most, 5].

    Each answer takes, at each level, the target of its class that it overlaps most of those that no better
    one took; targets and answers outside of `span` do not count, but a target that does goes first. Crowds do
    not count, either, and any number of answers takes one: those of whose area it has such a share.
    """
    import numpy as np

    shown, crowd = answers[..., 5] >= 0, targets[..., 4] <= CROWD  # [n, most]
    kind = np.where(crowd, CROWD - targets[..., 4], targets[..., 4])
    left_out = crowd | ~_within(targets[..., :4], span)
    same = (answers[..., 5:] == kind[:, None]) & shown[..., None]
    near = np.where(same, _iou(answers[..., :4], targets[..., :4], crowd), -1.0)  # [n, top, most]
    free = np.ones((*near.shape[::2], len(levels)), bool)  # [n, most, levels]
    right = np.zeros((*shown.shape, len(levels)), bool)
    counts = np.repeat(_within(answers[..., :4], span)[..., None], len(levels), -1)
    limits, pictures = np.minimum(levels, 1 - 1e-10), np.arange(len(answers))[:, None]
    ranks = _ranks(answers[..., 5])
    shown &= ranks < MOST
    steps = range(int(shown.sum(1).max(initial=0)) if targets.shape[1] else 0)
    ordered = np.argsort(~shown, axis=1, kind="stable")
    for step in steps:
        place = ordered[:, step]
        each = near[pictures[:, 0], place]  # [n, most]
        takes = free & (each[..., None] >= limits) & shown[pictures[:, 0], place][:, None, None]
        rank = np.where(takes, each[..., None] - 2.0 * left_out[..., None], -np.inf)
        best = rank.shape[1] - 1 - rank[:, ::-1].argmax(1)  # the last of equals, as COCO has it
        hit = takes.any(1)
        free[pictures, best, np.arange(len(levels))] &= ~hit | crowd[pictures, best]
        right[pictures[:, 0], place] = hit
        of_target = ~left_out[pictures, best]
        counts[pictures[:, 0], place] = np.where(hit, of_target, counts[pictures[:, 0], place])
    found = [answers[..., 4][shown], answers[..., 5][shown], ranks[shown]]
    flags = np.stack((right[shown], counts[shown]), -1).reshape(-1, 2 * len(levels)).T
    kinds = kind[(kind >= 0) & ~left_out]
    rest = np.zeros((1 + len(flags), len(kinds)))
    return np.hstack(
        (np.vstack((*found, flags)), np.vstack((np.full(len(kinds), TARGET), kinds, rest)))
    ).astype(np.float64)


def _ranks(classes: Array) -> Array:
    """How many answers of the same class are before each, in its picture."""
    import numpy as np

    same = classes[:, :, None] == classes[:, None]
    before: Array = np.tril(same, -1).sum(-1)
    return before


def _area(boxes: Array) -> Array:
    sides: Array = boxes[..., 2:] - boxes[..., :2]
    areas: Array = sides[..., 0] * sides[..., 1]
    return areas


def _within(boxes: Array, span: tuple[float, float]) -> Array:
    size = _area(boxes)
    return (size >= span[0]) & (size <= span[1])


def _iou(a: Array, b: Array, crowd: Array) -> Array:
    """[n, top, most]; with a crowd, the share of `a` that it covers."""
    import numpy as np

    low = np.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = np.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    sides = np.clip(high - low, 0, None)
    both = sides[..., 0] * sides[..., 1]
    own = _area(a)[:, :, None]
    union = np.where(crowd[:, None], own, own + _area(b)[:, None] - both)
    shares: Array = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return shares
