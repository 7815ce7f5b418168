"""What others left in a directory: code in it does not run, and its links and files lead nowhere."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner, Result

from graphspec import compile
from graphspec.cli.app import app
from graphspec.files import owners
from graphspec.files.whole import half_of
from graphspec.train.callbacks.permission import need_permission
from tests.killing import ended_owner

SPEC = """
inputs: {x: {shape: [6]}}
nodes:
  hidden: {layer: Dense, units: 4}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: d.npz}
train: {epochs: 2, batch_size: 10, callbacks: CALLBACKS}
tune: {objective: loss, trials: 1, search: {train.batch_size: {int: [5, 10]}}}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a spec and its data."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=source.normal(size=(40, 6)).astype("float32"), y=np.arange(40) % 3)
    write(tmp_path)
    return tmp_path


def write(place: Path, callbacks: str = "{}") -> Path:
    (place / "spec.yaml").write_text(SPEC.replace("CALLBACKS", callbacks))
    return place / "spec.yaml"


def graphspec(*arguments: str) -> Result:
    """What a command comes to, which ends in no traceback."""
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


# --- code of the working directory

MODULES = ("typer", "yaml", "optuna", "numpy", "torch", "pydantic", "psutil", "signal", "runpy", "queue")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["check", "spec.yaml"], marks=pytest.mark.parity),
        pytest.param(["train", "spec.yaml", "--device", "cpu"], marks=pytest.mark.parity),
        pytest.param(["train", "spec.yaml", "--device", "cpu", "--devices", "2"], marks=pytest.mark.parity),
    ],
)
def test_nothing_of_the_working_directory_is_imported(place: Path, command: list[str]) -> None:
    """A search, which does all of this, is below."""
    run_beside_modules(place, command)


def run_beside_modules(place: Path, command: list[str]) -> None:
    for name in MODULES:
        (place / f"{name}.py").write_text(f"open({str(place / 'ran')!r}, 'a').write('{name} ')\n")
    done = subprocess.run([sys.executable, "-m", "graphspec", *command], capture_output=True, text=True)
    assert not (place / "ran").exists(), (place / "ran").read_text()
    assert done.returncode == 0, done.stderr


# --- addresses in a spec


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory outside of the working directory."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/",
        "databricks",
        "databricks://profile",
        "postgresql://127.0.0.1/x",
        "sqlite:////tmp/elsewhere.db",
        "sqlite:///file:/tmp/elsewhere.db?uri=true",
        "sqlite:///../elsewhere.db",
        "file:///tmp/elsewhere",
        "file://server/elsewhere",
        "link/store",
    ],
)
def test_nothing_is_sent_to_an_address_of_a_spec(place: Path, elsewhere: Path, address: str) -> None:
    (place / "link").symlink_to(elsewhere, target_is_directory=True)
    for callback in (f"{{mlflow: {{tracking_uri: '{address}'}}}}", "{wandb: {entity: team}}"):
        write(place, callback)
        for command in ("train", "tune"):
            refused = graphspec(command, "spec.yaml", "--device", "cpu")
            assert refused.exit_code == 1 and "error[address-not-allowed]" in refused.stderr
            assert "spec.yaml:8:" in refused.stderr and "--allow-url" in refused.stderr
    assert not (place / "runs").exists()


@pytest.mark.parametrize("address", ["mlruns", "./mlruns", "file:./mlruns", "sqlite:///store.db"])
def test_stores_of_the_working_directory_need_no_permission(place: Path, address: str) -> None:
    write(place, f"{{mlflow: {{tracking_uri: '{address}'}}}}")
    need_permission(compile(place / "spec.yaml"))


