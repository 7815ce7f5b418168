"""`new --data`: what columns hold, and that the spec that is written is right and trains."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from math import pi, sin
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.data.columns import Writing
from graphspec.data.drafting import CURVED_ROWS, draft, samples
from graphspec.data.drafting.images import images
from graphspec.data.drafting.inputs import CURVED
from graphspec.data.drafting.looks import alone, gaps_of, look
from graphspec.data.drafting.notes import headless
from graphspec.data.drafting.rhythm import Ask
from graphspec.data.drafting.texts import SIZES, TextLook, size_for, weights
from graphspec.data.loading import load, load_file
from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests import bundled


@bundled(
    16,
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
        (["N/A", "-", "N/A"], "left"),
        (["a long text of words", "and another text of them"], "text"),
        ([["a"], ["b", "c"]], "tokens"),
        ([[0.5, 1.0], [1.5, 2.0]], "vector"),
        ([[0.5, 1.0], [1.5]], "left"),
        ([[0.5, 1.0], None], "left"),
        ([b"no image", b"neither"], "left"),
        ([time(12), time(13)], "left"),
        ([timedelta(1), timedelta(2)], "left"),
        ([Decimal("0.5"), Decimal("1.5")], "number"),
        ([{"a": 1}, {"a": 2}], "left"),
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


@pytest.mark.parametrize(
    ("values", "gaps"),
    [
        (["red", "N/A", "blue", "-", "?"], ("-", "?", "N/A")),
        (["1", "NA", "None"], ("NA", "None")),
        (["brick", "None", "wood"], ()),
        (["DE", "NA", "FR"], ()),
        (["DE", "NA", "France"], ("NA",)),
        (["+", "-", "0", "?"], ("?",)),
        (["x", "-", "x"], ()),
    ],
)
def test_texts_that_stand_for_missing_values(values: list[str], gaps: tuple[str, ...]) -> None:
    assert gaps_of(pa.array(values)) == gaps


def test_missing_values_are_missing_in_every_column(tmp_path: Path) -> None:
    """`na_values` are those of the table, and so those of one column are missing in the others."""
    lines = [f"{'NA' if i % 9 == 0 else i},{['DE', 'NA', 'FR'][i % 3]},{'abc?'[i % 4]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("amount,country,y\n" + "\n".join(lines) + "\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path)
    assert "na_values: ['', '?', NA]" in text and "vocabulary: [4], fill: missing" in text
    assert "missing: ignore" in text and "# 3 classes" in text
    (tmp_path / "s.yaml").write_text(text)
    compile(tmp_path / "s.yaml", settings={"train.epochs": 1}).fit(device="cpu", run_dir=tmp_path / "run")


def test_other_rows_may_lack_cells_that_all_rows_have_here(tmp_path: Path) -> None:
    """Of columns of every kind, where cells of one are missing."""
    rows = [
        (i % 7 if i % 9 else "", f"{i / 7}$", "ab"[i % 2], f"{'xy'[i % 2]}; z", f"2024-01-{i % 28 + 1:02}")
        for i in range(60)
    ]
    lines = [
        ",".join(map(str, (*row, f"some {i % 5} words here", i % 3 + 0.5))) for i, row in enumerate(rows)
    ]
    header = "amount,price,region,kinds,when,note,y\n"
    (tmp_path / "t.csv").write_text(header + "\n".join(lines) + "\n")
    (tmp_path / "other.csv").write_text(f"{header},,,,,,1.5\n")
    (tmp_path / "s.yaml").write_text(draft("s", tmp_path / "t.csv", ["y"], tmp_path))
    program, cpu = compile(tmp_path / "s.yaml"), torch.device("cpu")
    assert (
        len(load_file(program, tmp_path / "other.csv", cpu, load(program, None, tmp_path, cpu).encoders)) == 1
    )


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
    assert "key: id" in path.read_text()


def test_the_command_writes_a_spec_for_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["new", "s", "--data", "t.csv", "--target", "kind"])
    assert run.exit_code == 0 and "graphspec train s.yaml" in run.output
    assert CliRunner().invoke(app, ["check", "s.yaml"]).exit_code == 0
    assert CliRunner().invoke(app, ["new", "start"]).exit_code == 0
    assert CliRunner().invoke(app, ["fmt", "--check", "s.yaml", "start.yaml"]).exit_code == 0
    run = CliRunner().invoke(app, ["new", "t", "--data", "t.csv"])
    assert run.exit_code == 1 and "name it: `--target COLUMN`" in run.output and "`amount`" in run.output
    assert CliRunner().invoke(app, ["new", "t", "--target", "kind"]).exit_code == 2


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["5.1", "3.5", "1"], "all names"),
        (["5.1", "3.5", "setosa"], "some names"),
        (["7", "12"], "all names"),
        (["0", "1", "2"], None),  # which count the columns
        (["1", "2"], None),
        (["2019", "2020", "country"], None),
        (["a", "b.5", "1e"], None),
        (["."], None),
    ],
)
def test_a_header_that_is_a_row_is_noted(names: list[str], note: str | None) -> None:
    found = headless(names)
    assert (found or "").startswith(note or "") and (found is None) == (note is None)


@pytest.mark.parametrize(
    ("values", "writing"),
    [
        (["12%", "7.5 %", "-3%"], Writing(unit="%")),
        (["3 kg", "12.5 kg", None, "4"], Writing(unit="kg")),
        (["$1,200", "$950"], Writing("$", None, ",")),
        (["60 km/h", "80 km/h"], Writing(unit="km/h")),
        (["1,234.5", "950"], Writing(thousands=",")),
        (["1.234.567", "950"], Writing(thousands=".")),
        (["1.221", "950"], None),  # which are read as numbers
        (["1.5 kg", "2.250 kg"], Writing(unit="kg")),
        (["1.250 kg", "2.250 kg"], Writing(unit="kg")),
        (["1,5 kg", "2,250 kg"], None),
        (["3 kg", "4 lb"], None),
        (["3 kg", "unknown"], None),
        (["030 123 456", "040 123 456"], None),
        (["12", "13"], None),
        (["a", "b"], None),
        (["2024-01-01", "2024-01-02"], None),
        ([1.5, 2.5], None),
    ],
)
def test_numbers_that_are_texts_are_read_by_keys(values: list[Any], writing: Writing | None) -> None:
    assert look("weight", pa.array(values)).writing == writing


def test_numbers_with_units_are_those_that_they_say(tmp_path: Path) -> None:
    rows = [f'{60 + i} min,"${i},000.50",{i % 9} %,{i * 1.5}' for i in range(1, 40)]
    (tmp_path / "t.csv").write_text("runtime,gross,share,y\n" + "\n".join(rows) + "\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path)
    assert (
        "encode: number, unit: min" in text and "prefix: $$, thousands: ','" in text and "unit: '%'" in text
    )
    data = load(compile(text), None, tmp_path, torch.device("cpu"))
    assert data.encoders is not None
    curves = {name: data.encoders.encoders[name].curves[0] for name in ("runtime", "gross", "share")}  # type: ignore[attr-defined]
    assert 75 < curves["runtime"].shift < 85 and 18_000 < curves["gross"].shift < 22_000
    assert 3 < curves["share"].shift < 5


def drafted(folder: Path, lines: list[str], target: str, told: list[str] | None = None) -> str:
    """The first spec of the lines of a table, which reads them."""
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = draft("s", folder / "t.csv", [target], folder, (told if told is not None else []).append)
    (folder / "s.yaml").write_text(text, encoding="utf-8")
    load(compile(folder / "s.yaml"), None, folder, torch.device("cpu"))
    return text


def test_words_among_numbers_and_dates_are_gaps(tmp_path: Path) -> None:
    months = ["Jan 06, 2023", "Feb 11, 2023", "Mar 30, 2024"]
    lines = [
        ",".join(
            (
                "unknown" if i % 9 == 0 else str(i),
                "pending" if i % 8 == 0 else f'"{months[i % 3]}"',
                "ab"[i % 2],
            )
        )
        + f",{i}.5"
        for i in range(90)
    ]
    lines = [line.replace("Jan 06", f"Jan {i % 28 + 1:02}") for i, line in enumerate(lines)]
    text = drafted(tmp_path, ["pieces,sent,kind,y", *lines], "y")
    assert "na_values: ['', pending, unknown]" in text and "columns: [pieces], encode: number" in text
    assert "column: sent, encode: date, format: '%b %d, %Y'" in text
    lines[0] = lines[0].replace(",b,", ",unknown,").replace(",a,", ",unknown,")
    told: list[str] = []
    text = drafted(tmp_path, ["pieces,sent,kind,y", *lines], "y", told)
    meant = "if a word is a value of its own, write another one in the file"
    assert told == [f"`pending` in `sent` is read as missing, in 12 of 90 rows: {meant}"] and told[0] in text
    for columns, line in (("y,x", "pending,{}.5"), ("x,y", "pending,pending")):
        few = [f"{i}.5,{i % 30}.5" if i % 9 else line.format(i) for i in range(90)]
        text = drafted(tmp_path, [columns, *few], "y", told)
        assert (
            "na_values: ['', pending]" in text and "y: {loss: mse, metrics: [mae], missing: ignore}" in text
        )
    assert told[1] == f"`pending` in `y` is read as missing, in 10 of 90 rows: {meant}"
    often = [f"{i},{i % 40}.5" if i % 3 == 0 else f"{i % 7},censored" for i in range(120)]
    assert "  y: {column: y, encode: number, scale: standard}" in drafted(tmp_path, ["x,y", *often], "y")
    text = drafted(tmp_path, ["pieces,sent,kind,y", *lines], "y")
    assert "na_values: ['', pending]" in text  # `unknown` is a kind


@pytest.mark.parametrize(
    ("dates", "parts"),
    [
        ([f"{1970 + i % 12}-01-01" for i in range(60)], "year"),
        ([f"{2020 + i % 3}-{i % 12 + 1:02}-01" for i in range(60)], "year, month_sin, month_cos"),
        ([f"2024-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(60)], "month_sin, month_cos, weekday"),
        ([f"2024-03-05T{i % 24:02}:00:00" for i in range(60)], "hour_sin, hour_cos"),
    ],
    ids=["years", "months", "days", "hours"],
)
def test_of_dates_that_is_read_in_which_they_differ(dates: list[str], parts: str, tmp_path: Path) -> None:
    text = drafted(tmp_path, ["at,y", *(f"{date},{i}.5" for i, date in enumerate(dates))], "y")
    assert f"encode: date, parts: [{parts}], scale" in text


def test_what_dates_look_like(tmp_path: Path) -> None:
    lines = [
        f"2024-03-{i % 28 + 1:02}T0{i % 9}:30:00+02:00,{i % 12 + 1:02}/2024,"
        f"{f'{i % 28 + 1:02}.05.2023' if i % 2 else f'2023-05-{i % 28 + 1:02}'},{i}.5"
        for i in range(60)
    ]
    text = drafted(tmp_path, ["at,month,mixed,y", *lines], "y")
    assert "column: at, encode: date, parts: [month_sin, month_cos, weekday, hour_sin" in text  # in UTC
    assert "column: month, encode: date, format: '%m/%Y', parts: [month_sin, month_cos]" in text
    zones = [
        f"2024-03-{i % 28 + 1:02}T0{i % 9}:{i:02}:00{'Z' * (i % 2)},1000-{i % 12 + 1:02},{i}.5"
        for i in range(60)
    ]
    mixed = drafted(tmp_path, ["at,part,y", *zones], "y")
    assert "#   at: its dates are written in 2 ways" in mixed and "key:" not in mixed
    assert "columns: [part], encode: category" in mixed
    assert "#   mixed: its dates are written in 2 ways, as `2023-05-01` and `02.05.2023`" in text


def test_decimal_commas_beside_units_and_points_of_thousands(tmp_path: Path) -> None:
    lines = [
        f"1,{i % 90 + 10} m;{i + 1}.0{i + 10}.{i % 10}00;{i % 28 + 1:02}.05.2023;{'yes' if i % 2 else 'no'}"
        for i in range(60)
    ]
    text = drafted(tmp_path, ["height;income;when;y", *lines], "y")
    assert "delimiter: ;, decimal: ','}" in text and "columns: [height], encode: number, unit: m" in text
    assert "columns: [income], encode: number, thousands: ." in text and "format: '%d.%m.%Y'" in text
    prices = [f"€ {i + 100},{i % 10}50\t{i}.5\t{i % 7}.25" for i in range(60)]
    text = drafted(tmp_path, ["price\tx\ty", *prices], "y")
    assert "decimal" not in text and "prefix: €, thousands: ','" in text


def means(folder: Path, lines: list[str]) -> dict[str, float]:
    """The means of the numbers of a table, as its first spec reads them."""
    text = drafted(folder, lines, "y")
    encoders = load(compile(text), None, folder, torch.device("cpu")).encoders
    assert encoders is not None
    found = {name: getattr(each, "curves", None) for name, each in encoders.encoders.items()}
    return {name: curves[0].shift for name, curves in found.items() if curves}


def test_words_that_a_target_has_often_are_classes(tmp_path: Path) -> None:
    """As sizes are; and a word that another column has as a value, with a note."""
    told: list[str] = []
    sizes = [f"{i}.5,{30 + i // 4 % 26 if i % 4 == 0 else 'SML'[i % 3]}" for i in range(120)]
    text = drafted(tmp_path, ["x,y", *sizes], "y", told)
    assert "y: {loss: sparse_categorical_crossentropy" in text and "missing: ignore" not in text
    states = [f"{i}.5,{['pending', 'done'][i % 2]},{i if i % 4 else 'pending'}" for i in range(120)]
    drafted(tmp_path, ["x,state,y", *states], "y", told)
    meant = "if a word means a missing value, leave its cells empty in the file"
    assert told == [
        f"`L`, `M`, `S` in `y`, as each of its other values, is one of 29 classes: {meant}",
        f"`pending` in `y`, as each of its other values, is one of 91 classes: {meant}",
    ]
    cells = [f"{i},25" if i % 4 == 0 else ["open", "late"][i % 2] for i in range(120)]
    prices = [f'{i}.5,"{cell}"' for i, cell in enumerate(cells)]
    assert "encode: set" not in drafted(tmp_path, ["x,y", *prices], "y")
    few = [f"{i}.5,{i if i % 4 else ['open', 'late'][i % 8 // 4]}" for i in range(120)]
    assert "y: {loss: mse, metrics: [mae], missing: ignore}" in drafted(tmp_path, ["x,y", *few], "y")


def test_marks_of_thousands_that_may_be_decimal_are_noted(tmp_path: Path) -> None:
    """And what the note says to write is right."""
    for last, notes in (("48,137", 1), ("950", 0), ("1,048,137", 0), ("2,137.5", 0)):
        told: list[str] = []
        rows = [f'"{40 + i % 9},{100 + i}",{i}.5' for i in range(40)]
        text = drafted(tmp_path, ["lat,y", *rows, f'"{last}",7.5'], "y", told)
        assert "columns: [lat], encode: number, thousands: ','" in text and len(told) == notes
        if notes:
            assert told[0].startswith("numbers such as `40,100` in `lat` are read with `,` between thousands")
            assert f"# Note: {told[0]}." in text and "write `decimal: ','` instead of `thousands`" in told[0]
            decimal = text.replace("number, thousands: ','", "number, decimal: ','")
            encoders = load(compile(decimal), None, tmp_path, torch.device("cpu")).encoders
            assert encoders is not None
            assert 40 < encoders.encoders["lat"].curves[0].shift < 50  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "cells",
    [
        [f"{i}.25" if i % 20 == 0 else "unknown" for i in range(600)],
        [f"{i} kg" if i % 20 == 0 else "unknown" for i in range(600)],
        [str(i) for i in range(60)],
        [f"{i}" if i % 20 == 0 else "" for i in range(600)],
    ],
)
def test_what_is_asked_for_is_a_number_however_few_rows_have_one(tmp_path: Path, cells: list[str]) -> None:
    told: list[str] = []
    for name in ("y", "id"):
        text = drafted(
            tmp_path, [f"x,{name}", *(f"0.{i},{cell}" for i, cell in enumerate(cells))], name, told
        )
        assert f"  {name}: {{loss: mse, metrics: [mae]" in text and "# Columns that" not in text
    assert ("missing: ignore" in text) is (len(cells) > 60) and len(told) == 2 * ("unknown" in cells)
    assert look("y", pa.array(cells)).kind in ("left", "category")


def test_marks_are_those_of_the_numbers_beside_words(tmp_path: Path) -> None:
    """Numbers may have exponents."""
    rows = [f"{i}.5\t{f'-{i}{i % 10},25' if i % 9 else 'open'}" for i in range(60)]
    text = drafted(tmp_path, ["x\ty", *rows], "y")
    assert "na_values: ['', open]" in text and "y: {loss: mse, metrics: [mae], missing: ignore}" in text
    assert "y: {column: y, encode: number, decimal: ',', scale: standard}" in text
    for delimiter, name in ((",", "size"), (";", "facts")):
        tiny = [f'"{f"{i},5" if i else "1,5E-03"}"{delimiter}{i % 40}' for i in range(60)]
        found = means(tmp_path, [f"size{delimiter}y", *tiny])
        assert 25 < found[name] < 35 and "encode: set" not in (tmp_path / "s.yaml").read_text()


def test_rows_that_are_looked_at_lie_all_over_a_sorted_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows are of the first month and of the first users; the last has a class of its own."""
    monkeypatch.setattr(samples, "ROWS", 60)
    rows = [
        f"{n},{1 + n // 84},u{n // 50},{n % 50}.5,{'ab'[n % 2] if n < 999 else 'c'}" for n in range(1_000)
    ]
    text = drafted(tmp_path, ["place,month,user,size,art", *rows], "art")
    assert "#   place: it numbers the rows" in text and "key: place" in text
    assert "columns: [month, size]" in text
    assert "columns: [user], encode: category, vocabulary: [22]" in text
    assert "units: 3, activation: softmax" in text and "values: [a, b, c]" in text
    assert "batch_size: 64" in text and "curves" in text  # as of all 1,000 rows


