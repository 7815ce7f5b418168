"""Masks: images as targets, whose pixels are classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import graphspec
from graphspec.compiler import compile
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load
from graphspec.diagnostics import SpecError

CPU = torch.device("cpu")
HEADS = {
    "classes": ("filters: 3, activation: softmax", "sparse_categorical_crossentropy"),
    "one_hot": ("filters: 3, activation: softmax", "categorical_crossentropy"),
    "regions": ("filters: 3, activation: softmax", "{name: dice, axis: [1, 2]}"),
    "two": ("filters: 1, activation: sigmoid", "binary_crossentropy"),
    "region": ("filters: 1, activation: sigmoid", "{name: dice, axis: [1, 2, 3]}"),
}


def spec(head: str = "classes", mask: str = "encode: image", photo: str = "encode: image") -> str:
    filters, loss = HEADS[head]
    return f"""
inputs: {{photo: {{shape: [4, 6, 3]}}}}
nodes:
  mask: {{layer: Conv2D, kernel_size: 1, {filters}}}
outputs:
  mask: {{loss: {loss}}}
data:
  train: t.csv
  features:
    photo: {{{photo}}}
    mask: {{{mask}}}
"""


def saved(folder: Path, *masks: Image.Image | Any) -> None:
    """A table of photos, and of these masks."""
    lines = ["photo,mask"]
    for index, mask in enumerate(masks):
        picture = mask if isinstance(mask, Image.Image) else Image.fromarray(np.asarray(mask, np.uint8))
        picture.save(folder / f"m{index}.png")
        picture.convert("RGB").save(folder / f"p{index}.png")
        lines.append(f"p{index}.png,m{index}.png")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")


def examples(folder: Path, text: str) -> Any:
    (folder / "s.yaml").write_text(text)
    return load(compile(folder / "s.yaml"), None, folder, CPU).training


def loaded(folder: Path, text: str) -> torch.Tensor:
    training = examples(folder, text)
    (batch,) = training.batches(len(training))
    target: torch.Tensor = batch.arrays["mask"]
    return target


def mistake(folder: Path, text: str) -> Any:
    with pytest.raises(SpecError) as caught:
        loaded(folder, text)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


PIXELS = np.random.default_rng(0).choice([0, 100, 255], (2, 4, 6))
IDS = np.searchsorted([0, 100, 255], PIXELS)
MORE = "encode: image, values: [0, 100, 255]"


def test_pixels_are_the_classes_that_values_names(tmp_path: Path) -> None:
    saved(tmp_path, *PIXELS)
    found = loaded(tmp_path, spec("classes", MORE))
    assert found.dtype == torch.int64 and found.tolist() == IDS.tolist()
    for head in ("one_hot", "regions"):
        assert loaded(tmp_path, spec(head, MORE)).tolist() == np.eye(3)[IDS].tolist()
    other = loaded(tmp_path, spec("classes", "encode: image, values: [255, 100, 0]"))
    assert other.tolist() == (2 - IDS).tolist()


@pytest.mark.parametrize("head", ["two", "region"])
def test_two_classes_are_zero_and_one(tmp_path: Path, head: str) -> None:
    pixels = np.where(PIXELS == 100, 0, PIXELS)
    saved(tmp_path, *pixels)
    found = loaded(tmp_path, spec(head, "encode: image, values: [0, 255]"))
    assert found.dtype == torch.float32 and found.tolist() == (pixels == 255)[..., None].tolist()
    assert "`values: [0, 255]`" in mistake(tmp_path, spec(head)).help


def test_a_palette_holds_the_classes_themselves(tmp_path: Path) -> None:
    pictures = [Image.fromarray(each.astype(np.uint8)) for each in IDS]
    for each in pictures:
        each.putpalette([200, 10, 10, 10, 200, 10, 0, 0, 0])
    saved(tmp_path, *pictures)
    assert loaded(tmp_path, spec()).tolist() == IDS.tolist()
    saved(tmp_path, *(Image.fromarray(each.astype(np.uint16)) for each in IDS))
    assert loaded(tmp_path, spec()).tolist() == IDS.tolist()


def test_classes_are_not_blended_by_resizing(tmp_path: Path) -> None:
    saved(tmp_path, np.kron(PIXELS[0], np.ones((3, 3))), np.kron(PIXELS[1], np.ones((5, 5))))
    assert loaded(tmp_path, spec("classes", MORE)).tolist() == IDS.tolist()


@pytest.mark.parametrize(
    ("mask", "feature", "message", "help"),
    [
        (PIXELS[0], "encode: image", "255 at line 2", "`values: [0, 100, 255]`"),
        (PIXELS[0], "encode: image, values: [0, 50, 255]", "pixel value 100", "`values: [0, 100, 255]`"),
        (np.stack([PIXELS[0]] * 2 + [PIXELS[1]], -1), MORE, "coloured", "palette"),
        (Image.fromarray(np.full((4, 6), 999, np.uint16)), MORE, "999", "palette"),
    ],
    ids=["no_values", "other_values", "colours", "sixteen_bits"],
)
def test_what_is_no_class_is_refused(
    tmp_path: Path, mask: Any, feature: str, message: str, help: str
) -> None:
    saved(tmp_path, mask)
    found = mistake(tmp_path, spec("classes", feature))
    assert found.code == "data-range" and message in found.message and help in found.help


def test_a_loss_of_regions_has_no_weights_of_pixels() -> None:
    text = spec("regions", MORE).replace("  mask: {loss:", "  mask: {class_weight: balanced, loss:")
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    (found,) = caught.value.diagnostics
    assert found.code == "feature-misfit" and "of each pixel" in found.message


@pytest.mark.parametrize("head", ["classes", "one_hot", "two"])
@pytest.mark.parametrize("given", ["balanced", "{0: 3, 255: 0.5}"])
def test_classes_of_pixels_have_weights(tmp_path: Path, head: str, given: str) -> None:
    values = [0, 255] if head == "two" else [0, 100, 255]
    pixels = np.where(PIXELS == 100, 0, PIXELS) if head == "two" else PIXELS
    saved(tmp_path, *pixels)
    text = spec(head, f"encode: image, values: {values}")
    training = examples(tmp_path, text.replace("  mask: {loss:", f"  mask: {{class_weight: {given}, loss:"))
    (batch,) = training.batches(len(training))
    counts = {value: int((pixels == value).sum()) for value in values}
    balanced = {value: pixels.size / (len(values) * count) for value, count in counts.items()}
    known = balanced if given == "balanced" else {0: 3.0, 100: 1.0, 255: 0.5}
    assert np.allclose(batch.weights["mask"], np.vectorize(known.get)(pixels))


@pytest.mark.parametrize(
    ("head", "more", "code"),
    [
        ("classes", {"mask": "encode: image, values: [0, 255]"}, "feature-misfit"),
        ("region", {"mask": MORE}, "feature-misfit"),
        ("classes", {"photo": MORE}, "feature-misfit"),
        ("classes", {"mask": "encode: image, values: [0, 1, 256]"}, "out-of-range"),
        ("classes", {"mask": MORE + ", interpolation: bicubic"}, "out-of-range"),
    ],
    ids=["count", "one_unit", "input", "range", "interpolation"],
)
def test_values_that_cannot_fit_are_found_before_the_data(head: str, more: dict[str, str], code: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(spec(head, **more))
    assert [each.code for each in caught.value.diagnostics] == [code]


SHIFT = "height_factor: 0.5, width_factor: 0.5, fill_mode: wrap, interpolation: nearest"
MOVED = f"encode: image, augment: [{{layer: RandomFlip}}, {{layer: RandomTranslation, {SHIFT}}}]"


def shuffled(folder: Path, text: str) -> Any:
    training = examples(folder, text)
    (batch,) = training.batches(len(training), Shuffle(0, 0))
    return batch.arrays


@pytest.mark.parametrize("head", ["classes", "one_hot"])
def test_masks_move_with_the_pixels_of_their_images(tmp_path: Path, head: str) -> None:
    saved(tmp_path, *np.random.default_rng(1).choice([0, 100, 255], (40, 4, 6)))
    still, moved = (shuffled(tmp_path, spec(head, MORE, photo)) for photo in ("encode: image", MOVED))
    assert still["mask"].dtype == moved["mask"].dtype
    changed = (still["mask"] != moved["mask"]).flatten(1).any(1)
    assert changed.float().mean() > 0.5
    for arrays in (still, moved):
        ids = arrays["mask"] if head == "classes" else arrays["mask"].argmax(-1)
        assert torch.equal(torch.tensor([0, 100, 255])[ids], arrays["photo"][..., 0].long())


def test_inputs_of_one_picture_move_together(tmp_path: Path) -> None:
    saved(tmp_path, *np.random.default_rng(1).choice([0, 100, 255], (40, 4, 6)))
    text = spec("classes", MORE, MOVED)
    text = text.replace("photo: {shape: [4, 6, 3]}", "twin: {shape: [4, 6, 3]}, photo: {shape: [4, 6, 3]}")
    text = text.replace("nodes:\n", "nodes:\n  sum: {merge: add, from: [photo, twin]}\n")
    text = text.replace("  features:\n", f"  features:\n    twin: {{column: photo, {MOVED}}}\n")
    arrays = shuffled(tmp_path, text)
    assert torch.equal(arrays["photo"], arrays["twin"])
    assert torch.equal(torch.tensor([0, 100, 255])[arrays["mask"]], arrays["photo"][..., 0].long())
    still = shuffled(tmp_path, spec("classes", MORE, "encode: image"))
    assert not torch.equal(arrays["photo"], still["photo"])


def test_inputs_of_one_picture_move_together_in_two_sizes(tmp_path: Path) -> None:
    """Noise takes as many random numbers as there are pixels."""
    saved(tmp_path, *np.tile(np.repeat([0, 255], 3), (40, 4, 1)))
    erased = (
        "encode: image, augment: [{layer: RandomErasing, factor: [1, 1], scale: 0.01}, {layer: RandomFlip}]"
    )
    text = spec("classes", MORE, erased)
    text = text.replace("photo: {shape: [4, 6, 3]}", "twin: {shape: [8, 12, 3]}, photo: {shape: [4, 6, 3]}")
    text = text.replace(
        "nodes:\n",
        "nodes:\n  small: {layer: MaxPooling2D, from: twin}\n  sum: {merge: add, from: [photo, small]}\n",
    )
    text = text.replace("  features:\n", f"  features:\n    twin: {{column: photo, {erased}}}\n")
    arrays = shuffled(tmp_path, text)
    flipped, twins = (
        arrays[name][:, :, : width // 2].mean((1, 2, 3)) > 127 for name, width in (("photo", 6), ("twin", 12))
    )
    assert torch.equal(flipped, twins) and 5 < int(flipped.sum()) < 35


def test_what_changes_colours_leaves_masks_alone(tmp_path: Path) -> None:
    saved(tmp_path, *np.random.default_rng(1).choice([0, 255], (40, 4, 6)))
    layers = "{layer: RandomFlip}, {layer: RandomBrightness, factor: [0.1, 0.1]}, {layer: RandomFlip}"
    mask = "encode: image, values: [0, 255]"
    arrays = shuffled(tmp_path, spec("region", mask, f"encode: image, augment: [{layers}]"))
    assert torch.equal(arrays["photo"][..., :1] > 128, arrays["mask"] == 1)
    assert set(arrays["photo"].unique().tolist()) == {25.5, 255}


def test_pixels_that_do_not_count_stay_so(tmp_path: Path) -> None:
    saved(tmp_path, *np.random.default_rng(1).choice([0, 1, 2, 9], (40, 4, 6)))
    text = spec("classes", "encode: image", MOVED)
    loss = "sparse_categorical_crossentropy"
    text = text.replace(loss, f"{{name: {loss}, ignore_class: 9}}")
    arrays = shuffled(tmp_path, text)
    assert torch.equal(arrays["mask"], arrays["photo"][..., 0].long())


def test_targets_that_cannot_follow_are_refused() -> None:
    text = spec("classes", MORE, MOVED)
    larger = text.replace("  mask: {layer: Conv2D", "  large: {layer: UpSampling2D}\n  mask: {layer: Conv2D")
    two = text.replace("photo: {shape: [4, 6, 3]}", "photo: {shape: [4, 6, 3]}, depth: {shape: [4, 6, 3]}")
    two = two.replace("nodes:\n", "nodes:\n  sum: {merge: add, from: [photo, depth]}\n")
    two = two.replace("  features:\n", f"  features:\n    depth: {{{MOVED}}}\n")
    for wrong, word in ((larger, "8 x 12"), (two, "follows one image")):
        with pytest.raises(SpecError) as caught:
            graphspec.compile(wrong)
        (found,) = caught.value.diagnostics
        assert found.code == "feature-misfit" and word in found.message and found.span is not None
