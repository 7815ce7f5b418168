"""`build --fastest`: a folder whose ten lines of Python give what the run predicts, without graphspec."""

from __future__ import annotations

import ast
import importlib
import json
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.diagnostics import fail
from graphspec.runs import shipping
from tests.killing import ended_owner
from tests.runs.test_engines import judged

Predict = Callable[[Mapping[str, Any]], dict[str, Any]]


def predictor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """The function in a folder, where graphspec cannot be imported."""
    text = (folder / "predict.py").read_text()
    lines = ast.unparse(ast.parse(text)).splitlines()
    assert (
        len([line for line in lines if line and not line.startswith(("import", "from", "if", "    print"))])
        <= 10
    )
    with monkeypatch.context() as alone:
        for name in [name for name in sys.modules if name.partition(".")[0] == "graphspec"]:
            alone.delitem(sys.modules, name)
        alone.setitem(sys.modules, "graphspec", None)
        alone.syspath_prepend(folder)
        alone.delitem(sys.modules, "model", raising=False)
        found: Predict = runpy.run_path(str(folder / "predict.py"))["predict"]
        sys.modules.pop("model", None)
    return found


class Named:
    """What an engine tells of itself."""

    def __init__(self, name: str):
        self.name = name


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_fastest_form_runs_alone(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With onnxruntime: tests/runs/test_engines.py."""
    run, data = judged(tmp_path)
    monkeypatch.setattr(shipping, "engine_of", lambda *_: (Named(engine), [f"engine: {engine}"]))
    folder = tmp_path / "shipped"
    arguments = ["build", str(run.path), "--weights", str(run.weights), "--fastest"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["engine"] == engine and {*said["files"]} == {path.name for path in folder.iterdir()}
    assert shipping.is_shipped(folder)
    predict = predictor(folder, monkeypatch)
    expected = run.model().engine({"tokens": data["tokens"]})
    for name, value in predict({"tokens": data["tokens"]}).items():
        np.testing.assert_allclose(value, expected[name], 1e-4, 1e-5)
    for file in folder.glob("*.py"):
        made = file.read_text()
        for text, told in ((made + "# mine\n", "was edited"), ("# mine\n", "was not written")):
            file.write_text(text)
            done = CliRunner().invoke(app, [*arguments, "-o", str(folder)])
            assert done.exit_code == 2 and told in " ".join(done.stderr.replace("│", "").split())
            assert file.read_text() == text
        file.write_text(made)
    if engine == "torch":
        assert CliRunner().invoke(app, [*arguments, "-o", str(folder)]).exit_code == 0


def test_why_it_is_torch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = judged(tmp_path)

    def failing(*_: object) -> None:
        raise fail("export-failed", "the module cannot be exported: no trace")

    monkeypatch.setattr(shipping, "engine_of", failing)
    command = [
        "build",
        str(run.path),
        "--weights",
        str(run.weights),
        "--fastest",
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["engine"] == "torch" and "cannot be exported: no trace" in said["notes"][0]


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    run, _ = judged(tmp_path)
    begin = ["build", str(run.path), "--weights", str(run.weights), "--fastest"]
    for more, told in (
        (["-o", str(tmp_path)], "holds files that graphspec did not write"),
        (["-o", str(run.path)], "is a file"),
        ([], "name a folder"),
        (["-o", str(tmp_path / "new"), "--fold"], "--fold"),
        (["-o", str(tmp_path / "new"), "--quantize", "int8"], "--quantize"),
        (["-o", str(tmp_path / "new"), "--inputs", "columns"], "name the directory of a run"),
    ):
        done = CliRunner().invoke(app, begin + more)
        assert done.exit_code == 2 and told in " ".join(done.stderr.split()).replace("│ ", ""), done.stderr


def test_what_killed_builds_left_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither folders of files that were being written, nor files that others belong to."""
    run, _ = judged(tmp_path)
    monkeypatch.setattr(shipping, "engine_of", lambda *_: (Named("onnxruntime"), []))
    folder = tmp_path / "shipped"
    begin = ["build", str(run.path), "--weights", str(run.weights), "--fastest", "-o", str(folder)]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as sudden:
        sudden.setattr(importlib.import_module("graphspec.export"), "prove", killed)
        sudden.setattr("graphspec.files.whole.discard", lambda folder: None)
        sudden.setattr("graphspec.files.whole.owner", ended_owner)
        assert CliRunner().invoke(app, begin).exit_code != 0
    (half,) = folder.iterdir()
    assert half.name.startswith(".model.onnx.")
    with monkeypatch.context() as sudden:
        sudden.setattr(shipping, "_predict", killed)
        assert CliRunner().invoke(app, begin).exit_code != 0
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    (folder / f".model.onnx.{ended_owner()}").mkdir()
    done = CliRunner().invoke(app, begin)
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "predict.py"}
