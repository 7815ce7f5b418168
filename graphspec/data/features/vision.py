"""The settings of features that are pictures, and boxes in them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graphspec.data.features.settings import Count, Feature, FeatureType, Text, Value, distinct
from graphspec.diagnostics.foreign_terms import augmentation
from graphspec.settings import show

BoxFormat = Literal["coco", "yolo", "voc", "xyxy", "xywh", "cxcywh"]
MOVING = (
    "RandomCrop",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
"""Layers of `augment` that move pixels, and those of targets that are images with them."""


class ImageFeature(Feature):
    """Images from paths: values from 0 to 255, with the size and channels of the input; or, for a target,
    masks, whose pixels are classes.
    """

    made_by = "images:ImageEncoder"
    encode: Literal["image"] = "image"
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image is brought to the size of the input."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    antialias: bool = True
    root: Text | None = None
    """Folder that paths are relative to."""
    ending: Annotated[str, Field(min_length=1)] | None = None
    """How names of files end instead, as `_mask.png`."""
    fill: Literal["zero"] | None = None
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    augment: list[dict[str, Any]] = []
    """Layers that change images in training."""

    phrases: ClassVar = {"resize": "resize: crop"}
    notes: ClassVar = {"resize": "the size is that of the input"}

    @field_validator("augment", mode="before")
    @classmethod
    def _layers(cls, value: object) -> object:
        entries = value if isinstance(value, list) else [value]
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in entries):
            return value
        written = f"augment: [{', '.join(map(_layer, entries))}]"
        raise PydanticCustomError(
            "form", "`augment` is a list of layers, not {given}", {"given": show(value), "written": written}
        )

    @model_validator(mode="after")
    def _fitting(self) -> ImageFeature:
        for value in self.values or ():
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
                raise ValueError(
                    f"`values` are the pixel values of classes, from 0 to 255, and not {value!r}"
                )
        distinct(self.values)
        if self.values is not None and self.interpolation not in ("nearest", "bilinear"):
            raise ValueError("`values` are classes, which are not interpolated: leave `interpolation` out")
        return self

    @property
    def moves(self) -> bool:
        """Whether `augment` moves pixels."""
        return any(layer.get("layer") in MOVING for layer in self.augment)

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((None, None, None), "uint8")


BOXES = "boxes"
"""The column in which tables have the boxes of a picture."""


class BoxesFeature(Feature):
    """Boxes in a picture and their classes, as a target: of each picture `[most, 5]`, left, top, right and
    bottom in pixels of the input and the number of the class; rows that are left over are all -1.
    """

    made_by = "boxes:BoxEncoder"
    encode: Literal["boxes"] = "boxes"
    format: BoxFormat
    """Where boxes are: `coco` (the .json of `train`), `yolo` (a .txt for each picture), `voc` (an .xml for
    each picture), or what four numbers of a table are: corners (`xyxy`), left, top and size (`xywh`), center
    and size (`cxcywh`).
    """
    columns: Annotated[list[Text], Field(min_length=2, max_length=5)] | None = None
    """Of a table with a row for each box, its four numbers and its class; of one with a row for each picture,
    the lists of boxes and of classes.
    """
    relative: bool = False
    """Whether the numbers are shares of the width and the height of the picture."""
    of: Text | None = None
    """The input of pictures, where there are several."""
    root: Text | None = None
    """Folder of the files, that paths of pictures are relative to."""
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    most: Count | None = None
    """Most boxes of a picture; by default those that training rows have."""
    invalid: Literal["error", "drop"] = "error"
    """Treatment of boxes without an area, or outside of their picture: mistakes, or left out."""

    phrases: ClassVar = {"columns": "columns: [x1, y1, x2, y2, label]"}

    @model_validator(mode="after")
    def _fitting(self) -> BoxesFeature:
        distinct(self.values)
        if self.in_table and len(self.columns or ()) not in (2, 5):
            raise ValueError(
                f"`format: {self.format}` reads a table: name its `columns: [x1, y1, x2, y2, label]`, or of "
                "lists `columns: [boxes, labels]`"
            )
        if not self.in_table and (self.columns is not None or self.relative):
            key = "columns" if self.columns is not None else "relative"
            raise ValueError(f"`format: {self.format}` says where numbers are: leave `{key}` out")
        if self.root is not None and not self.in_files:
            raise ValueError("`root` is of files next to pictures: leave it out")
        return self

    @property
    def in_table(self) -> bool:
        """Whether columns of a table have the boxes."""
        return self.format in ("xyxy", "xywh", "cxcywh")

    @property
    def in_files(self) -> bool:
        """Whether each picture has a file of its own with its boxes."""
        return self.format in ("yolo", "voc")

    def read(self, name: str) -> tuple[str, ...]:
        return (self.column or ("image" if self.in_files else BOXES),)

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.most, 5), "float32", len(self.values) if self.values is not None else None)


def _layer(entry: object) -> str:
    """An entry of `augment` as it is written, or as it may have been meant."""
    right = isinstance(entry, dict) and str(entry.get("layer")).startswith("Random")
    return show(entry) if right else augmentation(entry)
