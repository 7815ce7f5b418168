"""The images that a first spec reads: where they are, the shape of its input, and a network for them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from graphspec.data.encoders.images import Refused, opened, upright_size
from graphspec.data.folders import IMAGES
from graphspec.files.reading import is_within, need_regular

LOOKED = 200
"""Images whose size is looked at: as many, evenly spread."""
LONGEST = 128
"""Of the height and width of the input: larger ones train slowly, and seldom tell more of a class."""
FILTERS = (32, 64, 128, 128)
"""Of the stages of the network."""
LAST = 2
"""The height and width that the last stage leaves, at least."""
SMALL = 16
"""Up to this height or width the first stage leaves images as large as they are."""
LEAST = 3
"""Stages of a network, at least."""
GREY, ALPHA = {"1", "L", "I", "I;16", "F"}, {"LA", "PA", "RGBA"}
"""Pillow's words for images without color, and for those with transparency."""


@dataclass(frozen=True, slots=True)
class ImageProfile:
    """The profile of images: the shape of an input for them, and the folder that their paths start from,
    relative to that of the table.
    """

    height: int
    width: int
    channels: int
    alike: bool
    """Whether all have the same proportions, so that resizing distorts none."""
    root: str | None = None

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """The filters of each stage, and by how much it divides height and width: small images have stages
        that do not.
        """
        size, blocks = min(self.height, self.width), list[tuple[int, int]]()
        for filters in FILTERS:
            pool = 2 if size >= 2 * LAST and (blocks or size > SMALL) else 1
            if pool == 1 and len(blocks) >= LEAST:
                break
            size //= pool
            blocks.append((filters, pool))
        return tuple(blocks)


def names_images(texts: pa.Array) -> bool:
    """Whether a column holds names of image files."""
    ending = "|".join(map(re.escape, IMAGES))
    return len(texts) > 0 and bool(pc.all(pc.match_substring_regex(texts, f"(?i)({ending})$")).as_py())


def images(paths: Sequence[str], folder: Path, longest: int = LONGEST) -> ImageProfile | None:
    """A look at the images at some paths, which start from `folder` or a folder in it; None if the first does
    not exist there, or no image can be read.

    Raises `SpecError`: package-missing.
    """
    inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    roots = [root for root in (None, *inner) if _holds(folder / (root or ""), paths[0])]
    if not roots:
        return None
    start = folder / (roots[0] or "")
    return look_at([start / path for path in some(paths)], roots[0], longest)


def holds_images(kind: pa.DataType) -> bool:
    """Whether the cells of a column may be images: bytes, alone or as Parquet files of datasets have them."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def stored_images(cells: pa.Array) -> ImageProfile | None:
    """A look at images in the cells of a column; None where none can be read. Raises `SpecError`."""
    values = [value["bytes"] if isinstance(value, dict) else value for value in some(cells.to_pylist())]
    return look_at([io.BytesIO(value) for value in values if isinstance(value, bytes)], None)


def some(values: Sequence[Any]) -> Sequence[Any]:
    """As many as are looked at, evenly spread."""
    return values[:: -(-len(values) // LOOKED)]


def look_at(
    sources: Sequence[Path | io.BytesIO], root: str | None = None, longest: int = LONGEST
) -> ImageProfile | None:
    """Profiles images by their headers; None where none can be read. No side of the input is longer than
    `longest`.
    """
    headers = [seen for source in sources if (seen := _seen(source)) is not None]
    if not headers:
        return None
    modes = {mode for _, _, mode in headers}
    channels = 1 if modes <= GREY else 4 if modes <= ALPHA else 3
    height = median(height for height, _, _ in headers)
    width = median(width for _, width, _ in headers)
    alike = len({round(seen[0] / seen[1], 2) for seen in headers}) == 1
    if not alike:
        height = width = min(height, width)
    scale = min(1.0, longest / max(height, width))
    return ImageProfile(max(2, round(height * scale)), max(2, round(width * scale)), channels, alike, root)


def _holds(folder: Path, path: str) -> bool:
    """Whether there is a file at a path that does not lead out of a folder."""
    file = folder / path
    return file.is_file() and is_within(file, folder)


def _seen(source: Path | io.BytesIO) -> tuple[int, int, str] | None:
    """Height, width and mode of an image from its header; None for one that training will report."""
    try:
        if isinstance(source, Path):
            need_regular(source)
        with opened(source) as image:
            width, height = upright_size(image)
            return height, width, image.mode
    except (Refused, OSError, ValueError, SyntaxError):
        return None


BLOCK = """\
  stage:
    params: {filters: required, pool: 2}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: $filters, kernel_size: 3, padding: same, use_bias: false}
      norm: {layer: BatchNormalization, momentum: 0.9}  # few steps an epoch: its means follow them at once
      act:  {layer: Activation, activation: relu}
      pool: {layer: MaxPooling2D, pool_size: $pool, when: $(pool > 1)}
"""
"""The block that `nodes` repeats."""


def nodes(name: str, profile: ImageProfile) -> list[str]:
    """The nodes that turn the image input `name` into a vector, the node `{name}_mean`."""
    filters, pools = (", ".join(str(stage[i]) for stage in profile.stages) for i in (0, 1))
    return [
        f"  {name}_scaled: {{layer: Rescaling, from: {name}, scale: $(1 / 127.5), offset: -1}}",
        f"  {name}_stages: {{block: stage, repeat: {{filters: [{filters}], pool: [{pools}]}}}}",
        f"  {name}_mean: {{layer: GlobalAveragePooling2D}}",
    ]


def feature(name: str, column: str, profile: ImageProfile, fill: bool) -> list[str]:
    """The lines of the feature `name`. `column` is as YAML writes it; `fill` is for missing images."""
    size = f"{profile.height} x {profile.width}"
    options = [f"column: {column}", "encode: image"]
    if profile.root is not None:
        options.append(f"root: {profile.root}")
    if not profile.alike:
        options.append("resize: crop")
    if fill:
        options.append("fill: zero")
    return [
        f"    # resized to {size}" + ("" if profile.alike else " from the middle, which distorts nothing"),
        f"    {name}: {{{', '.join(options)}}}",
        "    # if mirrored images mean the same, add `augment: [{layer: RandomFlip, mode: horizontal}]`",
    ]
