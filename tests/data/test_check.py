"""What `check` says of the files that `data:` names, with the place of the spec."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from graphspec.compiler import compile
from graphspec.data.checking import check_files
from graphspec.diagnostics import Diagnostic

SPEC = """
inputs: {x: {shape: [3]}, z: {shape: [1]}}
nodes:
  a: {merge: concatenate, from: [x, z]}
  y: {layer: Dense, units: 4, activation: softmax}
outputs:
  y: {loss: sparse_categorical_crossentropy, target: kind}
data: DATA
"""


def found(path: Path, data: str) -> list[Diagnostic]:
    (path / "spec.yaml").write_text(SPEC.replace("DATA", data))
    return list(check_files(compile(path / "spec.yaml"), path))


def shown(path: Path, data: str) -> list[tuple[str, int]]:
    """Code and line of each mistake; every one has a place."""
    made = []
    for diagnostic in found(path, data):
        assert diagnostic.span is not None, diagnostic
        made.append((diagnostic.code, diagnostic.span.line))
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    columns = {name: [1.0] for name in ("x_0", "x_1", "x_2", "z")}
    table = pa.table({**columns, "kind": [1], "day": ["2024-01-01"]})
    parquet.write_table(table, tmp_path / "good.parquet")
    (tmp_path / "good.csv").write_text("x_0,x_1,x_2,z,kind,day\n1,1,1,1,1,a\n")
    (tmp_path / "semicolons.csv").write_text("x_0;x_1;x_2;z;kind;day\n1;1;1;1;1;a\n")
    (tmp_path / "good.jsonl").write_text('{"x_0": 1, "x_1": 1, "x_2": 1, "z": 1, "kind": 1, "day": "a"}\n')
    np.savez(tmp_path / "good.npz", x=np.zeros((5, 3)), z=np.zeros(5), kind=np.zeros(5, int), day=np.zeros(5))
    np.savez(tmp_path / "bad.npz", x=np.zeros((5, 4)), z=np.array(["a"] * 5), kind=np.zeros(5))
    return tmp_path


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "npz"])
def test_a_good_file_is_passed(place: Path, ending: str) -> None:
    data = f"{{train: good.{ending}, validation: {{split: 0.1, last_by: day}}, test: good.csv, key: day}}"
    assert shown(place, data) == []


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("nothing.csv", [("data-missing", 8)]),
        ("{train: good.csv, test: goood.csv}", [("data-missing", 8)]),
        ("{train: good.csv, validation: ../good.csv}", [("data-outside", 8)]),
        ("{train: good.csv, validation: {split: 0.1, group: week}}", [("data-column", 8)]),
        ("{train: good.npz, validation: {split: 0.1, group: week}}", [("data-column", 8)]),
        ("{train: good.csv, validation: {column: week}, key: [day, id]}", [("data-column", 8)] * 2),
        ("semicolons.csv", [("data-column", 2), ("data-column", 2), ("data-column", 7)]),
        ("bad.npz", [("data-shape", 2), ("data-dtype", 2), ("data-dtype", 7)]),
    ],
)
def test_what_a_file_lacks_is_told_where_the_spec_asks_for_it(
    place: Path, data: str, wanted: list[tuple[str, int]]
) -> None:
    assert shown(place, data) == wanted


@pytest.mark.parametrize(
    "name", ["empty.parquet", "empty.csv", "empty.jsonl", "empty.npz", "shards", "blank.csv"]
)
def test_a_file_without_rows_is_found(place: Path, name: str) -> None:
    columns = ("x_0", "x_1", "x_2", "z", "kind")
    empty = pa.table({name: pa.array([], pa.float64()) for name in columns})
    parquet.write_table(empty, place / "empty.parquet")
    (place / "empty.csv").write_text(",".join(columns) + "\n\n")
    (place / "empty.jsonl").write_text("\n")
    (place / "blank.csv").write_text(" \n \n  \n")
    np.savez(place / "empty.npz", x=np.zeros((0, 3)), z=np.zeros(0), kind=np.zeros(0, int))
    (place / "shards").mkdir()
    for shard in ("a.csv", "b.csv"):
        (place / "shards" / shard).write_text(",".join(columns) + "\n")
    assert shown(place, f"{{train: good.csv, validation: {name}}}") == [("data-empty", 8)]


def test_another_delimiter_is_named(place: Path) -> None:
    help = found(place, "semicolons.csv")[0].help
    assert help is not None and 'delimiter: ";"' in help
    assert shown(place, '{train: {path: semicolons.csv, delimiter: ";"}}') == []


def test_a_run_that_was_copied_without_its_data_is_only_warned_of(place: Path) -> None:
    (place / "environment.json").write_text("{}")
    (diagnostic,) = found(place, "elsewhere.csv")
    assert (diagnostic.code, diagnostic.severity) == ("data-missing", "warning")
