"""Files of ONNX that read columns: equal to `predict` on every row, with onnxruntime alone."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.data.fields import Field
from graphspec.export import export
from graphspec.export.columns.encoding import bounds
from graphspec.export.columns.proof import feed
from graphspec.export.proof import RELATIVE
from graphspec.runs.run import Run
from graphspec.tensor import Tensor
from graphspec.train.loop import train
from tests import ROOT
from tests.export.alone import alone, assert_equal, built, form_of
from tests.runs import everything


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return everything.train(tmp_path_factory.mktemp("columns"))


@pytest.fixture(scope="module")
def file(run: Run) -> Path:
    path = run.path.parent / "model.onnx"
    result = CliRunner().invoke(app, ["build", str(run.path), "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "reads the array `street`: ONNX has no such hash" in result.stdout
    assert "title (text)" in result.stdout and "kind.probabilities" in result.stdout
    return path


def columns_of(path: Path) -> dict[str, str]:
    columns: dict[str, str] = form_of(path)["columns"]
    return columns


def test_every_encoder_is_inside(run: Run, file: Path, tmp_path: Path) -> None:
    draw = random.Random(7)
    rows = [everything.gaps(everything.row(draw), draw) for _ in range(150)]
    encoders = run.encoders()
    assert encoders is not None
    street = encoders.encoders["street"].in_row()
    assert street is not None
    given: dict[str, Any] = {
        **feed(columns_of(file), [{**row, "plain": [row["plain_0"], row["plain_1"]]} for row in rows]),
        "street": np.array([[street(row)] for row in rows]).reshape(-1, 1),
    }
    expected = run.predict(pa.Table.from_pylist(rows), batch_size=150)
    (found,) = alone(file, [given], tmp_path)
    assert_equal(found, expected, form_of(file))


@pytest.mark.parity
@pytest.mark.parametrize("name", ["cars", "names"])
def test_the_tables_of_the_gallery(name: str, tmp_path: Path) -> None:
    """The file of the command, and the `predict.py` of `--fastest`. Forecasts: test_window_columns.py."""
    program = graphspec.compile(ROOT / "specs" / f"{name}.yaml", settings={"train.epochs": 1})
    train(program, root=ROOT / "specs", run_dir=tmp_path / "run", limit=400, tell=lambda line: None)
    run, path = Run(tmp_path / "run"), tmp_path / "model.onnx"
    built(run, path)
    built(run, tmp_path / "folder", "--fastest")
    form, table = form_of(path), ROOT / "specs" / "data" / f"{name}.csv"
    assert not form["arrays"]
    with table.open(newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    for column, kind in form["columns"].items():
        if kind == "number":
            for row in rows:
                row[column] = float(row[column]) if row[column] else None
    size = 64  # a name is padded to the longest of its batch, in both ways
    batches = [feed(columns_of(path), rows[i : i + size]) for i in range(0, len(rows), size)]
    expected = run.predict(table, batch_size=size)
    for file in (path, tmp_path / "folder" / "predict.py"):
        parts = alone(file, batches, tmp_path)
        assert_equal(
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, expected, form
        )


WRONG: dict[str, Any] = {
    "day": "30 March",
    "when": "31.02.2024 10:00",
    "amount": -2.0,
    "plain": [np.inf, 0.0],
    "title": "",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_predict_refuses_ends_the_run_with_its_column(file: Path, name: str) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    row = everything.row(random.Random(8))
    row = {**row, "plain": [row["plain_0"], row["plain_1"]]}
    street = {"street": np.zeros((1, 1), np.int64)}
    session.run(None, {**feed(columns_of(file), [row]), **street})
    with pytest.raises(Exception, match=f"column {name}: "):
        session.run(None, {**feed(columns_of(file), [{**row, name: WRONG[name]}]), **street})


def test_the_metadata_say_how_to_undo_what_the_model_returns(run: Run, file: Path, tmp_path: Path) -> None:
    form, model, path = form_of(file), run.program, tmp_path / "model.onnx"
    (one,) = form["numbers"]["price"]
    assert form["units"] == {"price": "EUR"} and form["graphspec"] == graphspec.__version__
    assert (one["column"], one["transform"]) == ("price", "log1p") and {*form["numbers"]} == {"price"}
    export(model, "onnx", path, weights=run.weights)
    row = everything.row(random.Random(3))
    encoders, plain = run.encoders(), {"plain": [row["plain_0"], row["plain_1"]]}
    assert encoders is not None
    given: dict[str, Any] = {}
    for name, tensor in model.inputs.items():
        read = encoders.encoders[name].in_row()
        assert read is not None
        given[name] = np.array([read(row | plain)], tensor.dtype)
    (price,) = onnxruntime.InferenceSession(path).run(["price"], given)
    undone = np.expm1(np.float64(price) * one["scale"] + one["shift"])
    np.testing.assert_allclose(undone.reshape(-1), run.predict(row)["price"].to_pylist(), RELATIVE)


def test_tensors_are_the_inputs_of_the_model(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    command = ["build", str(run.path), "-o", str(path), "--inputs", "tensors", "--weights", "last", "--json"]
    result = CliRunner().invoke(app, command)
    said = json.loads(result.stdout)
    assert result.exit_code == 0 and "columns" not in said
    assert said["tensors"] == "`--inputs tensors` leaves the preprocessing out"
    assert [value.name for value in onnx.load(path).graph.input] == list(run.program.inputs)


@pytest.mark.parity
def test_a_file_that_reads_arrays_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        "inputs: {x: {shape: [3]}}\nnodes: {y: {layer: Dense, units: 2}}\n"
        "outputs: {y: {loss: {name: sparse_categorical_crossentropy, from_logits: true}}}\n"
        "data: {train: rows.npz}\ntrain: {epochs: 1}\n"
    )
    np.savez(tmp_path / "rows.npz", x=np.zeros((8, 3), np.float32), y=np.zeros(8, np.int64))
    program = graphspec.compile(tmp_path / "spec.yaml")
    train(program, root=tmp_path, run_dir=tmp_path / "arrays", tell=lambda line: None)
    built = str(tmp_path / "model.onnx")
    for arguments, why in (
        ([str(tmp_path / "arrays"), "-o", built], "the run was trained on arrays, and has no columns"),
        ([str(run.path), "--format", "pt2", "-o", str(tmp_path / "model.pt2")], "pt2 holds no preprocessing"),
        ([str(run.path / "spec.yaml"), "-o", built], "build the directory of a run"),
        ([str(tmp_path / "arrays"), "--fastest", "-o", str(tmp_path / "out")], "was trained on arrays"),
    ):
        result = CliRunner().invoke(app, ["build", *arguments])
        assert result.exit_code == 0, result.output
        assert "reads and returns the arrays of the model: " in result.stdout and why in result.stdout
        result = CliRunner().invoke(app, ["build", *arguments, "--json"])
        assert why in json.loads(result.stdout)["tensors"]
    assert (
        "reads and returns" not in CliRunner().invoke(app, ["build", "specs/dense.yaml", "-o", built]).stdout
    )


def test_columns_need_a_run_and_onnx(run: Run, tmp_path: Path) -> None:
    spec = str(run.path / "spec.yaml")
    for arguments, said in (
        ([spec, "--format", "onnx", "--inputs", "columns"], "name the directory of a run"),
        ([str(run.path), "--format", "pt2", "--inputs", "columns"], "only an ONNX file"),
        ([spec, "--inputs", "words"], "not one of columns, tensors"),
        ([str(tmp_path)], "holds no run"),
    ):
        result = CliRunner().invoke(app, ["build", *arguments])
        assert result.exit_code and said in " ".join(result.output.replace("│", " ").split()), result.output


def test_borders_are_those_of_predict(tmp_path: Path) -> None:
    """A probability that is the threshold, and rows whose group is missing."""
    lines = [
        f"{10 * (i % 3) + i / 7:.3f},{('a', 'b', '?')[i % 3]},{i},{('u|v', 'u', '')[i % 3]}"
        for i in range(60)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["x,shop,y,tags", *lines]) + "\n")
    (tmp_path / "s.yaml").write_text(
        """
