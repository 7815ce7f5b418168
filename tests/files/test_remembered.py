"""What a run remembers is believed where this user has signed it on this machine, and else made anew."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import graphspec
from graphspec.files.folder import Folder
from graphspec.files.remembered import is_signed, own_record, recall, remember, sealed_record
from graphspec.files.run_files import ENGINES_FOLDER
from graphspec.runs import fastest
from graphspec.runs.run import Run
from tests import one_in
from tests.runs import everything

ROW = everything.row(random.Random(0))
ENGINE = "onnxruntime"
MODEL, MEASURED = (f"{ENGINES_FOLDER}/best{each}" for each in (".onnx", ".json"))
DEEP: Any = json.loads("[" * 900 + "]" * 900)


@pytest.fixture(scope="module")
def begun() -> tuple[Path, Any]:
    """A run that remembers all that one can, and its prediction by the module."""
    path = everything.exported() / "run"
    Run(path).predict(ROW, engine="auto")
    return path, Run(path).predict(ROW).to_pylist()[0]


@pytest.fixture
def run(begun: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy; another export of it is soon made, and torch is found to be the fastest."""
    path, content = tmp_path / "run", (begun[0] / MODEL).read_bytes()
    shutil.copytree(begun[0], path)
    assert {each.name for each in (path / ENGINES_FOLDER).iterdir()} == {
        Path(name).name for name in (MODEL, MEASURED)
    }
    monkeypatch.setattr("graphspec.export.export", lambda *given, **_: given[2].write_bytes(content))
    times = {"torch": 1.0, ENGINE: 2.0, "openvino": 3.0}
    monkeypatch.setattr(fastest, "timed", lambda found, *_: {name: times[name] for name in found})
    return path


def multiplied(run: Path) -> None:
    """The model answers three times as much, and every record has its digest."""
    file = run / MODEL
    before, model = file.read_bytes(), onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            value = 3 * onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name))
    onnx.save(model, file)
    old, new = (hashlib.sha256(each).hexdigest() for each in (before, file.read_bytes()))
    assert old != new
    text = (run / MEASURED).read_text()
    assert old in text
    (run / MEASURED).write_text(text.replace(old, new))


def told(run: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    about = json.loads((run / name).read_text())
    change(about)
    (run / name).write_text(json.dumps(about))


def multiplied_and_fast(run: Path) -> None:
    multiplied(run)
    told(run, MEASURED, lambda about: about.update(seconds={"1": {"torch": 1.0, ENGINE: 1e-9}}, apart={}))


def of_another(run: Path) -> None:
    """What this user has signed under another name."""
    multiplied(run)
    other = MEASURED.replace("best", "last")
    remember(Folder(run), other, json.loads((run / MEASURED).read_text()))
    (run / other).rename(run / MEASURED)


def signed_by(value: Any, run: Path) -> None:
    multiplied(run)
    told(run, MEASURED, lambda about: about.update(signature=value))


def replaced_by(text: str, run: Path) -> None:
    multiplied(run)
    (run / MEASURED).write_text(text)


SIGNATURES: tuple[Any, ...] = (None, 2, "", "é", "\ud800", DEEP)
TEXTS = ("", "{", "[]", "{}", "[" * 100_000, "9" * 5000, '{"signature": "0", "key": {}}')
FORGED: dict[str, Callable[[Path], None]] = {
    "the model, with its digest": multiplied,
    "the model and its time": multiplied_and_fast,
    "a record of another name": of_another,
    **{f"a signature {json.dumps(value)[:12]}": partial(signed_by, value) for value in SIGNATURES},
    **{f"a record {text[:12]}": partial(replaced_by, text) for text in TEXTS},
}


@pytest.mark.parametrize("what", one_in(2, FORGED))
def test_a_forged_record_is_made_anew(run: Path, begun: tuple[Path, Any], what: str) -> None:
    FORGED[what](run)
    wanted = {n: pytest.approx(v, rel=1e-4) if isinstance(v, float) else v for n, v in begun[1].items()}
    assert Run(run).predict(ROW, engine=ENGINE).to_pylist() == [wanted]
    assert Run(run).model(engine="auto").engine.name == "torch"
    assert recall(run, MEASURED)["seconds"]["1"]["torch"] == 1.0
    assert Run(run).predict(ROW, engine="auto").to_pylist() == [wanted]


def test_weights_of_the_same_size_and_time_are_others(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = run / "best.safetensors"
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    shelf = fastest._Shelf(Run(run), lambda: pytest.fail("no torch"), 1)
    assert not shelf._known("apart") and not shelf._known("seconds")


def test_a_record_of_another_user_or_machine_is_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recall(run, MEASURED)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    sealed = sealed_record("kind", {"a": [1, 0.1, None, "é"], "b": {}})
    assert (
        own_record("kind", sealed) == {"a": [1, 0.1, None, "é"], "b": {}}
        and own_record("other", sealed) == {}
    )
    assert recall(run, MEASURED) == {}


@pytest.mark.parametrize("value", [None, 2, [], "", "é", "\ud800"])
def test_a_signature_of_any_kind_gives_no_permission(value: Any) -> None:
    for root in ("/", None, DEEP):
        assert not is_signed({"root": root, "signature": value}, ["d.npz"])


def test_no_reader_passes_by() -> None:
    """What is kept of weights is read and written by `recall` and `remember` alone."""
    for path in Path(graphspec.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = [
            node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "MEASURED_ENDING"
        ]
        guarded = {
            id(inner)
            for call in calls
            if isinstance(call.func, ast.Name) and call.func.id in ("recall", "remember")
            for inner in ast.walk(call)
        }
        assert path.name == "run_files.py" or all(id(node) in guarded for node in named), path
