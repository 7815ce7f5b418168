"""`build --quantize int8`: written where the score on the validation data holds, refused where it falls."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Mapping, Sequence
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
from graphspec.cli.outputs import check_output, of_format
from graphspec.runs import quantization
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
    check_output(file, of_format("onnx"))  # which is ours


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


@pytest.mark.parametrize("options", [["--quantize", "int8"], ["--format", "onnx"]])
def test_a_file_that_cannot_be_written_ends_the_command(options: list[str], tmp_path: Path) -> None:
    file = tmp_path / f"{'x' * 250}.onnx"  # what is renamed to it has a name that is too long
    done = build(*sums(tmp_path), *options, "-o", file)
    assert done.exit_code == 2 and "cannot be written" in done.output.replace("\n", " "), done.output


def test_integers_are_timed_on_rows_as_long_as_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(
        tmp_path / "rows.csv", [(f"{'ab' * 9}{n % 10}", "odd" if n % 2 else "even") for n in range(40)]
    )
    program = graphspec.compile("""
name: parity
inputs: {text: {shape: [letters], dtype: int64}}
nodes:
  vectors: {layer: Embedding, input_dim: $(vocabulary(text)), output_dim: 8}
  found:   {layer: GlobalMaxPooling1D}
  kind:    {layer: Dense, units: 2, activation: softmax}
