"""`train.freeze` and `unfreeze_at`: what moves, what normalizations do; a resumed run is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import graphspec
from graphspec.train.freezing import Freezing

SPEC = """
name: f
inputs: {x: {shape: [6]}}
nodes:
  body: {layer: Dense, units: 5, use_bias: false}
  norm: {layer: BatchNormalization}
  head: {layer: Dense, units: 3, activation: softmax}
outputs: {head: {loss: sparse_categorical_crossentropy}}
data: {train: x.npz}
train: {optimizer: {name: adam, learning_rate: 0.01}, epochs: 4, batch_size: 8, FREEZE}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(2, 3, (32, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, head=generator.integers(0, 3, 32))
    return tmp_path


def trained(folder: Path, freeze: str, epochs: int = 4, **options: Any) -> dict[str, torch.Tensor]:
    spec = folder / "f.yaml"
    spec.write_text(SPEC.replace("FREEZE", freeze))
    program = graphspec.compile(spec, settings={"train.epochs": epochs})
    result = program.fit(run_dir=folder / options.pop("run", "run"), **options)
    return dict(graphspec.Run(result.run_dir, "last").module().state_dict())


def initial() -> dict[str, torch.Tensor]:
    return dict(graphspec.compile(SPEC.replace("FREEZE", "seed: 0")).module().state_dict())


def test_frozen_weights_and_statistics_stay(folder: Path) -> None:
    found, before = trained(folder, 'freeze: ["body.*", "norm.*"]'), initial()
    for key in before:
        assert torch.equal(found[key], before[key]) == (not key.startswith("head")), key


def test_a_constraint_moves_no_frozen_weight(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        globals(), "SPEC", SPEC.replace("use_bias: false", "use_bias: false, kernel_constraint: unit_norm")
    )
    found, before = trained(folder, "freeze: body.*, unfreeze_at: 2", epochs=1), initial()
    assert torch.equal(found["body.weight"], before["body.weight"])
    found = trained(folder, "freeze: body.*, unfreeze_at: 1", epochs=2, run="thawed")
    torch.testing.assert_close(found["body.weight"].norm(dim=1), torch.ones(5))


def test_a_normalization_that_is_not_frozen_learns(folder: Path) -> None:
    found, before = trained(folder, "freeze: body.*"), initial()
    assert torch.equal(found["body.weight"], before["body.weight"])
    assert not torch.equal(found["norm.running_mean"], before["norm.running_mean"])


def test_what_unfreezes_trains_from_that_epoch_on_and_resumes_to_the_bit(folder: Path) -> None:
    freeze = 'freeze: ["body.*", "norm.*"], unfreeze_at: 2'
    first = trained(folder, freeze, epochs=2)
    assert torch.equal(first["body.weight"], initial()["body.weight"])
    for epochs in (3, 4):  # into the epoch that unfreezes, and with the state of both groups
        resumed = trained(folder, freeze, epochs=epochs, resume=True)
    whole = trained(folder, freeze, epochs=4, run="whole")
    assert not torch.equal(whole["body.weight"], initial()["body.weight"])
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_steps_are_those_of_a_loop_by_hand(folder: Path) -> None:
    """Adam begins anew for what unfreezes: PyTorch's counts the steps of each weight."""
    found = trained(folder, 'freeze: ["body.*", "norm.*"], unfreeze_at: 1, seed: 3', epochs=2)
    program = graphspec.compile(folder / "f.yaml")
    module = program.module(seed=3)
    parts: Any = dict(module.named_children())
    optimizer = torch.optim.Adam(module.parameters(), 0.01, eps=1e-7)
    rows: Any = np.load(folder / "x.npz")
    x, y = torch.from_numpy(rows["x"]), torch.from_numpy(rows["head"])
    from graphspec.data.batches import Shuffle

    for epoch in range(2):
        module.train()
        for name in ("body", "norm"):
            parts[name].requires_grad_(epoch == 1)
            parts[name].train(epoch == 1)
        for rows_of in Shuffle(3, epoch).order(32).split(8):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows_of], logits=True), y[rows_of]).backward()
            optimizer.step()
    for key, value in module.state_dict().items():
        if "num_batches" not in key:
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-3)  # Keras adds epsilon elsewhere


def test_a_frozen_beginning_keeps_nothing_for_gradients() -> None:
    program = graphspec.compile(SPEC.replace("FREEZE", 'freeze: ["body.*", "norm.*"]'))
    module = program.module()
    freezing = Freezing(program.graph, module)
    freezing.apply(program.training)
    parts: Any = dict(module.named_children())
    module.train()
    for still in freezing.still(program.training):
        still.eval()
    value = parts["norm"](parts["body"](torch.randn(4, 6)))
    assert value.grad_fn is None and not parts["norm"].training


def test_the_summary_counts_what_trains() -> None:
    frozen = graphspec.compile(SPEC.replace("FREEZE", 'freeze: ["body.*", "norm.*"]')).summary()
    assert frozen.trainable_params == 5 * 3 + 3
    thawed = graphspec.compile(SPEC.replace("FREEZE", 'freeze: "body.*", unfreeze_at: 1')).summary()
    assert thawed.trainable_params == frozen.trainable_params + 6 * 5 + 2 * 5


@pytest.mark.parametrize(
    ("freeze", "code"),
    [("freeze: boddy.*", "unknown-weight"), ("unfreeze_at: 2", "out-of-range"), ("freeze: 3", "wrong-type")],
)
def test_mistakes_have_their_place(freeze: str, code: str) -> None:
    with pytest.raises(graphspec.SpecError) as caught:
        graphspec.compile(SPEC.replace("FREEZE", freeze))
    (found,) = caught.value.diagnostics
    assert found.code == code and found.span is not None and found.span.line == 10
