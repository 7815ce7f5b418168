"""The settings of a detector's loss, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from graphspec.objectives.losses import Loss

Assign = Literal["center", "anchors", "task_aligned", "hungarian"]
Classes = Literal["focal", "quality_focal", "binary_crossentropy"]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Sizes = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False, min_length=1)]
DENSE: tuple[Assign, ...] = ("center", "anchors", "task_aligned")
READ_BY: Mapping[str, tuple[Assign, ...]] = {
    **dict.fromkeys(("strides", "offset", "classes", "alpha", "gamma", "nms", "candidates"), DENSE),
    **dict.fromkeys(("bins", "bins_weight"), ("center", "task_aligned")),
    "radius": ("center",),
    **dict.fromkeys(("points_per_box", "class_power", "box_power"), ("task_aligned",)),
    **dict.fromkeys(("scales", "ratios", "foreground", "background"), ("anchors",)),
    **dict.fromkeys(("l1_weight", "no_object"), ("hungarian",)),
}
"""The settings that not every `assign` reads, with those that do."""


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


class Detector(Loss):
    """What a detector's output means, and how its loss and its answers are computed."""

    assign: Assign = "center"
    """Which points answer for a box."""
    strides: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (8, 16, 32)
    """Pixels between the points of each level."""
    size: Annotated[tuple[Count, Count], BeforeValidator(_pair), Field(strict=False)] | None = None
    """Height and width of the picture; by default those of the input that is one."""
    offset: Share = 0.5
    """Place of a point in its cell; torchvision's are at 0."""
    boxes: Literal["iou", "giou", "diou", "ciou", "l1"] = "giou"
    """Overlap that the loss of boxes is 1 minus; `l1` compares what moves and scales anchors."""
    box_weight: Weight = 1.0
    """Weight of the loss of boxes."""
    classes: Classes | None = None
    """Loss of classes: by default `focal`; of `task_aligned` `binary_crossentropy`."""
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
    foreground: Share = 0.5
    """IoU from which on an anchor answers for a box."""
    background: Share = 0.4
    """IoU below which an anchor answers for nothing; what lies between does not count."""
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
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
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
        return self

    @property
    def goals(self) -> Classes:
        """The loss of classes."""
        usual: Classes = "binary_crossentropy" if self.assign == "task_aligned" else "focal"
        return self.classes or usual

    @property
    def box_values(self) -> int:
        """How many values before the classes say where a box is."""
        return 4 * (self.bins or 1)


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(f"`{word}`" for word in words)
