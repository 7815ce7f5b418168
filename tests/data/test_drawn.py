"""`draw`: values of another feature for each row, others in each epoch, the same in each evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import graphspec
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load
from graphspec.diagnostics import Diagnostics
from graphspec.train.loop import train

SPEC = """
name: m
inputs:
  user: {shape: [1], dtype: int64}
  movie: {shape: [1], dtype: int64}
  others: {shape: [5], dtype: int64}
shared:
  vectors: {layer: Embedding, input_dim: $(vocabulary(movie)), output_dim: 4}
nodes:
  a: {layer: Embedding, from: user, input_dim: $(vocabulary(user)), output_dim: 4}
  users: {layer: Flatten}
  b: {call: vectors, from: movie}
  movies: {layer: Flatten}
  drawn: {call: vectors, from: others}
  near: {compute: "sum(users * movies, axis=-1, keepdims=true)"}
  far: {compute: "sum(expand_dims(users, axis=1) * drawn, axis=-1)"}
  worse: {compute: "mean(softplus(far - near), axis=-1)"}
outputs: {worse: {loss: mean}}
data:
  train: d.csv
  validation: {split: 0.2}
  features:
    user: {encode: category, vocabulary: 8}
    movie: {encode: category, vocabulary: 12}
    others: {of: movie, draw: 5}
train: {batch_size: 16, epochs: 3, optimizer: {name: sgd, learning_rate: 0.5}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    rows = [f"u{row % 7},m{row * row % 11}" for row in range(100)]
    (folder / "d.csv").write_text("\n".join(["user,movie", *rows]) + "\n")
    return folder


def others(examples: Any, shuffle: Shuffle | None = None, start: int = 0) -> torch.Tensor:
    return torch.cat([batch.arrays["others"] for batch in examples.batches(16, shuffle, start)])


def test_each_epoch_draws_others_and_an_evaluation_the_same(folder: Path) -> None:
    data = load(graphspec.compile(SPEC), None, folder, torch.device("cpu"))
    first, second = (others(data.training, Shuffle(0, epoch)) for epoch in (0, 1))
    assert first.shape == (80, 5) and first.dtype == torch.int64
    encoders: Any = data.encoders
    known = len(encoders.encoders["movie"].vocabularies[0].values)
    for drawn in (first, second, others(data.training), others(data.validation)):
        assert set(drawn.unique().tolist()) == set(range(1, known + 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, others(data.training, Shuffle(0, 0)))
    assert torch.equal(first[32:], others(data.training, Shuffle(0, 0), 32))
    assert torch.equal(others(data.validation), others(data.validation))


def test_a_run_goes_on_to_the_bit_and_predicts_without_a_column_for_what_is_drawn(folder: Path) -> None:
    program = graphspec.compile(SPEC)
    for run, epochs in (("whole", 3), ("parts", 2)):
        train(program, root=folder, run_dir=folder / run, device="cpu", epochs=epochs)
    train(program, root=folder, run_dir=folder / "parts", device="cpu", resume=True, epochs=3)
    whole, parts = (graphspec.Run(folder / run, "last") for run in ("whole", "parts"))
    states = [run.module().state_dict() for run in (whole, parts)]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    row = whole.predict([{"user": "u1", "movie": "m4"}, {"user": "u2", "movie": "m9"}]).to_pylist()
    assert all(each["worse"] > 0 for each in row)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("of: movie", "of: movies", "feature-misfit"),
        ("of: movie", "of: others", "feature-misfit"),
        ("movie: {encode: category, vocabulary: 12}", "movie: {encode: hash, bins: 12}", "feature-misfit"),
        ("draw: 5", "draw: 6", "feature-misfit"),
        ("draw: 5", "draw: 0", "out-of-range"),
        ("{of: movie, draw: 5}", "{draw: 5}", "missing-key"),
        ("{of: movie, draw: 5}", "{of: movie, draw: 5, column: movie}", "out-of-range"),
    ],
)
def test_what_draws_nothing_is_refused(old: str, new: str, code: str) -> None:
    diagnostics = Diagnostics()
    assert old in SPEC
    check(SPEC.replace(old, new), diagnostics, {})
    assert code in [each.code for each in diagnostics.sorted() if each.severity == "error"]
