"""`phases` and `steps`: the steps are those of loops by hand; a run that goes on is the same to the bit."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.fixing.checking import check_spec_text
from graphspec.train import compiled
from graphspec.train.loop import Interrupted, train
from graphspec.train.optimizers.setup import optimizer_for

SPEC = """
name: p
inputs: {x: {shape: [6]}}
nodes:
  body: {layer: Dense, units: 5, activation: tanh}
  norm: {layer: BatchNormalization}
  head: {layer: Dense, units: 3, activation: softmax, kernel_regularizer: {name: l2, l2: 0.01}}
outputs: {head: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data: {train: x.npz}
train:
  batch_size: 8
  optimizer: {name: sgd, learning_rate: 0.1, momentum: 0.9}
  phases:
    - {epochs: 1, freeze: ["body.*", "norm.*"]}
    - {epochs: 2, optimizer: {name: adam, learning_rate: 0.01}, schedule: cosine_decay}
"""

ADVERSARIES = """
name: a
inputs: {x: {shape: [6]}}
shared:
  critic: {layer: Dense, units: 1}
nodes:
  maker: {layer: Dense, from: x, units: 6}
  drop: {layer: Dropout, rate: 0.2}
  fake: {call: critic}
  real: {call: critic, from: x}
  apart: {compute: fake - real}
  near: {compute: 0 - fake}
outputs: {apart: {loss: mean}, near: {loss: mean, loss_weight: 2}, maker: {metrics: [mae], target: x}}
data: {train: x.npz}
train:
  batch_size: 8
  epochs: 2
  optimizer: {name: adam, learning_rate: 0.02}
  steps:
    - {outputs: apart, update: "critic.*", repeat: 2, optimizer: {name: sgd, learning_rate: 0.1}}
    - {outputs: [near], update: ["maker.*"]}
"""

WITHOUT_OUTPUTS = """
name: w
inputs: {x: {shape: [6]}}
nodes:
  body: {layer: Dense, units: 5, activation: tanh}
  aux: {layer: Dense, from: body, units: 6}
  cut: {op: stop_gradient, from: body}
  head: {layer: Dense, from: cut, units: 3, activation: softmax}
outputs: {head: {loss: sparse_categorical_crossentropy}, aux: {metrics: [mae], target: x}}
data: {train: x.npz}
train:
  batch_size: 8
  schedule: cosine_decay
  steps:
    - {update: "head.*"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(2, 3, (40, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, head=generator.integers(0, 3, 40))
    return tmp_path


def fitted(folder: Path, spec: str = SPEC, run: str = "run", **options: Any) -> Any:
    file = folder / "spec.yaml"
    file.write_text(spec)
    return train(graphspec.compile(file), root=folder, run_dir=folder / run, device="cpu", **options)


def weights(folder: Path, run: str = "run") -> dict[str, Tensor]:
    return dict(graphspec.Run(folder / run, "last").module().state_dict())


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-6) -> None:
    for key, value in expected.items():
        if "num_batches" not in key:
            torch.testing.assert_close(found[key], value, rtol=0, atol=atol, msg=key)


def batches(folder: Path, epoch: int) -> list[dict[str, Tensor]]:
    rows: Any = np.load(folder / "x.npz")
    arrays = {name: torch.from_numpy(rows[name]) for name in rows}
    return [
        {name: array[part] for name, array in arrays.items()} for part in Shuffle(0, epoch).order(40).split(8)
    ]


def test_phases_are_those_of_a_loop_by_hand(folder: Path) -> None:
    result = fitted(folder)
    module = graphspec.compile(folder / "spec.yaml").module()
    parts: Any = dict(module.named_children())
    parameters = list(module.parameters())
    slow = torch.optim.SGD(parameters, 0.1, 0.9)
    fast = torch.optim.Adam(parameters, 0.01, eps=1e-7)
    step = 0
    for epoch in range(3):
        module.train()
        for name in ("body", "norm"):
            parts[name].requires_grad_(epoch > 0)
            parts[name].train(epoch > 0)
        optimizer = fast if epoch else slow
        for batch in batches(folder, epoch):
            if epoch:
                fast.param_groups[0]["lr"] = 0.005 * (1 + np.cos(np.pi * step / 10))
                step += 1
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(batch["x"], logits=True), batch["head"])
            (loss + 0.01 * parts["head"].weight.square().sum()).backward()
            optimizer.step()
    assert_same(weights(folder), module.state_dict(), 1e-3)  # Keras adds epsilon elsewhere
    assert (result.epochs, result.steps) == (3, 15)


def test_a_run_goes_on_in_any_phase_to_the_bit(folder: Path) -> None:
    spec = SPEC.replace(", schedule: cosine_decay", "")  # which has the length of the phase
    for epochs in (1, 2, 4):  # at the border of two phases, within one, and beyond the last
        resumed = fitted(folder, spec, epochs=epochs, resume=True)
    whole = fitted(folder, spec, "whole", epochs=4)
    first, second = weights(folder), weights(folder, "whole")
    assert resumed.history == whole.history and resumed.steps == whole.steps == 20
    assert all(torch.equal(first[key], second[key]) for key in second)


def test_a_run_goes_on_with_its_own_phases_alone(folder: Path) -> None:
    fitted(folder, epochs=1)
    with pytest.raises(SpecError, match=r"`train.phases.1.epochs` differs, 2 there"):
        fitted(folder, SPEC.replace("epochs: 2", "epochs: 3"), resume=True)


def test_averages_become_the_weights_at_the_end_of_a_phase(folder: Path) -> None:
    once = SPEC.replace("momentum: 0.9", "use_ema: true, ema_momentum: 0.5").partition("    - {epochs: 2")[0]
    fitted(folder, once, "one")
    fitted(folder, f"{once}    - {{epochs: 1, optimizer: {{name: sgd, learning_rate: 1e-30}}}}\n", "two")
    first, second = weights(folder, "one"), weights(folder, "two")
    assert torch.equal(first["head.weight"], second["head.weight"])


def test_updates_are_those_of_a_loop_by_hand(folder: Path) -> None:
    """Ten steps of three updates each: weights that others move stay, and each update draws anew."""
    result = fitted(folder, ADVERSARIES)
    module = graphspec.compile(folder / "spec.yaml").module()
    parts: Any = dict(module.named_children())
    slow = torch.optim.SGD(parts["critic"].parameters(), 0.1)
    fast = torch.optim.Adam(parts["maker"].parameters(), 0.02, eps=1e-7)
    torch.manual_seed(0)
    apart, near, errors = [], [], []
    for epoch in range(2):
        module.train()
        for batch in batches(folder, epoch):
            for _ in range(2):
                loss = module(batch["x"])["apart"].mean()
                slow.zero_grad()
                loss.backward()
                slow.step()
                apart.append(loss.item())
            found = module(batch["x"])
            fast.zero_grad()
            (2 * found["near"].mean()).backward()
            fast.step()
            near.append(found["near"].mean().item())
            errors.append((found["maker"] - batch["x"]).abs().mean().item())
    assert_same(weights(folder), module.state_dict(), 1e-4)
    history = result.history
    np.testing.assert_allclose(history["apart_loss"], np.reshape(apart, (2, 10)).mean(1), atol=1e-4)
    np.testing.assert_allclose(history["near_loss"], np.reshape(near, (2, 5)).mean(1), atol=1e-4)
    np.testing.assert_allclose(history["maker_mae"], np.reshape(errors, (2, 5)).mean(1), atol=1e-4)
    np.testing.assert_allclose(
        history["loss"], np.array(history["apart_loss"]) + 2 * np.array(history["near_loss"])
    )
    assert result.steps == 10


class Stop:
    """Stops the process after so many batches."""

    def __init__(self, steps: int):
        self.steps = steps
        self.model: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.iterations == self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


def test_updates_go_on_within_an_epoch_to_the_bit(folder: Path) -> None:
    with pytest.raises(Interrupted):
        fitted(folder, ADVERSARIES, callbacks=[Stop(3)])
    resumed = fitted(folder, ADVERSARIES, resume=True)
    whole = fitted(folder, ADVERSARIES, "whole")
    first, second = weights(folder), weights(folder, "whole")
    assert resumed.history == whole.history and resumed.steps == 10
    assert all(torch.equal(first[key], second[key]) for key in second)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(torch.__version__ < compiled.WHOLE_STEPS, reason="this torch compiles no whole steps")
def test_each_update_is_a_graph_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    spec, lines = ADVERSARIES.replace("rate: 0.2", "rate: 0.0"), list[str]()
    whole = fitted(folder, spec, "eager")
    found = fitted(folder, spec, compile="on", tell=lines.append)
    for name, values in whole.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    assert not any(line.startswith("not compiled") for line in lines), lines
    assert re.search("compiled 2 times", "\n".join(lines))


def messages(spec: str) -> list[tuple[str, str]]:
    found = Diagnostics()
    check_spec_text(spec, "p.yaml", None, found, {})
    return [(each.code, each.message) for each in found]


MISTAKES = [
    (SPEC, 'norm.*"]}', 'nrm.*"]}', "unknown-weight", "no weight has a path that `nrm.*` matches"),
    (SPEC, 'freeze: ["body.*", "norm.*"]', 'freeze: "*"', "nothing-to-train", "in phase 1"),
    (SPEC, 'freeze: ["body.*", "norm.*"]', "freeze: null", "wrong-type", "`freeze: null` could mean none"),
    (SPEC, "{epochs: 1, ", "{", "missing-key", "a phase needs `epochs`"),
    (ADVERSARIES, "[near]", "[nearer]", "unknown-reference", "no output `nearer`"),
    (ADVERSARIES, "[near]", "[maker]", "unknown-reference", "`maker` has no loss"),
    (ADVERSARIES, '"critic.*"', '"critc.*"', "unknown-weight", "`critc.*`"),
    (ADVERSARIES, "repeat: 2", "repeat: 0", "out-of-range", "`repeat` of a step"),
    (
        ADVERSARIES,
        "from: x, units: 6",
        "from: x, units: 6, trainable: false",
        "nothing-to-train",
        "step 2 changes no weight",
    ),
    (WITHOUT_OUTPUTS, '"head.*"', '"aux.*"', "nothing-to-train", "step 1 changes no weight"),
    (
        ADVERSARIES.replace("[near]", "[near], optimizer: muon"),
        "epochs: 2",
        "parallel: fsdp",
        "out-of-range",
        "whole weights",
    ),
    (ADVERSARIES, "epochs: 2", "unfreeze_at: 1", "out-of-range", "both say what trains when"),
    (
        ADVERSARIES,
        "epochs: 2",
        "callbacks: {reduce_lr_on_plateau: {monitor: loss}}",
        "out-of-range",
        "each of `steps` has one",
    ),
    (
        ADVERSARIES,
        "name: adam,",
        "name: adam, gradient_accumulation_steps: 2,",
        "out-of-range",
        "accumulate gradients",
    ),
]


@pytest.mark.parametrize(
    ("spec", "right", "wrong", "code", "words"), MISTAKES, ids=lambda value: str(value)[:12]
)
def test_mistakes_are_found_before_the_training(
    spec: str, right: str, wrong: str, code: str, words: str
) -> None:
    assert right in spec
    assert any(code == each and words in message for each, message in messages(spec.replace(right, wrong)))


def test_epochs_of_all_phases_count_the_same_penalties(folder: Path) -> None:
    split = SPEC.replace("x.npz}", "x.npz, validation: {split: 0.25}}").replace(
        "activation: tanh", "kernel_regularizer: {name: l2, l2: 10.0}"
    )
    lowest = re.sub(
        "optimizer: {name: (sgd|adam), learning_rate: [0-9.]+",
        r"optimizer: {name: \1, learning_rate: 1e-30",
        split,
    )
    result = fitted(folder, lowest)
    losses = result.history["val_loss"]
    assert losses[1] == pytest.approx(losses[0], abs=1)  # the penalty on `body` is more than 10
    best = graphspec.Run(folder / "run").evaluate(device="cpu")["loss"]
    assert best == pytest.approx(min(losses), rel=1e-5)


def test_files_hold_what_an_earlier_phase_trained_beside_adapters(folder: Path) -> None:
    adapters = "adapters: [{match: body, rank: 2}]\n  phases:"
    first = "parameter_groups: [{match: head.*, trainable: true}]"
    spec = SPEC.replace("phases:", adapters).replace('freeze: ["body.*", "norm.*"]', first)
    fitted(folder, spec)
    module = graphspec.compile(folder / "spec.yaml").module()
    found = weights(folder)
    assert not torch.equal(found["head.weight"], module.state_dict()["head.weight"])
    assert torch.equal(found["norm.weight"], module.state_dict()["norm.weight"])


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ('- {update: "body.*"}', "the losses depend on none of the weights"),
        (
            '- {update: "head.weight"}\n  adapters: [{match: body, rank: 2}]',
            "step 1 changes no trainable weight",
        ),
    ],
)
def test_an_update_that_moves_nothing_is_told(folder: Path, steps: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        fitted(folder, WITHOUT_OUTPUTS.replace('- {update: "head.*"}', steps))
    assert caught.value.diagnostics[0].code == "nothing-to-train"


def test_null_is_no_schedule_in_a_step() -> None:
    spec = WITHOUT_OUTPUTS.replace('"head.*"}', '"head.*", schedule: null}\n    - {}')
    program = graphspec.compile(spec)
    found = [
        optimizer_for(program, program.module(), {}, 10, update=step).schedule is None
        for step in program.training.updates
    ]
    assert found == [True, False]


def test_a_loss_that_is_not_finite_names_its_update(folder: Path) -> None:
    spec = ADVERSARIES.replace("learning_rate: 0.1", "learning_rate: 1.0e+38").replace(
        "rate: 0.2", "rate: 0.0"
    )
    spec = spec.replace("[near]", "[near, apart]")
    with pytest.raises(SpecError, match=r"in update 2 of step 1,") as caught:
        fitted(folder, spec)
    (found,) = caught.value.diagnostics
    assert "lower the learning rate" in (found.help or "")
    assert any("the weights before that update" in note for note in found.notes)


def test_what_a_phase_broke_is_not_what_the_training_began_with(folder: Path) -> None:
    spec = SPEC.replace("batch_size: 8", "batch_size: 40").replace(
        "learning_rate: 0.1,", "learning_rate: 1.0e+38,"
    )
    spec = spec.replace(
        "activation: softmax, kernel_regularizer: {name: l2, l2: 0.01}", "activation: softmax"
    )
    with pytest.raises(SpecError, match="at step 2,") as caught:
        fitted(folder, spec)
    assert "lower the learning rate" in (caught.value.diagnostics[0].help or "")
