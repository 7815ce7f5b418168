"""What is known of a text that an editor holds, saved or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphspec.server.analysis import LONG, analysed, glanced, unchecked
from graphspec.server.outline import hints, outline
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


def test_a_byte_order_mark_moves_the_first_line_alone() -> None:
    for text in ("{line}{rest}", "\ufeff{line}{rest}"):
        text = text.format(
            line="inputs: {x: {shap: [4]}}", rest="\nnodes:\n  y: {layer: Dens}\noutputs: [y]\n"
        )
        analysis = analysed(text, None)
        assert analysis.source == unchecked(text, analysis).source == text
        lines = text.split("\n")
        for diagnostic, fix in analysis.fixes():
            action = _action("", analysis.positions, diagnostic, fix)
            assert action.edit is not None and action.edit.changes is not None
            (edit,) = action.edit.changes[""]
            start, end = edit.range.start, edit.range.end
            assert lines[start.line][start.character : end.character] in ("shap", "Dens")
            place = analysis.positions.offset(start.line, start.character)
            assert analysis.positions.position(place) == (start.line, start.character)


def test_nodes_on_one_line_have_a_hint_each_where_they_end() -> None:
    text = "inputs: {x: {shape: [4]}}\noutputs: [y]\n"
    text += "nodes: {a: {layer: Flatten}, y: {layer: Dense, units: 2}}  # all"
    assert [text[:at].rpartition("{")[2] for at, _ in hints(analysed(text, None))] == [
        "layer: Flatten}",
        "layer: Dense, units: 2}}  # all",
    ]


def test_many_nodes_on_one_line_are_not_read_again_for_each() -> None:
    text = "inputs: {x: {shape: [4]}}\nnodes: {"
    text += ", ".join(f"n{index}: {{layer: Flatten}}" for index in range(300)) + "}\noutputs: [n299]\n"
    analysis = analysed(text, None)
    read = Counted(text)
    object.__setattr__(analysis, "text", read)
    assert len(list(hints(analysis))) == 300
    assert read.characters < 300 * 1000


class Counted(str):
    """A text that counts the characters that are taken of it."""

    characters = 0

    def __getitem__(self, index: Any) -> str:
        found = super().__getitem__(index)
        self.characters += len(found)
        return found


def test_an_outline_is_that_of_a_text_that_is_read() -> None:
    known = analysed("inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: [y]\n", None)
    assert [each.name for each in outline(known)] == ["inputs", "nodes", "outputs"]
    assert outline(unchecked(known.text + "#", known)) == []


def test_a_name_next_to_a_change_is_known() -> None:
    known = analysed("inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: [y]\n", None)
    typed = unchecked(known.text.replace(": {y", ":,{y"), known)
    found = typed.at(typed.text.index("{y") + 1)
    assert found is not None and found.symbol.name == "y" and found.declares


def test_a_long_text_is_known_at_once_where_one_node_has_changed() -> None:
    head = "inputs: {x: {shape: [4]}}\nnodes:\n  a: {layer: Dense, units: 2}\n" + "\n" * LONG
    text = head + "  b: {layer: Dense, units: 2}\n  c: {layer: Dens, units: 3}\noutputs: [c]\n"
    known = analysed(text, None)
    wrong = text.replace("b: {layer: Dense, units: 2}", "b:\n    layer: Dense\n    units: -2")
    seen = glanced(wrong, known)
    assert seen is not None and seen.text == wrong and not seen.current
    assert seen.diagnostics == analysed(wrong, None).diagnostics and len(seen.diagnostics) == 2
    assert glanced(text.replace("[4]", "[5]"), known) is None
    short = text.replace("\n" * LONG, "")
    assert glanced(short.replace("units: 3", "units: 4"), analysed(short, None)) is None
