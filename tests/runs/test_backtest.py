"""Backtests: errors are those of `predict`, a model that is fitted again knows nothing of what came."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.data.in_memory_source import given
from graphspec.diagnostics import SpecError
from graphspec.runs.backtesting import backtest
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests.data.test_windows import SPEC, frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backtest")
    rows = frame({"a": 60, "b": 60})
    rows["y"] = 10 * np.sin(rows.index.to_numpy() / 3) + 100 * (rows.shop == "b")
    rows.to_csv(folder / "data.csv", index=False)
    (folder / "spec.yaml").write_text(SPEC)
    train(compile(folder / "spec.yaml"), run_dir=folder / "run", root=folder, tell=lambda line: None)
    return folder


def test_each_origin_has_the_errors_of_predict(folder: Path) -> None:
    run = Run(folder / "run")
    found = backtest(run, count=5)
    assert [each.values["examples"] for each in found.origins] == [2] * 5
    rows = pd.read_csv(folder / "data.csv")
    table = run.predict(folder / "data.csv", every_window=True).to_pandas()
    both = table.merge(rows, on=["shop", "time"], suffixes=("_forecast", ""))
    wrong = (both.y_forecast - both.y).abs().groupby(both.origin).mean()
    for each in found.origins:
        assert each.values["mae"] == pytest.approx(wrong[each.time], rel=1e-5)
    assert found.mean["mae"] == pytest.approx(np.mean([each.values["mae"] for each in found.origins]))
    hours = [pd.Timestamp(each.time) for each in found.origins]
    assert set(np.diff(hours)) == {pd.Timedelta("3h")} and hours[-1] == pd.Timestamp("2024-01-03 08:00")
    assert [each.learned for each in found.origins] == [False] * 5
    border = rows.time.sort_values().iloc[90]
    more = backtest(run, count=12, every=1).origins + backtest(run, count=40).origins
    assert all(each.learned == (each.time < max(t for t in rows.time if t < border)) for each in more)
    assert any(each.learned for each in more)


def test_a_fitted_model_has_seen_no_row_from_its_origin_on(folder: Path, tmp_path: Path) -> None:
    told: list[str] = []
    found = backtest(Run(folder / "run"), count=2, refit=True, tell=told.append)
    assert [line.rpartition("before ")[2] for line in told] == [each.time for each in found.origins]
    rows = pd.read_csv(folder / "data.csv")
    for each in found.origins:
        before = rows[rows.time <= each.time]
        train(
            compile(folder / "spec.yaml"),
            data=given(before),
            run_dir=tmp_path / "run",
            overwrite=True,
            tell=str,
        )
        ahead = rows[rows.time <= str(pd.Timestamp(each.time) + pd.Timedelta("3h"))]
        table = Run(tmp_path / "run").predict(ahead).to_pandas()
        both = table.merge(rows, on=["shop", "time"], suffixes=("_forecast", ""))
        assert len(both) == 6 and not each.learned
        assert (both.y_forecast - both.y).abs().mean() == pytest.approx(each.values["mae"], rel=1e-5)


def test_the_command_prints_a_table_and_json(folder: Path, tmp_path: Path) -> None:
    words = ["backtest", str(folder / "run"), "--origins", "40"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "the run has learned from rows that it forecasts" in done.output
    assert "such origins, not 40" in done.output
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert printed["learned"] == sum(each["learned"] for each in printed["origins"]) > 0
    assert printed["mean"].keys() == {"loss", "mae", "naive_mae", "mase"}


def test_what_cannot_be_tested_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="when it is trained on the rows before 2024-01-01"):
        backtest(Run(folder / "run"), count=50, refit=True)
    spec = "inputs: {x: {shape: [1]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}"
    train(compile(f"{spec}\ntrain: {{epochs: 1}}"), run_dir=tmp_path / "run", tell=str)
    done = CliRunner().invoke(app, ["backtest", str(tmp_path / "run")])
    assert done.exit_code == 1 and "forecasts nothing" in done.output


def test_a_weekly_job_goes_on_from_the_run_before_with_the_rows_of_a_time(
    folder: Path, tmp_path: Path
) -> None:
    """Series that are new get rows of their own in tables of categories; others keep what they learned."""
    rows = frame({"a": 70, "b": 70, "c": 70})
    rows.to_csv(tmp_path / "new.csv", index=False)
    words = ["train", str(folder / "run" / "spec.yaml"), "--from", str(folder / "run"), "--run-dir"]
    words += [str(tmp_path / "next"), "--data", str(tmp_path / "new.csv"), "--progress", "lines"]
    words += ["--set", "data.train.since=2024-01-02", "--set", "data.train.until=2024-01-03 20:00"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "rows kept  vector.weight" in done.output
    assert "training: 132 of 210 rows, since 2024-01-02 and until 2024-01-03 20:00" in done.output
    state = Run(tmp_path / "next").files.encoders(Run(tmp_path / "next").program)
    assert state is not None and len(json.dumps(state["fields"]["who"]).split('"c"')) == 2
