"""The look at a batch before the first step: what it finds, and that it leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.data.batches import Batch
from graphspec.train import preparation
from graphspec.train.batch_inspection import Examination, examine, examples, reachable
from graphspec.train.loop import train
from graphspec.train.objective import Objective
from graphspec.train.penalties import Penalties
from tests import ROOT

SPEC = """
inputs:
  x: {shape: [6]}
nodes:
  hidden: {layer: Dense, from: x, units: 16, activation: relu, bias_initializer: BIAS}
  norm: {layer: BatchNormalization}
  drop: {layer: Dropout, rate: 0.5}
  kind: {layer: Dense, units: 3, activation: softmax}
  frozen: {layer: Dense, from: x, units: 1, trainable: false}
  idle: {layer: Dense, from: hidden, units: 2}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
OUTPUTS
data: {validation: {split: 0.2}}
train: {optimizer: adam, epochs: 2, batch_size: 16}
"""
ALL = "  frozen: {loss: mse}\n  idle: {}"


def spec(bias: str = "0.0", outputs: str = "") -> str:
    text = SPEC.replace("BIAS", f"{{name: constant, value: {bias}}}").replace("OUTPUTS", outputs)
    if not outputs:
        lines = [line for line in text.splitlines() if not line.startswith(("  frozen:", "  idle:"))]
        return "\n".join(lines)
    return text


def examined(text: str, **changes: Any) -> Examination:
    program = compile(text)
    module = program.module(seed=1)
    objective = Objective(
        program.inputs, program.outputs, torch.device("cpu"), Penalties(program.graph, module)
    )
    inputs = program.example_inputs(16)
    return examine(program, module, objective, Batch({**inputs, **targets(), **changes}))


def targets() -> dict[str, torch.Tensor]:
    return {"kind": torch.arange(16) % 3, "frozen": torch.ones(16, 1)}


def test_what_the_model_sees_is_told() -> None:
    found = examined(spec(), x=torch.arange(96.0).view(16, 6))
    seen = {(tensor.role, tensor.name): tensor for tensor in found.seen}
    assert list(seen) == [("input", "x"), ("target", "kind"), ("output", "kind")]
    features = seen["input", "x"]
    assert (features.low, features.high, features.mean, features.shape) == (0, 95, 47.5, (16, 6))
    assert (seen["target", "kind"].dtype, seen["target", "kind"].high) == ("int64", 2)
    assert found.warnings == ()


def test_losses_that_reach_no_weight_and_weights_without_a_loss() -> None:
    first, second = examined(spec(outputs=ALL)).warnings
    assert first.code == second.code == "no-gradient" and first.severity == "warning"
    assert "`frozen` depends on no trainable weight" in first.message
    assert first.span is not None and "frozen" in spec(outputs=ALL).splitlines()[first.span.line - 1]
    assert "`idle.bias`, `idle.weight`" in second.message and "trainable: false" in (second.help or "")


def test_dead_units_are_found_where_they_are() -> None:
    plain = spec("-1000.0")
    params = "params: {width: 16}" + plain.replace("units: 16", "units: $width")
    for text in (plain, params):
        (warning,) = examined(text).warnings
        assert warning.code == "dead-units" and warning.message.startswith("16 of 16 units are 0 for all 16")
        assert warning.span is not None and warning.span.line == 5
    assert not examined(spec("1000.0")).warnings


def test_dead_units_are_those_of_one_layer_of_a_line() -> None:
    program = compile("""
inputs: {x: {shape: [6]}}
blocks:
  squeeze:
    inputs: [x]
    nodes:
      less: {layer: Dense, units: 2, activation: relu, bias_initializer: {name: constant, value: -99.0}}
      gate: {layer: Dense, units: 6, activation: sigmoid}
      both: {merge: multiply, from: [x, gate]}
nodes: {one: {block: squeeze}, kind: {block: squeeze}}
outputs: {kind: {loss: mse}}
""")
    module = program.module()
    assert "self.gate(F.relu(self.less(x" in program.source
    objective = Objective(program.inputs, program.outputs, torch.device("cpu"))
    batch = Batch({**program.example_inputs(4), "kind": torch.zeros(4, 6)})
    (warning,) = examine(program, module, objective, batch).warnings
    assert warning.span is not None and warning.span.line == 7


def test_dead_channels_are_units_too() -> None:
    text = """
