"""Normalizations beyond the layer contract: what Keras on torch cannot run, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.transfer import transfer
from tests import processes


def module(arguments: dict[str, Any], shape: list[int]) -> torch.nn.Module:
    return graphspec.compile(spec(arguments, shape)).module().double()


def spec(arguments: dict[str, Any], shape: list[int]) -> str:
    inputs = {"x": {"shape": shape}}
    return json.dumps({"inputs": inputs, "nodes": {"y": arguments}, "outputs": ["y"]}, indent=1)


@pytest.mark.parametrize("layer", ["LayerNormalization", "RMSNormalization", "GroupNormalization"])
def test_a_middle_axis_is_the_last_of_the_transposed_tensor(layer: str) -> None:
    groups = {"groups": 2} if layer == "GroupNormalization" else {}
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    middle = module({"layer": layer, "axis": 1, **groups}, [4, 5])
    last = module({"layer": layer, "axis": -1, **groups}, [5, 4])
    torch.testing.assert_close(middle(x), last(x.transpose(1, 2)).transpose(1, 2))


def test_groups_of_one_value_train_on_one_example() -> None:
    net = module({"layer": "GroupNormalization", "groups": -1}, [5]).train()
    x = torch.randn(1, 5, dtype=torch.float64)
    torch.testing.assert_close(net(x), torch.zeros_like(x))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ({"layer": "LayerNormalization", "axis": 0}, "out-of-range", "may not mix examples"),
        ({"layer": "LayerNormalization", "axis": [1, -2]}, "out-of-range", "the same axis twice"),
        ({"layer": "LayerNormalization", "axis": []}, "out-of-range", "at least one axis"),
        ({"layer": "LayerNormalization", "axis": 3}, "out-of-range", "no axis 3"),
        ({"layer": "LayerNormalization", "gamma_initializer": "orthogonal"}, "out-of-range", "fill a vector"),
        ({"layer": "UnitNormalization", "axis": [1, 1]}, "out-of-range", "the same axis twice"),
        ({"layer": "GroupNormalization"}, "out-of-range", "32 groups, the default, do not divide the 6"),
        ({"layer": "GroupNormalization", "groups": 4}, "out-of-range", "4 groups do not divide the 6"),
        ({"layer": "GroupNormalization", "groups": 0}, "out-of-range", "0 groups do not divide the 6"),
    ],
)
def test_what_cannot_be_normalized_is_refused(arguments: dict[str, Any], code: str, told: str) -> None:
    with pytest.raises(SpecError) as refused:
        graphspec.compile(spec(arguments, [4, 6]))
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == code
    assert told in diagnostic.message


COUNTED = """
inputs: {x: {shape: [5, 5, 3]}}
nodes:
  conv: {layer: Conv2D, filters: 4, kernel_size: 1}
  norm: {layer: BatchNormalizationSETTINGS}
outputs: {norm: {loss: mean}}
"""


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize(
    "settings",
    ["", ", unbiased: true", ", trainable: false", ", unbiased: true, trainable: false"],
)
def test_the_count_of_batches_is_neither_needed_nor_refused(
    settings: str, counted: bool, tmp_path: Path
) -> None:
    """PyTorch's checkpoints have it, Keras' weights and `graphspec weights` do not."""
    program = graphspec.compile(COUNTED.replace("SETTINGS", settings))
    state = {**program.module(seed=3).state_dict(), "norm.num_batches_tracked": torch.tensor(7)}
    if not counted:
        del state["norm.num_batches_tracked"]
    weights = {key: value for key, value in state.items() if "num_batches" not in key}
    path = tmp_path / "start.safetensors"
    save_file(state, path)
    (tmp_path / "inner.yaml").write_text(COUNTED.replace("SETTINGS", settings))
    outer = "inputs: {x: {shape: [5, 5, 3]}}\nnodes: {y: {model: inner.yaml, weights: start.safetensors}}\n"
    (tmp_path / "outer.yaml").write_text(f"{outer}outputs: [y]\n")
    plain = program.module()
    plain.load_state_dict(state)
    inner = graphspec.compile(tmp_path / "outer.yaml").module().y
    moved = transfer(program.graph, path)
    assert moved.plan.ok and moved.weights.keys() == weights.keys()
    assert isinstance(inner, torch.nn.Module)
    for module in (plain, program.module(weights=state), program.module(weights=path), inner):
        found = module.state_dict()
        assert all(torch.equal(found[key], value) for key, value in weights.items())
    folded = program.fold().module(weights=moved.weights)
    x = torch.randn(2, 5, 5, 3)
    torch.testing.assert_close(folded.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


GROUPED = """
import json, sys, torch, graphspec
torch.manual_seed(0)
for shape, text in json.loads(sys.argv[1]):
    print(text, flush=True)
    module = graphspec.compile(text).module().train()
    x = torch.randn(2, *shape)
    results = []
    for grad in (False, True):
        module.zero_grad()
        (module(x.clone().requires_grad_(grad)) ** 2 * x).sum().backward()
        results.append([p.grad.clone() for p in module.parameters()])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
"""


def test_groups_of_an_input_that_needs_no_gradient_train() -> None:
    """In a process of its own, which PyTorch's kernel would end; it prints the spec to blame last."""
    given = []
    for settings in ({"groups": 2}, {"groups": -1, "scale": False}, {"groups": 2, "axis": 1}):
        for shape in ([5, 5, 8], [3, 4, 4, 8]):
            placed = [8, *shape[:-1]] if "axis" in settings else shape
            given.append((placed, spec({"layer": "GroupNormalization", **settings}, placed)))
    done = processes.run(["-c", GROUPED, json.dumps(given)])
    assert done.returncode == 0, done.stdout + done.stderr
