"""`state`: what batches leave for those that follow is that of a loop by hand; a run goes on to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import graphspec
from graphspec.compare import compare
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import Diagnostics
from graphspec.train.loop import Interrupted, train

QUEUE = """
name: m
params: {momentum: 0.9}
inputs: {x: {shape: [6]}}
nodes:
  query: {layer: Dense, units: 4}
  key: {layer: Dense, from: x, units: 4}
  others: {state: [20, 4], initializer: random_normal, update: "concatenate([key, others], axis=1)[:, :20]"}
  center: {state: [4], update: "$momentum * center + (1 - $momentum) * mean(key, axis=1)"}
  largest: 
    {state: [], initializer: {name: constant, value: -9}, update: "maximum(largest, max(x, axis=[1, 2]))"}
  steps: {state: [], dtype: int64, update: steps + 1}
  near: {compute: "sum(query * (key - center), axis=-1, keepdims=true)"}
  far: {compute: "sum(expand_dims(query, axis=1) * others, axis=-1)"}
  both: {merge: concatenate, from: [near, far]}
  unlike: {compute: "-log_softmax(both)[:, 0] * (1 + 0.1 * largest) / (1 + 0.1 * steps)"}
outputs: {unlike: {loss: mean}}
data: {train: x.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05}}
"""
"""A queue, a running mean, a moving maximum and a counter."""
CODES = """
name: m
inputs: {x: {shape: [6]}}
nodes:
  code: {layer: Dense, units: 4}
  counts: {state: [8], initializer: ones, update: "0.9 * counts + 0.1 * sum(chosen, axis=1)"}
  sums:
    state: [8, 4]
    initializer: random_normal
    update: "0.9 * sums + 0.1 * einsum(chosen, code, subscripts='bnk,bnd->bkd')"
  book: {compute: "sums / expand_dims(counts, axis=-1)"}
  apart: {compute: "sum(square(expand_dims(code, axis=1) - book), axis=-1)"}
  closest: {op: argmin, from: apart, axis: -1}
  chosen: {op: one_hot, from: closest, num_classes: 8}
  near: {compute: "sum(expand_dims(chosen, axis=-1) * book, axis=1)"}
  through: {compute: code + stop_gradient(near - code)}
  out: {layer: Dense, from: through, units: 6}
  held: {compute: "mean(square(code - near), axis=-1)"}
outputs:
  out: {loss: mse, target: x}
  held: {loss: mean, loss_weight: 0.25}
data: {train: x.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05}}
"""
"""Quantization by a codebook of moving averages: what changes a state follows from it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    return tmp_path


def fitted(folder: Path, run: str = "run", text: str = QUEUE, **options: Any) -> dict[str, Tensor]:
    train(graphspec.compile(text), root=folder, run_dir=folder / run, device="cpu", **options)
    return dict(graphspec.Run(folder / run, "last").module().state_dict())


def batches(folder: Path) -> Any:
    x = torch.from_numpy(np.load(folder / "x.npz")["x"])
    return (x[rows] for epoch in range(4) for rows in Shuffle(0, epoch).order(40).split(8))


def step(loss: Tensor, weights: list[Tensor]) -> None:
    gradients = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.sub_(0.05 * gradient)


def assert_found(found: dict[str, Tensor], module: Any, states: dict[str, Tensor]) -> None:
    expected = {**module.state_dict(), **{f"{name}.value": value for name, value in states.items()}}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].view_as(value), value, rtol=1e-4, atol=1e-5, msg=name)


def test_twenty_steps_are_those_of_a_loop_by_hand(folder: Path) -> None:
    found = fitted(folder)
    module: Any = graphspec.compile(QUEUE).module()
    others, center, largest, steps = module.others.value[0].clone(), torch.zeros(4), torch.tensor(-9.0), 0
    weights = [*module.query.parameters(), *module.key.parameters()]
    for x in batches(folder):
        query, key = module.query(x), module.key(x)
        scores = torch.cat([(query * (key - center)).sum(1, keepdim=True), query @ others.T], 1)
        loss = (-scores.log_softmax(1)[:, 0] * (1 + 0.1 * largest) / (1 + 0.1 * steps)).mean()
        others = torch.cat([key.detach(), others])[:20]
        center = 0.9 * center + 0.1 * key.detach().mean(0)
        largest, steps = torch.maximum(largest, x.max()), steps + 1
        step(loss, weights)
    states = {"others": others[None], "center": center[None], "largest": largest[None]}
    assert_found(found, module, states | {"steps": torch.tensor([20])})


def test_a_codebook_of_averages_is_that_of_a_loop_by_hand(folder: Path) -> None:
    found = fitted(folder, text=CODES)
    module: Any = graphspec.compile(CODES).module()
    counts, sums = torch.ones(8), module.sums.value[0].clone()
    for x in batches(folder):
        code, book = module.code(x), sums / counts[:, None]
        chosen = one_hot(torch.cdist(code, book).argmin(1), 8).float()
        near = chosen @ book
        out = module.out(code + (near - code).detach())
        counts, sums = 0.9 * counts + 0.1 * chosen.sum(0), 0.9 * sums + 0.1 * chosen.T @ code.detach()
        step((out - x).square().mean() + 0.25 * (code - near).square().mean(), list(module.parameters()))
    assert_found(found, module, {"counts": counts[None], "sums": sums[None]})


def test_evaluation_changes_nothing() -> None:
    module: Any = graphspec.compile(CODES).module().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.ones(3, 6))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class Stop:
    def __init__(self, steps: int):
        self.steps = steps
        self.model: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.iterations == self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("text", [QUEUE, CODES], ids=["queue", "codes"])
