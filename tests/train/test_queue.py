"""`Queue`: what batches leave for those that follow is that of a loop by hand; a run goes on to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import graphspec
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import Diagnostics
from graphspec.train.loop import Interrupted, train

SPEC = """
name: m
inputs: {x: {shape: [6]}}
nodes:
  query: {layer: Dense, units: 4}
  key: {layer: Dense, from: x, units: 4}
  others: {layer: Queue, from: key, size: 20}
  near: {compute: "sum(query * key, axis=-1, keepdims=true)"}
  far: {compute: "sum(expand_dims(query, axis=1) * others, axis=-1)"}
  both: {merge: concatenate, from: [near, far]}
  unlike: {compute: "-log_softmax(both)[:, 0]"}
outputs: {unlike: {loss: mean}}
data: {train: x.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    return tmp_path


def fitted(folder: Path, run: str = "run", **options: Any) -> dict[str, Tensor]:
    train(graphspec.compile(SPEC), root=folder, run_dir=folder / run, device="cpu", **options)
    return dict(graphspec.Run(folder / run, "last").module().state_dict())


def test_twenty_steps_are_those_of_a_loop_by_hand(folder: Path) -> None:
    found = fitted(folder)
    module: Any = graphspec.compile(SPEC).module()
    x, queue = torch.from_numpy(np.load(folder / "x.npz")["x"]), module.others.rows.clone()
    weights = [*module.query.parameters(), *module.key.parameters()]
    for epoch in range(4):
        for rows in Shuffle(0, epoch).order(40).split(8):
            query, key = module.query(x[rows]), module.key(x[rows])
            scores = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1)
            gradients = torch.autograd.grad(-scores.log_softmax(1)[:, 0].mean(), weights)
            queue = torch.cat([key.detach(), queue])[:20]
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight -= 0.05 * gradient
    assert not torch.allclose(found["others.rows"], module.others.rows)
    expected = {**module.state_dict(), "others.rows": queue}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_evaluation_takes_no_rows_in() -> None:
    module: Any = graphspec.compile(SPEC).module().eval()
    before = module.others.rows.clone()
    module(torch.ones(3, 6))
    assert torch.equal(module.others.rows, before)


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
    resumed, whole = fitted(folder, resume=True), fitted(folder, "whole")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("size: 20", "size: 0", "out-of-range"),
        ("size: 20", "sizes: 20", "unknown-key"),
        ("inputs: {x: {shape: [6]}}", "inputs: {x: {shape: [n, 6]}}", "unknown-size"),
        ("from: key, size: 20", "from: x, size: 20", "wrong-dtype"),
    ],
)
def test_what_is_no_queue_is_refused(old: str, new: str, code: str) -> None:
    text, diagnostics = SPEC.replace(old, new), Diagnostics()
    if code == "wrong-dtype":
        text = text.replace("{shape: [6]}", "{shape: [6], dtype: int32}")
    check(text, diagnostics, {})
    assert code in [each.code for each in diagnostics.sorted() if each.severity == "error"]
