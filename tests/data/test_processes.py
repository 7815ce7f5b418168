"""Data that one process of several reads: all have the same examples, and the machine holds them once.

Threads stand for the processes here; real ones are in `test_parallel.py`.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest
import torch

from graphspec.compiler import compile
from graphspec.data import processes, reading, store, streamed
from graphspec.data.batches import Shuffle
from graphspec.data.encoders import lists, numbers
from graphspec.data.loading import Data, load
from graphspec.data.processes import read_once
from graphspec.data.tables import base
from graphspec.diagnostics import SpecError
from tests import one_in

SPEC = """
inputs:
  facts: {shape: [4]}
  kinds: {shape: [2], dtype: int64}
  clock: {shape: [2]}
  words: {shape: [n], dtype: int64}
  marks: {shape: [5]}
nodes:
  table: {layer: Embedding, from: kinds, input_dim: $(vocabulary(kinds)), output_dim: 2}
  flat: {layer: Flatten, from: table}
  read: {layer: Embedding, from: words, input_dim: $(vocabulary(words)), output_dim: 3, mask_zero: true}
  last: {layer: GRU, from: read, units: 3}
  all: {merge: concatenate, from: [facts, flat, clock, last, marks]}
  size: {layer: Dense, from: all, units: 1}
  kind: {layer: Dense, from: all, units: 3, activation: softmax}
outputs:
  size: {loss: mse, missing: ignore, metrics: [mae]}
  kind: {loss: sparse_categorical_crossentropy, class_weight: balanced, sample_weight: weight}
train: {optimizer: adam, epochs: 1, batch_size: 16}
data:
  train: DATA
  validation: {split: 0.2, stratify: kind}
  features:
    facts: {columns: [a, b], encode: number, fill: median, indicator: true, transform: {b: quantile},
            scale: standard}
    kinds: {columns: [region, plan], encode: category, vocabulary: [5, 9], fill: none}
    clock: {column: at, encode: date, parts: [hour_sin, weekday], scale: standard}
    words: {column: title, encode: text, vocabulary: 30, tokenizer: word, fill: nothing}
    marks: {column: tags, encode: set, vocabulary: 5, separator: " ", fill: ""}
    size: {encode: number, scale: standard}
    kind: {encode: category}
"""
ARRAYS = """
inputs: {x: {shape: [9, 9]}}
nodes: {flat: {layer: Flatten}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: DATA, validation: {split: 0.25}}
train: {epochs: 1, batch_size: 4}
"""
WINDOWS = """
inputs: {past: {shape: [6, 1]}}
nodes: {flat: {layer: Flatten}, y: {layer: Dense, units: 3}}
outputs: {y: {loss: mae, missing: ignore}}
data:
  train: DATA
  validation: {split: 0.25, last_by: time}
  windows: {by: shop, order: time, past: 6, next: 3, every: 1h, season: 4, gaps: fill}
  features:
    past: {column: y, encode: number, steps: past, fill: mean}
    y: {encode: number, steps: next, scale: {standard: shop}}
train: {epochs: 1, batch_size: 8}
"""
ROWS = 230


def table(rows: int = ROWS) -> pa.Table:
    source = np.random.default_rng(5)

    def drawn(words: str, missing: float = 0.0) -> list[str | None]:
        found = source.choice(words.split(), rows).tolist()
        return [
            None if gone else word for word, gone in zip(found, source.random(rows) < missing, strict=True)
        ]

    def sentence() -> str:
        return " ".join(source.choice(list("abcdefghijklmnopqrstuvwxyz"), source.integers(1, 9)))

    b = [None if source.random() < 0.1 else float(x) for x in source.gamma(2, size=rows)]
    seconds = source.integers(0, 10**9, rows)
    columns: dict[str, Any] = {
        "a": source.normal(size=rows).astype("float32").astype(float),
        "b": b,
        "region": drawn("north south North west", 0.1),
        "plan": drawn("p q r s t u v w x y z", 0.05),
        "at": [np.datetime_as_string(np.datetime64(int(s), "s")) for s in seconds],
        "title": [sentence() if source.random() < 0.9 else None for _ in range(rows)],
        "tags": [" ".join(source.choice(list("tuvwxyz"), source.integers(0, 4))) for _ in range(rows)],
        "size": [None if source.random() < 0.2 else float(x) for x in source.normal(size=rows)],
        "kind": drawn("oak elm ash"),
        "weight": source.integers(1, 4, rows),
    }
    return pa.table(columns)


BOOKS = """
inputs: {tokens: {shape: [length], dtype: int64}}
nodes:
  words: {layer: Embedding, input_dim: 300, output_dim: 4}
  next: {layer: Dense, units: 300, activation: softmax}
