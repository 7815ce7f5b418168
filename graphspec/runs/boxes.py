"""Predicted boxes: drawn over their pictures, and as COCO's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.boxes import BoxEncoder
from graphspec.data.rows.outputs import BoxesWritten, OutputColumns
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.runs.masks import colours

WIDTH = 200
"""A line has a pixel for so many pixels of the longer side of a picture, and at least `THIN`."""
THIN = 2
TEXT = 11
"""Height of letters, at least."""
SHADE = 255
"""The grey of letters."""
RESULTS = ".json"
"""The file name extension of COCO's results."""


def is_boxes(columns: OutputColumns) -> bool:
    """Whether an output is written as boxes."""
    return isinstance(columns, BoxesWritten)


def drawn(picture: Any, boxes: Sequence[Sequence[float]], labels: Sequence[str], names: Sequence[str]) -> Any:
    """A picture in colours with boxes, in its pixels, each in the colour of its class among `names`. A label
    begins with its class.
    """
    from PIL import ImageDraw, ImageFont

    palette = colours(len(names) + 1)[1:]
    image = picture.convert("RGB")
    draw, width = ImageDraw.Draw(image), max(THIN, max(image.size) // WIDTH)
    font = ImageFont.load_default()
    for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
        name = next((each for each in names if label == each or label.startswith(f"{each} ")), None)
        colour = tuple(palette[names.index(name)].tolist()) if name is not None else (SHADE,) * 3
        right, bottom = max(left, right - 1), max(top, bottom - 1)  # the last pixels inside
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        text = label.encode("ascii", "replace").decode()
        above = max(0, top - TEXT - 2)
        draw.rectangle((left, above, left + draw.textlength(text, font) + 2, above + TEXT + 1), fill=colour)
        draw.text((left + 1, above), text, fill=(0, 0, 0), font=font)
    return image


class Boxes:
    """The outputs of a run that are boxes, and what encodes the targets of each."""

    def __init__(self, program: BaseProgram, encoders: Encoders | None):
        self.encoders: dict[str, BoxEncoder] = {}
        self.thresholds: dict[str, float] = {}
        for name, columns in encoders.written().items() if encoders is not None else ():
            output = program.outputs[name]
            if encoders is not None and is_boxes(columns):
                encoder: Any = encoders.encoders[output.target]
                self.encoders[name], self.thresholds[name] = encoder, output.rows.threshold

    def over(self, name: str, picture: Any, predicted: Mapping[str, Any]) -> Any:
        """A picture with the boxes of a row of predictions that reach the threshold, the best on top."""
        each = zip(predicted[name], predicted[f"{name}.class"], predicted[f"{name}.score"], strict=True)
        found = [
            (box, f"{label} {score:.2f}") for box, label, score in each if score >= self.thresholds[name]
        ]
        boxes, labels = [box for box, _ in reversed(found)], [label for _, label in reversed(found)]
        return drawn(picture, boxes, labels, self.encoders[name].names)

    def classes(self) -> Mapping[str, Any]:
        """By output, the name and the colour of each class."""
        return {
            name: [
                {"class": label, "color": "#" + bytes(colour).hex()}
                for label, colour in zip(encoder.names, colours(len(encoder.names) + 1)[1:], strict=True)
            ]
            for name, encoder in self.encoders.items()
        }


class Results:
    """Predictions as COCO's results: of each box `image_id`, `category_id`, `bbox` (left, top, width and
    height) and `score`. Pictures have the `id` of COCO's file, else the number or the text of their names;
    classes those of the file that was learned from, else they count from 1.

    Raises `SpecError` (not-supported) for a run that has not one output of boxes.
    """

    def __init__(self, boxes: Boxes):
        if len(boxes.encoders) != 1:
            message = f"the run has {len(boxes.encoders)} outputs of boxes, and COCO's results are of one"
            raise fail("not-supported", message, "name a file for its predictions: `-o predictions.jsonl`")
        ((self.name, encoder),) = boxes.encoders.items()
        self.numbers = {label: index for index, label in enumerate(encoder.names, 1)}
        if encoder.feature.format == "coco":
            self.numbers |= encoder.numbers
        self._count = 0

    def of(self, part: pa.Table) -> pa.Table:
        """The boxes of some rows of predictions, a row for each."""
        found: dict[str, list[Any]] = {key: [] for key in ("image_id", "category_id", "bbox", "score")}
        for row in part.to_pylist():
            keys = self.name, f"{self.name}.class", f"{self.name}.score"
            for box, label, score in zip(*(row[key] for key in keys), strict=True):
                if label not in self.numbers:  # a class of the head that the data have not
                    continue
                left, top, right, bottom = box
                bbox = [round(value, 3) for value in (left, top, right - left, bottom - top)]
                values = _image(row, self._count), self.numbers[label], bbox, round(score, 6)
                for key, value in zip(found, values, strict=True):
                    found[key].append(value)
            self._count += 1
        return pa.table(found)


def _image(row: Mapping[str, Any], number: int) -> int | str:
    """The id of a row's picture in COCO's results."""
    if row.get("id") is not None:
        found: int | str = row["id"]
        return found
    name = row.get("file", row.get("image"))
    if not isinstance(name, str):
        return number
    stem = PurePosixPath(name).stem
    return int(stem) if stem.isascii() and stem.isdecimal() else stem
