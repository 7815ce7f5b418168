"""`build --quantize int8`: written where the score on the validation data holds, refused where it falls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import graphspec
from graphspec.cli.app import app
from graphspec.cli.written import check_target
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"
SPEC = """\
name: sums
inputs:
  x: {shape: [4]}
nodes:
  hidden: {layer: Dense, units: 8, activation: relu}
  wide:   {layer: Dense, units: 8, activation: relu}
  y:      {layer: Dense, units: 1}
outputs:
  y: {loss: mse, metrics: [mae]}
data:
  train: rows.npz
  validation: {split: 0.25}
train: {batch_size: 32}
"""
LINEAR = SPEC.replace("  hidden: {layer: Dense, units: 8, activation: relu}\n", "").replace(
    "  wide:   {layer: Dense, units: 8, activation: relu}\n", ""
)


def sums(folder: Path, text: str = SPEC, last: float = 1.0) -> list[str]:
    """A spec with weights by which `y` is the sum of three columns, and noisy rows of that; the fourth column
    goes up to `last` and counts for nothing. The arguments that name both.
    """
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (400, 4)).astype(np.float32) * np.array([1, 1, 1, last], np.float32)
    y = x[:, :3].sum(1, keepdims=True) + random.normal(0, 0.5, (400, 1)).astype(np.float32)
    np.savez(folder / "rows.npz", x=x, y=y)
    spec, weights = folder / "sums.yaml", folder / "sums.safetensors"
    spec.write_text(text)
    state = {name: torch.zeros_like(v) for name, v in graphspec.compile(spec).module().state_dict().items()}
    once = torch.eye(4)[:3]
    if "hidden.weight" in state:
        state["hidden.weight"][:6] = torch.cat([once, -once])
        state["wide.weight"][:6, :6] = torch.eye(6)
        state["y.weight"][0, :6] = torch.tensor([1.0, 1, 1, -1, -1, -1])
    else:
        state["y.weight"][0, :3] = 1.0
    save_file(state, weights)
    return [str(spec), "--weights", str(weights)]


def build(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["build", *map(str, arguments)])


def test_integers_that_score_alike_are_written(tmp_path: Path) -> None:
    file = tmp_path / "sums.onnx"
    done = build(*sums(tmp_path), "--quantize", "int8", "-o", file, "--json")
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)["quantized"]
    floats, *others = told["forms"]
    assert [form["name"] for form in others] == ["dynamic", "static"] and floats["name"] == "float32"
    assert all(form["worse_by"] <= 0.005 and form["layers"] == 3 for form in others)
    assert all(form["scores"]["mae"] == pytest.approx(floats["scores"]["mae"], rel=0.02) for form in others)
    assert told["validation_examples"] == 100 and all(form["seconds"] > 0 for form in told["forms"])
    model = onnx.load(file)
    assert [each.name for each in model.graph.output] == ["y"] and model.producer_name == "graphspec"
    assert np.dtype(np.int8) in {onnx.numpy_helper.to_array(each).dtype for each in model.graph.initializer}
    rows = np.load(tmp_path / "rows.npz")["x"]
    (found,) = onnxruntime.InferenceSession(file).run(None, {"x": rows})
    assert np.abs(found[:, 0] - rows[:, :3].sum(1)).max() < 0.1
    check_target(file, "onnx", force=False)  # which is ours


def test_a_layer_that_integers_break_stays_in_float32(tmp_path: Path) -> None:
    """One column is 10,000 times the others, and takes all 256 numbers of the first layer for itself."""
    done = build(*sums(tmp_path, last=1e4), "--quantize", "int8", "-o", tmp_path / "sums.onnx", "--json")
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)["quantized"]
    forms = {form["name"]: form for form in told["forms"]}
    assert forms["dynamic"]["worse_by"] > 0.1 < forms["static"]["worse_by"]
    assert {*forms} == {"float32", "dynamic", "static", "dynamic, 1 in float32", "static, 1 in float32"}
    assert told["chosen"].endswith(", 1 in float32")


def test_a_score_that_falls_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sums.onnx"
    arguments = sums(tmp_path, LINEAR, last=1e4)
    done = build(*arguments, "--quantize", "int8", "-o", file)
    assert done.exit_code == 1 and not file.exists()
    assert "error[score-falls]" in done.stderr and "is worse than `--max-loss` 0.005 allows" in done.stderr


def test_integers_need_validation_data_and_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = sums(tmp_path, SPEC.replace("  validation: {split: 0.25}\n", ""))
    done = build(*arguments, "--quantize", "int8", "-o", tmp_path / "sums.onnx")
    assert done.exit_code == 1 and "error[data-missing]" in done.stderr
    monkeypatch.setattr("graphspec.export.onnx.find_spec", lambda name: None)
    done = build(*arguments, "--quantize", "int8", "-o", tmp_path / "sums.onnx")
    assert done.exit_code == 1 and "error[package-missing]" in done.stderr
    for more, told in (
        (["--quantize", "int4"], "is not int8"),
        (["--max-loss", "0.1"], "belongs to --quantize"),
        (["--quantize", "int8", "--format", "py"], "writes its own"),
        (["--quantize", "int8", "--fold"], "not with --quantize"),
    ):
        done = build(*arguments, *more)
        assert done.exit_code == 2 and told in done.stderr


ENCODER = """\
nodes:
  vectors:  {layer: Embedding, input_dim: $(vocabulary(name)), output_dim: 64, mask_zero: true}
  attended: {layer: MultiHeadAttention, num_heads: 4, key_dim: 16, from: {query: vectors, value: vectors}}
  added:    {merge: add, from: [vectors, attended]}
  normed:   {layer: LayerNormalization}
  wide:     {layer: Dense, units: 256, activation: gelu}
  narrow:   {layer: Dense, units: 64}
  both:     {merge: add, from: [normed, narrow]}
  found:    {layer: GlobalAveragePooling1D}
  language: {layer: Dense, units: 8, activation: softmax}
"""


@pytest.mark.parity
@pytest.mark.parametrize("name", ["digits", "names", "encoder"])
def test_models_of_the_gallery_keep_their_score(name: str, tmp_path: Path) -> None:
    """Trained, and quantized as they are shipped: with the encoders of their columns."""
    spec = SPECS / f"{'names' if name == 'encoder' else name}.yaml"
    text = spec.read_text()
    if name == "encoder":
        text = text[: text.index("nodes:\n")] + ENCODER + text[text.index("outputs:\n") :]
    program = graphspec.compile(text)
    train(program, root=SPECS, run_dir=tmp_path / "run", device="cpu", tell=lambda note: None)
    done = build(tmp_path / "run", "--quantize", "int8", "-o", tmp_path / "model.onnx", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    floats, *_ = told["quantized"]["forms"]
    chosen = next(form for form in told["quantized"]["forms"] if form["name"] == told["quantized"]["chosen"])
    assert chosen["scores"]["accuracy"] >= floats["scores"]["accuracy"] * 0.995
    assert chosen["bytes"] < 0.6 * floats["bytes"]
    if name != "digits":
        assert told["columns"] == {"name": "text"}
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (language, _) = session.run(None, {"name": np.array(["Deutschland"], object)})
        assert language.shape == (1,) and isinstance(language[0], str)
