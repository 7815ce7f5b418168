"""Layers that learn from training data before the first step, beside Keras' `adapt`; where they may stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.contract.learned import MeanAndVariance, Quantiles
from graphspec.custom import adapting, adaptive
from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run

SPEC = """\
inputs: {x: {shape: [3]}}
nodes:
  norm: {layer: Normalization}
  bins: {layer: Discretization, num_bins: 5, output_mode: one_hot}
  flat: {layer: Flatten}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {epochs: 2, batch_size: 8}
"""


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(sum(shape)).gamma(2, 3, shape) - 4).astype("float32")


def boundaries(values: list[Any], bins: int, epsilon: float = 0.01) -> list[float]:
    found = adapting._quantiles(map(torch.as_tensor, values), Quantiles("b", bins, epsilon))["b"]
    return [float(value) for value in found]


def keras_adapts(layer: Any, *batches: Any) -> None:
    """`layer.adapt`, which in Keras itself needs TensorFlow to be there."""
    layer.reset_state()
    for batch in batches:
        layer.update_state(batch)
    layer.finalize_state()


@pytest.mark.parametrize(
    ("count", "bins", "epsilon"),
    [
        (1000, 4, 0.01),
        (997, 7, 0.01),
        (250, 10, 0.01),
        (2900, 49, 0.003),
        (60, 3, 0.2),
        (9, 8, 0.01),
    ],
)
def test_boundaries_are_those_of_keras(count: int, bins: int, epsilon: float) -> None:
    values = numbers(count, 2)
    layer = keras.layers.Discretization(num_bins=bins, epsilon=epsilon)
    keras_adapts(layer, values)
    assert boundaries([values[:50], values[50:]], bins, epsilon) == layer.bin_boundaries[: bins - 1]


def test_large_data_are_merged_as_keras_merges_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "BLOCK", 300)
    values = [numbers(300), numbers(301)[:300] * 2, numbers(55)]
    layer = keras.layers.Discretization(num_bins=6)
    keras_adapts(layer, *values)
    assert boundaries(values, 6) == layer.bin_boundaries


def test_fewer_numbers_than_bins_leave_bins_empty() -> None:
    assert boundaries([np.array([1.0, 3.0, 2.0])], 8) == [1, 2, *[np.inf] * 5]
    layer = keras.layers.Discretization(num_bins=8)
    keras_adapts(layer, np.array([1.0, 3.0, 2.0]))
    assert layer.bin_boundaries == [1, 2]


@pytest.mark.parametrize("axis", [-1, 1, (1, 3), (2,), None])
def test_means_and_variances_are_those_of_keras(axis: Any) -> None:
    values = numbers(20, 4, 5, 3) + 100
    layer = keras.layers.Normalization(axis=axis)
    layer.adapt(values)
    kept = () if axis is None else tuple(a % 4 for a in (axis if isinstance(axis, tuple) else (axis,)))
    batches = (torch.from_numpy(values[first : first + 6]) for first in (0, 6, 12, 18))
    found = adapting._means(batches, MeanAndVariance("m", "v", kept))
    np.testing.assert_allclose(found["m"], layer.adapt_mean.value.detach(), rtol=1e-6)
    np.testing.assert_allclose(found["v"], layer.adapt_variance.value.detach(), rtol=1e-4)


def test_a_training_fills_them_from_its_inputs(tmp_path: Path) -> None:
    data = {"x": numbers(40, 3), "y": numbers(40, 1)}
    program = graphspec.compile(SPEC)
    run = Run(program.fit(data, run_dir=tmp_path / "run").run_dir)
    module = run.module()
    norm, bins = keras.layers.Normalization(), keras.layers.Discretization(num_bins=5, output_mode="one_hot")
    norm.adapt(data["x"])
    seen = norm(data["x"]).numpy()
    keras_adapts(bins, seen)
    torch.testing.assert_close(module.get_buffer("bins.boundaries"), torch.tensor(bins.bin_boundaries))
    scaled = module.get_submodule("norm")(torch.from_numpy(data["x"]))
    encoded = module.get_submodule("bins")(scaled)
    assert torch.equal(nn.functional.one_hot(encoded, 5).float(), torch.as_tensor(bins(seen)))
    # more epochs, and other data, leave them as they are
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    longer = program.fit(data, run_dir=tmp_path / "run", epochs=3, resume=True)
    again = Run(longer.run_dir).module()
    assert all(torch.equal(buffer, before[name]) for name, buffer in again.named_buffers())
    assert program.adapt(module, lambda: [{"x": torch.zeros(4, 3)}]) == []
    assert run.evaluate({"x": data["x"] + 9, "y": data["y"]})["loss"] > 0


def test_a_module_that_learned_nothing_gives_no_numbers() -> None:
    for text in (
        SPEC,
        SPEC.replace("  bins: {layer: Discretization, num_bins: 5, output_mode: one_hot}\n", ""),
    ):
        module = graphspec.compile(text).module()
        with pytest.raises(RuntimeError, match="train the model or load weights"):
            module(torch.zeros(2, 3))
    module = graphspec.compile(SPEC.replace("  norm: {layer: Normalization}\n", "")).module()
    with pytest.raises(RuntimeError, match="train the model or load weights"):
        module(torch.zeros(2, 3))


def test_a_build_runs_on_what_its_own_inputs_teach() -> None:
    program = graphspec.compile(SPEC)
    module = program.module()
    program.prove(module)
    assert all(module.get_buffer(key).isnan().all() for key in ("norm.mean", "bins.boundaries"))
    assert program.adapt(module, lambda: [program.example_inputs(64)]) == ["norm", "bins"]
    exported = torch.export.export(module.eval(), (torch.zeros(2, 3),)).module()
    x = torch.randn(2, 3)
    torch.testing.assert_close(exported(x), module(x))


NESTED = """\
inputs: {x: {shape: [4, 3]}}
blocks:
  scaled:
    inputs: [x]
    nodes:
      norm: {layer: Normalization, axis: [1, 2]}
      half: {op: multiply, x2: 0.5}
