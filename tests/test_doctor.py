"""The look at a batch before the first step: what it finds, and that it leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphspec.compiler import compile
from graphspec.data.batches import Batch
from graphspec.train import loop
from graphspec.train.doctor import Examination, examine, examples, reachable
from graphspec.train.judge import Judge
from graphspec.train.loop import train
from graphspec.train.penalties import Penalties

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
    judge = Judge(program.inputs, program.outputs, torch.device("cpu"), Penalties(program.graph, module))
    inputs = program.example_inputs(16)
    return examine(program, module, judge, Batch({**inputs, **targets(), **changes}))


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
    assert "`frozen` reaches no weight" in first.message
    assert first.span is not None and "frozen" in spec(outputs=ALL).splitlines()[first.span.line - 1]
    assert "`idle.bias`, `idle.weight`" in second.message and "trainable: false" in (second.help or "")


def test_dead_units_are_found_where_they_are() -> None:
    (warning,) = examined(spec("-1000.0")).warnings
    assert warning.code == "dead-units" and warning.message.startswith("16 of 16 units are 0 for all 16")
    assert warning.span is not None and warning.span.line == 5
    assert not examined(spec("1000.0")).warnings


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
    judge = Judge(program.inputs, program.outputs, torch.device("cpu"))
    batch = Batch({**program.example_inputs(4), "kind": torch.zeros(4, 1)})
    (warning,) = examine(program, module, judge, batch).warnings
    assert "4 of 4 units" in warning.message and warning.span is not None and warning.span.line == 5


def test_the_gradient_flows_where_autograd_says() -> None:
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    value = (a * b.detach()).sum() + c.sum()
    assert reachable(value) == {a, c} and reachable(a) == {a} and reachable(torch.ones(1)) == set()


def test_a_training_is_the_same_with_it_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = compile(spec())
    watched = train(program, run_dir=tmp_path / "with", tell=lambda line: None)
    monkeypatch.setattr(loop, "_examine", lambda *rest: Examination())
    plain = train(program, run_dir=tmp_path / "without", tell=lambda line: None)
    assert watched.history == plain.history
    files = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("with", "without")]
    assert files[0] == files[1]


def test_of_a_large_model_a_few_examples_are_looked_at() -> None:
    assert examples(compile(spec()), 64) == 32 and examples(compile(spec()), 5) == 5
    assert examples(compile(Path(__file__).parents[1] / "specs" / "resnet50.yaml"), 64) == 2


def test_what_breaks_the_model_breaks_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def broken(*rest: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Judge, "__call__", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(compile(spec()), tell=lambda line: None)
    assert list(tmp_path.iterdir()) == []
