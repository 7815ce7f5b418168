"""Runs that are killed, torn, filled up and poisoned: real processes, real files, small disks."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from graphspec.compiler import compile
from graphspec.diagnostics import SpecError
from graphspec.files import tensors as tensor_files
from graphspec.files.remembered import signed
from graphspec.runs.run import Run
from graphspec.train import files
from graphspec.train.checkpoint import Checkpoints, State
from graphspec.train.loop import train
from graphspec.train.run import RunDirectory
from tests import one_in, processes

SPEC = """
inputs:
  features: {shape: [6]}
nodes:
  hidden: {layer: Dense, units: 16, activation: relu}
  norm: {layer: BatchNormalization}
  drop: {layer: Dropout, rate: 0.3}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
data: {train: data.npz, validation: {split: 0.25}}
train:
  optimizer: {name: adam, learning_rate: 0.01, use_ema: true, ema_momentum: 0.9}
  schedule: {name: cosine_decay, warmup_steps: 5}
  epochs: 6
  batch_size: 10
  seed: 5
  callbacks: {CALLBACKS}
"""
EVERY = "backup_and_restore: {save_freq: 3}"


def spec(callbacks: str = EVERY) -> str:
    return SPEC.replace("CALLBACKS", callbacks)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a spec and its data, in which runs are made."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    x = source.normal(size=(100, 6)).astype("float32")
    np.savez(tmp_path / "data.npz", features=x, kind=x[:, :3].argmax(1))
    (tmp_path / "spec.yaml").write_text(spec())
    return tmp_path


def trained(run: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, torch.Tensor]]]:
    """What a run came to: its history and its weights."""
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return history, {name: load_file(run / f"{name}.safetensors") for name in ("last", "best")}


def assert_same(run: Path, other: Path) -> None:
    """Both runs came to the same, to the bit."""
    (history, weights), (expected, others) = trained(run), trained(other)
    assert history == expected
    for name, tensors in weights.items():
        assert tensors.keys() == others[name].keys()
        for key, tensor in tensors.items():
            same = torch.equal(tensor.view(torch.uint8), others[name][key].view(torch.uint8))
            assert same, f"{name}: {key}"


# --- killed

# The training is slowed down to a second, so that a kill hits a step, a validation,
# the writing of a checkpoint or that of the history alike.
SLOW = """
import sys, time
from graphspec.cli import main
from graphspec.train import loop
step = loop.Objective.__call__
def slow(self, *arguments):
    time.sleep(0.02)
    return step(self, *arguments)
def first(self, *arguments):
    print("begun", flush=True)
    loop.Objective.__call__ = slow
    return slow(self, *arguments)
loop.Objective.__call__ = first
sys.argv = ["graphspec", *sys.argv[1:]]
main()
"""


def kill_until_done(place: Path, run: str, source: random.Random, kills: int) -> int:
    """Train, killed at random moments after training began, then once to the end; how often it was killed."""
    killed = 0
    while True:
        arguments = ["train", "spec.yaml", "--run-dir", run, "--resume", "--device", "cpu"]
        process = processes.Process(["-c", SLOW, *arguments])
        if killed < kills and "begun\n" in process.stdout:
            try:
                process.wait(source.uniform(0.0, 0.7))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
                continue
        out, error = process.communicate()
        assert process.returncode == 0, out + error
        return killed


def test_a_run_that_is_killed_at_any_moment_resumes_to_the_bit(place: Path) -> None:
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "whole")
    assert kill_until_done(place, "run", random.Random(7), 2) == 2
    assert_same(place / "run", place / "whole")
    assert not [p for p in (place / "run").rglob(".*")]


@pytest.mark.parity
@pytest.mark.parametrize("round", range(10))
def test_fifty_kills(place: Path, round: int) -> None:
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "whole")
    kill_until_done(place, "run", random.Random(round), 5)
    assert_same(place / "run", place / "whole")


# Forks of one process that has imported torch: each is killed when it changes the run for the Nth time. Then
# others go on with what is left, in a copy of it each.
MOMENTS = """
import json, os, shutil, signal, sys
from pathlib import Path
from graphspec.cli import main
import graphspec.train.loop
from tests.killing import forked

