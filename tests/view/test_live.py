"""What a notebook shows while a training runs, and the example notebook."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

import graphspec
from graphspec.view.live import live

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first_model.ipynb"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The HTML that a notebook is given, one after the other."""
    shown: list[str] = []

    def display(page: str, display_id: bool) -> Any:
        assert display_id
        shown.append(page)
        return SimpleNamespace(update=shown.append)

    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    return shown


def test_a_notebook_shows_a_bar_and_curves_while_a_training_runs(tmp_path: Path, pages: list[str]) -> None:
    spec = {
        "name": "a<b",
        "inputs": {"x": {"shape": [2]}},
        "nodes": {"y": {"layer": "Dense", "from": "x", "units": 1}},
        "outputs": {"y": {"loss": "mse", "metrics": ["mae"]}},
        "train": {"epochs": 3},
    }
    result = graphspec.compile(spec).fit(run_dir=tmp_path / "run", device="cpu")
    first, last = ElementTree.fromstring(pages[0]), ElementTree.fromstring(pages[-1])
    bar = last.find("progress")
    assert bar is not None and bar.attrib["max"] == bar.attrib["value"] == str(result.steps)
    text = "".join(last.itertext())
    assert "a<b: epoch 3/3" in text and "mae" in text
    assert first.find("{http://www.w3.org/2000/svg}svg") is None
    assert last.find("{http://www.w3.org/2000/svg}svg") is not None


def test_nothing_is_shown_outside_of_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert live("s") is None
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert live("s") is None


def test_the_example_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4 and not any(cell.get("outputs") for cell in notebook["cells"])
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert pages and names["result"].metrics["val_accuracy"] > 0.9
    assert names["answers"]["inside"].shape == (4, 2)
