"""`graphspec layers NAME` shows each layer, merge and op at work: shapes, weights, PyTorch."""

from __future__ import annotations

import json
import re

from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.worked_example import worked_example
from graphspec.reference.layers import entries


def test_a_page_shows_shapes_weights_and_pytorch() -> None:
    text = CliRunner().invoke(app, ["layers", "Conv2D"]).output
    assert "shapes: float32[batch, 7, 6, 3] -> float32[batch, 5, 4, 4], 112 parameters\n" in text
    assert "  self.y = nn.Conv2d(3, 4, 3)\n" in text
    assert re.search(r"\n  filters +Number of output channels\n +integer > 0  \[required\]\n", text)
    (page,) = json.loads(CliRunner().invoke(app, ["layers", "Dense", "--json"]).output)["layers"]
    assert page["arguments"][0]["doc"] == "Number of output features"
    assert page["parameters"] == 40 and "nn.Linear(7, 5)" in page["pytorch"]


def test_all_that_can_stand_alone_have_an_example_at_work() -> None:
    without = [entry.name for entry in entries()[::9] if worked_example(entry) is None]
    assert [name for name in without if not name.endswith(("Cell", "Cells"))] == []
