"""Trained runs: the list of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphspec.cli import app
from graphspec.diagnostics import SpecError
from graphspec.runs.directory import RunFiles, list_runs


def made(path: Path, lines: str, finished: bool = True) -> Path:
    path.mkdir(parents=True)
    (path / "environment.json").write_text(json.dumps({"finished": finished, "root": str(path)}))
    (path / "history.jsonl").write_text(lines)
    return path


TWO = '{"epoch": 1, "loss": 2.0, "val_loss": 1.0}\n{"epoch": 2, "loss": 1.0, "val_loss": null}\n'


def test_a_run_is_listed_with_its_best_epoch(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "a-1", TWO)
    made(tmp_path / "runs" / "a-2", '{"epoch": 1, "loss": 2.0, "val_loss": 3.0}\n{"epoch": 2, "lo', False)
    made(tmp_path / "runs" / "a-3", "")
    (tmp_path / "runs" / "other").mkdir()
    rows = {row.path.name: row for row in list_runs(tmp_path / "runs")}
    assert rows.keys() == {"a-1", "a-2", "a-3"}
    first, torn, empty = rows["a-1"], rows["a-2"], rows["a-3"]
    assert (first.state, first.epochs, first.best_epoch, first.values["val_loss"]) == ("finished", 2, 1, 1.0)
    assert (torn.state, torn.epochs, torn.best_epoch) == ("unfinished", 1, 1)
    assert (empty.epochs, empty.best_epoch, empty.values) == (0, None, {})


def test_runs_are_a_table_or_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "graphspec train SPEC" in CliRunner().invoke(app, ["runs"]).stdout
    made(Path("runs/a-1"), TWO)
    shown = CliRunner().invoke(app, ["runs"]).stdout
    assert "runs/a-1" in shown and "val_loss" in shown
    document = json.loads(CliRunner().invoke(app, ["runs", "--json"]).stdout)
    assert document["ok"] and document["runs"][0]["best"] == {"loss": 2.0, "val_loss": 1.0}


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    made(tmp_path / "digits-1", TWO)
    with pytest.raises(SpecError, match=r"did you mean `.*digits-1`"):
        RunFiles(tmp_path / "digit-1")
    with pytest.raises(SpecError, match="holds no run"):
        RunFiles(tmp_path)
