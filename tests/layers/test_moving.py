"""Weights of each example's own: what gradient descent makes of them, and calls with them, by hand."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import graphspec
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import Diagnostics
from graphspec.train.loop import Interrupted, train
from graphspec.train.parallel.spread import blocks

SPEC = """
name: m
params: {rate: 0.1, steps: 2}
inputs:
  seen: {shape: [5, 1]}
  known: {shape: [5, 1]}
  x: {shape: [7, 1]}
blocks:
  net:
    inputs: [x]
    nodes:
      hidden: {layer: Dense, units: 6, activation: tanh}
      out: {layer: Dense, units: 1}
  error:
    inputs: [x, y]
    nodes:
      guess: {call: net, from: x}
      error: {compute: square(guess - y)}
shared: {net: {block: net}}
nodes:
  steps:
    layer: GradientSteps
    of: net
    wraps: {block: error}
    from: [seen, known]
    learning_rate: $rate
    steps: $steps
  y: {layer: MovedWeights, wraps: {call: net}, from: [x, steps]}
outputs: {y: {loss: mse}}
data: {train: d.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05}}
"""
FIRST_ORDER = SPEC.replace("  y: {layer", "  held: {op: stop_gradient}\n  y: {layer").replace(
    "[x, steps]", "[x, held]"
)
PLAIN = SPEC.replace("params: {rate: 0.1, steps: 2}\n", "").replace("$rate", "0.1").replace("$steps", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("tasks"), np.random.default_rng(0)
    sizes = {"seen": 5, "known": 5, "x": 7, "y": 7}
    arrays: dict[str, Any] = {
        name: source.normal(size=(40, size, 1)).astype(np.float32) for name, size in sizes.items()
    }
    np.savez(folder / "d.npz", **arrays)
    return folder


def by_hand(net: Any, seen: Tensor, known: Tensor, x: Tensor, again: bool = True) -> Tensor:
    """The network on each example after two steps on what is known of it."""
    outputs = []
    for row, value, new in zip(seen, known, x, strict=True):
        weights = dict(net.named_parameters())
        for _ in range(2):
            error = (functional_call(net, weights, (row[None],)) - value).square().mean()
            slopes = torch.autograd.grad(error, [*weights.values()], create_graph=again)
            pairs = zip(weights.items(), slopes, strict=True)
            weights = {name: weight - 0.1 * slope for (name, weight), slope in pairs}
        outputs.append(functional_call(net, weights, (new[None],)))
    return torch.cat(outputs)


def fitted(folder: Path, spec: str, run: str, **options: Any) -> dict[str, Tensor]:
    train(graphspec.compile(spec), root=folder, run_dir=folder / run, device="cpu", **options)
    return dict(graphspec.Run(folder / run, "last").module().state_dict())


@pytest.mark.parametrize("first_order", [False, True])
def test_twenty_steps_are_those_of_a_loop_by_hand(folder: Path, first_order: bool) -> None:
    found = fitted(folder, FIRST_ORDER if first_order else SPEC, f"hand{first_order}")
    net: Any = graphspec.compile(SPEC).module().get_submodule("net")
    data = {name: torch.from_numpy(array) for name, array in np.load(folder / "d.npz").items()}
    begun = {name: value.clone() for name, value in net.state_dict().items()}
    for epoch in range(4):
        for rows in Shuffle(0, epoch).order(40).split(8):
            part = {name: array[rows] for name, array in data.items()}
            answer = by_hand(net, part["seen"], part["known"], part["x"], again=not first_order)
            gradients = torch.autograd.grad((answer - part["y"]).square().mean(), [*net.parameters()])
            with torch.no_grad():
                for weight, gradient in zip(net.parameters(), gradients, strict=True):
                    weight -= 0.05 * gradient
    for name, value in net.state_dict().items():
        assert not torch.allclose(begun[name], value, atol=1e-3)
        torch.testing.assert_close(found[f"net.{name}"], value, rtol=1e-4, atol=1e-5)


class Stop:
    def __init__(self, steps: int):
        self.steps = steps
        self.model: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.iterations == self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parity
def test_a_run_goes_on_to_the_bit_with_a_dropout_in_its_network(folder: Path) -> None:
    spec = SPEC.replace("      out:", "      drop: {layer: Dropout, rate: 0.2}\n      out:")
    with pytest.raises(Interrupted):
        fitted(folder, spec, "run", callbacks=[Stop(7)])
    resumed, whole = fitted(folder, spec, "run", resume=True), fitted(folder, spec, "whole")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_answers_are_the_same_without_gradients_and_alone() -> None:
    module: Any = graphspec.compile(SPEC).module().eval()
    given: Any = [torch.randn(3, size, 1, generator=torch.manual_seed(size)) for size in (5, 5, 7)]
    wanted = by_hand(module.net, *given)
    torch.testing.assert_close(module(*given), wanted)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(module(*given), wanted)
            torch.testing.assert_close(module(*(x[1:2] for x in given)), wanted[1:2])


def test_the_change_is_a_param_of_the_class_and_a_width_of_its_own() -> None:
    source = graphspec.compile(SPEC).source
    assert (
        "rate: float = 0.1, steps: int = 2" in source and "lambda net, x, y: error(x, y, net=net)" in source
    )


IMAGES = """
inputs: {image: {shape: [6, 6, 2]}, told: {shape: [3]}}
nodes:
  change: {layer: Dense, from: told, units: 58}
  y: {layer: MovedWeights, wraps: {block: net}, from: {x: image, change: change}}
