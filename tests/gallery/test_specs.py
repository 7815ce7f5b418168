"""Each spec of specs/: it is right, has the published number of parameters, and learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphspec
from graphspec.compiler import check
from graphspec.diagnostics import Diagnostics
from graphspec.train.loop import train
from tests import ROOT, bundled, one_in

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
SPECS_BY_NAME = {path.stem: path for path in SPECS}
SMALL: dict[str, dict[str, object]] = {
    # what makes a spec small enough for a few steps in a test
    "posts": {"nodes.vectors.output_dim": 16, **{f"nodes.conv{i}.filters": 16 for i in (1, 2, 3)}},
    "question_answering": {"train.batch_size": 32},
    "resnet50": {
        "widths": [4, 8, 16, 32],
        "depths": [1, 1, 1, 2],
        "inputs.image.shape": [32, 32, 3],
        "nodes.probs.units": 10,
        "train.batch_size": 8,
    },
}
LEARNING_RATE = {"question_answering": 0.01, "resnet50": 0.003}
SHORT = 8
"""Epochs, of ten batches each."""


@bundled(16, "path", SPECS, ids=lambda path: path.stem)
def test_specs_are_right(path: Path) -> None:
    diagnostics = Diagnostics()
    assert check(path, diagnostics, {}) is not None
    assert not diagnostics.sorted()


@pytest.mark.parametrize(
    ("name", "preset", "total"),
    [("dense", None, 3_466), ("resnet50", None, 25_636_712), ("resnet50", "resnet101", 44_707_176)],
)
def test_parameters_are_as_published(name: str, preset: str | None, total: int) -> None:
    summary = graphspec.compile(SPECS_BY_NAME[name], preset=preset).summary()
    assert summary.total_params == total


@pytest.mark.parametrize("name", one_in(2, ["posts", "dense", "question_answering", "resnet50", "siamese"]))
def test_specs_learn_from_synthetic_data(name: str, tmp_path: Path) -> None:
    settings = {
        "train.optimizer": {"name": "adam", "learning_rate": LEARNING_RATE.get(name, 0.001)},
        **SMALL.get(name, {}),
    }
    program = graphspec.compile(SPECS_BY_NAME[name], settings=settings)
    result = train(program, device="cpu", run_dir=tmp_path / "run", epochs=SHORT)
    losses = np.array(result.history["loss"])
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parity
def test_digits_are_learned_as_well_as_the_readme_says(tmp_path: Path) -> None:
    path = SPECS_BY_NAME["digits"]
    result = train(graphspec.compile(path), root=path.parent, device="cpu", run_dir=tmp_path / "run")
    accuracy = result.metrics["val_accuracy"]
    assert isinstance(accuracy, float) and accuracy >= 0.97
