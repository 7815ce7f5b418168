"""Callbacks: beside Keras', in a training, and what is wrong with them before one."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from graphspec.compiler import check, compile
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.objectives.history import directions
from graphspec.train.callbacks import building, settings
from graphspec.train.callbacks.base import Callback, Callbacks
from graphspec.train.callbacks.rates import ReduceLROnPlateauCallback
from graphspec.train.callbacks.weights import (
    BestWeights,
    EarlyStoppingCallback,
    ModelCheckpointCallback,
    SwapEMAWeightsCallback,
)
from graphspec.train.checkpoint import Checkpoints
from graphspec.train.config.callbacks import CALLBACKS, parse_callbacks
from graphspec.train.loop import Interrupted, train
from tests import bundled

SPEC = """
inputs:
  features: {shape: [6]}
nodes:
  hidden: {layer: Dense, units: 8, activation: relu}
  norm: {layer: BatchNormalization}
  drop: {layer: Dropout, rate: 0.2}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
data: {train: data.npz, validation: {split: 0.25}}
train:
  optimizer: OPTIMIZER
  epochs: EPOCHS
  batch_size: 16
  callbacks: {CALLBACKS}
"""


def spec(callbacks: str, epochs: int = 4, optimizer: str = "{name: adam, learning_rate: 0.01}") -> str:
    text = SPEC.replace("CALLBACKS", callbacks).replace("EPOCHS", str(epochs))
    return text.replace("OPTIMIZER", optimizer)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    x = source.normal(size=(100, 6)).astype("float32")
    np.savez(tmp_path / "data.npz", features=x, kind=x[:, :3].argmax(1))
    return tmp_path


def diagnosed(text: str) -> list[Any]:
    found = Diagnostics()
    check(text, found, {})
    return found.sorted()


# --- beside Keras

# Multiples of 1/8, which float32 holds: Keras compares in it.
VALUES = st.lists(st.integers(-3, 3).map(lambda n: n / 8), min_size=1, max_size=30)


def stub(**more: Any) -> Any:
    """What a callback sees of a training."""
    return SimpleNamespace(stop_training=False, tell=lambda text: None, **more)


@given(
    VALUES,
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.125, 0.5]),
    st.sampled_from([None, 0.25]),
    st.integers(0, 3),
)
def test_early_stopping_stops_where_that_of_keras_does(
    values: list[float], down: bool, patience: int, delta: float, baseline: float | None, start: int
) -> None:
    options: dict[str, Any] = {
        "patience": patience,
        "min_delta": delta,
        "baseline": baseline,
        "start_from_epoch": start,
    }
    ours = EarlyStoppingCallback(settings.EarlyStopping(monitor="x", **options), down)
    theirs = keras.callbacks.EarlyStopping(monitor="x", mode="min" if down else "max", **options)
    ours.model = stub()
    theirs.set_model(SimpleNamespace(stop_training=False))
    theirs.on_train_begin()
    for epoch, value in enumerate(values):
        again = EarlyStoppingCallback(ours.config, down)  # a training that goes on has another one
        again.model = ours.model
        again.load_state_dict(json.loads(json.dumps(ours.state_dict())))
        ours = again
        ours.on_epoch_end(epoch, {"x": value})
        theirs.on_epoch_end(epoch, {"x": value})
        assert ours.model.stop_training == theirs.model.stop_training
        if ours.model.stop_training:
            assert (ours.best, ours.best_epoch) == (theirs.best, theirs.best_epoch)
            break


def test_weights_are_written_every_so_many_steps_of_all_trainings_together() -> None:
    written: list[str] = []
    run = SimpleNamespace(claim=lambda name: name, weights=lambda name, weights: written.append(name))
    model = stub(run=run, epoch=0, as_evaluated=nullcontext, weights=dict)
    config = settings.ModelCheckpoint(filepath="{batch}.safetensors", save_freq=3)
    state = None
    for batch in range(7):  # a training that goes on has another callback
        callback = ModelCheckpointCallback(config, down=True)
        callback.model = model
        if state is not None:
            callback.load_state_dict(state)
        callback.on_train_batch_end(batch, {})
        state = callback.state_dict()
    assert written == ["3.safetensors", "6.safetensors"]


@pytest.mark.parametrize("stays", [False, True])
def test_averages_stay_in_the_model_after_an_epoch_where_that_is_asked(stays: bool) -> None:
    swapped: list[bool] = []
    callback = SwapEMAWeightsCallback(settings.SwapEMAWeights(swap_on_epoch=stays))
    callback.model = stub(use_averages=swapped.append)
    for moment in (callback.on_test_begin, callback.on_test_end):
        moment()
    callback.on_epoch_end(0)
    callback.on_epoch_begin(1)
    assert swapped == [True, False, stays, False]


def test_a_training_without_patience_has_two_epochs() -> None:
    """As with Keras, also where the loss is no number."""
    ours = EarlyStoppingCallback(settings.EarlyStopping(monitor="x", patience=0), down=True)
    ours.model = stub()
    stops = []
    for epoch in range(2):
        ours.on_epoch_end(epoch, {"x": math.nan})
        stops.append(ours.model.stop_training)
    assert stops == [False, True]


@given(VALUES, st.booleans())
def test_the_best_epoch_is_the_first_best_however_often_a_training_goes_on(
    values: list[float], down: bool
) -> None:
    ours = BestWeights("x", down)
    for epoch, value in enumerate(values):
        again = BestWeights("x", down)
        again.model = stub(as_evaluated=nullcontext, weights=dict)
        again.load_state_dict(json.loads(json.dumps(ours.state_dict())))
        ours = again
        ours.on_epoch_end(epoch, {"x": value})
    assert ours.epoch == values.index((min if down else max)(values)) + 1


@given(VALUES, st.booleans(), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.25]))
def test_the_learning_rate_falls_where_it_does_in_keras(
    values: list[float], down: bool, patience: int, cooldown: int, least: float
) -> None:
    options: dict[str, Any] = {
        "patience": patience,
        "cooldown": cooldown,
        "min_lr": least,
        "factor": 0.5,
        "min_delta": 0.125,
    }
    ours = ReduceLROnPlateauCallback(settings.ReduceLROnPlateau(monitor="x", **options), down)
    theirs = keras.callbacks.ReduceLROnPlateau(monitor="x", mode="min" if down else "max", **options)
    ours.model = stub(optimizer=SimpleNamespace(learning_rate=1.0))
    theirs.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=1.0)))
    theirs.on_train_begin()
    for epoch, value in enumerate(values):
        again = ReduceLROnPlateauCallback(ours.config, down)
        again.model = ours.model
        again.load_state_dict(json.loads(json.dumps(ours.state_dict())))
        ours = again
        ours.on_epoch_end(epoch, {"x": value})
        theirs.on_epoch_end(epoch, {"x": value})
        assert ours.model.optimizer.learning_rate == float(theirs.model.optimizer.learning_rate)


@pytest.mark.parametrize("name", sorted({cls.names()[0] for cls in CALLBACKS.members.values()}))
def test_arguments_and_defaults_are_those_of_keras(name: str) -> None:
    import inspect

    cls = CALLBACKS.members[name]
    assert cls.__doc__
    keras_name = next((n for n in cls.names() if hasattr(keras.callbacks, n)), None)
    if keras_name is None:
        assert name in ("mlflow", "wandb")
        return
    signature = inspect.signature(getattr(keras.callbacks, keras_name).__init__)
    theirs = {n: p.default for n, p in signature.parameters.items() if n not in ("self", "kwargs")}
    of_ours_alone = {"first_gain"} if name == "early_stopping" else set()
    ours = {n: f.default for n, f in cls.model_fields.items() if n not in {"name"} | of_ours_alone}
    elsewhere = {  # what the run directory decides, and what is not there
        "tensorboard": {"log_dir", "write_images", "profile_batch", "embeddings_freq", "embeddings_metadata"},
        "csv_logger": {"append"},
        "backup_and_restore": {"backup_dir", "double_checkpoint"},
    }.get(name, set())
    assert ours.keys() == theirs.keys() - elsewhere
    given = {key for key in ours if theirs[key] is not inspect.Parameter.empty}
    differ = {key for key in given if ours[key] != theirs[key]}
    assert differ == ({"delete_checkpoint"} if name == "backup_and_restore" else set())


# --- in a training


def test_early_stopping_restores_the_best_weights(place: Path) -> None:
    said: list[str] = []
    callbacks = "early_stopping: {patience: 2, restore_best_weights: true}"
    result = train(
        compile(spec(callbacks, 60, "{name: sgd, learning_rate: 1.5}")), root=place, tell=said.append
    )
    losses = result.history["val_loss"]
    best = losses.index(min(losses))
    assert result.epochs == len(losses) == best + 3 < 60
    assert any(f"in epoch {best + 1}" in line for line in said)
    last, kept = (load_file(result.run_dir / f"{name}.safetensors") for name in ("last", "best"))
    assert all(torch.equal(last[name], kept[name]) for name in last)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 3), (0.2, 3), (0.5, 0)])
def test_the_first_epoch_stays_the_best_without_the_gain_that_is_asked_for(share: float, kept: int) -> None:
    """By `early_stopping`, and in `best.safetensors`; each epoch goes on from what was stored."""
    config = settings.EarlyStopping(patience=2, first_gain=share, restore_best_weights=True)
    for kind in ("stopping", "best"):
        state: dict[str, Any] = {}
        for epoch, value in enumerate([1.0, 0.9, 0.95, 0.7, 0.75]):
            callbacks, best = building.build([config], [], {"val_loss": "down"})
            each: Any = best if kind == "best" else callbacks.items["early_stopping"]
            weights = {"epoch": torch.tensor(epoch)}
            spread = SimpleNamespace(sharded=True)
            each.model = stub(as_evaluated=nullcontext, weights=lambda w=weights: w, spread=spread)
            if state:
                each.load_state_dict(state)
            each.on_epoch_end(epoch, {"val_loss": value})
            state = each.state_dict()
            if each.weights:
                last = int(each.weights["epoch"])
        assert last == kept and each.best == 0.7, kind
        assert not each.model.stop_training  # every better epoch is waited for, whichever counts


def test_a_run_that_stopped_early_stays_stopped(place: Path) -> None:
    callbacks = "early_stopping: {patience: 0}"
    program = compile(spec(callbacks, 60, "{name: sgd, learning_rate: 1.5}"))
    first = train(program, root=place, run_dir=place / "run")
    again = train(program, root=place, run_dir=place / "run", resume=True)
    assert again.history == first.history and again.epochs == first.epochs < 60


def test_a_callback_may_set_a_learning_rate_of_numpy(place: Path) -> None:
    class Halving(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = np.float32(0.5) ** (epoch + 1)

    options: Any = {"root": place, "run_dir": place / "run", "callbacks": [Halving()]}
    train(compile(spec("terminate_on_nan: {}", 2)), **options)
    state = Checkpoints(place / "run/checkpoints").newest()
    assert state is not None and state.part("optimizer").numbers["learning_rate"] == 0.25


def test_the_learning_rate_is_scheduled_and_written_down(place: Path) -> None:
    seen: list[float] = []

    class Watch(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(self.model.optimizer.learning_rate)

    callbacks = 'learning_rate_scheduler: {schedule: "lr if epoch < 2 else lr * 0.5"}'
    result = train(compile(spec(callbacks)), root=place, callbacks=[Watch()])
    assert seen == result.history["learning_rate"] == [0.01, 0.01, 0.005, 0.0025]


def test_weights_are_written_under_names_with_values(place: Path) -> None:
    pattern = '"kept/{epoch:02d}-{val_loss:.3f}.safetensors"'
    result = train(compile(spec(f"model_checkpoint: {{filepath: {pattern}}}")), root=place)
    names = [f"{i + 1:02d}-{value:.3f}.safetensors" for i, value in enumerate(result.history["val_loss"])]
    assert sorted(p.name for p in (result.run_dir / "kept").iterdir()) == names
    assert (result.run_dir / "best.safetensors").exists()


def test_only_the_best_are_written_and_by_what_is_watched(place: Path) -> None:
    callbacks = "model_checkpoint: {monitor: val_accuracy, save_best_only: true}"
    result = train(compile(spec(callbacks, 8)), root=place)
    accuracies = result.history["val_accuracy"]
    program = compile(spec(callbacks, 8))
    module = program.module(weights=result.run_dir / "best.safetensors").eval()
    from graphspec.data.batches import held_out

    data, held = np.load(place / "data.npz"), held_out(100, 0.25, 0).nonzero()[:, 0]
    found = module(torch.from_numpy(data["features"])[held]).argmax(1).numpy() == data["kind"][held.numpy()]
    assert found.mean() == pytest.approx(max(accuracies))


def test_weights_are_written_every_so_many_steps(place: Path) -> None:
    pattern = '"{epoch}-{batch}.safetensors"'
    result = train(compile(spec(f"model_checkpoint: {{filepath: {pattern}, save_freq: 4}}")), root=place)
    names = {p.name for p in result.run_dir.glob("*-*.safetensors")}
    assert names == {f"{step}.safetensors" for step in ("1-4", "2-3", "3-2", "4-1", "4-5")}


def test_a_table_of_epochs(place: Path) -> None:
    result = train(compile(spec('csv_logger: {separator: ";"}')), root=place)
    rows = list(csv.DictReader((result.run_dir / "history.csv").read_text().splitlines(), delimiter=";"))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert [float(row["val_loss"]) for row in rows] == result.history["val_loss"]


def test_a_loss_that_is_not_finite_may_end_a_training_quietly(place: Path) -> None:
    data = dict(np.load(place / "data.npz"))
    np.savez(place / "data.npz", features=np.sign(data["features"]) * np.float32(3e38), kind=data["kind"])
    text = spec("terminate_on_nan: {}", 3, "sgd")
    text = text.replace("  norm: {layer: BatchNormalization}\n", "")
    said: list[str] = []
    result = train(compile(text), root=place, tell=said.append)
    assert result.epochs == 0 and any("the training ends before it" in line for line in said)
    weights = load_file(result.run_dir / "last.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_validation_judges_averaged_weights(place: Path) -> None:
    averaged = "{name: sgd, learning_rate: 0.5, use_ema: true, ema_momentum: 0.9}"
    plain = train(compile(spec("csv_logger: {}", 3, averaged)), root=place)
    swapped = train(compile(spec("swap_ema_weights: {}", 3, averaged)), root=place)
    held = train(compile(spec("swap_ema_weights: {swap_on_epoch: true}", 3, averaged)), root=place)
    assert swapped.history["loss"] == plain.history["loss"] == held.history["loss"]
    assert swapped.history["val_loss"] != plain.history["val_loss"]
    assert swapped.history == held.history
    # at the end the averages are the weights, as in Keras; the best are those that were judged
    last = [load_file(r.run_dir / "last.safetensors") for r in (plain, swapped, held)]
    for name, tensor in last[0].items():
        assert torch.equal(tensor, last[1][name]) and torch.equal(tensor, last[2][name])
    best = load_file(swapped.run_dir / "best.safetensors")
    if min(swapped.history["val_loss"]) == swapped.history["val_loss"][-1]:
        assert torch.equal(best["kind.weight"], last[1]["kind.weight"])


def test_tensorboard_reads_what_was_written(place: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    callbacks = "tensorboard: {histogram_freq: 2, write_steps_per_second: true, update_freq: 2}"
    result = train(compile(spec(callbacks)), root=place)
    folder = result.run_dir / "tensorboard"
    read = {part: EventAccumulator(str(folder / part)).Reload() for part in ("train", "validation", "steps")}
    losses = [event.value for event in read["validation"].Scalars("epoch_loss")]
    assert losses == pytest.approx(result.history["val_loss"])
    assert [event.step for event in read["steps"].Scalars("batch_loss")] == list(range(2, 21, 2))
    tags = read["train"].Tags()
    assert {"epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_steps_per_second"} <= {
        *tags["scalars"]
    }
    assert "hidden.weight/histogram" in tags["histograms"]
    nodes = {node.name: node for node in read["train"].Graph().node}
    assert nodes["hidden"].op == "Dense" and list(nodes["norm"].input) == ["hidden"]


@pytest.mark.parametrize("moment", [3, 12])
def test_tensorboard_has_repeated_steps_once(place: Path, moment: int) -> None:
    """As after a kill: the checkpoint is older than what was written."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Pause(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.iterations == moment:
                os.kill(os.getpid(), signal.SIGINT)

    program, run = compile(spec("tensorboard: {update_freq: batch}")), place / "run"
    with pytest.raises(Interrupted):
        train(program, root=place, run_dir=run, callbacks=[Pause()])
    shutil.copytree(run, place / "kept", ignore=shutil.ignore_patterns("tensorboard"))
    done = train(program, root=place, run_dir=run, resume=True)
    shutil.move(run / "tensorboard", place / "kept" / "tensorboard")
    train(program, root=place, run_dir=place / "kept", resume=True)
    folder = place / "kept" / "tensorboard"
    read = {part: EventAccumulator(str(folder / part)).Reload() for part in ("train", "validation", "steps")}
    assert [event.step for event in read["steps"].Scalars("batch_loss")] == list(range(1, done.steps + 1))
    for part in ("train", "validation"):
        assert [event.step for event in read[part].Scalars("epoch_loss")] == list(range(done.epochs))


