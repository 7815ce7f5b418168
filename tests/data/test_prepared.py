"""Data that are encoded once: what trainings read of them is what they would read of the table."""

from __future__ import annotations

import json
import operator
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.data import loader, loading, prepared_examples, preparing, reading, shards, workers
from graphspec.data import prepared as store_room
from graphspec.data.batches import Examples, Shuffle
from graphspec.data.columns import TablePart
from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.mistakes import row_in_words
from graphspec.data.prepared import checksum_of, digest_of
from graphspec.data.preparing import prepare
from graphspec.data.streamed import share_of
from graphspec.data.tables import texts
from graphspec.data.workers import Over, Workers
from graphspec.diagnostics import SpecError
from graphspec.runs.report import windowed
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 100)
    monkeypatch.setattr(shards, "BLOCK_ROWS", 16)
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**14)
    monkeypatch.setattr(texts, "PIECE", 2**13)


def program(name: str = "cars") -> Any:
    return graphspec.compile(SPECS / f"{name}.yaml")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def need_equal(one: Examples | None, other: Examples | None, shuffle: Shuffle | None = None) -> None:
    assert one is not None and other is not None and len(one) == len(other)
    for mine, theirs in zip(one.batches(32, shuffle), other.batches(32, shuffle), strict=True):
        for group in ("arrays", "weights", "masks"):
            a, b = getattr(mine, group), getattr(theirs, group)
            assert a.keys() == b.keys()
            for name in a:
                torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("cars", 400),
        ("names", 300),
        ("digits", 300),
        ("novel", None),
        ("digit_images", 130),
        ("segmentation", 30),
    ],
)
def test_it_gives_what_the_table_gives(name: str, most: int | None, tmp_path: Path) -> None:
    """Also of pictures, of which a few are a shard, with weights of the classes of pixels."""
    done = prepare(program(name), tmp_path / "store", root=SPECS, workers=1, limit=most)
    assert done.made == len(done.index.shards) > 1
    prepared = loading.load(program(name), tmp_path / "store", None, CPU)
    table = loading.load(program(name), None, SPECS, CPU, limit=most)
    need_equal(prepared.training, table.training, Shuffle(3, 1))
    need_equal(prepared.validation, table.validation)
    if prepared.encoders is not None and table.encoders is not None:
        assert prepared.encoders.to_json() == table.encoders.to_json()


