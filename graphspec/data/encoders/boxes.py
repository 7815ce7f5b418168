"""Boxes in pictures, and their classes, as the targets of a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.data.columns import TablePart, missing_in
from graphspec.data.encoders.base import Array, Column, ColumnCells, Encoder, restored
from graphspec.data.encoders.box_files import AnnotatedBox, PictureBoxes, beside, voc, yolo
from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.features.plan import Fill
from graphspec.data.features.settings import text_of
from graphspec.data.features.vision import BOXES, BoxesFeature
from graphspec.data.mistakes import shown
from graphspec.data.rows.boxes import FREE, clipped
from graphspec.diagnostics import SpecError, did_you_mean, fail
from graphspec.files.reading import is_within
from graphspec.objectives.boxes import CROWD

NEAR = 1.0
"""How many pixels a box may reach out of its picture by rounding, of which nothing is said."""
EMPTY, CLIPPED, DROPPED = "without boxes", "with boxes clipped", "with boxes left out"
CROWDS = "with crowds"
FILES = {"yolo": ("images", "labels", ".txt"), "voc": ("JPEGImages", "Annotations", ".xml")}
"""By format, the folder of pictures, that of their files, and how these end."""


class BoxEncoder(Encoder):
    """`encode: boxes`: [n, most, 5] of float32, in each row left, top, right and bottom of a box in pixels of
    the input, then the number of its class; of a crowd of class k it is `CROWD - k`, and crowds come last.
    Rows without a box are all -1.
    """

    feature: BoxesFeature

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        values = self.feature.values
        self.classes = None if values is None else [text_of(value) for value in values]
        """The names of classes, in the order of their numbers; None before they are known."""
        self.most = self.feature.most or 0
        self.numbers: dict[str, int] = {}
        """The number that each class has in its file."""
        self._picture: ImageEncoder | None = None

    @property
    def picture(self) -> ImageEncoder:
        """The encoder of the pictures in which the boxes are."""
        if self._picture is None:
            help = "give the model an input of pictures, with `encode: image`"
            raise fail("feature-misfit", f"the boxes `{self.name}` lie in no picture of an input", help)
        return self._picture

    def follow(self, other: Encoder) -> None:
        assert isinstance(other, ImageEncoder)
        self._picture = other

    # --- learning

    def learn(self, part: TablePart) -> None:
        for index in range(len(part)):
            found = self._read(part, index)
            boxes = [] if found is None else found.boxes
            self.numbers.update((each.label, each.order) for each in boxes if not each.crowd)
            if self.feature.most is None:
                self.most = max(self.most, len(boxes))

    def finish(self) -> None:
        if not self.numbers:
            message = f"no picture for training has a box of `{self.name}`"
            help = "name the files of boxes: `root: ...`" if self.feature.in_files else None
            raise fail("data-empty", message, help)
        if self.classes is None:
            self.classes = sorted(self.numbers, key=lambda label: (self.numbers[label], label))
            if self.feature.format == "yolo":
                self.classes = [str(number) for number in range(max(self.numbers.values()) + 1)]
        known = f"{len(self.classes)} class{'es' * (len(self.classes) > 1)}"
        self.notes.append(f"{self.name}: {known}, at most {self.most} boxes a picture")

    # --- encoding

    def encode(self, part: TablePart) -> Column:
        sizes = self.picture.sizes(part)
        placed = self.picture.placed(sizes)
        values = np.full((len(part), self.most, 5), FREE, np.float32)
        marks = {word: np.zeros(len(part), bool) for word in (EMPTY, CROWDS, CLIPPED, DROPPED, "cut")}
        missing = np.zeros(len(part), bool)
        for index in range(len(part)):
            found = self._read(part, index)
            if found is None and (self.feature.format != "yolo" or self.ignore):
                if not self.ignore:
                    raise self._without(part, index)
                missing[index] = True
                continue
            boxes, corners = self._legal(part, index, found, sizes[index], marks)
            corners = corners * np.tile(placed[index, :2], 2) + np.tile(placed[index, 2:], 2)
            inside, kept = clipped(corners, *self.picture.size)
            rows = np.flatnonzero(kept)
            crowds = sum(each.crowd for each in boxes)
            marks[EMPTY][index], marks["cut"][index] = len(boxes) == crowds, len(rows) > self.most
            marks[CROWDS][index] = crowds > 0
            for place, row in enumerate(rows[: self.most].tolist()):
                number = self._class(part, index, boxes[row])
                values[index, place] = *inside[row], CROWD - number if boxes[row].crowd else number
        gone = missing if self.ignore and missing.any() else None
        return Column(values, gone, {word: mask for word, mask in marks.items() if mask.any()})

    def _legal(
        self, part: TablePart, index: int, found: PictureBoxes | None, size: Array, marks: Mapping[str, Array]
    ) -> tuple[list[AnnotatedBox], Array]:
        """The boxes of a picture, crowds last, and their corners in its pixels. Raises `SpecError`."""
        boxes = sorted(found.boxes, key=lambda box: box.crowd) if found is not None else []
        boxes = [box for box in boxes if not box.crowd or box.label in self.names]
        if not boxes or found is None:
            return [], np.zeros((0, 4))
        if found.size is not None and size[0] and found.size != tuple(size):
            said, real = (" x ".join(map(str, each)) for each in (found.size, size.tolist()))
            help = "boxes are in pixels of the whole picture: export them for the pictures as they are"
            what = f"the picture is said to be {said} pixels, and is {real}"
            raise self._wrong(part, index, boxes[0], what, help)
        corners = np.array([each.corners for each in boxes])
        if found.relative or self.feature.relative:
            corners = corners * np.tile(size, 2)
        else:
            self._need_pixels(part, index, boxes, corners)
        inside, kept = clipped(corners, size[0], size[1], least=0.0)
        narrow = (inside[:, 2:].astype(np.float32) <= inside[:, :2].astype(np.float32)).any(1)
        kept &= ~narrow  # in the precision of targets
        wrong = ~kept
        if wrong.any() and self.feature.invalid == "error":
            place = int(wrong.argmax())
            left, top, right, bottom = corners[place].tolist()
            flat = np.float32(right) <= np.float32(left) or np.float32(bottom) <= np.float32(top)
            where = f"from {left:g}, {top:g} to {right:g}, {bottom:g}"
            lies = "has no area" if flat else f"lies outside of the picture, {size[0]} x {size[1]}"
            what = f"the box {where} {lies}"
            help = "correct it, or leave such boxes out: `invalid: drop` at the feature"
            raise self._wrong(part, index, boxes[place], what, help)
        marks[DROPPED][index] = wrong.any()
        marks[CLIPPED][index] = bool((np.abs(inside - corners)[kept] > NEAR).any())
        return [box for box, good in zip(boxes, kept, strict=True) if good], inside[kept]

    def _need_pixels(
        self, part: TablePart, index: int, boxes: Sequence[AnnotatedBox], corners: Array
    ) -> None:
        """Raises `SpecError` for a box that ends in the first pixel: its numbers are shares."""
        tiny = (corners[:, 2:] <= 1).all(1) & (corners[:, 2:] < 1).any(1) & (corners[:, 2:] > 0).all(1)
        if tiny.any():
            place = int(tiny.argmax())
            numbers = ", ".join(f"{value:g}" for value in corners[place])
            what = f"the box {numbers} seems to be in shares of the picture, and is read as pixels"
            help = "multiply by the picture's width and height"
            help = "write `relative: true` at the feature" if self.feature.in_table else help
            raise self._wrong(part, index, boxes[place], what, help)

    def _class(self, part: TablePart, index: int, box: AnnotatedBox) -> int:
        classes = self.classes or []
        if box.label in classes:
            return classes.index(box.label)
        listed = ", ".join(shown(each) for each in classes[:20])
        what = f"the class {shown(box.label)} is not one of those that are known"
        raise self._wrong(part, index, box, what, did_you_mean(box.label, classes, f"these are {listed}"))

    def _wrong(
        self, part: TablePart, index: int, box: AnnotatedBox, what: str, help: str | None
    ) -> SpecError:
        """The error of a box, at its place."""
        row = int(part.rows[index])
        where = f"`{box.span.file}`" if box.span is not None else f"`{part.file}`, {part.place(row)}"
        span = box.span or part.span(row, self.columns[0])
        return fail("data-range", f"{where}, {box.place}: {what}", help, span=span)

    # --- where boxes are

    def _read(self, part: TablePart, index: int) -> PictureBoxes | None:
        """The boxes of a picture as they are written; None where nothing says them. Raises `SpecError`."""
        if self.feature.in_files:
            path = self._file(part, index)
            if path is None:
                return None
            return yolo(path, self.classes) if self.feature.format == "yolo" else voc(path)
        cell = part.column(self.columns[0])[index].as_py()
        if cell is None:
            return None
        boxes = [
            AnnotatedBox(
                (b["left"], b["top"], b["right"], b["bottom"]),
                b["label"],
                b["place"],
                None,
                b["order"],
                b["crowd"],
            )
            for b in cell[BOXES]
        ]
        return PictureBoxes(boxes, None if cell["size"] is None else tuple(cell["size"]))

    def _file(self, part: TablePart, index: int) -> Path | None:
        """The file with the boxes of a picture; None without a picture. Raises `SpecError`."""
        (name,) = self.columns
        value = part.column(name)[index].as_py()
        if value is None:
            return None
        if isinstance(value, dict):
            value = value.get("path")
        if not isinstance(value, str):
            what = f"{shown(value)} is not a path, and a picture's name is that of the file with its boxes"
            raise part.fail("data-dtype", name, index, what)
        folder, others, ending = FILES[self.feature.format]
        if self.feature.root is not None:
            root = part.root / self.feature.root
            path = (root / value).with_suffix(ending)
        else:
            picture = self.picture.feature.root
            path = beside((part.root / (picture or "") / value).absolute(), folder, others, ending)
            root = path.parent
        if not path.is_file() and path.with_suffix(ending.upper()).is_file():
            path = path.with_suffix(ending.upper())
        if not is_within(path, root):
            raise part.fail("data-outside", name, index, f"{shown(value)} is outside of `{root}`")
        return path

    def _without(self, part: TablePart, index: int) -> SpecError:
        """The error of a picture of which nothing says the boxes."""
        if not self.feature.in_files:
            return self.gap(part, self.columns[0], missing_in(part.column(self.columns[0])))
        path = self._file(part, index)
        what = f"there is no file `{path}` with its boxes"
        help = "add it, also for a picture without boxes; or name their folder: `root: ...` at the feature"
        return part.fail("data-missing", self.columns[0], index, what, help)

    # --- the way back

    @property
    def scales_rows(self) -> bool:
        return True

    def unit(self, part: TablePart) -> Array:
        """How pixels of the input become those of each picture, [n, 6]: what is added to x and y once they
        are multiplied, by what, and the picture's width and height.
        """
        sizes = self.picture.sizes(part)
        scale, shift = np.split(self.picture.placed(sizes), 2, 1)
        return np.concatenate((-shift / scale, 1 / scale, sizes), 1).astype(np.float32)

    def cells(self) -> list[ColumnCells]:
        """The classes of a picture's boxes."""

        def read(values: Array) -> list[list[Any]]:
            return [[self.names[int(number)] for number in row[row >= 0]] for row in values[..., 4]]

        return [ColumnCells(self.columns[0], None, read)]

    @property
    def names(self) -> Sequence[str]:
        """The names of the classes, by their numbers."""
        return self.classes or []

    def called(self, number: int) -> str:
        """The name of a class; its number where a head has more classes than the data."""
        return self.names[number] if number < len(self.names) else str(number)

    def state(self) -> dict[str, Any]:
        return {"classes": self.classes, "most": self.most, "numbers": self.numbers}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.classes, self.most = restored(list[str], state["classes"]), restored(int, state["most"])
        self.numbers = restored(dict[str, int], state["numbers"])