blocks:
  net:
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: 3, kernel_size: 2, activation: relu}
      norm: {layer: LayerNormalization, scale: false, center: false}
      pool: {layer: GlobalAveragePooling2D}
      out: {layer: Dense, units: 8, use_bias: false, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
"""


def test_weights_that_a_layer_gives_are_those_of_each_picture() -> None:
    """Of a convolution, whose channels are at axis 1 in memory, and with logits."""
    spec = IMAGES.replace("units: 58", "units: 51")
    module: Any = graphspec.compile(spec).module()
    image, told = torch.randn(4, 6, 6, 2), torch.randn(4, 3)
    change = module.change(told)
    sizes = [weight.numel() for weight in module.y.parameters()]
    wanted = []
    for picture, row in zip(image, change, strict=True):
        pairs = zip(module.y.named_parameters(), row.split(sizes), strict=True)
        weights = {name: weight + part.view_as(weight) for (name, weight), part in pairs}
        wanted.append(functional_call(module.y, weights, (picture.permute(2, 0, 1)[None],), {"logits": True}))
    torch.testing.assert_close(module(image, told, logits=True), torch.cat(wanted))
    torch.testing.assert_close(module(image, told), torch.cat(wanted).softmax(-1))


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("      out:", "      n: {layer: BatchNormalization}\n      out:", "not-supported", "its statistics"),
        ("Dense, units: 6,", "LSTM, units: 6, return_sequences: true,", "not-supported", "set"),
        ("units: 6,", "units: 6, trainable: false,", "not-supported", "`hidden` are frozen"),
        ("{net: {block: net}}", "{net: {block: net, trainable: false}}", "not-supported", "`net` are frozen"),
        ("of: net", "of: nett", "unknown-reference", "weights of `nett`"),
        ("    of: net\n", "", "unknown-reference", "no weights of its own"),
        ("{call: net, from: x}", "{layer: Dense, from: x, units: 1}", "unknown-reference", "of `net`"),
        ("[x, steps]", "x", "input-count", "takes the change"),
        ("[x, steps]", "[x, seen]", "shapes-differ", "wraps 19 weights"),
        ("wraps: {call: net}", "wraps: {layer: Flatten}", "not-supported", "has no weights"),
        ("learning_rate: 0.1", "learning_rate: 0", "out-of-range", "learning_rate"),
        ("learning_rate: 0.1", "lr: 0.1", "unknown-key", "no `lr`"),
        ("steps: 2", "steps: 0", "out-of-range", "steps"),
        ("square(guess - y)", "guess > y", "wrong-dtype", "takes floats"),
    ],
)  # fmt: skip
def test_what_moves_no_weights_is_refused(old: str, new: str, code: str, words: str) -> None:
    assert old in PLAIN
    diagnostics = Diagnostics()
    check(PLAIN.replace(old, new), diagnostics, {})
    errors = [each for each in diagnostics.sorted() if each.severity == "error"]
    assert [each.code for each in errors] == [code] and words in errors[0].message


def test_an_average_of_weights_is_moved_too() -> None:
    spec = SPEC.replace("{net: {block: net}}", "{net: {block: net}, slow: {average_of: net}}")
    module = graphspec.compile(spec.replace("wraps: {call: net}", "wraps: {call: slow}")).module()
    given: Any = [torch.randn(2, size, 1) for size in (5, 5, 7)]
    torch.testing.assert_close(module(*given), by_hand(module.get_submodule("net"), *given))


def test_shards_leave_a_network_whole_that_is_called_with_moved_weights() -> None:
    assert list(blocks(graphspec.compile(SPEC).graph)) == []
    more = SPEC.replace("outputs: {y: {loss: mse}}", "  z: {block: net, from: y}\noutputs: {z: {loss: mse}}")
    assert list(blocks(graphspec.compile(more).graph)) == ["z"]