@pytest.mark.parametrize("name", ["cars", "names", "novel", "carbon_dioxide"])
def test_what_does_not_fit_in_memory_is_read_in_an_order_of_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which depends on seed and epoch alone, and can be taken up in the middle."""
    prepare(program(name), tmp_path / "store", root=SPECS, workers=1)
    whole = loading.load(program(name), tmp_path / "store", None, CPU).training
    monkeypatch.setattr(loading, "memory_limit", lambda: 1)
    parts = loading.load(program(name), tmp_path / "store", None, CPU).training
    assert type(parts) is not type(whole)
    need_equal(parts, whole)
    shuffle = Shuffle(7, 2)
    every = [batch.arrays for batch in parts.batches(32, shuffle)]
    rest = [batch.arrays for batch in parts.batches(32, shuffle, 64)]
    assert len(rest) == len(every) - 2
    for a, b in zip(every[2:], rest, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_picture_that_changed_is_prepared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 10)
    for label in sorted((SPECS / "data" / "digits").iterdir()):
        (tmp_path / "data" / "digits" / label.name).mkdir(parents=True)
        for picture in sorted(label.iterdir())[:4]:
            shutil.copy(picture, tmp_path / "data" / "digits" / label.name)
    spec, store = program("digit_images"), tmp_path / "store"
    assert prepare(spec, store, root=tmp_path, workers=1).made == 4
    assert prepare(spec, store, root=tmp_path, workers=1).made == 0
    one, other = sorted((tmp_path / "data" / "digits" / "3").iterdir())[:2]
    shutil.copy(other, one)
    assert prepare(spec, store, root=tmp_path, workers=1).made == 1
    found, table = (loading.load(spec, data, tmp_path, CPU) for data in (store, None))
    need_equal(found.training, table.training)


@pytest.mark.skipif(sys.platform != "linux", reason="maps of files are counted by Linux")
def test_few_files_and_blocks_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 20)
    store = tmp_path / "store"
    done = prepare(program(), store, root=SPECS, workers=1)
    whole = loading.load(program(), store, None, CPU).training
    monkeypatch.setattr(loading, "memory_limit", lambda: 1)
    monkeypatch.setattr(prepared_examples, "KEPT", 1)
    monkeypatch.setattr(store_room, "FILES", 3)
    found = loading.load(program(), store, None, CPU)
    need_equal(found.training, whole)
    maps = {each.path for each in psutil.Process().memory_maps(grouped=False)}
    assert len(done.index.shards) > 15 and len([path for path in maps if path.startswith(str(store))]) <= 4


@pytest.mark.parametrize("name", ["cars", "novel", "carbon_dioxide"])
def test_one_that_is_interrupted_goes_on_to_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(program(name), tmp_path / "whole", root=SPECS, workers=1)
    write, written = shards.write, list[str]()

    def stopping(folder: Path, name: str, *about: Any) -> Any:
        written.append(name)
        if len(written) in (2, 6, 7):
            raise KeyboardInterrupt
        return write(folder, name, *about)

    monkeypatch.setattr(shards, "write", stopping)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            prepare(program(name), tmp_path / "parts", root=SPECS, workers=1)
        with pytest.raises(SpecError):  # there is no index yet
            loading.load(program(name), tmp_path / "parts", None, CPU)
    done = prepare(program(name), tmp_path / "parts", root=SPECS, workers=1)
    assert 0 < done.made < len(done.index.shards)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


class Pool:
    """Processes that are calls in this one: what they get is sent to them, and the first pool dies early."""

    dies = False

    def __init__(self, workers: int, context: Any, begin: Any, given: tuple[Any, ...]):
        begin(*pickle.loads(pickle.dumps(given)))

    def submit(self, call: Any, task: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            if type(self).dies:
                type(self).dies = False
                raise BrokenProcessPool
            future.set_result(pickle.loads(pickle.dumps(call(pickle.loads(pickle.dumps(task))))))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **options: Any) -> None: ...


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> type[Pool]:
    monkeypatch.setattr(workers, "PATIENCE", 0)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    return Pool


SOURCES = """
inputs: {x: {shape: [2]}, words: {shape: [length], dtype: int64}}
nodes:
  e: {layer: Embedding, from: words, input_dim: 9, output_dim: 2, mask_zero: true}
  m: {layer: GlobalAveragePooling1D}
  both: {merge: concatenate, from: [x, m]}
  y: {layer: Dense, units: 1}
  c: {layer: Dense, from: both, units: 3, activation: softmax}
outputs: {y: {loss: mse, missing: ignore}, c: {loss: sparse_categorical_crossentropy, class_weight: balanced}}
data:
  train: {few: few.csv, plain: {path: plain.csv, weight: 3, time: day, since: 2024-01-02, until: 2024-01-20}}
  validation: {split: 0.2, data: few}
  test: {path: plain.csv, time: day, since: 2024-01-20}
  features:
    x: {columns: [a, b], encode: number, scale: standard}
    words: {column: t, encode: text, vocabulary: 9}
    y: {column: k, encode: number, scale: standard}
    c: {column: kind, encode: category}
train: {epochs: 2, batch_size: 16, seed: 3}
"""


def with_sources(place: Path) -> Any:
    """Two sources, of which one has no classes, and a time of which some days are read."""
    for name, count in (("few", 60), ("plain", 250)):
        lines = ["t,a,b,k" + ("" if name == "plain" else ",kind") + ",day"]
        for n in range(count):
            kind = "" if name == "plain" else f",{'uvw'[n % 3]}"
            text, day = "p q r s"[: 1 + 2 * (n % 4)], f"2024-01-{1 + n // 10:02}"
            lines.append(f"{text},{n},{n % 5},{n * 3 if n % 4 else ''}{kind},{day}")
        (place / f"{name}.csv").write_text("\n".join(lines) + "\n")
    spec = SOURCES.replace("  test: {path: plain.csv, time: day, since: 2024-01-20}\n", "")
    return graphspec.compile(spec)


@pytest.mark.parametrize("in_memory", [True, False])
def test_several_sources_are_those_of_their_tables(
    in_memory: bool, tmp_path: Path, pool: type[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those without a target, too, and of a time; in files each process reads its own rows."""
    spec = with_sources(tmp_path)
    done = prepare(spec, tmp_path / "store", root=tmp_path, workers=2)
    assert done.examples == {"training": 48 + 180, "validation": 12, "test": 0} and done.made == 3
    if not in_memory:
        monkeypatch.setattr(loading, "memory_limit", lambda: 1)
        monkeypatch.setattr(loader, "memory_limit", lambda: 1)
    own, table = (loading.load(spec, data, tmp_path, CPU) for data in (tmp_path / "store", None))
    assert own.counts == table.counts == {"few": 48, "plain": 180} and own.encoders and table.encoders
    assert own.encoders.to_json() == table.encoders.to_json()
    need_equal(own.validation, table.validation)
    need_equal(own.training, table.training)
    if in_memory:
        need_equal(own.training, table.training, Shuffle(3, 1))
    else:
        every = [b.arrays for b in own.training.batches(16, Shuffle(3, 1))]
        rest = [b.arrays for b in own.training.batches(16, Shuffle(3, 1), 32)]
        assert all(torch.equal(a["x"], b["x"]) for a, b in zip(every[2:], rest, strict=True))
        of_few = table.training.only([0])  # type: ignore[attr-defined]
        values = {float(v) for b in of_few.batches(16) for v in b.arrays["y"].reshape(-1)}
        shares = [sum(float(v) in values for v in a["y"].reshape(-1)) for a in every]
        assert len(every) == len([*table.training.batches(16, Shuffle(3, 1))]) and shares[0] >= 4
    with pytest.raises(SpecError, match="--limit"):
        loading.load(spec, tmp_path / "store", None, CPU, limit=5)
    other = graphspec.compile(
        SOURCES.replace("few: few.csv", "less: few.csv").replace("data: few", "data: less")
    )
    with pytest.raises(SpecError, match=r"for other .*sources"):
        loading.load(other, tmp_path / "store", None, CPU)


