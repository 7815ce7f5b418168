"""Files of ONNX that forecast: windows of columns in, the steps that come in their own units out."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.export.proof import RELATIVE
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests import ROOT, one_in
from tests.data.test_windows import SPEC, frame
from tests.export.alone import alone, assert_equal, built, form_of

WEEK = pd.Timedelta(days=7)


def trained(spec: Path, root: Path, folder: Path) -> Run:
    program = graphspec.compile(spec, settings={"train.epochs": 1})
    train(program, root=root, run_dir=folder / "run", tell=lambda line: None)
    return Run(folder / "run")


def long(found: dict[str, Any], form: Any) -> dict[str, Any]:
    """Forecasts with a row for each step, as `predict` writes them."""
    return {n: v.reshape(-1, *v.shape[2:]) if n in form["forecasts"] else v for n, v in found.items()}


@pytest.mark.parametrize("name", one_in(2, ["carbon_dioxide", "carbon_dioxide_quantiles"]))
def test_every_window_of_the_gallery(name: str, tmp_path: Path) -> None:
    run = trained(ROOT / "specs" / f"{name}.yaml", ROOT / "specs", tmp_path)
    said, form = built(run, tmp_path / "model.onnx"), form_of(tmp_path / "model.onnx")
    assert said["columns"] == form["columns"] == {"co2": "list of number"}
    first, last = form["steps"]["co2"]
    assert last == 0 and set(form["forecasts"].values()) == {26}
    csv = ROOT / "specs" / "data" / "carbon_dioxide.csv"
    table = pd.read_csv(csv, parse_dates=["week"]).dropna()
    values, weeks, past = table["co2"].to_numpy(), table["week"], 1 - first
    run_of = (weeks.diff() != WEEK).cumsum().to_numpy()
    windows = [
        values[end - past : end]
        for end in range(past, len(values) + 1)
        if run_of[end - 1] == run_of[end - past]
    ]
    (found,) = alone(tmp_path / "model.onnx", [{"co2": np.array(windows)}], tmp_path)
    expected = run.predict(csv, every_window=True)
    assert len(windows) > 1000 and expected.num_rows == 26 * len(windows)
    assert_equal(long(found, form), expected, form)


def test_series_have_scales_of_their_own(tmp_path: Path) -> None:
    """A series that training had not among them, and a feature of the steps that come."""
    own = "past: {columns: [y, heat], encode: number, steps: past"
    assert own in SPEC
    (tmp_path / "spec.yaml").write_text(SPEC.replace(own, own + ", scale: {standard: shop}, fill: median"))
    rows = frame({"a": 40, "b": 30, "c": 25})
    rows.to_csv(tmp_path / "data.csv", index=False)
    run = trained(tmp_path / "spec.yaml", tmp_path, tmp_path)
    built(run, tmp_path / "model.onnx")
    form = form_of(tmp_path / "model.onnx")
    assert form["numbers"] == {"y_1": [{"column": "y", "shift": ANY, "scale": ANY, "scale_by": "shop"}]}
    assert form["steps"] == {"y": [-5, 0], "heat": [-5, 3]} and form["columns"]["shop"] == "text"
    others = pd.concat([rows, frame({"a": 9, "new": 12}).query("shop == 'new'")])
    others.loc[others.index[3], "heat"] = np.nan
    others.to_csv(tmp_path / "others.csv", index=False)
    given: dict[str, Any] = {"y": [], "heat": [], "shop": []}
    for shop, series in others.groupby("shop", sort=False):
        for end in range(6, len(series) - 3 + 1):
            given["y"].append(series["y"].to_numpy()[end - 6 : end])
            given["heat"].append(series["heat"].to_numpy()[end - 6 : end + 3])
            given["shop"].append(shop)
    arrays = {name: np.array(v, object if name == "shop" else float) for name, v in given.items()}
    (found,) = alone(tmp_path / "model.onnx", [arrays], tmp_path)
    assert_equal(long(found, form), run.predict(tmp_path / "others.csv", every_window=True), form)


def test_the_folder_of_a_forecast_runs_on_a_window(tmp_path: Path) -> None:
    run = trained(ROOT / "specs" / "carbon_dioxide.yaml", ROOT / "specs", tmp_path)
    told = "reads columns: co2 (list of number, steps -103 to 0)"
    done = CliRunner().invoke(app, ["build", str(run.path), "--triton", "-o", str(tmp_path / "repository")])
    assert done.exit_code == 0 and told in done.stdout and "(26 steps)" in done.stdout, done.output
    assert "dims: [ 104 ]" in (tmp_path / "repository" / "config.pbtxt").read_text()
    built(run, tmp_path / "folder", "--fastest")
    path, given = (
        tmp_path / "repository" / "1" / "model.onnx",
        {"co2": np.linspace(320.0, 330.0, 208).reshape(2, 104)},
    )
    (found,), (expected,) = (
        alone(each, [given], tmp_path) for each in (tmp_path / "folder" / "predict.py", path)
    )
    np.testing.assert_allclose(found["co2_1"], expected["co2_1"], RELATIVE)
    assert "'co2': np.full((1, 104), " in (tmp_path / "folder" / "predict.py").read_text()
    session = onnxruntime.InferenceSession(path)
    with pytest.raises(Exception, match="column co2: a value is missing"):
        session.run(None, {"co2": np.full((1, 104), np.nan)})
