"""What predict writes: every kind of file holds what was given, and appears whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from graphspec.data.writers import SUFFIXES, columns_of, writing
from graphspec.diagnostics import SpecError
from graphspec.files.folder import Folder

TABLE = pa.table(
    {
        "id": ["a", 'b "q", x', None],
        "probability": pa.array([0.1, 0.25, 1e-9], pa.float32()),
        "count": [1, 2, 3],
        "steps": pa.array([[0.1, 0.2], [], None], pa.list_(pa.float32())),
        "names": [["x"], ["y", "z"], []],
    }
)


def write(path: Path, *parts: pa.Table) -> None:
    with writing(path) as append:
        for part in parts:
            append(part)


def test_text_has_the_shortest_numbers_and_lists_as_json(tmp_path: Path) -> None:
    write(tmp_path / "p.csv", TABLE)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "id,probability,count,steps,names",
        'a,0.1,1,"[0.1, 0.2]","[""x""]"',
        '"b ""q"", x",0.25,2,[],"[""y"", ""z""]"',
        ",1e-9,3,,[]",
    ]


def test_an_array_has_a_row_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    with writing(path):
        pass
    assert json.loads(path.read_text()) == [] == columns_of(path)
    with writing(path) as append:
        append(pa.table({"x": [1], "y": pa.array([[[0.1]]], pa.list_(pa.list_(pa.float32())))}))
        append(pa.table({"x": [2], "y": pa.array([[[0.3, 4.0]]], pa.list_(pa.list_(pa.float32())))}))
    assert path.read_text() == '[\n{"x": 1, "y": [[0.1]]},\n{"x": 2, "y": [[0.3, 4.0]]}\n]\n'
    assert columns_of(path) == ["x", "y"]


def test_lines_are_json(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", TABLE.slice(0, 1), TABLE.slice(1))
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert rows[0] == {"id": "a", "probability": 0.1, "count": 1, "steps": [0.1, 0.2], "names": ["x"]}
    assert rows[2]["id"] is None and rows[2]["steps"] is None


def test_arrays_hold_no_objects(tmp_path: Path) -> None:
    write(tmp_path / "p.npz", TABLE, TABLE)
    with np.load(tmp_path / "p.npz") as arrays:
        assert arrays["probability"].dtype == np.float32 and arrays["count"].tolist() == [1, 2, 3] * 2
        assert arrays["id"].tolist()[:2] == ["a", 'b "q", x']
    same = pa.table({"vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))})
    write(tmp_path / "p.npz", same)
    with np.load(tmp_path / "p.npz") as arrays:
        assert arrays["vector"].tolist() == [[1, 2], [3, 4]] and arrays["vector"].dtype == np.float32


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=1))
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[tuple[str, float]]) -> None:
    texts, numbers = [row[0] for row in rows], [row[1] for row in rows]
    table = pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(numbers, pa.float32())})
    half = len(rows) // 2
    for suffix in SUFFIXES:
        write(tmp_path / f"p{suffix}", *(part for part in (table.slice(0, half), table.slice(half))))
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (tmp_path / f"p{suffix}").open(encoding="utf-8", newline="") as stream:
            found = list(csv.reader(stream, delimiter=delimiter))[1:]
        assert [row[0] for row in found] == texts
        assert np.array([row[1] for row in found], np.float32).tolist() == numbers
    assert parquet.read_table(tmp_path / "p.parquet").to_pydict() == table.to_pydict()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_text("as it was")

    def fail() -> Any:
        with writing(path) as append:
            append(TABLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "as it was" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["p.xlsx", "p", "no/p.csv"])
def test_what_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        write(tmp_path / name, TABLE)
    assert [d.code for d in caught.value.diagnostics] == ["output-file"]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test waits for the disk, nor cuts the power: this is the order in which all else does."""
    done: list[Any] = []
    rename = os.replace

    def replace(*names: Path) -> None:
        done.append("named")
        rename(*names)

    monkeypatch.setattr(os, "fsync", lambda file: done.append(os.fstat(file).st_ino))
    monkeypatch.setattr(os, "replace", replace)
    Folder(tmp_path).text("a.txt", "a")
    assert done == [(tmp_path / "a.txt").stat().st_ino, "named", tmp_path.stat().st_ino]
