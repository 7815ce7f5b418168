"""Compiled steps in a row, without what torch.compile does around each: the same training to the bit."""

import os
import signal
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from graphspec.compiler import compile
from graphspec.data.batches import Shuffle
from graphspec.diagnostics import SpecError
from graphspec.train import compiled, loop, step_row
from graphspec.train import meter as meters
from graphspec.train.checkpoint import Checkpoints, State
from graphspec.train.compiled import CompiledStep
from graphspec.train.loop import Interrupted, train
from graphspec.train.phases import Update
from graphspec.train.saver import Saver
from tests import one_in
from tests.killing import forked

SPEC = """
inputs: {x: {shape: [6]}}
nodes:
  wide: {layer: Dense, units: 12, activation: relu, kernel_constraint: {name: max_norm, max_value: 0.9}}
  norm: {layer: BatchNormalization}
  noisy: {layer: Dropout, rate: 0.4}
  y: {layer: Dense, units: 3, activation: softmax}
  score: {layer: Dense, from: noisy, units: 1, kernel_regularizer: {name: l2, l2: 0.01}}
outputs:
  y:
    loss: sparse_categorical_crossentropy
    class_weight: {"0": 2.0, "1": 1.0, "2": 1.0}
    metrics: [accuracy, {name: sparse_top_k_categorical_accuracy, k: 2}]
  score: {loss: mse, loss_weight: learned, target: near, metrics: [mae], missing: ignore}
train:
  optimizer: {name: adamw, learning_rate: 0.01, global_clipnorm: 0.5, use_ema: true}
  schedule: {name: cosine_decay, warmup_steps: 5}
  parameter_groups: [{match: "y.*", learning_rate: 0.1}]
  epochs: 3
  batch_size: 8
  seed: 4
data: {train: d.npz, validation: {split: 0.2}}
"""
FIRST, BACKUP = SPEC.index("train:"), "  callbacks: {backup_and_restore: {save_freq: 7}}\n"
SAVING = SPEC[:FIRST] + SPEC[FIRST:].replace("  seed: 4\n", f"  seed: 4\n{BACKUP}")
DEVICE = "cpu"
STEPS = 33
"""Eleven batches an epoch, the last one ragged."""

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.skipif(
        torch.__version__ < compiled.WHOLE_STEPS, reason=f"torch {torch.__version__} compiles no whole steps"
    ),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(loop, "UNSEEN", 1e9)
    source = np.random.default_rng(0)
    x = source.normal(size=(107, 6)).astype("float32")
    labels = (x.sum(1) > 0).astype("int64") + (x[:, 0] > 1)
    near = np.where(x[:, 0] > 1.5, np.nan, x[:, 0])  # some have no target
    np.savez(tmp_path / "d.npz", x=x, y=labels, near=near, first=x[:, :1])
    return tmp_path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that followed others, one number for each."""
    found: list[int] = []
    further = CompiledStep.further

    def counting(self: CompiledStep, *arguments: Any) -> Any:
        begun = self.optimizer.iterations
        made = list(further(self, *arguments))
        found.extend(range(begun + 1, begun + 1 + len(made)))
        return made

    monkeypatch.setattr(CompiledStep, "further", counting)
    return found


def trained(place: Path, name: str, spec: str = SPEC, **options: Any) -> tuple[dict[str, Any], State]:
    """The history of a run, and the state that it ends with."""
    torch._dynamo.reset()
    fixed: dict[str, Any] = {"root": place, "run_dir": place / name, "device": DEVICE, "compile": "on"}
    history = train(compile(spec), **fixed, tell=lambda line: None, **options).history
    return history, state(place / name)


def state(run: Path) -> State:
    found = Checkpoints(run / "checkpoints").newest()
    assert found is not None
    return found


def assert_same(found: tuple[dict[str, Any], State], expected: tuple[dict[str, Any], State]) -> None:
    assert found[0] == expected[0]
    numbers = [dict(each[1].numbers, progress=None) for each in (found, expected)]
    assert numbers[0] == numbers[1]
    assert found[1].tensors.keys() == expected[1].tensors.keys()
    for name, tensor in expected[1].tensors.items():
        assert torch.equal(found[1].tensors[name], tensor), name


def one_by_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, spec: str = SPEC
) -> tuple[dict[str, Any], State]:
    with monkeypatch.context() as patched:
        patched.setattr(loop, "MOST", 0)
        return trained(place, "one-by-one", spec)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.parity)])
def test_steps_in_a_row_are_single_steps_to_the_bit(
    place: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int], backend: str
) -> None:
    """Weights, statistics, averages, what Adam remembers, what dropout draws, and all of the history."""
    monkeypatch.setattr(compiled, "BACKEND", backend)
    expected = one_by_one(place, monkeypatch)
    assert not counted
    found = trained(place, "in-a-row")
    assert_same(found, expected)
    assert len(found[0]["loss"]) == 3 and len(set(found[0]["y_accuracy"])) > 1
    first = {1, 2, 12, 23}  # of the training eagerly, of a row by torch.compile
    assert counted == [step for step in range(1, STEPS + 1) if step not in first and step % 11]


@pytest.mark.parity
@pytest.mark.parametrize("optimizer", ["adamax", "{name: sgd, momentum: 0.9}", "nadam"])
def test_other_optimizers_take_the_same_steps(
    place: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int], optimizer: str
) -> None:
    """Nadam's updates are in no graph, so that no steps follow one another."""
    kept = [line for line in SPEC.splitlines() if "parameter_groups" not in line and "schedule" not in line]
    spec = "\n".join(f"  optimizer: {optimizer}" if "optimizer" in line else line for line in kept)
    expected = one_by_one(place, monkeypatch, spec)
    assert_same(trained(place, "in-a-row", spec), expected)
    assert bool(counted) == (optimizer != "nadam")