def training(arguments):
    os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.argv = ["graphspec", "train", "new.yaml", "--device", "cpu", "--progress", "none", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0

def trained(arguments, moment=None):
    return forked(lambda: training(arguments), "run", moment)

def tree(run):
    return {str(p.relative_to(run)): p.read_bytes().hex() for p in sorted(run.rglob("*")) if p.is_file()}

found = []
for moment in range(1, 1000, int(sys.argv[1])):
    shutil.rmtree("run", ignore_errors=True)
    if Path("old").exists():
        shutil.copytree("old", "run")
    begun = ["--force"] if Path("old").exists() else []
    if trained(["--run-dir", "run", *begun], moment) != -signal.SIGKILL:
        break
    Path("run").mkdir(exist_ok=True)
    before, after = tree(Path("run")), {}
    shutil.copytree("run", "killed")
    for way in ("--resume", "--force"):
        shutil.rmtree("run")
        shutil.copytree("killed", "run")
        code = trained(["--run-dir", "run", way])
        after[way] = code, tree(Path("run")), Path("said").read_text()
    shutil.rmtree("killed")
    found.append([before, after])
print(json.dumps(found))
"""


def moments(place: Path, step: int) -> list[Any]:
    """What was left of the run at each moment, and after going on from there."""
    done = processes.run(["-c", MOMENTS, str(step)])
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 2
    return found


def tree(run: Path) -> dict[str, str]:
    return {str(p.relative_to(run)): p.read_bytes().hex() for p in run.rglob("*") if p.is_file()}


def as_trained(files: dict[str, str]) -> dict[str, str]:
    """Without what holds the time, and how often the run was gone on with."""
    return {n: text for n, text in files.items() if n != "environment.json" and "checkpoints" not in n}


@pytest.mark.parity
@pytest.mark.parametrize("step", [23, 1])
@pytest.mark.parametrize("old", [False, True])
def test_a_start_that_is_killed_at_any_change_is_begun_or_goes_on(place: Path, step: int, old: bool) -> None:
    text = spec("csv_logger: {}").replace("epochs: 6", "epochs: 1")
    before = text.replace("csv_logger", "model_checkpoint").replace("units: 16", "units: 8")
    (place / "new.yaml").write_text(before)
    if old:
        train(compile(place / "new.yaml"), root=place, run_dir=place / "old", tell=quiet)
    (place / "new.yaml").write_text(text)
    train(compile(place / "new.yaml"), root=place, run_dir=place / "whole", tell=quiet)
    whole, intact = (tree(place / name) for name in ("whole", "old"))
    for before, after in moments(place, step):
        for way, (code, found, said) in after.items():
            if way == "--resume" and old and {n: t for n, t in before.items() if n[0] != "."} == intact:
                assert code == 1 and "the spec is not the one of" in said, "nothing had been done yet"
            else:
                assert code == 0, said
                assert as_trained(found) == as_trained(whole), sorted(before)


# --- torn, flipped, half written


def saved(place: Path, callbacks: str = "backup_and_restore: {save_freq: epoch}") -> tuple[Path, list[Path]]:
    """A run that ended, and its checkpoints, the older one first."""
    (place / "spec.yaml").write_text(spec(callbacks))
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "run", tell=quiet)
    return place / "run", sorted((place / "run" / "checkpoints").iterdir())


def quiet(line: str) -> None:
    """Says nothing."""


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "cut short": lambda path: os.truncate(path / "state.safetensors", 1000),
    "a byte of the weights": lambda path: flip(path / "state.safetensors"),
    "a byte of the numbers": lambda path: flip(path / "state.json"),
    "a byte of the manifest": lambda path: flip(path / "manifest.json"),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "no numbers": lambda path: (path / "state.json").unlink(),
    "empty": lambda path: [file.unlink() for file in path.iterdir()],
}


@pytest.mark.parametrize("damage", one_in(2, DAMAGES))
def test_resuming_walks_back_over_a_damaged_checkpoint(place: Path, damage: str) -> None:
    run, (older, newer) = saved(place)
    shutil.copytree(run, place / "whole")
    DAMAGES[damage](newer)
    (run / "checkpoints" / ".000009.1").mkdir()
    done = train(compile(place / "spec.yaml"), root=place, run_dir=run, resume=True, tell=quiet)
    assert done.epochs == 6
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    # the damaged one is gone, and did not push out a good one
    assert newer.name not in kept and kept == [older.name, f"{int(newer.name) + 1:06d}"]
    assert_same(run, place / "whole")


def test_a_run_without_a_whole_checkpoint_is_not_begun_anew(place: Path) -> None:
    run, checkpoints = saved(place)
    for path in checkpoints:
        flip(path / "state.safetensors")
    before = (run / "last.safetensors").read_bytes()
    assert code_of(resume=run, place=place) == "resume-failed"
    assert (run / "last.safetensors").read_bytes() == before


def code_of(place: Path, resume: Path, text: str | None = None) -> str:
    """The code of the error that resuming ends in."""
    if text is not None:
        (place / "spec.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        train(compile(place / "spec.yaml"), root=place, run_dir=resume, resume=True, tell=quiet)
    return caught.value.diagnostics[0].code


def test_what_was_saved_is_read_back_before_it_counts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, checkpoints = saved(place)
    state = Checkpoints(run / "checkpoints").newest()
    save = save_file
    monkeypatch.setattr(
        tensor_files, "save_file", lambda tensors, *rest: save(dict(list(tensors.items())[1:]), *rest)
    )
    assert state is not None
    with pytest.raises(SpecError, match="differs from what is read back"):
        Checkpoints(run / "checkpoints").save(state)
    assert sorted((run / "checkpoints").iterdir()) == checkpoints


def test_tied_tensors_are_stored_once_and_come_back_tied(tmp_path: Path) -> None:
    shared = torch.randn(50, 50)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    path = checkpoints.save(State({"a": shared, "b": shared, "c": shared[:5]}, {"n": 1.5}))
    assert (path / "state.safetensors").stat().st_size < 1.5 * shared.nbytes
    state = checkpoints.newest()
    assert state is not None and state.numbers == {"n": 1.5}
    assert state.tensors["a"] is state.tensors["b"] and torch.equal(state.tensors["c"], shared[:5])


# Where a byte is changed: in the length, the names, the checksum itself, the shapes, and every weight.
@pytest.mark.parametrize("name", ["best", "last"])
def test_weights_of_which_a_byte_has_changed_are_not_used(place: Path, name: str) -> None:
    run, _ = saved(place)
    path = run / f"{name}.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    data = str(place / "data.npz")
    Run(run, name).evaluate(data, device="cpu")
    for index in [0, 8, *range(20, 8 + length, 37), *range(8 + length, len(content), 101), len(content) - 1]:
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        with pytest.raises(SpecError, match="weights-missing"):
            Run(run, name).module()
    path.unlink()
    other = "last" if name == "best" else "best"
    with pytest.raises(SpecError, match=f"--weights {other}"):
        Run(run, name).module()


# --- full


FULL = """
import resource, sys
from graphspec.train import checkpoint
save = checkpoint.Checkpoints.save
count = 0
def limited(self, *arguments):
    global count
    count += 1
    if count == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    return save(self, *arguments)
checkpoint.Checkpoints.save = limited
from graphspec.__main__ import main
sys.argv = ["graphspec", "train", "spec.yaml", "--device", "cpu", "--run-dir", "run"]
main()
"""


def test_a_full_disk_leaves_the_last_good_checkpoint(place: Path) -> None:
    """The system refuses to write more than 2,000 bytes, from the third checkpoint on."""
    (place / "spec.yaml").write_text(spec("backup_and_restore: {save_freq: epoch}"))
    full = processes.run(["-c", FULL])
    assert full.returncode == 1 and "error[run-directory]" in full.stderr and "Traceback" not in full.stderr
    left = sorted(path.name for path in (place / "run" / "checkpoints").iterdir())
    assert left == ["000001", "000002"]
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "run", resume=True, tell=quiet)
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "fresh", tell=quiet)
    assert_same(place / "run", place / "fresh")


def test_free_space_is_looked_at_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = saved(place)
    free = files.MARGIN + 1000
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))
    with pytest.raises(SpecError, match=r"has 1\.0 MB free") as caught:
        train(
            compile(place / "spec.yaml", settings={"train.epochs": 7}),
            root=place,
            run_dir=run,
            resume=True,
            tell=quiet,
        )
    assert "`--resume`" in (caught.value.diagnostics[0].help or "")
    # one good checkpoint makes room for the next, and no more
    assert Checkpoints(run / "checkpoints").newest() is not None


# --- poisoned


def test_nan_stops_before_the_step_and_is_named(place: Path) -> None:
    data = dict(np.load(place / "data.npz"))
    data["features"][:, 0] = np.float32(3e38)
    np.savez(place / "data.npz", features=data["features"], kind=data["kind"])
    with pytest.raises(SpecError) as caught:
        train(compile(place / "spec.yaml"), root=place, run_dir=place / "run", tell=quiet)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "non-finite-loss" and "`kind`" in diagnostic.message
    assert "at step 1, in epoch 1" in diagnostic.message
    # the moving statistics are lost with the forward pass: no such weights are written
    assert not (place / "run" / "last.safetensors").exists()


def test_weights_that_are_not_finite_are_named_and_not_the_learning_rate(place: Path) -> None:
    program = compile(place / "spec.yaml")
    weights = {name: value.clone() for name, value in program.module(seed=0).state_dict().items()}
    broken = next(name for name in weights if name.endswith("weight"))
    weights[broken][..., 0] = float("nan")
    save_file(weights, place / "broken.safetensors")
    with pytest.raises(SpecError) as caught:
        given = place / "broken.safetensors"
        train(program, root=place, run_dir=place / "run", weights=given, tell=quiet)
    assert f"`{broken}` is not finite in the weights" in (caught.value.diagnostics[0].help or "")


@pytest.mark.parametrize(
    ("kind", "code"),
    [(np.full(100, 3), "data-range"), (np.zeros((100, 7), np.int64), "data-shape")],
)
def test_targets_that_do_not_fit_end_it_before_there_is_a_run(place: Path, kind: Any, code: str) -> None:
    np.savez(place / "data.npz", features=np.load(place / "data.npz")["features"], kind=kind)
    with pytest.raises(SpecError) as caught:
        train(compile(place / "spec.yaml"), root=place, tell=quiet)
    assert caught.value.diagnostics[0].code == code and not (place / "runs").exists()


# --- another spec, other data, another process, another place


def test_a_run_goes_on_with_its_own_spec_and_data_alone(place: Path) -> None:
    run, _ = saved(place)
    text = (place / "spec.yaml").read_text()
    assert code_of(place, run, text.replace("batch_size: 10", "batch_size: 20")) == "resume-failed"
    assert code_of(place, run, text.replace("units: 16", "units: 17")) == "resume-failed"
    (place / "other.yaml").write_text(text)
    with pytest.raises(SpecError, match='`name` differs, "spec" there'):  # the class has that name
        train(compile(place / "other.yaml"), root=place, run_dir=run, resume=True, tell=quiet)
    (place / "spec.yaml").write_text(text.replace("epochs: 6", "epochs: 8"))
    more = train(compile(place / "spec.yaml"), root=place, run_dir=run, resume=True, tell=quiet)
    assert more.epochs == 8
    data = dict(np.load(place / "data.npz"))
    np.savez(place / "data.npz", features=data["features"] + 1, kind=data["kind"])
    assert code_of(place, run) == "resume-failed"


def test_an_ended_run_whose_checkpoints_were_deleted_is_not_begun_anew(place: Path) -> None:
    callbacks = "backup_and_restore: {delete_checkpoint: true}"
    (place / "spec.yaml").write_text(spec(callbacks))
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "run", tell=quiet)
    assert not (place / "run" / "checkpoints").exists()
    assert code_of(place, place / "run") == "resume-failed"


def test_two_processes_do_not_train_in_one_run(place: Path) -> None:
    run, _ = saved(place)
    holder = RunDirectory.open(run)
    assert code_of(place, run) == "run-directory"
    with pytest.raises(SpecError, match="another process"):
        train(compile(place / "spec.yaml"), root=place, run_dir=run, overwrite=True, tell=quiet)
    holder.close()
    assert trained(run)[0], "nothing was removed"


def test_only_a_run_is_overwritten(place: Path) -> None:
    run, _ = saved(place)
    with pytest.raises(SpecError, match="--force"):
        train(compile(place / "spec.yaml"), root=place, run_dir=run, tell=quiet)
    (run / "mine.txt").write_text("")
    assert (
        train(compile(place / "spec.yaml"), root=place, run_dir=run, overwrite=True, tell=quiet).epochs == 6
    )
    folder = place / "folder"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(SpecError, match="holds no run"):
        train(compile(place / "spec.yaml"), root=place, run_dir=folder, overwrite=True, tell=quiet)
    assert (folder / "thesis.txt").read_text() == "years of work"


PART = """
inputs:
  x: {shape: [6]}
nodes:
  code: {layer: Dense, units: 4, activation: relu}
outputs: [code]
"""
WHOLE = """
params: {file: encoder.yaml}
presets: {other: {file: parts/encoder.yaml}}
inputs:
  features: {shape: [6]}
nodes:
  code: {model: $file, from: features, weights: start.safetensors}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy}
