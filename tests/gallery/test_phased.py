"""Specs that train in phases, or by several updates on each batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphspec
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load
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


@pytest.mark.parity
def test_one_step_of_a_network_that_learned_to_learn_is_worth_more(tmp_path: Path) -> None:
    """Than the plain network, and than a step of that, whatever its size."""
    run = graphspec.Run(trained("few_shot", tmp_path).run_dir, "last")
    waves = {name: torch.from_numpy(x[900:]).float() for name, x in np.load(SPECS / "data/sines.npz").items()}
    module: Any = run.module().eval()
    with torch.no_grad():
        outputs = module(waves["seen_x"], waves["seen_y"], waves["x"])
    errors = {name: float((value - waves["y"]).square().mean()) for name, value in outputs.items()}
    assert errors["after"] < errors["plain"] / 3
    text = run.program.resolved.replace("call: other", "call: third").replace("of: network", "of: other")
    text = text.replace("call: network", "call: other").replace("call: third", "call: network")
    for rate in (0.003, 0.01, 0.03, 0.1):
        stepped = graphspec.compile(text, params={"rate": rate}).module(weights=run.weights).eval()
        with torch.no_grad():
            plain = stepped(waves["seen_x"], waves["seen_y"], waves["x"])["after"]
        assert errors["after"] < float((plain - waves["y"]).square().mean()) / 2


@pytest.mark.parity
def test_fixmatch_is_a_loop_by_hand(tmp_path: Path) -> None:
    """Twenty steps: 16 digits of a batch have labels, and all of which the network is sure teach it."""
    text = (SPECS / "fixmatch.yaml").read_text().replace("name: adam, learning_rate: 0.003", "name: sgd")
    settings = {"train.epochs": 2, "params.threshold": 0.15}
    (tmp_path / "spec.yaml").write_text(text)
    program = graphspec.compile(tmp_path / "spec.yaml", settings=settings)
    result = train(program, root=SPECS, device="cpu", run_dir=tmp_path / "run")
    module = program.module().train()
    data = load(program, None, SPECS, torch.device("cpu"))
    few = dict(np.load(SPECS / "data/digits_few.npz"))
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    torch.manual_seed(0)
    for epoch in range(2):
        for batch in data.training.batches(128, Shuffle(0, epoch)):
            there, image = batch.masks["digit"], batch.arrays["image"]
            assert len(image) < 128 or int(there.sum()) == 16
            assert all((few["image"] == row.numpy()).all((1, 2, 3)).any() for row in image[there])
            found = module(image, logits=True)
            loss = torch.nn.functional.cross_entropy(found["digit"][there], batch.arrays["digit"][there])
            optimizer.zero_grad()
            (loss + found["unlike"].mean()).backward()
            optimizer.step()
    assert result.steps == 26
    expected = module.state_dict()
    for name, weight in graphspec.Run(tmp_path / "run", "last").module().state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parity
def test_digits_without_labels_teach_more_than_labels_alone(tmp_path: Path) -> None:
    """Means of the last five epochs: a single one wavers by two percent."""

    def reached(name: str, **settings: Any) -> float:
        program = graphspec.compile(SPECS / "fixmatch.yaml", settings=settings)
        history = train(program, root=SPECS, device="cpu", run_dir=tmp_path / name).history
        return float(np.mean(history["val_digit_accuracy"][-5:]))

    both, alone = reached("both"), reached("alone", **{"outputs.unlike.loss_weight": 0})
    assert both >= 0.9 and both >= alone + 0.03
