"""`graphspec check FILE...` starts without typer, and says what it says with typer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.checking import check_plainly
from tests import ROOT
from tests.cli.test_cli import BAD, GOOD

WARNED = GOOD.replace("width: 8", "width: 8, unused: 1")


@pytest.fixture(autouse=True)
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"good": GOOD, "bad": BAD, "warned": WARNED, "no spec": "a: [", "-x": GOOD}.items():
        Path(f"{name}.yaml").write_text(text)


@pytest.mark.parametrize(
    "words",
    [
        ["good.yaml"],
        ["./bad.yaml"],
        ["warned.yaml", "bad.yaml", "good.yaml", "bad.yaml"],
        ["no spec.yaml"],
        ["./-x.yaml"],
    ],
)
def test_it_says_what_typer_says(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = check_plainly(words)
    shown = capsys.readouterr()
    expected = CliRunner().invoke(app, ["check", *words])
    assert (code, shown.out, shown.err) == (expected.exit_code, expected.stdout, expected.stderr)


@pytest.mark.parametrize(
    "words",
    [[], ["."], ["-"], ["none.yaml"], ["bad.yaml", "--json"], ["-x.yaml"], ["good.yaml", "none.yaml"]],
)
def test_what_is_not_a_file_is_left_to_typer(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert check_plainly(words) is None
    assert capsys.readouterr() == ("", "")


def test_a_process_imports_no_typer() -> None:
    code = (
        "import sys; sys.argv = ['graphspec', 'check', 'good.yaml', 'bad.yaml']\n"
        "from graphspec.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, {'typer', 'rich', 'torch', 'numpy'} & set(sys.modules))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.stdout.endswith("1 set()\n"), result.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "graphspec", "check", "good.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment)
    os.close(writer)
    assert (process.returncode, process.stderr) == (1, b"")
