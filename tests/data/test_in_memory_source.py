"""Training, evaluation and prediction from Python: data in memory mean what they mean in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from pyarrow import csv
from torch.utils.data import Dataset

import graphspec
from graphspec.data.in_memory_source import Given, given
from graphspec.diagnostics import SpecError
from graphspec.train.callbacks.base import Callback

TABLE = """
inputs:
  facts: {shape: [2]}
  kind:  {shape: [1], dtype: int64}
nodes:
  read: {layer: Embedding, input_dim: 5, output_dim: 3, from: kind}
  flat: {layer: Flatten}
  all:  {merge: concatenate, from: [facts, flat]}
  y:    {layer: Dense, units: 2, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data:
  validation: {split: 0.25}
  features:
    facts: {columns: [a, b], encode: number, scale: standard}
    kind:  {encode: category, vocabulary: 5}
    y:     {encode: category}
train: {epochs: 2}
"""
ARRAYS = """
inputs: {x: {shape: [3]}}
nodes:  {y: {layer: Dense, units: 2, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy}}
train: {epochs: 2}
"""
ROWS = 40
SOURCE = np.random.default_rng(0)
COLUMNS: dict[str, Any] = {
    "a": SOURCE.normal(size=ROWS).tolist(),
    "b": SOURCE.integers(0, 9, ROWS).tolist(),
    "kind": SOURCE.choice(["red", "green", "blue"], ROWS).tolist(),
    "y": SOURCE.choice(["no", "yes"], ROWS).tolist(),
}


def spec(place: Path, text: str) -> graphspec.Program:
    path = place / "spec.yaml"
    path.write_text(text)
    return graphspec.compile(path)


FRAMES = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "pyarrow": lambda: pa.table(COLUMNS),
    "dict": lambda: {name: np.array(values) for name, values in COLUMNS.items()},
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_train_as_their_file_does(tmp_path: Path, kind: str) -> None:
    program = spec(tmp_path, TABLE)
    csv.write_csv(pa.table(COLUMNS), tmp_path / "data.csv")
    from_file = program.fit(tmp_path / "data.csv", device="cpu", run_dir=tmp_path / "file")
    from_frame = program.fit(FRAMES[kind](), device="cpu", run_dir=tmp_path / "frame")
    assert from_frame.history == from_file.history
    run = graphspec.Run(tmp_path / "frame")
    assert run.predict(FRAMES[kind](), device="cpu").equals(run.predict(tmp_path / "data.csv", device="cpu"))
    assert run.evaluate(FRAMES[kind](), device="cpu") == run.evaluate(tmp_path / "data.csv", device="cpu")


class Items(Dataset[dict[str, torch.Tensor]]):
    """Examples as people's own datasets give them."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


def test_arrays_tensors_and_datasets_train_as_their_file_does(tmp_path: Path) -> None:
    program = spec(tmp_path, ARRAYS)
    x = SOURCE.normal(size=(ROWS, 3)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    wanted = program.fit(tmp_path / "data.npz", device="cpu", run_dir=tmp_path / "file").history
    backwards = {"x": x[::-1].copy()[::-1], "y": y}
    kinds = (backwards, {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, Items(x, y))
    for index, data in enumerate(kinds):
        assert program.fit(data, device="cpu", run_dir=tmp_path / str(index)).history == wanted
    run = graphspec.Run(tmp_path / "0")
    assert run.predict({"x": x}, device="cpu").equals(run.predict(tmp_path / "data.npz", device="cpu"))


class Uneven(Items):
    def __getitem__(self, index: int) -> Any:
        return {"x": self.x[index][: 2 if index == 5 else 3], "y": self.y[index]}


class Pairs(Items):
    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.y[index]


@pytest.mark.parametrize("other", [2, "b", [3, 4]])
def test_a_key_that_a_row_lacks_is_a_missing_value(other: Any) -> None:
    """Of numbers, too, which are arrays where all are there."""
    found = given([{"x": 1, "y": other}, {"x": 2}])
    assert isinstance(found, Given) and found.by_key and found.table is not None
    assert found.table.to_pylist() == [{"x": 1, "y": other}, {"x": 2, "y": None}]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (3, "data-format", "`int` is not a type"),
        ({}, "data-empty", "empty"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4, int)}, "data-shape", "[4, 2]"),
        ({"x": np.zeros((4, 3)), "z": np.zeros(4, int)}, "data-column", "`y`"),
        ({"x": np.zeros((4, 3, 1)), "y": ["a"] * 4}, "data-shape", "holds text"),
        ({"x": [[1, 2, 3], [1, 2]], "y": [0, 1]}, "data-shape", "makes no array"),
        (
            Uneven(np.zeros((8, 3), "float32"), np.zeros(8, "int64")),
            "data-shape",
            "`x` of item 5 of the dataset has the shape [2], and that of item 0 [3]",
        ),
        (np.array(None), "data-format", "`ndarray` is not a type"),
        ("\ud800", "wrong-type", "a character that no name has"),
        (Pairs(np.zeros((4, 3), "float32"), np.zeros(4, "int64")), "data-format", "item 0"),
        (Items(np.zeros((0, 3), "float32"), np.zeros(0, "int64")), "data-empty", ""),
        (pd.DataFrame({"x_0": [1.0]}).iloc[0], "data-format", "`Series` is not a type"),
        (pd.DataFrame([[1, 2]], columns=["x_0", "x_0"]), "data-column", "two columns `x_0`"),
        (pd.DataFrame({"x_0": [1.0, "a"], "y": [0, 1]}), "data-dtype", "column x_0"),
        (pd.DataFrame({"x_0": [1j]}), "data-dtype", "column x_0"),
        (pd.DataFrame({"x_0": [1.0], "x_1": [None], "x_2": [1.0], "y": [0]}), "data-gap", "`x_1`"),
    ],
)
def test_what_is_no_data_is_told(tmp_path: Path, data: Any, code: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, ARRAYS).fit(data, device="cpu", run_dir=tmp_path / "run")
    (found,) = caught.value.diagnostics
    assert found.code == code and words in found.message


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({"epochs": 0}, "out-of-range", "`epochs` is 0"),
        ({"limit": -1}, "out-of-range", "`limit` is -1"),
        ({"callbacks": [1]}, "callback-misfit", "`int` has none of the methods of a callback"),
        ({"callbacks": [Callback]}, "callback-misfit", "`Callback` is a class"),
    ],
)
def test_arguments_that_cannot_be_are_told(
    tmp_path: Path, arguments: dict[str, Any], code: str, words: str
) -> None:
    data = {"x": np.zeros((4, 3), "float32"), "y": np.zeros(4, int)}
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, ARRAYS).fit(data, device="cpu", run_dir=tmp_path / "run", **arguments)
    (found,) = caught.value.diagnostics
    assert found.code == code and words in found.message and not (tmp_path / "run").exists()


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    data = {"x": np.zeros((4, 3), "float32"), "y": np.zeros(4, int)}
    one: Any = np.int64(1)
    result = spec(tmp_path, ARRAYS).fit(data, device="cpu", run_dir=tmp_path / "run", epochs=one)
    run = graphspec.Run(tmp_path / "run")
    assert result.history and len(run.predict(data, batch_size=one)["y"]) == 4


