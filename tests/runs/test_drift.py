"""Whether new rows are like those that a run learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.runs.drift import chi_squared, drift, numbers_apart
from graphspec.runs.run import Run
from graphspec.train.loop import train

SPEC = """\
inputs:
  {size: {shape: [1]}, day: {shape: [1]}, colour: {shape: [], dtype: int32}, exact: {shape: [], dtype: int32}}
nodes:
  near: {layer: Embedding, from: colour, input_dim: 4, output_dim: 2}
  often: {layer: Embedding, from: exact, input_dim: 4, output_dim: 2}
  all: {merge: concatenate, from: [size, day, near, often]}
  price: {layer: Dense, units: 1}
outputs: {price: {loss: mse}}
data:
  train: old.csv
  key: id
  features:
    size: {encode: number, fill: median, scale: standard}
    day: {encode: date, parts: [weekday]}
    colour: {encode: category}
    exact: {column: size, encode: category, vocabulary: 4, fill: missing}
    price: {encode: number, scale: standard}
train: {epochs: 3, optimizer: {name: adam, learning_rate: 0.05}}
"""


def rows(
    path: Path, count: int, seed: int, shift: float = 0.0, lost: float = 0.0, colours: str = "rb"
) -> Path:
    draw = np.random.default_rng(seed)
    sizes, names = draw.normal(10 + shift, 2, count), draw.choice(list(colours), count)
    gone = draw.random(count) < lost
    lines = [
        f"n{seed}-{index},{'' if g else f'{s:.3f}'},2024-{1 + seed:02}-{1 + index % 28:02},{c},{3 * s:.3f}"
        for index, (s, c, g) in enumerate(zip(sizes, names, gone, strict=True))
    ]
    path.write_text("id,size,day,colour,price\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    rows(folder / "old.csv", 400, 0)
    (folder / "s.yaml").write_text(SPEC)
    train(compile(folder / "s.yaml"), run_dir=folder / "run", root=folder, device="cpu")
    return folder


def test_rows_of_the_same_kind_do_not_drift(place: Path) -> None:
    found = drift(Run(place / "run"), rows(place / "same.csv", 300, 1), device="cpu")
    assert not found.drifted and found.left_out == ["day"]
    assert (found.rows, found.before, len(found.columns)) == (300, 400, 4)
    assert {(each.column, each.role) for each in found.columns} == {
        ("price", "answer"), ("price", "target"), ("size", "input"), ("colour", "input"),
    }  # fmt: skip
    again = drift(Run(place / "run"), place / "old.csv", device="cpu")
    assert all(each.change == 0 and each.p == 1 for each in again.columns)


@pytest.mark.parametrize(
    "changed, drifted",
    [
        ({"shift": 1.5}, {("size", "input"), ("price", "target"), ("price", "answer")}),
        ({"lost": 0.3}, {("size", "input")}),
        ({"colours": "rbg"}, {("colour", "input")}),
    ],
)
def test_what_changes_is_told(place: Path, changed: dict[str, Any], drifted: set[tuple[str, str]]) -> None:
    found = drift(Run(place / "run"), rows(place / "new.csv", 300, 2, **changed), device="cpu")
    told = {(each.column, each.role): each for each in found.drifted}
    assert drifted <= told.keys()
    assert (("colour", "input") in told) == ("colours" in changed)
    if "lost" in changed:
        assert told["size", "input"].missing == pytest.approx(0.3, abs=0.08)
    if "colours" in changed:
        colour = told["colour", "input"]
        assert colour.unseen == pytest.approx(1 / 3, abs=0.08) and colour.shown.startswith("g 0.0% -> ")


def test_rows_that_training_left_out_by_their_time_do_not_count(tmp_path: Path) -> None:
    long_ago, then = (rows(tmp_path / f"{n}.csv", 300, n, shift=9.0 * (1 - n)) for n in range(2))
    lines = then.read_text().splitlines(keepends=True)[1:]
    (tmp_path / "all.csv").write_text(long_ago.read_text() + "".join(lines))
    file = "{path: all.csv, time: day, since: 2024-02-01}"
    (tmp_path / "s.yaml").write_text(SPEC.replace("train: old.csv", f"train: {file}"))
    train(compile(tmp_path / "s.yaml"), run_dir=tmp_path / "run", root=tmp_path, device="cpu")
    found = drift(Run(tmp_path / "run"), rows(tmp_path / "new.csv", 200, 2), device="cpu")
    assert (found.rows, found.before) == (200, 300) and not found.drifted
    assert {each.role for each in found.columns} == {"input", "target", "answer"}
    assert drift(Run(tmp_path / "run"), long_ago, device="cpu").drifted


def test_the_tests_are_those_of_scipy() -> None:
    draw = np.random.default_rng(0)
    for shift in (0, 0.1, 0.3):
        one, two = np.sort(draw.normal(0, 1, 300)), np.sort(draw.normal(shift, 1, 200))
        theirs = stats.ks_2samp(one, two, method="asymp")
        apart, p = numbers_apart(one, two)
        assert apart == pytest.approx(theirs.statistic) and p == pytest.approx(
            theirs.pvalue, rel=0.2, abs=0.02
        )
        counts = np.array([[30, 50, 20], [40 + int(100 * shift), 40, 20]])
        assert chi_squared(counts) == pytest.approx(stats.chi2_contingency(counts).pvalue, rel=1e-6)


def test_jobs_get_an_exit_code_and_a_document(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    rows(place / "far.csv", 200, 3, shift=4)
    command = ["drift", "run", "--data", "far.csv", "--device", "cpu"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0 and "drifted: " in shown.stdout and "price (answer)" in shown.stdout
    failed = CliRunner().invoke(app, [*command, "--exit-code", "--json"])
    assert failed.exit_code == 1
    document = json.loads(failed.stdout)
    assert document["drifted"] == 3 and document["left_out"] == ["day"]
    assert CliRunner().invoke(app, ["drift", "run", "--data", "old.csv", "--exit-code"]).exit_code == 0


def test_a_run_without_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC.split("data:")[0])
    train(compile(tmp_path / "s.yaml"), run_dir=tmp_path / "run", root=tmp_path, device="cpu", epochs=1)
    refused = CliRunner().invoke(app, ["drift", str(tmp_path / "run"), "--data", "x.csv", "--json"])
    diagnostics = json.loads(refused.stdout)["diagnostics"]
    assert diagnostics[0]["code"] == "not-supported" and "learned from no table" in diagnostics[0]["message"]
