"""Boxes that a run predicts: in pixels of each picture, as tables, as COCO's results, drawn, and served."""

from __future__ import annotations

import base64
import http.client
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.report import page
from graphspec.compiler import compile
from graphspec.data.columns import TablePart
from graphspec.data.loading import load
from graphspec.data.rows.outputs import BoxesWritten, ModelOutputs
from graphspec.runs.boxes import drawn
from graphspec.runs.report import report
from graphspec.runs.run import Run
from graphspec.serve import openapi
from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests.data.boxed import SIZES, TRUTH, write
from tests.serve.serving import in_thread

SPEC = """
inputs: {{image: {{shape: [32, 32, 3]}}}}
nodes:
  scaled: {{layer: Rescaling, scale: 0.001}}
  flat:   {{layer: Flatten}}
  wide:   {{layer: Dense, units: 15}}
  learnt: {{layer: Reshape, target_shape: [3, 5]}}
  some:   {{layer: Dense, from: flat, units: 18}}
  found:  {{layer: Reshape, target_shape: [3, 6]}}
outputs:
  learnt: {{loss: mse, target: boxes}}
  found:  {{target: boxes}}
data:
  train: {train}
  features: {{{features}}}
"""
ANSWER = [[4, 8, 20, 24, 0.9, 1], [0, 0, 0, 0, 0, -1], [2, 12, 40, 20, 0.95, 0]]
"""What the model says of every picture, in pixels of its input: two boxes, the second beyond the picture."""


def answers(place: Path, format: str, folder: Path) -> Run:
    """A run that gives this answer, trained on a format."""
    train_path, features = write(folder, format)
    features = features.replace("encode: boxes", "encode: boxes, most: 3")
    (folder / "s.yaml").write_text(SPEC.format(train=train_path, features=features))
    program = compile(folder / "s.yaml", settings={"train.epochs": 1})
    train(program, root=folder, run_dir=place, device="cpu", tell=lambda line: None)
    weights = load_file(place / "best.safetensors")
    weights["some.weight"].zero_()
    weights["some.bias"].copy_(torch.tensor(ANSWER).flatten())
    save_file(weights, place / "known.safetensors")
    return Run(place, weights=place / "known.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boxes")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return answers(folder / "run", "coco", folder)