def test_a_path_stays_a_path() -> None:
    assert given("a.csv") == given(Path("a.csv")) == Path("a.csv") and given(None) is None


IMAGES = """
inputs: {x: {shape: [side, side, 3]}, size: {shape: [1]}}
nodes:
  conv: {layer: Conv2D, from: x, filters: 4, kernel_size: 3}
  mean: {layer: GlobalAveragePooling2D}
  both: {merge: concatenate, from: [mean, size]}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs: {kind: {loss: sparse_categorical_crossentropy, SETTINGS}}
train: {epochs: 1, batch_size: 32}
data: {validation: {split: 0.25}FEATURES}
"""


@pytest.mark.parametrize("filed", [False, True])
@pytest.mark.parametrize(
    ("settings", "features"),
    [
        ("sample_weight: w", ""),
        ("class_weight: {'1': 5}", ""),
        ("class_weight: balanced", ""),
        ("sample_weight: w, class_weight: balanced", ", features: {size: {encode: number, scale: standard}}"),
    ],
)
def test_arrays_of_many_axes_stand_beside_weights_and_features(
    settings: str, features: str, filed: bool, tmp_path: Path
) -> None:
    """The same as images in rows, of which each is a list."""
    rows = np.random.default_rng(0)
    images = rows.random((24, 5, 5, 3)).astype("float32")
    data: Any = {"x": images, "size": rows.random(24), "kind": np.arange(24) % 3, "w": rows.random(24)}
    text = IMAGES.replace("SETTINGS", settings).replace("FEATURES", features)
    rest = {name: array for name, array in data.items() if name != "x"}
    lists = pa.table({**rest, "x": images.reshape(24, 75).tolist()})
    if filed:
        np.savez(tmp_path / "data.npz", **data)
        data = tmp_path / "data.npz"
    expected = graphspec.compile(text.replace("[side, side, 3]", "[5, 5, 3]"))
    alike = expected.fit(lists, run_dir=tmp_path / "lists", device="cpu").history
    found = graphspec.compile(text).fit(data, run_dir=tmp_path / "run", device="cpu").history
    assert found["loss"] == pytest.approx(alike["loss"], rel=1e-5)
    run = graphspec.Run(tmp_path / "run")
    assert run.evaluate(data)["loss"] > 0 and run.predict(data).num_rows == 24


def test_arrays_of_many_axes_have_the_shape_of_their_input() -> None:
    text = IMAGES.replace("SETTINGS", "sample_weight: w").replace("FEATURES", "")
    data = {"x": np.zeros((24, 3, 5, 5)), "size": np.zeros(24), "kind": np.zeros(24, int), "w": np.ones(24)}
    with pytest.raises(SpecError, match=r"has shape \[24, 3, 5, 5\]"):
        graphspec.compile(text).fit(data, device="cpu")