def test_series_are_known_of_the_whole_table_and_their_rhythm_of_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "ROWS", 140)
    days = [date(2024, 1, 1) + timedelta(n) for n in range(70)]
    rows = [f"s{s},{day},{n % 7 + s}.25" for s in range(20) for n, day in enumerate(days)]
    (tmp_path / "t.csv").write_text("\n".join(["who,day,y", *rows]) + "\n")
    text = draft("t", tmp_path / "t.csv", ["y"], tmp_path, ask=Ask("day", ("who",)))
    assert "params: {past: 14, next: 7}" in text and "vocabulary: [22]" in text


def test_the_effect_of_a_number_need_not_be_straight(tmp_path: Path) -> None:
    """Numbers go through a curve each, besides, where there are rows to learn it from, and not too many."""
    rows = [f"{i}.5,{i * i}.5,k{i % 3},{i % 40}.5" for i in range(CURVED_ROWS)]
    text = drafted(tmp_path, ["a,b,kind,y", *rows], "y")
    assert (
        "  facts_curves: {block: curves, from: facts}" in text and "facts, facts_curves, kind_codes]" in text
    )
    through = compile(text).module(seed=0).get_submodule("facts_curves")
    facts = torch.linspace(-2, 2, 9)[:, None].repeat(1, 2)
    curves = through(facts).view(9, 2, 16)
    alone = through(facts * torch.tensor([1.0, 0.0])).view(9, 2, 16)
    assert torch.equal(curves[:, 0], alone[:, 0]) and not torch.equal(curves[:, 1], alone[:, 1])
    bends = (curves[2:] - 2 * curves[1:-1] + curves[:-2]).abs().sum(0) > 1e-3
    assert bends.sum() > 8
    assert "curves" not in drafted(tmp_path, ["a,b,kind,y", *rows[1:]], "y")
    wide = [*(f"x{n}" for n in range(CURVED + 1)), "y"]
    many = (",".join([f"{i % 50}.5"] * len(wide)) for i in range(CURVED_ROWS))
    assert "curves" not in drafted(tmp_path, [",".join(wide), *many], "y")


