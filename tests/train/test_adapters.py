"""Low-rank adapters beside PEFT's, with the same draws: outputs, gradients, steps, files."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.train.adapters import attach, is_adapter, merged, peft_config, peft_tensors
from graphspec.train.files import write_weights
from graphspec.weights.adaptable import adapter_params

SPECS = Path(__file__).parents[2] / "specs"
ADAPTERS = {
    "llama": [{"match": "layers.*.query", "rank": 4, "alpha": 8}, {"match": "words", "rank": 2, "alpha": 6}],
    "bert": [{"match": "layers.*.attention.*", "rank": 4, "alpha": 16}],
}


def adapted(name: str, text: Path | str | None = None) -> tuple[Any, nn.Module]:
    settings: dict[str, Any] = {"train.adapters": ADAPTERS[name]}
    program = graphspec.compile(SPECS / f"{name}.yaml", settings=settings)
    module = program.module(seed=1)
    attach(program, module)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, weight in module.named_parameters():
            if is_adapter(key):
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return program, module


def with_peft(program: Any, ours: nn.Module) -> Any:
    """PEFT's model of the same base, which reads our adapters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

        given = json.loads(peft_config(program, None))
        config = LoraConfig(**{k: v for k, v in given.items() if k not in ("peft_type", "inference_mode")})
        model = get_peft_model(program.module(seed=1), config)
        unread: Any = set_peft_model_state_dict(model, peft_tensors(ours.state_dict()))
    assert not unread.unexpected_keys
    return model


def loss(value: Any) -> Any:
    return sum((x.float() ** 2).mean() for x in (value.values() if isinstance(value, dict) else [value]))


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_outputs_gradients_and_ten_steps_are_those_of_peft(name: str) -> None:
    program, ours = adapted(name)
    theirs = with_peft(program, ours)
    inputs = list(program.example_inputs(2, {"length": 6}, 0).values())
    ours.eval(), theirs.eval()
    torch.testing.assert_close(loss(ours(*inputs)), loss(theirs(*inputs)))
    pairs = []
    known = dict(theirs.named_parameters())
    for key, weight in ours.named_parameters():
        if weight.requires_grad:
            path = f"base_model.model.{key}"
            end = ".default.weight" if path.endswith(".weight") else ".default"
            pairs.append((weight, known[path.removesuffix(".weight") + end]))
    assert {id(w) for w in known.values() if w.requires_grad} == {id(other) for _, other in pairs}
    assert sum(weight.numel() for weight, _ in pairs) == adapter_params(program.graph, program.training)
    optimizers = [torch.optim.SGD([pair[side] for pair in pairs], 0.1) for side in (0, 1)]
    for _ in range(10):
        for module, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            loss(module(*inputs)).backward()
        for weight, other in pairs:
            torch.testing.assert_close(weight.grad, other.grad, rtol=1e-3, atol=1e-6)
        for optimizer in optimizers:
            optimizer.step()
    for weight, other in pairs:
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_merged_weights_give_the_same(name: str) -> None:
    program, module = adapted(name)
    inputs = list(program.example_inputs(2, {"length": 6}, 0).values())
    plain = program.module(seed=1)
    with torch.no_grad():
        before = loss(plain.eval()(*inputs))
        state = merged(program, plain.state_dict(), peft_tensors(module.state_dict()))
        found, expected = loss(program.module(weights=state).eval()(*inputs)), loss(module.eval()(*inputs))
    torch.testing.assert_close(found, expected)
    assert not torch.isclose(before, expected)


EINSUMS = """
inputs: {x: {shape: [5, 8]}}
nodes:
  heads: {layer: EinsumDense, equation: "abc,cde->abde", output_shape: [null, 2, 4], bias_axes: de}
  joined: {layer: EinsumDense, equation: "abde,dec->abc", output_shape: [null, 8]}
  last: {layer: EinsumDense, equation: "...x,xy->...y", output_shape: 3}
  first: {layer: EinsumDense, equation: "ab...,bc->ac...", output_shape: 4}
outputs: [first]
train: {adapters: [{match: "*", rank: 2, alpha: 6}]}
"""


def test_an_adapter_of_einsum_dense_is_the_product_of_its_factors() -> None:
    """Beside the layer with the merged kernel; two factors as those of a matrix have these sizes."""
    program = graphspec.compile(EINSUMS)
    module = program.module(seed=1).double()
    attach(program, module)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    plain = module(x)
    with torch.no_grad():
        for key, weight in module.named_parameters():
            if is_adapter(key):
                weight.copy_(torch.randn_like(weight))
    shapes = {key: tuple(weight.shape) for key, weight in module.state_dict().items() if is_adapter(key)}
    assert shapes["heads.lora_A.weight"] == (2, 8) and shapes["heads.lora_B.weight"] == (8, 2)
    assert shapes["first.lora_A.weight"] == (2, 5) and shapes["first.lora_B.weight"] == (4, 2)
    assert sum(map(math.prod, shapes.values())) == adapter_params(program.graph, program.training)
    base = {key: value for key, value in module.state_dict().items() if not is_adapter(key)}
    state = merged(program, base, peft_tensors(module.state_dict()))
    whole = program.module(weights=state).double()
    whole.load_state_dict(state)
    torch.testing.assert_close(module(x), whole(x))
    assert not torch.allclose(module(x), plain)


def test_a_kernel_for_each_place_can_have_no_adapter() -> None:
    spec = EINSUMS.replace("abc,cde->abde", "abc,bcde->abde")
    with pytest.raises(graphspec.SpecError, match="no layer that can have an adapter"):
        graphspec.compile(spec.replace('match: "*"', "match: heads"))


