"""`new --data`: what columns hold, and that the spec that is written is right and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from graphspec.cli import app
from graphspec.compiler import compile
from graphspec.data.drafting import draft, look
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.5, 1.5], "number"),
        (["1", "NA", "2.5", "2"], "number"),
        (["a", "b", "a", "b"], "category"),
        ([True, False, True], "category"),
        (["2024-01-01", "2024-02-03"], "date"),
        (["2024-01-01", "N/A", "2024-02-03"], "date"),
        (["31/12/2024", "01/02/2024"], "date"),
        (["12/31/2024 23:59", "01/02/2024 00:01"], "date"),
        (["31.12.2024", "soon", "01.02.2024", "soon"], "category"),
        (["N/A", "-", "N/A"], "category"),
        (["a long text of words", "and another text of them"], "text"),
        ([["a"], ["b", "c"]], "tokens"),
        ([None, None], "left"),
        (["x", "x"], "left"),
        ([str(i) for i in range(100)], "left"),
        ([f"id{i}" for i in range(100)], "left"),
    ],
)
def test_what_a_column_holds(values: list[Any], kind: str) -> None:
    assert look("x", pa.array(values)).kind == kind


def test_dates_of_other_formats_are_read_as_they_are_written(tmp_path: Path) -> None:
    lines = [
        f"{i % 12 + 1:02}/{i % 28 + 1:02}/2024,{i % 9 + 1:02}.0{i % 9 + 1}.2024,{i % 7}.5" for i in range(40)
    ]
    lines += [f"{i % 12 + 1:02}/{i % 12 + 1:02}/2024,NA,1.5" for i in range(3)]
    (tmp_path / "t.csv").write_text("sent,came,y\n" + "\n".join(lines) + "\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path)
    assert "column: sent, encode: date, format: '%m/%d/%Y'" in text and "fits the format" not in text
    assert "column: came, encode: date, format: '%d.%m.%Y'" in text and "fill: mean" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda note: None)
    (tmp_path / "t.csv").write_text("sent,y\n01/02/2024,1.5\n03/04/2024,2.5\n05/06/2024,1.5\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path)
    assert "# every row also fits the format %m/%d/%Y" in text and "format: '%d/%m/%Y'" in text


TABLE = """id,amount,region,plan,note,when,hidden,kind,index
{}
"""


def table(path: Path) -> Path:
    lines = [
        f"{i},{'NA' if i % 9 == 0 else i * 0.5},{'nesw'[i % 4]},{'' if i % 7 == 0 else 'pro'},"
        f"some words about {i % 5} things,2024-0{i % 9 + 1}-11,{i % 3},{'ab'[i % 2]},{i % 6}"
        for i in range(60)
    ]
    (path / "t.csv").write_text(TABLE.format("\n".join(lines)))
    return path / "t.csv"


@pytest.mark.parametrize("targets", [["kind"], ["amount"], ["kind", "amount", "hidden"], ["index"]])
def test_what_is_written_is_right_and_trains(tmp_path: Path, targets: list[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(draft("s", table(tmp_path), targets, tmp_path))
    program = compile(path, settings={"train.epochs": 1})
    result = train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", tell=lambda note: None)
    assert result.epochs == 1 and len(program.outputs) == len(targets)
    assert "#   id: it numbers the rows" in path.read_text()


def test_the_command_writes_a_spec_for_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["new", "s", "--data", "t.csv", "--target", "kind"])
    assert run.exit_code == 0 and "graphspec train s.yaml" in run.output
    assert CliRunner().invoke(app, ["check", "s.yaml"]).exit_code == 0
    assert CliRunner().invoke(app, ["new", "t", "--data", "t.csv"]).exit_code == 2


@pytest.mark.parametrize(
    ("targets", "folder", "code"), [(["knd"], ".", "data-column"), (["kind"], "inner", "data-outside")]
)
def test_what_cannot_be_drafted_is_refused(
    tmp_path: Path, targets: list[str], folder: str, code: str
) -> None:
    with pytest.raises(SpecError) as caught:
        draft("s", table(tmp_path), targets, tmp_path / folder)
    assert caught.value.diagnostics[0].code == code