def test_callbacks_of_keras_will_do(place: Path) -> None:
    """They get their model by `set_model`, and may put a history into it."""
    told: list[Any] = []
    stopping = keras.callbacks.EarlyStopping(min_delta=9.0, restore_best_weights=True)
    logs = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: told.append(logs["loss"]))
    halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = keras.callbacks.History()
    called = [logs, halved, history, stopping]
    text = spec("model_checkpoint: {}", 4)
    result = train(compile(text), root=place, run_dir=place / "run", callbacks=called)
    assert result.epochs == 2 and len(told) == 2 * result.steps / result.epochs
    assert history.history["val_loss"] == result.history["val_loss"]
    first, last = (load_file(place / "run" / f"{name}.safetensors") for name in ("epoch-001", "last"))
    assert all(torch.equal(first[name], last[name]) for name in first)
    saving = keras.callbacks.ModelCheckpoint("kept.keras")
    with pytest.raises(SpecError, match="`ModelCheckpoint` uses") as caught:
        train(compile(spec("", 1)), root=place, callbacks=[saving])
    assert "model_checkpoint" in str(caught.value)


def test_batches_are_watched_for_callbacks_of_keras_that_do_so() -> None:
    class Batches(keras.callbacks.Callback):
        def on_batch_end(self, batch: int, logs: Any = None) -> None: ...

    assert Callbacks([("a", Batches())]).watches_batches
    assert not Callbacks([("a", keras.callbacks.CSVLogger("x.csv"))]).watches_batches