outputs: {next: {loss: sparse_categorical_crossentropy}}
data:
  train: DATA
  validation: {split: 0.25}
  features:
    tokens: {column: text, encode: text, tokenizer: bpe, vocabulary: 280, pack: 16, end: "<|end|>"}
    next: {of: tokens, shift: 1}
"""


@dataclass
class Threads:
    """Processes that are threads: `gather` as in `World`."""

    size: int
    held: list[Any] = field(default_factory=list)
    rank: int = 0
    barrier: Any = None

    def of(self, rank: int) -> Threads:
        return Threads(self.size, self.held, rank, self.barrier)

    def gather(self, value: Any) -> list[Any]:
        self.held[self.rank] = pickle.dumps(value)
        self.barrier.wait(60)
        found = [pickle.loads(held) for held in self.held]
        self.barrier.wait(60)
        return found


def together(size: int, call: Callable[[Any], Any]) -> list[Any]:
    """The results of a call in each of several processes, or the errors that it raises."""
    whole = Threads(size, [None] * size, 0, threading.Barrier(size))

    def one(rank: int) -> Any:
        try:
            return call(whole.of(rank))
        except SpecError as error:
            return error
        except BaseException:
            whole.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def content(found: Data) -> Any:
    """Everything that training sees of data, and what is said of them."""
    parts = []
    for examples in (found.training, found.validation, found.test):
        for batch in examples.batches(16, Shuffle(1, 0)) if examples is not None else ():
            groups = (batch.arrays, batch.weights, batch.masks)
            parts.append([{name: tensor.tolist() for name, tensor in group.items()} for group in groups])
    learned = found.encoders.to_json() if found.encoders is not None else None
    return parts, found.notes, found.fingerprint, json.dumps(learned)


@pytest.fixture(autouse=True)
def all_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays, too."""
    monkeypatch.setattr(processes, "PAGE", 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few rows."""
    monkeypatch.setattr(base, "CHUNK", 2000)
    monkeypatch.setattr("graphspec.data.tables.parquet.CHUNK", 2000)
    monkeypatch.setattr("graphspec.data.reading.CHUNK", 700)
    monkeypatch.setattr(base.Table.chunks, "__defaults__", (2000,))


def loading(root: Path, name: str, spec: str = SPEC) -> Callable[[Any], Data]:
    program = compile(spec.replace("DATA", name))
    return lambda processes: load(program, None, root, torch.device("cpu"), processes=processes)


def alone(call: Callable[[Any], Any]) -> Any:
    return together(1, call)[0]


def assert_alike(call: Callable[[Any], Any], size: int = 3) -> Any:
    """In several processes there is what one process has, which is returned."""
    wanted = content(alone(call))
    assert [content(found) for found in together(size, call)] == [wanted] * size
    return wanted


def write(root: Path, kind: str, whole: pa.Table) -> str:
    """The table as a file, or as shards in a folder."""
    if kind == "parquet":
        parquet.write_table(whole, root / "whole.parquet", row_group_size=20)
        return "whole.parquet"
    (root / "shards").mkdir()
    for number, first in enumerate(range(0, len(whole), 90)):
        part = whole.slice(first, 90)
        lines = "".join(json.dumps(row) + "\n" for row in part.to_pylist())
        (root / "shards" / f"{number}.jsonl").write_text(lines)
    return "shards"


@pytest.mark.parametrize("tokenizer", one_in(2, ["bpe", "word"]))
def test_examples_notes_and_encoders_are_those_of_one_process(tokenizer: str, tmp_path: Path) -> None:
    parts = ["train" if row < 20 else "validation" if row % 7 else "test" for row in range(ROWS)]
    name = write(tmp_path, "parquet", table().append_column("part", pa.array(parts)))
    spec = SPEC.replace("tokenizer: word", f"tokenizer: {tokenizer}")
    assert_alike(loading(tmp_path, name, spec))
    assert_alike(loading(tmp_path, name, spec.replace("{split: 0.2, stratify: kind}", "{column: part}")))


def test_arrays_synthetic_data_and_windows_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=source.random((40, 9, 9)).astype("float32"), y=source.random(40))
    assert_alike(loading(tmp_path, "d.npz", ARRAYS))
    assert_alike(loading(tmp_path, "", ARRAYS.replace("train: DATA, ", "")))
    hours = [f"2024-01-{day:02} {hour:02}:00:00" for day in (1, 2, 4) for hour in range(24)]  # with a gap
    series = pa.table({"shop": ["a"] * 72 + ["b"] * 72, "time": 2 * hours, "y": source.random(144)})
    csv.write_csv(series, tmp_path / "series.csv")
    (tmp_path / "books").mkdir()
    for number in range(9):
        (tmp_path / "books" / f"{number}.txt").write_text(f"the story of {number}, {number * 7}. " * 30)
    for memory in ("1G", "1K"):
        monkeypatch.setenv("GRAPHSPEC_MEMORY", memory)
        told = assert_alike(loading(tmp_path, "books", BOOKS))[1]
        assert ("are read from" in str(told)) == (memory == "1K")
        wanted = assert_alike(loading(tmp_path, "series.csv", WINDOWS))
        assert ("are read from" in str(wanted[1])) == (memory == "1K")


GAPS = """
inputs: {ids: {shape: [6], dtype: int64}, path: {shape: [n, 2]}, facts: {shape: [2]}}
nodes:
  table: {layer: Embedding, from: ids, input_dim: 20, output_dim: 2}
  next: {layer: Dense, units: 20, activation: softmax}
  steps: {layer: Dense, from: path, units: 3}
  tagged: {layer: Dense, from: path, units: 20, activation: softmax}
  size: {layer: Dense, from: facts, units: 1}
  pair: {layer: Dense, from: facts, units: 2}
  marks: {layer: Dense, from: facts, units: 4, activation: sigmoid}
  kind: {layer: Dense, from: facts, units: 3, activation: softmax}
  hot: {layer: Dense, from: facts, units: 3, activation: softmax}
outputs:
  next: {loss: sparse_categorical_crossentropy, missing: ignore}
  steps: {loss: mse, missing: ignore}
  tagged: {loss: sparse_categorical_crossentropy, missing: ignore}
  size: {loss: mse, missing: ignore}
  pair: {loss: mse, missing: ignore}
  marks: {loss: binary_crossentropy, missing: ignore}
  kind: {loss: sparse_categorical_crossentropy, missing: ignore, class_weight: balanced}
  hot: {loss: categorical_crossentropy, missing: ignore}
train: {optimizer: adam, epochs: 1, batch_size: 4}
data:
  train: DATA
  features:
    ids: {encode: tokens, vocabulary: 20, fill: "1"}
    next: {encode: tokens, vocabulary: 20}
    tagged: {encode: tokens, vocabulary: 20}
    facts: {columns: [a, b], encode: number, fill: mean}
    marks: {encode: set, vocabulary: 4}
    kind: {encode: category}
    hot: {encode: category}
"""
MISSING = ("ids", "next", "steps", "tagged", "a", "size", "pair", "marks", "kind", "hot")


def table_with_gaps() -> pa.Table:
    """Each column has no value in 15 rows of its own; `next` has its full length in the last 15 alone."""
    source = np.random.default_rng(2)
    rows = []
    for number in range(15 * len(MISSING) + 15):
        gap = number // 15
        length, steps = int(source.integers(1, 6)) if gap < len(MISSING) else 6, int(source.integers(1, 5))
        row = {
            "ids": source.integers(1, 9, length).tolist(),
            "next": source.integers(1, 9, length).tolist(),
            "path": source.random((steps, 2)).tolist(),
            "steps": source.random((steps, 3)).tolist(),
            "tagged": source.integers(1, 9, steps).tolist(),
            "a": float(source.random()),
            "b": number,
            "size": float(source.random()),
            "pair": source.random(2).tolist(),
            "marks": source.choice(list("wxyz"), 2, replace=False).tolist(),
            "kind": str(source.choice(["oak", "elm", "ash"])),
            "hot": str(source.choice(["oak", "elm", "ash"])),
        }
        rows.append(row | dict.fromkeys(MISSING[gap : gap + 1]))
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("kind", ["parquet", "jsonl shards"])
def test_parts_in_which_a_column_has_no_value_fit_the_others(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = loading(tmp_path, write(tmp_path, kind, table_with_gaps()), GAPS)
    wanted = content(alone(call))
    cut_small(monkeypatch)
    assert content(alone(call)) == wanted


def test_samples_of_large_data_are_the_same_in_any_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "KEPT", 50)
    monkeypatch.setattr(lists, "KEPT_BYTES", 1000)
    call = loading(tmp_path, write(tmp_path, "parquet", table()))
    wanted = content(alone(call))
    assert "statistics from 50 of" in str(wanted[1])
    cut_small(monkeypatch)
    assert content(alone(call)) == wanted


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("memory", one_in(2, ["12K", "1"]))
def test_what_does_not_fit_in_memory_is_streamed_in_the_same_order(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHSPEC_MEMORY", memory)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(streamed, "WINDOW", 4000)
    monkeypatch.setattr(store, "BLOCK", 512)
    write_out = store.write_out

    def nameless(*arguments: Any) -> None:
        assert [path.name for path in tmp_path.iterdir()] == ["whole.parquet"]
        write_out(*arguments)  # so a kill leaves nothing behind

    monkeypatch.setattr(processes, "write_out", nameless)
    wanted = assert_alike(loading(tmp_path, write(tmp_path, "parquet", table())))
    assert "are read from" in str(wanted[1])
    assert [path.name for path in tmp_path.iterdir()] == ["whole.parquet"]


def test_one_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = loading(tmp_path, write(tmp_path, "parquet", table()))
    readers, read = set(), reading.encode

    def watched(*arguments: Any) -> Any:
        readers.add(threading.get_ident())
        return read(*arguments)

    monkeypatch.setattr(reading, "encode", watched)
    together(3, call)
    assert len(readers) == 1


def broken(column: str, rows: Mapping[int, Any]) -> pa.Table:
    """The table with other values in some rows of a column."""
    whole = table()
    values = whole.column(column).to_pylist()
    for row, value in rows.items():
        values[row] = value
    return whole.set_column(whole.column_names.index(column), column, pa.array(values))


@pytest.mark.parametrize(
    ("column", "rows"), [("at", {190: "tomorrow"}), ("kind", {229: None}), ("weight", {33: -1, 220: -3})]
)
def test_a_mistake_is_told_by_all(column: str, rows: Mapping[int, Any], tmp_path: Path) -> None:
    call = loading(tmp_path, write(tmp_path, "parquet", broken(column, rows)))
    wanted = alone(call)
    assert [found.diagnostics for found in together(3, call)] == [wanted.diagnostics] * 3


def test_a_full_disk_is_told_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.data.store.SPARED", 2**60)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    call = loading(tmp_path, write(tmp_path, "parquet", table()))
    for found in together(2, call):
        assert found.diagnostics[0].code == "data-space" and str(tmp_path) in found.diagnostics[0].message
    assert [path.name for path in tmp_path.iterdir()] == ["whole.parquet"]


def test_many_arrays_are_one_open_file() -> None:
    given = {number: np.arange(number + 1) for number in range(40)}
    before = psutil.Process().num_fds()
    found = together(2, lambda processes: read_once(processes, lambda: given))
    assert psutil.Process().num_fds() - before <= 4
    assert all(np.array_equal(each[number], given[number]) for each in found for number in given)


def test_nothing_large_is_exchanged() -> None:
    """All processes would have it as often as there are processes."""
    sizes = []

    def read(processes: Threads) -> Any:
        gather = processes.gather

        def watched(value: Any) -> list[Any]:
            sizes.append(len(pickle.dumps(value)))
            return gather(value)

        processes.gather = watched  # type: ignore[method-assign]
        return read_once(processes, lambda: {str(number): number for number in range(999)})

    assert together(2, read)[1]["998"] == 998
    assert max(sizes) < 999


def test_processes_change_their_own_memory_alone(tmp_path: Path) -> None:
    first, second = together(2, loading(tmp_path, write(tmp_path, "parquet", table())))
    assert torch.equal(first.training.arrays["facts"], second.training.arrays["facts"])
    first.training.arrays["facts"].zero_()
    assert second.training.arrays["facts"].any()
