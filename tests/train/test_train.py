"""Training: optimizers beside Keras', the loop, what it reports, and what it leaves behind."""

import json
import math
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from graphspec.compiler import compile
from graphspec.data.batches import Batch, InMemory
from graphspec.data.padding import Padding, Rows
from graphspec.diagnostics import SpecError
from graphspec.files import tensors
from graphspec.files.locks import NAME as LOCK
from graphspec.objectives import SettingError
from graphspec.runs.run import Run
from graphspec.train import device as devices
from graphspec.train import feeding
from graphspec.train import run as runs
from graphspec.train.batch_result import Reading
from graphspec.train.callbacks.base import Callback
from graphspec.train.config import OPTIMIZERS, parse_train
from graphspec.train.loop import Interrupted, train
from graphspec.train.optimizers import Optimizer
from graphspec.train.progress import Clock, Progress
from tests import ROOT, bundled, one_in

# --- optimizers

KERAS = {
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adamw": "AdamW",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adamax": "Adamax",
    "nadam": "Nadam",
    "adafactor": "Adafactor",
    "lamb": "Lamb",
    "lion": "Lion",
    "ftrl": "Ftrl",
    "muon": "Muon",
    "schedule_free_adamw": "ScheduleFreeAdamW",
}


class ScheduleFreeAdamW(keras.optimizers.ScheduleFreeAdamW):
    """On torch, Keras' own reads the momentum it calls old after it moved: it assigns in place."""

    def assign_sub(self, variable: Any, value: Any) -> None:
        variable._value = variable.value - value


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in KERAS),
    *((name, {"learning_rate": 0.1, "weight_decay": 0.05}) for name in KERAS),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", {"momentum": 0.5, "rho": 0.8}),
    ("rmsprop", {"centered": True, "momentum": 0.3}),
    ("adam", {"amsgrad": True, "beta_1": 0.8, "beta_2": 0.9}),
    ("adam", {"epsilon": 0.01}),
    ("adagrad", {"initial_accumulator_value": 0.0}),
    ("adafactor", {"beta_2_decay": -0.5, "clip_threshold": 0.3}),
    ("ftrl", {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.02, "beta": 0.1}),
    ("ftrl", {"l2_shrinkage_regularization_strength": 0.03, "learning_rate_power": -0.3}),
    ("muon", {"nesterov": False, "rms_rate": None, "ns_steps": 3}),
    ("muon", {"adam_lr_ratio": 0.5, "adam_weight_decay": 0.1}),
    ("schedule_free_adamw", {"warmup_steps": 7, "beta_1": 0.8}),
    ("adam", {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 6}),
    ("adam", {"clipnorm": 0.5}),
    ("sgd", {"clipvalue": 0.1}),
    ("sgd", {"global_clipnorm": 0.7}),
]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' Nadam, on numpy 2
@bundled(16, ("name", "options"), OPTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), one_in(2, [("float64", 1e-6), ("float32", 5e-5)]))
def test_optimizers_go_where_those_of_keras_go(
    name: str, options: dict[str, Any], dtype: str, tolerance: float
) -> None:
    source = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=source, dtype=getattr(torch, dtype)) for shape in ((3, 4), (4,))]
    weights = [tensor.clone().requires_grad_() for tensor in start]
    ours = Optimizer(OPTIMIZERS.read({"name": name, **options}), dict(zip("ab", weights, strict=True)))
    fixed = {"ScheduleFreeAdamW": ScheduleFreeAdamW}
    theirs = fixed.get(KERAS[name], getattr(keras.optimizers, KERAS[name]))(**options)
    variables = [keras.Variable(tensor.numpy(), dtype=dtype) for tensor in start]
    for step in range(10):
        # tiny gradients too: there it shows where epsilon is added
        scale = 1e-6 if step % 5 == 0 else 1.0
        gradients = [scale * torch.randn(w.shape, generator=source, dtype=w.dtype) for w in weights]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        ours.step()
        theirs.apply(gradients, variables)
        for weight, variable in zip(weights, variables, strict=True):
            torch.testing.assert_close(
                weight.detach(), variable.value.detach(), rtol=tolerance, atol=tolerance
            )
    assert all(weight.grad is None for weight in weights)
    assert ours.iterations == 10


