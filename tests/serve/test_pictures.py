"""A run that reads pictures, served: alone as they are, in rows as base64; a damaged one is told."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphspec
from graphspec.runs.run import Run
from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests.serve.serving import ask, in_thread, same

SPEC = """\
inputs: {image: {shape: [6, 6, 1], dtype: uint8}}
nodes:
  scaled: {layer: Rescaling, scale: 0.0039215686}
  flat: {layer: Flatten}
  shade: {layer: Dense, units: 2, activation: softmax}
outputs: {shade: {loss: sparse_categorical_crossentropy}}
data:
  train: pictures
  features: {image: {encode: image}, shade: {column: label, encode: category}}
train: {epochs: 2, batch_size: 8}
"""


def picture(seed: int, kind: str = "PNG") -> bytes:
    draw = np.random.default_rng(seed)
    held = io.BytesIO()
    Image.fromarray(draw.integers(0, 120, (6, 6)).astype("uint8") + 130 * (seed % 2)).save(held, kind)
    return held.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("pictures")
    for seed in range(16):
        file = place / "pictures" / ("dark", "light")[seed % 2] / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(seed))
    (place / "spec.yaml").write_text(SPEC)
    program = graphspec.compile(place / "spec.yaml")
    train(program, root=place, run_dir=place / "run", tell=lambda line: None)
    return Run(place / "run")


@pytest.fixture(scope="module")
def port(run: Run) -> Iterator[int]:
    with in_thread(Server({"run": Served("run", run.path)}, ServeOptions())) as port:
        yield port


def expected(run: Run, folder: Path, content: bytes) -> dict[str, Any]:
    """What `predict` says of the picture as a file in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "one.png").write_bytes(content)
    found = run.predict(folder).to_pylist()
    return {name: value for name, value in found[0].items() if name.startswith("shade")}


def row(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


def test_a_picture_is_answered_alone_and_in_a_row(run: Run, port: int, tmp_path: Path) -> None:
    for seed, kind in ((20, "PNG"), (21, "PNG"), (22, "BMP")):
        content = picture(seed, kind)
        wanted = expected(run, tmp_path / str(seed), content)
        for body, declared in (
            (content, f"image/{kind.lower()}"),
            (content, "application/octet-stream"),
            (row(content), "application/json"),
        ):
            status, found = ask(port, body, kind=declared)
            assert status == 200 and same(found, wanted), (kind, declared)


def test_a_damaged_picture_is_told(port: int) -> None:
    whole = picture(30)
    for content in (whole[: len(whole) // 2], b"no picture", b"", whole[:20] + bytes(40) + whole[60:]):
        status, found = ask(port, content, kind="image/png")
        assert status == 422 and found["predictions"] == [None], found
        assert found["diagnostics"][0]["row"] == 0 and found["diagnostics"][0]["message"]
    status, found = ask(port, [row(whole), row(whole[:30]), {"image": "*"}, {"image": 3}, {}])
    assert status == 422
    assert [answer is None for answer in found["predictions"]] == [False, True, True, True, True]
    assert "not a picture in base64" in found["diagnostics"][1]["message"]
    assert [each["row"] for each in found["diagnostics"]] == [1, 2, 3, 4]
