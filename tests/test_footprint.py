"""What a training step takes, from shapes alone, beside what torch's allocator says of a real one."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import graphspec
from bench.memory import measured, named_sizes
from graphspec.cli import app

SPECS = Path(__file__).parents[1] / "specs"

CASES = {
    "digits": ("image", (64, 8, 8, 1)),
    "gpt": ("tokens", (8, 128)),
    "transformer_classifier": ("text", (8, 200)),
    "unet": ("image", (2, 64, 64, 3)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch's profiler
@pytest.mark.parametrize("name", CASES)
def test_the_estimate_is_within_a_tenth(name: str) -> None:
    key, shape = CASES[name]
    program = graphspec.compile(SPECS / f"{name}.yaml")
    inputs = {key: torch.ones(shape, dtype=getattr(torch, program.inputs[key].dtype))}
    estimated = program.memory(shape[0], named_sizes(program, inputs))
    assert estimated == pytest.approx(measured(program, inputs), rel=0.1)


BLOCKS = """
params: {save: false}
inputs: {x: {shape: [64]}}
blocks:
  layer:
    inputs: [x]
    nodes:
      wide: {layer: Dense, units: 512, activation: gelu}
      drop: {layer: Dropout, rate: 0.1}
      back: {layer: Dense, units: 64}
nodes:
  layers: {block: layer, repeat: 6, checkpoint: $save}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
"""


def test_what_is_computed_again_is_not_kept() -> None:
    """Of six blocks, the inside of one is there at a time."""
    programs = [graphspec.compile(BLOCKS, params={"save": save}) for save in (False, True)]
    kept, saved = (program.memory(1000) for program in programs)
    assert kept is not None and saved is not None
    assert saved < 0.35 * kept
    rows = [program.summary().rows[1].activation_bytes for program in programs]
    assert rows == [4 * (512 + 512 + 64), 4 * 64]


def test_a_model_larger_than_any_machine_is_estimated() -> None:
    program = graphspec.compile(SPECS / "gpt.yaml", params={"width": 8192, "depth": 2, "heads": 64})
    weights = 4 * program.summary().total_params
    found = program.memory(4096, {"length": 128})
    assert found is not None and found > 4 * weights


def test_sizes_that_are_not_given_leave_it_open(tmp_path: Path) -> None:
    assert graphspec.compile(SPECS / "gpt.yaml").memory(8) is None
    command = ["summary", str(SPECS / "gpt.yaml"), "--memory", "--batch-size", "8"]
    assert "at its peak" not in CliRunner().invoke(app, command).stdout
    told = CliRunner().invoke(app, [*command, "--size", "length=64"]).stdout
    assert "at its peak" in told and "Not counted: kernels' workspace, the framework itself." in told
