"""What is reached without a model, measured as the model is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.training_report import beside
from graphspec.compiler import compile
from graphspec.data.loading import load
from graphspec.train.loop import compared

CLASSES = """\
inputs: {x: {shape: [3]}}
nodes:
  kind: {layer: Dense, from: x, units: 3, activation: softmax}
outputs: {kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data: {train: d.npz, validation: {split: 0.25}}
train: {batch_size: 32}
"""
NUMBERS = """\
inputs: {x: {shape: [3]}, place: {shape: [1], dtype: int32}}
nodes:
  near: {layer: Embedding, from: place, input_dim: 4, output_dim: 2}
  flat: {layer: Flatten}
  both: {merge: concatenate, from: [x, flat]}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: LOSS, metrics: [mae]}}
data: {train: d.npz, validation: {split: 0.25}}
"""
FORECAST = """\
inputs: {past: {shape: [14, 1]}}
nodes:
  flat: {layer: Flatten, from: past}
  next: {layer: Dense, units: 7}
outputs: {next: {loss: mae, metrics: [mae]}}
data:
  train: d.csv
  validation: {last_by: day, split: 0.3}
  windows: {order: day, past: 14, next: 7, season: 7}
  features:
    past: {column: sold, encode: number, steps: past, scale: standard}
    next: {column: sold, encode: number, steps: next, scale: standard}
"""


def measured(folder: Path, text: str, boosting: bool = False) -> tuple[dict[str, dict[str, float]], object]:
    (folder / "s.yaml").write_text(text)
    program = compile(folder / "s.yaml")
    data = load(program, None, folder, torch.device("cpu"))
    parts = program, data.encoders, data.training, data.validation
    return compared(*parts, "val_", boosting), data  # type: ignore[return-value]


def rows(examples: object, *names: str) -> list[np.ndarray]:
    (batch,) = examples.batches(10**6)  # type: ignore[attr-defined]
    return [batch.arrays[name].numpy() for name in names]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    x = draw.normal(2, 3, (240, 3)).astype("float32")
    place = draw.integers(0, 4, (240, 1)).astype("int32")
    y = (x[:, :1] - 2 * x[:, 1:2] + place + draw.normal(0, 1, (240, 1))).astype("float32")
    kind = np.digitize(y[:, 0], [-3, 2]).astype("int32")
    return {"x": x, "place": place, "y": y, "kind": kind}


def test_classes_have_the_majority_and_logistic_regression(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    from sklearn.linear_model import LogisticRegression

    np.savez(tmp_path / "d.npz", x=arrays["x"], kind=arrays["kind"])
    found, data = measured(tmp_path, CLASSES, boosting=True)
    (x, kind), (held, right) = (rows(part, "x", "kind") for part in (data.training, data.validation))  # type: ignore[attr-defined]
    shares = np.bincount(kind, minlength=3) / len(kind)
    assert found["the majority"]["val_accuracy"] == pytest.approx((right == shares.argmax()).mean())
    assert found["the majority"]["val_loss"] == pytest.approx(-np.log(shares[right]).mean(), rel=1e-4)
    mean, scale = x.mean(0), x.std(0)
    fitted = LogisticRegression(max_iter=2000).fit((x - mean) / scale, kind)
    chances = fitted.predict_proba((held - mean) / scale)
    linear = found["a linear model"]
    assert linear["val_loss"] == pytest.approx(-np.log(chances[np.arange(60), right]).mean(), rel=0.03)
    assert linear["val_loss"] < 0.7 * found["the majority"]["val_loss"]
    assert found["boosted trees"]["val_accuracy"] > found["the majority"]["val_accuracy"]


@pytest.mark.parametrize("loss, middle", [("mse", np.mean), ("mae", np.median)])
def test_numbers_have_their_middle_and_ridge_regression(
    tmp_path: Path, arrays: dict[str, np.ndarray], loss: str, middle: object
) -> None:
    from sklearn.linear_model import Ridge

    np.savez(tmp_path / "d.npz", x=arrays["x"], place=arrays["place"], y=arrays["y"])
    found, data = measured(tmp_path, NUMBERS.replace("LOSS", loss))
    names = "x", "place", "y"
    (x, place, y), (held, there, right) = (rows(p, *names) for p in (data.training, data.validation))  # type: ignore[attr-defined]
    constant = middle(y)  # type: ignore[operator]
    # torch's median is the lower of two
    assert found["the mean"]["val_mae"] == pytest.approx(np.abs(right - constant).mean(), rel=5e-3)
    table, other = (np.hstack([a, np.eye(4)[b[:, 0]]]) for a, b in ((x, place), (held, there)))
    mean, scale = table.mean(0), table.std(0)
    said = Ridge(alpha=1).fit((table - mean) / scale, y).predict((other - mean) / scale)
    assert found["a linear model"]["val_mae"] == pytest.approx(
        np.abs(said.reshape(right.shape) - right).mean(), rel=1e-3
    )


def test_forecasts_have_the_last_season(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    sold = 100 + 30 * np.sin(np.arange(120) * 2 * np.pi / 7) + draw.normal(0, 2, 120)
    lines = [f"{np.datetime64('2024-01-01') + day},{value:.3f}" for day, value in enumerate(sold)]
    (tmp_path / "d.csv").write_text("day,sold\n" + "\n".join(lines) + "\n")
    found, data = measured(tmp_path, FORECAST)
    origins = data.validation.positions  # type: ignore[attr-defined]
    apart = [abs(round(sold[o + s], 3) - round(sold[o + s - 7], 3)) for o in origins for s in range(1, 8)]
    assert found["repeating the last 7 steps"]["val_mae"] == pytest.approx(np.mean(apart), rel=1e-4)
    assert found["a linear model"]["val_mae"] < found["the mean"]["val_mae"] / 2


def test_what_is_no_table_has_no_linear_model_and_other_losses_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((8, 3), "float32"), kind=np.arange(8, dtype="int32") % 3)
    found, _ = measured(tmp_path, CLASSES)
    assert found.keys() == {"the majority"}, "too few rows"
    text = CLASSES.replace(
        "kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}", "kind: {loss: mse, target: x}"
    )
    found, _ = measured(tmp_path, text)
    assert found == {}, "the target is the input"


def test_the_table_says_which_values_are_no_better() -> None:
    model = {"val_loss": 0.5, "val_accuracy": 0.8, "learning_rate": [1.0]}
    others = {"the majority": {"val_loss": 0.9, "val_accuracy": 0.8}, "a linear model": {"val_loss": 0.4}}
    ways = {"val_loss": "down", "val_accuracy": "up"}
    *table, loss, accuracy = beside(model, others, ways)
    assert len(table) == 4
    assert loss == "val_loss: the model does not beat a linear model"
    assert accuracy == "val_accuracy: the model does not beat the majority"
    assert beside(model, {}, ways) == []


def test_train_and_evaluate_tell_them(
    tmp_path: Path, arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=arrays["x"], kind=arrays["kind"])
    Path("s.yaml").write_text(CLASSES)
    command = ["train", "s.yaml", "--run-dir", "run", "--set", "train.epochs=1", "--device", "cpu"]
    shown = CliRunner().invoke(app, command).stdout
    assert "a linear model" in shown and "the model does not beat" in shown
    noted = json.loads(Path("run/environment.json").read_text())["baselines"]
    evaluated = json.loads(CliRunner().invoke(app, ["evaluate", "run", "--json", "--device", "cpu"]).stdout)
    assert evaluated["baselines"]["a linear model"]["loss"] == pytest.approx(
        noted["a linear model"]["val_loss"]
    )