inputs: {x: {shape: [1]}}
nodes:
  y: {layer: Dense, units: 1}
  tags: {layer: Dense, from: x, units: 2, activation: sigmoid, kernel_initializer: zeros}
outputs: {y: {loss: mse}, tags: {loss: binary_crossentropy}}
data:
  train: t.csv
  na_values: ["", "?"]
  features:
    x: {encode: number, scale: {standard: shop}}
    tags: {encode: set, values: [u, v], separator: "|", fill: ""}
train: {epochs: 1, optimizer: {name: sgd, learning_rate: 1.0e-30}}
"""
    )
    program = graphspec.compile(tmp_path / "s.yaml")
    train(program, run_dir=tmp_path / "run", root=tmp_path, device="cpu", tell=lambda note: None)
    run, file = Run(tmp_path / "run"), tmp_path / "m.onnx"
    built(run, file)
    rows = [{"x": 3.0, "shop": shop} for shop in ("a", "b", "?", "new")]
    expected = run.predict(pa.Table.from_pylist(rows), device="cpu", batch_size=4)
    assert expected["tags"].to_pylist() == [["u", "v"]] * 4
    assert len(set(expected["y"].to_pylist())) == 4
    session = onnxruntime.InferenceSession(file)
    found = session.run(None, feed(columns_of(file), rows))
    names = [each.name for each in session.get_outputs()]
    assert_equal(dict(zip(names, found, strict=True)), expected, form_of(file))


def test_numbers_that_are_values_too_are_one_column(tmp_path: Path) -> None:
    fees = ["0.0", "1.5", "7.0", "", "0.1"]
    lines = [f"{fees[i % 5] if i % 9 else 90 + i},{i % 3}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["fee,y", *lines]) + "\n")
    (tmp_path / "s.yaml").write_text(
        """
