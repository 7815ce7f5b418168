"""The settings in which runs differ, in the list and side by side."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.runs.settings import differing


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs as a training leaves them, without their weights."""
    found = []
    for number, units in enumerate((8, 16)):
        run = tmp_path / f"r-{number}"
        run.mkdir()
        text = f"name: r\ninputs: {{x: {{shape: [4]}}}}\nnodes: {{out: {{layer: Dense, units: {units}}}}}\n"
        (run / "spec.yaml").write_text(text + "outputs: {out: {loss: mse}}\ntrain: {epochs: 2}\n")
        (run / "environment.json").write_text(json.dumps({"finished": True}))
        lines = [{"epoch": e, "loss": 1.0 / (e + units), "val_loss": 2.0 / (e + units)} for e in (1, 2)]
        (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        found.append(run)
    return found


def test_only_settings_that_differ_are_columns(runs: list[Path]) -> None:
    assert differing(runs) == {"nodes.out.units": [8, 16]}
    assert differing(runs[:1]) == {}


def test_a_list_shows_them(runs: list[Path]) -> None:
    shown = CliRunner().invoke(app, ["runs", str(runs[0].parent)])
    assert "nodes.out.units" in shown.output
    found = json.loads(CliRunner().invoke(app, ["runs", str(runs[0].parent), "--json"]).output)
    assert {each["settings"]["nodes.out.units"] for each in found["runs"]} == {8, 16}


def test_a_comparison_has_settings_values_and_curves(runs: list[Path], tmp_path: Path) -> None:
    picture = tmp_path / "both.svg"
    shown = CliRunner().invoke(app, ["runs", "compare", *map(str, runs), "-o", str(picture)])
    assert shown.exit_code == 0, shown.output
    assert "0.05556" in shown.output and "0.1" in shown.output  # 1 / 18 and 1 / 10 of the second epochs
    tree = ElementTree.parse(picture)
    texts = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count(str(runs[0])) == texts.count(str(runs[1])) == 2  # in the panels of both values


def test_wrong_uses_have_remedies(runs: list[Path]) -> None:
    run = CliRunner().invoke
    assert run(app, ["runs", *map(str, runs)]).exit_code == 2
    assert run(app, ["runs", str(runs[0]), "-o", "a.svg"]).exit_code == 2
    missing = run(app, ["runs", "compare", str(runs[0]), str(runs[0].parent / "none"), "--json"])
    assert json.loads(missing.output)["diagnostics"][0]["code"] == "run-missing"
