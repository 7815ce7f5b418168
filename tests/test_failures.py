"""Runs that are killed, torn, filled up and poisoned: real processes, real files, small disks."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from graphspec.compiler import compile
from graphspec.train.loop import train

ROOT = Path(__file__).parents[1]
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
  optimizer: {name: adam, learning_rate: 0.01}
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


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """A `graphspec train` in a process of its own."""
    command = [sys.executable, "-m", "graphspec", "train", *arguments, "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


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

# The training is slowed down to some two seconds, so that a kill hits a step, a validation,
# the writing of a checkpoint or that of the history alike.
SLOW = """
import sys, time, random
from graphspec.cli import main
from graphspec.train import loop
step = loop.Judge.__call__
def slow(self, *arguments):
    time.sleep(0.01)
    return step(self, *arguments)
loop.Judge.__call__ = slow
sys.argv = ["graphspec", *sys.argv[1:]]
main()
"""


def start_slowly(place: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, "train", *arguments, "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def kill_until_done(place: Path, run: str, source: random.Random, kills: int) -> int:
    """Train, killed at random moments after training began, then once to the end; how often it was killed."""
    killed = 0
    while True:
        process = start_slowly(place, "spec.yaml", "--run-dir", run, "--resume")
        if killed < kills:
            deadline = time.monotonic() + 60
            while not (place / run / "model.py").exists() and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            try:
                process.wait(source.uniform(0.0, 1.5) + (1.5 if killed else 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
                continue
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, out + error
        return killed


def test_a_run_that_is_killed_at_any_moment_resumes_to_the_bit(place: Path) -> None:
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "whole")
    assert kill_until_done(place, "run", random.Random(7), 4) > 1
    assert_same(place / "run", place / "whole")
    assert not [p for p in (place / "run").rglob(".*")]


@pytest.mark.parity
@pytest.mark.parametrize("round", range(10))
def test_fifty_kills(place: Path, round: int) -> None:
    train(compile(place / "spec.yaml"), root=place, run_dir=place / "whole")
    kill_until_done(place, "run", random.Random(round), 5)
    assert_same(place / "run", place / "whole")
