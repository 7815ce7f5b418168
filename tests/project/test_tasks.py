"""docs/tasks: each page leads from nothing to an endpoint that answers as the page shows."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from tests import ROOT, one_in
from tests.project.test_readme import TASKS, Quote, quotes, run_console, run_python, sessions
from tests.serve.serving import ask, in_thread

SHORTER = {
    "tables": "--set train.epochs=21 --limit 64 ",
    "pictures": "--set train.epochs=13 --limit 64 ",
}
"""Options of trainings in which each callback may act."""
LATER = re.compile(r"^\$ graphspec (?:report|backtest) .*\n(?:(?!\$).*\n)*", re.MULTILINE)
"""Commands that take seconds, and need no other run than that of the first page."""
PORT = re.compile(r"(?<=:)8000\b")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the data of the pages, where what commands write does no harm."""
    data = ROOT / "specs" / "data"
    (tmp_path / "specs" / "data").mkdir(parents=True)
    shutil.copytree(data / "digits", tmp_path / "specs" / "data" / "digits")
    for file in data.glob("*.csv"):
        shutil.copy(file, tmp_path / "specs" / "data")
    return tmp_path


@pytest.mark.parametrize("page", one_in(2, TASKS), ids=lambda page: page.stem)
def test_a_task_leads_to_an_endpoint(page: Path, directory: Path) -> None:
    walk(page, directory, SHORTER.get(page.stem, "--set train.epochs=1 "))


@pytest.mark.parity
@pytest.mark.parametrize("page", TASKS, ids=lambda page: page.stem)
def test_a_task_leads_to_an_endpoint_as_it_is_written(page: Path, directory: Path) -> None:
    walk(page, directory, "")


def walk(page: Path, directory: Path, shorter: str) -> None:
    """Trains with these options, and asks the server that the page starts."""
    found = [each for each in quotes(page) if each.language != "text"]
    assert {each.language for each in found} <= {"console", "python", "yaml"}
    commands = " ".join(each.text for each in found)
    assert all(f"$ graphspec {word}" in commands for word in ("train", "report", "predict", "serve"))
    with ExitStack() as running:
        port = 0
        for quote in found:
            if quote.note:
                (directory / quote.note).write_text(quote.text, encoding="utf-8")
            elif quote.language == "python":
                run_python(PORT.sub(str(port), quote.text), directory)
            elif "$ graphspec serve" not in quote.text:
                run_console(
                    replace(
                        quote, text=quote.text.replace("$ graphspec train ", f"$ graphspec train {shorter}")
                    ),
                    directory,
                )
            else:
                port = _served(quote, directory, running)
                _asked(quote, directory, port)


def _served(quote: Quote, directory: Path, running: ExitStack) -> int:
    """The port of the server that a block starts."""
    (_, command, run, *options), expected = next(sessions(quote.text))
    assert command == "serve" and expected == f"serving {Path(run).name} at http://127.0.0.1:8000"
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert given.pop("--port") == "8000" and given.keys() <= {"--top"}
    asked = ServeOptions(top=int(given.get("--top", 0)))
    name = Path(run).name
    return running.enter_context(in_thread(Server({name: Served(name, directory / run, asked)}, asked)))


def _asked(quote: Quote, directory: Path, port: int) -> None:
    """What a block asks with curl; an answer has other numbers, and the words of classes."""
    for (program, *words), expected in list(sessions(quote.text))[1:]:
        assert program == "curl" and words[:2] == ["-s", "localhost:8000/predict"], shlex.join(words)
        if words[2] == "--json":
            body, kind = words[3].encode(), "application/json"
        else:
            assert words[2] == "-H" and words[4] == "--data-binary"
            body, kind = (directory / words[5].removeprefix("@")).read_bytes(), words[3].partition(": ")[2]
        status, answer = ask(port, body, "/predict", kind)
        assert status == 200 and _form(answer) == _form(json.loads(expected)), answer


def _form(value: Any) -> Any:
    """Keys, and the kinds of values."""
    if isinstance(value, dict):
        return {key: _form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_form(item) for item in value]
    return "number" if isinstance(value, int | float) else type(value).__name__
