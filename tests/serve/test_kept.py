"""A server begins with what its run keeps: without the spec until a row needs it, never with another's."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from graphspec.cli.serve import serve
from graphspec.files.folder import Folder
from graphspec.files.remembered import recall, remember
from graphspec.runs.kept import kept
from graphspec.runs.run import Run
from graphspec.serve.app import Application, Server
from graphspec.serve.http import Rejected, Request
from graphspec.serve.limits import Limits
from graphspec.serve.options import RANGES, ServeOptions, plain
from graphspec.serve.served import UNREAD, Served
from tests.runs import everything

ENGINE = "onnxruntime"


def row(seed: int) -> dict[str, Any]:
    """A row that says all plainly."""
    found = everything.row(random.Random(seed))
    found["plain"] = [found.pop("plain_0"), found.pop("plain_1")]
    return found


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


def test_the_first_answer_takes_no_compiler(exported: Path) -> None:
    """Each of these takes longer to import than a model that is small to answer."""
    code = f"""
import json, sys
from pathlib import Path
import graphspec.serve.running
from graphspec.serve.options import plain
from graphspec.serve.served import Served
path = Path({str(exported)!r})
print(json.dumps(Served("run", path, plain([str(path), "--engine", {ENGINE!r}])).predict([(0, {row(1)!r})])))
heavy = "torch", "pydantic", "pyarrow", "typer", "yaml", "graphspec.compiler", "graphspec.program"
assert not {{*heavy}} & sys.modules.keys(), sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [expected(exported, row(1))]


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


@pytest.mark.parametrize("name", ["best.safetensors", "encoders.json", "spec.yaml", "engines/best.onnx"])
def test_what_is_not_of_the_run_any_more_is_not_believed(path: Path, name: str) -> None:
    assert kept(path, "best", "auto", ENGINE) is not None
    file = path / name
    file.write_bytes(file.read_bytes() + b" ")
    assert kept(path, "best", "auto", ENGINE) is None


def test_what_is_kept_lasts_while_other_engines_are_measured(path: Path) -> None:
    """Of `engines/best.json` it holds for the export alone; and for `auto` while that takes this engine."""
    begun = kept(path, "best", "auto", ENGINE)
    assert begun is not None
    about, record = recall(path, "engines/best.json"), recall(path, "engines/best.serving.json")
    record["asked"]["auto"] = []
    about["seconds"] = {}  # which engine was faster here is not the question
    remember(Folder(path), "engines/best.serving.json", record)

    def now(**other: Any) -> list[bool]:
        remember(Folder(path), "engines/best.json", {**about, **other})
        return [kept(path, "best", "auto", engine) is not None for engine in (ENGINE, "auto")]

    assert now() == [True, False]
    times = {"torch": 2.0, ENGINE: 1.0, "openvino": 3.0}
    assert now(apart={"openvino": 0.0}, seconds={"1": times, "7": {**times, "torch": 0.5}}) == [True, True]
    assert now(seconds={"1": {**times, "torch": 0.5}}) == [True, False] and begun.is_current
    assert now(key={**about["key"], "threads": 99}) == now(seconds={"7": times}) == [True, False]
    assert now(sha256="0") == now(key={**about["key"], "spec": "0"}) == [False, False]
    assert not begun.is_current


def test_each_file_of_weights_has_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that others have made stay, and none answers for another."""
    model = (path / "engines/best.onnx").read_bytes()
    monkeypatch.setattr("graphspec.export.export", lambda *given, **_: given[2].write_bytes(model))
    for name in ("last", "7"):
        shutil.copy(path / "best.safetensors", path / f"{name}.safetensors")
    asked = ["best", "last", str(path / "7.safetensors")]
    for weights in asked:
        Run(path, weights).predict(row(1), engine=ENGINE)
    found = [kept(path, weights, "auto", ENGINE) for weights in asked]
    assert all(found) and len({id(one) for one in found}) == 3
    (path / "7.safetensors").unlink()
    assert [kept(path, weights, "auto", ENGINE) is None for weights in asked] == [False, False, True]
    (path / "engines/last.serving.json").write_bytes((path / "engines/best.serving.json").read_bytes())
    assert [kept(path, weights, "auto", ENGINE) is None for weights in asked] == [False, True, True]


def test_new_weights_give_new_answers(path: Path) -> None:
    """A server keeps those that it began with, until a row takes the spec: then it reads all again."""
    one, server = served(path), Server({}, Limits())
    server.runs["run"] = one
    before = predicted(one, row(1))
    tensors = {name: 1.5 * value for name, value in load_file(path / "best.safetensors").items()}
    save_file(tensors, path / "best.safetensors")
    assert predicted(one, row(1)) == before and predicted(one, {**row(1), "amount": None}) == [UNREAD]
    other = asyncio.run(server._read("run"))
    assert other is server.runs["run"] is not one
    assert predicted(other, row(1)) == predicted(served(path), row(1)) == [expected(path, row(1))] != before
    server.batcher.close()


async def asked(server: Server, *rows: Any) -> tuple[int, Any]:
    """The status and the body of an answer."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(rows).encode(), "more_body": False}

    kind = {"content-type": "application/json"}
    try:
        answer = await server.predict(Request("POST", "/predict", kind, "127.0.0.1", receive))
    except Rejected as rejected:
        return rejected.status, None
    return answer.status, json.loads(answer.body)