def test_saves_by_the_number_of_steps_end_a_row(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = Saver.save

    def noting(self: Saver) -> None:
        saved.append(self.training.iterations)
        save(self)

    monkeypatch.setattr(Saver, "save", noting)
    trained(place, "run", SAVING)
    assert saved == [7, 14, 21, 28, STEPS]


def test_a_callback_that_watches_batches_sees_each(place: Path, counted: list[int]) -> None:
    class Watching:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen.append(batch)

    watching = Watching()
    trained(place, "run", callbacks=[watching])
    assert watching.seen == 3 * list(range(11)) and not counted


EXPLODING = """
inputs: {x: {shape: [6]}}
nodes: {near: {layer: Dense, units: 1}}
outputs: {near: {loss: mse, target: first}}
train: {optimizer: {name: sgd, learning_rate: 1e4}, epochs: 2, batch_size: 8}
data: {train: d.npz}
"""


def test_a_loss_that_is_not_finite_ends_a_row_before_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int]
) -> None:
    said, weights = [], []
    for name, most in (("one-by-one", 0), ("in-a-row", 256)):
        monkeypatch.setattr(loop, "MOST", most)
        torch._dynamo.reset()
        with pytest.raises(SpecError, match="the loss of output `near` became infinite at step 6,") as error:
            trained(place, name, EXPLODING)
        said.append(error.value.diagnostics[0].message)
        weights.append(load_file(place / name / "last.safetensors"))
    assert said[0] == said[1] and counted == [3, 4, 5, 6]
    for key, weight in weights[0].items():
        assert weight.isfinite().all() and torch.equal(weights[1][key], weight)


def test_a_row_ends_a_training_before_nan_where_a_callback_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EXPLODING.replace("batch_size: 8", "batch_size: 8, callbacks: {terminate_on_nan: {}}")
    assert_same(trained(place, "in-a-row", spec), one_by_one(place, monkeypatch, spec))
    assert state(place / "in-a-row").part("progress").numbers["iterations"] == 5


@pytest.mark.parametrize("most", [0, 256])
@pytest.mark.parametrize(
    "optimizer", ["{name: sgd, momentum: 0.9, nesterov: true}", "{name: rmsprop, momentum: 0.9}"]
)
def test_a_step_whose_loss_is_not_finite_changes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, most: int
) -> None:
    """Momentum would go on without gradients, too."""
    first = np.load(place / "d.npz")["first"]
    first[Shuffle(0, 0).order(len(first))[30]] = 1e38  # seen in the fourth step
    np.savez(place / "d.npz", x=np.load(place / "d.npz")["x"], first=first)
    kept: dict[str, torch.Tensor] = {}
    move = Update.move

    def keeping(self: Update) -> None:
        move(self)
        state = {f"optimizer/{name}": each for name, each in self.optimizer.state_dict()[0].items()}
        kept.update({name: each.clone() for name, each in (state | self.optimizer.weights).items()})

    monkeypatch.setattr(Update, "move", keeping)
    monkeypatch.setattr(loop, "MOST", most)
    said = EXPLODING.replace("{name: sgd, learning_rate: 1e4}", optimizer)
    trained(place, "run", said.replace("batch_size: 8", "batch_size: 8, callbacks: {terminate_on_nan: {}}"))
    found = state(place / "run")
    assert found.part("progress").numbers["iterations"] == 3
    remembered = found.part("optimizer").tensors
    tensors = {f"optimizer/{name}": each for name, each in remembered.items()}
    tensors.update(found.part("module").tensors)
    assert len(kept) >= 4
    for name, each in kept.items():
        assert torch.equal(tensors[name], each), name


