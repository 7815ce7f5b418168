"""A first detector for pictures with boxes, in each format that people have them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphspec
from graphspec.data.drafting import draft
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train
from tests.data.boxed import TRUTH, pictures, write


def labelled(folder: Path, inside: str, size: tuple[int, int], side: int, **more: Any) -> Path:
    """Eight pictures with a box each, in a folder."""
    (folder / inside).mkdir(parents=True, exist_ok=True)
    images, boxes = [], []
    for number in range(8):
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[4 : 4 + side, 6 : 6 + side] = 200
        Image.fromarray(pixels).save(folder / inside / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": size[0], "height": size[1]})
        box = {"bbox": [6, 4, side, side], "area": side**2, "category_id": 1 + number % 2, "iscrowd": 0}
        boxes.append({"id": number, "image_id": number, **box})
    categories = [{"id": 1, "name": "oak"}, {"id": 2, "name": "elm"}]
    content = {"images": images, "annotations": boxes, "categories": categories, **more}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


@pytest.mark.parametrize(
    ("inside", "size", "side", "wanted"),
    [
        (".", (64, 48), 12, ["shape: [48, 64, 3]", "strides: [4, 8]", "classes: 2"]),
        ("images", (600, 400), 200, ["shape: [160, 256, 3]", "strides: [16, 32]", "root: images"]),
    ],
)
def test_size_and_strides_follow_the_boxes(
    tmp_path: Path, inside: str, size: tuple[int, int], side: int, wanted: list[str]
) -> None:
    data = labelled(tmp_path, inside, size, side)
    text = draft("first", data, [], tmp_path)
    assert all(word in text for word in wanted), text
    (tmp_path / "first.yaml").write_text(text)
    assert graphspec.compile(tmp_path / "first.yaml").outputs["boxes"].loss is not None


def test_it_trains_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(draft("first", labelled(tmp_path, ".", (32, 32), 12), [], tmp_path))
    program = graphspec.compile(tmp_path / "first.yaml", settings={"train.epochs": 1})
    done: Any = train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda note: None)
    assert done.metrics["val_loss"] > 0


@pytest.mark.parametrize(
    ("more", "code"), [({"images": []}, "data-empty"), ({"annotations": []}, "data-empty")]
)
def test_what_has_no_boxes_is_refused(tmp_path: Path, more: dict[str, Any], code: str) -> None:
    data = labelled(tmp_path, ".", (32, 32), 12, **({"annotations": []} if "images" in more else {}), **more)
    with pytest.raises(SpecError) as caught:
        draft("first", data, [], tmp_path)
    assert caught.value.diagnostics[0].code == code and caught.value.diagnostics[0].help


def test_pictures_that_are_not_there_are_named(tmp_path: Path) -> None:
    data = labelled(tmp_path, ".", (32, 32), 12)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(SpecError, match=r"there is no file `0.png`"):
        draft("first", data, [], tmp_path)


# --- folders and tables


def trained(folder: Path, data: str) -> str:
    """The text of a draft, which trained."""
    text = draft("first", folder / data, [], folder)
    (folder / "first.yaml").write_text(text)
    program = graphspec.compile(folder / "first.yaml", settings={"train.epochs": 1})
    done: Any = train(program, root=folder, run_dir=folder / "run", device="cpu", tell=lambda note: None)
    assert done.metrics["val_loss"] > 0
    return text


def test_a_folder_of_yolo_has_names_and_pictures_for_validation(tmp_path: Path) -> None:
    """As ultralytics lays it out."""
    for part in ("train", "val"):
        write(tmp_path / part, "yolo")
        for inner in ("images", "labels"):
            (tmp_path / "data" / inner).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / inner).rename(tmp_path / "data" / inner / part)
    names = "path: ../data\ntrain: images/train\nnc: 2\nnames:\n  0: cat\n  1: stray dog\n"
    (tmp_path / "data/data.yaml").write_text(names)
    text = trained(tmp_path, "data")
    for line in ("train: data/images/train", "validation: data/images/val", "params: {classes: 2}"):
        assert line in text
    assert "boxes: {encode: boxes, format: yolo, values: [cat, stray dog]}" in text
    assert draft("first", tmp_path / "data/data.yaml", [], tmp_path) == text.replace(
        "for data,", "for data/data.yaml,"
    )


@pytest.mark.parametrize("names", ["classes.txt", "obj.names", None])
def test_a_folder_of_yolo_with_pictures_and_boxes_together(names: str | None, tmp_path: Path) -> None:
    write(tmp_path / "data", "yolo")
    for file in (tmp_path / "data/labels").iterdir():
        file.rename(tmp_path / "data/images" / file.name)
    (tmp_path / "data/labels").rmdir()
    if names is not None:
        (tmp_path / "data" / names).write_text("cat\r\nd\u00f6g\r\n", encoding="utf-8")
    text = draft("first", tmp_path / "data", [], tmp_path)
    assert "train: data/images" in text and ("values: [cat, d\u00f6g]" in text) == (names is not None)


@pytest.mark.parametrize("named", ["data", "data/Annotations", "data/JPEGImages"])
def test_a_folder_of_pascal_voc(named: str, tmp_path: Path) -> None:
    write(tmp_path / "data", "voc")
    text = draft("first", tmp_path / named, [], tmp_path)
    assert "train: data/JPEGImages" in text and "boxes: {encode: boxes, format: voc}" in text
    assert "2 classes of boxes: cat, dog" in text
    if named == "data":
        trained(tmp_path, named)


@pytest.mark.parametrize(
    ("header", "format"),
    [
        ("image,x_min,y_min,x_max,y_max,label", "xyxy"),
        ("filename,left,top,width,height,Class", "xywh"),
        ("picture,x_center,y_center,width,height,name", "cxcywh"),
    ],
)
def test_a_table_with_a_row_for_each_box(header: str, format: str, tmp_path: Path) -> None:
    write(tmp_path, format)
    table = tmp_path / "boxes.csv"
    table.write_text(table.read_text().replace("image,a,b,c,d,what", header))
    text = trained(tmp_path, "boxes.csv")
    columns = header.split(",")
    assert f"boxes: {{encode: boxes, format: {format}, columns: [{', '.join(columns[1:])}]}}" in text
    picture = "{encode: image}" if columns[0] == "image" else f"{{column: {columns[0]}, encode: image}}"
    assert f"image: {picture}" in text and "2 classes of boxes: cat, dog" in text


def test_shares_of_the_picture_are_relative(tmp_path: Path) -> None:
    write(tmp_path, "xyxy")
    rows = ["image,x1,y1,x2,y2,label", "0.png,0.1,0.1,0.5,0.5,cat", "1.png,0.1,0.2,0.9,0.8,dog"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    assert "format: xyxy, relative: true" in draft("first", tmp_path / "boxes.csv", [], tmp_path)


def moved(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / old).rename(folder / new)


def filled(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def emptied(folder: Path) -> None:
    for file in (*folder.glob("labels/*"), *folder.glob("Annotations/*")):
        file.write_text("" if file.suffix == ".txt" else "<annotation></annotation>")


def renamed(folder: Path) -> None:
    for file in folder.glob("labels/*"):
        file.rename(file.with_name(f"boxes_{file.name}"))


def swapped(folder: Path) -> None:
    text = (folder / "boxes.csv").read_text()
    (folder / "boxes.csv").write_text(text.replace("image,a,b,c,d,what", "image,x1,y1,x2,y2,label"))


@pytest.mark.parametrize(
    ("format", "damage", "code", "words"),
    [
        ("voc", moved("Annotations", "Anotations"), "data-missing", "did you mean `Anotations`"),
        ("voc", moved("JPEGImages", "pictures"), "data-missing", "no folder `JPEGImages`"),
        ("voc", emptied, "data-empty", "have no boxes"),
        ("voc", filled("Annotations/1.xml", "<html>"), "data-format", "line 1 of"),
        ("yolo", moved("images", "pictures"), "data-missing", "no folder `images`"),
        ("yolo", emptied, "data-empty", "have no boxes"),
        ("yolo", renamed, "data-missing", "there is `boxes_"),
        ("yolo", filled("labels/2.txt", "cat 0.5 0.5 0.1 0.1\n"), "data-format", "line 1 of"),
        ("yolo", filled("data.yaml", "names: [cat]\n"), "data-range", "the class 1"),
        ("yolo", filled("data.yaml", "names: [cat, cat]\n"), "data-format", "one name twice"),
        ("yolo", filled("data.yaml", "names: {0: cat, 7: dog}\n"), "data-format", "numbered from 0"),
        ("yolo", filled("data.yaml", "names: [cat\n"), "", "data.yaml"),
        ("yolo", lambda f: (f / "classes.txt").write_bytes(b"c\xe4t\n"), "data-format", "UTF-8"),
        ("coco", filled("boxes.json", '{"annotations": []}'), "data-format", "has no `images`"),
        ("coco", filled("boxes.json", '{"images": []}'), "data-column", "has no `annotations`"),
        ("xywh", swapped, "data-range", "seem not to be xyxy"),
    ],
)
def test_data_that_are_not_what_they_seem_say_so(
    format: str, damage: Callable[[Path], object], code: str, words: str, tmp_path: Path
) -> None:
    truth = [[(40, 40, 48, 47, "cat")], [(30, 33, 41, 40, "dog")], [(30, 30, 40, 40, "cat")]]
    train_path, _ = write(tmp_path / "data", format, truth if format == "xywh" else TRUTH)
    damage(tmp_path / "data")
    where = tmp_path / "data" / (train_path if "." in train_path else "")
    with pytest.raises(SpecError) as caught:
        draft("first", where, [], tmp_path)
    found = caught.value.diagnostics[0]
    assert ((not code or found.code == code) and found.help) or not code, found
    assert words in f"{found.span.file if found.span else ''} {found.message} {found.help}"


def test_classes_of_pictures_are_no_boxes(tmp_path: Path) -> None:
    pictures(tmp_path / "data/cat")
    pictures(tmp_path / "data/dog")
    assert "sparse_categorical" in draft("first", tmp_path / "data", [], tmp_path) or "binary" in draft(
        "first", tmp_path / "data", [], tmp_path
    )
