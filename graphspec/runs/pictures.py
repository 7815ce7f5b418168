"""Predictions of pictures as pictures: masks and boxes, in files of a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.images import ImageEncoder, opened, upright
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.files.folder import Folder
from graphspec.files.whole import replacing
from graphspec.runs.boxes import Boxes
from graphspec.runs.masks import Masks

CLASSES = "classes.json"
"""The file that says which class has which colour, and of masks which pixel value."""


class Drawings:
    """The outputs of a run that can be drawn, and the picture that they are of. Raises `SpecError`
    (not-supported) for a run without one, or of several pictures a row.
    """

    def __init__(self, program: BaseProgram, encoders: Encoders | None):
        self._encoders = encoders.encoders if encoders is not None else {}
        inputs = {name: self._encoders[name] for name in program.inputs if name in self._encoders}
        pictures = {name: each for name, each in inputs.items() if isinstance(each, ImageEncoder)}
        if len(pictures) == 1:
            ((self._input, picture),) = pictures.items()
            self.masks, self.boxes = Masks(program, self._encoders, picture), Boxes(program, encoders)
        if len(pictures) != 1 or not (self.masks.encoders or self.boxes.encoders):
            what = "has no output of masks or boxes"
            what = what if len(pictures) < 2 else f"reads {len(pictures)} pictures a row"
            help = "name a file for its predictions: `-o predictions.csv`"
            raise fail("not-supported", f"the run {what}, and a folder is for those of a picture", help)

    @property
    def picture(self) -> ImageEncoder:
        """The encoder of the picture: another one, once a folder of images is read."""
        encoder = self._encoders[self._input]
        assert isinstance(encoder, ImageEncoder)
        return encoder

    def png(self, picture: Any, answer: Mapping[str, Any]) -> bytes:
        """The first mask of a picture, a file of it or its bytes, as PNG; or the picture with its boxes.

        Raises `SpecError` and what Pillow does.
        """
        with opened(picture) as image:
            shown, held = upright(image), io.BytesIO()
            name = next(iter(self.masks.encoders), None)
            if name is not None:
                made = self.masks.image(name, answer[name], shown.size)
            else:
                made = self.boxes.over(next(iter(self.boxes.encoders)), shown, answer)
            made.save(held, "PNG")
            return held.getvalue()


class PictureFolder:
    """A folder with pictures for each row of predictions: of a mask `OUTPUT/NAME.png` and
    `OUTPUT.overlay/NAME.png`, of boxes `OUTPUT/NAME.png`, the picture with them.
    """

    def __init__(self, path: Path, drawings: Drawings):
        self.folder, self.drawings = Folder(path), drawings
        self._taken: set[str] = set()
        classes = {**drawings.masks.classes(), **drawings.boxes.classes()}
        with replacing(self.folder.file(CLASSES)) as temporary:
            temporary.write_text(json.dumps(classes, indent=1) + "\n", encoding="utf-8")

    def write(self, part: TablePart, predicted: pa.Table) -> pa.Table:
        """Writes the pictures of some rows, and returns their predictions with the names of the files in
        place of masks. Raises `SpecError`.
        """
        encoder, masks = self.drawings.picture, self.drawings.masks
        names: dict[str, list[str | None]] = {name: [] for name in masks.encoders}
        for index, cell in enumerate(part.column(encoder.columns[0]).to_pylist()):
            if cell is None:
                for each in names.values():
                    each.append(None)
                continue
            with opened(encoder.source(part, index, cell)) as image:
                picture = upright(image).convert("RGB")
            file = self._name(cell, int(part.rows[index]))
            for name, written in names.items():
                mask = masks.image(name, predicted[name][index].as_py(), picture.size)
                self._save(f"{name}/{file}", mask)
                self._save(f"{name}.overlay/{file}", masks.over(picture, mask))
                written.append(f"{name}/{file}")
            row = predicted.slice(index, 1).to_pylist()[0] if self.drawings.boxes.encoders else {}
            for name in self.drawings.boxes.encoders:
                self._save(f"{name}/{file}", self.drawings.boxes.over(name, picture, row))
        for name, written in names.items():
            place = predicted.column_names.index(name)
            predicted = predicted.set_column(place, name, pa.array(written, pa.string()))
        return predicted

    def _name(self, cell: Any, row: int) -> str:
        """The file of a row, after its picture."""
        path = cell.get("path") if isinstance(cell, dict) else cell
        given = Path(path) if isinstance(path, str) else Path(str(row))
        inner = Path(*(part for part in given.parts if part not in ("..", given.anchor)))
        name = str(inner.with_suffix(".png"))
        name = f"{inner}.{row}.png" if name in self._taken else name
        self._taken.add(name)
        return name

    def _save(self, name: str, picture: Any) -> None:
        with replacing(self.folder.file(name)) as temporary:
            picture.save(temporary, "PNG")