def expected(index: int) -> tuple[list[list[float]], list[str]]:
    """The boxes of the answer in a picture, best first, cut off at its edges, and their classes."""
    width, height = SIZES[index]
    factor = 32 / max(width, height)
    left, top = ((32 - round(side * factor)) // 2 for side in (width, height))
    boxes = []
    for x1, y1, x2, y2 in ([2, 12, 40, 20], [4, 8, 20, 24]):
        sides = [(x1 - left) / factor, (y1 - top) / factor, (x2 - left) / factor, (y2 - top) / factor]
        boxes.append(np.clip(sides, 0, [width, height, width, height]).tolist())
    return boxes, ["cat", "dog"]


def test_what_is_encoded_comes_back_in_pixels_of_the_picture(folder: Path, run: Run) -> None:
    encoders, known = run.encoders(), load(run.program, None, folder, torch.device("cpu"))
    assert encoders is not None
    targets = next(known.training.batches(9)).arrays["boxes"].numpy()
    rows = np.concatenate((targets[..., :4], np.ones((6, 3, 1)), targets[..., 4:]), -1)
    names = pa.table({"image": [f"{index}.png" for index in range(6)]})
    encoder: Any = encoders.encoders["boxes"]
    encoder.picture.columns = ("image",)
    unit = encoder.unit(TablePart(names, np.arange(6), "t", str, root=folder))
    columns = BoxesWritten("found", ("cat", "dog"))(ModelOutputs({"found": rows}, {}), unit)
    for found, labels, truth in zip(
        columns["found"].python(), columns["found.class"].python(), TRUTH, strict=True
    ):
        np.testing.assert_allclose(
            np.array(found).reshape(-1, 4), [list(box[:4]) for box in truth] or np.zeros((0, 4)), atol=1e-4
        )
        assert labels == [box[4] for box in truth]


def test_predictions_are_in_pixels_of_each_picture(folder: Path, run: Run) -> None:
    rows = run.predict(folder / "boxes.json").to_pylist()
    assert [(row["id"], row["image"]) for row in rows] == [(100 + i, f"{i}.png") for i in range(6)]
    for index, row in enumerate(rows):
        boxes, classes = expected(index)
        np.testing.assert_allclose(row["found"], boxes, atol=1e-4)
        assert row["found.class"] == classes
        np.testing.assert_allclose(row["found.score"], [0.95, 0.9], rtol=1e-6)
    assert [row["found"] for row in run.predict(folder / "images").to_pylist()] == [r["found"] for r in rows]


def test_pictures_may_be_named_by_any_table(folder: Path, run: Run, tmp_path: Path) -> None:
    rows = [{"image": f"{index}.png"} for index in range(6)]
    wanted = [row["found"] for row in run.predict(folder / "images").to_pylist()]
    (folder / "names.csv").write_text("image\n" + "".join(f"{row['image']}\n" for row in rows))
    assert [row["found"] for row in run.predict(folder / "names.csv").to_pylist()] == wanted
    held = [{"image": (folder / "images" / row["image"]).read_bytes()} for row in rows]
    assert [row["found"] for row in run.predict(held).to_pylist()] == wanted


def test_results_of_coco_have_its_ids(folder: Path, run: Run, tmp_path: Path) -> None:
    for data, first in (("boxes.json", 100), ("images", 0)):
        argv = ["predict", str(run.path), "--data", str(folder / data), "-o", str(tmp_path / f"{first}.json")]
        done = CliRunner().invoke(app, [*argv, "--weights", str(run.path / "known.safetensors")])
        assert done.exit_code == 0, done.output
        entries = json.loads((tmp_path / f"{first}.json").read_text())
        assert [each["image_id"] for each in entries] == [first + i for i in range(6) for _ in range(2)]
        assert [each["category_id"] for each in entries[:2]] == [7, 11]
        left, top, right, bottom = expected(0)[0][1]
        np.testing.assert_allclose(entries[1]["bbox"], [left, top, right - left, bottom - top], atol=1e-3)
        assert entries[1]["score"] == 0.9


def test_boxes_are_drawn_in_a_folder(folder: Path, run: Run, tmp_path: Path) -> None:
    argv = ["predict", str(run.path), "--data", str(folder / "images"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*argv, "--weights", str(run.path / "known.safetensors")])
    assert done.exit_code == 0, done.output
    colours = json.loads((tmp_path / "out" / "classes.json").read_text())["found"]
    assert [each["class"] for each in colours] == ["cat", "dog"]
    dog = tuple(bytes.fromhex(colours[1]["color"][1:]))
    for index, size in enumerate(SIZES):
        picture = Image.open(tmp_path / "out" / "found" / f"{index}.png")
        assert picture.size == size
        left, _, _, bottom = (int(side) for side in expected(index)[0][1])
        assert picture.getpixel((left + 1, bottom - 1)) == dog
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert table[0].endswith("found,found.class,found.score")


def test_what_cannot_be_drawn_is_told(folder: Path, run: Run, tmp_path: Path) -> None:
    picture = Image.new("L", (20, 10))
    boxes = np.array([[-5, -5, 30, 30], [3, 3, 3, 3], [19, 9, 20, 10]]).tolist()
    assert drawn(picture, boxes, ["\u732b 0.5", "a 1", "b"], ["\u732b", "a"]).size == (20, 10)


def test_a_server_answers_a_picture_with_boxes(folder: Path, run: Run) -> None:
    options = ServeOptions([run.path], weights=str(run.path / "known.safetensors"))
    served = Served("run", run.path, options)
    schema: Any = openapi.answer_schema(served)["properties"]
    assert schema["found.class"]["items"] == {"enum": ["cat", "dog"]}
    picture = (folder / "images" / "2.png").read_bytes()
    boxes, classes = expected(2)
    row = {"image": base64.b64encode(picture).decode()}
    for answer in served.predict([(0, row)]) + served.predict([(0, row), (1, row)]):
        np.testing.assert_allclose(answer["found"], boxes, atol=1e-4)
        assert answer["found.class"] == classes
    with in_thread(Server({"run": served}, options)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "image/png", "Accept": "image/png"}
        connection.request("POST", "/predict", picture, headers)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.headers["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(answer.read())).size == SIZES[2]
        connection.close()


DETECTOR = """
inputs: {{image: {{shape: [32, 32, 3]}}}}
nodes:
  scaled: {{layer: Rescaling, scale: 0.004}}
  cells:  {{layer: Conv2D, filters: 8, kernel_size: 8, strides: 8, activation: relu}}
  out:    {{layer: Conv2D, filters: 7, kernel_size: 1}}
  boxes:  {{layer: Reshape, target_shape: [16, 7]}}
outputs:
  boxes: {{loss: {{name: detection, strides: [8]}}, metrics: [mean_average_precision], threshold: 0}}
data:
  train: {train}
  features: {{{features}}}
"""


def test_a_report_shows_boxes_over_pictures(tmp_path: Path) -> None:
    train_path, features = write(tmp_path, "voc")
    program = compile(DETECTOR.format(train=train_path, features=features), settings={"train.epochs": 1})
    train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda line: None)
    made = report(Run(tmp_path / "run"), tmp_path / train_path)
    (shown,) = made.outputs
    assert page(made).count("<polyline") >= len(shown.detections)
    assert len(shown.worst) == 6
    assert shown.detections and all(len(each["precision"]) == 101 for each in shown.detections)
    for each in shown.detections:
        assert each["targets"] > 0 and 0 <= each["ap"] <= 1
        assert each["ap50"] == pytest.approx(np.mean(each["precision"]))
    for example in (*shown.best, *shown.worst):
        assert {"target", "predicted"} <= example.pictures.keys()
        assert all(url.startswith("data:image/png") for url in example.pictures.values())
