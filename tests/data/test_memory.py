"""What is read of a file of data is bounded while it is read, whatever the file holds."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import pytest

from graphspec.cli.printing import show
from graphspec.data.drafting import samples
from graphspec.data.files import DataFile
from graphspec.data.folders import find
from graphspec.data.tables import open_table
from graphspec.data.tables.parquet import _largest, parts
from graphspec.diagnostics import Diagnostic, Span, SpecError
from tests import one_in, processes

MIB = 2**20
LEAST, MOST = 4, 400
"""MiB that reading takes; a row that is refused takes 11, and no other more than half of the most."""

FEW_ROWS = 6 * 160
"""MiB that one enormous row takes before it is refused."""

READ = """
import resource, sys
from pathlib import Path
import pyarrow.compute, pyarrow.csv, pyarrow.json, pyarrow.parquet
from graphspec.data.files import DataFile
from graphspec.data.folders import find
from graphspec.data.tables import open_table
from graphspec.diagnostics import SpecError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

path, before, said = Path(sys.argv[1]), peak(), ""
try:
    table = open_table(find(path), DataFile(path=path.name))
    said = sum(part.num_rows for _, part in table.chunks(list(table.columns)))
except SpecError as error:
    said = error.diagnostics[0].message
print((peak() - before) >> 20, said)
"""


def read(path: Path) -> tuple[int, str]:
    """MiB that a process takes to read a file, and what it says: the number of rows, or the mistake."""
    done = processes.run(["-c", READ, str(path)], environment={"GRAPHSPEC_MEMORY": "256M"})
    assert done.returncode == 0, done.stderr
    taken, _, said = done.stdout.strip().partition(" ")
    return int(taken), said


def zipped(start: bytes, block: bytes) -> bytes:
    return gzip.compress(start) + gzip.compress(block * (16 * MIB // len(block)), 1) * 40


def zstandard(start: bytes, block: bytes) -> bytes:
    codec = pa.Codec("zstd")
    return bytes(codec.compress(start)) + bytes(codec.compress(block * (16 * MIB // len(block)))) * 40


TEXTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "row.csv.gz": (lambda: zipped(b"a,b\n1,2\n", b"x"), "the row of line 3"),
    "row.csv.zst": (lambda: zstandard(b"a,b\n1,2\n", b"x"), "the row of line 3"),
    "header.csv.gz": (lambda: zipped(b"", b"x"), "the header"),
    "quote.csv.gz": (
        lambda: zipped(b'a,b\n1,2\n"', b"x" * 1023 + b"\n"),
        "a quote that opens in the row of line 3",
    ),
    "line.jsonl.gz": (lambda: zipped(b'{"a": 1}\n{"a": "', b"x"), "line 2"),
    "line.jsonl.zst": (lambda: zstandard(b'{"a": 1}\n{"a": "', b"x"), "line 2"),
    "keys.jsonl": (
        lambda: b"".join(b'{"a%d": 1}\n' % number for number in range(200_000)),
        "different keys",
    ),
}


OFTEN = ("row.csv.gz", "line.jsonl.zst")


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.parity) for name in TEXTS]
)
def test_a_row_of_a_text_is_bounded_while_it_is_read(name: str, tmp_path: Path) -> None:
    content, words = TEXTS[name]
    (tmp_path / name).write_bytes(content())
    taken, said = read(tmp_path / name)
    assert words in said
    assert LEAST < taken < MOST


def test_of_the_line_of_a_mistake_no_more_is_read_than_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_bytes(b"a\n" + b"y" * (32 * MIB) + b"\n" + b"x" * (32 * MIB))
    mistake = Diagnostic("data-dtype", "no number", Span(str(file), 3, 1, 3, 9))
    stream = io.StringIO()
    tracemalloc.start()
    show([mistake], {}, stream)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "xxxxxxxx" in stream.getvalue() and taken < 12 * MIB


VALUE = "v" * 2**16


def shared(rows: int) -> pa.Array:
    """Rows that all have one long text, which is stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([VALUE]))


def in_lists(rows: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), shared(rows))


@pytest.mark.parity
@pytest.mark.parametrize("column", [in_lists, shared])
def test_texts_that_parquet_stores_once_are_spelled_out_in_parts(
    column: Callable[[int], pa.Array], tmp_path: Path
) -> None:
    parquet.write_table(pa.table({"a": column(2**15)}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < MIB
    taken, said = read(tmp_path / "t.parquet")
    assert said == str(2**15)
    assert LEAST < taken < MOST


@pytest.mark.parametrize("values", one_in(2, [[np.zeros(20 * MIB, np.int64), [1]], ["w" * (100 * MIB), "b"]]))
def test_a_row_of_parquet_that_would_fill_the_memory_is_refused(values: list[object], tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.array(values)}), tmp_path / "t.parquet", compression="zstd")
    taken, said = read(tmp_path / "t.parquet")
    assert said.startswith("a row of column `a`")
    assert LEAST < taken < MOST


