"""`build --container` and `--mlflow`: folders that serve what the run predicts, without graphspec."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.runs import shipping
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests.runs.test_shipping import Named

SPEC = """
inputs: {x: {shape: [4]}, n: {shape: [1], dtype: int64}}
nodes:
  e: {layer: Embedding, from: n, input_dim: 8, output_dim: 3}
  flat: {layer: Flatten}
  all: {merge: concatenate, from: [x, flat]}
  y: {layer: Dense, units: 2, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: d.npz}
train: {epochs: 1}
"""
COLUMNS = """
inputs: {age: {shape: [1]}, kind: {shape: [1], dtype: int64}}
nodes:
  e: {layer: Embedding, from: kind, input_dim: 4, output_dim: 3}
  flat: {layer: Flatten}
  all: {merge: concatenate, from: [age, flat]}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data:
  train: d.csv
  features:
    age: {encode: number, scale: standard}
    kind: {encode: category, fill: missing}
    y: {encode: number}
train: {epochs: 1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("packing")
    draw = np.random.default_rng(0)
    x, n = draw.normal(size=(20, 4)).astype("float32"), draw.integers(0, 8, (20, 1))
    np.savez(folder / "d.npz", x=x, n=n, y=draw.integers(0, 2, 20))
    train(compile(SPEC), root=folder, run_dir=folder / "run", tell=str)
    return Run(folder / "run")


def build(run: Run, folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["build", str(run.path), "-o", str(folder), *words])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def packed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipping, "engine_of", lambda *_: (Named("torch"), []))
        code, said = build(run, folder, "--container", "--mlflow")
        assert code == 0, said
    return folder


def test_a_container_is_pinned_checks_itself_and_is_no_root(packed: Path) -> None:
    text = (packed / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.\d+\.\d+-slim$", text, re.M) and "HEALTHCHECK" in text
    assert re.search(r"^USER [1-9]\d*$", text, re.M) and text.index("USER") < text.index(
        'CMD ["python", "server'
    )
    copied = " ".join(re.findall(r"^COPY (.*) \./$", text, re.M)).split()
    assert {*copied} == {"requirements.txt", "predict.py", "model.py", "model.safetensors", "server.py"}
    assert all((packed / name).is_file() for name in copied)
    lines = (packed / "requirements.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in lines] == ["torch", "safetensors", "numpy"]
    assert all(re.fullmatch(r"[a-z]+==\d+(\.\d+)+", line) for line in lines)
    assert "graphspec" not in re.sub("#.*", "", text)


@pytest.fixture
def address(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server of the folder in this process: its text, on a free port."""
    monkeypatch.syspath_prepend(packed)
    for name in ("predict", "model"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    found: dict[str, Any] = {"__name__": "server"}
    exec(compile_text(packed / "server.py"), found)
    server = ThreadingHTTPServer(("127.0.0.1", 0), found["Handler"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def compile_text(path: Path) -> Any:
    return __builtins__["compile"](path.read_text(), str(path), "exec")  # type: ignore[index]


def post(address: str, body: Any) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/predict", content)) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_its_server_gives_what_the_run_predicts(run: Run, address: str) -> None:
    given = {"x": np.ones((3, 4), "float32"), "n": np.array([[1], [2], [7]])}
    wanted = run.model().engine(given)["y"]
    status, found = post(address, {"inputs": {name: value.tolist() for name, value in given.items()}})
    assert status == 200
    np.testing.assert_allclose(found["outputs"]["y"], wanted, 1e-5)
    rows = [{"x": [1, 1, 1, 1], "n": [number], "more": 0} for number in (1, 2, 7)]
    for body, answers in ((rows, wanted), (rows[1], wanted[1:2])):
        status, found = post(address, body)
        assert status == 200 and [row.keys() for row in found["predictions"]] == [{"y"}] * len(answers)
        np.testing.assert_allclose([row["y"] for row in found["predictions"]], answers, 1e-5)
    assert post(address, [rows[0], 3])[1]["error"].startswith("give rows")
    assert post(address, {"x": [1, 1, 1, 1]})[1]["error"] == "there is no 'n'; inputs: x, n"
    with urllib.request.urlopen(f"{address}/health") as response:
        assert json.load(response) == {"ok": True}
    wrong: list[Any] = [b"{", {}, {"inputs": {"x": [[1, 2, 3, 4]]}}, {"inputs": {"x": "a", "n": [[1]]}}, []]
    for body in wrong:
        status, found = post(address, body)
        assert status == 422 and found["error"]


def test_mlflow_loads_it_with_its_signature(run: Run, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyfunc = pytest.importorskip("mlflow.pyfunc")
    for name in ("predict", "model", "loader"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    model = pyfunc.load_model(str(packed))
    assert {each.name for each in model.metadata.signature.inputs} == {"x", "n"}
    given = {"x": np.ones((3, 4), "float32"), "n": np.array([[1], [2], [7]])}
    np.testing.assert_allclose(model.predict(given)["y"], run.model().engine(given)["y"], 1e-5)
    example = model.metadata.load_input_example(str(packed))
    assert model.predict({k: np.asarray(v) for k, v in example.items()})["y"].shape == (1, 2)
    with pytest.raises(Exception, match="missing inputs"):
        model.predict({"x": given["x"]})


def test_columns_are_columns_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow.pyfunc")
    pytest.importorskip("onnxruntime")
    import mlflow.pyfunc
    import pandas as pd

    rows = pd.DataFrame(
        {"age": [1.0, 2.0, 5.0, 3.0], "kind": ["a", "b", "c", "a"], "y": [1.0, 2.0, 3.0, 1.0]}
    )
    rows.to_csv(tmp_path / "d.csv", index=False)
    train(compile(COLUMNS), root=tmp_path, run_dir=tmp_path / "run", tell=str)
    run = Run(tmp_path / "run")
    code, said = build(run, tmp_path / "out", "--mlflow")
    assert code == 0 and not (tmp_path / "out" / "Dockerfile").exists(), said
    assert build(run, tmp_path / "out", "--mlflow")[0] == 0
    for name in ("predict", "loader"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    model = mlflow.pyfunc.load_model(str(tmp_path / "out"))
    found = np.ravel(model.predict(rows[["age", "kind"]])["y"])
    np.testing.assert_allclose(found, run.predict(rows)["y"].to_numpy(), 1e-4)
    whole = rows[["age", "kind"]].astype({"age": "int64"})  # what a file of whole numbers is read as
    np.testing.assert_allclose(np.ravel(model.predict(whole)["y"]), found, 1e-6)
    holes = pd.DataFrame({"age": [1.0, 2.0], "kind": ["a", None]})
    np.testing.assert_allclose(np.ravel(model.predict(holes)["y"]), run.predict(holes)["y"].to_numpy(), 1e-4)
    assert list(model.metadata.load_input_example(str(tmp_path / "out")).columns) == ["age", "kind"]


def test_wrong_use_is_told(run: Run, tmp_path: Path) -> None:
    assert "not with --quantize" in build(run, tmp_path / "m.onnx", "--quantize", "int8", "--container")[1]
    assert "name a folder" in CliRunner().invoke(app, ["build", str(run.path), "--container"]).output
    assert build(run, tmp_path, "--containr")[0] == 2
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Dockerfile").write_text("FROM mine\n")
    assert build(run, tmp_path / "out", "--container")[0] == 2