def test_a_store_that_somebody_left_sends_no_files_elsewhere(
    place: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient("store")
    client.create_experiment("theirs", artifact_location=(elsewhere / "files").as_uri())
    write(place, "{mlflow: {tracking_uri: store, experiment: theirs}}")
    refused = graphspec("train", "spec.yaml", "--device", "cpu")
    assert refused.exit_code == 1 and "error[address-not-allowed]" in refused.stderr
    assert not (elsewhere / "files").exists()


# --- links and files in a run directory


def trained(place: Path, callbacks: str = "{}", *options: str) -> Path:
    write(place, callbacks)
    done = graphspec("train", "spec.yaml", "--device", "cpu", "--run-dir", "run", *options)
    assert done.exit_code == 0, done.stderr
    return place / "run"


def more(place: Path, *options: str) -> Result:
    """Goes on with the run for another epoch."""
    command = ["train", "spec.yaml", "--device", "cpu", "--run-dir", "run", "--resume"]
    return graphspec(*command, "--set", "train.epochs=3", *options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def outside(place: Path) -> Path:
    """What belongs to somebody else: hidden folders, folders named by numbers, files."""
    folder = place / "outside"
    for name in (".ssh/id", ".config/app", "2024/photo", "000001/photo", "000001/state.json", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


WRITTEN = [
    ("{}", "checkpoints"),
    ("{}", "checkpoints/000001"),
    ("{}", "history.jsonl"),
    ("{}", "last.safetensors"),
    ("{}", "environment.json"),
    ("{}", "spec.yaml"),
    ("{csv_logger: {}}", "history.csv"),
    ("{csv_logger: {filename: logs/a.csv}}", "logs"),
    ("{csv_logger: {filename: logs/a.csv}}", "logs/a.csv"),
    ("{model_checkpoint: {}}", "epoch-003.safetensors"),
    ("{model_checkpoint: {filepath: 'w/{epoch}.safetensors'}}", "w"),
    ("{tensorboard: {}}", "tensorboard"),
    ("{tensorboard: {}}", "tensorboard/train"),
]


@pytest.mark.parametrize(("callbacks", "name"), WRITTEN)
def test_links_in_a_run_lead_nowhere(place: Path, outside: Path, callbacks: str, name: str) -> None:
    linked = trained(place, callbacks) / name
    folder = linked.is_dir()
    if linked.exists():
        linked.rename(place / "before")
    linked.symlink_to(outside if folder else outside / "notes.txt")
    before = contents(outside)
    done = more(place)
    assert contents(outside) == before
    assert done.exit_code == 1 and "error[run-directory]" in done.stderr and "is a link" in done.stderr


def test_a_file_in_place_of_a_folder_is_told(place: Path) -> None:
    run = trained(place)
    (run / "checkpoints").rename(place / "before")
    for name in ("engines", "checkpoints"):
        (run / name).write_text("mine")
        for way in ("--resume", "--force"):
            done = graphspec("train", "spec.yaml", "--device", "cpu", "--run-dir", "run", way)
            assert done.exit_code == 1 and "error[run-directory]" in done.stderr, done.stderr
            assert f"{name}` is not a folder" in done.stderr and "remove it" in done.stderr
        (run / name).unlink()
    assert (run / "best.safetensors").exists()


def test_only_what_a_run_wrote_is_deleted(place: Path, outside: Path) -> None:
    run = trained(place, "{csv_logger: {filename: logs/a.csv}, model_checkpoint: {}}")
    mine = {"notes.txt": run, "logs/b.csv": run, "2024/photo": run / "checkpoints", ".cache.7": run}
    mine |= {
        "photo": run / "checkpoints" / "000001",
        ".git/config": run / "checkpoints",
        "b.npz": run / "wandb",
    }
    for name, folder in mine.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (run / ".history.jsonl.99").mkdir()
    (run / ".history.jsonl.99" / "history.jsonl").write_text("half")
    assert (run / "epoch-002.safetensors").exists()
    assert more(place).exit_code == 0
    assert all((folder / name).read_text() == name for name, folder in mine.items())
    assert not (run / ".history.jsonl.99").exists()
    write(place, "{}")
    done = graphspec("train", "spec.yaml", "--device", "cpu", "--run-dir", "run", "--force")
    assert done.exit_code == 0, done.stderr
    assert all((folder / name).read_text() == name for name, folder in mine.items())
    left = {path.name for path in run.iterdir()} - {"notes.txt", "logs", ".cache.7", "wandb"}
    assert left == {
        *("spec.yaml", "model.py", "history.jsonl", "environment.json", "checkpoints"),
        *("last.safetensors", "best.safetensors"),
    }
    assert [path.name for path in (run / "logs").iterdir()] == ["b.csv"]


@pytest.mark.parity
def test_a_search_imports_deletes_and_writes_only_its_own(place: Path, outside: Path) -> None:
    command = ["tune", "spec.yaml", "--device", "cpu", "--run-dir", "search", "--progress", "none"]
    (place / "search").mkdir()
    for name in ("bestseller.txt", "best.txt", "best-notes.yaml"):
        (place / "search" / name).write_text(name)
    run_beside_modules(place, command)
    assert all((place / "search" / name).exists() for name in ("bestseller.txt", "best.txt", "best.yaml"))
    for name in ("best.yaml", "trials"):
        linked = place / "search" / name
        linked.rename(place / f"{name}.before")
        linked.symlink_to(outside if name == "trials" else outside / "notes.txt")
        (outside / "0000").mkdir(exist_ok=True)
        (outside / "0000" / "last.safetensors").write_text("mine")
        before = contents(outside)
        done = graphspec(*command)
        assert contents(outside) == before, name
        assert done.exit_code == 1 and "error[run-directory]" in done.stderr, done.stderr
        linked.unlink()
        (place / f"{name}.before").rename(linked)


def test_a_search_does_not_begin_in_a_run(place: Path) -> None:
    run = trained(place)
    before = contents(run)
    done = graphspec("tune", "spec.yaml", "--device", "cpu", "--run-dir", "run", "--progress", "none")
    assert done.exit_code == 1 and "would overwrite `best.safetensors`" in done.stderr
    assert contents(run) == before


def test_what_a_command_writes_goes_through_no_link(
    place: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(place)
    before = contents(outside)
    for name, command in (
        ("p.csv", ["predict", "run", "--data", "d.npz", "-o", "p.csv", "--device", "cpu"]),
        ("m.py", ["build", "spec.yaml", "-o", "m.py"]),
    ):
        monkeypatch.setattr(owners, "_counter", itertools.count())
        half = half_of(place / name)
        for planted in (place / name, half):
            planted.symlink_to(outside / "notes.txt")
        monkeypatch.setattr(owners, "_counter", itertools.count())
        done = graphspec(*command, *(["--force"] if command[0] == "build" else []))
        assert done.exit_code == 0, done.output
        assert contents(outside) == before and not (place / name).is_symlink() and half.is_symlink()


@pytest.mark.parametrize("linked", [False, True])
def test_what_a_command_writes_takes_the_place_of_no_device(place: Path, linked: bool) -> None:
    commands = [["build", "spec.yaml"], ["plot", "spec.yaml"], ["schema"], ["report", "run"]]
    trained(place)
    for number, command in enumerate(commands):
        name = f"{number}.{ {'plot': 'svg', 'report': 'html'}.get(command[0], 'py') }"
        os.mkfifo(place / (f"{name}.pipe" if linked else name))
        if linked:
            (place / name).symlink_to(f"{name}.pipe")
        done = graphspec(*command, "-o", name, *(["--data", "d.npz"] if command[0] == "report" else []))
        assert done.exit_code == 2 and "it is a pipe or a device, not a file" in done.stderr, done.output
        assert stat.S_ISFIFO((place / name).stat().st_mode) and (place / name).is_symlink() == linked


OWN = ["spec.yaml", "model.py", "encoders.json", "history.jsonl", "environment.json", "best.safetensors"]


@pytest.mark.parametrize(
    "name", [*OWN, "./spec.yaml", "checkpoints/a", "Spec.yaml", "curves.svg", "../a", "/a"]
)
def test_the_names_of_a_run_are_no_callbacks(place: Path, name: str) -> None:
    write(place, f"{{csv_logger: {{filename: {name}}}}}")
    done = graphspec("check", "spec.yaml")
    assert done.exit_code == 1 and "outside of the run directory or reserved" in done.output


def test_weights_of_epochs_do_not_replace_those_of_the_run(place: Path) -> None:
    for name in ("best.safetensors", "./last.safetensors", "checkpoints/{epoch}.safetensors"):
        write(place, f"{{model_checkpoint: {{filepath: '{name}'}}}}")
        assert graphspec("check", "spec.yaml").exit_code == 1
    write(place, "{model_checkpoint: {filepath: best.safetensors, save_best_only: true, monitor: loss}}")
    done = graphspec("check", "spec.yaml")
    assert done.exit_code == 0, done.stdout + done.stderr


# --- what a record of somebody else's says


def rewritten(run: Path, **facts: object) -> None:
    about = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(about | facts))


@pytest.fixture
def secret(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of this user which no spec names, outside of everything."""
    folder = tmp_path_factory.mktemp("secret")
    shutil.copy(tmp_path / "d.npz", folder / "d.npz")
    return folder


def refuses(place: Path, code: str, *words: str) -> None:
    """Neither the evaluation of a run nor its continuation goes on."""
    for command in (["evaluate", "run"], ["train", "run", "--resume"]):
        done = graphspec(*command, "--device", "cpu")
        assert done.exit_code == 1 and f"error[{code}]" in done.stderr, done.output
        assert all(word in done.stderr for word in words), done.stderr


def test_a_run_of_ones_own_remembers_its_data(place: Path, secret: Path) -> None:
    for more in ([], ["--data", str(secret / "d.npz")]):
        spec = write(place)
        spec.write_text(spec.read_text().replace("d.npz", "d.npz, validation: {split: 0.25}"))
        done = graphspec("train", "spec.yaml", "--device", "cpu", "--run-dir", "run", "--force", *more)
        assert done.exit_code == 0, done.stderr
        assert graphspec("evaluate", "run", "--device", "cpu").exit_code == 0
        (place / "run").rename(place / "moved")
        (place / "moved" / "best.safetensors").touch()
        assert graphspec("train", "moved", "--resume", "--device", "cpu").exit_code == 0
        assert graphspec("evaluate", "moved", "--device", "cpu").exit_code == 0
        (place / "moved").rename(place / "run")


def test_a_record_gives_no_permission(place: Path, secret: Path) -> None:
    spec = write(place)
    spec.write_text(spec.read_text().replace("d.npz", "d.npz, validation: {split: 0.25}"))
    done = graphspec("train", "spec.yaml", "--device", "cpu", "--run-dir", "run")
    assert done.exit_code == 0, done.stderr
    about = json.loads((place / "run" / "environment.json").read_text())
    assert about["root"] == str(place)
    for facts in (
        {"root": "/"},
        {"root": str(secret)},
        {"data": str(secret / "d.npz")},
        {"data": "s3:/bucket/x"},
    ):
        rewritten(place / "run", **(about | facts))
        refuses(place, "data-outside", "is not signed by you on this machine", "--data")
    rewritten(place / "run", **about)
    assert graphspec("evaluate", "run", "--device", "cpu").exit_code == 0
    run_spec = place / "run" / "spec.yaml"
    run_spec.write_text(run_spec.read_text().replace("d.npz", "e.npz"))  # the record of another spec
    shutil.copy(place / "d.npz", place / "e.npz")
    refuses(place, "data-outside")
    given = graphspec("evaluate", "run", "--device", "cpu", "--data", "d.npz")
    assert given.exit_code == 0, given.stderr


def test_a_record_names_no_weights(place: Path, secret: Path) -> None:
    run = trained(place)
    shutil.rmtree(run / "checkpoints")  # as if it had been stopped before the first one
    rewritten(run, weights=str(secret / "d.npz"), finished=False)
    done = more(place)
    assert done.exit_code == 1 and "is not signed by you on this machine" in done.stderr


def test_the_key_is_the_users_alone(place: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))
    write(place)
    command = ["train", "spec.yaml", "--device", "cpu", "--run-dir", "run", "--data", str(secret / "d.npz")]
    assert graphspec(*command).exit_code == 0
    key = place / "state" / "graphspec" / "key"
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    assert graphspec("train", "run", "--resume", "--device", "cpu").exit_code == 0
    key.chmod(0o644)
    refused = graphspec("train", "run", "--resume", "--device", "cpu")
    assert refused.exit_code == 1 and "data-outside" in refused.stderr


# --- files that never end


ENDLESS = ("pipe", "device")


def endless(path: Path, kind: str) -> Path:
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


OPENED = {
    "a spec": ("spec.yaml", ["check", "spec.yaml"]),
    "a model": ("part.yaml", ["check", "outer.yaml"]),
    "weights": ("w.safetensors", ["evaluate", "spec.yaml", "--weights", "w.safetensors", "--data", "d.npz"]),
    "first weights": ("w.safetensors", ["train", "spec.yaml", "--weights", "w.safetensors"]),
    "weights of a node": ("w.safetensors", ["build", "outer.yaml"]),
    "a checkpoint": (
        "w.safetensors",
        ["weights", "spec.yaml", "--from", "w.safetensors", "-o", "o.safetensors"],
    ),
    "rules": (
        "rules.yaml",
        ["weights", "spec.yaml", "--from", "d.npz", "-o", "o.safetensors", "--rules", "rules.yaml"],
    ),
    "a model of Keras": ("m.keras", ["import", "keras", "m.keras", "-o", "imported"]),
    "data": ("x.npz", ["train", "spec.yaml", "--data", "x.npz"]),
    "an image": ("images/a/1.png", ["train", "images.yaml"]),
    "a drafted image": ("images/a/1.png", ["new", "drafted", "--data", "images"]),
    "the record of a run": ("run/environment.json", ["runs", "."]),
    "the history of a run": ("run/history.jsonl", ["runs", "."]),
    "the manifest of a checkpoint": ("run/checkpoints/000001/manifest.json", ["train", "run", "--resume"]),
    "the spec of a run": ("run/spec.yaml", ["train", "run", "--resume"]),
    "the weights of a run": ("run/best.safetensors", ["evaluate", "run", "--data", "d.npz"]),
}
OUTER = """
inputs: {x: {shape: [6]}}
nodes:
  y: {model: part.yaml, from: x, weights: w.safetensors}
outputs: {y: {}}
"""
IMAGES = """
inputs: {image: {shape: [8, 8, 3]}}
nodes:
  flat: {layer: Flatten}
  y: {layer: Dense, units: 2, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy, target: label}}
data: {train: images, features: {image: {encode: image}, label: {encode: category}}}
"""


@pytest.mark.parametrize("kind", ENDLESS)
def test_only_files_are_opened(place: Path, kind: str) -> None:
    """All commands in a fork, in which each must end: it is killed otherwise."""
    trained(place)
    (place / "outer.yaml").write_text(OUTER)
    (place / "images.yaml").write_text(IMAGES)
    (place / "part.yaml").write_text("inputs: {x: {shape: [6]}}\nnodes: {y: {layer: ReLU}}\noutputs: [y]\n")
    for label in "ab":
        (place / "images" / label).mkdir(parents=True)
        PIL.Image.new("RGB", (8, 8)).save(place / "images" / label / "0.png")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for name, command in OPENED.values():
            os.write(writer, f"{json.dumps(said_of(place / name, kind, command))}\n".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        for (what, (_, command)), line in zip(OPENED.items(), said, strict=False):
            expected = ("True 0",) if command[0] in ("runs", "new") else ("True 1", "True 2")
            assert json.loads(line).startswith(expected), (what, line)
            last = what
    assert os.waitpid(child, 0)[1] == 0, f"what comes after {last} is read for ever"


def said_of(path: Path, kind: str, command: list[str]) -> str:
    """What a command comes to when a file is none; in a process that ends if the command does not."""
    before = path.read_bytes() if path.exists() else None
    endless(path, kind)
    signal.alarm(60)
    done = CliRunner().invoke(app, command)
    good = done.exception is None or isinstance(done.exception, SystemExit)
    path.unlink()
    if before is not None:
        path.write_bytes(before)
    return f"{good} {done.exit_code} {done.output} {done.exception}"


def test_what_a_killed_process_left_of_a_file_is_deleted_by_the_next(place: Path) -> None:
    ended = ended_owner()
    elsewhere = re.sub("-[0-9a-f]{8}-", "-00000000-", ended)
    told = {
        "left": ended,
        "others": f"{ended.partition('-')[0]}1",
        "living": owners.owner(),
        "elsewhere": elsewhere,
    }
    told |= {"silent": f"{elsewhere}1", "former": ended.partition("-")[0]}
    halves = {name: place / f".model.py.{owner}" for name, owner in told.items()}
    for folder in halves.values():
        folder.mkdir()
        (folder / "model.py").write_text("half")
    (halves["others"] / "notes.txt").write_text("not ours")
    for path in (p for name in ("silent", "others") for p in (*halves[name].iterdir(), halves[name])):
        os.utime(path, (time.time() - 2 * owners.PATIENCE,) * 2)
    done = graphspec("build", "spec.yaml", "-o", "model.py")
    assert done.exit_code == 0 and (place / "model.py").is_file()
    assert [n for n, folder in halves.items() if not folder.exists()] == ["left", "silent"]
