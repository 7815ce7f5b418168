"""What `graphspec diff` finds: by hand where it is easy to see, then on presets of the gallery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.compare import SpecComparison, compare
from graphspec.compare.table import render

SPECS = Path(__file__).parents[2] / "specs"
BASE = """
inputs: {x: {shape: [8]}}
nodes:
  first: {layer: Dense, units: 16, activation: relu}
  drop: {layer: Dropout, rate: 0.3}
  second: {layer: Dense, units: 16}
  out: {layer: Dense, units: 4, activation: softmax}
outputs: {out: {loss: sparse_categorical_crossentropy}}
train: {optimizer: {name: adam, learning_rate: 0.003}, epochs: 3}
"""


def between(*changes: tuple[str, str]) -> SpecComparison:
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return compare(graphspec.compile(BASE), graphspec.compile(text))


def told(found: SpecComparison) -> list[tuple[str, str, str | None]]:
    return [(change.what, change.path, change.before) for change in found.nodes]


def test_a_spec_is_the_same_as_itself() -> None:
    found = between()
    assert found.same and found.alike == 4


def test_a_widened_layer_has_its_argument_and_its_reader_new_parameters() -> None:
    found = between(("second: {layer: Dense, units: 16", "second: {layer: Dense, units: 24"))
    assert told(found) == [("changed", "second", None), ("changed", "out", None)]
    assert [(d.name, d.before, d.after) for d in found.nodes[0].details[:1]] == [("units", 16, 24)]
    assert found.nodes[0].params == (17 * 16, 17 * 24) and found.nodes[1].details == ()
    assert found.params[1] - found.params[0] == 17 * 8 + 4 * 8


def test_a_rename_is_seen_as_one_also_of_what_reads_it() -> None:
    found = between(("  first:", "  entry:"), ("  second:", "  middle:"))
    assert told(found) == [("renamed", "entry", "first"), ("renamed", "middle", "second")]
    assert all(change.details == () for change in found.nodes)


def test_a_renamed_node_whose_arguments_changed_is_one_by_its_neighbours() -> None:
    found = between(("  drop: {layer: Dropout, rate: 0.3}", "  regular: {layer: Dropout, rate: 0.5}"))
    (change,) = found.nodes
    assert (change.what, change.before) == ("renamed", "drop") and change.details[0].name == "rate"


def test_what_is_added_and_removed_is_told_with_what_reads_something_else() -> None:
    found = between(
        ("  drop: {layer: Dropout, rate: 0.3}\n", ""),
        ("  out:", "  norm: {layer: BatchNormalization}\n  out:"),
    )
    assert told(found) == [
        ("changed", "second", None),
        ("added", "norm", None),
        ("changed", "out", None),
        ("removed", "drop", None),
    ]
    assert [d.name for d in found.nodes[0].details] == ["reads"]


def test_another_optimizer_is_one_change_and_its_defaults_none() -> None:
    found = between(("{name: adam, learning_rate: 0.003}", "sgd"), ("epochs: 3", "epochs: 3, seed: 0"))
    (change,) = found.settings
    assert (change.path, change.after) == ("train.optimizer", "sgd")


def test_settings_by_dotted_path() -> None:
    found = between(
        ("epochs: 3", "epochs: 5, batch_size: 16"), ("learning_rate: 0.003", "learning_rate: 0.01")
    )
    assert {change.path: (change.before, change.after) for change in found.settings} == {
        "train.optimizer.learning_rate": (0.003, 0.01),
        "train.epochs": (3, 5),
        "train.batch_size": (32, 16),
    }


def test_layers_that_move_into_a_block_are_renamed() -> None:
    text = """
inputs: {x: {shape: [8]}}
blocks:
  start:
    inputs: [x]
    nodes:
      first: {layer: Dense, units: 16, activation: relu}
      drop: {layer: Dropout, rate: 0.3}
nodes:
  start: {block: start}
  second: {layer: Dense, units: 16}
  out: {layer: Dense, units: 4, activation: softmax}
outputs: {out: {loss: sparse_categorical_crossentropy}}
"""
    found = compare(graphspec.compile(BASE.partition("train:")[0]), graphspec.compile(text))
    moved = {change.before: change.path for change in found.nodes if change.what == "renamed"}
    assert moved == {"first": "start.first", "drop": "start.drop"}


def test_a_preset_is_compared_inside_its_blocks_and_repetitions_are_one_row() -> None:
    found = compare(
        graphspec.compile(SPECS / "resnet50.yaml"),
        graphspec.compile(SPECS / "resnet50.yaml", preset="resnet101"),
    )
    text = render(found)
    assert "+ stages.2.rest.5-21 (bottleneck) x17" in text and "depth 6 -> 23" in text
    assert "params  25,636,712 -> 44,707,176 (+19,070,464)" in text
    assert len(text.splitlines()) == 10


def test_the_command_compares_a_spec_with_itself_changed(tmp_path: Path) -> None:
    run = CliRunner().invoke
    spec = tmp_path / "a.yaml"
    spec.write_text(BASE)
    same = run(app, ["diff", str(spec), "--exit-code"])
    assert same.exit_code == 0 and "no difference in 4 nodes" in same.output
    other = run(app, ["diff", str(spec), "--set", "nodes.second.units=24", "--exit-code", "--json"])
    assert other.exit_code == 1
    found = json.loads(other.output)
    assert not found["same"] and found["nodes"][0]["details"][0] == {
        "name": "units",
        "before": 16,
        "after": 24,
    }
    presets = run(app, ["diff", str(spec), *3 * ["--preset", "x"]])
    assert presets.exit_code == 2


@pytest.mark.parametrize("preset", ["gpt2", "bert_base", "llama3_8b"])
def test_every_change_of_a_preset_is_told_and_the_other_way_round(preset: str) -> None:
    path = SPECS / {"gpt2": "gpt.yaml", "bert_base": "bert.yaml", "llama3_8b": "llama.yaml"}[preset]
    small, large = graphspec.compile(path), graphspec.compile(path, preset=preset)
    there, back = compare(small, large), compare(large, small)
    assert {c.path for c in there.nodes if c.what == "added"} == {
        c.path for c in back.nodes if c.what == "removed"
    }
    assert there.params == back.params[::-1] and json.dumps(there.to_json())