inputs:
  image: {shape: [8, 8, 3]}
nodes:
  conv:
    layer: Conv2D
    filters: 4
    kernel_size: 3
    activation: relu
    bias_initializer: {name: constant, value: -99.0}
  flat: {layer: GlobalAveragePooling2D}
  kind: {layer: Dense, units: 1}
outputs:
  kind: {loss: mse}
"""
    program = compile(text)
    module = program.module()
    objective = Objective(program.inputs, program.outputs, torch.device("cpu"))
    batch = Batch({**program.example_inputs(4), "kind": torch.zeros(4, 1)})
    (warning,) = examine(program, module, objective, batch).warnings
    assert "4 of 4 units" in warning.message and warning.span is not None and warning.span.line == 5


def test_the_gradient_flows_where_autograd_says() -> None:
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    value = (a * b.detach()).sum() + c.sum()
    assert reachable(value) == {a, c} and reachable(a) == {a} and reachable(torch.ones(1)) == set()


def test_a_training_is_the_same_with_it_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = compile(spec())
    watched = train(program, run_dir=tmp_path / "with", tell=lambda line: None)
    monkeypatch.setattr(preparation, "_examine", lambda *rest: Examination())
    plain = train(program, run_dir=tmp_path / "without", tell=lambda line: None)
    assert watched.history == plain.history
    files = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("with", "without")]
    assert files[0] == files[1]


def test_of_a_large_model_a_few_examples_are_looked_at() -> None:
    assert examples(compile(spec()), 64) == 32 and examples(compile(spec()), 5) == 5
    assert examples(compile(ROOT / "specs" / "resnet50.yaml"), 64) == 2


def test_what_breaks_the_model_breaks_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def broken(*rest: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(compile(spec()), tell=lambda line: None)
    assert list(tmp_path.iterdir()) == []


# --- scales, targets and time: what rows of the data decide

TABLE = """
inputs:
  facts: {shape: [2]}
nodes:
  hidden: {layer: Dense, units: 8, activation: tanh}
  price: {layer: Dense, units: 1, activation: ACTIVATION}
  kind: {layer: Dense, from: hidden, units: 2, activation: softmax}
outputs:
  price: {loss: mse}
  kind: {loss: sparse_categorical_crossentropy}
data:
  train: rows.csv
  validation: {split: 0.25}
  features:
    facts: {columns: [tries, area], encode: number, scale: SCALE}
    price: {encode: number, scale: PRICE}
    kind: {encode: category}
train: {epochs: 1, batch_size: 16, schedule: {name: cosine_decay, warmup_steps: WARMUP}}
"""
FINE = {"ACTIVATION": "linear", "SCALE": "standard", "PRICE": "standard", "WARMUP": "2", "DAY": "%d"}
ROWS = {
    "unscaled": ({"SCALE": "none"}, 15, "column `area` of `facts` spreads over"),
    "target-beyond": ({"ACTIVATION": "sigmoid"}, 9, "its sigmoid gives 0 to 1"),
    "losses-apart": ({"PRICE": "none"}, 9, "times that of `kind`, which hardly trains"),
    "never-acts": ({"WARMUP": "4"}, 18, "takes 4 steps, and the training has 3"),
    "time-split": ({"DAY": ""}, 13, "follow `day` in time"),
}


def table(path: Path, changes: dict[str, str]) -> Path:
    text = TABLE
    for word, value in {**FINE, **changes}.items():
        text = text.replace(word, value)
    days = [row if "DAY" in changes else (7 * row) % 48 for row in range(48)]
    dates = [f"2024-{1 + day // 28:02}-{1 + day % 28:02}" for day in days]
    rows = [f"{r % 5},{40 + 9 * r},{1e4 * r},{'ab'[r % 2]},{date}" for r, date in enumerate(dates)]
    (path / "rows.csv").write_text("\n".join(["tries,area,price,kind,day", *rows]) + "\n")
    (path / "s.yaml").write_text(text)
    return path / "s.yaml"


def told(path: Path) -> list[tuple[str, int, str]]:
    """What `check --inspect` warns of: code, line, message."""
    done = CliRunner().invoke(app, ["check", "--inspect", str(path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["files"][0]["diagnostics"]
    assert all(each["severity"] == "warning" and each["help"] for each in found)
    return [(each["code"], each["line"], each["message"]) for each in found]


def test_the_scale_of_synthetic_data_is_no_warning(tmp_path: Path) -> None:
    text = """
