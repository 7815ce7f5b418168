"""Forecasts behind HTTP: the rows of a request are one history, and the answer is that of `predict`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from graphspec.compiler import compile
from graphspec.runs.run import Run
from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests.data.test_windows import SPEC, frame
from tests.serve.serving import ask, get, in_thread

HISTORY = frame({"a": 30, "b": 12}).to_dict("records")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecasts")
    frame({"a": 30, "b": 30}).to_csv(folder / "data.csv", index=False)
    (folder / "spec.yaml").write_text(SPEC)
    train(compile(folder / "spec.yaml"), run_dir=folder / "run", root=folder, tell=lambda line: None)
    return folder / "run"


@pytest.fixture(scope="module")
def port(run: Path) -> Iterator[int]:
    with in_thread(Server({"run": Served("run", run)}, ServeOptions([], max_rows=50))) as port:
        yield port


def test_a_history_is_answered_as_by_predict(run: Path, port: int) -> None:
    hidden = [{**row, "y": None} if row["y"] % 1000 >= 27 else row for row in HISTORY]
    wanted = Run(run).predict(HISTORY).to_pylist()
    described = json.loads(get(port, "/openapi.json")[1])
    OpenAPIV31SpecValidator(described).validate()
    post = described["paths"]["/predict"]["post"]
    for body in (HISTORY, {"rows": HISTORY}, hidden):
        status, found = ask(port, body)
        assert status == 200 and found["predictions"] == wanted and len(wanted) == 6
        assert "forecasts are of the last 3 rows of each series" in found["notes"][0]
        jsonschema.validate(body, post["requestBody"]["content"]["application/json"]["schema"])
        jsonschema.validate(found, post["responses"]["200"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (HISTORY[:4], "data-empty", "no series with 6 steps of the past and 3 that come next"),
        (HISTORY[0], "data-empty", "no series with 6 steps"),
        ([], "data-column", "no column"),
        ([*HISTORY[:20], 7], "data-format", "row 20, counting from 0, is not a JSON object"),
        ([{**row, "time": "noon"} for row in HISTORY], "data-dtype", '"noon" is not a date'),
        ([{**row, "haet": row["heat"], "heat": None} for row in HISTORY], "data-gap", "`heat`"),
        ([*HISTORY[:9], HISTORY[8]], "data-order", "time"),
    ],
)
def test_what_is_wrong_with_a_history_is_told(port: int, body: object, code: str, words: str) -> None:
    status, found = ask(port, body)
    assert status == 422 and "predictions" not in found
    assert found["diagnostics"][0]["code"] == code and words in json.dumps(found, ensure_ascii=False).replace(
        '\\"', '"'
    )


def test_a_target_with_a_scale_of_its_row_is_served_row_by_row(tmp_path: Path) -> None:
    spec = """
inputs: {heat: {shape: [1]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data:
  train: data.csv
  features: {heat: {encode: number}, y: {encode: number, scale: {standard: shop}}}
train: {epochs: 1}
"""
    frame({"a": 30, "b": 30}).to_csv(tmp_path / "data.csv", index=False)
    train(compile(spec), root=tmp_path, run_dir=tmp_path / "run", tell=lambda line: None)
    given = [{"heat": 0.5, "shop": shop} for shop in "ab"]
    with in_thread(Server({"run": Served("run", tmp_path / "run")}, ServeOptions([]))) as port:
        wanted = Run(tmp_path / "run").predict(given).to_pylist()
        assert ask(port, given) == (200, {"predictions": wanted}) and wanted[1]["y"] - wanted[0]["y"] > 500
        status, found = ask(port, [given[0], {"heat": "warm", "shop": "a"}])
        assert status == 422 and found["predictions"] == [wanted[0], None]
        assert found["diagnostics"][0]["row"] == 1 and "warm" in found["diagnostics"][0]["message"]
