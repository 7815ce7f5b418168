"""Tables: every format gives the same columns, and every damage ends in a diagnostic."""

import csv
import gzip
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data.arrays import open_arrays
from graphspec.data.config import DataConfig
from graphspec.data.files import DataFile
from graphspec.data.folders import find
from graphspec.data.tables import Table, delimited, lines, open_table
from graphspec.diagnostics import SpecError

Row = dict[str, Any]


def opened(path: Path, na_values: Sequence[str] = ("",), **options: Any) -> Table:
    config = DataConfig(na_values=tuple(na_values))
    return open_table(find(path), DataFile(path=path.name, **options), config)


def table(path: Path, **options: Any) -> dict[str, list[Any]]:
    found = opened(path, **options)
    read: dict[str, list[Any]] = found.read(list(found.columns)).to_pydict()
    return read


def refused(path: Path, **options: Any) -> str:
    """What is said of a file that cannot be read; whatever it is, it is a diagnostic."""
    with pytest.raises(SpecError) as caught:
        table(path, **options)
    assert all(d.code.startswith("data-") for d in caught.value.diagnostics)
    return str(caught.value)


# --- one table in every format

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAMES = ["a", "b", "c"]


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    columns = {
        "a": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.integers(-(2**53), 2**53),
        "c": st.none() | TEXT.filter(lambda text: text != ""),
    }
    return draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=12))


def write_csv(path: Path, rows: list[Row], delimiter: str = ",", **options: Any) -> None:
    with io.StringIO(newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter, **options)
        writer.writerows([NAMES, *(["" if r[n] is None else r[n] for n in NAMES] for r in rows)])
        _compressed(path, stream.getvalue().encode())


def write_lines(path: Path, rows: list[Row]) -> None:
    kept = [{n: v for n, v in row.items() if v is not None or i % 2} for i, row in enumerate(rows)]
    _compressed(path, "".join(json.dumps(row) + "\n" for row in kept).encode())


def write_parquet(path: Path, rows: list[Row]) -> None:
    types = {"a": pa.float64(), "b": pa.int64(), "c": pa.string()}
    made = pa.table({n: pa.array([r[n] for r in rows], t) for n, t in types.items()})
    parquet.write_table(made, path, row_group_size=3)


def _compressed(path: Path, data: bytes) -> None:
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".zst":
        data = pa.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)


def values(path: Path, **options: Any) -> dict[str, list[Any]]:
    """A table with its text read as the numbers that it says."""
    read = {name: [None] * len(opened(path, **options)) for name in NAMES} | table(path, **options)
    for name, convert in (("a", float), ("b", int)):
        read[name] = [None if value is None else convert(value) for value in read[name]]
    return {name: read[name] for name in NAMES}