nodes:
  two: {block: scaled, repeat: 2}
  each: {layer: TimeDistributed, wraps: {layer: Discretization, num_bins: 4, output_mode: multi_hot}}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
"""


def test_they_stand_in_blocks_and_wrappers() -> None:
    program = graphspec.compile(NESTED)
    module = program.module()
    x = torch.from_numpy(numbers(50, 4, 3))
    assert program.adapt(module, lambda: [{"x": x[:20]}, {"x": x[20:]}]) == [
        "two.0.norm",
        "two.1.norm",
        "each",
    ]
    first, second = module.get_submodule("two.0.norm"), module.get_submodule("two.1.norm")
    torch.testing.assert_close(first.get_buffer("mean"), x.mean(0))
    torch.testing.assert_close(first.get_buffer("variance"), x.var(0, False))
    torch.testing.assert_close(second.get_buffer("variance"), torch.full((4, 3), 0.25))
    assert not module.get_buffer("each.boundaries").isnan().any() and module(x).shape == (50, 4, 1)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("  norm: ", "  d: {layer: Dense, units: 3}\n  norm: ", "the weights of `d` come before it"),
        ("  norm: ", "  d: {layer: Dropout, rate: 0.5}\n  norm: ", "`d` comes before it, and is random"),
        ("[3]", "[length]", "padded"),
    ],
)
def test_what_changes_may_not_stand_before_them(old: str, new: str, cause: str, tmp_path: Path) -> None:
    text = SPEC.replace(old, new, 1)
    if "length" in new:
        text = text.replace("layer: Normalization", "layer: Normalization, axis: null")
        text = text.replace("  flat: {layer: Flatten}", "  flat: {op: mean, axis: 1}")
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text).fit({"x": numbers(8, 3), "y": numbers(8, 1)}, run_dir=tmp_path / "run")
    (told,) = caught.value.diagnostics
    assert told.code == "cannot-adapt" and cause in told.message and told.help
    assert told.span is not None and told.span.line == 3 + new.count("\n")
    assert not (tmp_path / "run").exists()


def test_check_reports_it_for_a_spec_that_trains(tmp_path: Path) -> None:
    text = SPEC.replace("  norm: ", "  d: {layer: Dense, units: 3}\n  norm: ", 1)
    path = tmp_path / "model.yaml"
    for more, code in (("", 0), ("\ntrain: {epochs: 2}\n", 1)):
        path.write_text(text.partition("\ntrain:")[0] + more)
        result = CliRunner().invoke(app, ["check", str(path)])
        assert result.exit_code == code and ("the weights of `d` come" in result.stdout) == bool(code)


def test_what_stands_before_is_collected_only_for_layers_that_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [3]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: [y]\n"
    )
    monkeypatch.delattr(adaptive, "_before")
    assert list(adaptive.adaptive(program.graph)) == []


def test_frozen_weights_may_stand_before_them() -> None:
    text = SPEC.replace("  norm: ", "  d: {layer: Dense, units: 3, trainable: false}\n  norm: ")
    program = graphspec.compile(text)
    assert program.adapt(program.module(), lambda: [program.example_inputs(9)]) == ["norm", "bins"]


def test_a_shared_layer_is_refused() -> None:
    text = SPEC.replace(
        "nodes:\n  norm: {layer: Normalization}\n", "shared: {norm: {layer: Normalization}}\nnodes:\n"
    )
    text = text.replace("  bins:", "  a: {call: norm, from: x}\n  c: {call: norm, from: a}\n  bins:")
    program = graphspec.compile(text)
    with pytest.raises(SpecError, match="it is called 2 times"):
        program.adapt(program.module(), lambda: [program.example_inputs(9)])


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("{layer: Discretization}", "missing-key"),
        ("{layer: Discretization, num_bins: 3, bin_boundaries: [1, 2]}", "out-of-range"),
        ("{layer: Discretization, num_bins: 1}", "out-of-range"),
        ("{layer: Discretization, num_bins: 20, epsilon: 0.06}", "out-of-range"),
        ("{layer: Normalization, mean: 1}", "missing-key"),
    ],
)
def test_their_arguments_are_checked(layer: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(SPEC.replace("{layer: Normalization}", layer))
    assert [each.code for each in caught.value.diagnostics] == [code]
