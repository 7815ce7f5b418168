"""Audits: an honest run has nothing wrong, and each lie of a run is found without running its code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.runs.run import Run
from graphspec.train.loop import train

SPEC = """
inputs: {x: {shape: [4]}}
nodes: {h: {layer: Dense, units: 3, activation: relu}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: d.npz}
train: {epochs: 1}
"""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    np.savez(folder / "d.npz", x=np.ones((9, 4), "float32"), y=np.ones((9, 1), "float32"))
    (folder / "spec.yaml").write_text(SPEC)
    train(compile(folder / "spec.yaml"), root=folder, run_dir=folder / "run", tell=str)
    Run(folder / "run").predict({"x": np.ones((2, 4), "float32")}, engine="onnxruntime")
    return folder / "run"


def audited(path: Path) -> tuple[int, list[tuple[str, str, str]]]:
    done = CliRunner().invoke(app, ["audit", str(path), "--json"])
    (run,) = json.loads(done.stdout)["runs"]
    return done.exit_code, [(each["part"], each["verdict"], each["said"]) for each in run["findings"]]


def test_an_honest_run_has_nothing_wrong(honest: Path) -> None:
    code, found = audited(honest)
    assert code == 0 and {verdict for _, verdict, _ in found} == {"ok"}
    parts = {part for part, _, _ in found}
    assert parts >= {"spec", "code", "data", "model.py", "best.safetensors", "engines/best.onnx"}
    done = CliRunner().invoke(app, ["audit", str(honest.parent)])
    assert done.exit_code == 0 and "nothing is wrong" in done.output


def edit(name: str, before: str, after: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert before in text
        (run / name).write_text(text.replace(before, after))

    return change


def flipped(run: Path) -> None:
    content = bytearray((run / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "best.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("change", "part", "verdict", "words"),
    [
        (edit("model.py", "nn.Linear", "nn.LazyLinear"), "model.py", "wrong", "not what the spec emits"),
        (edit("spec.yaml", "d.npz", "/etc/passwd"), "data", "wrong", "leads out of the run"),
        (edit("spec.yaml", "units: 3", "units: 5"), "best.safetensors", "wrong", ""),
        (edit("spec.yaml", "units: 3", "unit: 3"), "spec", "wrong", "not compile"),
        (edit("environment.json", '"data": null', '"data": "/etc/x"'), "data", "note", "`/etc/x`, which"),
        (edit("spec.yaml", "loss: mse", "loss: {module: evil.Loss}"), "code", "note", "`--allow evil`"),
        (flipped, "best.safetensors", "wrong", ""),
        (lambda run: (run / "engines/best.onnx").write_text("x"), "engines/best.onnx", "wrong", "run it"),
        (lambda run: (run / "extra.pkl").write_text("x"), "files", "wrong", "`extra.pkl` may run code"),
        (lambda run: (run / "notes.txt").write_text("x"), "files", "note", "`notes.txt` does not belong"),
        (lambda run: (run / "link").symlink_to("/etc/passwd"), "files", "wrong", "`link` is a link"),
    ],
)  # fmt: skip
def test_a_lie_is_found(
    honest: Path, tmp_path: Path, change: Callable[[Path], None], part: str, verdict: str, words: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    change(run)
    code, found = audited(run)
    assert code == (1 if any(each[1] == "wrong" for each in found) else 0)
    assert any(each[:2] == (part, verdict) and words in each[2] for each in found), found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_opened(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "run")
    file = tmp_path / "run" / "engines" / "best.onnx"
    file.unlink()
    os.mkfifo(file)
    code, found = audited(tmp_path / "run")
    assert code == 1 and ("engines/best.onnx", "wrong", "it is not a file") in found


def test_what_is_no_run_is_told(honest: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["audit", str(honest.with_name("rum"))])
    assert done.exit_code == 1 and "did you mean" in done.output
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "environment.json").unlink()
    done = CliRunner().invoke(app, ["audit", str(tmp_path)])
    assert done.exit_code == 1 and "run-missing" not in done.output and "1 wrong" in done.output
