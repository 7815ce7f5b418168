"""docs/serving.md: its examples run, one after another."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.serve.app import Application, Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests import ROOT

PAGE = (ROOT / "docs" / "serving.md").read_text()


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = graphspec.compile(ROOT / "specs" / "cars.yaml", settings={"train.epochs": 5})
    train(program, root=ROOT / "specs", run_dir=tmp_path / "runs" / "cars-1", tell=lambda line: None)
    monkeypatch.chdir(tmp_path)
    assert "`graphspec build runs/cars-1 -o cars.onnx`" in PAGE
    built = CliRunner().invoke(app, ["build", "runs/cars-1", "-o", "cars.onnx"])
    assert built.exit_code == 0, built.output
    in_python, over_http, of_file = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    known: dict[str, object] = {}
    exec(in_python, known)
    assert capsys.readouterr().out == "USA\n"
    row = known["row"]
    listening = socket.create_server(("127.0.0.1", 0))
    served = Server({"cars-1": Served("cars-1", Path("runs/cars-1"))}, ServeOptions())
    server = uvicorn.Server(
        uvicorn.Config(Application(served, ["127.0.0.1"]), log_level="warning", log_config=None, ws="none")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        exec(over_http.replace(":8000", f":{listening.getsockname()[1]}"), {**known, "row": row})
    finally:
        server.should_exit = True
        thread.join()
    assert capsys.readouterr().out.startswith("['USA', '")
    exec(of_file, known)
    assert known["origin"] == ["USA"] and 5 < known["mpg"][0] < 40  # type: ignore[index]


def test_the_options_of_the_page_exist() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    sections = [
        part for part in PAGE.split("\n## ") if part.startswith(("Behind HTTP", "The server in detail"))
    ]
    options = re.findall(r"`(--[a-z-]+)", "".join(sections))
    assert len(options) > 5
    for option in options:
        assert option in shown, option
