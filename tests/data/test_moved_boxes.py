"""Boxes move with the pixels of their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graphspec.compiler import compile
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load

SPEC = """
inputs: {{image: {{shape: [48, 64, 3]}}}}
nodes:
  flat:  {{layer: Flatten}}
  wide:  {{layer: Dense, units: 15}}
  boxes: {{layer: Reshape, target_shape: [3, 5]}}
outputs: {{boxes: {{loss: mse}}}}
data:
  train: boxes.csv
  features:
    image: {{encode: image{augment}}}
    boxes: {{encode: boxes, most: 3, format: xyxy, columns: [x1, y1, x2, y2, label]}}
"""
BACK, COLOURS = 30, {"a": (250, 30, 30), "b": (30, 30, 250)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a rectangle of each colour, which is that of its class."""
    place, random, rows = (
        tmp_path_factory.mktemp("moved"),
        np.random.default_rng(0),
        ["image,x1,y1,x2,y2,label"],
    )
    for index in range(16):
        pixels = np.full((48, 64, 3), BACK, np.uint8)
        for start, (label, colour) in enumerate(COLOURS.items()):
            left, top = 32 * start + random.integers(0, 10), random.integers(0, 20)
            right, bottom = left + random.integers(8, 20), top + random.integers(8, 26)
            pixels[top:bottom, left:right] = colour
            rows.append(f"{index}.png,{left},{top},{right},{bottom},{label}")
        Image.fromarray(pixels).save(place / f"{index}.png")
    (place / "boxes.csv").write_text("\n".join(rows) + "\n")
    return place


def batch(folder: Path, augment: str, mix: str = "") -> dict[str, np.ndarray]:
    text = SPEC.format(augment=f", augment: [{augment}]" if augment else "") + mix
    data = load(compile(text), None, folder, torch.device("cpu"))
    (found,) = data.training.batches(16, Shuffle(0, 0))
    return {name: array.numpy() for name, array in found.arrays.items()}


def seen(picture: np.ndarray, channel: int) -> np.ndarray | None:
    """The box around the pixels of a colour."""
    there = (picture[..., channel] > 140) & (picture[..., 2 - channel] < 140)
    if not there.any():
        return None
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


FILL = "fill_mode: constant, fill_value: 30"
BRIGHT = "factor: 0.05, value_range: [0, 255]"
LAYERS = {
    "flips": "{layer: RandomFlip}",
    "translation": f"{{layer: RandomTranslation, height_factor: 0.4, width_factor: 0.4, {FILL}}}",
    "zoom": f"{{layer: RandomZoom, height_factor: [-0.3, 0.3], width_factor: [-0.3, 0.3], {FILL}}}",
    "shear": f"{{layer: RandomShear, x_factor: 0.4, y_factor: 0.2, {FILL}}}",
    "all": f"{{layer: RandomBrightness, {BRIGHT}}}, {{layer: RandomFlip, mode: horizontal}}, "
    f"{{layer: RandomContrast, {BRIGHT}}}, "
    f"{{layer: RandomTranslation, height_factor: 0.2, width_factor: 0.2, {FILL}}}",
}


@pytest.mark.parametrize("name", LAYERS)
def test_boxes_are_around_what_they_were_around(name: str, folder: Path) -> None:
    still, moved = batch(folder, ""), batch(folder, LAYERS[name])
    assert (still["image"] != moved["image"]).any((1, 2, 3)).mean() > 0.4
    checked = 0
    for picture, boxes in zip(moved["image"], moved["boxes"], strict=True):
        for left, top, right, bottom, label in boxes[boxes[:, 4] >= 0]:
            around = seen(picture, 2 * int(label))
            if name == "shear" or around is None:  # some corners are outside
                assert around is None or (around >= [left - 1, top - 1, 0, 0]).all()
                continue
            assert np.abs(around - (left, top, right, bottom)).max() <= 1.01
            checked += 1
    assert checked > 12 or name == "shear"


def test_a_rotation_has_the_box_around_its_corners(folder: Path) -> None:
    layer = "{layer: RandomRotation, factor: [0.25, 0.25]}"  # a quarter to the left
    still, moved = batch(folder, ""), batch(folder, layer)
    for before, after in zip(still["boxes"], moved["boxes"], strict=True):
        for (left, top, right, bottom, label), found in zip(before, after, strict=True):
            if label < 0:
                continue
            sides = np.array([top - 24 + 32, 32 - right + 24, bottom - 24 + 32, 32 - left + 24])
            inside = np.clip(sides, 0, [64, 48, 64, 48])
            area = (inside[2:] - inside[:2]).clip(0).prod()
            if area < 0.1 * (sides[2:] - sides[:2]).prod():
                assert (found == -1).all()
            else:
                np.testing.assert_allclose(found, [*inside, label], atol=1e-2)


def test_perspective_moves_corners_as_its_map_says(folder: Path) -> None:
    layer = "{layer: RandomPerspective, factor: [1, 1], scale: 0.5, fill_value: 30}"
    moved = batch(folder, layer)
    errors: list[Any] = []
    for picture, boxes in zip(moved["image"], moved["boxes"], strict=True):
        for *sides, label in boxes[boxes[:, 4] >= 0]:
            around = seen(picture, 2 * int(label))
            if around is not None and (around[:2] > 1).all() and (around[2:] < (63, 47)).all():
                errors.append(np.abs(around - sides).max())
    assert len(errors) > 8 and max(errors) <= 1.6


def test_boxes_that_moved_out_are_gone(folder: Path) -> None:
    layer = "{layer: RandomTranslation, height_factor: [1, 1], width_factor: 0, fill_mode: constant}"
    assert (batch(folder, layer)["boxes"] == -1).all()
    layer = "{layer: RandomTranslation, height_factor: [1, 1], width_factor: 0, fill_mode: reflect}"
    assert (batch(folder, layer)["boxes"] == -1).all()


def test_mixed_pictures_have_the_boxes_of_both(folder: Path) -> None:
    still, mixed = batch(folder, ""), batch(folder, "", "  mix: [{layer: MixUp}]\n")
    assert mixed["boxes"].shape == (16, 6, 5)
    assert (mixed["boxes"][:, :3] == still["boxes"]).all()
    whole = {boxes.tobytes() for boxes in still["boxes"]}
    assert {boxes.tobytes() for boxes in np.ascontiguousarray(mixed["boxes"][:, 3:])} == whole


def test_a_pasted_rectangle_shows_and_hides_boxes(folder: Path) -> None:
    still, mixed = batch(folder, ""), batch(folder, "", "  mix: [{layer: CutMix}]\n")
    kept, added = mixed["boxes"][:, :3], mixed["boxes"][:, 3:]
    gone = (kept != still["boxes"]).any(-1)
    assert (kept[gone] == -1).all() and gone.any() and (added[..., 4] >= 0).any()
    for picture, boxes in zip(mixed["image"], added, strict=True):
        for left, top, right, bottom, label in boxes[boxes[:, 4] >= 0]:
            inside = picture[round(top) : round(bottom), round(left) : round(right)]
            if inside.size:
                colour = np.array(list(COLOURS.values())[int(label)])
                assert (np.abs(inside - colour).max(-1) < 1).mean() > 0.7
