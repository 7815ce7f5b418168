"""Predicted masks as pictures: PNG files with a palette, in the size of the pictures that they are of, and
laid over these.
"""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.images import ImageEncoder, library, opened, upright
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.rows.outputs import MaskWritten, OutputColumns, unrolled
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.files.folder import Folder
from graphspec.files.whole import replacing

Array = NDArray[Any]
CLASSES = "classes.json"
"""The file that says which class has which pixel value and colour."""
SHARE = 0.5
"""How much of the colour of its class a pixel of an overlay has."""
UNCOUNTED = 128
"""The grey of pixels whose class does not count."""
TURN = 0.618033988749895
"""How far around the circle of hues the next class is: so any number of classes lie apart."""


def colours(count: int) -> NDArray[np.uint8]:
    """A colour for each class, [count, 3]: black for the first, which mostly is the background."""
    hues = [colorsys.hsv_to_rgb((index * TURN) % 1, 0.8, 0.95) for index in range(1, count)]
    return (np.array([(0, 0, 0), *hues]) * 255).round().astype(np.uint8)


def is_mask(columns: OutputColumns) -> bool:
    """Whether an output is written as a mask."""
    return isinstance(columns, MaskWritten)


def confusion(right: Array, called: Array, classes: int) -> Array:
    """[classes, classes]: how often a target of one class (row) was called another (column)."""
    cells = np.clip(right, 0, classes - 1) * classes + called
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def compared(
    right: Array, called: Array, there: Array, shape: Sequence[int], labels: Sequence[str]
) -> tuple[dict[str, NDArray[np.uint8]], list[str], float]:
    """A mask and its prediction as pictures, with where they differ; in words, the shares of their classes;
    and their mean IoU. The classes of pixels are [height * width], as is which of them count.
    """
    count = len(labels)
    palette = colours(count)
    target = palette[np.clip(right, 0, count - 1)]
    drawn = {"target": target, "predicted": palette[called], "differs": palette[called]}
    drawn["differs"] = np.where((called != right)[:, None], drawn["differs"], 0)
    for key in ("target", "differs"):
        drawn[key] = np.where(there[:, None], drawn[key], UNCOUNTED)
    table = confusion(right[there], called[there], count)
    both, either = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    shares = (table.sum(axis) / max(1, table.sum()) for axis in (1, 0))
    texts = [
        ", ".join(f"{label}: {share:.1%}" for label, share in zip(labels, each, strict=True) if share)
        for each in shares
    ]
    pictures = {key: each.astype(np.uint8).reshape(*shape, 3) for key, each in drawn.items()}
    return pictures, texts, float(np.mean(both[either > 0] / either[either > 0])) if either.any() else 0.0


class Masks:
    """The outputs of a run that are masks, and the picture that they are of. Raises `SpecError`
    (not-supported) for a run without one, or of several pictures a row.
    """

    def __init__(self, program: BaseProgram, encoders: Encoders | None):
        bound = encoders.encoders if encoders is not None else {}
        inputs = [bound[name] for name in program.inputs if name in bound]
        pictures = [each for each in inputs if isinstance(each, ImageEncoder)]
        self.encoders: dict[str, MaskEncoder] = {}
        for name, output in program.outputs.items():
            encoder = bound.get(output.target)
            if isinstance(encoder, MaskEncoder):
                self.encoders[name] = encoder
        if not self.encoders or len(pictures) != 1:
            what = "has no output of masks" if not self.encoders else f"reads {len(pictures)} pictures a row"
            help = "name a file for its predictions: `-o predictions.csv`"
            raise fail("not-supported", f"the run {what}, and a folder is for masks of a picture", help)
        (self.picture,) = pictures

    def image(self, name: str, runs: Sequence[int], size: tuple[int, int]) -> Any:
        """A mask as an image with a palette, whose positions are the pixel values of training. `size` is the
        width and height of its picture.
        """
        encoder = self.encoders[name]
        mask = self.picture.undone(library().fromarray(unrolled(runs, encoder.size[0])), size)
        palette = np.zeros((256, 3), np.uint8)
        palette[encoder.values] = colours(len(encoder.values))
        mask.putpalette(palette.reshape(-1).tolist())
        return mask

    def png(self, name: str, runs: Sequence[int], picture: Any) -> bytes:
        """A mask of a picture, a file of it or its bytes, as PNG. Raises `SpecError` and what Pillow does."""
        with opened(picture) as image:
            held = io.BytesIO()
            self.image(name, runs, upright(image).size).save(held, "PNG")
            return held.getvalue()

    def classes(self) -> Mapping[str, Any]:
        """By output, the pixel value and the colour of each class."""
        return {
            name: [
                {"value": value, "color": "#" + bytes(colour).hex()}
                for value, colour in zip(encoder.values, colours(len(encoder.values)), strict=True)
            ]
            for name, encoder in self.encoders.items()
        }


class MaskFolder:
    """A folder with a mask for each row of predictions: `OUTPUT/NAME.png`, and `OUTPUT.overlay/NAME.png`."""

    def __init__(self, path: Path, masks: Masks):
        self.folder, self.masks = Folder(path), masks
        self._taken: set[str] = set()
        with replacing(self.folder.file(CLASSES)) as temporary:
            temporary.write_text(json.dumps(masks.classes(), indent=1) + "\n", encoding="utf-8")

    def write(self, part: TablePart, predicted: pa.Table) -> pa.Table:
        """Writes the masks of some rows, and returns their predictions with the names of the files in place
        of the masks. Raises `SpecError`.
        """
        encoder = self.masks.picture
        cells = part.column(encoder.columns[0]).to_pylist()
        names: dict[str, list[str | None]] = {name: [] for name in self.masks.encoders}
        for index, cell in enumerate(cells):
            if cell is None:
                for each in names.values():
                    each.append(None)
                continue
            with opened(encoder.source(part, index, cell)) as image:
                picture = upright(image).convert("RGB")
            file = self._name(cell, int(part.rows[index]))
            for name, written in names.items():
                mask = self.masks.image(name, predicted[name][index].as_py(), picture.size)
                self._save(f"{name}/{file}", mask)
                self._save(f"{name}.overlay/{file}", self._over(picture, mask))
                written.append(f"{name}/{file}")
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

    def _over(self, picture: Any, mask: Any) -> Any:
        """A picture with the colours of a mask over it, but where the first class is."""
        colours = mask.convert("RGB")
        shown = library().fromarray(np.asarray(colours).any(-1).astype(np.uint8) * 255)
        return library().composite(library().blend(picture, colours, SHARE), picture, shown)

    def _save(self, name: str, picture: Any) -> None:
        with replacing(self.folder.file(name)) as temporary:
            picture.save(temporary, "PNG")