def test_a_time_of_one_table_is_prepared(tmp_path: Path) -> None:
    with_sources(tmp_path)
    one = "train: {path: plain.csv, time: day, since: 2024-01-02, until: 2024-01-20}"
    text = "\n".join(
        line if not line.startswith("  train: {few") else f"  {one}" for line in SOURCES.split("\n")
    ).replace(", data: few}", "}")
    text = text.replace(", c: {loss: sparse_categorical_crossentropy, class_weight: balanced}}", "}")
    text = text.replace("  c: {layer: Dense, from: both, units: 3, activation: softmax}\n", "")
    text = text.replace("    c: {column: kind, encode: category}\n", "")
    spec = graphspec.compile(text)
    done = prepare(spec, tmp_path / "store", root=tmp_path, workers=1)
    assert done.examples == {"training": 144, "validation": 36, "test": 60}
    own, table = (loading.load(spec, data, tmp_path, CPU) for data in (tmp_path / "store", None))
    for label in ("training", "validation", "test"):
        need_equal(getattr(own, label), getattr(table, label))
    assert [note for note in own.notes if "since" in note] == [
        note for note in table.notes if "since" in note
    ]
    later = graphspec.compile(text.replace("since: 2024-01-02", "since: 2024-01-03"))
    with pytest.raises(SpecError, match="for other"):
        loading.load(later, tmp_path / "store", None, CPU)


def test_sources_of_other_shapes_and_without_rows_are_named(tmp_path: Path) -> None:
    spec = graphspec.compile(
        "inputs: {x: {shape: [n, 2]}}\n"
        "nodes: {y: {layer: GlobalAveragePooling1D}}\n"
        "outputs: {y: {loss: mse}}\n"
        "data: {train: {one: one.npz, two: two.npz}}\n"
    )
    for name, length in (("one", 4), ("two", 5)):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((7, length, 2), "f4"), y=np.ones((7, 2), "f4"))
    for data in (None, tmp_path / "store"):
        with pytest.raises(SpecError, match=r"two\.npz") as caught:
            if data is None:
                loading.load(spec, None, tmp_path, CPU)
            else:
                prepare(spec, data, root=tmp_path, workers=1)
        assert caught.value.diagnostics[0].code == "data-shape"
    spec = with_sources(tmp_path)
    (tmp_path / "plain.csv").write_text("t,a,b,k,day\np,1,2,3,2023-01-01\n")
    with pytest.raises(SpecError, match="`plain` has no rows"):
        prepare(spec, tmp_path / "other", root=tmp_path, workers=1)


def test_texts_of_several_sources_are_streams_of_their_own(tmp_path: Path) -> None:
    for name, words in (("a", "one two three four five six seven "), ("b", "six five four three two one ")):
        (tmp_path / f"{name}.txt").write_text(words * 60)
    text = (SPECS / "novel.yaml").read_text()
    spec = graphspec.compile(text.replace("  train: data/alice.txt", "  train: {a: a.txt, b: b.txt}"))
    prepare(spec, tmp_path / "store", root=tmp_path, workers=1)
    own, table = (loading.load(spec, data, tmp_path, CPU) for data in (tmp_path / "store", None))
    assert own.counts == table.counts and len(own.counts) == 2
    assert [n for n in own.notes if "rows of" in n] == [n for n in table.notes if "rows of" in n]
    need_equal(own.training, table.training, Shuffle(3, 1))
    need_equal(own.validation, table.validation)