def test_a_run_goes_on_to_the_bit(folder: Path, text: str) -> None:
    with pytest.raises(Interrupted):
        fitted(folder, text=text, callbacks=[Stop(7)])
    resumed, whole = fitted(folder, text=text, resume=True), fitted(folder, "whole", text)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_block_has_a_state_for_each_of_its_instances() -> None:
    """Calls of one set of weights share one, and each changes it."""
    inside = "{state: [4], update: '0.5 * seen + 0.5 * mean(x, axis=1)'}"
    text = f"""
        inputs: {{x: {{shape: [4]}}}}
        blocks: {{b: {{inputs: [x], nodes: {{seen: {inside}, y: {{compute: x - seen}}}}}}}}
        shared: {{twice: {{block: b}}}}
        nodes:
          chain: {{block: b, from: x, repeat: 2}}
          one: {{call: twice, from: chain}}
          two: {{call: twice, from: one}}
        outputs: [two]
    """
    module: Any = graphspec.compile(text).module().train()
    assert torch.equal(module(torch.ones(2, 4)), torch.full((2, 4), 0.5))
    state = {name: value[0, 0].item() for name, value in module.state_dict().items()}
    assert state == {"chain.0.seen.value": 0.5, "chain.1.seen.value": 0.5, "twice.seen.value": 0.75}


def test_a_block_may_lack_its_state() -> None:
    text = """
        inputs: {x: {shape: [4]}}
        blocks:
          b:
            params: {centered: true}
            inputs: [x]
            nodes:
              seen: {state: [4], when: $centered, update: "seen + mean(x, axis=1)"}
              y: {merge: add, from: [x, seen]}
        nodes: {one: {block: b}, two: {block: b, centered: false}}
        outputs: [two]
    """
    module: Any = graphspec.compile(text).module().train()
    assert torch.equal(module(module(torch.ones(2, 4))), torch.full((2, 4), 2.0))
    assert [name for name in module.state_dict()] == ["one.seen.value"]


def test_a_prediction_of_a_state_has_all_rows(folder: Path) -> None:
    text = QUEUE.replace("outputs: {unlike: {loss: mean}}", "outputs: {unlike: {loss: mean}, center: {}}")
    fitted(folder, text=text.replace("epochs: 4", "epochs: 1"))
    run = graphspec.Run(folder / "run", "last")
    found = run.predict(dict(np.load(folder / "x.npz")))
    assert len(found["center"]) == 40 and len(found["unlike"]) == 40


def test_a_change_of_its_formula_is_a_difference() -> None:
    program, other = graphspec.compile(QUEUE), graphspec.compile(QUEUE.replace("steps + 1}", "steps + 2}"))
    (change,) = compare(program, other).nodes
    assert "steps + 2" in str(change.to_json())


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("state: [20, 4]", "state: 20", "wrong-type", "write state: [20]"),
        ("state: [20, 4]", "state: [n, 4]", "wrong-type", "positive integers"),
        (', update: "$momentum', ', updat: "$momentum', "unknown-key", "did you mean `update`"),
        ("mean(key, axis=1)", "key", "shapes-differ", "mean(x, axis=1)"),
        ("mean(key, axis=1)", "mean(key, axis=0)", "out-of-range", "axis 1 counts"),
        ("mean(key, axis=1)", "mean(kez, axis=1)", "unknown-reference", "did you mean `key`"),
        ("mean(key, axis=1)", "mean(random_normal(like=key), axis=1)", "not-supported", "draws random"),
        ("[:, :20]", "[:, :5]", "shapes-differ", "write state: [5, 4]"),
        ("steps + 1}", "steps + 0.5}", "shapes-differ", "dtype"),
        ("steps + 1}", "steps}", "expression-form", "changes nothing"),
        ("steps + 1}", "1 + 2}", "expression-form", "reads no node"),
        ("steps + 1}", "{compute: steps}}", "wrong-type", "a formula is a string"),
        ("dtype: int64", "dtype: int64, initializer: random_normal", "wrong-dtype", "`zeros`"),
        ("dtype: int64", "dtype: int64, trainable: true", "unknown-key", "only its `update`"),
        ("dtype: int64", "dtype: int64, from: x", "input-count", "delete `from`"),
        (" / (1 + 0.1 * steps)", "", "unreachable-node", "steps"),
        ("{state: [], dtype", "{buffer: [], dtype", "unknown-key", "state"),
    ],
)
def test_what_is_no_state_is_refused(old: str, new: str, code: str, said: str) -> None:
    text, diagnostics = QUEUE.replace(old, new), Diagnostics()
    assert text != QUEUE
    check(text, diagnostics, {})
    first = next(each for each in diagnostics.sorted() if each.severity == "error")
    assert first.code == code
    assert said in f"{first.message} {first.help}"


@pytest.mark.parametrize("wrapper", ["Scan, over: [x]", "TimeDistributed"])
def test_a_wrapper_takes_no_state(wrapper: str) -> None:
    text = f"""
        inputs: {{x: {{shape: [5, 4]}}}}
        blocks:
          b:
            inputs: [x]
            nodes: {{seen: {{state: [4], update: "mean(x, axis=1) + seen"}}, y: {{compute: x - seen}}}}
        nodes: {{y: {{layer: {wrapper}, wraps: {{block: b}}}}}}
        outputs: [y]
    """
    diagnostics = Diagnostics()
    check(text, diagnostics, {})
    (error,) = [each for each in diagnostics.sorted() if each.severity == "error"]
    assert error.code == "not-supported" and "remembers batches" in error.message
