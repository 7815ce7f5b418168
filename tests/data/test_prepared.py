"""Data that are encoded once: what trainings read of them is what they would read of the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.data import loading, preparing
from graphspec.data.batches import Examples, Shuffle
from graphspec.data.prepared import BLOCK_ROWS
from graphspec.data.preparing import prepare
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "ROWS", 100)
    monkeypatch.setattr(preparing, "BLOCK_ROWS", 16)


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


@pytest.mark.parametrize("name", ["cars", "names", "digits"])
def test_it_gives_what_the_table_gives(name: str, tmp_path: Path) -> None:
    done = prepare(program(name), tmp_path / "store", root=SPECS, workers=1)
    assert done.made == len(done.index.shards) > 1
    prepared = loading.load(program(name), tmp_path / "store", None, CPU)
    table = loading.load(program(name), None, SPECS, CPU)
    need_equal(prepared.training, table.training, Shuffle(3, 1))
    need_equal(prepared.validation, table.validation)
    if prepared.encoders is not None and table.encoders is not None:
        assert prepared.encoders.to_json() == table.encoders.to_json()


@pytest.mark.parametrize("name", ["cars", "names"])
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


def test_one_that_is_interrupted_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(program(), tmp_path / "whole", root=SPECS, workers=1)
    write, written = preparing._write, list[str]()

    def stopping(folder: Path, name: str, table: Any) -> Any:
        written.append(name)
        if len(written) in (2, 6, 7):
            raise KeyboardInterrupt
        return write(folder, name, table)

    monkeypatch.setattr(preparing, "_write", stopping)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            prepare(program(), tmp_path / "parts", root=SPECS, workers=1)
        with pytest.raises(SpecError):  # there is no index yet
            loading.load(program(), tmp_path / "parts", None, CPU)
    done = prepare(program(), tmp_path / "parts", root=SPECS, workers=1)
    assert 0 < done.made < len(done.index.shards)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


@pytest.mark.parity
def test_any_number_of_processes_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "PATIENCE", 0)
    monkeypatch.setattr(preparing, "BLOCK_ROWS", BLOCK_ROWS)  # as processes have it
    for workers in (1, 2, 3):
        prepare(program(), tmp_path / str(workers), root=SPECS, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def changed_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a bit": changed_bit,
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "missing": Path.unlink,
    "another": lambda path: shutil.copy(path.with_name("training-00000.arrow"), path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_made_again(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepare(program(), folder, root=SPECS, workers=1)
    before = content(folder)
    DAMAGES[damage](folder / "training-00001.arrow")
    with pytest.raises(SpecError) as caught:
        loading.load(program(), folder, None, CPU)
    (found,) = caught.value.diagnostics
    assert found.code == "data-format" and "training-00001.arrow" in found.message and found.help
    (folder / "training-00001.arrow").unlink(missing_ok=True)
    assert prepare(program(), folder, root=SPECS, workers=1).made == 1
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
    ("name", "code"),
    [("carbon_dioxide", "not-supported"), ("novel", "not-supported"), ("dense", "data-missing")],
)
def test_what_is_not_rows_of_one_table_is_refused(name: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(program(name), tmp_path / "store", root=SPECS)
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