inputs: {x: {shape: [6]}}
nodes: {y: {layer: Dense, units: 6, activation: sigmoid}}
outputs: {y: {loss: mse, target: x}}
train: {epochs: 1}
"""
    (tmp_path / "s.yaml").write_text(text)
    command = ["train", str(tmp_path / "s.yaml"), "--device", "cpu", "--run-dir", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "warning" not in done.stderr


def test_rows_that_are_fine_are_no_warning(tmp_path: Path) -> None:
    assert told(table(tmp_path, {})) == []


@pytest.mark.parametrize("code", ROWS)
def test_what_rows_decide_is_told_by_check_and_train_and_can_be_silenced(tmp_path: Path, code: str) -> None:
    changes, line, words = ROWS[code]
    spec = table(tmp_path, changes)
    ((found, place, message),) = told(spec)
    assert (found, place) == (code, line) and words in message
    command = ["train", str(spec), "--device", "cpu", "--run-dir", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command)
    assert f"warning[{code}]" in done.stderr and done.exit_code == 0
    lines = spec.read_text().splitlines()
    lines[line - 1] += f"  # ok: {code}"
    spec.write_text("\n".join(lines) + "\n")
    assert told(spec) == []


def test_a_phase_is_to_outlast_its_own_warm_up(tmp_path: Path) -> None:
    spec = table(tmp_path, {})
    phases = "phases: [{epochs: 1, schedule: {name: cosine_decay, warmup_steps: 4}}, {epochs: 3}]"
    text = spec.read_text().replace("epochs: 1, batch_size", "batch_size")
    spec.write_text(text.replace("schedule: {name: cosine_decay, warmup_steps: 2}", phases))
    ((code, line, message),) = told(spec)
    assert (code, line) == ("never-acts", 18) and "the phase has 3" in message
    steps = phases.replace("schedule: {", "steps: [{repeat: 2, schedule: {").replace("4}}", "4}}]}")
    spec.write_text(spec.read_text().replace(phases, steps))
    assert told(spec) == []  # it makes 6


@pytest.mark.parametrize(
    ("layer", "codes"), [("ZeroPadding2D", ["raw-pixels"]), ("Rescaling, scale: 0.004", [])]
)
def test_pixels_in_arrays_are_seen(tmp_path: Path, layer: str, codes: list[str]) -> None:
    text = """
inputs:
  photo: {shape: [8, 8, 1]}
nodes:
  before: {layer: LAYER}
  seen: {layer: Conv2D, filters: 2, kernel_size: 3}
  all: {layer: GlobalAveragePooling2D}
  y: {layer: Dense, units: 1, activation: sigmoid}
outputs:
  y: {loss: binary_crossentropy}
data: {train: d.npz}
"""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", photo=rng.integers(0, 256, (32, 8, 8, 1)), y=rng.integers(0, 2, 32))
    (tmp_path / "s.yaml").write_text(text.replace("LAYER", layer))
    assert [code for code, _, _ in told(tmp_path / "s.yaml") if code != "linear-stack"] == codes


def test_a_layer_that_is_normalized_at_once_may_read_numbers_as_they_are(tmp_path: Path) -> None:
    spec = table(tmp_path, {"SCALE": "none"})
    for after in ("{layer: BatchNormalization}", None):
        text = spec.read_text()
        if after is not None:
            text = text.replace(
                "units: 8, activation: tanh}", f"units: 8, use_bias: false}}\n  norm: {after}"
            )
            text = text.replace("from: hidden", "from: norm")
        (tmp_path / "t.yaml").write_text(text)
        assert [code for code, _, _ in told(tmp_path / "t.yaml")] == ([] if after else ["unscaled"])


def test_mistakes_in_rows_are_told_with_the_data(tmp_path: Path) -> None:
    spec = table(tmp_path, {})
    rows = (tmp_path / "rows.csv").read_text().replace("\n1,49,", "\n1,,", 1)
    (tmp_path / "rows.csv").write_text(rows)
    assert CliRunner().invoke(app, ["check", str(spec)]).exit_code == 0
    done = CliRunner().invoke(app, ["check", "--inspect", str(spec), "--json"])
    (found,) = json.loads(done.stdout)["files"][0]["diagnostics"]
    assert done.exit_code == 1 and found["code"] == "data-gap" and "rows.csv" in found["file"]