SPEC = """
name: a
inputs: {x: {shape: [6]}}
nodes:
  body: {layer: Dense, units: 8, activation: relu}
  norm: {layer: BatchNormalization}
  head: {layer: Dense, units: 3, activation: softmax}
outputs: {head: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data: {train: x.npz, validation: {split: 0.25}}
train: {optimizer: adam, epochs: 2, batch_size: 8, MORE}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(32, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, head=generator.integers(0, 3, 32))
    write_weights(
        tmp_path / "base.safetensors", graphspec.compile(SPEC.replace("MORE", "")).module(seed=9).state_dict()
    )
    return tmp_path


ADAPTED = "adapters: [{match: body, rank: 2, alpha: 4, dropout: 0.1}, {match: head, rank: 1}]"


def trained(folder: Path, run: str, **options: Any) -> Path:
    (folder / "a.yaml").write_text(SPEC.replace("MORE", ADAPTED))
    given = options if options.get("resume") else {"weights": folder / "base.safetensors", **options}
    result = graphspec.compile(folder / "a.yaml").fit(run_dir=folder / run, **given)
    return Path(result.run_dir)


def test_a_run_holds_its_adapters_alone_and_predicts_with_them(folder: Path) -> None:
    run = trained(folder, "one")
    assert set(load_file(run / "adapter.safetensors")) == {
        f"base_model.model.{path}.lora_{part}.weight" for path in ("body", "head") for part in "AB"
    }
    assert "body.weight" not in load_file(run / "best.safetensors")
    assert json.loads((run / "adapter_config.json").read_text())["rank_pattern"] == {"head": 1}
    base = load_file(folder / "base.safetensors")
    state = graphspec.Run(run).module().state_dict()
    assert not torch.equal(state["body.weight"], base["body.weight"])
    assert torch.equal(state["norm.running_mean"], base["norm.running_mean"])
    history = graphspec.Run(run).history["val_loss"]
    assert graphspec.Run(run).evaluate()["loss"] == pytest.approx(min(x for x in history if x), rel=1e-5)


def test_a_build_writes_them_merged(folder: Path) -> None:
    run, file = trained(folder, "one", epochs=1), folder / "whole.py"
    arguments = ["build", str(run / "spec.yaml"), "--merge-adapters", str(run), "-o", str(file)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    state = graphspec.Run(run).module().state_dict()
    found = load_file(folder / "whole.safetensors")
    assert all(torch.equal(found[key], value) for key, value in state.items() if key in found)
    assert "body.weight" in found and not any(map(is_adapter, found))


def test_the_summary_counts_them() -> None:
    summary = graphspec.compile(SPEC.replace("MORE", ADAPTED)).summary()
    assert summary.trainable_params == 0 and summary.adapter_params == 2 * (6 + 8) + (8 + 3)
    assert "Adapter params: 39" in str(summary)


def test_a_resumed_run_is_the_same_to_the_bit(folder: Path) -> None:
    whole = trained(folder, "whole")
    trained(folder, "part", epochs=1)
    part = trained(folder, "part", resume=True, epochs=2)
    first, second = (load_file(run / "last.safetensors") for run in (whole, part))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_base_is_refused(folder: Path) -> None:
    run = trained(folder, "one", epochs=1)
    shutil.copy(folder / "base.safetensors", folder / "first.safetensors")
    write_weights(
        folder / "base.safetensors", graphspec.compile(SPEC.replace("MORE", "")).module().state_dict()
    )
    with pytest.raises(graphspec.SpecError, match="is another file"):
        graphspec.Run(run).module()
    (folder / "first.safetensors").rename(run / "base.safetensors")  # which stands beside the adapters then
    graphspec.Run(run).module()


def test_a_run_that_another_user_goes_on_with_keeps_its_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, part = trained(folder, "whole"), trained(folder, "part", epochs=1)
    shutil.move(folder / "base.safetensors", part / "base.safetensors")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "other"))
    trained(folder, "part", resume=True, epochs=2)
    shutil.copy(part / "base.safetensors", whole)
    expected = graphspec.Run(whole, "last").module().state_dict()
    found = graphspec.Run(part, "last").module().state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    (part / "base.safetensors").unlink()
    with pytest.raises(graphspec.SpecError, match="is another file"):
        graphspec.Run(part).module()


def test_runs_share_a_base_and_predict(folder: Path) -> None:
    x = np.load(folder / "x.npz")["x"]
    for run in [trained(folder, name, epochs=1) for name in ("one", "two")]:
        with torch.no_grad():
            expected = graphspec.Run(run).module()(torch.from_numpy(x))
        table = graphspec.Run(run).predict(folder / "x.npz", device="cpu")
        found = np.array([table.column(name) for name in table.column_names if name.startswith("head.")])
        np.testing.assert_allclose(found.T, expected, atol=1e-6)


def test_a_run_without_adapters_has_none_to_merge(folder: Path) -> None:
    (folder / "a.yaml").write_text(SPEC.replace("MORE", "seed: 1"))
    run = graphspec.compile(folder / "a.yaml").fit(run_dir=folder / "plain", epochs=1).run_dir
    merged = ["build", str(folder / "a.yaml"), "--merge-adapters", str(run), "-o", str(folder / "m.py")]
    told = CliRunner().invoke(app, merged)
    assert told.exit_code == 2 and "has no adapters" in told.output


def test_a_pattern_without_a_layer_is_an_error() -> None:
    with pytest.raises(graphspec.SpecError) as caught:
        graphspec.compile(SPEC.replace("MORE", "adapters: [{match: norm}]"))
    assert caught.value.diagnostics[0].code == "unknown-weight"
