"""Numbers that vary over a training: each step is that of a loop by hand; what is refused."""

from __future__ import annotations

import math
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
from graphspec.train import compiled, loop
from graphspec.train.config.varying import Varying, read_varying
from graphspec.train.loop import Interrupted, train
from graphspec.train.varying import value_at

SPEC = """
name: vary
inputs: {x: {shape: [6]}}
shared:
  online: {layer: Dense, units: 5}
  slow: {average_of: online, momentum: {from: 0.5, to: 1, schedule: cosine_decay}}
blocks:
  sharpen:
    inputs: [x]
    nodes:
      heat: {constant: {from: 3, to: 1, steps: 10}}
      sharp: {compute: softmax(x / heat)}
nodes:
  code: {call: online, from: x}
  said: {call: slow, from: x}
  probs: {block: sharpen, from: code}
  unlike: {compute: "sum(square(probs - said), axis=-1)"}
  size: {compute: "sum(square(code), axis=-1)"}
outputs:
  unlike: {loss: mean}
  size: {loss: mean, loss_weight: {from: 0, to: 0.2, epochs: 2}}
data: {train: x.npz, validation: x.npz}
train: {batch_size: 8, epochs: 4, optimizer: {name: sgd, learning_rate: 0.05}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    return tmp_path


def fitted(folder: Path, run: str = "run", **options: Any) -> tuple[Any, dict[str, Tensor]]:
    program = graphspec.compile(SPEC)
    result = train(program, root=folder, run_dir=folder / run, device="cpu", **options)
    return result, dict(graphspec.Run(folder / run, "last").module().state_dict())


def test_twenty_steps_are_those_of_a_loop_by_hand(folder: Path) -> None:
    result, found = fitted(folder)
    module: Any = graphspec.compile(SPEC).module()
    x = torch.from_numpy(np.load(folder / "x.npz")["x"])
    weights = list(module.online.parameters())
    losses: list[float] = []
    step = 0
    for epoch in range(4):
        for rows in Shuffle(0, epoch).order(40).split(8):
            heat, share = max(3 - 0.2 * step, 1), min(0.02 * step, 0.2)
            code = module.online(x[rows])
            unlike = (code / heat).softmax(-1) - module.slow(x[rows])
            loss = unlike.square().sum(-1).mean() + share * code.square().sum(-1).mean()
            gradients = torch.autograd.grad(loss, weights)
            losses.append(loss.item())
            momentum = 1 - 0.25 * (1 + math.cos(math.pi * step / 20))
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight -= 0.05 * gradient
                for slow, weight in zip(module.slow.parameters(), weights, strict=True):
                    slow.copy_(momentum * slow + (1 - momentum) * weight)
            step += 1
    for name, value in module.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
    np.testing.assert_allclose(result.history["loss"], np.reshape(losses, (4, 5)).mean(1), rtol=1e-4)
    code = module.online(x)  # in evaluation, all numbers are what they end with
    unlike = code.softmax(-1) - module.slow(x)
    last = unlike.square().sum(-1).mean() + 0.2 * code.square().sum(-1).mean()
    assert result.history["val_loss"][-1] == pytest.approx(last.item(), rel=1e-4)


def test_evaluation_takes_the_last_value() -> None:
    module: Any = graphspec.compile(SPEC).module()
    assert module.probs.heat.tolist() == [1.0]


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
    (resumed, first), (whole, second) = fitted(folder, resume=True), fitted(folder, "whole")
    assert resumed.history == whole.history
    assert all(torch.equal(first[name], value) for name, value in second.items())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(torch.__version__ < compiled.WHOLE_STEPS, reason="this torch compiles no whole steps")
def test_compiled_steps_take_them_without_another_compilation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(loop, "UNSEEN", 1e9)
    torch._dynamo.reset()
    told: list[str] = []
    found, first = fitted(folder, compile="on", tell=told.append)
    expected, second = fitted(folder, "eager")
    assert next(line for line in told if line.startswith("compiled")).startswith("compiled once")
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-4)
    for name, value in second.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"from": 0, "to": 2}, [0, 1, 2, 2]),
        ({"from": 0, "to": 2, "steps": 5}, [0, 2, 2, 2]),
        ({"from": 0, "to": 2, "epochs": 1}, [0, 2, 2, 2]),
        ({"from": 1, "to": 0, "schedule": "cosine_decay"}, [1, 0.5, 0, 0]),
        ({"from": 1, "to": 3, "schedule": {"name": "exponential_decay", "decay_rate": 0.5, "decay_steps": 5}},
         [1, 2, 2.5, 2.75]),
        ({"from": 1, "to": 0, "schedule": {"name": "piecewise_constant_decay", "boundaries": [4, 9],
                                           "values": [1, 0.25, 0]}}, [1, 0.25, 0, 0]),
    ],
)  # fmt: skip
def test_the_schedules_are_those_of_learning_rates(written: dict[str, Any], values: list[float]) -> None:
    varying = read_varying({"n": written}, "n")
    assert isinstance(varying, Varying)
    value = value_at(varying, 10, 5)
    assert [value(step) for step in (0, 5, 10, 15)] == pytest.approx(values)


@pytest.mark.parametrize(
    ("old", "new", "code", "place"),
    [
        ("schedule: cosine_decay", "schedule: cosinus", "unknown-schedule", "cosinus"),
        ("from: 0.5, to: 1,", "from: 0.5,", "missing-key", "{from: 0.5"),
        ("from: 0.5, to: 1,", "from: 0.5, to: 1.5,", "out-of-range", "1.5"),
        ("steps: 10}", "steps: 10, epochs: 1}", "out-of-range", "{from: 3"),
        ("steps: 10}", "stepps: 10}", "unknown-key", "stepps"),
        ("steps: 10}", "schedule: {name: cosine_decay, warmup_steps: 3}}", "out-of-range", "{from: 3"),
        ("from: 3,", "from: hot,", "wrong-type", "hot"),
        ("{loss: mean, loss_weight", "{loss_weight", "unknown-key", "loss_weight"),
        ("epochs: 2}}", "epochs: none}}", "wrong-type", "none}}"),
        ("units: 5", "units: {from: 1, to: 5}", "wrong-type", "{from: 1"),
    ],
)
def test_what_does_not_vary_is_refused(old: str, new: str, code: str, place: str) -> None:
    text, diagnostics = SPEC.replace(old, new), Diagnostics()
    check(text, diagnostics, {})
    (found,) = [each for each in diagnostics.sorted() if each.severity == "error"]
    assert found.code == code and found.span is not None
    assert text.splitlines()[found.span.line - 1][found.span.column - 1 :].startswith(place)