train: {epochs: 1}
"""


@pytest.mark.parametrize("preset", [None, "other"])
def test_a_run_that_is_copied_is_complete(place: Path, preset: str | None) -> None:
    (place / "parts").mkdir()
    (place / "encoder.yaml").write_text(PART)
    (place / "parts" / "encoder.yaml").write_text(PART.replace("units: 4", "units: 5"))
    (place / "whole.yaml").write_text(WHOLE)
    width = 5 if preset else 4
    start = {"code.weight": torch.randn(width, 6), "code.bias": torch.randn(width)}
    save_file(start, place / "start.safetensors")
    program = compile(place / "whole.yaml", preset=preset)
    run = train(program, data=place / "data.npz", root=place, run_dir=place / "run", tell=quiet).run_dir
    elsewhere = place / "far" / "away"
    shutil.copytree(run, elsewhere)
    for name in ("encoder.yaml", "parts/encoder.yaml", "start.safetensors"):
        (place / name).unlink()
    copy = compile(elsewhere / "spec.yaml")
    assert copy.source == program.source == (elsewhere / "model.py").read_text()
    assert torch.equal(copy.module().state_dict()["code.code.weight"], start["code.weight"])
    again = train(copy, data=place / "data.npz", root=elsewhere, run_dir=place / "again", tell=quiet)
    assert_same(again.run_dir, run)


def test_what_a_training_reads_is_not_deleted_for_it(place: Path) -> None:
    """A run made of the spec of a run, its model files or its weights does not replace it."""
    (place / "encoder.yaml").write_text(PART)
    (place / "whole.yaml").write_text(WHOLE.replace(", weights: start.safetensors", ""))
    given: dict[str, Any] = {"data": place / "data.npz", "root": place, "tell": quiet}
    run = train(compile(place / "whole.yaml"), run_dir=place / "run", **given).run_dir
    before = tree(run)
    (run / "other.yaml").write_text((run / "spec.yaml").read_text())
    for spec, weights, file in (
        (run / "spec.yaml", None, "spec.yaml"),
        (run / "other.yaml", None, "other.yaml"),
        (place / "whole.yaml", run / "best.safetensors", "best.safetensors"),
    ):
        with pytest.raises(SpecError, match=f"{file}`, which this training reads"):
            train(compile(spec), run_dir=run, overwrite=True, weights=weights, **given)
    (run / "other.yaml").unlink()
    assert tree(run) == before
    assert train(compile(run / "spec.yaml"), run_dir=place / "again", **given).epochs == 1


def test_the_first_weights_are_those_that_a_run_started_from(place: Path) -> None:
    """The file may change once there is a checkpoint, and not before."""
    program, start = compile(place / "spec.yaml"), place / "start.safetensors"
    files.write_weights(start, program.module(seed=3).state_dict())
    given: dict[str, Any] = {"root": place, "run_dir": place / "run", "tell": quiet}
    train(program, weights=start, **given)
    shutil.copytree(place / "run", place / "whole")
    files.write_weights(start, program.module(seed=4).state_dict())
    train(program, resume=True, **given)
    about, whole = (json.loads((place / n / "environment.json").read_text()) for n in ("run", "whole"))
    assert about["weights_sha256"] == whole["weights_sha256"]
    start.unlink()
    train(program, resume=True, **given)
    about["finished"] = False
    (place / "run" / "environment.json").write_text(json.dumps(signed(about, ["data.npz"])))
    shutil.rmtree(place / "run" / "checkpoints")
    files.write_weights(start, program.module(seed=4).state_dict())
    with pytest.raises(SpecError, match="has changed since the run"):
        train(program, resume=True, **given)
    files.write_weights(start, program.module(seed=3).state_dict())
    train(program, resume=True, **given)
    assert_same(place / "run", place / "whole")


def test_a_file_of_the_spec_may_not_be_named_like_one_of_the_run(place: Path) -> None:
    (place / "encoder.yaml").write_text(PART)
    start = {"code.weight": torch.randn(4, 6), "code.bias": torch.randn(4)}
    save_file(start, place / "last.safetensors")
    (place / "whole.yaml").write_text(WHOLE.replace("start.safetensors", "last.safetensors"))
    with pytest.raises(SpecError) as caught:
        train(compile(place / "whole.yaml"), data=place / "data.npz", root=place, tell=quiet)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "run-directory" and diagnostic.span is not None
