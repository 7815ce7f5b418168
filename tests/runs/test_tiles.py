"""Masks of pictures larger than the input, blended from tiles."""

from __future__ import annotations

import http.client
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.data.rows.outputs import unrolled
from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run
from graphspec.runs.tiles import starts, weights
from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests.serve.serving import in_thread

SPEC = """\
params: {height: 24, width: 32}
inputs: {image: {shape: [$height, $width, 3]}}
nodes:
  scaled: {layer: Rescaling, scale: 0.004}
  deep: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, activation: relu, repeat: 2}
  mask: {layer: Conv2D, filters: 3, kernel_size: 3, padding: same, activation: softmax}
outputs: {mask: {loss: sparse_categorical_crossentropy, metrics: [accuracy, mean_iou]}}
data:
  train: photos
  features:
    image: {encode: image}
    mask: {column: image, encode: image, root: ../masks}
train: {epochs: 2, batch_size: 4, optimizer: {name: adam, learning_rate: 0.01}}
"""
SEEN = 3
"""How far a pixel of the answer sees: three convolutions of 3 by 3."""
OVERLAP = 4 * SEEN
SIZES = [(32, 24), (70, 51), (33, 24), (20, 90)]
"""Width and height: as the input, larger, by a pixel, and with a side that is smaller."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place, random = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    for name in ("photos", "masks"):
        (place / name).mkdir()
    for number, (width, height) in enumerate(SIZES):
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / "photos" / f"{number}.png")
        Image.fromarray((pixels[..., 0] // 86).astype(np.uint8)).save(place / "masks" / f"{number}.png")
    (place / "s.yaml").write_text(SPEC)
    return Run(train(compile(place / "s.yaml"), root=place, device="cpu", run_dir=place / "run").run_dir)


def whole(run: Run, number: int) -> np.ndarray:
    """The probabilities of a picture that the model sees whole, brought to at least the size of the input."""
    size = max(SIZES[number][0], 32), max(SIZES[number][1], 24)
    with Image.open(run.path.parent / "photos" / f"{number}.png") as picture:
        pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), np.float32)
    settings = {"width": size[0], "height": size[1]}
    module = run.compiled(settings).module(weights=run.state()).eval()
    with torch.no_grad():
        found: np.ndarray = module(torch.from_numpy(pixels)[None])[0].numpy()
    return found


def test_tiles_give_what_the_whole_picture_gives(run: Run) -> None:
    parts = list(run.predictions(run.path.parent / "photos", tiles=OVERLAP))
    rows = [row for part in parts for row in part.to_pylist()]
    assert [row["file"] for row in rows] == [f"{number}.png" for number in range(len(SIZES))]
    for number, row in enumerate(rows):
        expected = whole(run, number)
        mask = unrolled(row["mask"], expected.shape[1])
        sure = np.sort(expected, -1)[..., -1] - np.sort(expected, -1)[..., -2] > 1e-5
        assert (mask == expected.argmax(-1))[sure].all() and sure.mean() > 0.9
        assert row["mask.1"] == pytest.approx((mask == 1).mean())


def test_what_a_model_sees_at_the_edge_of_a_tile_counts_nothing(run: Run) -> None:
    """Without an overlap, pixels near to the edges of tiles differ, and no others."""
    (part,) = list(run.predictions(run.path.parent / "photos/1.png", tiles=0))
    expected = whole(run, 1)
    mask, apart = unrolled(part["mask"][0].as_py(), 70), np.zeros((51, 70), bool)
    for axis, (size, side) in enumerate([(51, 24), (70, 32)]):
        for start in starts(size, side, 0):
            for edge in (start, start + side):
                near = np.abs(np.arange(size) + 0.5 - edge) < SEEN
                apart |= near[:, None] if axis == 0 else near[None]
    differs = mask != expected.argmax(-1)
    assert differs[apart].any() and not differs[~apart].any()


@pytest.mark.parametrize(("size", "side", "overlap"), [(24, 24, 8), (25, 24, 12), (91, 24, 7), (40, 9, 1)])
def test_every_pixel_counts_in_a_tile(size: int, side: int, overlap: int) -> None:
    total = np.zeros(size)
    for start in starts(size, side, overlap):
        total[start : start + side] += weights(start, size, side, overlap)
    assert total.min() > 0 and starts(size, side, overlap)[-1] == size - side


def test_scores_of_tiles_are_those_of_the_whole_pictures(run: Run) -> None:
    values = run.evaluate(run.path.parent / "photos", tiles=OVERLAP)
    right = pixels = 0
    logs = list[np.ndarray]()
    for number in range(len(SIZES)):
        expected = whole(run, number)
        with Image.open(run.path.parent / "masks" / f"{number}.png") as picture:
            target = np.asarray(picture.resize(expected.shape[1::-1], Image.Resampling.NEAREST))
        right, pixels = right + (expected.argmax(-1) == target).sum(), pixels + target.size
        logs.append(-np.log(np.take_along_axis(expected, target[..., None].astype(int), -1)).ravel())
    assert values["examples"] == len(SIZES)
    assert values["accuracy"] == pytest.approx(right / pixels, abs=1e-3)
    assert values["loss"] == pytest.approx(np.concatenate(logs).mean(), rel=1e-2)
    assert run.evaluate(run.path.parent / "photos")["accuracy"] != values["accuracy"]


def test_pictures_of_tiles_have_their_own_size(run: Run, tmp_path: Path) -> None:
    photos = run.path.parent / "photos"
    words = ["predict", str(run.path), "--data", str(photos), "-o", str(tmp_path / "out"), "--tiles", "12"]
    assert CliRunner().invoke(app, words).exit_code == 0
    for number, size in enumerate(SIZES):
        with Image.open(tmp_path / f"out/mask/{number}.png") as mask:
            assert mask.size == size
            if number != 3:
                assert (np.asarray(mask) == whole(run, number).argmax(-1)).mean() > 0.99
    served = Served("m", run.path, ServeOptions([run.path], tiles=12))
    with in_thread(Server({"m": served}, ServeOptions())) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        kind = {"Content-Type": "image/png", "Accept": "image/png"}
        connection.request("POST", "/predict", (photos / "1.png").read_bytes(), kind)
        answer = connection.getresponse()
        assert answer.status == 200
        content = answer.read()
        connection.close()
        with Image.open(io.BytesIO(content)) as mask, Image.open(tmp_path / "out/mask/1.png") as other:
            assert (np.asarray(mask) == np.asarray(other)).all()


@pytest.mark.parametrize(("overlap", "code"), [(13, "out-of-range"), (-1, "out-of-range")])
def test_an_overlap_of_more_than_half_a_tile_is_refused(run: Run, overlap: int, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        run.predict(run.path.parent / "photos", tiles=overlap)
    assert caught.value.diagnostics[0].code == code and caught.value.diagnostics[0].help


def test_tiles_without_masks_or_data_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="tiles are of pictures that `--data` names"):
        run.evaluate(tiles=4)
    np.savez(tmp_path / "a.npz", x=np.ones((8, 2), "float32"), y=np.ones((8, 1), "float32"))
    text = "inputs: {x: {shape: [2]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
    text += "data: a.npz\ntrain: {epochs: 1}\n"
    (tmp_path / "s.yaml").write_text(text)
    other = train(compile(tmp_path / "s.yaml"), root=tmp_path, device="cpu", run_dir=tmp_path / "run").run_dir
    with pytest.raises(SpecError, match="tiles are for masks of one picture"):
        Run(other).predict(tmp_path / "a.npz", tiles=4)