def test_numbers_that_come_again_are_values_too(tmp_path: Path) -> None:
    """`fee` is 0 for one kind alone; of `hours` 0 alone is frequent; of `size` no number occurs 20 times."""
    fees = [0.0 if n % 3 == 0 else 3.0 + n % 3 if n % 10 else 99.0 + n for n in range(150)]
    rows = [f"{fee},{n % 40}.5,{n * (n % 4 > 0)},{'abc'[n % 3]}" for n, fee in enumerate(fees)]
    (tmp_path / "t.csv").write_text("\n".join(["fee,size,hours,kind", *rows]))
    text = draft("t", tmp_path / "t.csv", ["kind"], tmp_path)
    assert "exact: {columns: [fee, hours], encode: category, vocabulary: [4, 2]}" in text
    assert "facts: {columns: [fee, size, hours], encode: number" in text and "[exact_codes, facts]" in text
    (tmp_path / "t.yaml").write_text(text)
    training = load(compile(tmp_path / "t.yaml"), None, tmp_path, torch.device("cpu")).training
    (batch,) = training.batches(150)
    assert batch.arrays["exact"].unique().tolist() == [0, 1, 2, 3, 4, 5]


def test_steps_of_a_scale_are_no_values(tmp_path: Path) -> None:
    """`minutes` has 30 numbers that come again; so does `calls`, of which a third of the rows have 0."""
    rows = [f"{n % 30},{n % 31 if n % 3 else 0},{'abc'[n % 3]}" for n in range(930)]
    text = drafted(tmp_path, ["minutes,calls,kind", *rows], "kind")
    assert "exact: {columns: [calls], encode: category, vocabulary: [2]}" in text
    few = [f"{n % 20},{n % 31 if n % 3 else 0},{'abc'[n % 3]}" for n in range(930)]
    text = drafted(tmp_path, ["minutes,calls,kind", *few], "kind")
    assert "exact: {columns: [minutes, calls], encode: category, vocabulary: [21, 2]}" in text


def test_marks_of_numbers_keep_their_scale(tmp_path: Path) -> None:
    """A mark is of thousands where three digits follow it in the whole column, and not the decimal one."""
    kilos = ["1{0}5 kg", "2{0}250 kg", "3{0}75 kg", "4{0}5 kg"]
    for mark, delimiter in ((",", ";"), (".", ",")):
        columns = (
            [kilo.format(mark), f"{i % 8}{mark}250 l", f"{i}{mark}5"]
            for i in range(40)
            for kilo in [kilos[i % 4]]
        )
        found = means(tmp_path, ["w;v;y".replace(";", delimiter), *map(delimiter.join, columns)])
        assert 2.5 < found["w"] < 3.5 and 3 < found["v"] < 4.5 and 15 < found["y"] < 25
    lines = [f"{i % 9 + 1},{i:03}\t0.{i % 7}\t{i % 9}.{i % 10} kg\t{i % 50}.{i % 3}" for i in range(100, 160)]
    found = means(tmp_path, ["pop\trate\tmass\ty", *lines])
    assert 4_000 < found["pop"] < 7_000 and found["facts"] < 1 and 3 < found["mass"] < 6 and found["y"] > 15
    lines = [
        f"1.00{i % 9},5{i % 9} €;10.0.{i % 9}.1;{'NA' if i % 7 else f'0{i % 9 + 1}.02.2023'};{i % 5},5"
        for i in range(60)
    ]
    text = drafted(tmp_path, ["price;ip;when;y", *lines], "y")
    assert "encode: set" not in text and "na_values: ['', NA]" in text and "format: '%d.%m.%Y'" in text
    assert 1_000 < means(tmp_path, ["price;ip;when;y", *lines])["price"] < 1_010
    lines = [f"{i},5;{i}.25;{i}.5;{i % 50}.3" for i in range(60)]
    found = means(tmp_path, ["comma;point;more;y", *lines])
    text = drafted(tmp_path, ["comma;point;more;y", *lines], "y")
    assert "columns: [point, more], encode: number, decimal: ." in text and 15 < found["y"] < 30
    assert 20 < found["facts"] < 40 and 20 < found["point"] < 40
    classes = drafted(tmp_path, ["x;y", *(f"{i},5;{i % 3},0" for i in range(40))], "y")
    assert "encode: category, values: ['0,0', '1,0', '2,0']" in classes
    words = [f"{i},5;{['u.a.', 'z.B.', 'k.A.'][i % 3]}" for i in range(40)]
    assert "values: [k.A., u.a., z.B.]" in drafted(tmp_path, ["x;y", *words], "y")


