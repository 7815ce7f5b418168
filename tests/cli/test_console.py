"""How a training shows itself: lines, a bar, JSON lines, a table, curves; and how it takes signals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from graphspec.cli.app import app
from graphspec.cli.training_report import TrainingReport, summary
from graphspec.compiler import compile
from graphspec.data.in_memory_source import given
from graphspec.diagnostics.text import plain
from graphspec.train.loop import train
from graphspec.train.progress import Progress, Reporter
from graphspec.view.curves import curves, ticks
from tests import one_in, processes
from tests.processes import ENDLESS, Process

SPEC = """
inputs:
  features: {shape: [6]}
nodes:
  hidden: {layer: Dense, units: 8, activation: relu}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
data: {train: data.npz, validation: {split: 0.25}, test: held.npz}
train: {optimizer: adam, epochs: 3, batch_size: 16}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    x = np.random.default_rng(0).normal(size=(100, 6)).astype("float32")
    for name in ("data.npz", "held.npz"):
        np.savez(tmp_path / name, features=x, kind=x[:, :3].argmax(1))
    (tmp_path / "kinds.yaml").write_text(SPEC)
    return tmp_path


def run(*arguments: str) -> Result:
    """`graphspec train` in this process. Bars and signals need one of their own."""
    return CliRunner().invoke(app, ["train", *arguments])


def test_lines_a_table_and_curves(place: Path) -> None:
    done = run("kinds.yaml", "--device", "cpu", "--plot", "--verbose")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "model kinds on cpu: 83 parameters; a step takes about 2.36 KB of memory"
    assert lines[1] == "examples in data.npz: 75 for training, 25 for validation, 100 for test"
    assert lines[3].split()[:4] == ["input", "features", "float32", "16x6"]
    assert lines[4].split() == ["target", "kind", "int64", "16", "0", lines[4].split()[5], "2"]
    assert lines[5].split()[:4] == ["output", "kind", "float32", "16x3"]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 3 and epochs[0].startswith("epoch 1/3  loss  ")
    assert len({line.index("val_loss") for line in epochs}) == 1, "lines align"
    history = [json.loads(line) for line in (place / "runs/kinds-1/history.jsonl").read_text().splitlines()]
    last = next(index for index, line in enumerate(lines) if line.split() == ["last", "best", "epoch"])
    table = {line.split()[0]: line.split()[1:] for line in lines[last : last + 7]}
    losses = [entry["val_loss"] for entry in history]
    best = min(losses)
    assert table["val_loss"] == [plain(losses[-1]), plain(best), str(losses.index(best) + 1)]
    assert len(table["test_loss"]) == 2 and table["test_loss"][1] == table["val_loss"][2]
    assert lines[-1] == "run directory: runs/kinds-1"
    picture = ElementTree.parse(place / "runs/kinds-1/curves.svg")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}g"))) == 2


