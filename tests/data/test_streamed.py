"""Examples that do not fit in memory: what is read of them, in which order, and how much of it at a time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphspec.compiler import compile
from graphspec.data import order, streamed
from graphspec.data import store as stores
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load
from graphspec.data.store import Budget, Store
from graphspec.data.streamed import Streamed, share_of
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train
from tests import processes


def made(count: int, rows: int = 7, memory: int = 0) -> Store:
    """A store of `count` rows, which were added `rows` at a time."""
    store = Store(Budget(memory))
    for first in range(0, count, rows):
        x = np.arange(first, min(first + rows, count))
        arrays = {("arrays", "x"): x, ("arrays", "v"): np.stack([x, -x], 1).astype("float32")}
        store.add({**arrays, ("weights", "y"): x / 2, ("masks", "y"): x % 3 > 0}, len(x))
    return store


def examples(store: Store) -> Streamed:
    kinds = ("arrays", "weights", "masks")
    groups = [{n[1]: f for n, f in store.files.items() if n[0] == kind} for kind in kinds]
    return Streamed(groups[0], {"x": torch.int64, "v": torch.float64}, groups[1], groups[2])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 3 rows, 4 of them in a window: a row of `made` has 25 bytes."""
    monkeypatch.setattr(streamed, "WINDOW", 3 * 4 * 25)
    monkeypatch.setattr(streamed, "BLOCKS", 4)
    monkeypatch.setattr(order, "BLOCKS", 4)
    for module in (order, streamed):
        monkeypatch.setattr(module, "LANES", 3)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 5), st.booleans())
def test_an_epoch_sees_each_example_once_and_can_begin_anywhere(
    count: int, size: int, seen: int, shuffled: bool
) -> None:
    found = examples(made(count))
    shuffle = Shuffle(3, 1) if shuffled else None
    batches = list(found.batches(size, shuffle))
    order = [x for batch in batches for x in batch.arrays["x"].tolist()]
    assert sorted(order) == list(range(count)) and (shuffled or order == list(range(count)))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    rest = list(found.batches(size, shuffle, start=seen * size))
    assert [b.arrays["x"].tolist() for b in rest] == [b.arrays["x"].tolist() for b in batches[seen:]]
    for batch in batches:
        x = batch.arrays["x"]
        assert batch.arrays["v"].dtype == torch.float64 and torch.equal(batch.arrays["v"][:, 1], -x.double())
        assert torch.equal(batch.weights["y"], x / 2) and torch.equal(batch.masks["y"], x % 3 > 0)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 5), st.integers(2, 5), st.booleans())
def test_processes_share_each_batch(count: int, size: int, seen: int, processes: int, shuffled: bool) -> None:
    found = examples(made(count))
    shuffle = Shuffle(3, 1) if shuffled else None
    whole = [sorted(batch.arrays["x"].tolist()) for batch in found.batches(size, shuffle)]
    parts = [
        list(share_of(found, rank, processes).batches(size, shuffle, seen * size))
        for rank in range(processes)
    ]
    assert {len(batches) for batches in parts} == {len(whole[seen:])}
    for expected, *shares in zip(whole[seen:], *parts, strict=True):
        counts = [0 if batch.idle else len(batch) for batch in shares]
        assert all(list(batch.counts or ()) == counts for batch in shares)
        assert sorted(x for b in shares if not b.idle for x in b.arrays["x"].tolist()) == expected
        for batch in shares:
            x = batch.arrays["x"]
            assert torch.equal(batch.weights["y"], x / 2) and torch.equal(batch.masks["y"], x % 3 > 0)


def test_order_is_that_of_seed_and_epoch() -> None:
    found = examples(made(100))

    def order(seed: int, epoch: int) -> list[int]:
        return [x for batch in found.batches(8, Shuffle(seed, epoch)) for x in batch.arrays["x"].tolist()]

    torch.manual_seed(0)
    first = order(1, 0)
    torch.manual_seed(5)
    assert order(1, 0) == first
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


def test_each_window_is_shuffled_in_its_own_way() -> None:
    found = examples(made(48))
    order = [x for batch in found.batches(8, Shuffle(3, 1)) for x in batch.arrays["x"].tolist()]
    parts = [order[i : i + 12] for i in range(0, 48, 12)]
    within = [[sorted(part).index(x) for x in part] for part in parts]
    assert len(set(map(tuple, within))) == 4


def test_a_window_mixes_blocks_from_all_over_the_file() -> None:
    found = examples(made(1200))
    window = [x for batch in found.batches(12, Shuffle(0, 0)) for x in batch.arrays["x"].tolist()][:12]
    assert len({x // 3 for x in window}) == 4 and max(window) - min(window) > 300
    assert window != sorted(window)


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2000))
def test_a_digest_knows_neither_parts_nor_files(count: int, rows: int, other: int, memory: int) -> None:
    first, second = made(count, rows, 10_000), made(count, other, memory)
    assert first.digest == second.digest
    assert made(count + 1, rows).digest != first.digest
    kept = first.group("arrays")
    assert kept["x"].tolist() == list(range(count)) and kept["v"].shape == (count, 2)


