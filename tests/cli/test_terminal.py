"""Names that others chose reach no terminal as they are: control characters in them are written out."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from graphspec.cli.app import app
from graphspec.diagnostics.terminal import cells, legible
from graphspec.diagnostics.text import hidden_in
from tests import one_in

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m[red]\u202e"
SPEC = """
inputs: {x: {shape: [3]}}
nodes: {y: {layer: Dense, units: 2}}
outputs: {y: {loss: mse}}
data: {train: DATA, validation: {split: 0.5}}
train: {epochs: 1, batch_size: 4}
"""


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def clean(result: Result) -> bool:
    """Whether nothing hidden was printed, though the name was."""
    printed = result.stdout + result.stderr
    assert "U+001B" in printed or "\\u001b" in printed
    return not any(match[0] != "\n" for match in hidden_in(printed))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of an evil name, with a spec of an evil name that can be trained."""
    folder = tmp_path / EVIL
    folder.mkdir()
    np.savez(folder / "data.npz", x=np.ones((8, 3), "float32"), y=np.ones((8, 2), "float32"))
    (folder / f"{EVIL}.yaml").write_text(SPEC.replace("DATA", "data.npz"))
    return folder


def test_text_keeps_its_lines_and_nothing_else_that_is_hidden() -> None:
    assert legible("a\tb\nc") == "a\tb\nc"
    assert legible("a\x1b[2Jb\r\u202ec") == "a<U+001B>[2Jb<U+000D><U+202E>c"
    assert [cell.plain for cell in cells("[red]\x1b")] == ["[red]<U+001B>"]


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_names_of_specs_and_folders(place: Path, more: tuple[str, ...]) -> None:
    spec = place / f"{EVIL}.yaml"
    for arguments in (("check", place), ("check", spec), ("summary", place / "none.yaml")):
        assert clean(run(*arguments, *more))
    spec.write_text(SPEC.replace("Dense", "Dance"))
    assert clean(run("check", place, *more))


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_names_of_runs(place: Path, more: tuple[str, ...]) -> None:
    spec = place / f"{EVIL}.yaml"
    trained = run("train", spec, "--run-dir", place / "runs" / EVIL, "--device", "cpu", *more)
    assert trained.exit_code == 0
    assert clean(trained)
    listed = run("runs", place / "runs", *more)
    assert listed.exit_code == 0
    assert clean(listed)
    assert "[red]" in listed.stdout
    if more:
        assert json.loads(listed.stdout)["runs"][0]["run_dir"] == str(place / "runs" / EVIL)
    shutil.rmtree(place / "runs" / EVIL)
    assert more or clean(run("runs", place / "runs"))
    assert clean(run("evaluate", place / "runs" / EVIL, *more))


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_names_of_tensors(place: Path, more: tuple[str, ...]) -> None:
    tensors = {"y.weight": torch.ones(2, 3), "y.bias": torch.ones(2), f"y.{EVIL}": torch.ones(5)}
    save_file(tensors, place / "w.safetensors")
    (place / "spec.yaml").write_text(SPEC.replace("DATA", "data.npz"))
    assert clean(run("weights", place / "spec.yaml", "--from", place / "w.safetensors", *more))
    assert clean(run("weights", place / "spec.yaml", "--from", place / f"{EVIL}.safetensors", *more))


def test_names_of_columns_and_options(place: Path) -> None:
    (place / "data.csv").write_text(f"x,{EVIL}\n1,2\n")
    (place / "spec.yaml").write_text(SPEC.replace("DATA", "data.csv").replace("{split: 0.5}", "data.csv"))
    assert clean(run("train", place / "spec.yaml", "--run-dir", place / "run"))
    assert clean(run("new", place / "new.yaml", "--data", place / "data.csv", "--target", "x"))
    assert clean(run(EVIL))
    assert clean(run("check", f"--{EVIL}"))
    assert clean(run("summary", place / "spec.yaml", "--set", EVIL))


@pytest.mark.parametrize("encoding", one_in(3, ["ascii", "latin-1", "cp1252"]))
def test_a_table_is_a_table_where_its_lines_cannot_be_encoded(tmp_path: Path, encoding: str) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(
        "name: s\ninputs: {x: {shape: [3]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: {y: {}}\n"
    )
    words = [sys.executable, "-m", "graphspec", "summary", str(spec)]
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    plain = subprocess.run(words, capture_output=True, check=True, env=env).stdout.decode(encoding)
    lined = subprocess.run(words, capture_output=True, check=True, env={**env, "PYTHONIOENCODING": "utf-8"})
    assert "| y (Dense)      | (None, 2)    |       8 | x            |" in plain
    assert "\\u" not in plain and plain.isascii()
    assert list(map(len, plain.splitlines())) == list(map(len, lined.stdout.decode().splitlines()))


def test_other_letters_that_cannot_be_encoded_are_written_out(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "graphspec", "summary", str(tmp_path / "größe.yaml")]
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, env=env, check=False)
    assert b"gr\\xf6\\xdfe.yaml" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such terminals")
@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_table_is_whole_and_plain_where_no_colors_are_wanted(
    tmp_path: Path, variable: str, value: str
) -> None:
    values = {"val_loss": 1.0, **{f"val_a_long_output_{number}_accuracy": 0.5 for number in range(6)}}
    run_dir = tmp_path / "runs" / "a-1"
    run_dir.mkdir(parents=True)
    (run_dir / "environment.json").write_text("{}")
    (run_dir / "spec.yaml").write_text("")
    (run_dir / "history.jsonl").write_text(json.dumps({"epoch": 1, **values}) + "\n")
    words = [sys.executable, "-m", "graphspec", "runs", str(run_dir.parent)]
    env = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1", variable: value}
    ours, theirs = os.openpty()
    process = subprocess.Popen(words, stdout=theirs, env=env)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait() == 0 and b"\x1b" not in shown
    assert all(name in shown.decode() for name in values) and "…" not in shown.decode()
