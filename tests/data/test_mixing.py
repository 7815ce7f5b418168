"""`data.mix`: MixUp and CutMix beside Keras, what they draw, and what cannot be mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from graphspec.compiler import check, compile
from graphspec.data.batches import Batch, InMemory, Shuffle
from graphspec.data.draws import Mosaics, Partners, draw
from graphspec.data.in_memory_source import given
from graphspec.data.loading import load
from graphspec.data.mixed import Mixed
from graphspec.data.mixing import CutMix, MixUp, Mosaic, parse_mix
from graphspec.data.sharing import Shared
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.reference.layers import find
from graphspec.runs.run import Run
from graphspec.settings import SettingError
from tests import one_in
from tests.distributions import largest_gaps, limit

CPU = torch.device("cpu")


# --- beside Keras


def images(count: int, first: bool = False) -> Tensor:
    shape = (count, 3, 7, 9) if first else (count, 7, 9, 3)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_mixup_blends_as_keras_does() -> None:
    pictures, labels = images(8), torch.eye(4)[torch.arange(8) % 4]
    drawn = draw(MixUp(alpha=0.4), 8, np.random.default_rng(0))
    assert isinstance(drawn, Partners)
    layer = keras.layers.MixUp(alpha=0.4)
    theirs = {"mix_weight": drawn.weight, "permutation_order": drawn.partner}
    assert torch.equal(drawn.blended(pictures), layer.transform_images(pictures, theirs))
    assert torch.equal(drawn.blended(labels), layer.transform_labels(labels, theirs))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_cutmix_pastes_as_keras_does(data_format: str) -> None:
    first = data_format == "channels_first"
    pictures, labels = images(32, first), torch.eye(4)[torch.arange(32) % 4]
    drawn = draw(CutMix(), 32, np.random.default_rng(0))
    assert isinstance(drawn, Partners)
    layer = keras.layers.CutMix(data_format=data_format)
    assert drawn.box is not None
    top, bottom, left, right = drawn.box.T
    masks, weight = layer._generate_batch_mask(pictures.shape, (left * 9, right * 9, top * 7, bottom * 7))
    theirs = {"mix_weight": weight, "permutation_order": drawn.partner, "batch_masks": masks}
    made = drawn.pasted(pictures, 2 if first else 1)
    assert torch.equal(made, layer.transform_images(pictures, theirs))
    torch.testing.assert_close(drawn.blended(labels), layer.transform_labels(labels, theirs))
    changed = (made != pictures).any((1, 2, 3))
    assert changed.any() and not (made == pictures[drawn.partner]).flatten(1).all(1).all()


@pytest.mark.parametrize("step", one_in(2, [MixUp(), MixUp(alpha=1.0), CutMix(factor=[0.3, 0.9]), CutMix()]))
def test_draws_are_distributed_as_in_keras(step: Any) -> None:
    random, count, batches = np.random.default_rng(5), 6, 150
    arguments = {"alpha": step.alpha} if isinstance(step, MixUp) else {"factor": step.range}
    layer = getattr(keras.layers, step.layer)(seed=3, **arguments)
    ours, theirs = list[Partners](), []
    for _ in range(batches):
        drawn = draw(step, count, random)
        assert isinstance(drawn, Partners)
        ours.append(drawn)
        theirs.append(layer.get_random_transformation(images(count)))
    weights = [torch.cat([each.weight for each in ours]), torch.cat([each["mix_weight"] for each in theirs])]
    columns = [weight.double()[:, None] for weight in weights]
    if isinstance(step, CutMix):
        masks = torch.cat([each["batch_masks"] for each in theirs])
        blank, full = torch.zeros(count, 7, 9, 3), torch.ones(count, 7, 9, 3)
        mine = [_doubled(each, count).pasted(torch.cat([blank, full]), 1)[:count] for each in ours]
        columns = [each[..., 0].flatten(1).double() for each in (torch.cat(mine), masks)]
        noise = torch.Generator().manual_seed(0)
        columns = [each + 1e-6 * torch.rand(each.shape, generator=noise) for each in columns]
    assert float(largest_gaps(*columns).max()) <= limit(len(columns[0]), len(columns[1]))
    partners = torch.stack([each.partner for each in ours])
    assert (partners.sort(1).values == torch.arange(count)).all() and len(partners.unique(dim=0)) > 50


def _doubled(drawn: Partners, count: int) -> Partners:
    """The draw for blank images, each with a full one as its partner."""
    assert drawn.box is not None
    partner = torch.arange(2 * count).roll(count)
    return Partners(partner, drawn.weight.repeat(2), drawn.box.repeat(2, 1))


def test_integers_are_rounded() -> None:
    pixels = torch.tensor([[0], [255]], dtype=torch.uint8)
    drawn = Partners(torch.tensor([1, 0]), torch.tensor([0.25, 0.5]))
    assert drawn.blended(pixels).tolist() == [[191], [128]] and drawn.blended(pixels).dtype == torch.uint8


# --- four pictures on a canvas


def canvas(number: int, drawn: Mosaics, images: Tensor, exact: bool = False) -> np.ndarray:
    """One mosaic, pixel by pixel: [height, width, channels]."""
    _, height, width, channels = images.shape
    top, left = (
        round(float(share * side)) for share, side in zip(drawn.center[number], (height, width), strict=True)
    )
    made, scale = np.zeros((height, width, channels)), float(drawn.scale[number])
    for row in range(height):
        for column in range(width):
            picture = images[drawn.parts[number, 2 * (row >= top) + (column >= left)]].double().numpy()
            y = (row + 0.5 - top) / scale + (0 if row >= top else height)
            x = (column + 0.5 - left) / scale + (0 if column >= left else width)
            if exact:
                made[row, column] = picture[int(y), int(x)]
                continue
            y, x = np.clip(y - 0.5, 0, height - 1), np.clip(x - 0.5, 0, width - 1)
            for i in range(height):
                for j in range(width):
                    near = max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
                    made[row, column] += near * picture[i, j]
    return made


def test_four_pictures_meet_as_by_hand() -> None:
    pictures = torch.rand(6, 8, 6, 2, generator=torch.Generator().manual_seed(1))
    drawn = draw(Mosaic(probability=0.5), 6, np.random.default_rng(0))
    assert isinstance(drawn, Mosaics)
    assert (drawn.parts[:, 0] == torch.arange(6)).all() and 0 < int((drawn.center == 1).all(1).sum()) < 6
    made = drawn.pasted(pictures, 1)
    inside = [n for n in range(6) if float(drawn.center[n, 0]) < 1]
    for number in range(6):
        if number not in inside:
            assert torch.equal(made[number], pictures[number])
            continue
        np.testing.assert_allclose(made[number].numpy(), canvas(number, drawn, pictures), atol=1e-5)
        least = max(float(share) for c in drawn.center[number] for share in (c, 1 - c))
        assert float(drawn.scale[number]) >= least - 1e-6
    first = drawn.pasted(pictures.movedim(3, 1).contiguous(), 2)
    assert torch.equal(first.movedim(1, 3), made)


def test_pictures_of_full_size_are_parts_as_they_are() -> None:
    pictures = (torch.rand(5, 8, 6, 1, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    drawn = draw(Mosaic(scale=1.0), 5, np.random.default_rng(0))
    assert isinstance(drawn, Mosaics) and (drawn.scale == 1).all()
    made, ids = drawn.pasted(pictures, 1), drawn.pasted(pictures[..., 0].long(), 1)
    assert torch.equal(made[..., 0].long(), ids)
    for number in range(5):
        top, left = (round(float(c * s)) for c, s in zip(drawn.center[number], (8, 6), strict=True))
        a, b, c, d = (pictures[part] for part in drawn.parts[number])
        upper = torch.cat((a[8 - top :, 6 - left :], b[8 - top :, : 6 - left]), 1)
        lower = torch.cat((c[: 8 - top, 6 - left :], d[: 8 - top, : 6 - left]), 1)
        assert torch.equal(made[number], torch.cat((upper, lower), 0))


def test_masks_go_with_their_pictures_by_the_nearest_pixel() -> None:
    ids = torch.randint(0, 5, (4, 8, 6), generator=torch.Generator().manual_seed(1))
    drawn = draw(Mosaic(scale=[0.75, 1.0]), 4, np.random.default_rng(0))
    assert isinstance(drawn, Mosaics)
    made = drawn.pasted(ids, 1)
    for number in range(4):
        assert (made[number].numpy() == canvas(number, drawn, ids[..., None], exact=True)[..., 0]).all()


def test_boxes_of_a_mosaic_move_with_their_pictures() -> None:
    free = [-1.0] * 5
    boxes = torch.tensor([[[6.0, 6, 10, 12, 0], free], [[0.0, 0, 4, 4, 1], [9.0, 0, 12, 3, 2]]])
    parts = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])
    drawn = Mosaics(parts, torch.tensor([[0.5, 0.75], [1.0, 1.0]]), torch.tensor([0.75, 1.0]))
    found, whole = drawn.boxes(boxes, (12, 16))
    assert whole[:2].tolist() == boxes[1].tolist() and (whole[2:] == -1).all()
    # the canvas: [12, 16], which meet at y 6 and x 12; a picture is 9 high and 12 wide there
    assert found.tolist() == [
        [4.5, 1.5, 7.5, 6.0, 0],  # at the top left it is moved by (0, -3)
        free,
        free,  # at the top right by (12, -3): what was within 4 rows of the top is hidden
        free,
        [0, 6, 3, 9, 1],  # at the bottom left by (0, 6)
        [6.75, 6, 9, 8.25, 2],
        free,  # at the bottom right by (12, 6): it begins outside
        free,
    ]


def test_other_targets_of_a_mosaic_are_blended_by_area() -> None:
    drawn = Mosaics(torch.tensor([[0, 1, 2, 3]] * 4), torch.tensor([[0.25, 0.5]] * 4), torch.ones(4))
    assert drawn.blended(torch.eye(4))[0].tolist() == [0.125, 0.125, 0.375, 0.375]
    assert drawn.all(torch.tensor([True, True, False, True])).tolist() == [False] * 4


# --- in training

SPEC = """\
inputs:
  picture: {shape: [6, 6, 3]}
  facts: {shape: [4]}
