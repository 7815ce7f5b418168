"""`graphspec resolve`: what is printed is the same spec, to the byte of what it becomes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.contract import REGISTRY
from graphspec.emit import emit
from graphspec.emit.emitted import EmitOptions
from tests import ROOT, one_in
from tests.programs import program_of

SPECS = sorted([*(ROOT / "specs").glob("*.yaml"), *(ROOT / "docs" / "gallery").glob("**/*.yaml")])

SPEC = """
params: {width: 8, act: relu}
presets: {wide: {width: 64}}
inputs: {x: {shape: [length, 4]}}
nodes:
  code: {layer: Bidirectional, wraps: {layer: LSTM, units: $width}}
  tower: {layer: Dense, repeat: {units: [8, 4]}, activation: $act}
  y: {layer: Dense, units: 2}
outputs: {y: {loss: huber, metrics: [mae]}}
train: {optimizer: sgd, callbacks: {csv_logger: {}}}
"""


@pytest.mark.parametrize(
    ("path", "defaults"),
    one_in(9, product(SPECS, (False, True))),
    ids=lambda value: getattr(value, "stem", value),
)
def test_it_compiles_to_the_same_bytes(path: Path, defaults: bool, tmp_path: Path) -> None:
    program = program_of(path)
    for file in path.parent.glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / path.name).write_text(program.resolve(defaults))
    again = graphspec.compile(tmp_path / path.name)
    assert again.source == program.source
    assert again.training == program.training
    assert judged(again) == judged(program)
    assert again.resolve(defaults) == program.resolve(defaults)


def judged(program: graphspec.Program) -> dict[str, Any]:
    """The losses, with the source of those that are blocks, and what counts with them."""
    found: dict[str, Any] = {}
    for name, each in program.outputs.items():
        block, loss = getattr(each.loss, "program", None), each.loss
        if block is not None and loss is not None:
            loss = loss.model_copy(update={"program": emit(block, EmitOptions()).source})
        found[name] = (loss, each.loss_weight, each.metrics)
    return found


def test_settings_and_presets_are_filled_in() -> None:
    program = graphspec.compile(SPEC, preset="wide", settings={"nodes.y.units": 3, "act": "tanh"})
    text = program.resolve()
    assert "{width: 64, act: tanh}" in text and "y: {layer: Dense, units: 3}" in text
    assert graphspec.compile(text).source == program.source


def test_every_default_is_written() -> None:
    program = graphspec.compile(SPEC)
    text = program.resolve(defaults=True)
    assert graphspec.compile(text).source == program.source
    assert text.count("use_bias: true") == 3  # of the wrapped LSTM, the tower and `y`
    for part in ("delta: 1.0", "momentum: 0.0", "learning_rate: 0.01", "epochs: 1", "merge_mode: concat"):
        assert part in text
    for name in REGISTRY["layer"]["Dense"].model_fields:
        assert f"{name}:" in text


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC)
    run = CliRunner().invoke(app, ["resolve", str(tmp_path / "a.yaml"), "--set", "width=5"])
    assert run.exit_code == 0 and "width: 5" in run.stdout
    run = CliRunner().invoke(app, ["resolve", str(tmp_path / "a.yaml"), "--json", "--defaults"])
    found = json.loads(run.stdout)
    assert (
        found["ok"]
        and graphspec.compile(found["spec"]).source == graphspec.compile(tmp_path / "a.yaml").source
    )
