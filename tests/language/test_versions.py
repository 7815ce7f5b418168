"""Specs of an earlier version of the language: refused where they mean something else, or translated.

There is one version so far. Here the language of today is the second, in which the first had other words.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec import version
from graphspec.cli.app import app
from graphspec.language import versions
from graphspec.language.versions import CHANGES, default, renamed, translated
from graphspec.train.run import environment
from graphspec.version import LANGUAGE

OLD = """# A small network,
# with the words of {then}.
name: old
inputs: {x: {shape: [4]}}
nodes:
  out: {layer: Dense, count: 2}   # two classes
  more: {count: 3, layer: Dense, from: x}
outputs: [out, more]
train:
  # slowly
  epochs: 2
  phases:
    - rate: &slow {name: sgd, learning: 0.5}
      epochs: 1
    - {rate: *slow, epochs: 1}
"""
NEW = """# A small network,
# with the words of {then}.
language: 2
name: old
inputs: {x: {shape: [4]}}
nodes:
  out: {layer: Dense, units: 2}   # two classes
  more: {units: 3, layer: Dense, from: x}
outputs: [out, more]
train:
  # slowly
  batch_size: 16
  epochs: 2
  phases:
    - optimizer: &slow {name: sgd, learning_rate: 0.5}
      epochs: 1
    - {optimizer: *slow, epochs: 1}
"""
CHANGED = {
    1: (
        renamed("nodes", "*", "count", new="units"),
        renamed("train", "phases", "*", "rate", "learning", new="learning_rate"),
        renamed("train", "phases", "*", "rate", new="optimizer"),
        default("train", "batch_size", old="16"),
    )
}


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The language of today is version 2."""
    for module in (version, versions):
        monkeypatch.setattr(module, "LANGUAGE", 2)
    monkeypatch.setattr(versions, "CHANGES", CHANGED)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, NEW),
        (OLD.replace("\n", "\r\n"), NEW.replace("\n", "\r\n")),
        (
            "language: 1\nnodes: {a: {count: 2}}\n",
            "train: {batch_size: 16}\nlanguage: 2\nnodes: {a: {units: 2}}\n",
        ),
        ("{nodes: {}, train: {}}", "{language: 2, nodes: {}, train: {batch_size: 16}}"),
        ("train: {batch_size: 8}\n", "train: {batch_size: 8}\n"),  # it means the same
        ("language: 2\nnodes: {a: {count: 2}}\n", "language: 2\nnodes: {a: {count: 2}}\n"),
        ("language: 3\n", "language: 3\n"),
        ("language: true\n", "language: true\n"),
        ("a: [", "a: ["),
    ],
)
def test_a_translation_changes_the_words_alone(old: str, new: str) -> None:
    assert translated(old, "a.yaml") == new
    assert translated(new, "a.yaml") == new


@pytest.mark.usefixtures("second")
def test_a_spec_that_means_something_else_is_refused_until_it_is_translated(tmp_path: Path) -> None:
    run, spec = CliRunner().invoke, tmp_path / "old.yaml"
    spec.write_text(OLD)
    (found,) = json.loads(run(app, ["check", str(spec), "--json"]).output)["files"][0]["diagnostics"][:1]
    assert found["code"] == "not-supported" and found["help"].endswith(f"graphspec migrate --spec {spec}")
    shown = run(app, ["migrate", "--spec", str(spec), "--diff"])
    assert "+language: 2" in shown.output and spec.read_text() == OLD
    told = run(app, ["migrate", "--spec", str(tmp_path), "--json"])
    assert json.loads(told.output)["files"] == [{"file": str(spec), "changed": True}]
    assert spec.read_text() == NEW
    assert graphspec.compile(spec).training.batch_size == 16
    assert "0 files translated, 1 file as in version 2" in run(app, ["migrate", "--spec", str(spec)]).output


@pytest.mark.usefixtures("second")
def test_a_spec_that_means_the_same_needs_no_translation() -> None:
    spec = "inputs: {x: {shape: [4]}}\nnodes: {a: {layer: Dense, units: 2}}\noutputs: [a]\n"
    assert graphspec.compile(f"{spec}train: {{batch_size: 8}}\n").summary().total_params == 10


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    spec = tmp_path / "new.yaml"
    spec.write_text(f"language: {LANGUAGE + 1}\n{OLD}")
    for command in (["check"], ["migrate", "--spec"]):
        shown = CliRunner().invoke(app, [*command, str(spec)])
        assert shown.exit_code == 1 and "install a later graphspec" in shown.output


def test_a_resolved_spec_says_its_version() -> None:
    spec = "name: a\ninputs: {x: {shape: [4]}}\nnodes: {a: {layer: Dense, units: 2}}\noutputs: [a]\n"
    assert graphspec.compile(spec).resolved.startswith(f"name: a\nlanguage: {LANGUAGE}\n")


def test_a_run_records_its_version() -> None:
    assert environment(torch.device("cpu"))["language"] == LANGUAGE


def test_each_version_that_ended_says_what_changed() -> None:
    assert set(CHANGES) == set(range(1, LANGUAGE))


def test_wrong_uses_have_remedies(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["migrate", str(tmp_path)]).exit_code == 2
    assert run(app, ["migrate", "a", "b", "--diff"]).exit_code == 2