def test_json_lines_for_programs(place: Path) -> None:
    done = run("kinds.yaml", "--device", "cpu", "--progress", "json", "--json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events[0]["event"] == "start" and events[0]["examples"]["validation"] == 25
    assert [e["epoch"] for e in events if e["event"] == "epoch"] == [1, 2, 3]
    result = json.loads(done.stdout)
    last = [e for e in events if e["event"] == "epoch"][-1]["values"]
    assert last == {name: value for name, value in result["metrics"].items() if not name.startswith("test_")}


def test_nothing_is_said_when_nothing_is_wanted(place: Path) -> None:
    done = run("kinds.yaml", "--device", "cpu", "--progress", "none")
    assert (done.stdout, done.stderr, done.exit_code) == ("", "", 0)


def test_a_terminal_gets_a_bar_with_the_time_left(place: Path) -> None:
    shown = in_terminal("kinds.yaml", "--device", "cpu", "--set", "train.epochs=120")
    assert "epoch   3/120" in shown and "/5" in shown
    assert "run directory: runs/kinds-1" in shown and "\x1b[?25h" in shown, "the cursor is shown again"


class Bar:
    """What a bar of rich is told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def update(self, task: Any, **values: Any) -> None:
        self.told |= values


def test_a_bar_says_what_it_waits_for_how_long_and_that_it_stops(capfd: pytest.CaptureFixture[str]) -> None:
    report = TrainingReport(quiet=True)
    report._bar = bar = Bar()
    report.waiting("reading the data")
    assert bar.told["values"] == "reading the data ..."
    report(Progress(2, 10, 3, 8, {"loss": 12345.678}, 1234.5, seconds_left=3723.4))
    assert (bar.told["description"], bar.told["completed"], bar.told["total"]) == ("epoch  2/10", 3, 8)
    assert bar.told["values"] == "loss 12346  1,234 examples/s  1:02:03 left"
    report(Progress(2, 10, 3, 8, {"loss": 1.5}, 1234.5, seconds_left=3723.4, at_most=True))
    assert bar.told["values"] == "loss 1.500  1,234 examples/s  at most 1:02:03 left"
    report.waiting("validation")
    assert (bar.told["description"], bar.told["values"]) == ("epoch  2/10", "validation ...")
    report.stopping()
    report(Progress(2, 10, 4, 8, {"loss": 1.0}, 1234.5))
    assert bar.told["description"] == "stopping after this step; Ctrl-C again ends at once"
    report._bar = None
    report.stopping()
    assert capfd.readouterr().err == "stopping after this step; Ctrl-C again ends at once\n"


def test_the_time_left_is_that_of_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr("graphspec.train.progress.time.perf_counter", lambda: float(next(times)))
    reporter = Reporter(seen.append, lambda what: None, epochs=3, steps=4)

    class Measured:
        count = 8

        def loss(self) -> float:
            return 1.0

    reporter.begin(2, 0)  # a run that goes on after two steps
    for _ in range(2):
        reporter.step(1, Measured())  # type: ignore[arg-type]
    assert [each.seconds_left for each in seen] == [None, 80.0]
    assert seen[1].to_json()["seconds_left"] == 80.0


def test_the_time_left_is_the_most_where_a_callback_may_end_a_training(tmp_path: Path) -> None:
    seen: list[Progress] = []
    spec = (
        "inputs: {x: {shape: [2]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
        "data: {validation: {split: 0.5}}\n"
        "train: {epochs: 50, callbacks: {early_stopping: {min_delta: 100.0}}}\n"
    )
    data = {"x": np.ones((8, 2), np.float32), "y": np.ones((8, 1), np.float32)}
    train(compile(spec), data=given(data), run_dir=tmp_path / "run", device="cpu", progress=seen.append)
    last = seen[-1]
    assert last.epoch < last.epochs and (last.done, last.seconds_left, last.at_most) == (True, 0.0, False)
    assert all(each.at_most for each in seen[:-1])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0312, "0.03120"), (0.97777, "0.9778"), (1.0, "1.000"), (41250.4, "41250"), (1e-5, "0.00001"),
        (0.001234, "0.001234"), (-3.14159, "-3.142"), (0.0, "0"), (float("nan"), "nan"), (1e-12, "1e-12"),
        (9.99996, "10.000"),
    ],
)  # fmt: skip
def test_numbers_are_plain(number: float, text: str) -> None:
    assert plain(number) == text


def in_terminal(*arguments: str) -> str:
    parent, child = pty.openpty()
    command = ["-m", "graphspec", "train", *arguments]
    process = Process(command, {"TERM": "xterm"}, terminal=os.ttyname(child))
    shown = b""
    while select.select([parent], [], [], 0.05)[0] or process.poll() is None:
        if select.select([parent], [], [], 0)[0]:
            shown += os.read(parent, 65536)
    for end in (parent, child):
        os.close(end)
    process.communicate()
    assert process.returncode == 0
    return shown.decode()


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--epochs", "train.epochs=7"),
        ("--lr", "train.optimizer.learning_rate=7"),
    ],
)
def test_a_setting_is_no_option(place: Path, option: str, key: str) -> None:
    done = run("kinds.yaml", option, "7")
    assert done.exit_code == 2 and f"--set {key}" in done.stderr
    assert not (place / "runs").exists()


def test_a_table_says_when_the_best_was() -> None:
    history: dict[str, list[Any]] = {"loss": [3.0, 1.0, float("nan")], "accuracy": [0.5, 0.9, 0.7]}
    metrics = {"loss": float("nan"), "accuracy": 0.7, "auc": [0.1], "test_loss": 2.0}
    lines = summary(history, metrics, {"loss": "down", "accuracy": "up"})
    assert [line.split() for line in lines] == [
        ["last", "best", "epoch"],
        ["loss", "nan", "1.000", "2"],
        ["accuracy", "0.7000", "0.9000", "2"],
        ["test_loss", "2.000"],
    ]
    assert summary(history, metrics, {}, 2)[-1].split() == ["test_loss", "2.000", "2"]
    assert summary({}, {}, {}) == []


def test_curves_are_svg_whatever_the_values() -> None:
    nan, inf = float("nan"), float("inf")
    histories: tuple[dict[str, list[Any]], ...] = (
        {},
        {"loss": [1.0]},
        {"loss": [nan, inf]},
        {"loss": [nan, 2.0, inf, 1.0], "val_loss": [1.0, 1.0, 1.0, 1.0], "<&>": [1.0, 2.0]},
        {"val_only": [1.0, 2.0], "a_list": [[1.0], [2.0]]},
    )
    for history in histories:
        ElementTree.fromstring(curves(history, "a <run> & more"))
        ElementTree.fromstring(curves(history, "", 1))
    text = curves({"loss": [0.0, 10.0]}, "", 2)
    assert ">best: 2</text>" in text and all(f">{tick}</text>" in text for tick in (0, 5, 10))
    assert 'd="M56.0 172.0L306.0 30.0"' in text, "from the lower left to the upper right"


def test_ticks_are_round_and_around_the_values() -> None:
    assert ticks(3e-5, 2e-3) == [0, 0.0005, 0.001, 0.0015, 0.002]
    assert ticks(-0.2, 0.31) == [-0.2, 0, 0.2, 0.4]
    assert ticks(1e9, 1.5e9) == [1e9, 1.2e9, 1.4e9, 1.6e9]


# --- signals


def wait_for(path: Path, process: Process) -> None:
    deadline = time.monotonic() + ENDLESS
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def start(*more: str) -> Process:
    command = ["-m", "graphspec", "train", "kinds.yaml", "--device", "cpu", "--run-dir", "run"]
    return Process([*command, "--set", "train.epochs=1000000", *more])


@pytest.mark.parametrize(("number", "code"), one_in(2, [(signal.SIGINT, 130), (signal.SIGTERM, 143)]))
def test_a_signal_saves_and_leaves(place: Path, number: int, code: int) -> None:
    process = start("--json")
    wait_for(place / "run" / "history.jsonl", process)
    process.send_signal(number)
    out, error = process.communicate()
    assert process.returncode == code and "Traceback" not in error
    assert "`--resume` continues" in error
    result = json.loads(out)
    history = (place / "run" / "history.jsonl").read_text().splitlines()
    assert result["epochs"] == len(history) == len(result["history"]["loss"])
    assert (place / "run" / "checkpoints" / "000001" / "manifest.json").exists()
    again = run("run", "--resume", "--json", "--set", f"train.epochs={len(history) + 1}")
    assert json.loads(again.stdout)["epochs"] == len(history) + 1, again.stderr


def test_a_signal_is_heard_during_validation(place: Path) -> None:
    code = """
import os, signal, sys
from graphspec.train import loop
evaluate = loop.evaluate
def interrupted(objective, module, examples, batch_size, prefix, stop):
    os.kill(os.getpid(), signal.SIGTERM)
    return evaluate(objective, module, examples, batch_size, prefix, stop)
loop.evaluate = interrupted
from graphspec.__main__ import main
sys.argv = ["graphspec", "train", "kinds.yaml", "--device", "cpu", "--run-dir", "run", "--json"]
main()
"""
    broken = processes.run(["-c", code])
    assert broken.returncode == 143 and json.loads(broken.stdout)["epochs"] == 0, broken.stderr
    assert not (place / "run" / "history.jsonl").exists()
    resumed = json.loads(run("run", "--resume", "--json").stdout)
    whole = json.loads(run("kinds.yaml", "--device", "cpu", "--json").stdout)
    assert resumed["history"] == whole["history"]


def test_a_second_ctrl_c_leaves_at_once(place: Path) -> None:
    code = """
import sys, time
from graphspec.train import loop
class Slow(loop.Saver):
    def save(self):
        print("saving", flush=True)
        time.sleep(3600)
loop.Saver = Slow
from graphspec.__main__ import main
sys.argv = ["graphspec", "train", "kinds.yaml", "--device", "cpu", "--set", "train.epochs=1000000"]
main()
"""
    process = Process(["-c", code])
    for line in process.stdout:
        if line.split()[:2] == ["epoch", "1/1000000"]:
            process.send_signal(signal.SIGINT)
        if line == "saving\n":
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error == "stopping after this step; Ctrl-C again ends at once\ninterrupted\n"


BEGUN = "import sys; from graphspec.__main__ import main; print('begun', flush=True); main()"


@pytest.mark.parametrize("delay", one_in(2, [0.05, 0.4, 0.8, 1.3]))
def test_ctrl_c_never_shows_a_traceback(place: Path, delay: float) -> None:
    """At start-up, in imports, in compiling: the moment depends on the machine, what is shown does not.

    Before the entry point runs, Ctrl-C is the interpreter's.
    """
    options = ("--device", "cpu", "--run-dir", "run", "--set", "train.epochs=1000000")
    process = subprocess.Popen(
        [sys.executable, "-c", BEGUN, "train", "kinds.yaml", *options],
        cwd=place,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert "Traceback" not in error and "KeyboardInterrupt" not in error
    assert process.returncode in (130, -signal.SIGINT)
    assert "interrupted" in error or process.returncode < 0