def test_mlflow_reads_what_was_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (place / "store").as_uri()
    text = spec(f"mlflow: {{tracking_uri: '{uri}', experiment: kinds}}")
    text = f"params: {{width: 8, batch_size: 16}}{text.replace('units: 8', 'units: $width')}"
    text = text.replace("batch_size: 16\n", "batch_size: $batch_size\n")
    result = train(compile(text, allow_url=True), root=place, run_dir=place / "run")
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("kinds").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["optimizer.learning_rate"] == "0.01"
    assert run.data.params["width"] == "8" and run.data.params["params.batch_size"] == "16"
    assert run.data.params["batch_size"] == "16"
    values = [metric.value for metric in client.get_metric_history(run.info.run_id, "val_loss")]
    assert values == result.history["val_loss"]
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["spec.yaml"]
    again = compile(text.replace("epochs: 4", "epochs: 6"), allow_url=True)
    train(again, root=place, run_dir=place / "run", resume=True)
    assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 6


@pytest.mark.parity  # two processes import MLflow
def test_processes_that_begin_at_once_share_a_new_database(place: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    uri = "sqlite:///new.db"
    (place / "s.yaml").write_text(spec(f"mlflow: {{tracking_uri: '{uri}', experiment: kinds}}", 1))
    command = [sys.executable, "-m", "graphspec", "train", "s.yaml", "--device", "cpu", "--run-dir"]
    started = [
        subprocess.Popen([*command, f"run-{number}"], cwd=place, stdout=subprocess.DEVNULL)
        for number in range(2)
    ]
    assert [process.wait(240) for process in started] == [0, 0]
    with closing(sqlite3.connect(place / "new.db")) as database:
        assert sorted(database.execute("SELECT name FROM runs")) == [("run-0",), ("run-1",)]


def test_a_tracker_that_is_not_there_is_told(place: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    (place / "s.yaml").write_text(spec("mlflow: {tracking_uri: 'sqlite:////no/such/folder/x.db'}", 1))
    with pytest.raises(SpecError, match="MLflow cannot be reached") as caught:
        train(compile(place / "s.yaml", allow_url=True), root=place)
    assert caught.value.diagnostics[0].code == "run-failed"


@pytest.mark.parity
def test_wandb_writes_into_the_run_without_a_network(place: Path) -> None:
    pytest.importorskip("wandb")
    result = train(compile(spec("wandb: {mode: offline, project: kinds}", 2)), root=place)
    written = list((result.run_dir / "wandb").glob("offline-run-*/*.wandb"))
    deadline = time.monotonic() + 300  # its own process writes, and goes on after the run
    while b"val_accuracy" not in written[0].read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_package_that_is_not_there_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SpecError) as caught:
        train(compile(spec("mlflow: {}")), root=place)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "package-missing" and diagnostic.help == "pip install mlflow-skinny"
    assert not (place / "runs").exists()


# --- one's own


def test_a_callback_of_ones_own_is_called_as_keras_calls_it(place: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    class Mine:
        """No base class is needed, and no method but those of interest."""

        model: Any

        def on_train_begin(self, logs: Any = None) -> None:
            calls.append(("train begin", self.model.epochs))

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            calls.append(("epoch begin", epoch))

        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            calls.append(("batch", batch, round(logs["loss"], 9)))

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            calls.append(("epoch end", epoch, logs["val_accuracy"]))
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs: Any = None) -> None:
            calls.append(("train end",))

    result = train(compile(spec("csv_logger: {}")), root=place, callbacks=[Mine()])
    accuracy = result.history["val_accuracy"]
    assert result.epochs == 2 and calls[0] == ("train begin", 4) and calls[-1] == ("train end",)
    ends = [call for call in calls if call[0] == "epoch end"]
    assert ends == [("epoch end", i, accuracy[i]) for i in (0, 1)]
    assert [call[1] for call in calls if call[0] == "batch"] == [0, 1, 2, 3, 4] * 2
    last = [call for call in calls if call[0] == "batch"][4]
    assert last[2] == pytest.approx(result.history["loss"][0], abs=1e-8)


def test_what_a_callback_remembers_survives(place: Path) -> None:
    class Count(Callback):
        def __init__(self) -> None:
            self.batches, self.sum = 0, torch.zeros(2)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches += 1
            self.sum += 1

        def state_dict(self) -> dict[str, Any]:
            return {"batches": self.batches, "sum": self.sum}

        def load_state_dict(self, state: Any) -> None:
            self.batches, self.sum = state["batches"], state["sum"]

    run = place / "run"
    train(compile(spec("csv_logger: {}", 2)), root=place, run_dir=run, callbacks=[Count()])
    counter = Count()
    train(compile(spec("csv_logger: {}", 3)), root=place, run_dir=run, callbacks=[counter], resume=True)
    assert counter.batches == 15 and counter.sum.tolist() == [15, 15]


# --- what is wrong


@bundled(
    16,
    ("callbacks", "code", "words", "column"),
    [
        ("early_stopping: {monitor: val_acuracy}", "unknown-monitor", "val_accuracy", 41),
        ("reduce_lr_on_plateau: {monitor: lr}", "unknown-monitor", "loss", None),
        ("model_checkpoint: {filepath: a.keras}", "out-of-range", "a.safetensors", None),
        ('model_checkpoint: {filepath: "../a.safetensors"}', "out-of-range", "relative", None),
        ('model_checkpoint: {filepath: "/a.safetensors"}', "out-of-range", "relative", None),
        ('model_checkpoint: {filepath: "checkpoints/a.safetensors"}', "out-of-range", "relative", None),
        ('model_checkpoint: {filepath: "{epoch.__class__}.safetensors"}', "out-of-range", "epoch", None),
        ('model_checkpoint: {filepath: "{val_los}.safetensors"}', "out-of-range", "val_loss", None),
        ('model_checkpoint: {filepath: "{epoch:zz}.safetensors"}', "out-of-range", "02d", None),
        ('model_checkpoint: {filepath: "{epoch:01000000000d}.safetensors"}', "out-of-range", "03d", None),
        ("model_checkpoint: {save_best_only: true, save_freq: 5}", "callback-misfit", "save_freq", None),
        ("csv_logger: {filename: ../h.csv}", "out-of-range", None, None),
        ('learning_rate_scheduler: {schedule: "lr * step"}', "out-of-range", None, None),
        ('learning_rate_scheduler: {schedule: "open(1)"}', "out-of-range", None, None),
        ('learning_rate_scheduler: {schedule: "lr / (3 - epoch)"}', "out-of-range", None, None),
        ('learning_rate_scheduler: {schedule: "lr - 1"}', "out-of-range", None, None),
        ("swap_ema_weights: {}", "callback-misfit", "use_ema", None),
        ("early_stopping: {patience: -1}", "out-of-range", None, None),
        ("early_stopping: {patients: 3}", "unknown-key", "patience", None),
        ("early_stopping: 3", "wrong-type", "early_stopping: {patience: 3}", None),
        ("EarlyStopping: {}, early_stopping: {}", "duplicate-name", "one", None),
        ("early_stopping: {name: x}", "unknown-key", None, None),
        ("checkpoint: {}", "unknown-callback", "model_checkpoint", None),
    ],
)
def test_what_is_wrong_with_a_callback(
    callbacks: str, code: str, words: str | None, column: int | None
) -> None:
    (diagnostic,) = diagnosed(spec(callbacks))
    assert diagnostic.code == code, diagnostic
    assert words is None or words in f"{diagnostic.message} {diagnostic.help}", diagnostic
    assert diagnostic.span.line == 16 and (column is None or diagnostic.span.column == column)


PHASES = """train:
  callbacks: {learning_rate_scheduler: {schedule: lr - 0.01}}
  phases: [{epochs: 1, optimizer: {name: sgd, learning_rate: 0.1}}, {epochs: 1}]
"""


def test_a_rate_is_checked_from_the_first_epoch_of_each_phase(tmp_path: Path) -> None:
    text = "inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
    with pytest.raises(SpecError, match=r"gives -0.009.* at epoch 1") as caught:
        compile(text + PHASES)
    assert caught.value.diagnostics[0].code == "out-of-range"
    program = compile(
        text + PHASES.replace("{epochs: 1}", "{epochs: 1, optimizer: {name: sgd, learning_rate: 0.02}}")
    )
    with pytest.raises(SpecError, match="at epoch 3") as caught:  # beyond what the spec says
        program.fit(device="cpu", run_dir=tmp_path / "run", limit=8, epochs=4)
    assert caught.value.diagnostics[0].code == "out-of-range"


def test_without_validation_there_is_nothing_to_watch() -> None:
    text = spec("early_stopping: {}").replace(", validation: {split: 0.25}", "")
    (diagnostic,) = diagnosed(text)
    assert diagnostic.code == "unknown-monitor" and "validation" in diagnostic.help
    assert not diagnosed(text.replace("early_stopping: {}", "early_stopping: {monitor: loss}"))


def test_callbacks_are_a_mapping() -> None:
    (diagnostic,) = diagnosed(spec("csv_logger: {}").replace("{csv_logger: {}}", "[csv_logger]"))
    assert diagnostic.code == "wrong-type" and diagnostic.help == "write {csv_logger: {}}"


def test_directions_follow_the_metrics() -> None:
    program = compile(spec("csv_logger: {}"))
    ways = directions(program.outputs, True)
    assert ways["loss"] == ways["val_loss"] == "down" and ways["val_accuracy"] == "up"
    (stopping,) = parse_callbacks({"early_stopping": {"monitor": "val_accuracy"}})
    assert isinstance(stopping, settings.EarlyStopping) and not stopping.down(ways)
    (stopping,) = parse_callbacks({"EarlyStopping": {"monitor": "val_accuracy", "mode": "min"}})
    assert isinstance(stopping, settings.EarlyStopping) and stopping.down(ways)


def test_nothing_of_a_callback_is_lost_on_the_way(place: Path) -> None:
    """Interrupted after each epoch and resumed, plateau, schedule and stopping go as if unbroken."""
    plateau = "reduce_lr_on_plateau: {patience: 1, factor: 0.5}"
    callbacks = f"{plateau}, early_stopping: {{patience: 4}}, csv_logger: {{}}"
    text = spec(callbacks, 9, "{name: sgd, learning_rate: 1.0, use_ema: true}")
    whole = train(compile(text), root=place, run_dir=place / "whole")

    class Pause(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    for _ in range(20):
        try:
            done = train(compile(text), root=place, run_dir=place / "run", resume=True, callbacks=[Pause()])
        except Interrupted:
            continue
        break
    assert done.history == whole.history and not math.isnan(done.history["loss"][-1])  # type: ignore[arg-type]
    assert (place / "run" / "history.csv").read_text() == (place / "whole" / "history.csv").read_text()
    lines = [json.loads(line) for line in (place / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == whole.history["learning_rate"]


def test_a_callback_that_sets_what_a_schedule_gives_is_told(tmp_path: Path) -> None:
    class Rate(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.1

    text = "inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
    program = compile(text + "train: {schedule: {name: cosine_decay, decay_steps: 9}}\n")
    with pytest.raises(SpecError, match="keep one of them"):
        program.fit(device="cpu", run_dir=tmp_path / "run", limit=8, callbacks=[Rate()])