@bundled(16, ("name", "options"), [*OPTIONS, ("adam", {"use_ema": True, "ema_momentum": 0.7})])
def test_an_optimizer_goes_on_to_the_bit(name: str, options: dict[str, Any]) -> None:
    source = torch.Generator().manual_seed(2)
    gradients = [[torch.randn(s, generator=source) for s in ((3, 4), (4,), (2, 3, 2))] for _ in range(6)]

    def run(optimizer: Optimizer, steps: list[list[torch.Tensor]]) -> None:
        for step in steps:
            for weight, gradient in zip(optimizer.weights.values(), step, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()

    def fresh() -> Optimizer:
        start = torch.Generator().manual_seed(3)
        weights = {str(i): torch.randn(g.shape, generator=start) for i, g in enumerate(gradients[0])}
        return Optimizer(OPTIMIZERS.read({"name": name, **options}), weights)

    unbroken, first, second = fresh(), fresh(), fresh()
    run(unbroken, gradients)
    run(first, gradients[:3])
    tensors, numbers = first.state_dict()
    saved = {key: tensor.clone() for key, tensor in tensors.items()}
    for key, weight in first.weights.items():
        second.weights[key].copy_(weight)
    second.load_state_dict(saved, json.loads(json.dumps(numbers)))
    run(second, gradients[3:])
    assert all(torch.equal(unbroken.weights[key], second.weights[key]) for key in unbroken.weights)
    assert all(torch.equal(unbroken.averages[key], second.averages[key]) for key in unbroken.averages)
    assert second.iterations == 6


def test_a_weight_without_a_gradient_stays() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    settings = OPTIMIZERS.read({"name": "adamw", "weight_decay": 0.5})
    optimizer = Optimizer(settings, {"used": used, "unused": unused})
    used.grad = torch.ones(2)
    optimizer.step()
    assert unused.tolist() == [1, 1] and used.tolist() != [1, 1]


def test_every_optimizer_has_an_update_and_documentation() -> None:
    assert {cls.names()[0] for cls in OPTIMIZERS.members.values()} == set(KERAS)
    assert all(cls.__doc__ for cls in OPTIMIZERS.members.values())


@pytest.mark.parametrize(
    ("value", "code", "path", "words"),
    [
        ({"optimizer": "adm"}, "unknown-optimizer", ("optimizer", "name"), "adam"),
        ({"optimizer": {"name": "adam", "lr": 0.1}}, "unknown-key", ("optimizer", "lr"), "learning_rate"),
        (
            {"optimizer": {"name": "adam", "learning_rate": 0}},
            "out-of-range",
            ("optimizer", "learning_rate"),
            None,
        ),
        ({"optimizer": {"name": "sgd", "clipnorm": 1, "clipvalue": 1}}, "out-of-range", ("optimizer",), None),
        ({"epochs": 0}, "out-of-range", ("epochs",), None),
        ({"epochs": "3"}, "wrong-type", ("epochs",), "quotes"),
        ({"epochs": 3.0}, "wrong-type", ("epochs",), "write 3"),
        ({"lr": 0.1}, "unknown-key", ("lr",), None),
        (
            {"schedule": {"name": "cosine", "T_max": 3}},
            "unknown-schedule",
            ("schedule", "name"),
            "cosine_decay",
        ),
        (
            {"schedule": {"name": "cosine_decay", "T_max": 3}},
            "unknown-key",
            ("schedule", "T_max"),
            "decay_steps",
        ),
        ({"schedule": {"name": "cosine_decay", "warmup_target": 0.1}}, "out-of-range", ("schedule",), None),
        (
            {"parameter_groups": [{"match": "*", "lr": 0.1}]},
            "unknown-key",
            ("parameter_groups", 0, "lr"),
            "learning_rate",
        ),
        ({"precision": "bf61"}, "out-of-range", ("precision",), "bf16"),
        ({"precision": "float16"}, "out-of-range", ("precision",), None),
        ("adam", "wrong-type", (), None),
    ],
)
def test_a_wrong_train_section_says_what_is_wrong(
    value: Any, code: str, path: tuple[str, ...], words: str | None
) -> None:
    with pytest.raises(SettingError) as caught:
        parse_train(value)
    problem = caught.value.problems[0]
    assert (problem.code, problem.path) == (code, path)
    assert words is None or words in (problem.help or "")


# --- the loop

DENSE = """
inputs:
  features: {shape: [6]}
nodes:
  hidden: {layer: Dense, units: 16, activation: relu}
  drop: {layer: Dropout, rate: 0.1}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
data: {train: data.npz, validation: {split: 0.25}}
train: {optimizer: {name: adam, learning_rate: 0.01}, epochs: 3, batch_size: 16, seed: 5}
"""
HEADS = """
inputs:
  x: {shape: [6]}
nodes:
  value: {layer: Dense, from: x, units: 1}
  yes: {layer: Dense, from: x, units: 1, activation: sigmoid}
outputs:
  value: {loss: mse, loss_weight: WEIGHT, metrics: [mae]}
  yes: {loss: binary_crossentropy, loss_weight: 3, metrics: [accuracy, {name: auc, num_thresholds: 20}]}
train: {optimizer: sgd, epochs: 2, batch_size: 32}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with data for `DENSE`, which is also where runs are made."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    x = source.normal(size=(100, 6)).astype("float32")
    np.savez(tmp_path / "data.npz", features=x, kind=x[:, :3].argmax(1))
    return tmp_path


def test_training_learns_and_says_so(place: Path) -> None:
    seen: list[Progress] = []
    result = train(compile(DENSE), root=place, epochs=30, progress=seen.append)
    assert result.metrics["val_accuracy"] > 0.8  # type: ignore[operator]
    assert set(result.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert (result.epochs, result.steps, result.device) == (30, 30 * 5, "cpu")
    assert result.history["loss"][-1] < result.history["loss"][0]  # type: ignore[operator]
    assert [p.epoch for p in seen if p.done] == list(range(1, 31))
    assert seen[-1].values == result.metrics and all(p.steps == 5 for p in seen)
    assert result.seconds > 0 and result.examples_per_second > 0


def test_a_stop_in_validation_changes_no_number(place: Path) -> None:
    """What validation draws before it is stopped, it draws again, and so does the training after it."""
    drawing = "  noise: {op: random_normal, stddev: 0.3}\n  both: {merge: add, from: [noise, drop]}\n  kind:"
    program = compile(DENSE.replace("  kind:", drawing, 1))
    whole = train(program, root=place, run_dir=place / "whole")

    class Stop(Callback):
        def on_test_begin(self, logs: Any = None) -> None:
            if self.model.epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(program, root=place, run_dir=place / "run", callbacks=[Stop()])
    assert train(program, root=place, run_dir=place / "run", resume=True).history == whole.history


def test_a_run_directory_holds_everything(place: Path) -> None:
    program = compile(DENSE)
    result = train(program, root=place)
    assert result.run_dir == Path("runs") / f"{program.name}-1"
    assert sorted(p.name for p in result.run_dir.iterdir()) == [
        "best.safetensors",
        "checkpoints",
        "environment.json",
        "history.jsonl",
        "last.safetensors",
        "model.py",
        "spec.yaml",
    ]
    lines = [json.loads(line) for line in (result.run_dir / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["val_loss"] for line in lines] == result.history["val_loss"]
    assert compile((result.run_dir / "spec.yaml").read_text()).source == program.source
    assert (result.run_dir / "model.py").read_text() == program.source
    assert json.loads((result.run_dir / "environment.json").read_text())["torch"] == torch.__version__
    assert train(program, root=place, epochs=1).run_dir.name.endswith("-2")


def test_the_best_weights_are_those_of_the_lowest_validation_loss(place: Path) -> None:
    program = compile(DENSE.replace("0.01", "0.3"))
    result = train(program, root=place, epochs=12)
    data = np.load(place / "data.npz")
    held = _held(place)
    for name, expected in (
        ("best", min(result.history["val_loss"])),
        ("last", result.history["val_loss"][-1]),
    ):
        module = program.module(weights=result.run_dir / f"{name}.safetensors").eval()
        logits = module(torch.from_numpy(data["features"])[held], logits=True)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data["kind"])[held])
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def _held(place: Path) -> torch.Tensor:
    from graphspec.data.batches import held_out

    return held_out(100, 0.25, 5).nonzero()[:, 0]


def test_a_run_is_repeated_by_its_seed_alone(place: Path) -> None:
    first = train(compile(DENSE), root=place)
    torch.manual_seed(99)
    torch.rand(7)
    again = train(compile(DENSE), root=place)
    assert again.history == first.history
    one, two = (load_file(r.run_dir / "last.safetensors") for r in (first, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = train(compile(DENSE.replace("seed: 5", "seed: 6")), root=place)
    assert other.history != first.history


def test_training_follows_keras_epoch_by_epoch(place: Path) -> None:
    spec = DENSE.replace("drop: {layer: Dropout, rate: 0.1}\n  ", "").replace(
        "batch_size: 16", "batch_size: 75"
    )
    program = compile(spec)
    ours = train(program, root=place, epochs=8)
    start = program.module(seed=5).state_dict()
    model = keras.Sequential(
        [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    )
    model.build((None, 6))
    names = ["hidden.weight", "hidden.bias", "kind.weight", "kind.bias"]
    model.set_weights(
        [start[name].mT.numpy() if start[name].ndim == 2 else start[name].numpy() for name in names]
    )
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    data, held = np.load(place / "data.npz"), _held(place).numpy()
    kept = np.setdiff1d(np.arange(100), held)
    x, y = data["features"], data["kind"]
    theirs = model.fit(
        x[kept],
        y[kept],
        validation_data=(x[held], y[held]),
        batch_size=75,
        epochs=8,
        shuffle=False,
        verbose=0,
    )
    for name, values in theirs.history.items():
        np.testing.assert_allclose(ours.history[name], values, rtol=2e-4, atol=1e-5, err_msg=name)


def test_several_outputs_are_weighted_and_named(place: Path) -> None:
    result = train(compile(HEADS.replace("WEIGHT", "0.5")))
    names = {"loss", "value_loss", "yes_loss", "value_mae", "yes_accuracy", "yes_auc"}
    assert set(result.metrics) == names
    for total, value, yes in zip(
        *(result.history[n] for n in ("loss", "value_loss", "yes_loss")), strict=True
    ):
        assert total == pytest.approx(0.5 * value + 3 * yes, rel=1e-5)


PAIRS = """
inputs:
  left: {shape: [6]}
  right: {shape: [6]}
  other: {shape: [6]}
shared:
  encoder: {layer: Dense, units: 4}
nodes:
  a: {call: encoder, from: left}
  b: {call: encoder, from: right}
  c: {call: encoder, from: other}
outputs:
  same: {from: [a, b], loss: contrastive}
  near: {from: [a, b, c], loss: {name: triplet, margin: 0.5}, loss_weight: 2}
  own: {from: [a, b], loss: {name: in_batch_softmax, symmetric: true}, loss_weight: learned}
train: {optimizer: {name: adam, learning_rate: 0.01}, epochs: 8, batch_size: 16}
"""


def test_losses_over_several_nodes_are_trained(place: Path) -> None:
    source = np.random.default_rng(0)
    x = source.normal(size=(64, 6)).astype("float32")
    same = source.integers(0, 2, 64)
    right = x + source.normal(size=x.shape) * np.where(same, 0.1, 2)[:, None]
    values = {"left": x, "right": np.float32(right), "other": x[::-1], "same": np.float32(same)}
    arrays: dict[str, Any] = values
    np.savez("pairs.npz", **arrays)
    for data in (Path("pairs.npz"), None):  # and what training makes up itself
        result = train(compile(PAIRS), data=data)
        assert set(result.metrics) == {"loss", "same_loss", "near_loss", "own_loss"}
        assert result.history["loss"][-1] < result.history["loss"][0]  # type: ignore[operator]
    arrays["same"] = arrays["same"] + 1
    np.savez("wrong.npz", **arrays)
    with pytest.raises(SpecError, match="must be from 0 to 1"):
        train(compile(PAIRS), data=Path("wrong.npz"))


def test_a_learned_weight_is_learned(place: Path) -> None:
    result = train(compile(HEADS.replace("WEIGHT", "learned")), epochs=6)
    total, value, yes = (np.array(result.history[n][-1]) for n in ("loss", "value_loss", "yes_loss"))
    assert total != pytest.approx(value + 3 * yes, rel=1e-4)
    assert result.history["loss"][-1] < result.history["loss"][0]  # type: ignore[operator]
    assert not any("variance" in name for name in load_file(result.run_dir / "last.safetensors"))


def test_accumulated_batches_are_one_large_batch(place: Path) -> None:
    spec = DENSE.replace("rate: 0.1", "rate: 0.0")
    optimizer = "optimizer: {name: adam, learning_rate: 0.01, gradient_accumulation_steps: 3}"
    parts = train(
        compile(spec.replace("optimizer: {name: adam, learning_rate: 0.01}", optimizer)), root=place
    )
    large = train(compile(spec.replace("batch_size: 16", "batch_size: 48")), root=place)
    assert parts.steps == large.steps == 3 * 2  # 75 examples: 48, and a last smaller one of 27
    for name, values in large.history.items():
        assert parts.history[name] == pytest.approx(values, rel=1e-4), name


def test_the_last_small_batch_counts(place: Path) -> None:
    spec = DENSE.replace("validation: {split: 0.25}", "test: data.npz").replace(
        "batch_size: 16", "batch_size: 99"
    )
    result = train(
        compile(spec.replace("rate: 0.1", "rate: 0.0").replace("0.01", "1e-12")), root=place, epochs=1
    )
    assert result.steps == 2
    assert result.metrics["loss"] == pytest.approx(result.metrics["test_loss"], rel=1e-5)
    assert result.metrics["accuracy"] == result.metrics["test_accuracy"]


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(place: Path) -> None:
    np.savez("huge.npz", x=np.zeros((64, 6)), value=np.full(64, 1e30), yes=np.zeros(64))
    program = compile(HEADS.replace("WEIGHT", "1"))
    with pytest.raises(SpecError) as caught:
        train(program, data=Path("huge.npz"))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "non-finite-loss"
    assert "`value` became infinite at step 1, in epoch 1" in diagnostic.message
    saved, start = load_file(next(Path("runs").glob("*/last.safetensors"))), program.module().state_dict()
    assert all(torch.equal(saved[name], start[name]) for name in start)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            HEADS.replace("loss: mse, loss_weight: WEIGHT, ", "").replace(
                "loss: binary_crossentropy, loss_weight: 3, ", ""
            ),
            "loss",
        ),
        (HEADS.replace("WEIGHT", "1").replace("from: x", "from: x, trainable: false"), "trainable"),
    ],
)
def test_nothing_to_train_is_an_error(place: Path, spec: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        train(compile(spec))
    assert caught.value.diagnostics[0].code == "nothing-to-train" and words in str(caught.value)


def test_ctrl_c_saves_and_is_told(place: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done and progress.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        train(compile(DENSE), root=place, epochs=1000, progress=interrupt)
    result = caught.value.result
    assert (result.epochs, result.steps, caught.value.exit_code) == (2, 10, 130)
    assert (
        load_file(result.run_dir / "last.safetensors").keys()
        == load_file(result.run_dir / "best.safetensors").keys()
    )
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "name", ["tpu", "cuda:x", "cuda:99", *([] if torch.cuda.is_available() else ["cuda"])]
)
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        devices.choose(name)
    assert caught.value.diagnostics[0].code == "device-missing" and name in str(caught.value)


def test_processes_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("RANK", 5), ("WORLD_SIZE", 8), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 4)):
        monkeypatch.setenv(name, str(value))
    assert devices.choose() == devices.choose("cuda") == torch.device("cuda:1")
    for rank, name, help in (("1", "cuda:0", "`--device cuda`"), ("3", "cuda", "start 2 processes")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SpecError) as caught:
            devices.choose(name)
        assert caught.value.diagnostics[0].code == "device-missing"
        assert help in str(caught.value.diagnostics[0].help)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has fewer than two GPUs")
def test_a_number_is_read_from_the_gpu_that_computes_it() -> None:
    matrix = torch.rand(4096, 4096, device="cuda:1")
    for _ in range(20):
        matrix = matrix @ matrix
        matrix = matrix / matrix.amax()
    assert Reading(matrix.amax()).value == 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_the_host_waits_for_no_gpu_between_the_batches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a step does is watched by torch; the first one makes the optimizer's state."""
    together, watched = feeding._together, []

    def watching(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
        for number, parts in enumerate(together(batches, count)):
            torch.cuda.set_sync_debug_mode("error" if number else "default")
            watched.append(number)
            yield parts
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(feeding, "_together", watching)
    train(compile(DENSE), root=place, device="cuda", epochs=1)
    assert max(watched) > 1


def test_threads_are_for_large_steps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    small, large = compile(DENSE), compile(DENSE.replace("units: 16", "units: 2000000"))
    assert (devices.threads(small), devices.threads(large)) == (1, 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert devices.threads(small) == devices.threads(large) == torch.get_num_threads()
    monkeypatch.setenv("GRAPHSPEC_CORES", "3")  # as a trial is started
    assert (devices.threads(small), devices.threads(large)) == (1, 3)
    for text in ("0", "two"):
        monkeypatch.setenv("GRAPHSPEC_CORES", text)
        with pytest.raises(SpecError, match=f"GRAPHSPEC_CORES is `{text}`"):
            devices.threads(large)


def test_the_first_epoch_is_not_steady() -> None:
    clock = Clock()
    clock.add(100, 10.0)
    assert clock.rate == 10
    clock.add(100, 1.0)
    assert clock.rate == 100


# --- the run directory


def test_a_directory_that_is_taken_or_cannot_be_made_is_refused(place: Path) -> None:
    (place / "taken").mkdir()
    (place / "taken" / "file").write_text("")
    for path in (place / "taken", place / "taken" / "file" / "below"):
        with pytest.raises(SpecError) as caught:
            train(compile(DENSE), root=place, run_dir=path)
        assert caught.value.diagnostics[0].code == "run-directory"
    (place / "empty").mkdir()
    assert train(compile(DENSE), root=place, run_dir=place / "empty", epochs=1).run_dir == place / "empty"


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    shared = torch.randn(4, 4)
    state = {"a": shared, "b": shared, "c": shared.t(), "d": shared.clone()}
    run = runs.RunDirectory.create("x", tmp_path / "run")
    run.weights("w.safetensors", state)
    with safetensors.safe_open(tmp_path / "run" / "w.safetensors", framework="pt") as stored:
        assert sorted(stored.keys()) == ["a", "c", "d"]
        assert json.loads(stored.metadata()["tied"]) == {"b": "a"}
        assert torch.equal(stored.get_tensor("c"), shared.t())


def test_weights_that_read_back_otherwise_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.RunDirectory.create("x", tmp_path / "run")
    run.weights("w.safetensors", {"a": torch.ones(3)})
    before = (run.path / "w.safetensors").read_bytes()
    save = save_file
    monkeypatch.setattr(tensors, "save_file", lambda t, *rest: save({n: v + 1 for n, v in t.items()}, *rest))
    with pytest.raises(SpecError, match="differs from what is read back"):
        run.weights("w.safetensors", {"a": torch.ones(3)})
    assert (run.path / "w.safetensors").read_bytes() == before
    assert [p.name for p in run.path.iterdir() if p.name != LOCK] == ["w.safetensors"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.RunDirectory.create("x", tmp_path / "run")
    run.text("a.txt", "first")

    def full(path: Path, *rest: Any, **more: Any) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SpecError, match="No space left on device"):
        run.text("a.txt", "second")
    assert (run.path / "a.txt").read_bytes() == b"first"
    assert [p.name for p in run.path.iterdir() if p.name != LOCK] == ["a.txt"]


def test_weights_with_nan_are_saved_as_they_are(tmp_path: Path) -> None:
    run = runs.RunDirectory.create("x", tmp_path / "run")
    run.weights("w.safetensors", {"a": torch.tensor([math.nan, 1.0])})
    assert load_file(run.path / "w.safetensors")["a"].isnan().tolist() == [True, False]


def test_a_result_is_json_of_the_promised_shape(place: Path) -> None:
    found = json.loads(json.dumps(train(compile(DENSE), root=place, epochs=2).to_json(), allow_nan=False))
    assert set(found) == {
        "run_dir",
        "synthetic_data",
        "epochs",
        "steps",
        "best_epoch",
        "baselines",
        "device",
        "metrics",
        "history",
        "seconds",
        "examples_per_second",
    }
    assert len(found["history"]["val_loss"]) == found["epochs"] == 2


FINE = """
inputs: {x: {shape: [3]}}
nodes:
  known: {layer: Normalization}
  y: {layer: Dense, units: 2, activation: softmax, from: known}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: d.npz}
train: {epochs: 1, batch_size: 50, seed: SEED}
"""


def test_a_run_starts_from_weights(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    for name, mean in (("d", 0.0), ("other", 3.0)):
        x = source.normal(mean, size=(50, 3)).astype("float32")
        np.savez(tmp_path / f"{name}.npz", x=x, y=(x[:, 0] > mean).astype(int))
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(FINE.replace("SEED", "1" if name == "first" else "2"))
    options: dict[str, Any] = {"root": tmp_path, "device": "cpu", "tell": lambda line: None}
    train(compile(tmp_path / "first.yaml"), **options, epochs=3, run_dir=tmp_path / "first")
    weights, other = tmp_path / "first" / "best.safetensors", tmp_path / "other.npz"
    second = compile(tmp_path / "second.yaml")
    options |= {"data": other, "run_dir": tmp_path / "second"}
    found = train(second, **options, weights=weights)  # one step, whose loss is that before it
    before = Run(tmp_path / "second.yaml", weights).evaluate(other, device="cpu")
    assert found.history["loss"] == [pytest.approx(before["loss"], rel=1e-5)]
    about = tmp_path / "second" / "environment.json"
    assert json.loads(about.read_text())["weights"] == str(weights.resolve())
    shutil.rmtree(tmp_path / "second" / "checkpoints")  # as if it had been stopped before the first one
    about.write_text(about.read_text().replace('"finished": true', '"finished": false'))
    again = train(second, **options, resume=True)
    assert again.history == found.history and json.loads(about.read_text())["weights"] == str(weights)
    plain = train(second, **options | {"run_dir": tmp_path / "third"})
    assert plain.history != found.history
    refused: list[tuple[dict[str, Any], str]] = [
        ({"weights": weights, "resume": True}, "resume-failed"),
        ({"weights": tmp_path / "no.safetensors"}, "weights-missing"),
        ({"weights": other}, "weights-missing"),
    ]
    for more, code in refused:
        with pytest.raises(SpecError, match=code):
            train(second, **options | {"run_dir": tmp_path / "fourth"}, **more)
    assert not (tmp_path / "fourth").exists()


def test_digits_are_learned(place: Path) -> None:
    spec = ROOT / "specs" / "digits.yaml"
    result = train(compile(spec), root=spec.parent, epochs=6)
    assert result.metrics["val_accuracy"] >= 0.95  # type: ignore[operator]


def test_usual_lengths_are_those_of_the_whole_data() -> None:
    """A file may be sorted: short rows come first."""
    program = compile(
        """
inputs: {words: {shape: [length], dtype: int64}}
nodes:
  code: {layer: Embedding, input_dim: 9, output_dim: 4}
  y: {layer: GlobalAveragePooling1D}
outputs: [y]
"""
    )
    lengths = torch.tensor([2] * 80 + [9] * 320)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    rows = Rows(torch.ones(int(lengths.sum()), dtype=torch.int64), offsets)
    padding = Padding({"words": program.inputs["words"].shape[1]})
    examples = InMemory({"words": rows}, {"words": torch.int64}, padding=padding)
    assert runs.usual_lengths(program, examples) == {"length": 9}
