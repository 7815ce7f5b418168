"""Pictures with boxes that a first spec is written for: in a file of COCO, in folders of YOLO or Pascal VOC,
in a table with a row for each box.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from graphspec.data.columns import flat, is_text
from graphspec.data.drafting.images import ImageProfile, images, look_at, names_images, some
from graphspec.data.drafting.words import flow
from graphspec.data.encoders.box_files import PictureBoxes, beside, voc, yolo
from graphspec.data.encoders.boxes import FILES
from graphspec.data.features.vision import BOXES, BoxesFeature
from graphspec.data.folders import IMAGES, Found, find
from graphspec.data.mistakes import unreadable
from graphspec.data.tables import Table
from graphspec.data.tables.boxes import BoxTable
from graphspec.data.tables.coco import Coco
from graphspec.diagnostics import Diagnostics, SpecError, did_you_mean, fail
from graphspec.files.reading import content, parse_json
from graphspec.source import read

LONGEST = 256
"""Of the height and width of the input: boxes are small parts of pictures."""
LARGEST = 2**20
"""Bytes of a file of names that are read."""
TRAIN = (
    "",
    "images",
    "JPEGImages",
    "images/train",
    "images/training",
    "train/images",
    "train",
    "train/JPEGImages",
)
"""Where pictures for training are, in a folder of a data set."""
VALIDATION = (("train", "val"), ("train", "valid"), ("train", "validation"), ("training", "validation"))
"""A folder of pictures for training, and that beside it of those for validation."""
NAMES = ("classes.txt", "obj.names", "_darknet.labels")
"""Files with the name of a class on each line."""
COLUMNS: Mapping[str, Sequence[str]] = {
    "xyxy": ("x1 y1 x2 y2", "xmin ymin xmax ymax", "left top right bottom", "x0 y0 x1 y1"),
    "xywh": (
        "x y w h",
        "x y width height",
        "left top width height",
        "xmin ymin width height",
        "xmin ymin w h",
    ),
    "cxcywh": ("cx cy w h", "xc yc w h", "xcenter ycenter width height", "centerx centery width height"),
}
"""Names of columns by what four numbers they are, in small letters alone."""
KINDS = ("label", "class", "classname", "category", "categoryname", "name", "labelname", "kind", "object")
"""Names of columns of classes."""


@dataclass(frozen=True, slots=True)
class BoxData:
    """The draft of a spec for pictures with boxes: values of `train` and `validation`, features, classes; and
    the length of each box's side as a share of its picture's, where it is known.
    """

    train: str
    validation: str | None
    profile: ImageProfile
    image: str
    boxes: str
    classes: Sequence[str]
    sides: Sequence[float]
    count: int


def box_data(data: Path, folder: Path) -> BoxData | None:
    """The boxes at a path, for a spec in `folder`; None where there are none. Raises `SpecError`, a data-...
    code, for what seems to be such data and is damaged.
    """
    if data.name.endswith((".yaml", ".yml")) and data.is_file():
        data = data.parent
    if data.is_dir():
        above = data.parent
        if any(data.name == others and (above / pictures).is_dir() for pictures, others, _ in FILES.values()):
            data = above  # the files of boxes themselves
        try:
            return _of_folder(data, folder)
        except OSError as error:
            raise unreadable(data, error) from None
    if _is_coco(data):
        return _of_coco(Coco(data), os.path.relpath(data, folder))
    return None


def _share(corners: Sequence[float], size: Sequence[float]) -> float:
    """The side of a box as a share of that of its picture."""
    left, top, right, bottom = corners
    return math.sqrt(max(0.0, right - left) * max(0.0, bottom - top) / max(1, size[0] * size[1]))


# --- COCO


def _is_coco(data: Path) -> bool:
    if data.suffix != ".json" or not data.is_file():
        return False
    try:
        document = parse_json(content(data, 2**30).decode("utf-8-sig"))
    except (json.JSONDecodeError, ValueError, OSError, SpecError):
        return False
    return isinstance(document, dict) and bool({"images", "annotations"} & document.keys())


def _of_coco(table: Coco, path: str) -> BoxData:
    if BOXES not in table.columns:
        raise table.lacks(BOXES)
    rows = [row for _, part in table.chunks(["image", BOXES]) for row in part.to_pylist()]
    if not rows:
        raise fail("data-empty", f"`{path}` has no pictures", table.empty_help)
    profile = images([row["image"] for row in rows], table.root, LONGEST)
    if profile is None:
        message = f"there is no file `{rows[0]['image']}` near `{path}`, and none that can be read"
        raise fail("data-missing", message, "put the pictures next to it, or in a folder there")
    found = [(row[BOXES]["size"], box) for row in rows for box in row[BOXES][BOXES] if not box["crowd"]]
    if not found:
        raise fail("data-empty", f"`{path}` has no boxes", "name the file with the annotations")
    sides = [
        _share([box[s] for s in ("left", "top", "right", "bottom")], size) for size, box in found if size
    ]
    root = f", root: {flow(profile.root)}" if profile.root else ""
    boxes = "{encode: boxes, format: coco}"
    image, classes = f"{{encode: image{root}}}", list(table.categories.values())
    return BoxData(flow(path), None, profile, image, boxes, classes, sides, len(found))


# --- folders


def _of_folder(data: Path, folder: Path) -> BoxData | None:
    found = _pictures(data)
    if found is None:
        _need_both(data)
        return None
    source, format, files = found
    classes = _names(data, source.path) if format == "yolo" else None
    boxes = [_read(file, format, classes) for file in files]
    sizes = [(1, 1) if one.relative else one.size for one in boxes]
    kinds = {(each.order, each.label) for one in boxes for each in one.boxes}
    if not kinds:
        named = files[0].parent
        raise fail(
            "data-empty", f"the files in `{named}` have no boxes", "export the pictures with their labels"
        )
    values = f", values: {flow(list(classes))}" if classes is not None else ""
    if classes is None:
        most = max(order for order, _ in kinds)
        classes = (
            [str(n) for n in range(most + 1)] if format == "yolo" else sorted({name for _, name in kinds})
        )
    profile = look_at(some(source.files), None, LONGEST)
    if profile is None:
        raise fail("data-format", f"no picture in `{source.path}` can be read", "export the pictures again")
    sides = [
        _share(box.corners, size) for size, one in zip(sizes, boxes, strict=True) if size for box in one.boxes
    ]
    held = _validation(source.path)
    return BoxData(
        flow(os.path.relpath(source.path, folder)),
        None if held is None else flow(os.path.relpath(held, folder)),
        profile,
        "{encode: image}",
        f"{{encode: boxes, format: {format}{values}}}",
        classes,
        sides,
        sum(len(one.boxes) for one in boxes),
    )


def _pictures(data: Path) -> tuple[Found, str, list[Path]] | None:
    """The first folder of pictures with files of boxes, their format, and those files."""
    for place in TRAIN:
        folder = data / place
        if not folder.is_dir() or not any(_is_picture(each) for each in folder.iterdir()):
            continue
        source = find(folder)
        by_format = {
            format: [file for file in (beside(each, *words) for each in source.files) if file.is_file()]
            for format, words in FILES.items()
        }
        best = max(by_format, key=lambda format: len(by_format[format]))
        if by_format[best]:
            return source, best, by_format[best]
    return None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and path.is_file()


def _need_both(data: Path) -> None:
    """Raises `SpecError` where a folder has a part of such data alone."""
    for format, (pictures, others, ending) in FILES.items():
        here, there = data / pictures, data / others
        files = [each for each in there.rglob(f"*{ending}")] if there.is_dir() else []
        if format == "voc" and here.is_dir() and not there.is_dir():
            names = [each.name for each in data.iterdir() if each.is_dir()]
            help = did_you_mean(others, [n for n in names if n != pictures], f"put the {ending} files there")
            raise fail(
                "data-missing", f"`{data}` has `{pictures}`, and no folder `{others}` with the boxes", help
            )
        if not files:
            continue
        if not here.is_dir():
            help = f"put the pictures in `{here}`"
            raise fail(
                "data-missing",
                f"`{data}` has `{others}`, and next to it there is no folder `{pictures}`",
                help,
            )
        message = f"no picture in `{here}` has a file of boxes in `{there}`"
        help = f"a picture and its boxes have one name: `1.png` and `1{ending}`; there is `{files[0].name}`"
        raise fail("data-missing", message, help)


def _read(file: Path, format: str, classes: list[str] | None) -> PictureBoxes:
    found = yolo(file, classes) if format == "yolo" else voc(file)
    return found if found is not None else PictureBoxes([])


def _validation(training: Path) -> Path | None:
    """The pictures for validation of a data set that has them apart."""
    for mine, other in VALIDATION:
        for place in (training, training.parent):
            if place.name == mine:
                found = place.with_name(other) / training.relative_to(place)
                if found.is_dir() and any(_is_picture(each) for each in found.iterdir()):
                    return found
    return None


def _names(data: Path, pictures: Path) -> list[str] | None:
    """The names of YOLO's classes, where a file has them. Raises `SpecError` (data-format)."""
    for folder in dict.fromkeys((data, pictures, data.parent if data.name == "images" else data)):
        for file in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))]:
            names = _of_yaml(file)
            if names is not None:
                return names
        for name in NAMES:
            lines = _text(folder / name).splitlines() if (folder / name).is_file() else []
            if any(line.strip() for line in lines):
                return [line.strip() for line in lines if line.strip()]
    return None