@pytest.mark.parametrize(("form", "mean"), [("{} kg", 10.5), ('"{},500"', 11_000)])
def test_a_target_that_measures_is_a_number_however_few_it_has(
    tmp_path: Path, form: str, mean: float
) -> None:
    lines = [f"{i}.5,{form.format(i % 20 + 1)}" for i in range(60)]
    assert abs(means(tmp_path, ["x,y", *lines])["y"] / mean - 1) < 0.2


def test_a_last_row_that_is_a_footer_is_noted(tmp_path: Path) -> None:
    told: list[str] = []
    lines = [f"k{i},{i % 5 or ''},{i % 3}.5" for i in range(40)]
    drafted(tmp_path, ["key,x,y", *lines], "y", told)
    assert not told
    text = drafted(tmp_path, ["key,x,y", *lines, "Total: 40 rows,,"], "y", told)
    assert told == ["the last row holds only `Total: 40 rows`: if it is a footer, remove it from the file"]
    assert f"# Note: {told[0]}." in text


def test_keys_sparse_columns_and_sets_are_told_with_their_reasons(tmp_path: Path) -> None:
    genres = ["Drama", "Drama, Comedy", "Action, Comedy", "Action, Drama, Comedy", "Comedy"]
    names = [f"Ann No{i // 2} Lee" for i in range(300)]
    rows = [
        {
            "ID": 7 * i % 3001,
            "genres": genres[i % 5],
            "director": names[i],
            "note": "seen" if i % 40 == 0 else None,
            "when": str(date(2000, 1, 1) + timedelta(days=i)),
            "box": 10 ** (i % 7),
            "y": i * 0.5,
        }
        for i in range(300)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    text = draft("s", tmp_path / "t.parquet", ["y"], tmp_path)
    assert "#   ID: whole numbers that differ in every row identify rows: its name says so" in text
    assert "key: ID" in text
    assert "genres: {column: genres, encode: set, vocabulary: 3, separator: ', '}" in text
    assert "#   note: 292 of 300 rows have no value" in text
    assert "director_code: {layer: Dropout, rate: 0.5}" in text and "director_code" in text.split("all: ")[1]
    assert "director: {column: director, encode: text" in text
    assert "{split: 0.2, last_by: when}  # rows have dates" in text
    assert "transform: {box: log1p}" in text
    assert "early_stopping" in text and "reduce_lr_on_plateau" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1


def test_numbers_far_from_the_mean_are_read_up_to_three_deviations(tmp_path: Path) -> None:
    rows = [f"{1000 if i == 7 else -(i % 10)},{i % 3}.5" for i in range(60)]
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    (tmp_path / "s.yaml").write_text(draft("s", tmp_path / "t.csv", ["y"], tmp_path))
    data = load(compile(tmp_path / "s.yaml"), None, tmp_path, torch.device("cpu"))
    parts = [data.training, data.validation]
    read = torch.cat([next(part.batches(60)).arrays["facts"].flatten() for part in parts if part is not None])
    assert read.abs().max() == 3


def test_numbers_that_name_something_are_categories() -> None:
    draw = [i * 7 % 40 for i in range(200)]
    assert look("store_id", pa.array(draw)).kind == look("zipCode_key", pa.array(map(str, draw))).kind
    assert look("store_id", pa.array(draw)).kind == "category"
    assert look("rooms", pa.array(draw)).kind == look("number_of_rooms", pa.array(draw)).kind == "number"
    assert look("customerId", pa.array([*range(1000, 3000), 1000])).kind == "left"


def test_a_class_that_is_rare_is_named_and_texts_that_differ_are_keys(tmp_path: Path) -> None:
    lines = [f"u{i:03}x,{i % 9},{'ab'[i % 2]}" for i in range(60)] + ["end,3,c"]
    (tmp_path / "t.csv").write_text("code,x,kind\n" + "\n".join(lines) + "\n")
    text = draft("s", tmp_path / "t.csv", ["kind"], tmp_path)
    assert "key: code" in text and "#   code: a different value in every row" in text
    assert "kind: {column: kind, encode: category, values: [a, b, c]}  # 3 classes" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1


def test_lists_are_targets(tmp_path: Path) -> None:
    rows = [{"x": i * 0.5, "tags": [["a"], ["a", "b"], ["c"]][i % 3], "place": [i, 0.5]} for i in range(30)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    text = draft("s", tmp_path / "t.parquet", ["tags", "place"], tmp_path)
    assert (
        "tags: {loss: binary_crossentropy" in text and "place: {layer: Dense, from: hidden, units: 2}" in text
    )
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1


def test_a_forecast_has_the_seasons_of_its_values(tmp_path: Path) -> None:
    times = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(24 * 40)]
    shape = [8 * sin(2 * pi * t.hour / 24) + (5 if t.weekday() > 4 else 0) + 0.01 * t.day for t in times]
    lines = [
        f"{shop},{t},{y + 10 * n}" for n, shop in enumerate("ab") for t, y in zip(times, shape, strict=True)
    ]
    (tmp_path / "t.csv").write_text("shop,at,sales\n" + "\n".join(lines) + "\n")
    text = draft("s", tmp_path / "t.csv", ["sales"], tmp_path, ask=Ask("at", ("shop",)))
    assert "params: {past: 168, next: 24}  # values are alike after 24 steps, and after 168" in text
    assert "windows: {by: shop, order: at, past: $past, next: $next, every: 1h, season: 168}" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1
    assert "past: 12, next: 6" in draft(
        "s", tmp_path / "t.csv", ["sales"], tmp_path, ask=Ask("at", ("shop",), 12, 6)
    )


def hourly(series: dict[str, int], without: Sequence[int] = ()) -> list[str]:
    """Lines of series by their numbers of hours, without the rows of some hours."""
    return [
        f"{name},{datetime(2024, 1, 1) + timedelta(hours=i)},{n * 10 + sin(i / 24 * 2 * pi) + i % 7}"
        for n, (name, hours) in enumerate(series.items())
        for i in range(hours)
        if i not in without
    ]


@pytest.mark.parametrize(
    ("without", "gaps"),
    [((), None), ((300,), "skip"), (range(50, 600, 70), "fill"), (range(100, 400), "skip")],
)
def test_gaps_that_few_windows_do_not_cross_are_filled(
    tmp_path: Path, without: Sequence[int], gaps: str | None
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("shop,at,sales\n" + "\n".join(hourly({"a": 600, "b": 600}, without)) + "\n")
    text = draft("s", path, ["sales"], tmp_path, ask=Ask("at", ("shop",), 48, 24))
    (tmp_path / "s.yaml").write_text(text)
    windows = yaml.safe_load(text)["data"]["windows"]
    assert windows.get("gaps") == gaps and ("missing: ignore" in text) == (gaps == "fill")
    told: list[str] = []
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    train(program, root=tmp_path, run_dir=tmp_path / "run", tell=told.append)
    possible = 2 * (600 - 72 + 1)
    count = int(told[0].split()[0].replace(",", ""))
    assert count == possible if gaps in (None, "fill") else count < possible


@pytest.mark.parametrize(
    ("lines", "series", "note"),
    [
        (hourly({"a": 200, "b": 200}), ("shop",), None),
        (hourly({"a": 200, "b": 200})[::-1], ("shop",), "fall in 398 rows of the same series: sort the file"),
        (hourly({"a": 200, "b": 200}), (), "repeat in 200 rows of the same series: name what tells series"),
        (hourly({"a": 200}) + hourly({"a": 3}), ("shop",), "repeat in 3 rows of the same series: leave one"),
    ],
)
def test_times_that_do_not_rise_are_noted(
    tmp_path: Path, lines: list[str], series: tuple[str, ...], note: str | None
) -> None:
    (tmp_path / "t.csv").write_text("shop,at,sales\n" + "\n".join(lines) + "\n")
    notes: list[str] = []
    draft("s", tmp_path / "t.csv", ["sales"], tmp_path, notes.append, Ask("at", series, 24, 12))
    assert len(notes) == (note is not None) and all((note or "") in each for each in notes)


@pytest.mark.parametrize("cells", ['["vip", "web"]|[]', "[3, 4.5]|[1]", '{"a": 1}|{"b": [2]}'])
def test_lists_of_json_in_texts_are_left_out(tmp_path: Path, cells: str) -> None:
    texts = cells.split("|") * 30
    columns = {"held": texts, "x": [f"{i % 7}.5" for i in range(60)], "y": ["0.5", "1.5"] * 30}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path)
    assert f"of JSON, as `{texts[0]}`: write the file as .jsonl" in text and "column: held" not in text
    with pytest.raises(SpecError, match=r"`held` cannot be a target.*of JSON"):
        draft("s", tmp_path / "t.csv", ["held"], tmp_path)


def test_arrays_of_several_axes_are_left_out_with_their_shape(tmp_path: Path) -> None:
    count = np.arange(60)
    np.savez(tmp_path / "t.npz", pages=np.zeros((60, 4, 3), np.float32), x=count % 9.5, y=count % 2)
    text = draft("s", tmp_path / "t.npz", ["y"], tmp_path)
    assert "pages: it holds arrays of 4 x 3, which an input of its name reads" in text
    assert "{shape: [4, 3]}" in text
    with pytest.raises(SpecError, match=r"`pages` cannot be a target"):
        draft("s", tmp_path / "t.npz", ["pages"], tmp_path)


@pytest.mark.parametrize(
    ("step", "rows", "season", "parts"),
    [
        (timedelta(hours=1), 400, 7, "hour_sin, hour_cos, weekday_sin, weekday_cos"),
        (timedelta(hours=1), 400, 24, "hour_sin, hour_cos"),
        (timedelta(hours=1), 48 + 1, 7, "hour_sin, hour_cos"),
        (timedelta(days=1), 800, 7, "weekday_sin, weekday_cos, day_of_year_sin, day_of_year_cos"),
        (timedelta(days=7), 60, 7, None),
    ],
)
def test_a_forecast_reads_the_parts_of_dates_that_come_again(
    tmp_path: Path, step: timedelta, rows: int, season: int, parts: str | None
) -> None:
    lines = [f"{datetime(2024, 1, 1) + i * step},{i % season},{i % 5}" for i in range(rows)]
    (tmp_path / "t.csv").write_text("at,y,x\n" + "\n".join(lines) + "\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path, ask=Ask("at", (), 12, 6))
    assert (f"parts: [{parts}]" in text) if parts else "clock" not in text
    assert "y_naive: {op: get_item, from: " in text
    (tmp_path / "s.yaml").write_text(text)
    assert compile(tmp_path / "s.yaml").outputs["y"].tensors[0].shape[1] == 6


def test_a_forecast_begins_as_the_naive_one_and_reads_what_is_known_in_advance(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = [
        f"{shop},{'Bonn' if shop == 'a' else 'Ulm'},{area},{date(2024, 1, 1) + timedelta(day)}"
        f",{int(day % 11 == 0)},{['', 'Easter'][day == 40]},{'xyz'[draw.integers(3)]}"
        f",{10 * (day % 7) + draw.normal():.3f}"
        for shop, area in (("a", 40), ("b", 55), ("c", 70))
        for day in range(70)
    ]
    header = "shop,city,area,day,open_late,holiday,mood,sales\n"
    (tmp_path / "t.csv").write_text(header + "\n".join(lines) + "\n")
    told: list[str] = []
    text = draft("s", tmp_path / "t.csv", ["sales"], tmp_path, told.append, Ask("day", ("shop",)))
    features = yaml.safe_load(text)["data"]["features"]
    assert features["ahead"]["columns"] == ["open_late"] and features["events"]["columns"] == ["holiday"]
    assert features["kinds"]["columns"] == ["city", "mood"] and features["facts"]["columns"] == ["area"]
    assert [note for note in told if "`open_late`, `holiday` are read of the steps to come" in note]
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    program.fit(device="cpu", run_dir=tmp_path / "run")
    values = Run(tmp_path / "run").evaluate(device="cpu")
    assert values["mae"] == pytest.approx(values["naive_mae"], rel=1e-5)


@pytest.mark.parametrize(
    ("of", "why", "season"),
    [
        (lambda day, noise: 9 * (day % 7) + noise, "the last season", 7),
        (lambda day, noise: np.cumsum(noise), "the last value", 1),
        (lambda day, noise: noise, "the mean of the past", 7),
    ],
)
def test_a_forecast_starts_from_what_is_closest_in_training_rows(
    tmp_path: Path, of: Any, why: str, season: int
) -> None:
    values = of(np.arange(200), np.random.default_rng(1).normal(size=200))
    rows = [f"{date(2024, 1, 1) + timedelta(day)},{value:.4f}" for day, value in enumerate(values)]
    (tmp_path / "t.csv").write_text("day,y\n" + "\n".join(rows) + "\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path, ask=Ask("day", (), 14, 10))
    assert f"# {why}: of what is simple, the closest in training" in text
    assert "first_gain: 0.2," in text  # 0.4 / sqrt(4), as a fifth of 200 days has 10 steps 4 times
    (tmp_path / "s.yaml").write_text(text)
    assert compile(tmp_path / "s.yaml").outputs["y"].tensors[0].shape[1] == 10


@pytest.mark.parametrize("series", [(), ("shop",)])
def test_a_forecast_that_repeats_the_past_has_its_digits(tmp_path: Path, series: tuple[str, ...]) -> None:
    draw, days = np.random.default_rng(3), 60 if series else 120
    prices = [round(float(x), 2) for x in 500 + np.cumsum(draw.normal(0, 9, 120))]
    days_of = [date(2024, 1, 1) + timedelta(n % days) for n in range(120)]
    rows = [
        f"{'ab'[n // days]},{day},{price}" for n, (day, price) in enumerate(zip(days_of, prices, strict=True))
    ]
    (tmp_path / "t.csv").write_text("\n".join(["shop,day,price", *rows]))
    text = draft("s", tmp_path / "t.csv", ["price"], tmp_path, ask=Ask("day", series, 14, 3))
    assert "# the last value" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    program.fit(device="cpu", run_dir=tmp_path / "run")
    found = Run(tmp_path / "run").predict(tmp_path / "t.csv", device="cpu").column("price").to_pylist()
    assert len(found) == 3 * (1 + len(series)) and set(found) <= {*prices}


def test_times_of_a_forecast_are_dates_or_numbers(tmp_path: Path) -> None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    rows = [f"{months[i % 12]} 1 {2000 + i // 12},{'ab'[i % 2]},{i % 5}.5" for i in range(60)]
    (tmp_path / "t.csv").write_text("month,kind,y\n" + "\n".join(rows) + "\n")
    assert "every: 1mo" in draft("s", tmp_path / "t.csv", ["y"], tmp_path, ask=Ask("month"))
    with pytest.raises(SpecError, match=r"column `kind` holds no times: 2 values"):
        draft("s", tmp_path / "t.csv", ["y"], tmp_path, ask=Ask("kind"))


@pytest.mark.parametrize(
    ("delimiter", "form", "past"),
    [
        (";", "{0},{1};-{1},5", "past: {columns: [sales, heat], encode: number, steps"),
        (";", "{0},{1};-{2}.5", "past_2: {columns: [heat], encode: number, decimal: ., steps"),
        ("\t", "{0}.{1}€\t-{1}.5", "past_1: {columns: [sales], encode: number, unit: €, steps"),
        (
            ";",
            "1.{0}00,{1};{1},5",
            "past_1: {columns: [sales], encode: number, thousands: ., decimal: ',', steps",
        ),
    ],
)
def test_a_forecast_reads_numbers_as_they_are_written(
    tmp_path: Path, delimiter: str, form: str, past: str
) -> None:
    rows = [f"{date(2024, 1, 1) + timedelta(i)}{delimiter}{form.format(i % 7, i % 9, i)}" for i in range(120)]
    (tmp_path / "t.csv").write_text("\n".join([delimiter.join(("day", "sales", "heat")), *rows]) + "\n")
    text = draft("s", tmp_path / "t.csv", ["sales"], tmp_path, ask=Ask("day", (), 12, 6))
    assert past in text and "sales_naive: {op: get_item, from: before, key: ':, :, 0'}" in text
    (tmp_path / "s.yaml").write_text(text)
    data = load(compile(tmp_path / "s.yaml"), None, tmp_path, torch.device("cpu"))
    assert data.encoders is not None
    shift = data.encoders.encoders["sales"].curves[0].shift  # type: ignore[attr-defined]
    assert (1_000 if form.startswith("1") else 2) < shift < (1_600 if form.startswith("1") else 5)


def test_new_notes_that_texts_need_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    rows = [f"word{i} of word{i * 7 % 50} and word{i * 3 % 40},{i}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["text,y", *rows]) + "\n")
    run = CliRunner().invoke(app, ["new", "s", "--data", "t.csv", "--target", "y"])
    assert run.exit_code == 0 and "encode: text" in Path("s.yaml").read_text()
    assert "note: `encode: text` needs `tokenizers`, which is not installed: pip install" in run.stderr
    assert "installed" not in Path("s.yaml").read_text()
    monkeypatch.delitem(sys.modules, "tokenizers")
    run = CliRunner().invoke(app, ["new", "u", "--data", "t.csv", "--target", "y"])
    assert run.exit_code == 0 and "tokenizers" not in run.stderr


def test_the_command_notes_what_a_table_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i + 0.5},{i % 7} kg,{'xy'[i % 2]}" for i in range(20)]
    Path("t.csv").write_text("\n".join(rows) + "\n")
    run = CliRunner().invoke(app, ["new", "s", "--data", "t.csv", "--target", "x"])
    assert run.exit_code == 0 and run.stderr.count("note: ") == 1
    assert "write a line with names above it" in run.stderr
    written = Path("s.yaml").read_text()
    assert all(f"# Note: {line.removeprefix('note: ')}." in written for line in run.stderr.splitlines())
    assert CliRunner().invoke(app, ["check", "s.yaml"]).exit_code == 0
    run = CliRunner().invoke(app, ["new", "t", "--data", "t.csv", "--target", "x", "--json"])
    assert len(json.loads(run.stdout)["notes"]) == 1 and not run.stderr
    Path("t.csv").write_text("1.5,1.5\n2,3\n")
    run = CliRunner().invoke(app, ["new", "u", "--data", "t.csv", "--target", "1.5"])
    assert run.exit_code == 1 and "two columns `1.5`" in run.stderr and "line of names above it" in run.stderr


def picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 10 * (len(path.parent.name) if mode == "L" else 1)).save(path)


def test_a_folder_of_images_is_learned(tmp_path: Path) -> None:
    for index in range(6):
        picture(tmp_path / "pictures" / "ab"[index % 2] / f"{index}.png", (12, 20))
    text = draft("s", tmp_path / "pictures", [], tmp_path)
    assert (
        "image: {shape: [20, 12, 3]}" in text and "repeat: {filters: [32, 64, 128], pool: [1, 2, 2]}" in text
    )
    assert "resize" not in text.replace("# resized", "") and "# 2 classes" in text
    assert draft("s", tmp_path / "pictures", ["label"], tmp_path) == text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1


def test_images_that_a_table_names_are_learned(tmp_path: Path) -> None:
    lines = [f"{index}.png,{index * 0.5},{index % 3 or ''}" for index in range(6)]
    for index in range(6):
        picture(tmp_path / "photos" / f"{index}.png", (300, 200 + index), "L")
    (tmp_path / "t.csv").write_text("photo,size,y\n" + "\n".join(lines) + "\n,1.5,1\n")
    text = draft("s", tmp_path / "t.csv", ["y"], tmp_path)
    assert (
        "photo: {shape: [128, 128, 1]}" in text and "filters: [32, 64, 128, 128], pool: [2, 2, 2, 2]" in text
    )
    assert "photo: {column: photo, encode: image, root: photos, resize: crop, fill: zero}" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1
    (tmp_path / "photos" / "0.png").unlink()
    assert "#   photo: there is no image `0.png`" in draft("s", tmp_path / "t.csv", ["y"], tmp_path)


@pytest.mark.parametrize(
    ("sizes", "shape", "alike"),
    [
        ([(32, 32)], (32, 32), True),
        ([(640, 480), (320, 240)], (96, 128), True),
        ([(30, 20), (20, 30)], (25, 25), False),
        ([(1, 1)], (2, 2), True),
    ],
)
def test_the_shape_of_an_input_for_images(
    tmp_path: Path, sizes: list[tuple[int, int]], shape: tuple[int, int], alike: bool
) -> None:
    names = [f"{index}.png" for index in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        picture(tmp_path / name, size, "RGBA")
    (tmp_path / "broken.png").write_text("no image")
    found = images([*names, "broken.png"], tmp_path)
    assert found is not None and (found.height, found.width) == shape
    assert (found.alike, found.channels, found.root) == (alike, 4, None)
    assert images(["broken.png"], tmp_path) is None and images(["../0.png"], tmp_path) is None


def test_an_image_on_its_side_is_turned(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "0.jpg", exif=turned)
    found = images(["0.jpg"], tmp_path)
    assert found is not None and (found.height, found.width) == (20, 10)


def test_images_and_vectors_in_the_cells_of_a_table_are_learned(tmp_path: Path) -> None:
    def cell(shade: int) -> bytes:
        stream = BytesIO()
        Image.new("L", (9, 6), shade).save(stream, "PNG")
        return stream.getvalue()

    cells = [cell(10 * index) for index in range(8)]
    columns = {
        "picture": [{"bytes": each, "path": f"{index}.png"} for index, each in enumerate(cells)],
        "raw": cells,
        "vector": [[index * 0.5, 1.0, -1.0] for index in range(8)],
        "label": [index % 2 for index in range(8)],
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    text = draft("s", tmp_path / "t.parquet", ["label"], tmp_path)
    for line in ("picture: {shape: [6, 9, 1]}", "raw: {shape: [6, 9, 1]}", "vector: {shape: [3]}"):
        assert f"  {line}\n" in text
    (tmp_path / "s.yaml").write_text(text)
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    assert program.fit(device="cpu", run_dir=tmp_path / "run").epochs == 1


def test_images_without_classes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "0.png", (8, 8))
    with pytest.raises(SpecError, match="make a folder for each class"):
        draft("s", tmp_path / "pictures", [], tmp_path)


@pytest.mark.parametrize(
    ("targets", "folder", "code"), [(["knd"], ".", "data-column"), (["kind"], "inner", "data-outside")]
)
def test_what_cannot_be_drafted_is_refused(
    tmp_path: Path, targets: list[str], folder: str, code: str
) -> None:
    with pytest.raises(SpecError) as caught:
        draft("s", table(tmp_path), targets, tmp_path / folder)
    assert caught.value.diagnostics[0].code == code


ROWS = [("Größe", "naïve", "art"), *((f"{n},{n % 7}", str(n * n), "äö"[n % 2]) for n in range(40))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_a_table_of_another_locale_is_read_as_it_is_written(tmp_path: Path, encoding: str) -> None:
    text = "\n".join(";".join(row) for row in ROWS) + "\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    written = draft("t", tmp_path / "t.csv", ["Größe"], tmp_path)
    (tmp_path / "t.yaml").write_text(written)
    training = load(compile(tmp_path / "t.yaml"), None, tmp_path, torch.device("cpu")).training
    (batch,) = training.batches(40)
    assert len(batch) == 32 and batch.arrays["kinds"].unique().tolist() == [1, 2]
    assert "decimal: ','" in written and "  Grosse: {layer: Dense, from: hidden, units: 1}" in written


def test_tabs_bars_and_commas_are_told_apart(tmp_path: Path) -> None:
    for name, delimiter, options in (
        ("a.csv", "\t", 'delimiter: "\\t"'),
        ("b.csv", "|", "delimiter: '|'"),
        ("c.csv", ",", None),
        ("d.tsv", "\t", None),
    ):
        rows = [["x", '"y; z"', "kind"], *([str(n % 9), str(n % 7), f"a{n % 3}"] for n in range(30))]
        lines = [delimiter.join(row) for row in rows]
        (tmp_path / name).write_text("\n".join(lines))
        written = draft("t", tmp_path / name, ["kind"], tmp_path)
        wanted = f"  train: {{path: {name}, {options}}}\n" if options else f"  train: {name}\n"
        assert wanted in written


@pytest.mark.parametrize(("cell", "why"), [("", "it is empty"), ("one", "it has one value")])
def test_a_target_without_values_that_differ_is_refused(tmp_path: Path, cell: str, why: str) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *(f"{n}.5,{cell}" for n in range(30))]))
    with pytest.raises(SpecError, match=f"cannot be a target: {why}"):
        draft("t", tmp_path / "t.csv", ["y"], tmp_path)


def test_a_mark_or_none_is_a_category(tmp_path: Path) -> None:
    """A value in some rows alone says as much as two; one in nearly all says nothing."""
    rows = [
        f"{n}.5,{'closed' if n % 3 else ''},{'' if n else 'on'},{'' if n % 4 else 1},{n % 2}"
        for n in range(60)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["a,state,once,flag,y", *rows]))
    text = draft("t", tmp_path / "t.csv", ["y"], tmp_path)
    assert "columns: [state, flag], encode: category, vocabulary: [3, 3], fill: missing" in text
    assert "once: 59 of 60 rows have no value" in text


def test_categories_of_very_many_values_are_learned_with_care(tmp_path: Path) -> None:
    rows = [f"{n}.5,p{n % 120},{'xyz'[n % 3]},{n % 2}" for n in range(600)]
    (tmp_path / "t.csv").write_text("\n".join(["a,plane,many_kinds,y", *rows]))
    text = draft("t", tmp_path / "t.csv", ["y"], tmp_path)
    program = compile(text)
    assert program.inputs["kinds"].shape[1:] == program.inputs["many_kinds"].shape[1:] == (1,)
    assert "many_kinds: {columns: [plane], encode: category, vocabulary: [122]}" in text
    assert "    kinds: {columns: [many_kinds], encode: category" in text
    assert program.span(("nodes", "many_kinds_codes")) is not None and "rate: 0.5" in text


def test_a_name_longer_than_those_of_files_is_a_column(tmp_path: Path) -> None:
    name = "y" * 300
    (tmp_path / "t.csv").write_text("\n".join([f"a,{name}", *(f"{n}.5,{n % 2}" for n in range(30))]))
    assert f"column: {name}" in draft("t", tmp_path / "t.csv", [name], tmp_path)


def test_why_no_column_is_an_input_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["id,same,y", *(f"id{n},7,{n}" for n in range(30))]))
    with pytest.raises(SpecError) as caught:
        draft("t", tmp_path / "t.csv", ["y"], tmp_path)
    (found,) = caught.value.diagnostics
    assert found.notes == (
        "`id`: a different value in every row: it identifies rows",
        "`same`: it has one value",
    )
    assert found.help == "add one whose values differ from row to row, and repeat"


