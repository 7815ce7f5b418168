"""Inputs of a model that may be left out: in `forward`, in data, in training; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.plot import plot
from graphspec.train.loop import train

SPEC = """
inputs:
  tokens: {shape: [length], dtype: int64}
  facts:  {shape: [3]}
  state:  {shape: [4], default: 0}
  scale:  {shape: [2 * length, 1], default: 0.5}
  known:  {shape: [2], dtype: bool, default: true}
nodes:
  words: {layer: Embedding, from: tokens, input_dim: 20, output_dim: 6}
  twice: {layer: UpSampling1D, size: 2}
  sized: {merge: multiply, from: [twice, scale]}
  code:  {layer: GRU, units: 4, from: {sequences: sized, initial_state: state}}
  flags: {op: cast, from: known, dtype: float32}
  all:   {merge: concatenate, from: [code, facts, flags]}
  y:     {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {epochs: 1, batch_size: 4}
"""


@pytest.fixture(scope="module")
def program() -> graphspec.Program:
    return graphspec.compile(SPEC)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_out_is_full_of_its_default(program: graphspec.Program, dtype: torch.dtype) -> None:
    module = program.module().to(dtype)
    given = program.example_inputs(3, {"length": 5})
    tokens, facts = given["tokens"], given["facts"].to(dtype)
    filled = {
        "state": torch.zeros(3, 4, dtype=dtype),
        "scale": torch.full((3, 10, 1), 0.5, dtype=dtype),
        "known": torch.ones(3, 2, dtype=torch.bool),
    }
    whole = module(tokens, facts, **filled)
    assert whole.dtype == dtype
    torch.testing.assert_close(module(tokens, facts), whole)
    torch.testing.assert_close(module(tokens=tokens, facts=facts, known=filled["known"]), whole)
    assert not torch.equal(module(tokens, facts, state=torch.ones(3, 4, dtype=dtype)), whole)


def test_it_is_written_as_one_would(program: graphspec.Program) -> None:
    assert "state: Tensor | None = None" in program.source
    assert "            state = facts.new_zeros(tokens.shape[0], 4)\n" in program.source
    assert "scale = facts.new_full((tokens.shape[0], tokens.shape[1] * 2, 1), 0.5)" in program.source


def test_floats_beside_integers_have_the_type_of_the_weights() -> None:
    program = graphspec.compile("""
inputs:
  tokens: {shape: [4], dtype: int64}
  state:  {shape: [3], default: 0}
nodes:
  words: {layer: Embedding, from: tokens, input_dim: 9, output_dim: 2}
  code:  {layer: GRU, units: 3, from: {sequences: words, initial_state: state}}
outputs: [code]
""")
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    assert program.module().double()(tokens).dtype == torch.float64


def test_the_weights_that_tell_the_type_may_be_those_of_stacked_cells() -> None:
    program = graphspec.compile("""
inputs: {n: {shape: [steps], dtype: int32}, s: {shape: [3], default: 0}}
shared:
  cells: {layer: RNN, cell: [{layer: LSTMCell, units: 4}, {layer: LSTMCell, units: 3}]}
nodes:
  e: {layer: CategoryEncoding, num_tokens: 4, output_mode: one_hot, from: n}
  r: {call: cells, from: e}
  y: {merge: add, from: [r, s]}
outputs: [y]
""")
    assert "self.cells[0].weight_ih_l0.dtype" in program.source
    assert program.module()(torch.ones(2, 5, dtype=torch.int32)).shape == (2, 3)


def test_summary_picture_and_resolution_show_it(program: graphspec.Program) -> None:
    assert "state (InputLayer = 0)" in str(program.summary()) and program.defaults["state"] == 0
    rows = {row.name: row.to_json() for row in program.summary().rows}
    assert rows["scale"]["default"] == 0.5 and "default" not in rows["facts"]
    assert "state = 0" in plot(program, ".svg") and "known = true" in plot(program, ".svg")
    assert graphspec.compile(program.resolve(defaults=True)).defaults == program.defaults


@pytest.mark.parametrize("kind", ["arrays", "table"])
def test_data_need_no_column_for_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x": generator.normal(size=(12, 3)).astype("float32"),
        "y": generator.normal(size=(12, 1)).astype("float32"),
    }
    text = (
        "inputs: {x: {shape: [3]}, state: {shape: [2], default: 0}}\n"
        "nodes: {all: {merge: concatenate, from: [x, state]}, y: {layer: Dense, units: 1}}\n"
        "outputs: {y: {loss: mse}}\n"
        "data: {train: FILE, validation: {split: 0.25}}\n"
        "train: {epochs: 1, batch_size: 4}\n"
    )
    name = write(kind, "plain", arrays)
    Path("a.yaml").write_text(text.replace("FILE", name))
    assert invoke("check", "a.yaml")["ok"]
    run = invoke("train", "a.yaml", "--run-dir", "run")
    assert run["metrics"]["val_loss"] > 0
    plain = invoke("evaluate", "run", "--data", name)["metrics"]["loss"]
    assert invoke("predict", "run", "--data", name, "-o", "p.csv")["rows"] == 12
    if kind == "arrays":
        states = np.full((12, 2), 9.0, "float32")
        same = invoke("evaluate", "run", "--data", write(kind, "zeros", {**arrays, "state": states * 0}))
        other = invoke("evaluate", "run", "--data", write(kind, "nines", {**arrays, "state": states}))
        assert same["metrics"]["loss"] == plain != other["metrics"]["loss"]


def write(kind: str, name: str, arrays: dict[str, Any]) -> str:
    """A file of arrays, or a table with a column for each of their columns."""
    if kind == "arrays":
        np.savez(f"{name}.npz", **arrays)
        return f"{name}.npz"
    columns = {f"{key}_{i}": each[:, i] for key, each in arrays.items() for i in range(each.shape[1])}
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    Path(f"{name}.csv").write_text("\n".join(rows))
    return f"{name}.csv"


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_column_of_training_data_fills_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("x,bias,y\n" + "\n".join(f"{i / 8},{i % 2},{i % 2}" for i in range(16)))
    text = (
        "inputs: {x: {shape: [1]}, bias: {shape: [1], default: 0}}\n"
        "nodes: {y: {merge: add, from: [x, bias]}}\noutputs: {y: {loss: mse}}\ndata: {train: a.csv}\n"
    )
    program = graphspec.compile(text)
    from graphspec.data.loading import load

    batch = next(iter(load(program, None, tmp_path, torch.device("cpu")).training.batches(16)))
    assert batch.arrays["bias"].flatten().tolist() == [i % 2 for i in range(16)]


def test_training_on_synthetic_data_leaves_it_out(program: graphspec.Program, tmp_path: Path) -> None:
    assert train(program, run_dir=tmp_path / "run").history["loss"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("{x: {shape: [3]}, s: {shape: [3], default: abc}}", 'a default of float32 is not "abc"'),
        ("{x: {shape: [3]}, s: {shape: [3], default: true}}", "a default of float32 is not true"),
        ("{x: {shape: [3]}, s: {shape: [3], default: null}}", "a default of float32 is not null"),
        ("{x: {shape: [3]}, s: {shape: [3], dtype: int64, default: 0.5}}", "a default of int64 is not 0.5"),
        ("{x: {shape: [3]}, s: {shape: [3], dtype: uint8, default: 300}}", "uint8 does not hold 300"),
        ("{x: {shape: [3]}, s: {shape: [3], default: 1e39}}", "float32 does not hold 1e+39"),
        ("{x: {shape: [3]}, s: {shape: [n], default: 0}}", "no required input has the size `n` of `s`"),
        (
            "{x: {shape: [3]}, s: {shape: [null], default: 0}}",
            "no required input has a null size of `s`",
        ),
        ("{s: {shape: [3], default: 0}, x: {shape: [3]}}", "`s` has a default, but `x` after it has none"),
        ("{x: {shape: [3], default: 0}, s: {shape: [3], default: 0}}", "at least one input must be required"),
    ],
)
def test_a_default_that_an_input_cannot_have_is_told(inputs: str, message: str) -> None:
    nodes = "{a: {op: cast, from: s, dtype: float32}, b: {op: expand_dims, from: a, axis: 2}}"
    text = f"inputs: {inputs}\nnodes: {nodes}\noutputs: [b, c]\n".replace(
        "}}\noutputs", "}, c: {op: abs, from: x}}\noutputs"
    )
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(text)
    (found,) = error.value.diagnostics
    assert (
        found.code == "default-misfit" and message in found.message and found.span is not None and found.help
    )


def test_a_default_beyond_the_vocabulary_is_told() -> None:
    with pytest.raises(graphspec.SpecError, match="its readers take 0 to 8, not 9"):
        graphspec.compile("""
inputs: {x: {shape: [2]}, token: {shape: [2], dtype: int64, default: 9}}
nodes:
  words: {layer: Embedding, from: token, input_dim: 9, output_dim: 1}
  flat:  {layer: Flatten}
  sum:   {merge: add, from: [flat, x]}
outputs: [sum]
""")
