"""Engines: each gives the numbers of torch or is refused, and `auto` takes the fastest and remembers it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from graphspec.diagnostics import SpecError
from graphspec.runs import engines, fastest
from graphspec.runs.run import Run
from tests.runs import everything

ROWS = [everything.row(random.Random(seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything.train(tmp_path_factory.mktemp("engines")).path


@pytest.fixture
def run(trained: Path) -> Run:
    return Run(trained)


def assert_near(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        same = pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value
        assert found[name] == same, name


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_gives_the_numbers_of_torch(run: Run, engine: str) -> None:
    lines: list[str] = []
    for row in ROWS:
        assert_near(run.predict(row, engine=engine).to_pylist()[0], run.predict(row).to_pylist()[0])
    list(run.predictions([ROWS[0]], engine=engine, noted=lines.extend))
    assert lines[0].startswith(f"engine: {engine}, equal to the module to ")


def test_auto_takes_the_fastest_and_remembers_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"torch": 2.0, "onnxruntime": 1.0, "openvino": 3.0}
    monkeypatch.setattr(fastest, "_timed", lambda found, example: {name: times[name] for name in found})
    model = run.model(engine="auto")
    assert model.engine.name == "onnxruntime"
    (line,) = model.notes
    assert (
        line
        == "engine: onnxruntime, the fastest of torch 2e+03 ms, onnxruntime 1e+03 ms, openvino 3e+03 ms a row"
    )
    monkeypatch.setattr(fastest, "_timed", None)
    assert Run(run.path).model(engine="auto").engine.name == "onnxruntime"
    times["onnxruntime"] = 9.0
    monkeypatch.setattr(fastest, "_timed", lambda found, example: {name: times[name] for name in found})
    known = json.loads((run.path / "engine.json").read_text())
    (run.path / "engine.json").write_text(json.dumps({**known, "key": {**known["key"], "threads": 99}}))
    assert Run(run.path).model(engine="auto").engine.name == "torch"


def test_other_weights_are_exported_anew(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    first = Run(folder, weights="best").predict(ROWS[0], engine="onnxruntime")
    shutil.copy(folder / "last.safetensors", folder / "best.safetensors")
    again = Run(folder, weights="best").predict(ROWS[0], engine="onnxruntime").to_pylist()[0]
    assert_near(again, Run(folder, weights="last").predict(ROWS[0]).to_pylist()[0])
    assert first.num_rows == 1


def test_an_engine_that_lies_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = engines.OnnxEngine.__call__

    def lying(self: Any, inputs: Mapping[str, Any]) -> engines.Values:
        return {name: value + 0.01 for name, value in honest(self, inputs).items()}

    monkeypatch.setattr(engines.OnnxEngine, "__call__", lying)
    with pytest.raises(SpecError) as error:
        run.predict(ROWS[0], engine="onnxruntime")
    assert error.value.diagnostics[0].code == "export-differs"
    (run.path / "engine.json").unlink(missing_ok=True)
    model = Run(run.path).model(engine="auto")
    assert model.engine.name != "onnxruntime" and "not those of the module" in model.notes[0]
    (run.path / "engine.json").unlink()


def test_what_is_wrong_with_an_engine_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="onnxruntime") as error:
        run.predict(ROWS[0], engine="onnxruntim")
    assert error.value.diagnostics[0].code == "unknown-name"
    found = fastest.find_spec
    monkeypatch.setattr(fastest, "find_spec", lambda name: None if name == "openvino" else found(name))
    with pytest.raises(SpecError) as error:
        run.predict(ROWS[0], engine="openvino")
    assert error.value.diagnostics[0].code == "package-missing"
