"""`loss: {block: ...}`: the formula of a whole batch is the named loss, and a loop by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphspec
from graphspec.compare import compare
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import Diagnostics
from graphspec.objectives import parse_loss
from graphspec.train.custom import bound
from graphspec.train.loop import train

VIEWS = """
name: m
inputs: {x: {shape: [6]}}
blocks:
BLOCKS
nodes:
  first: {layer: Dense, from: x, units: 4}
  second: {layer: Dense, from: x, units: 4}
outputs:
  own: {from: [first, second], loss: LOSS}
data: {train: d.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05}}
"""
CORRELATED = """
  correlated:
    params: {off_diagonal: 0.005}
    inputs: [one, two]
    nodes:
      a: {compute: "one - mean(one, axis=1, keepdims=true)"}
      b: {compute: "two - mean(two, axis=1, keepdims=true)"}
      stretched: {compute: "a / sqrt(mean(square(a), axis=1, keepdims=true) + 0.0000001)"}
      other: {compute: "b / sqrt(mean(square(b), axis=1, keepdims=true) + 0.0000001)"}
      count: {compute: "sum(ones_like(one[:, :, :1]), axis=1, keepdims=true)"}
      both: {compute: "einsum(stretched, other, subscripts='bni,bnj->bij') / count"}
      same: {compute: "diagonal(both, axis1=1, axis2=2)"}
      rest: {compute: "sum(square(both), axis=[1, 2]) - sum(square(same), axis=1)"}
      loss: {compute: "sum(square(1 - same), axis=1) + $off_diagonal * rest"}
"""
INVARIANT = """
  spread:
    inputs: [x]
    nodes:
      moved: {compute: "x - mean(x, axis=1, keepdims=true)"}
      less: {compute: "sum(ones_like(x[:, :, :1]), axis=1, keepdims=true) - 1"}
      shared: {compute: "einsum(moved, moved, subscripts='bni,bnj->bij') / less"}
      own: {compute: "diagonal(shared, axis1=1, axis2=2)"}
      lack: {compute: "mean(relu(1 - sqrt(own + 0.0001)), axis=1)"}
      rest: {compute: "(sum(square(shared), axis=[1, 2]) - sum(square(own), axis=1)) / $(channels(x))"}
    outputs: {lack: lack, rest: rest}
  invariant:
    inputs: [one, two]
    nodes:
      a: {block: spread, from: one}
      b: {block: spread, from: two}
      alike: {compute: "25 * mean(square(one - two), axis=[1, 2])"}
      loss: {compute: "alike + 12.5 * (a.lack + b.lack) + a.rest + b.rest"}
"""
ALIKE = """
  alike:
    inputs: [code, other, target]
    nodes:
      near: {compute: "einsum(code, other, subscripts='bni,bmi->bnm')"}
      same: {compute: "cast(expand_dims(target, axis=1) == expand_dims(target, axis=2), dtype='float32')"}
      loss: {compute: "logsumexp(near, axis=2) - sum(same * near, axis=2) / sum(same, axis=2)"}
