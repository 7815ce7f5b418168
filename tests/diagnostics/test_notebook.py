"""What notebooks show of objects."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import graphspec
from graphspec.diagnostics import fail
from graphspec.diagnostics.text import plain

SPEC = """\
inputs: {x: {shape: [2]}}
nodes: {y: {layer: Dense, from: x, units: 1}}
outputs: {y: {loss: mse, metrics: [mae]}}
train: {epochs: 2}
"""


def cells(html: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(html).iter("tr")]


def test_objects_are_shown_as_html(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC)
    program = graphspec.compile(tmp_path / "s.yaml")
    assert "Dense" in "".join(ElementTree.fromstring(program.summary()._repr_html_()).itertext())
    result = program.fit(run_dir=tmp_path / "<b>", device="cpu")
    head, loss, mae = cells(result._repr_html_())
    assert head == ["", "last", f"epoch {result.best_epoch}"]
    last = result.metrics["loss"]
    assert isinstance(last, float) and loss[:2] == ["loss", plain(last)]
    assert mae[0] == "mae" and mae[2]
    of_run = cells(graphspec.Run(tmp_path / "<b>")._repr_html_())
    assert [row[0] for row in of_run] == ["", "loss", "mae"] and of_run[1][1] == loss[2]


def test_errors_are_shown_with_their_remedy() -> None:
    error = fail("unknown-layer", "unknown layer `<Dens>`", "did you mean `Dense`?")
    shown = ElementTree.fromstring(error._repr_html_())
    assert shown.tag == "pre" and shown.text == str(error) and "help: did you mean" in str(error)
