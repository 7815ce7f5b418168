"""Boxes of pictures as targets: the same arrays from every format, and what is said of damaged files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graphspec.compiler import compile
from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.features.plan import Fill
from graphspec.data.features.vision import ImageFeature
from graphspec.data.loading import Data, load
from graphspec.data.rows.boxes import clipped
from graphspec.diagnostics import SpecError
from graphspec.objectives.boxes import CROWD
from graphspec.tensor import Tensor
from tests.data.boxed import SIZES, TRUTH, pictures, voc, write, yolo

FORMATS = ("coco", "yolo", "voc", "xyxy", "xywh", "cxcywh", "lists")
SPEC = """
inputs: {{image: {{shape: [32, 32, 3]}}}}
nodes:
  flat:  {{layer: Flatten}}
  wide:  {{layer: Dense, units: 15}}
  boxes: {{layer: Reshape, target_shape: [3, 5]}}
outputs: {{boxes: {{loss: mse}}}}
data:
  train: {train}
  features: {{{features}}}
"""


def loaded(folder: Path, train: str, features: str) -> Data:
    features = features.replace("encode: boxes", "encode: boxes, most: 3")
    return load(compiled(SPEC.format(train=train, features=features)), None, folder, torch.device("cpu"))


compiled = cache(compile)


def boxes(data: Data) -> np.ndarray:
    return next(data.training.batches(64)).arrays["boxes"].numpy()


def expected() -> np.ndarray:
    """The truth in pixels of the input, in whose middle each picture is as large as fits."""
    found = np.full((len(TRUTH), 3, 5), -1.0)
    for index, each in enumerate(TRUTH):
        width, height = SIZES[index]
        factor = 32 / max(width, height)
        left, top = ((32 - round(side * factor)) // 2 for side in (width, height))
        for place, (x1, y1, x2, y2, label) in enumerate(each):
            sides = [x1 * factor + left, y1 * factor + top, x2 * factor + left, y2 * factor + top]
            found[index, place] = *sides, label == "dog"
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_same_boxes(format: str, tmp_path: Path) -> None:
    data = loaded(tmp_path, *write(tmp_path, format))
    np.testing.assert_allclose(boxes(data), expected(), atol=1e-5)
    note = "boxes: 2 classes, at most 3 boxes a picture; training: 1 of 6 rows without boxes"
    assert data.notes == (note,)
    assert data.encoders is not None
    encoder: Any = data.encoders.encoders["boxes"]
    assert list(encoder.names) == ["cat", "dog"]


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(64, 48), (30, 90)])
def test_pixels_of_the_input_are_those_of_the_picture(resize: Any, size: tuple[int, int]) -> None:
    """A box is around what it is around in the picture, once this is resized."""
    feature = ImageFeature(resize=resize, interpolation="nearest", antialias=False)
    encoder = ImageEncoder(Fill("x", Tensor(("batch", 60, 80, 3), "uint8"), feature))  # type: ignore[arg-type]
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[20:36, 12:24] = 255
    shown = np.asarray(encoder._resized(Image.fromarray(picture)))[..., 0] > 0
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    scale, shift = np.split(encoder.placed(np.array([size]))[0], 2)
    moved = np.array([12, 20, 24, 36]) * np.tile(scale, 2) + np.tile(shift, 2)
    inside, _ = clipped(moved[None], 80, 60)
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.array(edges) - inside[0]).max() <= 1.0


def test_a_picture_on_its_side_is_turned_before_boxes_are_placed(tmp_path: Path) -> None:
    train, features = write(tmp_path, "xyxy")
    lying = Image.open(tmp_path / "0.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "0.png", exif=exif)
    np.testing.assert_allclose(boxes(loaded(tmp_path, train, features)), expected(), atol=1e-5)


def test_boxes_beyond_most_and_beyond_the_picture_are_told(tmp_path: Path) -> None:
    truth = [
        [(0, 0, 70, 20, "cat")],
        [(4, 4, 9, 9, "dog")] * 5,
        [(50, 50, 60, 60, "cat"), (1, 1, 5, 5, "dog")],
    ]
    train, features = write(tmp_path, "xyxy", truth)
    with pytest.raises(SpecError, match="lies outside of the picture, 80 x 40"):
        loaded(tmp_path, train, features)
    data = loaded(tmp_path, train, features.replace("encode: boxes", "encode: boxes, invalid: drop"))
    assert "1 of 3 rows cut" in data.notes[0] and "1 of 3 rows with boxes clipped" in data.notes[0]
    assert "1 of 3 rows with boxes left out" in data.notes[0]
    found = boxes(data)
    assert found[0, 0].tolist() == [0, 4, 32, 14, 0]  # cut off at the right edge
    assert (found[1, :, 4] == 1).all() and found[2, :, 4].tolist() == [1, -1, -1]


def test_crowds_come_last_with_classes_of_their_own(tmp_path: Path) -> None:
    train, features = write(tmp_path, "coco")
    document = json.loads((tmp_path / train).read_text())
    document["annotations"][0]["iscrowd"] = 1
    (tmp_path / train).write_text(json.dumps(document))
    data = loaded(tmp_path, train, features)
    crowd, dog, none = expected()[0]
    crowd[4] = CROWD - crowd[4]
    np.testing.assert_allclose(boxes(data)[0], [dog, crowd, none], atol=1e-5)
    assert "1 of 6 rows with crowds" in data.notes[0]


# --- damages


Damage = Callable[[Path], object]


def _changed(change: Callable[[dict[str, Any]], Any]) -> Damage:
    def damage(file: Path) -> None:
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return damage


def _set(path: str, value: Any) -> Damage:
    """A value of the document; of `...` there is none."""
    *above, last = [int(key) if key.isdecimal() else key for key in path.split(".")]

    def change(document: Any) -> None:
        for key in above:
            document = document[key]
        if value is ...:
            del document[last]
        else:
            document[last] = value

    return _changed(change)


def _written(text: str | bytes) -> Damage:
    return lambda file: file.write_bytes(text if isinstance(text, bytes) else text.encode())


def _replaced(old: str, new: str) -> Damage:
    def damage(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return damage


def _folder(folder: Path) -> None:
    """A folder in place of a file."""
    (folder / "labels/0.txt").unlink()
    (folder / "labels/0.txt").mkdir()


def _none(folder: Path) -> None:
    for file in (folder / "labels").iterdir():
        file.unlink()


COCO: dict[str, tuple[Damage, str]] = {
    "empty": (_written(""), "data-format: line 1 of .* is not JSON"),
    "cut off": (_written('{"images": [{"id": 1,'), "data-format: line 1 of .* is not JSON"),
    "latin-1": (_written(b'{"images": ["\xe9"]}'), "data-format: .* is not UTF-8"),
    "a list": (_written("[]"), "data-format: `format: coco` reads a .json of COCO"),
    "a number": (_written("17"), "data-format: `format: coco` reads a .json of COCO"),
    "deep": (_written("[" * 100_000), "data-format: .* is not JSON"),
    "no images": (_set("images", ...), "data-format: .* has no `images`"),
    "misspelt images": (
        _changed(lambda d: d.update(image=d.pop("images"))),
        "data-format: .* has no `images`",
    ),
    "images no list": (_set("images", {}), "data-format: `images` of .* is {}, and not a list"),
    "images empty": (_set("images", []), "data-empty: .* holds no examples"),
    "an image no object": (_set("images.1", "1.png"), "data-format: `images` of .*, number 1: it is"),
    "no file_name": (_set("images.1.file_name", ...), "number 1 .id 101.: it has no `file_name`"),
    "file_name a number": (_set("images.1.file_name", 7), "its `file_name` is 7, and not a text"),
    "file_name empty": (_set("images.1.file_name", ""), "its `file_name` is"),
    "file_name twice": (_set("images.1.file_name", "0.png"), "is that of number 0, too"),
    "no picture": (_set("images.1.file_name", "9.png"), "data-missing: .*there is no file `9.png`"),
    "a picture outside": (_set("images.1.file_name", "../boxes.json"), "data-outside: .* is outside of"),
    "a picture that is none": (
        lambda f: _written("x")(f.parent / "images/0.png"),
        "data-format: .* cannot be read",
    ),
    "an image without id": (_set("images.1.id", ...), "number 1: it has no `id`"),
    "an id twice": (_set("images.1.id", 100), "its id 100 is that of number 0, too"),
    "an id null": (_set("images.1.id", None), "its `id` is None, and not a number or a text"),
    "width a text": (_set("images.0.width", "64"), "its `width` is .64., and not a whole number"),
    "width negative": (_set("images.0.width", -64), "its `width` is -64"),
    "another size": (
        _set("images.0.width", 640),
        "data-range: .*, picture `0.png`, annotation 0 .id 1.*640 x 48",
    ),
    "no annotations": (_set("annotations", ...), "data-column: .* has no `annotations`"),
    "annotations no list": (_set("annotations", None), "`annotations` of .* is None, and not a list"),
    "an annotation no object": (
        _set("annotations.2", [1]),
        "`annotations` of .*, number 2: it is .1., and not",
    ),
    "annotations empty": (_set("annotations", []), "data-empty: no picture for training has a box"),
    "no image_id": (_set("annotations.2.image_id", ...), "number 2 .id 3.: it has no `image_id`"),
    "an unknown image": (
        _set("annotations.2.image_id", 999),
        "its `image_id` 999 is the id of none of the `images`",
    ),
    "an image_id of text": (_set("annotations.2.image_id", "102"), "its `image_id` .102. is the id of none"),
    "no category_id": (_set("annotations.2.category_id", ...), "it has no `category_id`"),
    "an unknown category": (_set("annotations.2.category_id", 3), "its `category_id` 3 is the id of none"),
    "no bbox": (_set("annotations.2.bbox", ...), "it has no `bbox`"),
    "a bbox of three": (_set("annotations.2.bbox", [1, 2, 3]), "its `bbox` is .1, 2, 3., and not left"),
    "a bbox of texts": (_set("annotations.2.bbox", ["1", "2", "3", "4"]), "its `bbox` is"),
    "a bbox of null": (_set("annotations.2.bbox", None), "its `bbox` is None, and not a list"),
    "a bbox with NaN": (_set("annotations.2.bbox", [1, 2, float("nan"), 4]), "its `bbox` is"),
    "a huge bbox": (_set("annotations.2.bbox", [1, 2, 10**400, 4]), "its `bbox` is"),
    "a flat box": (
        _set("annotations.2.bbox", [1, 2, 0, 4]),
        "data-range: .*picture `1.png`, annotation 2.*no area",
    ),
    "a negative box": (_set("annotations.2.bbox", [9, 9, -4, 4]), "data-range: .* has no area"),
    "a box outside": (
        _set("annotations.2.bbox", [90, 9, 4, 4]),
        "data-range: .* lies outside of the picture, 48 x 64",
    ),
    "iscrowd of text": (_set("annotations.2.iscrowd", "yes"), "its `iscrowd` is .yes., and not 0 or 1"),
    "no categories": (_set("categories", ...), "has no `categories`"),
    "categories of names": (_set("categories", ["cat", "dog"]), "`categories` of .*, number 0: it is .cat."),
    "a category without name": (_set("categories.1.name", ...), "`categories` .* has no `name`"),
    "a name twice": (_set("categories.1.name", "cat"), "its name .cat. is that of number 0"),
    "a category id twice": (_set("categories.1.id", 7), "its id 7 is that of number 0, too"),
}


def _label(change: Damage) -> Damage:
    return lambda folder: change(folder / "labels/0.txt")


YOLO: dict[str, tuple[Damage, str]] = {
    name: (_label(_written(text)), message)
    for name, (text, message) in dict[str, tuple[str | bytes, str]](
        {
            "four numbers": ("0 0.5 0.5 0.2\n", "data-format: line 1 of .*0.txt` has 4 numbers, and not 5"),
            "on line 3": ("0 0.5 0.5 0.2 0.2\n\n0 0.5\n", "line 3 of"),
            "one number": ("0\n", "has 1 numbers"),
            "six numbers": ("0 0.5 0.5 0.2 0.2 0.9\n", "has 6 numbers"),
            "an outline": ("0 0.1 0.1 0.2 0.1 0.2 0.2\n", "has 7 numbers"),
            "commas": ("0,0.5,0.5,0.2,0.2\n", "has 1 numbers"),
            "decimal commas": ("0 0,5 0,5 0,2 0,2\n", "has .0,5., which is not a number"),
            "a name": ("cat 0.5 0.5 0.2 0.2\n", "has .cat., which is not a number"),
            "half a class": ("0.5 0.5 0.5 0.2 0.2\n", "has the class 0.5, and classes are numbers from 0 on"),
            "a negative class": ("-1 0.5 0.5 0.2 0.2\n", "has the class -1"),
            "an unknown class": (
                "2 0.5 0.5 0.2 0.2\n",
                "data-range: line 1 of .* has the class 2, and the 2 classes",
            ),
            "pixels": ("0 32 24 10 10\n", "data-range: .* are not shares of the picture"),
            "a negative center": ("0 -0.5 0.5 0.2 0.2\n", "data-range: .* are not shares"),
            "nan": ("0 nan 0.5 0.2 0.2\n", "has .nan., which is not a number"),
            "infinity": ("0 inf 0.5 0.2 0.2\n", "has .inf., which is not a number"),
            "underscores": ("0 0.5 0.5 0.2 0_2\n", "has .0_2., which is not a number"),
            "no width": ("0 0.5 0.5 0 0.2\n", "data-range: .*0.txt`, line 1: the box .* has no area"),
            "a negative height": ("0 0.5 0.5 0.2 -0.2\n", "has no area"),
            "binary": (b"\xff\xfe\x00\x01", "data-format: .* is not text in UTF-8"),
            "arabic digits": ("0 \u0660.\u0665 0.5 0.2 0.2\n", "which is not a number"),
        }
    ).items()
}
YOLO |= {
    "a folder for a file": (_folder, "cannot be read"),
    "no labels": (_none, "data-empty: no picture"),
}


def _xml(old: str, new: str) -> Damage:
    return lambda folder: _replaced(old, new)(folder / "Annotations/0.xml")


VOC: dict[str, tuple[Damage, str]] = {
    name: (_xml(old, new), message)
    for name, (old, new, message) in {
        "no bndbox": ("bndbox>", "box>", "data-format: line 5 of .* is not XML|has no <bndbox>"),
        "no name": ("<name>cat</name>", "", "data-format: object 0 of .*, line 3, has no <name>"),
        "an empty name": ("<name>cat</name>", "<name> </name>", "has no <name>"),
        "no xmin": ("<xmin>9</xmin>", "", "has no <xmin>"),
        "xmin a word": ("<xmin>9</xmin>", "<xmin>left</xmin>", "has .left. as <xmin>, which is not a number"),
        "xmin empty": ("<xmin>9</xmin>", "<xmin/>", "as <xmin>, which is not a number"),
        "xmin nan": ("<xmin>9</xmin>", "<xmin>nan</xmin>", "as <xmin>, which is not a number"),
        "xmin beyond xmax": (
            "<xmin>9</xmin>",
            "<xmin>60</xmin>",
            "data-range: .*0.xml`, object 0, line 3: the box",
        ),
        "ymin beyond": ("<ymin>9</ymin>", "<ymin>25</ymin>", "has no area"),
        "outside": ("<xmin>9</xmin>", "<xmin>99</xmin>", "has no area"),
        "not closed": ("</object>", "", "data-format: line .* of .* is not XML: mismatched tag"),
        "another root": ("<annotation>", "<annotations>", "is not XML"),
        "an ampersand": ("<name>cat</name>", "<name>a & b</name>", "is not XML"),
        "another size": (
            "<width>64</width>",
            "<width>48</width>",
            "data-range: .* said to be 48 x 48 pixels",
        ),
        "entities": ("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>', "declares entities"),
    }.items()
}
VOC |= {
    "empty": (lambda f: _written("")(f / "Annotations/0.xml"), "is not XML: no element found"),
    "json": (lambda f: _written("{}")(f / "Annotations/0.xml"), "is not XML"),
    "html": (lambda f: _written("<html></html>")(f / "Annotations/0.xml"), "begins with <html>"),
    "no file": (lambda f: (f / "Annotations/0.xml").unlink(), "data-missing: .*there is no file `.*0.xml`"),
    "no folder": (lambda f: (f / "Annotations").rename(f / "xml"), "data-empty: no picture"),
    "a strange encoding": (
        lambda f: _written('<?xml version="1.0" encoding="klingon"?><annotation/>')(f / "Annotations/0.xml"),
        "is not XML",
    ),
}


def _row(old: str, new: str) -> Damage:
    return lambda folder: _replaced(old, new)(folder / "boxes.csv")


TABLE: dict[str, tuple[Damage, str]] = {
    name: (_row(old, new), message)
    for name, (old, new, message) in {
        "no column": (",d,", ",e,", "data-column: .* has no column `d`"),
        "no picture": ("0.png,8", ",8", "data-gap: column `image` of .*, line 2: the picture is missing"),
        "a gap": ("0.png,8,8,", "0.png,8,,", "data-gap: column `b` of .*, line 2"),
        "no class": ("40,24,cat", "40,24,", "data-gap: column `what` of .*, line 2"),
        "a word": (
            "0.png,8,8",
            "0.png,left,8",
            "data-dtype: column `a` of .*, line 2: .left. is not a number",
        ),
        "infinity": ("0.png,8,8", "0.png,inf,8", "data-nonfinite"),
        "a flat box": ("0.png,8,8,40", "0.png,8,8,8", "data-range: .*line 2.* has no area"),
        "an unknown picture": ("0.png", "7.png", "data-missing: .*there is no file `7.png`"),
        "a row more": ("0.png,8", "0.png,8,8", "data-format"),
        "far outside": ("0.png,8,8,40", "0.png,108,8,140", "lies outside of the picture, 64 x 48"),
    }.items()
}


def _check(folder: Path, format: str, damage: Damage, message: str, file: str = "") -> None:
    train, features = write(folder, format)
    damage(folder / file)
    with pytest.raises(SpecError) as caught:
        loaded(folder, train, features)
    said = [f"{each.code}: {each.message}" for each in caught.value.diagnostics]
    assert any(re.search(message, each, re.DOTALL) for each in said), said


@pytest.mark.parametrize("name", COCO)
def test_damages_of_coco_are_told(name: str, tmp_path: Path) -> None:
    _check(tmp_path, "coco", *COCO[name], "boxes.json")


@pytest.mark.parametrize("name", YOLO)
def test_damages_of_yolo_are_told(name: str, tmp_path: Path) -> None:
    _check(tmp_path, "yolo", *YOLO[name])


@pytest.mark.parametrize("name", VOC)
def test_damages_of_voc_are_told(name: str, tmp_path: Path) -> None:
    _check(tmp_path, "voc", *VOC[name])


@pytest.mark.parametrize("name", TABLE)
def test_damages_of_tables_are_told(name: str, tmp_path: Path) -> None:
    _check(tmp_path, "xyxy", *TABLE[name])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"where": [[1, 2, 3]], "what": ["cat"]}, "a box has 3 numbers, not 4"),
        ({"where": [[1, 2, 3, 4]], "what": []}, "it has 1 boxes, and `what` 0 classes"),
        ({"where": [[1, 2, 3, None]], "what": ["cat"]}, "a number of a box is missing"),
        ({"where": [[9, 2, 3, 4]], "what": ["cat"]}, "row 1.*box 0: the box .* has no area"),
        ({"where": [[1, 2, 9, 9]], "what": [None]}, "an element of the list is missing"),
    ],
)
def test_damages_of_lists_are_told(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    def damage(folder: Path) -> None:
        lines = (folder / "boxes.jsonl").read_text().splitlines()
        lines[1] = json.dumps({"image": "1.png", **row})
        (folder / "boxes.jsonl").write_text("\n".join(lines))

    _check(tmp_path, "lists", damage, message.replace("row 1", "line 2"))


def test_boxes_beside_pictures_need_no_folder_of_their_own(tmp_path: Path) -> None:
    """A .txt next to each picture, and in another folder that the feature names."""
    folder = tmp_path / "shots"
    for index, name in enumerate(pictures(folder)):
        (folder / name).with_suffix(".txt").write_text(yolo(TRUTH[index], SIZES[index]))
    (folder / "classes.txt").write_text("cat\ndog\n")
    feature = "image: {encode: image, resize: pad}, boxes: {encode: boxes, format: yolo, values: [cat, dog]"
    np.testing.assert_allclose(boxes(loaded(tmp_path, "shots", feature + "}")), expected(), atol=1e-5)
    (tmp_path / "there").mkdir()
    for file in [*folder.glob("*.txt")]:
        file.rename(tmp_path / "there" / file.name)
    found = boxes(loaded(tmp_path, "shots", feature + ", root: ../there}"))
    np.testing.assert_allclose(found, expected(), atol=1e-5)


def test_classes_that_are_named_are_those_that_there_are(tmp_path: Path) -> None:
    train, features = write(tmp_path, "voc")
    with pytest.raises(SpecError, match=r"the class .cat. is not one of those that are known") as caught:
        loaded(tmp_path, train, features.replace("format: voc", "format: voc, values: [dog, cow]"))
    assert caught.value.diagnostics[0].help == 'these are "dog", "cow"'
    assert voc([], (3, 3)).startswith("<annotation>")


def test_more_classes_than_the_head_has_say_how_many_to_give_it(tmp_path: Path) -> None:
    train, features = write(tmp_path, "voc")
    text = SPEC.replace("Dense, units: 15", "Dense, units: 80").replace("[3, 5]", "[16, 5]")
    text = text.replace("loss: mse", "loss: {{name: detection, strides: [8]}}")
    with pytest.raises(SpecError) as caught:
        load(compile(text.format(train=train, features=features)), None, tmp_path, torch.device("cpu"))
    (found,) = caught.value.diagnostics
    assert found.code == "data-range" and "`0.png`" in found.message
    assert found.help is not None and "the output has 1 class, " in found.help
    assert "`$(vocabulary(boxes))`" in found.help
