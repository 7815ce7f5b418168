"""The page for programs that write specs: short, its specs right, and enough to write others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import graphspec.reference
from graphspec.diagnostics import Diagnostics
from graphspec.fixing.checking import check_spec
from graphspec.formatting import formatted

PAGE = (Path(graphspec.reference.__file__).parent / "llms.txt").read_text()
WRITTEN = sorted((Path(__file__).parent / "written").glob("*.yaml"))


def test_the_page_is_ten_kilobytes() -> None:
    assert len(PAGE.encode()) <= 10_000


@pytest.mark.parametrize("index", range(5))
def test_its_specs_are_right(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cars.csv").write_text("weight,power,brand,price\n1,2,a,3\n")
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[index]
    diagnostics = Diagnostics()
    assert check_spec(text, diagnostics, {}) is not None and list(diagnostics) == []
    assert formatted(text) == text


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_what_was_written_after_it_is_right(path: Path) -> None:
    diagnostics = Diagnostics()
    assert check_spec(path, diagnostics, {}) is not None and list(diagnostics) == []
