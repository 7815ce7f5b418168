"""`since` and `until`: the rows of some time, the same from every format, with their places in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from graphspec.compiler import compile
from graphspec.data.in_memory_source import given
from graphspec.data.loading import load
from graphspec.diagnostics import SpecError

SPEC = """
inputs: {x: {shape: [1]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data:
  train: {path: FILE, time: day, BOUNDS}
  features: {x: {encode: number}, y: {encode: number}}
"""
ROWS = pd.DataFrame(
    {
        "day": [f"2024-0{month}-{day:02}" for month in (1, 2, 3) for day in range(1, 11)],
        "x": np.arange(30.0),
        "y": np.arange(30.0),
    }
)


def xs(folder: Path, file: str, bounds: str, spec: str = SPEC) -> list[float]:
    found = load(
        compile(spec.replace("FILE", file).replace("BOUNDS", bounds)), None, folder, torch.device("cpu")
    )
    return [x for batch in found.training.batches(8) for x in batch.arrays["x"][:, 0].tolist()]


def written(folder: Path, rows: pd.DataFrame = ROWS) -> None:
    rows.to_csv(folder / "rows.csv", index=False)
    rows.to_json(folder / "rows.jsonl", orient="records", lines=True)
    rows.assign(day=pd.to_datetime(rows.day)).to_parquet(folder / "rows.parquet")


@pytest.mark.parametrize("file", ["rows.csv", "rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize(
    ("bounds", "first", "last"),
    [
        ("since: 2024-02-01", 10, 30),
        ("until: 2024-02-01", 0, 10),
        ("since: 2024-01-05, until: 2024-03-02", 4, 21),
        ("since: 2024-02-03T12:00:00", 13, 30),
    ],
)
def test_the_rows_of_a_time_are_those_of_the_column(
    file: str, bounds: str, first: int, last: int, tmp_path: Path
) -> None:
    written(tmp_path, ROWS.sample(frac=1, random_state=1))
    assert sorted(xs(tmp_path, file, bounds)) == [float(x) for x in range(first, last)]


def test_numbers_and_formats_are_times(tmp_path: Path) -> None:
    days = pd.to_datetime(ROWS.day)
    written(tmp_path, ROWS.assign(day=range(30)))
    assert xs(tmp_path, "rows.csv", "since: 3, until: 4.5") == [3, 4]
    written(tmp_path, ROWS.assign(day=days.dt.strftime("%d.%m.%Y")))
    spec = SPEC.replace("y: {encode: number", "y: {encode: number, steps: next")
    spec += '  windows: {order: day, past: 1, next: 1, every: 1d, gaps: skip, format: "%d.%m.%Y"}\n'
    for bound in ("2024-03-08", "08.03.2024"):
        assert xs(tmp_path, "rows.csv", f"since: {bound}", spec) == [27, 28]


def test_a_mistake_has_its_place_in_the_whole_file(tmp_path: Path) -> None:
    written(tmp_path, ROWS.assign(x=[*map(str, range(28)), "", "29"]))
    with pytest.raises(SpecError, match="line 30"):
        xs(tmp_path, "rows.csv", "since: 2024-03-01")
    assert len(xs(tmp_path, "rows.csv", "until: 2024-03-01")) == 20


@pytest.mark.parametrize(
    ("bounds", "code", "words"),
    [
        ("since: soon", "data-dtype", "column `day` of `.*` holds dates"),
        ("since: 5", "data-dtype", "write it as since: 2024-12-31"),
        ("until: 2020-01-01", "data-empty", "no row is of the time until 2020-01-01"),
        ("sinse: 2020-01-01", "unknown-key", "since"),
    ],
)
def test_a_bound_that_fits_no_row_is_told(bounds: str, code: str, words: str, tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(SpecError, match=words) as error:
        xs(tmp_path, "rows.csv", bounds)
    assert error.value.diagnostics[0].code == code


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        (SPEC.replace("time: day, ", ""), "missing-key", "time: COLUMN, since: 2024-02-01"),
        (SPEC.replace("time: day", "time: dya"), "data-column", "did you mean `day`"),
        (SPEC.replace("FILE", "book.txt"), "unknown-key", "rows of a text have no time"),
    ],
)
def test_a_column_of_times_is_needed(spec: str, code: str, words: str, tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(SpecError, match=words) as error:
        xs(tmp_path, "rows.csv", "since: 2024-02-01", spec)
    assert error.value.diagnostics[0].code == code


@pytest.mark.parametrize("data", ["data: rows.csv", "data: {train: rows.csv}"])
def test_a_short_form_takes_settings_of_its_file(data: str, tmp_path: Path) -> None:
    written(tmp_path)
    spec = SPEC[: SPEC.index("data:")] + data
    settings: dict[str, Any] = {"data.train.time": "day", "data.train.until": "2024-01-04"}
    found = load(compile(spec, settings=settings), None, tmp_path, torch.device("cpu"))
    assert len(found.training) == 3 and "training: 3 of 30 rows, until 2024-01-04" in found.notes
    assert (
        len(load(compile(spec, settings=settings), given(ROWS), tmp_path, torch.device("cpu")).training) == 3
    )
