"""What is known of a text that an editor holds, saved or not."""

from __future__ import annotations

from pathlib import Path

from graphspec.server.analysis import analysed
from graphspec.server.positions import Positions
from graphspec.server.protocol import _action

SEARCHED = """\
inputs: {x: {shape: [4]}}
nodes:
  y: {layer: Dense, units: 2}
  extra: {layer: Dense, units: 3}
outputs: {extra: {loss: mse}}
tune: {objective: loss, search: {nodes.extra.units: {choice: [2, 3]}}}
"""


def test_a_search_is_of_the_text_and_not_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    for saved in (None, SEARCHED.replace("extra", "other")):
        if saved is not None:
            path.write_text(saved)
        assert analysed(SEARCHED, path).diagnostics == ()


def test_the_title_of_an_action_says_what_it_does() -> None:
    analysis = analysed(
        "inputs:\n\tx: {shape: [4]}\nnodes:\n  y: {layer: Dense, units: 2}\noutputs: [y]\n", None
    )
    (title,) = [_action("", Positions(analysis.text), *each).title for each in analysis.fixes()]
    assert title == "Indent with spaces (yaml-tab)"