def _of_yaml(file: Path) -> list[str] | None:
    """The `names` of a file of YAML, which are a list, or by their numbers; None where it has none."""
    diagnostics = Diagnostics()
    document = read(_text(file), str(file), diagnostics)
    value = document.value if document is not None else None
    if diagnostics.errors and re.search(r"(?m)^names\s*:", _text(file)):
        raise SpecError(diagnostics.sorted())
    if diagnostics.errors or not isinstance(value, dict) or "names" not in value:
        return None
    names = value["names"]
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [name for _, name in sorted((int(number), name) for number, name in names.items())]
    texts = [str(name) for name in names] if isinstance(names, list) else []
    if not texts or len({*texts}) < len(texts):
        what = "has one name twice" if texts else "has `names` that are not a list, or not numbered from 0"
        raise fail(
            "data-format", f"`{file}` {what}", "write `names: [cat, dog]`, in the order of their numbers"
        )
    return texts


def _text(file: Path) -> str:
    try:
        return content(file, LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise fail("data-format", f"`{file}` is not text in UTF-8", "write the file again") from None
    except OSError as error:
        raise unreadable(file, error) from None


# --- tables


def box_table(table: Table, train: str) -> BoxData | None:
    """A table with a row for each box, as the names of its columns say; None for another. Raises `SpecError`
    (data-empty, data-missing, data-range).
    """
    names = {"".join(c for c in name.lower() if c.isalnum()): name for name in reversed([*table.columns])}
    format, four = next(
        (
            (f, words)
            for f, all_words in COLUMNS.items()
            for words in all_words
            if {*words.split()} <= {*names}
        ),
        ("", ""),
    )
    kind = next((names[word] for word in KINDS if word in names), None)
    if not four or kind is None:
        return None
    sides = [names[word] for word in four.split()]
    texts = [name for name, type in table.columns.items() if is_text(type) and name not in (*sides, kind)]
    looked = next(iter(table.chunks(texts)), None) if texts else None
    pictures = [name for name in texts if looked and names_images(pc.drop_null(flat(looked[1].column(name))))]
    if len(pictures) != 1:
        return None
    return _of_table(table, train, format, [*sides, kind], pictures[0])


def _of_table(table: Table, train: str, format: str, columns: list[str], picture: str) -> BoxData:
    feature = BoxesFeature.model_validate({"format": format, "columns": columns})
    by_picture = BoxTable(table, feature, picture)
    rows = [row for _, part in by_picture.chunks([picture, BOXES]) for row in part.to_pylist()]
    boxes = [(row, box) for row in rows for box in row[BOXES][BOXES]]
    if not boxes:
        raise fail("data-empty", f"`{table.file}` has no boxes", f"fill in {', '.join(columns)}")
    corners = [[box[side] for side in ("left", "top", "right", "bottom")] for _, box in boxes]
    turned = [
        place for place, (left, top, right, bottom) in enumerate(corners) if right <= left or bottom <= top
    ]
    if len(turned) > len(corners) / 2:
        where, said = boxes[turned[0]][1]["place"], [f"{value:g}" for value in corners[turned[0]]]
        message = f"most boxes of `{table.file}` have no area, as that of {where}: {', '.join(said)}"
        other = "xywh" if format == "xyxy" else "xyxy"
        help = (
            f"columns {', '.join(columns[:4])} seem not to be {format}: rename them, as x, y, w, h for xywh"
        )
        raise fail("data-range", message, help if other == "xywh" else "correct their sizes")
    profile = images([row[picture] for row in rows], table.root, LONGEST)
    if profile is None:
        message = f"there is no file `{rows[0][picture]}` near `{table.file}`, and none that can be read"
        raise fail("data-missing", message, "put the pictures next to it, or in a folder there")
    relative = max(value for each in corners for value in each) <= 1.5
    size = (1.0, 1.0) if relative else (profile.width, profile.height)
    root = f", root: {flow(profile.root)}" if profile.root else ""
    more = ", relative: true" if relative else ""
    column = "" if picture == "image" else f"column: {flow(picture)}, "
    return BoxData(
        train,
        None,
        profile,
        f"{{{column}encode: image{root}}}",
        f"{{encode: boxes, format: {format}{more}, columns: {flow(columns)}}}",
        sorted({box["label"] for _, box in boxes}),
        [min(1.0, _share(each, size)) for each in corners],
        len(boxes),
    )