CUSTOM = """
import torch

class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self, output, target):
        self.calls += 1
        return (output - target) ** 2 / self.calls

class Following(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(6))
        self.register_buffer("last", torch.zeros(6))

    def forward(self, x):
        y = x * self.weight + self.last
        if self.training:
            self.last = x.mean(0)  # and not in place
        return y
"""


@pytest.mark.parametrize(
    "change",
    [
        ("mse", "{module: counters.Counting}"),
        ("nodes: {", "nodes: {own: {module: counters.Following, shape: [6]}, "),
    ],
)
def test_custom_code_may_count_in_python_and_assign_its_buffers(
    place: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    (place / "counters.py").write_text(CUSTOM)
    monkeypatch.chdir(place)
    (place / "spec.yaml").write_text(EXPLODING.replace("1e4", "0.01").replace(*change))
    program = compile(place / "spec.yaml", allow=["counters"])
    losses = []
    for way in ("off", "on"):
        options: Any = {"root": place, "run_dir": place / way, "device": "cpu", "compile": way}
        losses.append(train(program, **options, tell=lambda line: None).history["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


HELD = 8 * 4 * (6 + 1 + 1) + 2 * 4 + 2 * 8
"""Bytes of a step of `EXPLODING`: inputs, targets and outputs of a batch, a loss and its term, two rates."""


@pytest.mark.parametrize("held", [0, 1, 3])
def test_no_step_holds_much_of_what_others_made(
    place: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """Outputs of large models are large: those of two steps may not fit a device."""
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    compiler = compiled._compiler

    def watching(graph: Any, examples: Any) -> Any:
        run = compiler(graph, examples)

        def call(*taken: Any) -> Any:
            alive.append(sum(each() is not None for each in made))
            found = run(*taken)
            made.extend(weakref.ref(each) for each in found if len(each.shape) == 2)
            return found

        return call

    def validation(*arguments: Any) -> Any:
        assert not any(each() is not None for each in made)
        return evaluate(*arguments)

    evaluate = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", validation)
    monkeypatch.setattr(compiled, "_compiler", watching)
    monkeypatch.setattr(step_row, "HELD", held * HELD + HELD // 2)
    spec = EXPLODING.replace("1e4", "0.01").replace("d.npz}", "d.npz, validation: {split: 0.2}}")
    trained(place, "run", spec)
    assert len(alive) == len(made) == 19 and max(alive) == max(0, held - 1)


@pytest.mark.parity
@pytest.mark.parametrize("step", [20, 5, 11])
def test_a_signal_ends_a_row_and_resume_goes_on_to_the_bit(
    place: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    expected = trained(place, "whole")
    move = Update.move

    def interrupted(self: Update) -> None:
        move(self)
        if self.optimizer.iterations == step:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Update, "move", interrupted)
        with pytest.raises(Interrupted, match=f"interrupted after {step} steps"):
            trained(place, "run")
    assert_same(trained(place, "run", resume=True), expected)


@pytest.mark.parametrize("moment", one_in(3, [17, 3, 10]))
def test_a_killed_training_goes_on_to_the_bit(
    place: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Killed where it changes its run for so many times: in saves between rows."""
    expected = one_by_one(place, monkeypatch, SAVING)

    def run() -> int:
        trained(place, "run", SAVING)
        return 0

    assert forked(run, "run", moment) == -signal.SIGKILL
    assert_same(trained(place, "run", SAVING, resume=True), expected)


@pytest.mark.parity
def test_means_are_the_same_however_often_they_are_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(place, "whole")
    monkeypatch.setattr(meters, "TERMS", 2)
    assert_same(trained(place, "often"), expected)
