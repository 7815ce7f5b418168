"""What a training step takes, from shapes alone, beside what torch's allocator says of a real one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

import graphspec
from bench.memory import measured, named_sizes
from graphspec.cli.app import app
from graphspec.train.workspaces import Kernels, lstm_workspace
from tests import ROOT

SPECS = ROOT / "specs"

CASES = {
    "digits": ("image", (64, 8, 8, 1)),
    "gpt": ("tokens", (8, 128)),
    "transformer_classifier": ("text", (8, 200)),
    "unet": ("image", (2, 64, 64, 3)),
    "residual": ("image", (4, 32, 32, 3)),
    "posts": ("posts", (4, 500)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch's profiler
@pytest.mark.parametrize(
    "name",
    [name if name in ("posts",) else pytest.param(name, marks=pytest.mark.parity) for name in CASES],
)
def test_the_estimate_is_within_a_tenth(name: str) -> None:
    key, shape = CASES[name]
    program = graphspec.compile(SPECS / f"{name}.yaml")
    inputs = {key: torch.ones(shape, dtype=getattr(torch, program.inputs[key].dtype))}
    estimated = program.memory(shape[0], named_sizes(program, inputs))
    assert estimated == pytest.approx(measured(program, inputs), rel=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels of CPUs are not those that train here")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("sizes", [(1, 3, 5, 7), (9, 4, 40, 16), (6, 5, 16, 64)])
def test_what_an_lstm_keeps_is_what_its_kernel_keeps(
    sizes: tuple[int, int, int, int], bidirectional: bool
) -> None:
    steps, batch, width, units = sizes
    kept: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.mkldnn_rnn_layer.default:
                kept.append(result[3].nbytes)
            return result

    lstm = torch.nn.LSTM(width, units, bidirectional=bidirectional, num_layers=2, batch_first=True)
    with Watch():
        found = lstm(torch.ones(batch, steps, width, requires_grad=True))
    if not kept:
        pytest.skip("torch has no LSTM of oneDNN for this machine")
    widths = [width] * (1 + bidirectional) + [units * (1 + bidirectional)] * (1 + bidirectional)
    assert kept == pytest.approx([lstm_workspace(steps, batch, each, units) for each in widths], abs=4 * 4096)
    meta = lstm.to("meta")
    with Kernels():
        same = meta(torch.ones(batch, steps, width, device="meta", requires_grad=True))
    assert [t.shape for t in (same[0], *same[1])] == [t.shape for t in (found[0], *found[1])]
    same[0].sum().backward()
    assert all(weight.grad is not None for weight in meta.parameters())


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
    told = CliRunner().invoke(app, command).stdout
    assert "at its peak" not in told and "(the sum of these parts, a rough estimate)" in told
    told = CliRunner().invoke(app, [*command, "--size", "length=64"]).stdout
    assert "at its peak" in told and "Not counted: workspaces of GPU kernels, the framework itself." in told


@pytest.mark.parametrize(("peak", "how"), [(190, "less"), (210, "more"), (200, None)])
def test_the_peak_is_compared_with_the_sum_of_its_parts(peak: int, how: str | None) -> None:
    summary = graphspec.compile("inputs: {x: {shape: [25]}}\nnodes: {y: {op: exp}}\noutputs: [y]\n").summary()
    text = replace(summary, peak=(1, peak)).render(memory=True)
    assert f"Memory of a training step: {peak} bytes at its peak\n" in text
    if how is None:
        assert "The peak is" not in text
    else:
        assert f"The peak is {how} than the sum of these parts, 200 bytes:\n   " in text


def test_the_largest_phase_and_all_its_optimizers_count(tmp_path: Path) -> None:
    spec = """
inputs: {x: {shape: [100]}}
nodes: {body: {layer: Dense, units: 100}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
train: {PHASES}
"""

    def estimated(phases: str) -> int:
        found = graphspec.compile(spec.replace("PHASES", phases)).memory(1)
        assert found is not None
        return found

    alone = estimated("optimizer: adam")
    later = estimated('optimizer: sgd, phases: [{epochs: 1, freeze: "body.*"}, {epochs: 1, optimizer: adam}]')
    steps = estimated('steps: [{update: "body.*", optimizer: adam}, {update: "y.*", optimizer: adam}]')
    small = estimated('optimizer: sgd, freeze: "body.*"')
    assert later == alone > small + 3 * 4 * 100 * 100
    assert steps > small + 2 * 4 * 100 * 100
