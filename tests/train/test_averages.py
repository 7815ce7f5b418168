"""`average_of`: weights follow those of another entry, as in a loop by hand; what is refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import Diagnostics
from graphspec.train import compiled
from graphspec.train.loop import Interrupted, train

SPEC = """
name: slow
inputs: {x: {shape: [6]}}
blocks:
  encoder:
    inputs: [x]
    nodes:
      wide: {layer: Dense, units: 8, activation: tanh}
      norm: {layer: BatchNormalization, momentum: 0.9}
      code: {layer: Dense, units: 4}
shared:
  online: {block: encoder}
  target: {average_of: online, momentum: 0.8}
nodes:
  noisy: {layer: GaussianNoise, from: x, stddev: 0.0}
  said: {call: target, from: x}
  code: {call: online, from: noisy}
  act: {op: tanh}
  guess: {layer: Dense, units: 4}
  unlike: {compute: "sum(square(guess - said), axis=-1)"}
outputs: {unlike: {loss: mean}}
data: {train: x.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05, momentum: 0.9}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    return tmp_path


def fitted(folder: Path, spec: str = SPEC, run: str = "run", **options: Any) -> dict[str, Tensor]:
    """The weights after a training."""
    train(graphspec.compile(spec), root=folder, run_dir=folder / run, device="cpu", **options)
    return dict(graphspec.Run(folder / run, "last").module().state_dict())


def by_hand(folder: Path, epochs: int) -> nn.Module:
    """Twenty steps, with the average after each."""
    module: Any = graphspec.compile(SPEC).module()
    x = torch.from_numpy(np.load(folder / "x.npz")["x"])
    moved = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(moved, 0.05, 0.9)
    for epoch in range(epochs):
        for rows in Shuffle(0, epoch).order(40).split(8):
            module.train()(x[rows]).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                online = module.online.state_dict()
                for name, average in module.target.state_dict().items():
                    average.copy_(0.8 * average + 0.2 * online[name])
    return module


def test_an_average_begins_as_what_it_averages() -> None:
    module: Any = graphspec.compile(SPEC).module(seed=3)
    for name, weight in module.online.state_dict().items():
        assert torch.equal(module.target.state_dict()[name], weight), name
    assert not any(weight.requires_grad for weight in module.target.parameters())


def test_twenty_steps_are_those_of_a_loop_by_hand(folder: Path) -> None:
    found, expected = fitted(folder), by_hand(folder, 4).state_dict()
    assert (found["target.wide.weight"] - found["online.wide.weight"]).abs().max() > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4, msg=name)


class Stop:
    def __init__(self, steps: int):
        self.steps = steps
        self.model: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.iterations == self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_goes_on_to_the_bit(folder: Path) -> None:
    with pytest.raises(Interrupted):
        fitted(folder, callbacks=[Stop(7)])
    resumed, whole = fitted(folder, resume=True), fitted(folder, run="whole")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(torch.__version__ < compiled.WHOLE_STEPS, reason="this torch compiles no whole steps")
def test_steps_in_a_row_move_it_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    found = fitted(folder, compile="on")
    for name, value in fitted(folder, run="eager").items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_file_of_weights_is_what_both_begin_with(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "spec.yaml"
    path.write_text(
        SPEC.replace("online: {block: encoder}", "online: {block: encoder, weights: w.safetensors}")
    )
    module: Any = graphspec.compile(SPEC).module(seed=5)
    save_file(dict(module.online.state_dict()), tmp_path / "w.safetensors")
    again: Any = graphspec.compile(path).module(seed=6)
    assert torch.equal(again.target.wide.weight, module.online.wide.weight)


@pytest.mark.parametrize(
    ("old", "new", "code", "column"),
    [
        ("average_of: online", "average_of: onlin", "unknown-reference", "onlin"),
        ("average_of: online", "average_of: target", "unknown-reference", "target, momentum"),
        ("momentum: 0.8", "momentum: 1.5", "out-of-range", "1.5"),
        ("momentum: 0.8", "momentum: high", "wrong-type", "high"),
        ("momentum: 0.8", "momentums: 0.8", "unknown-key", "momentums"),
        ("momentum: 0.8", "trainable: true", "unknown-key", "trainable: true"),
        ("said: {call: target, from: x}", "said: {average_of: online}", "wrong-type", "average_of: online}"),
        ("said: {call: target, from: x}", "said: {call: target, from: act}", "shared-differs", "said:"),
        ("batch_size: 8", "batch_size: 8, adapters: [{match: '*', rank: 1}]", "not-supported", "[{match"),
        (
            "batch_size: 8",
            "batch_size: 8, parameter_groups: [{match: '*', trainable: true}]",
            "not-supported",
            "'*'",
        ),
    ],
)
def test_what_is_no_average_is_refused(old: str, new: str, code: str, column: str) -> None:
    text, diagnostics = SPEC.replace(old, new), Diagnostics()
    check(text, diagnostics, {})
    (found,) = [each for each in diagnostics.sorted() if each.severity == "error"]
    assert found.code == code and found.span is not None
    line = text.splitlines()[found.span.line - 1]
    assert line[found.span.column - 1 :].startswith(column)


def test_an_average_within_a_block_is_one_of_each_instance() -> None:
    spec = """
inputs: {x: {shape: [4]}}
blocks:
  pair:
    inputs: [x]
    shared: {a: {layer: Dense, units: 4}, b: {average_of: a}}
    nodes:
      one: {call: a, from: x}
      two: {call: b, from: x}
      both: {merge: add, from: [one, two]}
nodes:
  pairs: {block: pair, repeat: 2}
outputs: {pairs: {loss: mse}}
"""
    module: Any = graphspec.compile(spec).module()
    first, second = module.pairs
    assert torch.equal(first.a.weight, first.b.weight) and torch.equal(second.a.weight, second.b.weight)
    assert not torch.equal(first.a.weight, second.a.weight)
