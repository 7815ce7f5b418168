"""Pictures: paths to arrays of the size and channels of an input, decoded and resized by Pillow."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np

from graphspec.data.columns import TablePart, is_text, missing_in
from graphspec.data.encoders.base import Array, Column, Encoder
from graphspec.data.features.plan import Fill
from graphspec.data.features.vision import ImageFeature
from graphspec.data.memory import cores
from graphspec.data.mistakes import shown
from graphspec.data.rows.cells import CellType
from graphspec.diagnostics import did_you_mean
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line
from graphspec.files.reading import is_within, need_regular

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's word for a number of channels."""
PIXELS = 2**26
"""The most pixels that a picture may have: more is a mistake, or made to fill the memory."""
ORIENTATION, SIDEWAYS = 0x0112, 5
"""The tag of EXIF that says how a picture is turned, and the first value of those that lie on their side."""
TOGETHER = 16
"""Pictures that a thread decodes before it takes others."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")


def library() -> Any:
    """Pillow. Raises `SpecError` where it is not installed."""
    with needing("reading images", "images"):
        from PIL import Image
    told = Image.DecompressionBombWarning  # of other limits than ours, which end in a diagnostic
    if not any(kind is told for _, _, kind, _, _ in warnings.filters):
        warnings.filterwarnings("ignore", category=told)
    return Image


@contextmanager
def opened(source: Any) -> Iterator[Any]:
    """A picture that is not decoded yet. Raises `Refused` for one with too many pixels, and what Pillow
    raises for a file that is not a picture.
    """
    image, help = library(), "make it smaller first"
    try:
        with image.open(source, formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels > PIXELS:
                raise Refused(f"has {pixels:,} pixels, more than {PIXELS:,}", help)
            yield picture
    except (image.DecompressionBombError, image.DecompressionBombWarning):
        raise Refused(f"has more than {PIXELS:,} pixels", help) from None


def upright(image: Any) -> Any:
    """A picture, decoded and turned as its EXIF data say."""
    from PIL import ImageOps

    image.load()
    return ImageOps.exif_transpose(image)


class ImageEncoder(Encoder):
    """`encode: image`: [n, height, width, channels] of values from 0 to 255, as bytes."""

    names_files = True
    feature: ImageFeature
    fill_help = "write `fill: zero` (a black image) at the feature"

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.made = tuple(size for size in fill.tensor.shape[1:] if isinstance(size, int))
        """The shape of one image."""
        self.size, self.channels = (self.made[1], self.made[0]), self.made[-1]
        self._latest: tuple[TablePart, Array] | None = None

    def sized(self, size: tuple[int, int]) -> Self:
        """The same, for pictures of this width and height."""
        found = copy(self)
        found.size, found.made = size, (size[1], size[0], *self.made[2:])
        return found

    def in_tiles(self, source: Any) -> tuple[int, int]:
        """The width and height in which a picture is read in tiles: its own, and at least those of a tile."""
        width, height = _size(source)
        return max(width, self.size[0]), max(height, self.size[1])

    def cell(self, column: int = 0) -> CellType:
        return CellType("picture")

    def encode(self, part: TablePart) -> Column:
        (name,) = self.columns
        column = part.column(name)
        missing = missing_in(column)
        if missing.any() and self.feature.fill is None and not self.ignore:
            raise self.gap(part, name, missing)
        pictures, sizes = np.zeros((len(part), *self.made), np.uint8), np.zeros((len(part), 2), np.int64)
        there = [(index, value) for index, value in enumerate(column.to_pylist()) if value is not None]

        def decode(first: int) -> None:
            for index, value in there[first : first + TOGETHER]:
                pictures[index], sizes[index] = self._picture(part, name, index, value, self._decoded)

        library()  # imported here, not in the threads
        with ThreadPoolExecutor(cores()) as pool:  # Pillow lets the others run while it decodes
            for _ in pool.map(decode, range(0, len(there), TOGETHER)):
                pass
        self._latest = part, sizes
        gone = missing if self.ignore and missing.any() else None
        marks = {"filled": missing} if missing.any() and gone is None else {}
        return Column(pictures, gone, marks)

    def sizes(self, part: TablePart) -> Array:
        """The width and the height of the pictures of some rows, [n, 2], upright; 0 where there is none.

        Raises `SpecError`.
        """
        if self._latest is not None and self._latest[0] is part:
            return self._latest[1]
        (name,) = self.columns
        found = np.zeros((len(part), 2), np.int64)
        for index, value in enumerate(part.column(name).to_pylist()):
            if value is not None:
                found[index] = self._picture(part, name, index, value, _size)
        return found

    def contents(self, part: TablePart) -> Iterator[bytes]:
        (name,) = self.columns
        for index, value in enumerate(part.column(name).to_pylist()):
            source = None if value is None else self.source(part, index, value)
            if isinstance(source, Path):
                try:
                    with need_regular(source).open("rb") as file:
                        yield hashlib.file_digest(file, "blake2b").digest()
                except (OSError, ValueError):  # which encoding tells
                    yield b""

    def forget(self) -> None:
        self._latest = None

    def _picture(self, part: TablePart, name: str, index: int, value: Any, read: Callable[[Any], Any]) -> Any:
        """The result of `read` for a picture. Raises `SpecError`."""
        source = self.source(part, index, value)
        word = f"picture `{value}`" if isinstance(value, str) else "the picture"
        try:
            return read(need_regular(source) if isinstance(source, Path) else source)
        except Refused as error:
            raise part.fail("data-range", name, index, f"{word} {error}", error.help) from None
        except FileNotFoundError:
            value = named(value, self.feature.ending)
            help = elsewhere(self._root(part), value)
            raise part.fail("data-missing", name, index, f"there is no file `{value}`", help) from None
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            reason = first_line(error)
            what = f"{word} cannot be read: {reason}"
            help = f"replace the file, or take it out; graphspec reads {', '.join(FORMATS)}"
            raise part.fail("data-format", name, index, what, help) from None

    def source(self, part: TablePart, index: int, value: Any) -> Any:
        """The file, or the bytes as a file, of a cell. Raises `SpecError`."""
        (name,) = self.columns
        if isinstance(value, dict):  # as Parquet files of the datasets library have it
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return io.BytesIO(value)
        if is_text(part.column(name).type) or isinstance(value, str):
            return self._path(part, name, index, value)
        what = f"{shown(value)} is neither a path nor the bytes of an image"
        raise part.fail("data-dtype", name, index, what)

    def _path(self, part: TablePart, name: str, index: int, value: str) -> Path:
        root = self._root(part)
        path = root / named(value, self.feature.ending)
        if not is_within(path, root):
            what = f"{shown(value)} is outside of `{root}`"
            raise part.fail("data-outside", name, index, what, "write paths relative to `root`")
        return path

    def _root(self, part: TablePart) -> Path:
        """The folder that paths in a column are relative to."""
        return part.root / self.feature.root if self.feature.root is not None else part.root

    def _decoded(self, source: Any) -> tuple[Array, tuple[int, int]]:
        """The array of a picture, and the size that it has upright."""
        with opened(source) as image:
            picture = self._channels(upright(image))
        made = np.asarray(self._resized(picture), np.uint8)
        return made.reshape(self.size[1], self.size[0], self.channels), picture.size

    def _channels(self, picture: Any) -> Any:
        """The image as bytes, with the channels of the input."""
        if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits: the high byte
            values = np.asarray(picture, np.int64)
            picture = library().fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8), "L")
        if picture.mode in ("P", "PA") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
        return picture.convert(MODES[self.channels])

    def _resized(self, picture: Any) -> Any:
        box, inner = self._boxes(picture.size)
        scaled = self._scaled(picture, box, inner)
        if inner == self.size:
            return scaled
        canvas = library().new(picture.mode, self.size)
        canvas.paste(scaled, ((self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2))
        return canvas

    def _boxes(self, size: tuple[int, int]) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
        """The part of a picture of a size that is read, and the size that it gets in the input's middle."""
        width, height = size
        across, down = self.size[0] / width, self.size[1] / height
        if self.feature.resize == "stretch":
            return (0, 0, width, height), self.size
        if self.feature.resize == "pad":
            factor = min(across, down)
            inner = (max(1, math.floor(side * factor + 0.5)) for side in size)
            return (0, 0, width, height), (next(inner), next(inner))
        factor = max(across, down)
        inner_width = min(self.size[0] / factor, width)  # no more, by the last bit
        inner_height = min(self.size[1] / factor, height)
        left, top = (width - inner_width) / 2, (height - inner_height) / 2
        return (left, top, left + inner_width, top + inner_height), self.size

    def placed(self, sizes: Array) -> Array:
        """How pixels of pictures of some sizes, [n, 2], become those of the input, [n, 4]: what x and y are
        multiplied by, and what is then added. Without a size they stay.
        """
        found = np.tile(np.array([1.0, 1, 0, 0]), (len(sizes), 1))
        for index, size in enumerate(sizes.tolist()):
            if size[0]:
                (left, top, right, bottom), inner = self._boxes(size)
                scale = inner[0] / (right - left), inner[1] / (bottom - top)
                start = ((whole - part) // 2 for whole, part in zip(self.size, inner, strict=True))
                found[index] = *scale, next(start) - left * scale[0], next(start) - top * scale[1]
        return found

    def undone(self, mask: Any, size: tuple[int, int]) -> Any:
        """A mask of what was read of a picture, in the size of the picture; 0 where that was cut off."""
        box, inner = self._boxes(size)
        scale = mask.width / self.size[0], mask.height / self.size[1]
        start = [(whole - part) // 2 for whole, part in zip(self.size, inner, strict=True)]
        ends = (*start, start[0] + inner[0], start[1] + inner[1])
        part = tuple(end * scale[place % 2] for place, end in enumerate(ends))
        left, top, right, bottom = (round(side) for side in box)
        found = mask.resize((max(1, right - left), max(1, bottom - top)), library().Resampling.NEAREST, part)
        if found.size == size:
            return found
        canvas = library().new(mask.mode, size)
        canvas.paste(found, (left, top))
        return canvas

    def _scaled(self, picture: Any, box: tuple[float, float, float, float], size: tuple[int, ...]) -> Any:
        resampling = library().Resampling[self.feature.interpolation.upper()]
        if size == picture.size and box == (0, 0, *size):
            return picture
        if self.feature.antialias or self.feature.interpolation == "lanczos":
            return picture.resize(size, resampling, box)
        extent = library().Transform.EXTENT
        return picture.transform(size, extent, box, resampling)


def upright_size(image: Any) -> tuple[int, int]:
    """The width and the height that a picture has once it is turned as its EXIF data say."""
    width, height = image.size
    return (height, width) if image.getexif().get(ORIENTATION, 1) >= SIDEWAYS else (width, height)


def _size(source: Any) -> tuple[int, int]:
    with opened(source) as image:
        return upright_size(image)


def named(value: str, ending: str | None) -> str:
    """The path of a file beside one, whose name ends otherwise."""
    return value if ending is None else str(Path(value).with_suffix("")) + ending


def elsewhere(root: Path, value: str) -> str:
    """The remedy for a picture that is not below the folder that paths are relative to: where there is one of
    its name.
    """
    relative = f"paths are relative to `{root}`"
    if not root.is_dir():
        return f"{relative}, which does not exist: `root` at the feature names another folder of the table's"
    folders = sorted(each for each in root.iterdir() if each.is_dir())
    inside = next((each for each in folders if (each / value).is_file()), None)
    if inside is not None:
        return f"{relative}: write `root: {inside.name}` at the feature"
    above = next((each for each in list(root.resolve().parents)[:2] if (each / value).is_file()), None)
    if above is not None:
        return f"{relative}, and there is one in `{above.name}`: move it, or the table, so that it lies below"
    path = root / value
    folder = path.parent
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    other = next((name[len(path.stem) :] for name in names if name.startswith(path.stem)), None)
    if path.suffix and other and other[0] in "._-":
        return f"{relative}, and there is `{path.stem}{other}`: write `ending: {other}` at the feature"
    ending = next((each for each in names if each.rpartition(".")[0] == Path(value).name), None)
    if ending is not None:
        return f"{relative}, with the ending of the file: `{Path(value).parent / ending}`"
    return did_you_mean(Path(value).name, names, relative)


class Refused(Exception):
    """Raised for an image that can be read and not be used: what is wrong with it, and a remedy."""

    def __init__(self, what: str, help: str):
        super().__init__(what)
        self.help = help