def with_files(place: Path) -> Any:
    """`SMALL`, with rows for validation and test in files of their own, with columns in another order."""
    rows = [(n, n % 3, n * 2, "a b c d"[: 1 + 2 * (n % 4)]) for n in range(300)]
    for name, some in (("d", rows[:150]), ("v", rows[150:270]), ("t", rows[270:])):
        order = (0, 1, 2, 3) if name == "d" else (3, 1, 0, 2)
        lines = [",".join(str(row[place]) for place in order) for row in [("a", "b", "c", "t"), *some]]
        (place / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return graphspec.compile(
        SMALL.replace("train: d.csv", "train: d.csv\n  validation: v.csv\n  test: t.csv")
    )


def test_files_for_validation_and_test_are_prepared(tmp_path: Path) -> None:
    spec = with_files(tmp_path)
    done = prepare(spec, tmp_path / "store", root=tmp_path, workers=1)
    assert [done.index.rows(label) for label in ("training", "validation", "test")] == [150, 120, 30]
    assert len(done.index.shards) == 5
    prepared = loading.load(spec, tmp_path / "store", None, CPU)
    table = loading.load(spec, None, tmp_path, CPU)
    need_equal(prepared.training, table.training, Shuffle(3, 1))
    need_equal(prepared.validation, table.validation)
    need_equal(prepared.test, table.test)
    other = graphspec.compile(SMALL.replace("train: d.csv", "train: d.csv\n  validation: v.csv"))
    with pytest.raises(SpecError, match="for other validation"):
        loading.load(other, tmp_path / "store", None, CPU)
    (tmp_path / "v.csv").write_text("a,b,c,t\n1,2,3,a\n1,x,3,a\n")
    with pytest.raises(SpecError, match=r"v\.csv") as caught:
        prepare(spec, tmp_path / "other", root=tmp_path, workers=1)
    assert "row 1" in str(caught.value) or "line 3" in str(caught.value)
    (tmp_path / "v.csv").write_text("a,b,c,t\n")
    with pytest.raises(SpecError, match=r"v\.csv.*holds no"):
        prepare(spec, tmp_path / "other", root=tmp_path, workers=1)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_tasks_of_ray_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One kills its process the first time: Ray makes it again."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(shards, "BLOCK_ROWS", 4096)  # as processes have it
    spec, mark = program(), tmp_path / "killed"
    prepare(spec, tmp_path / "here", root=SPECS, workers=1)
    there = preparing._encode

    def killed_once(works: Any, task: Any) -> Any:
        if task.number == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        return there(works, task)

    monkeypatch.setattr(preparing, "_encode", killed_once)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        prepare(spec, tmp_path / "there", root=SPECS, ray=True)
    finally:
        ray.shutdown()
    assert mark.exists() and content(tmp_path / "here") == content(tmp_path / "there")


@pytest.mark.parametrize("name", ["cars", "novel", "carbon_dioxide", "digit_images"])
def test_what_other_processes_encode_is_the_same(
    name: str, tmp_path: Path, pool: type[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of windows, and where one of them dies; pictures are read there alone, as often as they were."""
    most, read = (130 if name == "digit_images" else None), list[bool]()
    monkeypatch.setattr(reading, "CHUNK", 2**11)
    contents = ImageEncoder.contents

    def counted(self: ImageEncoder, part: TablePart) -> Any:
        read.append(part.place is row_in_words)  # as other processes have it
        return contents(self, part)

    monkeypatch.setattr(ImageEncoder, "contents", counted)
    prepare(program(name), tmp_path / "here", root=SPECS, workers=1, limit=most)
    assert not any(read)
    alone = len(read)
    pool.dies = True
    done = prepare(program(name), tmp_path / "there", root=SPECS, workers=3, limit=most)
    assert not pool.dies and content(tmp_path / "here") == content(tmp_path / "there")
    assert len(read) == 2 * alone and sum(read[alone:]) == max(0, alone - 1)  # the first comes before them
    again = prepare(program(name), tmp_path / "there", root=SPECS, workers=3, limit=most)
    assert again.made == 0 and again.index == done.index


def test_results_come_in_order_and_processes_that_die_end_it(pool: type[Pool]) -> None:
    double = Over(operator.mul, 2)
    assert [*Workers(3).results(double, iter(range(20)))] == [(n, 2 * n) for n in range(20)]
    known = Over(operator.mul, 2, lambda n: -n if n % 3 else None)
    assert [r for _, r in Workers(2).results(known, iter(range(7)))] == [0, -1, -2, 6, -4, -5, 12]

    def dying(self: Pool, call: Any, task: Any) -> Any:
        raise BrokenProcessPool

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SpecError, match="killed 3 times"):
        patch.setattr(pool, "submit", dying)
        [*Workers(3).results(double, iter(range(20)))]


def test_a_mistake_in_another_process_has_its_line(tmp_path: Path, pool: type[Pool]) -> None:
    spec = with_files(tmp_path)
    rows = "".join(f"{n},{'x' if n == 110 else 1},{n},a\n" for n in range(120))
    (tmp_path / "v.csv").write_text(f"a,b,c,t\n{rows}")
    with pytest.raises(SpecError) as caught:
        prepare(spec, tmp_path / "store", root=tmp_path, workers=3)
    with pytest.raises(SpecError) as known:
        loading.load(spec, None, tmp_path, CPU)
    assert str(caught.value) == str(known.value) and "line 112" in str(known.value)


def test_a_process_gets_its_rows_alone() -> None:
    table = pa.table({"a": np.arange(10**5)})
    part = TablePart(table.slice(5, 10), np.arange(5, 15), "t.csv", lambda row: "there", root=Path("x"))
    sent = pickle.dumps(part)
    found = pickle.loads(sent)
    assert len(sent) < 2000 and found.table == part.table and (found.rows == part.rows).all()
    assert found.place(5) == row_in_words(5) and (found.file, found.root) == ("t.csv", Path("x"))


@pytest.mark.parity
@pytest.mark.parametrize("name", ["cars", "novel", "carbon_dioxide"])
def test_any_number_of_processes_writes_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0)
    monkeypatch.setattr(shards, "BLOCK_ROWS", 4096)  # as processes have it
    for count in (1, 2, 3):
        prepare(program(name), tmp_path / str(count), root=SPECS, workers=count)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def changed_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def without_blocks(path: Path) -> None:
    schema = pa.ipc.open_file(path.read_bytes()).schema
    pa.ipc.new_file(path, schema).close()


DAMAGES = {
    "no blocks": without_blocks,
    "a bit": changed_bit,
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "missing": Path.unlink,
    "another": lambda path: shutil.copy(path.with_name("training-00000.arrow"), path),
}


@pytest.mark.parametrize("name", ["cars", "novel", "carbon_dioxide"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_made_again(damage: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepare(program(name), folder, root=SPECS, workers=1)
    before = content(folder)
    DAMAGES[damage](folder / "training-00001.arrow")
    with pytest.raises(SpecError) as caught:
        loading.load(program(name), folder, None, CPU)
    (found,) = caught.value.diagnostics
    assert found.code == "data-format" and "training-00001.arrow" in found.message and found.help
    (folder / "training-00001.arrow").unlink(missing_ok=True)
    assert prepare(program(name), folder, root=SPECS, workers=1).made == 1
    assert content(folder) == before


def test_it_is_for_one_spec_and_says_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepare(program(), folder, root=SPECS, workers=1)
    for name, what in (("digits", "features"), ("names", "features")):
        with pytest.raises(SpecError, match=f"for other {what}"):
            loading.load(program(name), folder, None, CPU)
    other = graphspec.compile(SPECS / "cars.yaml", settings={"train.seed": 5})
    with pytest.raises(SpecError, match="for other validation"):
        loading.load(other, folder, None, CPU)
    index = json.loads((folder / "index.json").read_text())
    for change, text in (
        ({"version": 9}, "version 9"),
        ({"shards": 1}, "cannot be read"),
        ({"format": "other"}, "holds no prepared data"),
    ):
        (folder / "index.json").write_text(json.dumps(index | change))
        with pytest.raises(SpecError, match=text):
            loading.load(program(), folder, None, CPU)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [("fixmatch", SPECS / "data" / "digits_few.npz", "not-supported"), ("dense", None, "data-missing")],
)
def test_what_is_no_table_is_refused(name: str, data: Path | None, code: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(program(name), tmp_path / "store", data, root=SPECS)
    (found,) = caught.value.diagnostics
    assert found.code == code and found.help
    assert not (tmp_path / "store").exists()


def test_a_training_reads_it(tmp_path: Path) -> None:
    """The command line writes it; losses are those of the table, to the bit."""
    store = tmp_path / "store"
    done = CliRunner().invoke(app, ["prepare", str(SPECS / "cars.yaml"), "-o", str(store), "--jobs", "1"])
    assert done.exit_code == 0 and "304 for training, 102 for validation; 5 of 5 shards" in done.stdout
    spec = graphspec.compile(SPECS / "cars.yaml", settings={"train.epochs": 2})
    own = train(spec, data=store, root=SPECS, run_dir=tmp_path / "a", device="cpu", tell=lambda note: None)
    table = train(spec, root=SPECS, run_dir=tmp_path / "b", device="cpu", tell=lambda note: None)
    assert own.metrics == table.metrics
    assert graphspec.Run(tmp_path / "a").evaluate() == graphspec.Run(tmp_path / "b").evaluate()


SMALL = """
inputs: {x: {shape: [2]}, words: {shape: [length], dtype: int64}}
nodes:
  e: {layer: Embedding, from: words, input_dim: 6, output_dim: 2, mask_zero: true}
  m: {layer: GlobalAveragePooling1D}
  both: {merge: concatenate, from: [x, m]}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data:
  train: d.csv
  features:
    x: {columns: [a, b], encode: number}
    words: {column: t, encode: text, vocabulary: 6}
    y: {column: c, encode: number, scale: standard}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    (place / "s.yaml").write_text(SMALL)
    rows = "".join(f"{n},{n % 3},{n * 2},{'a b c d'[: 1 + 2 * (n % 4)]}\n" for n in range(40))
    (place / "d.csv").write_text(f"a,b,c,t\n{rows}")
    prepare(graphspec.compile(place / "s.yaml"), place / "store", root=place, workers=1)
    return place


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(index: Any) -> None:
        *way, last = path
        for key in way:
            index = index[key]
        index[last] = value

    return change


TYPES = (
    "O",
    "|V8",
    "<U4",
    "garbage",
    "M8[ns]",
    "<f8",
    ">f4",
    "<c8",
    "|b1",
    "<i4",
    "f4,f4",
    "(9999999,9999999)f4",
)
SHAPES: tuple[Any, ...] = ([-1], [0], [3], [10**30], [2, 10**12], [], [1, 2], ["2"], [True], 2)
FILES = (
    "../d.csv",
    "/dev/zero",
    "index.json",
    "",
    "a\0",
    "x" * 5000,
    "s3://a/b",
    None,
    "training-00009.arrow",
)
BLOCKS: tuple[Any, ...] = (
    [[40, 0]],
    [[-40, 1]],
    [[10**18, 1]],
    [],
    [[0, 0]],
    [[True, 1]],
    [[40]],
    [[41, 1]],
    3,
    [[16, 1]] * 9999,
)
X = ("columns", 1)
FORGED: dict[str, Callable[[Any], object]] = {
    **{f"dtype {each}": put(*X, "dtype", value=each) for each in TYPES},
    **{f"shape {each}": put(*X, "shape", value=each) for each in SHAPES},
    **{f"file {str(n)[:9]}": put("shards", 0, "parts", "training", "file", value=n) for n in FILES},
    **{f"blocks {str(n)[:9]}": put("shards", 0, "parts", "training", "blocks", value=n) for n in BLOCKS},
    "ragged": put(*X, "ragged", value=True),
    "even": put("columns", 0, "ragged", value=False),
    "weights": put(*X, "group", value="weights"),
    "a group": put(*X, "group", value="other"),
    "a name twice": put(*X, "name", value="y"),
    "a name": put(*X, "name", value="z"),
    "nothing": put("columns", value=[]),
    "more": lambda index: index["columns"].append({**index["columns"][1], "name": "y.unit"}),
    "absent": put("absent", value=["x"]),
    "no shards": put("shards", value=[]),
    "a part": put(
        "shards", 0, "parts", value={"other": {"file": "training-00000.arrow", "blocks": [[1, 1]]}}
    ),
    "a version": put("version", value=True),
    "no version": lambda index: index.pop("version"),
    "encoders": put("encoders", value={}),
    "a key": put("key", value={}),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_index_is_refused(what: str, small: Path, tmp_path: Path) -> None:
    """Also where the digests in it are those of what it says."""
    store = tmp_path / "store"
    shutil.copytree(small / "store", store)
    index = json.loads((store / "index.json").read_text())
    FORGED[what](index)
    if "fingerprint" in index and index["key"]:
        index["fingerprint"] = digest_of(index["shards"])
        index["key"]["encoders"] = digest_of(index["encoders"])
    (store / "index.json").write_text(json.dumps(index))
    with pytest.raises(SpecError) as caught:
        loading.load(graphspec.compile(small / "s.yaml"), store, None, CPU)
    assert all(each.code.startswith("data-") for each in caught.value.diagnostics)


def forged(store: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Writes the first shard with other arrays, and their checksums into all that has them."""
    file = store / "training-00000.arrow"
    table = pa.ipc.open_file(file.read_bytes()).read_all()
    other = pa.table(change({name: table.column(name).combine_chunks() for name in table.column_names}))
    with pa.ipc.new_file(str(file), other.schema) as writer:
        writer.write_table(other)
    blocks = [[len(other), checksum_of(pa.ipc.open_file(file.read_bytes()).get_batch(0))]]
    shard, index = (json.loads((store / name).read_text()) for name in ("shard-00000.json", "index.json"))
    shard["parts"]["training"]["blocks"] = index["shards"][0]["parts"]["training"]["blocks"] = blocks
    index["fingerprint"] = digest_of(index["shards"])
    (store / "shard-00000.json").write_text(json.dumps(shard))
    (store / "index.json").write_text(json.dumps(index))


def pairs(values: Any) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), 2)


def lists(offsets: list[int], values: Any) -> Any:
    buffers = [None, pa.py_buffer(np.array(offsets, np.int64))]
    return pa.Array.from_buffers(pa.large_list(values.type), len(offsets) - 1, buffers, children=[values])


ARRAYS: dict[str, Any] = {
    "NaN": {"arrays.x": pairs([float("nan")] * 80)},
    "nothing": {"arrays.x": pairs([None] * 80)},
    "texts": {"arrays.x": pa.array(["a"] * 40)},
    "wider": {"arrays.x": pa.FixedSizeListArray.from_arrays(pa.array([1.0] * 160, pa.float32()), 4)},
    "a token out of range": {"arrays.words": lists([*range(41)], pa.array([6] * 40, pa.int64()))},
    "offsets out of range": {
        "arrays.words": lists([*range(20), 10**6, *range(21, 41)], pa.array([1] * 40, pa.int64()))
    },
    "offsets in disorder": {
        "arrays.words": lists([*range(20), 30, *range(21, 41)], pa.array([1] * 40, pa.int64()))
    },
}


@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_of_a_shard_are_those_that_a_training_takes(what: str, small: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(small / "store", store)
    forged(store, lambda arrays: arrays | ARRAYS[what])
    with pytest.raises(SpecError) as caught:
        loading.load(graphspec.compile(small / "s.yaml"), store, None, CPU)
    assert caught.value.diagnostics[0].code == "data-format"


def test_a_shard_of_another_user_is_made_again(small: Path, tmp_path: Path) -> None:
    spec, store = graphspec.compile(small / "s.yaml"), tmp_path / "store"
    prepare(spec, store, root=small, workers=1)
    before = content(store)
    assert prepare(spec, store, root=small, workers=1).made == 0
    forged(store, lambda arrays: arrays | {"arrays.x": pairs([7.0] * 80)})
    loading.load(spec, store, None, CPU)
    assert prepare(spec, store, root=small, workers=1).made == 1 and content(store) == before


def test_a_folder_of_other_files_stays_as_it_is(small: Path, tmp_path: Path) -> None:
    """That of a run, too; what a killed preparation left of files is deleted."""
    taken = {
        "run/environment.json": "{}",
        "run/spec.yaml": "",
        "others/a.txt": "",
        "index/index.json": "{}",
        "file": "",
    }
    for name, text in taken.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("run", "run/engines", "others", "index", "file"):
        done = CliRunner().invoke(app, ["prepare", str(small / "s.yaml"), "-o", str(tmp_path / name)])
        assert done.exit_code == 2 and "name a" in done.output, done.output
    assert {name: (tmp_path / name).read_text() for name in taken} == taken
    for name in ("training-00000.arrow", "index.json"):
        half = tmp_path / "store" / f".{name}.1-1-00000000-0"
        half.mkdir(parents=True)
    os.utime(half, (0, 0))
    prepare(graphspec.compile(small / "s.yaml"), tmp_path / "store", root=small, workers=1)
    assert not half.exists()


SERIES = """
inputs: {past: {shape: [4, 2]}, who: {shape: [words], dtype: int64}}
nodes:
  e: {layer: Embedding, from: who, input_dim: 9, output_dim: 2, mask_zero: true}
  m: {layer: GlobalAveragePooling1D}
  flat: {layer: Flatten, from: past}
  both: {merge: concatenate, from: [flat, m]}
  y: {layer: Dense, units: 2}
outputs: {y: {loss: mae, missing: ignore}}
data:
  train: d.csv
  validation: {split: 0.25, last_by: time}
  test: t.csv
  windows: {by: shop, order: time, past: 4, next: 2, every: 1d, season: 2, gaps: fill}
  features:
    past: {columns: [y, heat], encode: number, steps: past, fill: zero}
    who: {column: note, encode: text, vocabulary: 9, fill: a}
    y: {encode: number, steps: next, scale: {standard: shop}}
train: {epochs: 2, batch_size: 8, seed: 3}
"""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series whose rows are mixed; a day lacks, which is filled, and targets lack in one file alone."""
    place = tmp_path_factory.mktemp("series")
    (place / "s.yaml").write_text(SERIES)
    for name, count in (("d", 40), ("t", 12)):
        rows = ["shop,time,y,heat,note"]
        for day in (each for each in range(count) if each != 9):
            for at, shop in enumerate(("north", "süd")):
                y = "" if name == "d" and day == 15 else day + at
                date, words = f"2024-{1 + day // 28:02}-{1 + day % 28:02}", "a b c"[: 1 + 2 * (day % 3)]
                rows.append(f"{shop},{date},{y},{day % 7},{words}")
        (place / f"{name}.csv").write_text("\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS", 30)
        prepare(graphspec.compile(place / "s.yaml"), place / "store", root=place)
    return place


@pytest.mark.parametrize("in_memory", [True, False])
def test_prepared_windows_are_those_of_the_table(
    in_memory: bool, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their series, their times and their scales; of files each process reads its own."""
    spec = graphspec.compile(series / "s.yaml")
    if not in_memory:
        monkeypatch.setattr(loading, "memory_limit", lambda: 1)
        monkeypatch.setenv("GRAPHSPEC_MEMORY", "1K")
    own, table = loading.load(spec, series / "store", None, CPU), loading.load(spec, None, series, CPU)
    for label in ("training", "validation", "test"):
        one, other = getattr(own, label), getattr(table, label)
        need_equal(one, other, None)
        need_equal(one, other, Shuffle(3, 1))
        found, known = windowed(one), windowed(other)
        assert found is not None and known is not None and (found.positions == known.positions).all()
        for place in (0, len(one) - 1):
            assert found.named(place) == known.named(place)
        for rank in (0, 1):
            need_equal(share_of(one, rank, 2), share_of(other, rank, 2), Shuffle(3, 1))
    assert own.encoders is not None and table.encoders is not None
    assert own.encoders.to_json() == table.encoders.to_json() and own.encoders.seasonal


def pairs_of(*runs: list[int]) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.array(runs, np.int64).reshape(-1)), 2)


WINDOWS: dict[str, Any] = {
    "before the first row": [[2, 3]],
    "after the last row": [[70, 20]],
    "none": [[3, 0]],
    "in disorder": [[9, 3], [4, 2]],
    "across series": [[30, 20]],
    "far away": [[2**62, 2**62]],
}


@pytest.mark.parametrize("what", WINDOWS)
def test_windows_of_a_store_are_of_its_rows(what: str, series: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(series / "store", store)
    file = store / "training-series.arrow"
    table = pa.ipc.open_file(file.read_bytes()).read_all()
    runs = pairs_of(*WINDOWS[what])
    column = pa.LargeListArray.from_arrays(pa.array([0, len(runs), len(runs)], pa.int64()), runs)
    place = table.column_names.index("line.training")
    other = table.set_column(place, "line.training", column)
    with pa.ipc.new_file(str(file), other.schema) as writer:
        writer.write_table(other)
    index = json.loads((store / "index.json").read_text())
    sum_of = checksum_of(pa.ipc.open_file(file.read_bytes()).get_batch(0))
    index["lines"]["training"]["file"]["blocks"] = [[len(other), sum_of]]
    index["fingerprint"] = digest_of([index["shards"], index["lines"]])
    (store / "index.json").write_text(json.dumps(index))
    with pytest.raises(SpecError) as caught:
        loading.load(graphspec.compile(series / "s.yaml"), store, None, CPU)
    (found,) = caught.value.diagnostics
    assert found.code == "data-format" and "training-series.arrow" in found.message