inputs: {exact: {shape: [1], dtype: int64}, facts: {shape: [1]}}
nodes:
  near: {layer: Embedding, from: exact, input_dim: 6, output_dim: 4, embeddings_initializer: orthogonal}
  flat: {layer: Flatten}
  all: {merge: concatenate, from: [flat, facts]}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data:
  train: t.csv
  features:
    exact: {column: fee, encode: category, vocabulary: 6, fill: missing}
    facts: {column: fee, encode: number, scale: standard, fill: median}
train: {epochs: 1, optimizer: {name: sgd, learning_rate: 1.0e-30}}
"""
    )
    program = graphspec.compile(tmp_path / "s.yaml")
    train(program, run_dir=tmp_path / "run", root=tmp_path, device="cpu", tell=lambda note: None)
    run, file = Run(tmp_path / "run"), tmp_path / "m.onnx"
    built(run, file)
    assert columns_of(file) == {"fee": "number"}
    rows = [{"fee": fee} for fee in (0.0, 1.5, 7.0, None, 0.1, 8.0, -0.5)]
    expected = run.predict(pa.Table.from_pylist(rows), device="cpu", batch_size=7)
    assert len(set(expected["y"].to_pylist())) == 7
    session = onnxruntime.InferenceSession(file)
    found = session.run(None, feed(columns_of(file), rows))
    assert_equal(dict(zip(["y"], found, strict=True)), expected, form_of(file))


@pytest.mark.parametrize(
    ("kind", "low", "high", "lows", "highs"),
    [
        ("int32", 0, 4, [0], [4]),
        ("int64", None, None, [-np.inf], [np.inf]),
        ("int8", -500, 500, [-128], [127]),
        ("int64", 0, (4, None), [0, -np.inf], [4, np.inf]),
        ("float32", None, 2.5, [-np.inf], [2.5]),
        ("bool", None, None, [0], [1]),
    ],
)
def test_bounds_are_those_of_the_field_and_of_its_type(
    kind: str, low: float | None, high: Any, lows: list[float], highs: list[float]
) -> None:
    least, most = bounds(Field("x", Tensor((3,), kind), low, high))
    assert (least.tolist(), most.tolist()) == (lows, highs)