nodes:
  flat: {layer: Flatten, from: picture}
  both: {merge: concatenate, from: [flat, facts]}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs: {kind: {loss: categorical_crossentropy, metrics: [accuracy]}}
data:
  train: a.npz
  mix: [{layer: CutMix}, {layer: MixUp, alpha: 0.4}]
train: {epochs: 1, batch_size: 4}
"""


def arrays(count: int = 10) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "picture": random.random((count, 6, 6, 3)).astype("float32"),
        "facts": random.random((count, 4)).astype("float32"),
        "kind": np.eye(3, dtype="float32")[np.arange(count) % 3],
    }


MOSAIC = SPEC.replace("{layer: CutMix}, {layer: MixUp, alpha: 0.4}", "{layer: Mosaic}")


def training(text: str) -> Mixed:
    found = load(compile(text), given(arrays()), None, CPU).training
    assert isinstance(found, Mixed)
    return found


def joined(batches: list[Batch]) -> dict[str, Tensor]:
    return {name: torch.cat([batch.arrays[name] for batch in batches]) for name in batches[0].arrays}


@pytest.mark.parametrize("text", [SPEC, MOSAIC], ids=["pairs", "mosaic"])
def test_batches_are_mixed_by_seed_epoch_and_place_alone(text: str) -> None:
    found, state = training(text), torch.get_rng_state()
    whole = list(found.batches(4, Shuffle(7, 1)))
    assert torch.equal(state, torch.get_rng_state()) and [len(batch) for batch in whole] == [4, 4, 2]
    plain, mixed = joined(list(found.examples.batches(4, Shuffle(7, 1)))), joined(whole)
    assert all(not torch.equal(plain[name], mixed[name]) for name in plain)
    torch.testing.assert_close(mixed["kind"].sum(1), torch.ones(10))
    again = joined(list(found.batches(4, Shuffle(7, 1), 4)))
    assert all(torch.equal(again[name], mixed[name][4:]) for name in mixed)
    other = joined(list(found.batches(4, Shuffle(7, 2))))
    assert not torch.equal(other["kind"], mixed["kind"])
    still = next(found.batches(10))
    assert torch.equal(still.arrays["picture"], next(found.examples.batches(10)).arrays["picture"])


@pytest.mark.parametrize(("size", "text"), [(2, SPEC), (3, SPEC), (3, MOSAIC)])
def test_processes_share_batches_that_were_mixed_whole(size: int, text: str) -> None:
    found = training(text)
    alone = joined(list(found.batches(4, Shuffle(7, 1))))
    shares = [list(Shared(found, rank, size).batches(4, Shuffle(7, 1))) for rank in range(size)]
    steps = [batch for step in zip(*shares, strict=True) for batch in step if not batch.idle]
    assert all(torch.equal(together, alone[name]) for name, together in joined(steps).items())


def test_an_example_counts_where_its_partner_does_and_weights_are_blended() -> None:
    masks = torch.tensor([True, False, True, True, True, True])
    weights = torch.tensor([1.0, 0.0, 2.0, 2.0, 2.0, 2.0])
    plain = InMemory(
        {"x": torch.arange(6.0)[:, None]}, {"x": torch.float32}, None, {"y": weights}, {"y": masks}
    )
    batch = next(Mixed(plain, (MixUp(alpha=1.0),)).batches(6, Shuffle(0, 0)))
    order = Shuffle(0, 0).order(6)
    (lost,) = (order == 1).nonzero()[0].tolist()
    assert int((~batch.masks["y"]).sum()) == 2 and not batch.masks["y"][lost]
    assert batch.weights["y"].min() > 0 and batch.weights["y"].max() <= 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("dark", "light", "red")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(6):
            color = [(20, 20, 20), (220, 220, 220), (220, 20, 20)][index]
            pixels = np.full((6, 6, 3), color, np.uint8) + np.uint8(number)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "s.yaml").write_text(
        "inputs: {picture: {shape: [6, 6, 3]}}\n"
        "nodes:\n"
        "  small: {layer: Rescaling, scale: 0.0039}\n"
        "  flat: {layer: Flatten}\n"
        "  kind: {layer: Dense, units: 3, activation: softmax}\n"
        "outputs: {kind: {loss: categorical_crossentropy, metrics: [accuracy], class_weight: balanced}}\n"
        "data: {train: pictures, mix: [{layer: CutMix}, {layer: MixUp}]}\n"
        "train: {optimizer: {name: adam, learning_rate: 0.02}, epochs: 40, batch_size: 6}\n"
    )
    return tmp_path


def test_a_folder_of_images_trains_on_mixed_classes(folder: Path) -> None:
    program = compile(folder / "s.yaml")
    found = load(program, None, folder, CPU).training
    mixed = joined(list(found.batches(6, Shuffle(0, 0))))["kind"]
    assert mixed.shape == (18, 3) and ((mixed > 0) & (mixed < 1)).any()
    result = program.fit(run_dir=folder / "run")
    run = Run(result.run_dir)
    assert run.evaluate(folder / "pictures")["accuracy"] == 1
    assert run.predict(folder / "pictures")["kind"].to_pylist() == ["dark"] * 6 + ["light"] * 6 + ["red"] * 6


# --- what cannot be mixed


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("loss: categorical", "loss: sparse_categorical", "`loss: categorical_crossentropy`"),
        ("loss: categorical_crossentropy, metrics: [accuracy]", "metrics: [sparse_categorical_accuracy]", ""),
        ("facts: {shape: [4]}", "facts: {shape: [4], dtype: bool}", "the input `facts` has bool values"),
        ("shape: [6, 6, 3]", "shape: [108]", "{layer: MixUp}"),
    ],
)
def test_what_cannot_be_mixed_is_told(old: str, new: str, says: str) -> None:
    text, found = SPEC.replace(old, new), Diagnostics()
    if "bool" in new:
        text = text.replace("  both", "  cast: {op: cast, dtype: float32, from: facts}\n  both")
        text = text.replace("[flat, facts]", "[flat, cast]")
    check(text, found, {})
    (told,) = found.sorted()
    assert told.code == "feature-misfit" and says in f"{told.message} {told.help}"
    assert told.span is not None and told.span.line == text.count("\n", 0, text.index("mix:")) + 1


def test_a_mosaic_has_masks_of_class_numbers_and_no_classes() -> None:
    text = MOSAIC.replace("loss: categorical", "loss: sparse_categorical")
    found = Diagnostics()
    check(text, found, {})
    assert [each.code for each in found] == ["feature-misfit"]
    nodes = "  kind: {layer: Conv2D, filters: 3, kernel_size: 1, activation: softmax}\n"
    text = f"inputs: {{picture: {{shape: [6, 6, 3]}}}}\nnodes:\n{nodes}" + text[text.index("outputs") :]
    text = text.replace("Mosaic", "Mosaic, scale: 1.0")
    (program, random) = compile(text), np.random.default_rng(0)
    colours = random.integers(0, 3, (10, 6, 6))
    made = {"picture": np.repeat(colours[..., None], 3, -1).astype("float32"), "kind": colours}
    batch = next(load(program, given(made), None, CPU).training.batches(10, Shuffle(7, 1)))
    assert torch.equal(batch.arrays["picture"][..., 0].long(), batch.arrays["kind"])
    assert {each.tobytes() for each in colours} - {each.tobytes() for each in batch.arrays["kind"].numpy()}
    with pytest.raises(SpecError, match="`CutMix` mixes targets"):
        compile(text.replace("Mosaic, scale: 1.0", "CutMix"))


def test_boxes_of_arrays_are_mixed_as_boxes() -> None:
    text = """\