def test_a_store_goes_to_files_when_the_budget_is_spent_and_gives_it_back() -> None:
    budget = Budget(1000)
    store, other = Store(budget), Store(budget)
    rows = {("arrays", "x"): np.arange(100)}
    store.add(rows, 100)
    assert not store.filed and budget.left == 200
    store.add(rows, 100)
    assert list(store.files) == [("arrays", "x")] and budget.left == 1000
    other.add(rows, 100)
    assert not other.filed
    assert store.files["arrays", "x"].read([(98, 102), (0, 2)]).tolist() == [98, 99, 0, 1, 0, 1]


def test_a_full_disk_is_told_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SPARED", 2**60)
    with pytest.raises(SpecError, match="TMPDIR") as caught:
        made(10)
    assert caught.value.diagnostics[0].code == "data-space"


class Stop(Exception):
    pass


class StopAt:
    """A callback that ends the training in the middle of an epoch."""

    def __init__(self, batch: int):
        self.left = batch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.left -= 1
        if not self.left:
            raise Stop


def test_a_run_on_examples_in_files_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "1K")
    monkeypatch.setattr(streamed, "WINDOW", 2_000)
    source = np.random.default_rng(0)
    x, lengths = source.normal(size=(120, 3)).tolist(), source.integers(1, 6, 120).tolist()
    rows = [{"x": v, "words": [1] * n, "y": sum(v) + n} for v, n in zip(x, lengths, strict=True)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    program = compile(SPEC, settings={"train.bucket": "length"})
    training = load(program, None, tmp_path, torch.device("cpu")).training
    assert isinstance(training, Streamed)
    plain = load(compile(SPEC), None, tmp_path, torch.device("cpu")).training
    orders = [list(each.batches(7, Shuffle(3, 0))) for each in (training, plain)]
    widths, others = ([batch.arrays["words"].shape[1] for batch in batches] for batches in orders)
    assert sum(widths) < sum(others)  # rows of about one length are together, and hardly padded
    seen = [sorted(torch.cat([batch.arrays["x"] for batch in batches]).tolist()) for batches in orders]
    assert seen[0] == seen[1]
    train(program, root=tmp_path, run_dir=tmp_path / "whole", device="cpu")
    for batch in (5, 30):
        with pytest.raises(Stop):
            train(
                program,
                root=tmp_path,
                run_dir=tmp_path / "run",
                device="cpu",
                resume=batch > 5,
                callbacks=[StopAt(batch)],
            )
    train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", resume=True)
    for name in ("last.safetensors", "history.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


SPEC = """
inputs: {x: {shape: [3]}, words: {shape: [length], dtype: int64}}
nodes:
  code: {layer: Embedding, from: words, input_dim: 4, output_dim: 3}
  mean: {layer: GlobalAveragePooling1D}
  all: {merge: concatenate, from: [x, mean]}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data: {train: t.jsonl, validation: {split: 0.2}}
train: {epochs: 3, batch_size: 7, optimizer: adam, callbacks: {backup_and_restore: {save_freq: 4}}}
"""


SCRIPT = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as parquet, torch
import graphspec
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load
from pathlib import Path

from graphspec.data import reading, streamed
from graphspec.data.tables import base, delimited

for module, name in ((reading, "CHUNK"), (base, "CHUNK"), (delimited, "BLOCK"), (streamed, "WINDOW")):
    setattr(module, name, 2**18)  # else what is read at a time is more than the whole file of this test
root = Path(sys.argv[1])
program = graphspec.compile('''
inputs: {x: {shape: [40]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: big.FORMAT, validation: {split: 0.1}}
'''.replace("FORMAT", sys.argv[2]))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

load(program, root / f"small.{sys.argv[2]}", root, torch.device("cpu"))  # all code is loaded now
before = peak()
data = load(program, None, root, torch.device("cpu"))
total = sum(float(batch.arrays["y"].sum()) for batch in data.training.batches(64, Shuffle(0, 0)))
total += sum(float(batch.arrays["y"].sum()) for batch in data.validation.batches(64))
print(type(data.training).__name__, len(data.training), len(data.validation), total, peak() - before)
"""


@pytest.mark.parametrize("ending", ["parquet", pytest.param("csv", marks=pytest.mark.parity)])
@pytest.mark.parity
def test_memory_is_bounded_on_a_file_forty_times_larger(tmp_path: Path, ending: str) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    memory, rows = 6 * 2**20, 6 * 2**20 * 40 // (41 * 4)
    for name, count in (("big", rows), ("small", 100)):
        columns = {f"x_{i}": pa.array((np.arange(count) * 7 + i) % 10, pa.int8()) for i in range(40)}
        table = pa.table({**columns, "y": pa.array(np.arange(count) % 5, pa.int8())})
        if ending == "csv":
            pyarrow.csv.write_csv(table, tmp_path / f"{name}.csv")
        else:
            pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    done = processes.run(["-c", SCRIPT, str(tmp_path), ending], environment={"GRAPHSPEC_MEMORY": str(memory)})
    assert done.returncode == 0, done.stderr
    kind, training, validation, total, grown = done.stdout.split()
    assert (kind, int(training) + int(validation)) == ("Streamed", rows)
    assert float(total) == (np.arange(rows) % 5).sum()
    assert 0 < int(grown) < 30 * memory, f"{int(grown) / 2**20:.0f} MiB"
