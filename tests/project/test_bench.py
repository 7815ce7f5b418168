"""The benchmarks compare equal things: the Keras model of a spec gives the outputs of the emitted module."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from bench import gpu
from bench.cases import CASES
from bench.comparison import WRITTEN, lines, ways, write_data
from bench.modules import same_in_keras
from graphspec.diagnostics import Diagnostics
from graphspec.fixing.checking import check_spec
from graphspec.train import speed
from tests import ROOT, one_in

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")


@pytest.mark.parametrize("name", one_in(2, ["dense", "vae", "item_price", "posts", "siamese"]))
def test_the_keras_model_of_a_spec_is_the_same_network(name: str) -> None:
    case = CASES[name]
    program = case.program(name)
    same_in_keras(program, program.module(seed=0), case)


def test_the_page_counts_the_lines_that_are_written(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    counted = {name: int(count) for name, count in re.findall(r"^\| (\w+) +\| (\d+) ", page, re.MULTILINE)}
    written = {
        name: lines((WRITTEN / way.file).read_text(encoding="utf-8"))
        for name, way in ways("python", "python").items()
    }
    assert counted == written
    write_data(tmp_path)
    shutil.copy(WRITTEN / "graphspec.yaml", tmp_path)
    found = Diagnostics()
    assert check_spec(tmp_path / "graphspec.yaml", found, {}) is not None and list(found) == []


@pytest.mark.parametrize(
    "name", [*gpu.TINY, *(pytest.param(name, marks=pytest.mark.parity) for name in gpu.SUBJECTS)]
)
def test_on_a_gpu_the_networks_of_both_have_the_same_weights(name: str) -> None:
    subject = (gpu.SUBJECTS | gpu.TINY)[name]
    with torch.device("meta"):
        twin = subject.twin()
    assert subject.program().summary().trainable_params == sum(weight.numel() for weight in twin.parameters())


@pytest.mark.parity
@pytest.mark.parametrize("name", [*gpu.TINY])
def test_trainings_on_a_gpu_are_measured_small_on_a_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "READ", 0.0)
    (row,) = gpu.table({name: gpu.TINY[name]}, "cpu", compiles=False).rows
    assert all(isinstance(row[way], float) for way in ("eager", "hand", "ratio"))
