"""`checkpoint: true`: what is inside a block is computed twice, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train
from graphspec.train.memory_estimate import Tracker

RANDOM = """
params: {save: true}
inputs: {x: {shape: [12]}}
blocks:
  layer:
    inputs: {x: required, before: null}
    nodes:
      wide: {layer: Dense, from: x, units: 24, activation: relu}
      norm: {layer: BatchNormalization}
      drop: {layer: Dropout, rate: 0.5}
      back: {layer: Dense, units: 12}
      sum: {merge: add, from: [back, x, before]}
  bent:
    inputs: [x]
    nodes: {low: {op: tanh}, high: {op: exp}}
  pair:
    inputs: [x]
    nodes:
      first: {block: layer, from: {x: x, before: x}, checkpoint: $save}
      second: {block: layer, from: first}
shared:
  again: {block: layer}
nodes:
  layers: {block: layer, repeat: 3, checkpoint: $save}
  bent: {block: bent, checkpoint: $save}
  pair: {block: pair, checkpoint: $save}
  once: {call: again, from: pair, checkpoint: $save}
  twice: {call: again, from: once}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
"""
"""Dropout, statistics, a block without weights, one within another, one that is called twice."""

IMAGES = """
params: {save: true}
inputs: {image: {shape: [8, 8, 3]}}
blocks:
  head:
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, activation: relu}
      mean: {layer: GlobalAveragePooling2D}
      y: {layer: Dense, units: 3, activation: softmax}
    outputs: {y: y, seen: conv}
nodes:
  stem: {layer: Conv2D, filters: 3, kernel_size: 3, padding: same, activation: relu}
  head: {block: head, checkpoint: $save}
outputs: {y: {from: head.y, loss: sparse_categorical_crossentropy}, seen: {from: head.seen}}
"""
"""Logits that a block gives, two outputs, channels first in memory."""

SPECS = {"random": RANDOM, "images": IMAGES}


def trained(module: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """The loss, gradients and buffers after three steps."""
    torch.manual_seed(3)
    for batch in inputs:
        module.zero_grad()
        found = module(batch, logits=True)
        found = found["y"] if isinstance(found, dict) else found
        loss = found.square().sum()
        loss.backward()
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    return [loss.detach(), *gradients, *module.buffers()]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_losses_gradients_and_statistics_are_the_same(spec: str) -> None:
    kept, twice = (graphspec.compile(spec, params={"save": save}) for save in (False, True))
    assert "recomputed" in twice.source
    assert "recomputed" not in kept.source
    inputs = [next(iter(twice.example_inputs(5, seed=n).values())) for n in range(3)]
    expected, found = (trained(p.module(seed=0).train(), inputs) for p in (kept, twice))
    assert len(found) == len(expected) > 6
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_less_is_kept_for_the_backward_pass() -> None:
    peaks = []
    for save in (False, True):
        module = graphspec.compile(RANDOM, params={"save": save}).module(seed=0).train()
        with Tracker() as tracker:
            module(torch.randn(500, 12)).sum().backward()
        peaks.append(tracker.peak)
    assert peaks[1] < 0.6 * peaks[0]


def test_inference_and_exports_run_once() -> None:
    program = graphspec.compile(RANDOM)
    assert "recomputed" not in program.fold().source
    assert "recomputed" not in program.emit(exporting=True).source
    module, plain = (graphspec.compile(RANDOM, params={"save": save}) for save in (True, False))
    x = torch.randn(4, 12)
    with torch.no_grad():
        torch.testing.assert_close(module.module(seed=0).eval()(x), plain.module(seed=0).eval()(x))


WATCHED = """
params: {save: true}
inputs: {x: {shape: [4]}}
blocks:
  seen:
    inputs: [x]
    nodes: {h: {layer: Dense, units: 4, activity_regularizer: {name: l2, l2: 0.1}}}
nodes:
  seen: {block: seen, checkpoint: $save}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {optimizer: sgd, epochs: 2, batch_size: 8}
"""


def test_activities_count_once(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz", x=source.normal(size=(40, 4)).astype("float32"), y=np.ones((40, 1), "float32")
    )
    found = [
        train(
            graphspec.compile(WATCHED, params={"save": save}),
            data=tmp_path / "d.npz",
            run_dir=tmp_path / str(save),
            tell=lambda line: None,
        ).history
        for save in (False, True)
    ]
    assert found[0] == found[1]


def said(nodes: str, shared: str = "") -> str:
    spec = f"""
inputs: {{x: {{shape: [4]}}}}
blocks:
  plain: {{inputs: [x], nodes: {{h: {{layer: Dense, units: 4}}}}}}
  spectral:
    inputs: [x]
    nodes: {{h: {{layer: SpectralNormalization, wraps: {{layer: Dense, units: 4}}}}}}
  common: {{inputs: [x], nodes: {{h: {{call: norm}}}}}}
shared: {{norm: {{layer: BatchNormalization}}{shared}}}
nodes:
  first: {{call: norm}}
  {nodes}
outputs: [last]
"""
    with pytest.raises(SpecError) as caught:
        graphspec.compile(spec)
    return str(caught.value)


@pytest.mark.parametrize(
    ("node", "shared", "words"),
    [
        ("{layer: Dense, units: 4, checkpoint: true}", "", "a `layer` node takes no `checkpoint`"),
        ("{call: norm, checkpoint: true}", "", "`norm` is a layer"),
        ("{call: p}", ", p: {block: plain, checkpoint: true}", "a shared entry takes no `checkpoint`"),
        ("{block: spectral, checkpoint: true}", "", "changes its weights when it runs"),
        ("{block: common, checkpoint: true}", "", "shares statistics with the file"),
        ("{block: plain, checkpoint: 3}", "", "checkpoint"),
        ("{block: plain, repeat: {checkpoint: [true, false]}}", "", "`checkpoint` cannot vary"),
    ],
)
def test_what_cannot_be_computed_twice_is_refused(node: str, shared: str, words: str) -> None:
    assert words in said(f"last: {node}", shared)
