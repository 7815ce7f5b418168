"""Specs that train in phases, or by several updates on each batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphspec
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"


def trained(name: str, tmp_path: Path, epochs: int | None = None) -> Any:
    program = graphspec.compile(SPECS / f"{name}.yaml")
    return train(program, root=SPECS, device="cpu", run_dir=tmp_path / "run", epochs=epochs)


@pytest.mark.parity
def test_the_student_begins_when_the_teacher_has_learned(tmp_path: Path) -> None:
    history = trained("distillation", tmp_path, 8).history
    teacher, student = history["val_taught_accuracy"], history["val_digit_loss"]
    assert teacher[5] == teacher[7] >= 0.95 and teacher[5] > teacher[0]
    assert student[0] == student[5] > student[7]


@pytest.mark.parity
def test_the_student_learns_what_the_teacher_says(tmp_path: Path) -> None:
    metrics = trained("distillation", tmp_path).metrics
    assert metrics["val_digit_accuracy"] >= 0.94 and metrics["val_taught_accuracy"] >= 0.98


@pytest.mark.parity
def test_digits_are_drawn(tmp_path: Path) -> None:
    """Samples lie nearly as near to digits as digits do, and a network names each of the ten among them."""
    run = graphspec.Run(trained("digits_gan", tmp_path).run_dir, "last")
    images = torch.from_numpy(np.load(SPECS / "data/digits.npz")["image"])
    judge = graphspec.compile(SPECS / "digits.yaml").module(weights=SPECS / "data/digits_1.safetensors")
    torch.manual_seed(0)
    with torch.no_grad():
        samples = run.module().eval()(images[:256])["samples"]
        named = judge.eval()(((samples + 1) * 8).clamp(0, 16)).argmax(1)
    pixels = (images.float() / 8 - 1).flatten(1)
    nearest = torch.cdist(samples.flatten(1), pixels).amin(1).mean()
    among = torch.cdist(pixels[:256], pixels[256:]).amin(1).mean()
    assert nearest < 1.5 * among and named.unique().numel() == 10
