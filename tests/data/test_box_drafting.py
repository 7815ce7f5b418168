"""A first detector for a file of COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphspec
from graphspec.data.drafting import draft
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train


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
