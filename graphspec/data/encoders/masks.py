"""Masks: images whose pixels are the classes of a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphspec.data.columns import TablePart
from graphspec.data.encoders.base import Array
from graphspec.data.encoders.images import ImageEncoder, Refused, library
from graphspec.data.features.plan import Fill

SHOWN = 20
"""The most pixel values that a remedy names."""


class MaskEncoder(ImageEncoder):
    """`encode: image` of a target of classes, as bytes: [n, height, width] of class numbers, one-hot
    [n, height, width, classes], or [n, height, width, 1] of two classes.

    A pixel is the position of its value among `values`; without them it is the class number. Pixels are
    not blended when an image is resized.
    """

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.feature = self.feature.model_copy(update={"interpolation": "nearest"})
        self.channels = 1
        self.one_hot = fill.tensor.rank == 4 and fill.tensor.shape[-1] != 1
        self.classes = np.arange(256)
        if self.feature.values is not None:
            values = [int(value) for value in self.feature.values]
            self.classes = np.full(256, -1)
            self.classes[values] = np.arange(len(values))
        if self.one_hot:
            self.classes[self.classes >= self.made[-1]] = -1

    @property
    def values(self) -> list[int]:
        """The pixel value of each class."""
        units = 2 if self.made[2:] == (1,) else self.made[-1] if self.one_hot else self.fill.limit
        return [int(value) for value in self.feature.values or range(units or 256)]

    def _decoded(self, source: Any) -> tuple[Array, tuple[int, int]]:
        decoded, size = super()._decoded(source)
        pixels = decoded[..., 0]
        classes = self.classes[pixels]
        if classes.min() < 0:
            row, column = np.argwhere(classes < 0)[0]
            known = self.feature.values or f"0 to {self.made[-1] - 1}"
            what = f"has the pixel value {pixels[row, column]}, and the classes are {known}"
            values = np.unique(pixels).tolist()
            listed = f": `values: {values}`" if len(values) <= SHOWN else ""
            raise Refused(what, f"name the pixel value of each class at the feature{listed}")
        if self.one_hot:
            return np.eye(self.made[-1], dtype=np.uint8)[classes], size
        return classes.astype(np.uint8).reshape(self.made), size

    def pixels(self, part: TablePart) -> Mapping[str, int]:
        """How many pixels of some rows have each value."""
        column = self.encode(part)
        labels = np.asarray(column.values)
        if column.missing is not None:
            labels = labels[~column.missing]
        counts = labels.reshape(-1, self.made[-1]).sum(0) if self.one_hot else np.bincount(labels.reshape(-1))
        values = self.feature.values or range(256)
        return {str(int(value)): int(count) for value, count in zip(values, counts, strict=False) if count}

    def number(self, value: str) -> int:
        """The class of a pixel value."""
        return int(self.classes[int(value)]) if value.isdecimal() and int(value) < 256 else -1

    def _channels(self, picture: Any) -> Any:
        return bytes_of(picture)


COLOURED = "save masks in grey, or with a palette, one byte for each pixel"


def bytes_of(picture: Any) -> Any:
    """A mask as a grey image of its bytes as they are: a palette's positions, and the low byte of 16 bits.
    Raises `Refused` for one of colours.
    """
    if picture.mode in ("L", "P"):
        return library().fromarray(np.asarray(picture))
    if picture.mode == "1":
        return picture.convert("L")
    values = np.asarray(picture if picture.mode.startswith("I") else picture.convert("RGB"))
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise Refused("is coloured, and a mask has one number for each pixel", COLOURED)
        values = values[..., 0]
    if values.max() > 255:
        raise Refused(f"has the pixel value {values.max()}, and a mask has at most 255", COLOURED)
    return library().fromarray(values.astype(np.uint8))