def test_columns_without_a_name_are_told_and_a_target_needs_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["a,, ,名前", *(f"{n}.5,{n},{n},{n % 2}" for n in range(30))]))
    told: list[str] = []
    text = draft("t", tmp_path / "t.csv", ["名前"], tmp_path, tell=told.append)
    (note,) = (each for each in told if "no names" in each)
    assert note.startswith("columns 2, 3 have no names in the first line") and f"# Note: {note}." in text
    assert "  target: {layer: Dense, " in text and "target: {column: 名前, " in text
    with pytest.raises(SpecError, match=r"a column with a name\n.*above column 2"):
        draft("t", tmp_path / "t.csv", [" "], tmp_path)


@pytest.mark.parametrize(
    ("cells", "kind", "read"),
    [
        ([f"{'ab'[n % 2]}{'xyz'[n % 3]}{n:02d}" for n in range(60)], "letters", "tokenizer: char"),
        ([str(n) for n in range(60)], "number", "facts: {columns: [name], encode: number"),
        ([*map(str, range(5)), *[""] * 55], "number", "facts: {columns: [name], encode: number"),
        (["same", *["other"] * 59], "category", "kinds: {columns: [name], encode: category"),
        (["same"] * 60, "left", None),
        (["n0.png", *(f"n{n}.png" for n in range(1, 60))], "left", None),
    ],
)
def test_what_is_left_out_beside_others_is_read_where_there_are_none(
    cells: list[str], kind: str, read: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(
        "\n".join(["name,y", *(f"{c},{'pq'[n % 2]}" for n, c in enumerate(cells))])
    )
    seen = look("name", pa.array([cell or None for cell in cells]))
    assert alone(seen, pa.array([cell or None for cell in cells]), tmp_path, ".").kind == kind
    if read is None:
        with pytest.raises(SpecError, match="has no column for an input"):
            draft("t", tmp_path / "t.csv", ["y"], tmp_path)
        return
    (tmp_path / "t.yaml").write_text(draft("t", tmp_path / "t.csv", ["y"], tmp_path))
    assert read in (tmp_path / "t.yaml").read_text()
    training = load(compile(tmp_path / "t.yaml"), None, tmp_path, torch.device("cpu")).training
    assert len(next(training.batches(60))) == 48


@pytest.mark.parametrize(
    ("text", "timed"),
    [("2024-05-%02dT%02d:30:00", True), ("2024-05-%02dT00:00:%02d", False), ("%02d.05.2024 %02d:00", True)],
)
def test_hours_are_read_where_there_are_any(tmp_path: Path, text: str, timed: bool) -> None:
    lines = ["when,y", *(f"{text % (n % 28 + 1, n % 24)},{n}.5" for n in range(60))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    written = draft("t", tmp_path / "t.csv", ["y"], tmp_path)
    assert ("hour_sin, hour_cos" in written) is timed
    (tmp_path / "t.yaml").write_text(written)
    compile(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("amount_paid", "number"),
        ("grid", "number"),
        ("valid", "number"),
        ("store_id", "category"),
        ("userId", "category"),
    ],
)
def test_a_name_says_that_numbers_name_something_as_a_word_of_its_own(name: str, kind: str) -> None:
    assert look(name, pa.array([number % 30 for number in range(300)])).kind == kind


def test_a_draft_of_names_that_are_values_of_yaml_reads_them_as_names(tmp_path: Path) -> None:
    names = ["1e3", "yes", "null", "0x1F", "a: b", "$cost", "012", "2024-01-01", "~"]
    lines = [
        ",".join(str((i * (n + 3)) % 17 + 0.5) for n in range(len(names))) + f",{i % 4}" for i in range(60)
    ]
    drafted(tmp_path, [",".join([*names, "y"]), *lines], "y")
    program = compile(tmp_path / "s.yaml")
    assert program.data is not None
    assert program.data.features["facts"].read("facts") == tuple(names)


def test_the_rows_are_of_the_time_of_the_latest_date(tmp_path: Path) -> None:
    """Patients are not divided by their births."""
    day = date(2023, 1, 1)
    rows = [
        (day + timedelta(days=i), date(1990, 1, 1) - timedelta(days=37 * i * i % 9001), i % 3)
        for i in range(90)
    ]
    for order in (rows, rows[::-1], rows[45:] + rows[:45]):
        lines = [f"{birth.isoformat()},{stay},{came.isoformat()}" for came, birth, stay in order]
        text = drafted(tmp_path, ["born,stay,came", *lines], "stay")
        assert "{split: 0.2, last_by: came}" in text


def test_rows_that_repeat_others_are_noted(tmp_path: Path) -> None:
    """Where it is no chance: rows of few values are alike without being the same case."""
    lines = [f"{i * 7 % 101}.5,{'abc'[i % 3]},{i % 2}" for i in range(100)]
    told: list[str] = []
    text = drafted(tmp_path, ["x,kind,y", *lines, *lines[3:5], lines[3]], "y", told)
    assert len(told) == 1 and told[0].startswith("3 rows repeat another in every column") and told[0] in text
    assert "100 rows repeat" in drafted(tmp_path, ["x,kind,y", *lines, *lines], "y")
    for others in ([*lines, "7.25,a,1"], [f"{i % 5}.5,{'abc'[i % 3]},{i % 2}" for i in range(100)]):
        told.clear()
        assert "another in every" not in drafted(tmp_path, ["x,kind,y", *others], "y", told) and not told


def test_cells_without_a_value_of_a_set_are_learned_from(tmp_path: Path) -> None:
    tags = ["new", '"new, red"', "", "red", '"new, old, red"', "old"]
    lines = [f"{i}.5,{tags[i % 6]}" for i in range(60)]
    text = drafted(tmp_path, ["x,tags", *lines], "tags")
    assert "separator: ', ', fill: \"\"}" in text and "10 empty cells have no value of it" in text
    assert "missing" not in text.split("outputs:")[1].split("data:")[0]
    data = load(compile(text), None, tmp_path, torch.device("cpu"))
    assert len(data.training) == 48 and not any("without a target" in note for note in data.notes)


def test_columns_of_parquet_that_no_float_or_feature_holds(tmp_path: Path) -> None:
    """Whole numbers beyond the digits of a float, decimals, lists of lists."""
    count = range(80)
    table = pa.table(
        {
            "serial": pa.array([2**60 + 7 * i * i for i in count]),
            "unsigned": pa.array([2**64 - 1 - i % 9 for i in count], pa.uint64()),
            "price": pa.array([Decimal(i * 37 % 9901) / 100 for i in count], pa.decimal128(12, 2)),
            "spans": pa.array([[[0.5, 1.0]] * (1 + i % 3) for i in count]),
            "parts": pa.array([[{"a": i}] for i in count]),
            "y": pa.array([i % 2 == 0 for i in count]),
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text(draft("s", tmp_path / "t.parquet", ["y"], tmp_path))
    load(compile(tmp_path / "s.yaml"), None, tmp_path, torch.device("cpu"))
    text = (tmp_path / "s.yaml").read_text()
    assert "columns: [serial, unsigned, price], encode: number" in text
    assert all(f"#   {name}: it holds lists of lists or objects" in text for name in ("spans", "parts"))


def test_classes_that_are_numbers_are_named_in_their_order(tmp_path: Path) -> None:
    lines = [f"{i}.5,{i % 12 + 1 if i < 84 else 13}" for i in range(85)]
    assert f"values: {[str(n) for n in range(1, 14)]}" in drafted(tmp_path, ["x,stay", *lines], "stay")


def test_a_frame_predicts_as_the_file_that_pandas_has_read(tmp_path: Path) -> None:
    """Where texts have decimal commas and units, which no frame says."""
    lines = [f"{i * 7 % 50},5;{i * 3 % 40},25 kg;{1 + i % 9}.{i:03},5 €;{i % 4},5" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["size;weight;cost;y", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "s.yaml").write_text(draft("s", tmp_path / "t.csv", ["y"], tmp_path), encoding="utf-8")
    program = compile(tmp_path / "s.yaml", settings={"train.epochs": 1})
    train(program, root=tmp_path, run_dir=tmp_path / "run", tell=str)
    frame = pd.read_csv(tmp_path / "t.csv", sep=";", decimal=",")
    assert list(frame.dtypes.map(pd.api.types.is_numeric_dtype)) == [True, False, False, True]
    run = Run(tmp_path / "run")
    assert run.predict(frame).equals(run.predict(tmp_path / "t.csv"))
    assert run.predict(frame.iloc[7].to_dict()).num_rows == 1


def test_columns_have_names_of_their_own(tmp_path: Path) -> None:
    """Whatever they are called, inputs and outputs: `%` and `+` are no names, and `true` is none in YAML."""
    names = ["%", "+", "true", "Größe", "Grosse", "null", "index"]
    words = ["red", "house", "near", "old", "mill"]
    texts = [
        " ".join(words[(i * (n + 2) + k) % 5] for k in range(3 + i % 3)) for i in range(60) for n in range(7)
    ]
    rows = [
        dict(zip(names, texts[7 * i : 7 * i + 7], strict=True)) | {"*": i % 2, "&": i % 3} for i in range(60)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text(
        draft("s", tmp_path / "t.parquet", ["*", "&"], tmp_path), encoding="utf-8"
    )
    program = compile(tmp_path / "s.yaml")
    assert len(program.inputs) == 7 and len(program.outputs) == 2
    load(program, None, tmp_path, torch.device("cpu"))


@given(
    st.lists(
        st.text("$(){}[]<>:;#,'\"%&*!|@`\\\\/.?-+=~^_ aZ1é", min_size=1, max_size=6),
        min_size=5,
        max_size=5,
        unique=True,
    )
)
def test_whatever_columns_are_called_their_draft_trains_and_predicts(headers: list[str]) -> None:
    skewed, plain, kind, when, answer = headers
    rows = [
        {
            skewed: float(2 ** (i % 14)),
            plain: i % 17 + 0.5,
            kind: ["a", "$b", "c"][i % 3],
            when: f"2024-0{1 + i % 9}-1{i % 7} 1{i % 3}:00",
            answer: 0.5 * i,
        }
        for i in range(60)
    ]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        parquet.write_table(pa.Table.from_pylist(rows), place / "t.parquet")
        text = draft("s", place / "t.parquet", [answer], place)
        assert "log1p" in text
        (place / "s.yaml").write_text(text, encoding="utf-8")
        program = compile(place / "s.yaml", settings={"train.epochs": 1})
        train(program, run_dir=place / "run", root=place, device="cpu", tell=lambda note: None)
        run = Run(place / "run")
        whole = run.predict(place / "t.parquet", device="cpu")
        assert whole.num_rows == 60 and run.predict(rows[7], device="cpu").num_rows == 1


def test_what_cannot_be_a_target_is_refused(tmp_path: Path) -> None:
    table = pa.table({"x": [i * 0.5 for i in range(40)], "raw": [bytes([i]) for i in range(40)]})
    parquet.write_table(
        table.append_column("pair", pa.array([{"a": i} for i in range(40)])), tmp_path / "t.parquet"
    )
    for target in ("raw", "pair"):
        with pytest.raises(SpecError, match=f"data-column.*`{target}` cannot be a target"):
            draft("s", tmp_path / "t.parquet", [target], tmp_path)


def test_empty_lists_are_filled_and_huge_classes_read(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "a", "b"][: i % 4], "big": 2**62 + i % 3} for i in range(60)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text(draft("s", tmp_path / "t.parquet", ["big"], tmp_path), encoding="utf-8")
    assert "encode: tokens" in (tmp_path / "s.yaml").read_text()
    load(compile(tmp_path / "s.yaml"), None, tmp_path, torch.device("cpu"))


def test_names_that_no_spec_may_hold_are_told(tmp_path: Path) -> None:
    """A line break in a header is no such one, and neither is a space that breaks no line."""
    names = ["a\nb", "c\u00a0d", "e\u2028f", "\u202eg", "y\n"]
    numbers = [{name: (i * (n + 3)) % 17 + 0.5 for n, name in enumerate(names)} for i in range(60)]
    rows = [row | {"kind": "ab\u200b"[i % 3], "one\nvalue": 1} for i, row in enumerate(numbers)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    told: list[str] = []
    text = draft("s", tmp_path / "t.parquet", ["y\n", "kind"], tmp_path, told.append)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    program = compile(tmp_path / "s.yaml")
    assert program.data is not None and program.data.features["facts"].read("facts") == ("a\nb", "c\u00a0d")
    load(program, None, tmp_path, torch.device("cpu"))
    assert [note.split(" is not read")[0] for note in told[:2]] == [r"column `e\u2028f`", r"column `\u202eg`"]
    with pytest.raises(SpecError, match=r"'e\\u2028f' cannot be a target"):
        draft("s", tmp_path / "t.parquet", ["e\u2028f"], tmp_path)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"book.txt": "It was so, and it was not so. " * 90},
            ["tokenizer: characters", "the end of the text"],
        ),
        (
            {"books/1.txt": "one two " * 99, "books/2.txt": "two one " * 99},
            ["a tenth of the documents", "2 texts"],
        ),
        ({"book.txt": "".join(map(chr, range(0x4E00, 0x5200))) * 4}, ["tokenizer: bpe, vocabulary: 2000"]),
    ],
)
def test_a_text_is_learned_by_a_gpt_that_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], told: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content, encoding="utf-8")
    source = next(iter(files)).partition("/")[0]
    written = CliRunner().invoke(app, ["new", "novel", "--data", source], catch_exceptions=False)
    assert written.exit_code == 0, written.output
    assert "little to learn" in written.output
    text = Path("novel.yaml").read_text(encoding="utf-8")
    assert all(words in text for words in told)
    program = compile(Path("novel.yaml"), settings={"train.epochs": 1})
    data = load(program, None, tmp_path, torch.device("cpu"))
    (batch, *_) = data.training.batches(2)
    assert batch.arrays["tokens"].shape == (2, 64)
    if len(files) == 1 and "book.txt" in files and "It" in files["book.txt"]:
        history = train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu").metrics
        assert isinstance(found := history["val_perplexity"], float) and found < 40


def test_a_text_has_no_target(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("once upon a time")
    with pytest.raises(SpecError, match="learns what comes next"):
        draft("novel", tmp_path / "book.txt", ["time"], tmp_path)


@pytest.mark.parametrize(
    ("characters", "distinct", "size"),
    [(10**4, 60, 64), (10**6, 70, 128), (10**8, 70, 512), (10**10, 5000, 768)],
)
def test_a_gpt_has_no_more_weights_than_the_text_has_tokens(
    characters: int, distinct: int, size: int
) -> None:
    seen = TextLook(1, characters, distinct)
    chosen = size_for(seen)
    assert chosen[0] == size and (weights(chosen) <= seen.tokens or chosen == SIZES[0])
