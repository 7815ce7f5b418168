"""What others left in a directory: code in it does not run, and its links and files lead nowhere.

Real processes, as users start them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SPEC = """
inputs: {x: {shape: [6]}}
nodes:
  hidden: {layer: Dense, units: 4}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: d.npz}
train: {epochs: 2, batch_size: 10, callbacks: CALLBACKS}
tune: {objective: loss, trials: 2, search: {train.batch_size: {int: [5, 10]}}}
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


def graphspec(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, which is no module of the working directory."""
    command = [sys.executable, "-m", "graphspec", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


# --- code of the working directory

MODULES = ("typer", "yaml", "optuna", "numpy", "torch", "pydantic", "psutil", "signal", "runpy", "queue")


@pytest.mark.parametrize(
    "command",
    [
        ["check", "spec.yaml"],
        ["train", "spec.yaml", "--device", "cpu"],
        ["train", "spec.yaml", "--device", "cpu", "--devices", "2"],
        ["tune", "spec.yaml", "--device", "cpu"],
    ],
)
def test_nothing_of_the_working_directory_is_imported(place: Path, command: list[str]) -> None:
    for name in MODULES:
        (place / f"{name}.py").write_text(f"open({str(place / 'ran')!r}, 'a').write('{name} ')\n")
    done = graphspec(*command)
    assert not (place / "ran").exists(), (place / "ran").read_text()
    assert done.returncode == 0, done.stderr
