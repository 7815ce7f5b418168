"""The same boxes in each format that people have them in."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")
Box = tuple[float, float, float, float, str]
"""Left, top, right and bottom in pixels of the picture, and the class."""
SIZES = [(64, 48), (48, 64), (80, 40), (32, 32), (64, 48), (100, 50)]
TRUTH: list[list[Box]] = [
    [(8, 8, 40, 24, "cat"), (20, 4, 60, 44, "dog")],
    [(0, 0, 24, 32, "dog")],
    [(10, 10, 30, 30, "cat"), (40, 8, 80, 40, "cat"), (2, 2, 6, 12, "dog")],
    [],
    [(32, 16, 48, 32, "cat")],
    [(5, 5, 95, 45, "dog")],
]


def pictures(folder: Path, truth: Sequence[Sequence[Box]] = TRUTH) -> list[str]:
    """Pictures with these boxes, cats red and dogs blue; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for index, boxes in enumerate(truth):
        width, height = SIZES[index % len(SIZES)]
        pixels = np.full((height, width, 3), 230, np.uint8)
        for left, top, right, bottom, label in boxes:
            pixels[int(top) : int(bottom), int(left) : int(right)] = (
                (220, 20, 20) if label == "cat" else (20, 20, 220)
            )
        Image.fromarray(pixels).save(folder / f"{index}.png")
        names.append(f"{index}.png")
    return names


def coco(truth: Sequence[Sequence[Box]] = TRUTH) -> dict[str, Any]:
    """COCO's document."""
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7 + 4 * number, "name": name} for number, name in enumerate(CLASSES)],
    }
    for index, boxes in enumerate(truth):
        width, height = SIZES[index % len(SIZES)]
        about = {"id": 100 + index, "file_name": f"{index}.png", "width": width, "height": height}
        document["images"].append(about)
        for left, top, right, bottom, label in boxes:
            box = [left, top, right - left, bottom - top]
            about = {"image_id": 100 + index, "category_id": 7 + 4 * CLASSES.index(label), "bbox": box}
            document["annotations"].append({"id": len(document["annotations"]) + 1, **about, "iscrowd": 0})
    return document


def yolo(boxes: Sequence[Box], size: tuple[int, int]) -> str:
    """The lines of a picture."""
    lines = []
    for left, top, right, bottom, label in boxes:
        numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        shares = [value / side for value, side in zip(numbers, size * 2, strict=True)]
        lines.append(" ".join([str(CLASSES.index(label)), *(f"{share:.9f}" for share in shares)]) + "\n")
    return "".join(lines)


def voc(boxes: Sequence[Box], size: tuple[int, int]) -> str:
    """The XML of a picture, whose pixels count from 1."""
    objects = "".join(
        f"<object>\n<name>{label}</name>\n<bndbox><xmin>{left + 1:g}</xmin><ymin>{top + 1:g}</ymin>"
        f"<xmax>{right:g}</xmax><ymax>{bottom:g}</ymax></bndbox>\n</object>\n"
        for left, top, right, bottom, label in boxes
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>\n{sides}\n{objects}</annotation>\n"


def write(folder: Path, format: str, truth: Sequence[Sequence[Box]] = TRUTH) -> tuple[str, str]:
    """Pictures and their boxes in a format; what `train` names, and the features of a spec."""
    image = "image: {encode: image, resize: pad}"
    if format == "coco":
        pictures(folder / "images", truth)
        (folder / "boxes.json").write_text(json.dumps(coco(truth)))
        return (
            "boxes.json",
            "image: {encode: image, resize: pad, root: images}, boxes: {encode: boxes, format: coco}",
        )
    if format in ("yolo", "voc"):
        here, there, ending = (
            ("images", "labels", ".txt") if format == "yolo" else ("JPEGImages", "Annotations", ".xml")
        )
        (folder / there).mkdir(parents=True)
        for index, name in enumerate(pictures(folder / here, truth)):
            size = SIZES[index % len(SIZES)]
            text = yolo(truth[index], size) if format == "yolo" else voc(truth[index], size)
            (folder / there / name).with_suffix(ending).write_text(text)
        values = f", values: [{', '.join(CLASSES)}]" if format == "yolo" else ""
        return here, f"{image}, boxes: {{encode: boxes, format: {format}{values}}}"
    names = pictures(folder, truth)
    if format == "lists":
        rows = [
            {"image": name, "where": [box[:4] for box in boxes], "what": [box[4] for box in boxes]}
            for name, boxes in zip(names, truth, strict=True)
        ]
        (folder / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return "boxes.jsonl", f"{image}, boxes: {{encode: boxes, format: xyxy, columns: [where, what]}}"
    with (folder / "boxes.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "a", "b", "c", "d", "what"])
        for name, boxes in zip(names, truth, strict=True):
            for left, top, right, bottom, label in boxes:
                numbers = {
                    "xyxy": (left, top, right, bottom),
                    "xywh": (left, top, right - left, bottom - top),
                    "cxcywh": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
                }[format]
                writer.writerow([name, *numbers, label])
            if not boxes:
                writer.writerow([name, "", "", "", "", ""])
    return "boxes.csv", f"{image}, boxes: {{encode: boxes, format: {format}, columns: [a, b, c, d, what]}}"