inputs: {picture: {shape: [8, 8, 3]}}
nodes:
  wide: {layer: Conv2D, filters: 6, kernel_size: 8, strides: 8}
  boxes: {layer: Reshape, target_shape: [1, 6]}
outputs: {boxes: {loss: {name: detection, strides: [8]}}}
data: {train: a.npz, mix: [{layer: MixUp}]}
train: {epochs: 1, batch_size: 4}
"""
    boxes = np.array([[[0, 0, 4, 4, 1]], [[2, 2, 8, 8, 0]]], "float32")
    made = {"picture": np.zeros((2, 8, 8, 3), "float32"), "boxes": boxes}
    batch = next(load(compile(text), given(made), None, CPU).training.batches(2, Shuffle(1, 1)))
    rows = {tuple(row) for row in boxes[:, 0].tolist()}
    assert batch.arrays["boxes"].shape == (2, 2, 5)
    assert {tuple(row) for row in batch.arrays["boxes"].flatten(0, 1).tolist()} <= rows


def test_ids_are_not_mixed() -> None:
    text = SPEC.replace("facts: {shape: [4]}", "facts: {shape: [4], dtype: int64}")
    ids = "  e: {layer: Embedding, input_dim: 9, output_dim: 1, from: facts}\n  f: {layer: Flatten}\n"
    text = text.replace("  both", f"{ids}  both")
    found = Diagnostics()
    check(text.replace("[flat, facts]", "[flat, f]"), found, {})
    assert [d.code for d in found] == ["feature-misfit"] and "has ids" in found.sorted()[0].message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"layer": "MixUp"}, "wrong-type"),
        (["MixUp"], "wrong-type"),
        ([{"alpha": 1}], "wrong-type"),
        ([{"layer": "CutMixx"}], "unknown-layer"),
        ([{"layer": "MixUp", "alpha": 0}], "out-of-range"),
        ([{"layer": "MixUp", "factor": 1}], "unknown-key"),
        ([{"layer": "CutMix", "factor": [0.5, 2]}], "out-of-range"),
        ([{"layer": "CutMix", "seed": 3}], "unknown-key"),
        ([{"layer": "Mosaic", "scale": 0}], "out-of-range"),
        ([{"layer": "Mosaic", "center": 0.5}], "wrong-type"),
        ([{"layer": "Mosaic", "probability": 2}], "out-of-range"),
    ],
)
def test_a_mistake_in_mix_has_a_code(value: Any, code: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_mix(value)
    assert caught.value.code == code and (caught.value.help or code == "out-of-range")


def test_other_places_point_to_mix() -> None:
    found = Diagnostics()
    check(SPEC.replace("nodes:", "nodes:\n  mixed: {layer: MixUp, from: picture}"), found, {})
    assert any("data: {mix: [{layer: MixUp}]}" in str(each.help) for each in found.sorted())
    assert [entry.kind for entry in find("CutMix")] == ["batch augmentation"]
    entry = "{encode: image, augment: [{layer: MixUp}]}"
    text = SPEC.replace("  mix: ", f"  features: {{picture: {entry}, kind: {{encode: category}}}}\n  mix: ")
    found = Diagnostics()
    check(text, found, {})
    assert any("data: {mix: [{layer: MixUp}]}" in str(each.help) for each in found.sorted())