outputs: {kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data:
  train: rows.csv
  validation: {split: 0.2}
  features: {text: {encode: text, tokenizer: char, vocabulary: 20}, kind: {encode: category}}
train: {epochs: 1}
""")
    train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda note: None)
    seen: list[tuple[int, ...]] = []

    def timed(found: Mapping[str, Any], example: Mapping[str, Any], threads: int) -> dict[str, float]:
        seen.append(example["text"].shape)
        return dict.fromkeys(found, 1.0)

    monkeypatch.setattr(quantization, "timed", timed)
    arguments = ["--quantize", "int8", "--max-loss", "1", "-o", tmp_path / "model.onnx", "--json"]
    done = build(tmp_path / "run", *arguments)
    assert done.exit_code == 0, done.output
    assert seen == [(1, 19)] and json.loads(done.stdout)["quantized"]["timed"] == "a row (letters 19)"


def write_rows(file: Path, rows: Sequence[tuple[Any, ...]], names: Sequence[str] = ("text", "kind")) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([names, *rows])


def post(draw: random.Random) -> tuple[str, int, str, int]:
    """A text with its age, income and gender, by a rule of this test: words for each of them."""
    age, income, gender = draw.randint(2, 6), draw.randint(0, 9), draw.randint(0, 1)
    told = [*[f"class{income}"] * 10, *[f"decade{age}"] * 5, *[("he", "she")[gender]] * 2]
    words = draw.choices([*told, "word0", "word1", "word2"], k=draw.randint(149, 170))
    return " ".join(words), 10 * age, f"class {income}", gender


POSTS = """\
data:
  features:
    posts:  {encode: text, vocabulary: 10000}
    age:    {encode: number, scale: standard}
    income: {encode: category}
train: {optimizer: adam, epochs: 6, batch_size: 32}
"""
OF_POSTS = {"mse": "mae", "categorical_crossentropy": "accuracy", "binary_crossentropy": "accuracy"}


def gallery(name: str, folder: Path) -> str:
    """The text of a spec, and beside it `train` and `valid`, files of rows that this test divides: those of
    the gallery, or of `posts`, for which it has none, such as follow a rule.
    """
    draw, spec = random.Random(0), "names" if name == "encoder" else name
    text = (SPECS / f"{spec}.yaml").read_text()
    if name == "digits":
        arrays = dict(np.load(SPECS / "data" / "digits.npz"))
        order = np.random.default_rng(0).permutation(len(arrays["digit"]))
        for part, chosen in (("train", order[180:]), ("valid", order[:180])):
            np.savez(folder / f"{part}.npz", **{key: array[chosen] for key, array in arrays.items()})
    elif name == "posts":
        for loss, metric in OF_POSTS.items():
            text = re.sub(rf"{{loss: {loss}.*}}", f"{{loss: {loss}, metrics: [{metric}]}}", text)
        text = f"name: posts\n{text}{POSTS}"
        for part, count in (("train", 480), ("valid", 200)):
            header = ("posts", "age", "income", "gender")
            write_rows(folder / f"{part}.csv", [post(draw) for _ in range(count)], header)
    else:
        with (SPECS / "data" / "names.csv").open(newline="") as stream:
            names, *rows = csv.reader(stream)
        draw.shuffle(rows)
        held = len(rows) // 5
        for part, lines in (("train", rows[held:]), ("valid", rows[:held])):
            write_rows(folder / f"{part}.csv", [tuple(line) for line in lines], names)
    if name == "encoder":
        text = text[: text.index("nodes:\n")] + ENCODER + text[text.index("outputs:\n") :]
    text = re.sub(r"\n  (train: data|validation:).*", "", text)
    ending = "npz" if name == "digits" else "csv"
    return text.replace("\ndata:\n", f"\ndata:\n  train: train.{ending}\n  validation: valid.{ending}\n")


def scored(name: str, folder: Path, size: int) -> dict[str, float]:
    """The scores of `model.onnx` on `valid`, by onnxruntime and numpy alone."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    keys = [each.name for each in session.get_outputs()]
    if name == "digits":
        columns = dict(np.load(folder / "valid.npz"))
    else:
        with (folder / "valid.csv").open(newline="") as stream:
            names, *rows = csv.reader(stream)
        columns = {key: np.array(values, object) for key, *values in zip(names, *rows, strict=True)}
    given = [each.name for each in session.get_inputs()]
    starts = range(0, len(columns[given[0]]), size)
    parts = [session.run(None, {key: columns[key][at : at + size] for key in given}) for at in starts]
    found = {key: np.concatenate(values) for key, values in zip(keys, zip(*parts, strict=True), strict=True)}
    if name == "digits":
        return {"accuracy": float((found["digit"].argmax(-1) == columns["digit"]).mean())}
    if name != "posts":
        return {"accuracy": float((found["language"] == columns["language"]).mean())}
    ages, genders = (columns[key].astype(np.float64) for key in ("age", "gender"))
    return {
        "age_mae": float(np.abs(found["age"].ravel() - ages).mean()),
        "income_accuracy": float((found["income"] == columns["income"]).mean()),
        "gender_accuracy": float(((found["gender"].ravel() > 0.5) == genders).mean()),
    }


@pytest.mark.parity
@pytest.mark.parametrize("name", ["digits", "names", "posts", "encoder"])
def test_models_of_the_gallery_keep_their_score(name: str, tmp_path: Path) -> None:
    """Trained, and quantized as they are shipped, with the encoders of their columns; the score that is told
    is that of the file, by onnxruntime and numpy alone.
    """
    program = graphspec.compile(gallery(name, tmp_path))
    train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda note: None)
    done = build(tmp_path / "run", "--quantize", "int8", "-o", tmp_path / "model.onnx", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    floats, *_ = told["quantized"]["forms"]
    chosen = next(form for form in told["quantized"]["forms"] if form["name"] == told["quantized"]["chosen"])
    for metric, before in floats["scores"].items():
        up = metric.endswith("accuracy")
        assert (before > 0.4) if up else (before < 8), metric  # it has learned
        assert (
            chosen["scores"][metric] >= before * 0.995 if up else chosen["scores"][metric] <= before * 1.005
        )
    assert chosen["bytes"] < (0.85 if name == "posts" else 0.6) * floats["bytes"]  # the embedding stays
    again = scored(name, tmp_path, program.training.batch_size)
    assert again == pytest.approx(chosen["scores"], rel=1e-4)
    if name != "digits":
        assert told["columns"] == {"posts" if name == "posts" else "name": "text"}
