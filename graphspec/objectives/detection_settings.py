"""The settings of a detector's loss, and what follows from them alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from graphspec.objectives.loss import Loss

Assign = Literal["center", "anchors", "task_aligned", "hungarian"]
Classes = Literal["focal", "quality_focal", "binary_crossentropy", "categorical_crossentropy"]
Count = Annotated[int, Field(ge=1)]
Stride = Annotated[int, Field(ge=1)] | Annotated[float, Field(ge=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sizes = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]
Sides = Annotated[tuple[Positive, Positive], Field(strict=False)]
Shapes = Annotated[tuple[Sides, ...], Field(strict=False, min_length=1)]
DENSE: tuple[Assign, ...] = ("center", "anchors", "task_aligned")
READ_BY: Mapping[str, tuple[Assign, ...]] = {
    **dict.fromkeys(
        ("strides", "offset", "classes", "alpha", "gamma", "nms", "candidates", "candidates_of"), DENSE
    ),
    **dict.fromkeys(("bins", "bins_weight"), ("center", "task_aligned")),
    **dict.fromkeys(("radius", "centerness"), ("center",)),
    **dict.fromkeys(("points_per_box", "class_power", "box_power"), ("task_aligned",)),
    **dict.fromkeys(("scales", "ratios", "shapes", "foreground", "background", "negatives"), ("anchors",)),
    **dict.fromkeys(("l1_weight", "no_object"), ("hungarian",)),
}
"""The settings that not every `assign` reads, with those that do."""


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


class Detector(Loss):
    """The meaning of a detector's output, and how its loss and its answers are computed."""

    assign: Assign = "center"
    """Which points answer for a box."""
    strides: Annotated[tuple[Stride, ...], Field(strict=False, min_length=1)] = (8, 16, 32)
    """Pixels between the points of each level; the last point may be less far from the edge."""
    size: Annotated[tuple[Count, Count], BeforeValidator(_pair), Field(strict=False)] | None = None
    """Height and width of the picture; by default those of the input that is one."""
    offset: Share = 0.5
    """Place of a point in its cell; torchvision's are at 0."""
    boxes: Literal["iou", "giou", "diou", "ciou", "l1"] = "giou"
    """Overlap that the loss of boxes is 1 minus; `l1` compares what moves and scales anchors."""
    box_weight: Weight = 1.0
    """Weight of the loss of boxes."""
    classes: Classes | None = None
    """Loss of classes: by default `focal`; of `task_aligned` `binary_crossentropy`. In
    `categorical_crossentropy`, of `anchors`, the output's last class is the background (SSD).
    """
    alpha: Share = 0.25
    """Weight of the right class in `focal`; that of the others is `1 - alpha`."""
    gamma: Weight = 2.0
    """Exponent of the error, by which easy points count less."""
    bins: Annotated[int, Field(ge=2)] | None = None
    """Number of distances, in strides from 0, whose logits the output gives for each side."""
    bins_weight: Weight = 0.25
    """Weight of the distribution focal loss."""
    radius: Annotated[float, Field(gt=0)] = 1.5
    """Distance from the center of a box, in strides, up to which points answer for it."""
    scales: Sizes = (4.0, 5.0397, 6.3496)
    """Sizes of anchors, in strides."""
    ratios: Sizes = (0.5, 1.0, 2.0)
    """Height relative to width of anchors."""
    shapes: Annotated[tuple[Shapes, ...], Field(strict=False, min_length=1)] | None = None
    """Instead of these, width and height in pixels of each level's anchors: `[[[30, 30]], [[60, 60]]]`."""
    foreground: Share = 0.5
    """IoU from which on an anchor answers for a box."""
    background: Share = 0.4
    """IoU below which an anchor answers for nothing; what lies between does not count."""
    negatives: Weight = 3.0
    """In `categorical_crossentropy`, how many anchors of the background, the worst, count for each other."""
    centerness: bool = False
    """Whether the output gives, before the classes, the logit of how near to the center of its box a point is
    (FCOS): its probability times that of a class is the square of the score.
    """
    points_per_box: Count = 13
    """Number of points that answer for a box."""
    class_power: Weight = 1.0
    """Exponent of the probability of the class."""
    box_power: Weight = 6.0
    """Exponent of the IoU."""
    l1_weight: Weight = 5.0
    """Weight of the differences of center, width and height."""
    no_object: Weight = 0.1
    """Weight of queries without a box."""
    least_score: Share = 0.05
    """Score above which the model answers with a box."""
    nms: Share = 0.6
    """IoU with a better box of its class above which a box is left out."""
    candidates: Count = 1000
    """Number of best boxes of which some are left out."""
    candidates_of: Literal["picture", "level", "class"] = "picture"
    """Of what this is the number: torchvision has it of a `level`, in SSD of a `class`."""
    top: Count = 100
    """Number of boxes that the model answers with at most."""

    by_example: ClassVar[bool] = True
    answers: ClassVar[bool] = True
    synonyms: ClassVar[Mapping[str, str]] = {
        "iou_threshold": "nms",
        "nms_thresh": "nms",
        "score_thresh": "least_score",
        "score_threshold": "least_score",
        "max_detections": "top",
        "detections_per_img": "top",
        "reg_max": "bins",
        "topk": "points_per_box",
        "stride": "strides",
        "matcher": "assign",
    }

    @field_validator("strides")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(value)) != list(value):
            raise ValueError("`strides` rise, as [8, 16, 32]")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Detector:
        for key in sorted(self.model_fields_set & READ_BY.keys()):
            if self.assign not in READ_BY[key]:
                raise ValueError(f"`assign: {self.assign}` reads no `{key}`: {_listed(READ_BY[key])} does")
        if self.boxes == "l1" and self.assign != "anchors":
            raise ValueError(f"`boxes: l1` is of `assign: anchors`; with {self.assign} write `boxes: giou`")
        if self.background > self.foreground:
            raise ValueError("`background` is at most `foreground`")
        if self.classes == "categorical_crossentropy" and self.assign != "anchors":
            raise ValueError("`classes: categorical_crossentropy` is of `assign: anchors`; write `focal`")
        if "negatives" in self.model_fields_set and not self.has_background:
            raise ValueError("`negatives` is read with `classes: categorical_crossentropy`")
        self._check_shapes()
        return self

    def _check_shapes(self) -> None:
        if self.shapes is None:
            return
        double = sorted({"scales", "ratios"} & self.model_fields_set)
        if double:
            raise ValueError(f"`shapes` says what `{double[0]}` does: leave one out")
        if len(self.shapes) != len(self.strides):
            levels = f"{len(self.shapes)} levels, and `strides` of {len(self.strides)}"
            raise ValueError(f"`shapes` is of {levels}: give a list of shapes for each")

    @property
    def goals(self) -> Classes:
        """The loss of classes."""
        usual: Classes = "binary_crossentropy" if self.assign == "task_aligned" else "focal"
        return self.classes or usual

    @property
    def has_background(self) -> bool:
        """Whether the output's last class is no box."""
        return self.assign == "hungarian" or self.goals == "categorical_crossentropy"

    @property
    def side_values(self) -> int:
        """How many values of the output say where a box is."""
        return 4 * (self.bins or 1)

    @property
    def box_values(self) -> int:
        """How many values the output has before the classes."""
        return self.side_values + self.centerness

    @property
    def grids(self) -> list[tuple[int, int]]:
        """How many rows and columns of points each level has; the size of the picture is known."""
        assert self.size is not None
        height, width = self.size
        return [(_steps(height, stride), _steps(width, stride)) for stride in self.strides]

    def shapes_of(self, level: int) -> list[tuple[float, float]]:
        """Width and height in pixels of the anchors of a level, in the order of the output."""
        if self.assign != "anchors":
            return [(self.strides[level],) * 2]
        if self.shapes is not None:
            return list(self.shapes[level])
        stride = self.strides[level]
        roots = [math.sqrt(ratio) for ratio in self.ratios]
        return [(stride * scale / root, stride * scale * root) for root in roots for scale in self.scales]


def _steps(side: int, stride: float) -> int:
    """How many points fit along a side; what rounding adds to a stride does not count."""
    return math.ceil(side / stride - 1e-6)


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(f"`{word}`" for word in words)
