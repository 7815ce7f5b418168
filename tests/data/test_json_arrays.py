"""`.json`: an array of objects, or an object a line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from graphspec.data.files import DataFile
from graphspec.data.folders import find
from graphspec.data.tables import open_table
from graphspec.diagnostics import SpecError

ROWS = [{"Species": "Adelie", "Mass": 3750, "Sex": None}, {"Species": "Gentoo é", "Mass": 5000.5}]


def read(path: Path) -> list[dict[str, object]]:
    table = open_table(find(path), DataFile(path=str(path)))
    rows: list[dict[str, object]] = table.read(list(table.columns)).to_pylist()
    return rows


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", ["", "\ufeff \n"])
def test_an_array_of_objects_is_a_table(tmp_path: Path, indent: int | None, before: str) -> None:
    (tmp_path / "t.json").write_text(before + json.dumps(ROWS, indent=indent, ensure_ascii=False), "utf-8")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    assert read(tmp_path / "t.json") == read(tmp_path / "t.jsonl")
    assert [row["Mass"] for row in read(tmp_path / "t.json")] == [3750.0, 5000.5]


def test_lines_and_compressed_arrays_may_have_that_ending(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("\n".join(json.dumps(row) for row in ROWS))
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    assert read(tmp_path / "t.json") == read(tmp_path / "t.json.gz")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[1, 2]", "row 0 of"),
        ('[{"a": 1}, [2]]', "row 1 of"),
        ('[{"a": 1},', "is not JSON"),
        ("[]", "holds no rows"),
        ('{"a": {"0": 1},\n "b": {"0": 2}}', "line 1 of"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(SpecError) as error:
        read(tmp_path / "t.json")
    (diagnostic,) = error.value.diagnostics
    assert message in diagnostic.message and diagnostic.code in ("data-format", "data-empty")