def test_while_a_run_cannot_be_read_each_path_says_why(path: Path) -> None:
    """Damaged, gone or another's, read before or not: nothing is wrong with the request."""
    away = path.with_name("away")
    spec = path / "spec.yaml"
    text = spec.read_text()

    async def told(server: Server, method: str, at: str) -> tuple[int, list[str]]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": at, "headers": [], "client": ("127.0.0.1", 1)}
        await Application(server, None)(scope, receive, send)
        found = json.loads(sent[1]["body"])
        assert all(each["message"] and each["help"] for each in found.get("diagnostics", ())), found
        return sent[0]["status"], [each["code"] for each in found.get("diagnostics", ())]

    async def all_of_it() -> None:
        server = Server({"run": served(path)}, Limits())
        spec.write_text("inputs: {")
        for method, at in (("GET", "/openapi.json"), ("POST", "/reload")):
            assert await told(server, method, at) == (503, ["yaml-syntax"])
        spec.write_text(text)
        path.rename(away)
        for method, at in (("GET", "/openapi.json"), ("POST", "/runs/run/reload")):
            assert await told(server, method, at) == (503, ["run-missing"])
        for at in ("/health", "/ready", "/runs"):
            assert await told(server, "GET", at) == (200, [])
        away.rename(path)
        assert await told(server, "GET", "/openapi.json") == (200, [])
        path.rename(away)
        assert await told(server, "POST", "/reload") == (503, ["run-missing"])
        assert await told(server, "GET", "/openapi.json") == (200, []), "it is read"
        server.batcher.close()

    asyncio.run(all_of_it())


def test_what_a_damaged_run_has_begun_with_answers_still(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that take the spec have its mistake until it is whole again; once it is read, all are answered."""
    monkeypatch.setattr("graphspec.serve.app.SOON", 0.0)
    server, file = Server({"run": served(path)}, Limits()), path / "encoders.json"
    gap = {**row(1), "size": None}
    text, wanted = file.read_text(), expected(path, row(1))

    async def all_of_it() -> None:
        file.write_text("{")
        for wrong in (gap, "no row"):
            status, found = await asked(server, gap, row(1), wrong)
            assert status == 503 and found["predictions"] == [None, wanted, None]
            assert [each["row"] for each in found["diagnostics"]] == [0, 2]
        await server.read_soon()
        assert server.runs["run"].reader is None, "it has changed"
        file.write_text(text)
        await server.read_soon()
        file.write_text("{")
        assert await server.read_again("run")
        status, found = await asked(server, gap, row(1))
        assert status == 200 and found["predictions"][1] == wanted

    asyncio.run(all_of_it())
    server.batcher.close()


def test_a_run_is_read_once_for_all_who_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it takes longer than a request may; and what is answered is not computed again."""
    server, release, read, computed = Server({"run": served(path)}, Limits(seconds=0.2)), Event(), [], []
    whole_read, whole_predict, awaited = Served.read, Served.predict, server._read

    def slow(one: Served) -> None:
        read.append(one)
        release.wait()
        whole_read(one)

    def counted(one: Served, rows: Any) -> Any:
        computed.append([number for number, _ in rows])
        return whole_predict(one, rows)

    async def last_awaited(name: str) -> Served:
        if server.limits.seconds > 1:
            release.set()  # the loop learns of it once this request waits, too
        return await awaited(name)

    monkeypatch.setattr(Served, "read", slow)
    monkeypatch.setattr(Served, "predict", counted)
    monkeypatch.setattr(server, "_read", last_awaited)
    given = row(1), {**row(1), "size": None}, row(1)

    async def all_of_it() -> None:
        assert [await asked(server, *given), await asked(server, *given)] == [(503, None)] * 2
        server.limits.seconds = 60.0
        status, found = await asked(server, *given)
        assert status == 200 and len(read) == 1 and computed[-2:] == [[0, 1, 2], [1]]
        assert found["predictions"][0] == found["predictions"][2] == expected(path, row(1))

    asyncio.run(all_of_it())
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
