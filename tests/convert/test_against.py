"""A spec against a module written by hand: equal ones pass, and the first node that differs is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app

SPEC = """
inputs: {x: {shape: [8, 8, 1]}}
nodes:
  conv: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, activation: relu}
  norm: {layer: BatchNormalization, epsilon: 0.00001}
  pool: {layer: MaxPooling2D}
  flat: {layer: Flatten}
  drop: {layer: Dropout, rate: 0.3}
  code: {layer: Dense, units: 6, activation: relu}
  out: {layer: Dense, units: 3}
outputs: [out]
"""
CODE = """
import torch
from torch import nn


class Net(nn.Module):
    kind = "relu"
    flips = False

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.hidden = nn.Linear(64, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, image):
        x = nn.functional.max_pool2d(self.norm(torch.relu(self.first(image))), 2)
        if self.flips:
            x = x.flip(2)
        code = getattr(torch, self.kind)(self.hidden(self.drop(x.flatten(1))))
        return self.head(code)


class Tanh(Net):
    kind = "tanh"


class Flipped(Net):
    flips = True


class Detached(Net):
    def forward(self, image):
        x = nn.functional.max_pool2d(self.norm(torch.relu(self.first(image).detach())), 2)
        return self.head(torch.relu(self.hidden(self.drop(x.flatten(1)))))


def dilated():
    net = Net()
    net.first.dilation = net.first.padding = (2, 2)
    return net


def wide():
    net = Net()
    net.head = nn.Linear(6, 4)
    return net


def more():
    net = Net()
    net.extra = nn.Linear(2, 2)
    return net


class Two(Net):
    def forward(self, image, mask):
        return super().forward(image)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("against")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "hand_written.py").write_text(CODE)
    return folder


def prove(folder: Path, name: str, *more: str, allowed: bool = True) -> tuple[int, str]:
    words = ["prove", str(folder / "spec.yaml"), "--against", f"{folder / 'hand_written.py'}:{name}", *more]
    done = CliRunner().invoke(app, [*words, *(["--allow", "hand_written"] if allowed else [])])
    return done.exit_code, done.output


def test_an_equal_module_has_a_certificate_that_is_compared_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    code, said = prove(folder, "Net", "-o", str(file))
    assert code == 0 and "in training mode gradients are equal" in said and "10 weights" in said
    record = json.loads(file.read_text())
    assert record["outputs"] < 1e-5 and record["gradients"] < 1e-5 and record["weights"] == 10
    assert prove(folder, "Net", "-o", str(file))[0] == 2
    words = ["verify", str(file), "--allow", "hand_written"]
    again = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert again["ok"] and again["same"] == {"module": True, "weights": True}
    refused = CliRunner().invoke(app, words[:2])
    assert refused.exit_code == 1 and "module-not-allowed" in refused.output
    moved = tmp_path / "moved_code.py"
    moved.write_text(CODE.replace("kind = ", "kind =  "))
    words = ["verify", str(file), "--against", f"{moved}:Net", "--allow", "moved_code"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "the module is not what was compared then" in done.output
    file.write_text(
        json.dumps({**record, "spec": record["spec"].replace("units: 6, activation: relu", "units: 6")})
    )
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1 and "import-differs" in done.output


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("Tanh", "import-differs", "or the activation of `code`: what `out` reads differs"),
        ("Flipped", "import-differs", "first at `pool` or `flat` or `drop`"),
        ("dilated", "import-differs", "first at `conv`, which is `first` there"),
        ("Detached", "import-differs", "the gradient of `conv."),
        ("wide", "weights-misfit", "`out.weight`"),
        ("more", "weights-misfit", "has weights that the spec lacks: `extra.weight`, `extra.bias`"),
        ("Two", "import-differs", "does not run on the inputs of the spec, x [2, 8, 8, 1]"),
        ("Ned", "module-missing", "did you mean"),
    ],
)
def test_what_differs_is_named(folder: Path, name: str, code: str, words: str) -> None:
    status, said = prove(folder, name)
    assert status == 1 and f"error[{code}]" in said and words in said and "--fresh" not in said


def test_wrong_use_is_told(folder: Path, tmp_path: Path) -> None:
    assert "module-not-allowed" in prove(folder, "Net", allowed=False)[1]
    assert "does not end in .json" in prove(folder, "Net", "-o", str(tmp_path / "x.txt"))[1]
    done = CliRunner().invoke(app, ["prove", str(folder / "spec.yaml"), "--against", "hand_writen.py:Net"])
    assert done.exit_code == 2 and "there is no file hand_writen.py" in done.output
    for text in ("nothing", "{}", '{"spec": 1}', "[" * 9000):
        (tmp_path / "bad.json").write_text(text)
        done = CliRunner().invoke(app, ["verify", str(tmp_path / "bad.json")])
        assert done.exit_code == 1 and "is not a certificate" in done.output
