"""A server begins with what its run keeps: without the spec until a row needs it, never with another's."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from graphspec.cli.serve import serve
from graphspec.runs.kept import kept
from graphspec.runs.run import Run
from graphspec.serve.app import Limits, Server
from graphspec.serve.options import RANGES, ServeOptions, plain
from graphspec.serve.served import UNREAD, Served
from tests.runs import everything

ENGINE = "onnxruntime"


def row(seed: int) -> dict[str, Any]:
    """A row that says all plainly."""
    found = everything.row(random.Random(seed))
    found["plain"] = [found.pop("plain_0"), found.pop("plain_1")]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has predicted with onnxruntime."""
    return everything.train(tmp_path_factory.mktemp("kept"), everything.exported()).path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def served(path: Path) -> Served:
    return Served("run", path, ServeOptions([path], engine=ENGINE))


def predicted(one: Served, *rows: Any) -> list[Any]:
    return one.predict(list(enumerate(rows)))


def expected(path: Path, given: dict[str, Any]) -> Any:
    found = Run(path).predict(given, engine=ENGINE).to_pylist()[0]
    return {
        name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
        for name, value in found.items()
    }


def test_the_first_answer_takes_no_compiler(whole: Path) -> None:
    """Each of these takes longer to import than a model that is small to answer."""
    code = f"""
import json, sys
from pathlib import Path
import graphspec.serve.running
from graphspec.serve.options import plain
from graphspec.serve.served import Served
path = Path({str(whole)!r})
print(json.dumps(Served("run", path, plain([str(path), "--engine", {ENGINE!r}])).predict([(0, {row(1)!r})])))
heavy = "torch", "pydantic", "pyarrow", "typer", "yaml", "graphspec.compiler", "graphspec.program"
assert not {{*heavy}} & sys.modules.keys(), sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [expected(whole, row(1))]


def test_plain_rows_are_answered_at_once_and_others_once_the_spec_is_read(path: Path) -> None:
    one = served(path)
    gap, wrong = {**row(2), "amount": None}, {**row(2), "day": "30 March"}
    first = predicted(one, row(1), gap, "no row", wrong)
    assert [each is UNREAD for each in first] == [False, True, False, True]
    one.read()
    found = predicted(one, row(1), gap, "no row", wrong)
    assert found[0] == first[0] == expected(path, row(1)) and found[1] == expected(path, gap)
    assert (found[2][0].code, found[3][0].code) == ("data-format", "data-dtype")
    assert "row 3" in found[3][0].message


@pytest.mark.parametrize(
    "name", ["best.safetensors", "encoders.json", "spec.yaml", "engine.onnx", "engine.json"]
)
def test_what_is_not_of_the_run_any_more_is_not_believed(path: Path, name: str) -> None:
    assert kept(path, "best", "auto", ENGINE) is not None
    file = path / name
    file.write_bytes(file.read_bytes() + b" ")
    assert kept(path, "best", "auto", ENGINE) is None


def test_what_another_has_written_is_not_believed(path: Path) -> None:
    about = json.loads((path / "serving.json").read_text())
    about["record"] = about["record"].replace('"synthetic": false', '"synthetic": true')
    for text in (json.dumps(about), "{", "[]", "{}", '{"record": 1, "signature": 2}'):
        (path / "serving.json").write_text(text)
        assert kept(path, "best", "auto", ENGINE) is None
        assert predicted(served(path), row(1)) == [expected(path, row(1))]


def test_new_weights_give_new_answers(path: Path) -> None:
    """A server keeps those that it began with, until a row takes the spec: then it reads all again."""
    one, server = served(path), Server({}, Limits())
    server.runs["run"] = one
    before = predicted(one, row(1))
    tensors = {name: 1.5 * value for name, value in load_file(path / "best.safetensors").items()}
    save_file(tensors, path / "best.safetensors")
    assert predicted(one, row(1)) == before and predicted(one, {**row(1), "amount": None}) == [UNREAD]
    other = asyncio.run(server._read(one))
    assert other is server.runs["run"] is not one
    assert predicted(other, row(1)) == predicted(served(path), row(1)) == [expected(path, row(1))] != before
    server.batcher.close()


def test_the_plain_command_line_is_that_of_the_command() -> None:
    """Its options, their defaults and ranges; and what it does not read is left to the command."""
    import inspect

    named = inspect.signature(serve).parameters
    defaults = {name: () if each.default is None else each.default for name, each in named.items()}
    wanted = ServeOptions([])
    assert list(named) == list(ServeOptions.__dataclass_fields__) and RANGES.keys() < named.keys()
    assert {n: d for n, d in defaults.items() if n != "runs"} == {
        n: getattr(wanted, n) for n in defaults if n != "runs"
    }
    found = plain(["runs/a", "--port=0", "--engine", ENGINE, "runs/b", "--timeout", "0.5"])
    assert found == ServeOptions([Path("runs/a"), Path("runs/b")], 0, engine=ENGINE, timeout=0.5)
    for words in (
        "",
        "--port 1",
        "a --port",
        "a --port x",
        "a --port 65536",
        "a --batch 0",
        "a --allow b",
        "a -h",
    ):
        assert plain(words.split()) is None, words
