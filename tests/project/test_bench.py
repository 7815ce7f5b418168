"""The benchmarks compare equal things: the Keras model of a spec gives the outputs of the emitted module."""

import re
import shutil
from pathlib import Path

import pytest

from bench.cases import CASES
from bench.comparison import WRITTEN, lines, ways, write_data
from bench.modules import same_in_keras
from graphspec.diagnostics import Diagnostics
from graphspec.fixing.checking import check_spec
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