@given(tables(), st.integers(1, 4))
def test_a_table_is_the_same_in_every_format(rows: list[Row], cut: int) -> None:
    wanted = {name: [row[name] for row in rows] for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("t.csv", "t.csv.gz", "t.csv.zst"):
            write_csv(place / name, rows)
        write_csv(place / "t.tsv", rows, "\t")
        write_csv(place / "s.csv", rows, ";", quoting=csv.QUOTE_ALL, lineterminator="\n")
        for name in ("t.jsonl", "t.jsonl.gz", "t.jsonl.zst"):
            write_lines(place / name, rows)
        write_parquet(place / "t.parquet", rows)
        for kind, write in (("csv", write_csv), ("jsonl", write_lines), ("parquet", write_parquet)):
            (place / kind).mkdir()
            write(place / kind / f"0.{kind}", rows[:cut])
            write(place / kind / f"1.{kind}", rows[cut:] or rows[:0])
        for name in ("t.csv", "t.csv.gz", "t.csv.zst", "t.tsv", "t.parquet", "csv", "parquet", "csv/*.csv"):
            assert values(place / name) == wanted, name
        assert values(place / "s.csv", delimiter=";") == wanted
        if any(any(value is not None for value in row.values()) for row in rows):
            for name in ("t.jsonl", "t.jsonl.gz", "t.jsonl.zst"):
                assert values(place / name) == wanted, name


@given(tables())
def test_where_a_row_stands_is_a_physical_line(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_csv(path, rows)
        text = path.read_bytes().decode()
        for index in range(len(rows)):
            line = int(opened(path).place(index).removeprefix("line "))
            before = io.StringIO(newline="")
            cells = [["" if r[n] is None else r[n] for n in NAMES] for r in rows[:index]]
            csv.writer(before).writerows([NAMES, *cells])
            assert line == 1 + _breaks(before.getvalue())
            assert text.startswith(before.getvalue())


def _breaks(text: str) -> int:
    return len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_columns_are_the_same_however_the_file_is_cut_into_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = '"{}"\n,é'
    rows = [
        {"a": i / 7, "b": i if i > 300 else None, "c": text.format(i) if i % 3 else None} for i in range(400)
    ]
    (write_csv if name == "t.csv" else write_lines)(tmp_path / name, rows)
    whole = values(tmp_path / name)
    for module in (delimited, lines):
        monkeypatch.setattr(module, "BLOCK", 500)
    assert values(tmp_path / name) == whole
    small = opened(tmp_path / name)
    parts = list(small.chunks(["a"], 100))
    assert len(parts) > 3 and [first for first, _ in parts] == list(
        np.cumsum([0, *(len(part) for _, part in parts)])[:-1]
    )


# --- missing values


def test_missing_is_what_na_values_say_in_every_format(tmp_path: Path) -> None:
    rows: list[Row] = [{"a": 1.5, "b": -999, "c": "NA"}, {"a": -999.0, "b": 2, "c": "Namibia"}]
    write_csv(tmp_path / "t.csv", [{**row, "a": str(row["a"]).removesuffix(".0")} for row in rows])
    write_lines(tmp_path / "t.jsonl", rows)
    write_parquet(tmp_path / "t.parquet", rows)
    wanted = {"a": [1.5, None], "b": [None, 2], "c": [None, "Namibia"]}
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        assert values(tmp_path / name, na_values=("", "NA", "-999")) == wanted
        assert values(tmp_path / name)["c"] == ["NA", "Namibia"]


def test_nan_and_null_are_missing_and_types_become_plain(tmp_path: Path) -> None:
    made = pa.table(
        {
            "nan": [1.0, float("nan")],
            "words": pa.array(["x", None]).dictionary_encode(),
            "large": pa.array(["x", ""], pa.large_string()),
            "half": pa.array(np.array([1.5, 2], "float16")),
            "money": pa.array([None, "2.50"]).cast(pa.decimal128(9, 2)),
            "lists": pa.array([[1, 2], None], pa.large_list(pa.int16())),
        }
    )
    parquet.write_table(made, tmp_path / "t.parquet")
    found = opened(tmp_path / "t.parquet").read(made.column_names)
    assert found.to_pydict() == {
        "nan": [1.0, None],
        "words": ["x", None],
        "large": ["x", None],
        "half": [1.5, 2.0],
        "money": [None, 2.5],
        "lists": [[1, 2], None],
    }
    kinds = ["double", "string", "string", "double", "double", "list<item: int16>"]
    assert [str(kind) for kind in found.schema.types] == kinds


# --- files as people have them


@pytest.mark.parametrize(
    ("content", "options", "wanted"),
    [
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", {}, {"a": ["1"], "b": ["2"]}),
        (b"a,b\r1,2\r3,4", {}, {"a": ["1", "3"], "b": ["2", "4"]}),
        (b"\n\na,b\n\n1,2\n\n", {}, {"a": ["1"], "b": ["2"]}),
        (b" a , b \n 1 , 2 \n", {}, {"a": [" 1 "], "b": [" 2 "]}),
        (b"a\n1\n\n2\n", {}, {"a": ["1", None, "2"]}),
        (b'a,b\n"x ""y"", z","1\n2"\n', {}, {"a": ['x "y", z'], "b": ["1\n2"]}),
        (b'"a\nb",c\n1,2\n', {}, {"a\nb": ["1"], "c": ["2"]}),
        (b"a,,b,\n1,,2,\n", {}, {"a": ["1"], "b": ["2"]}),
        (b"a,b", {}, {"a": [], "b": []}),
        (b"a;b\n1,5;2\n", {"delimiter": ";"}, {"a": ["1,5"], "b": ["2"]}),
        ("a,b\né,1\n".encode("latin-1"), {"encoding": "latin-1"}, {"a": ["é"], "b": ["1"]}),
        ("a,b\né,1\n".encode("utf-16"), {"encoding": "utf-16"}, {"a": ["é"], "b": ["1"]}),
        (b'a,b\n5" disk,1\n', {}, {"a": ['5" disk'], "b": ["1"]}),
    ],
)
def test_a_csv_as_programs_write_it(
    tmp_path: Path, content: bytes, options: dict[str, Any], wanted: dict[str, Any]
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert table(tmp_path / "t.csv", **options) == wanted


MISTAKES: list[tuple[str, bytes, list[str]]] = [
    ("t.csv", b"", ["empty"]),
    ("t.csv", b"\n\n", ["empty"]),
    ("t.csv", b"a,a\n1,2\n", ["two columns `a`", "rename"]),
    ("t.csv", b"a,b\n1,2\n\n3\n", ["line 4", "1 cells", "2"]),
    ("t.csv", b'a,b\n1,"2\n3"\n3,4,5\n', ["line 4", "3 cells", "quotes"]),
    ("t.csv", b"a;b\n1,5;2\n", ["line 2", "2 cells", 'delimiter: ";"']),
    ("t.csv", b"a\tb\n1,5\t2\n", ['delimiter: "\\t"']),
    ("t.csv", b'a,b\n1,2\n3,"4', ["ends inside a quote", "line 3", "cut off"]),
    ("t.csv", b'a,b\n1,"' + (b"x" * 99 + b"\n") * 180_000, ["not closed within 4 MiB", "line 2"]),
    ("t.csv", b"a,b\n1,\xe9\n", ["line 2", "byte 0xE9", "encoding: latin-1"]),
    ("t.csv", b"a,b\n1,\x80\n", ["encoding: cp1252"]),
    ("t.csv", b"\xe9,b\n1,2\n", ["line 1", "encoding: latin-1"]),
    ("t.csv", "a,b\n1,2\n".encode("utf-16"), ["UTF-16", "encoding: utf-16"]),
    ("t.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-3], ["cut off"]),
    ("t.csv.gz", b"a,b\n1,2\n", ["damaged"]),
    ("t.tsv.zst", pa.compress(b"a\tb\n1\t2\n" * 99, "zstd", asbytes=True)[:-9], ["cut off"]),
    ("t.tsv.zst", b"a\tb\n", ["damaged"]),
    ("t.jsonl", b"", ["no rows"]),
    ("t.jsonl", b"{}\n", ["no rows"]),
    ("t.jsonl", b"[1, 2]\n", ["line 1", "one JSON array"]),
    ("t.jsonl", b'{"a": 1}\nnull\n', ["line 2", "not a JSON object"]),
    ("t.jsonl", b'{"a": 1}\n\n{"a": 1', ["line 3", "not a JSON object"]),
    ("t.jsonl", b'{"a": 1} {"a": 2}\n', ["line 1"]),
    ("t.jsonl", b'{"a":\n1}\n', ["line 2"]),
    ("t.jsonl", b'{"a": 1, "a": 2}\n', ["line 1", "`a` occurs twice"]),
    ("t.jsonl", b'{"a": [1]}\n{"a": "x"}\n', ["column `a`", 'text ("x") in line 2', "a list in line 1"]),
    ("t.jsonl", b'{"a": true}\n{"a": 1}\n', ["column `a`", "1 in line 2", "true in line 1"]),
    ("t.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', ["line 2", "UTF-8"]),
    ("t.jsonl", b'{"a": 1}\n{"a": 1e999}\n', ["line 2", "too big"]),
    ("t.jsonl", b'{"a": 1}\n{"a": [1, "x"]}\n', ["line 2", "a list in line 2", "1 in line 1"]),
    ("t.jsonl", b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}\n", ["line 1", "nested deeper"]),
    ("t.jsonl", b'{"a": "' + b"x" * 34_000_000 + b'"}\n', ["line 1", "longer than"]),
    ("t.parquet", b"", ["not a complete Parquet file"]),
    ("t.parquet", b"PAR1" + b"x" * 50 + b"PAR1", ["not a complete Parquet file"]),
    ("t.npz", b"PK\x03\x04" + b"x" * 50, ["not an .npz"]),
    ("t.npy", b"\x93NUMPY\x01\x00" + b"x" * 50, ["damaged"]),
    ("t.dat", b"a,b\n", ["has a format that graphspec does not read", ".csv"]),
    ("t.json", b"[]", ["holds no rows", "each line is an object"]),
    ("t.xlsx", b"PK", ["has a format that graphspec does not read", "save the sheet as .csv"]),
    ("t.csv.zip", b"PK", ["has a format that graphspec does not read", "unpack it"]),
]


@pytest.mark.parametrize(("name", "content", "words"), MISTAKES)
def test_a_mistake_in_a_file_is_told_with_line_and_remedy(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    said = refused(tmp_path / name)
    for word in words:
        assert word in said


def test_what_is_no_text_in_a_column_of_text_is_read_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        '{"title": "Alien", "tags": ["old", 1.50], "votes": 2}',
        '{"title": 300, "tags": [7], "votes": 1e2}',
        "",
        '{"title": 12.50, "votes": null, "\u00e9\\"": true}',
        '{"title": false, "tags": null, "votes": 3}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(rows * 3) + "\n")
    found = table(tmp_path / "t.jsonl")
    assert found["title"] == ["Alien", "300", "12.50", "false"] * 3
    assert found["tags"] == [["old", "1.50"], ["7"], None, None] * 3
    assert found["votes"] == [2.0, 100.0, None, 3.0] * 3 and found['é"'] == [None, None, True, None] * 3
    monkeypatch.setattr(lines, "BLOCK", 90)
    assert opened(tmp_path / "t.jsonl").read(["title"]).to_pydict() == {"title": found["title"]}
    (tmp_path / "t.jsonl").write_text(
        '{"title": 1.50, "tags": [7], "votes": 1}\n' * 4 + "\n".join(rows) + "\n"
    )
    late = opened(tmp_path / "t.jsonl")
    late.read_as_text(["title", "tags", "votes"])
    assert late.read(["title", "tags", "votes"]).to_pydict() == {
        "title": ["1.50"] * 4 + found["title"][:4],
        "tags": [["7"]] * 4 + found["tags"][:4],
        "votes": [1.0] * 4 + found["votes"][:4],
    }
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n' * 20 + '{"a": "x"}\n')
    said = refused(tmp_path / "t.jsonl")
    assert 'text ("x") in line 21, and numbers before' in said and "in quotes" in said


def test_brackets_in_text_are_no_nesting(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"a": "[" * 1000 + '\\"{'}) + "\n")
    assert table(tmp_path / "t.jsonl") == {"a": ["[" * 1000 + '\\"{']}


def test_dates_in_json_stay_the_text_that_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": "2024-01-01", "b": ["2024-01-01"]}\n{"a": "later"}\n')
    assert table(tmp_path / "t.jsonl") == {"a": ["2024-01-01", "later"], "b": [["2024-01-01"], None]}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.npz", "t.csv.gz", "t.npy"])
@given(content=st.binary(max_size=300))
def test_any_bytes_end_in_a_diagnostic_or_a_table(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            table(Path(folder) / name)
        except SpecError as error:
            assert all(d.code.startswith("data-") for d in error.diagnostics)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.csv.gz", "t.jsonl.zst"])
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_ends_in_a_diagnostic_or_a_table(
    name: str, position: int, value: int, cut: bool
) -> None:
    rows = [{"a": 1.5, "b": i, "c": f'x"{i}'} for i in range(9)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write = write_parquet if "parquet" in name else write_csv if "csv" in name else write_lines
        write(path, rows)
        content = bytearray(path.read_bytes())
        content[position % len(content)] = value
        path.write_bytes(content[: position % len(content)] if cut else content)
        try:
            table(path)
        except SpecError as error:
            assert all(d.code.startswith("data-") for d in error.diagnostics)


# --- what is no file


def test_pipes_and_folders_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    assert "neither a file nor a folder" in refused(tmp_path / "t.csv")
    assert "neither a file" in refused(Path("/dev/zero"))
    assert "not read from standard input" in refused(Path("-"))
    (tmp_path / "empty").mkdir()
    assert "empty folder" in refused(tmp_path / "empty")
    assert "matches no file" in refused(tmp_path / "*.tsv")


def write(place: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.csv": "x\n1\n", "b.jsonl": '{"x": 1}\n'}, ["`a.csv` and `b.jsonl`", "different kinds"]),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x,z\n1,2\n"}, ["`b.csv` has no column `y`", "`a.csv`"]),
        ({"a.jsonl": '{"x": 1}\n', "b.jsonl": '{"x": "1"}\n'}, ["`x` is int64 in `a.jsonl`", "`b.jsonl`"]),
        ({"oak/1.png": "", "notes.txt": ""}, ["`oak` and `notes.txt`"]),
        ({"oak/1.png": "", "oak/2.txt": ""}, ["`oak/1.png` and `oak/2.txt`"]),
        ({"oak/elm/1.png": ""}, ["`oak/elm`", "a folder"]),
        ({"a/.keep": "", "b/_x": ""}, ["no images"]),
        ({"a.dat": ""}, ["has a format that graphspec does not read"]),
    ],
)
def test_a_folder_holds_files_of_one_kind(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    write(tmp_path, files)
    said = refused(tmp_path)
    for word in words:
        assert word in said


def test_shards_are_one_table_whose_rows_are_counted_in_each(tmp_path: Path) -> None:
    write(tmp_path, {"b.csv": "y,x\n4,3\n\n6,5\n", "a.csv": "x,y\n1,2\n", "_SUCCESS": "", ".hidden": "?"})
    found = opened(tmp_path)
    assert found.read(["x", "y"]).to_pydict() == {"x": ["1", "3", "5"], "y": ["2", "4", "6"]}
    places = [found.place(row) for row in range(3)]
    assert places == ["line 2 of `a.csv`", "line 2 of `b.csv`", "line 4 of `b.csv`"]


def test_images_are_rows_by_class_and_name(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["oak/b.JPG", "oak/a.png", "ash/c.webp", "ash/Thumbs.db", "oak/.x"], ""))
    (tmp_path / "empty").mkdir()
    found = opened(tmp_path).read(["file", "label"]).to_pydict()
    assert found == {"file": ["ash/c.webp", "oak/a.png", "oak/b.JPG"], "label": ["ash", "oak", "oak"]}
    flat = opened(tmp_path / "oak")
    assert list(flat.columns) == ["file", "image"]
    assert flat.read(["image"]).to_pydict() == {"image": ["a.png", "b.JPG"]}


def test_links_of_a_folder_stay_inside(tmp_path: Path) -> None:
    write(tmp_path, {"secret.csv": "x\n1\n", "spec/data/a.csv": "x\n1\n"})
    (tmp_path / "spec/data/b.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(SpecError) as caught:
        find(tmp_path / "spec/data", within=tmp_path / "spec")
    assert caught.value.diagnostics[0].code == "data-outside"
    assert len(find(tmp_path / "spec/data").files) == 2


# --- arrays


def test_arrays_of_an_archive_a_folder_and_shards(tmp_path: Path) -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array(["a", "b", "c"])
    np.savez(tmp_path / "t.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "c.npz", x=x, y=y)
    (tmp_path / "loose").mkdir()
    np.save(tmp_path / "loose/x.npy", x)
    np.save(tmp_path / "loose/y.npy", y)
    for name in ("t.npz", "c.npz", "loose"):
        assert table(tmp_path / name) == {"x": x.tolist(), "y": y.tolist()}
    both = opened(tmp_path / "[tc].npz")
    assert both.read(["y"]).to_pydict() == {"y": ["a", "b", "c"] * 2}
    assert both.place(4) == "row 1, counting from 0, of `t.npz`"
    np.savez(tmp_path / "d.npz", x=x)
    assert "array `y`" in refused(tmp_path / "[td].npz")


@pytest.mark.parametrize("name", ["t.npz", "c.npz", "x.npy"])
def test_every_flipped_byte_of_arrays_is_found_or_harmless(tmp_path: Path, name: str) -> None:
    x = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "t.npz", x=x)
    np.savez_compressed(tmp_path / "c.npz", x=x)
    np.save(tmp_path / "x.npy", x)
    whole = (tmp_path / name).read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 64
        (tmp_path / name).write_bytes(changed)
        try:
            found = open_arrays(find(tmp_path / name)).read("x")
        except SpecError as error:
            assert all(d.code.startswith("data-") for d in error.diagnostics)
        else:
            assert name == "x.npy" or found.tolist() == x.tolist()  # a .npy has no checksum


def test_checksums_of_parquet_pages_are_compared(tmp_path: Path) -> None:
    made = pa.table({"a": np.arange(1000.0)})
    options = {"write_page_checksum": True, "use_dictionary": False, "compression": "none"}
    parquet.write_table(made, tmp_path / "t.parquet", **options)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[4000] ^= 1
    (tmp_path / "t.parquet").write_bytes(content)
    assert "not a complete Parquet file" in refused(tmp_path / "t.parquet")