"""
OWN = VIEWS.replace("BLOCKS", CORRELATED).replace("LOSS", "{block: correlated, off_diagonal: 0.01}")
OF_W = ("not-supported", "`w` of `correlated` has weights")
LABELLED = VIEWS.replace("BLOCKS", ALIKE).replace(
    "LOSS", "{block: alike, shape: [], dtype: int64}, target: y"
)


@pytest.mark.parametrize(
    ("blocks", "written", "name"),
    [
        (
            CORRELATED,
            "{block: correlated, off_diagonal: 0.01}",
            {"name": "cross_correlation", "off_diagonal": 0.01},
        ),
        (INVARIANT, "{block: invariant}", "vicreg"),
    ],
)
def test_a_formula_is_the_named_loss(blocks: str, written: str, name: object) -> None:
    program = graphspec.compile(VIEWS.replace("BLOCKS", blocks).replace("LOSS", written))
    own, named = bound(program, torch.device("cpu"))["own"].loss, parse_loss(name)
    found = []
    for loss in (own, named):
        views = [
            torch.randn(9, 4, generator=torch.Generator().manual_seed(i), requires_grad=True) for i in (0, 1)
        ]
        value = loss.evaluate(views, None, None)
        found.append((value, *torch.autograd.grad(value, views)))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_twenty_steps_are_those_of_a_loop_by_hand(tmp_path: Path) -> None:
    """Of a loss that reads the target, too, and has a value for each example."""
    source = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz", x=source.normal(size=(40, 6)).astype(np.float32), y=source.integers(0, 3, 40)
    )
    train(graphspec.compile(LABELLED), root=tmp_path, run_dir=tmp_path / "run", device="cpu")
    found = graphspec.Run(tmp_path / "run", "last").module().state_dict()
    module: Any = graphspec.compile(LABELLED).module()
    data = np.load(tmp_path / "d.npz")
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    weights: list[torch.Tensor] = list(module.parameters())
    for epoch in range(4):
        for rows in Shuffle(0, epoch).order(40).split(8):
            near = module.first(x[rows]) @ module.second(x[rows]).T
            same = (y[rows, None] == y[rows]).float()
            loss = near.logsumexp(1) - (same * near).sum(1) / same.sum(1)
            gradients = torch.autograd.grad(loss.mean(), weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(0.05 * gradient)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("block: correlated", "block: correlatd", "unknown-block", "did you mean `correlated`"),
        ("block: correlated", "blok: correlated", "unknown-key", "`block`"),
        ("{block: correlated, off_diagonal: 0.01}", "correlated", "unknown-loss", "{block: correlated}"),
        ("off_diagonal: 0.01", "off: 0.01", "unknown-key", "off_diagonal"),
        ("off_diagonal: 0.01", "off_diagonal: 0.01, repeat: 2", "unknown-key", "leave it out"),
        ("off_diagonal: 0.01", "off_diagonal: 0.01, name: mse", "two-forms", "not both"),
        ("off_diagonal: 0.01", "off_diagonal: 0.01, dtype: int64", "unknown-key", "an input `target`"),
        ("from: [first, second]", "from: first", "input-count", "two"),
        ('"sum(square(1 - same), axis=1)', '"square(1 - same)', "loss-misfit", "axis 1 counts the examples"),
        ("mean(one, axis=1,", "mean(one, axis=0,", "out-of-range", "axis 1 counts"),
        ('a: {compute: "one -', 'w: {layer: Dense, from: one, units: 4}\n      a: {compute: "w -', *OF_W),
        ('a: {compute: "one -', 'a: {compute: "random_normal(like=one) -', "not-supported", "`nodes`"),
        ("from: [first, second]", "from: [first, both]", "loss-misfit", "each example"),
        ("{block: correlated, off_diagonal: 0.01}", "{compute: first}", "unknown-key", "a block"),
        ("{block: correlated, off_diagonal: 0.01}", "vicreg", "unused-block", "correlated"),
    ],
)
def test_what_is_no_loss_is_refused(old: str, new: str, code: str, said: str) -> None:
    text, diagnostics = OWN.replace(old, new), Diagnostics()
    assert text != OWN
    if "both]" in new:
        text = text.replace("nodes:\n  first", "nodes:\n  both: {parameter: [4]}\n  first")
    check(text, diagnostics, {})
    (error,) = [each for each in diagnostics.sorted() if each.severity == "error"]
    assert error.code == code
    assert said in f"{error.message} {error.help} {error.notes}"


def test_a_change_of_the_block_is_a_difference() -> None:
    other = OWN.replace("square(1 - same)", "abs(1 - same)")
    found = compare(graphspec.compile(OWN), graphspec.compile(other))
    assert [change.path for change in found.settings] == ["blocks.correlated.nodes.loss.compute"]