def test_no_row_of_parquet_is_longer_than_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its user says how much memory there is."""
    monkeypatch.delenv("GRAPHSPEC_MEMORY", raising=False)
    monkeypatch.setattr("graphspec.data.tables.parquet.MOST", MIB)
    parquet.write_table(pa.table({"a": ["w" * (3 * MIB), "b"]}), tmp_path / "t.parquet")
    table = open_table(find(tmp_path / "t.parquet"), DataFile(path="t.parquet"))
    with pytest.raises(SpecError, match="a row of column `a`"):
        table.read(["a"])
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "1G")
    assert table.read(["a"]).num_rows == 2


def test_a_first_look_at_a_table_takes_little_of_long_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write_table(pa.table({"a": ["w" * MIB] * 40}), tmp_path / "t.parquet")
    table = open_table(find(tmp_path / "t.parquet"), DataFile(path="t.parquet"))
    for rows in (samples.first(table), samples.spread(table).rows):
        assert rows.num_rows == 40 and pc.max(pc.utf8_length(rows["a"])).as_py() == samples.LETTERS
    monkeypatch.setattr(samples, "BYTES", 1)
    assert samples.first(table).num_rows < 40 and samples.spread(table).count < 40


def rows_of(lengths: list[int]) -> pa.Array:
    """Lists of zeros."""
    ends = np.cumsum([0, *lengths], dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(np.zeros(ends[-1], np.int64)))


HUGE = [1] * 60_000 + [20 * MIB] + [1] * 60_000
AMONG: dict[str, tuple[Callable[[], pa.Array], dict[str, Any], str]] = {
    "list": (lambda: rows_of(HUGE), {}, "a row of column `a`"),
    "list in pages of rows": (lambda: rows_of(HUGE), {"data_page_version": "2.0"}, "a row of column `a`"),
    "text": (lambda: one_long_text(), {"use_dictionary": False}, "a row of column `a`"),
    "shared text": (lambda: one_long_text(), {}, "a row of column `a`"),
    "none": (lambda: rows_of([0, 64] * 120_000), {}, "240000"),
    "none in pages of rows": (lambda: rows_of([64] * 120_000), {"data_page_version": "2.0"}, "120000"),
}


def one_long_text() -> pa.Array:
    return pa.array([*["b"] * 60_000, "w" * (100 * MIB)])


@pytest.mark.parity
@pytest.mark.parametrize("name", AMONG)
def test_one_enormous_row_among_small_ones_is_found(name: str, tmp_path: Path) -> None:
    """Once it is read: what is decompressed and decoded are a few times its bytes, at most 160 MiB."""
    column, settings, words = AMONG[name]
    parquet.write_table(pa.table({"a": column()}), tmp_path / "t.parquet", compression="zstd", **settings)
    taken, said = read(tmp_path / "t.parquet")
    assert said.startswith(words)
    assert LEAST < taken < FEW_ROWS


def test_the_largest_row_of_lists_within_lists_is_counted() -> None:
    """Of a slice, with empty lists and gaps."""
    lists = pa.array([[[1] * 99], [[1, 2], [], [3]], None, [], [[4]]], pa.list_(pa.list_(pa.int64())))
    assert _largest(lists) == 99 * 8 and _largest(lists[1:]) == 3 * 8 and _largest(lists[2:3]) == 0
    texts = pa.array([["w" * 50], ["ab", None, "c"], [], None])
    assert _largest(texts) == 50 and _largest(texts[1:]) == 3 and _largest(pa.array(["ab", None])) == 2


def test_text_of_parquet_is_the_same_in_any_parts(tmp_path: Path) -> None:
    texts = ["", None, *("ab" * length for length in range(9)), "", None]
    kinds = (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()))
    wanted = pa.table({f"c.{index}": pa.array(texts, kind) for index, kind in enumerate(kinds)})
    parquet.write_table(wanted, tmp_path / "t.parquet", row_group_size=4)
    table = open_table(find(tmp_path / "t.parquet"), DataFile(path="t.parquet"))
    assert table.read(list(table.columns)).to_pydict() == {
        name: [None if text == "" else text for text in texts] for name in wanted.column_names
    }
    (whole,) = parquet.read_table(tmp_path / "t.parquet", columns=["c.2"]).combine_chunks().columns
    sliced = list(parts(pa.table({"c": whole}), size=8))
    assert max(part.num_rows for part in sliced) < 8 < len(sliced) + 4
    assert pa.concat_tables(sliced).to_pydict() == {"c": texts}
