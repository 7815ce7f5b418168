"""Which rows are for training and which for validation."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphspec.compiler import compile
from graphspec.data.batches import InMemory
from graphspec.data.columns import TablePart
from graphspec.data.files import Marked, Split
from graphspec.data.loading import load
from graphspec.data.splits import by_column, by_split
from graphspec.diagnostics import SpecError

VALUES = st.lists(st.sampled_from("abcde"), min_size=2, max_size=200)
FRACTIONS = st.floats(0.05, 0.95)


def place(row: int) -> str:
    return f"line {row + 2}"


def part(name: str, values: Any, decimal: str = ".") -> TablePart:
    return TablePart(pa.table({name: values}), np.arange(len(values)), "t.csv", place, decimal)


def split(
    values: Any, fraction: float, seed: int = 0, format: str | None = None, decimal: str = ".", **by: str
) -> np.ndarray:
    division = Split.model_validate({"split": fraction, **by})
    assert division.divider is not None
    whole = part(division.divider[1], values, decimal)
    found: np.ndarray = by_split(division, whole, len(values), seed, format)
    return found


@given(VALUES, FRACTIONS, st.integers(0, 99))
def test_a_stratified_split_has_the_same_shares_in_both_parts(
    values: list[str], fraction: float, seed: int
) -> None:
    parts = split(values, fraction, seed, stratify="kind")
    held = len(values) - int(len(values) * (1 - fraction))
    classes = set(values)
    assert held - len(classes) <= parts.sum() <= held
    for kind in classes:
        of = np.array(values) == kind
        assert abs(parts[of].sum() - of.sum() * fraction) <= 1 + (of.sum() == parts[of].sum() + 1)
        assert not parts[of].all()
    assert (split(values, fraction, seed, stratify="kind") == parts).all()


@given(VALUES, FRACTIONS, st.integers(0, 99))
def test_a_group_is_in_one_part(values: list[str], fraction: float, seed: int) -> None:
    try:
        parts = split(values, fraction, seed, group="who")
    except SpecError as error:  # each group is too large: the remedy is a share of which one is not
        (mistake,) = error.diagnostics
        found = re.search(r"write `split: ([0-9.]+)`", str(mistake.help))
        if found is None:
            assert len(set(values)) == 1 and "one value in column `who`" in mistake.message
            return
        rarest = min(map(values.count, values))
        assert f"{len(set(values))} values, and the rarest has {rarest} of {len(values)}" in mistake.message
        parts = split(values, float(found[1]), seed, group="who")
    assert parts.any()
    for kind in set(values):
        assert len(set(parts[np.array(values) == kind])) == 1
    if len(set(values)) > 1:
        assert not parts.all()


def test_groups_come_as_near_to_the_share_as_they_can() -> None:
    shares = [split([str(i % 50) for i in range(1000)], 0.2, seed, group="who").mean() for seed in range(20)]
    assert shares == [0.2] * 20
    drawn = {tuple(split([str(i % 50) for i in range(1000)], 0.2, s, group="who")) for s in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (["10", "9", "2", "100"], [3]),
        (["1.5", "-2e3", "1e2", "7"], [2]),
        (["2024-01-02", "2023-12-31", "2024-01-01", "2024-01-02"], [3]),
        (["2024-01-02T10:00:00", "2024-01-02 09:00:00", "2020-01-01", "2019-01-01"], [0]),
        (["2024-01-02T10:00:00+02:00", "2024-01-02T09:00:00Z", "2020-01-01T00:00Z", "2019-01-01T00Z"], [1]),
        (["2024-01-02T10:00:00+02:00", "2024-01-02T09:00:00", "2020-01-01", "2019-01-01"], [1]),
        (["9007199254740992", "9007199254740993", "1", "9007199254740992"], [1]),
        ([3, 1, 2, 0], [0]),
        ([True, False, False, False], [0]),
    ],
)
def test_the_last_rows_by_a_column_are_those_of_numbers_or_dates(values: list[Any], held: list[int]) -> None:
    assert np.flatnonzero(split(values, 0.25, last_by="when")).tolist() == held


def test_dates_and_numbers_are_ordered_as_the_table_writes_them() -> None:
    dates = ["02.01.2024", "31.12.2023", "01.02.2024", "30.11.2023"]
    assert np.flatnonzero(split(dates, 0.25, format="%d.%m.%Y", last_by="when")).tolist() == [2]
    assert np.flatnonzero(split(["1,5", "10,25", "9", "-3"], 0.25, decimal=",", last_by="x")).tolist() == [1]


def test_a_column_says_the_part() -> None:
    def parts(values: Any) -> list[int]:
        found: list[int] = by_column(Marked(column="part"), part("part", values)).tolist()
        return found

    assert parts(["train", "Val", "test", "TRAINING", "dev"]) == [0, 1, 2, 0, 1]
    assert parts(pa.array([0, 1, 2, 0], pa.int8())) == [0, 1, 2, 0]
    assert parts([True, False]) == [1, 0]


def test_values_of_a_column_are_held_out() -> None:
    for values in ([0, 1, 2, 1], ["0", "1", "2", "1"]):
        held = by_column(Marked(column="fold", values=[1]), part("fold", values))
        assert held.dtype == np.uint8 and held.tolist() == [0, 1, 0, 1]
    both = by_column(Marked(column="fold", values=[2, "x"]), part("fold", ["2", "x", "y"]))
    assert both.tolist() == [1, 1, 0]


def test_folds_are_the_values_of_a_param(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y,fold\n" + "".join(f"{n},{n},{n % 5}\n" for n in range(20)))
    (tmp_path / "s.yaml").write_text("""
params: {fold: 0}
inputs: {x: {shape: [1]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: t.csv, validation: {column: fold, values: [$fold]}}
""")
    for fold in range(5):
        program = compile(tmp_path / "s.yaml", params={"fold": fold})
        held = load(program, None, tmp_path, torch.device("cpu")).validation
        assert held is not None
        (batch,) = held.batches(9)
        assert batch.arrays["x"].flatten().tolist() == [fold, fold + 5, fold + 10, fold + 15]


@pytest.mark.parametrize(
    ("found", "values", "words"),
    [
        (Marked(column="fold", values=[7]), ["1", "2"], ["`fold`", '"7"', 'it has "1", "2"']),
        (Split(split=0.5, last_by="when"), ["1", "x"], ["`when`", "line 3", '"x" is not a number']),
        (Split(split=0.5, last_by="when"), ["2024-01-02", "x"], ["`when`", "line 3", "is not a date"]),
        (Split(split=0.5, last_by="when"), ["1", None, None], ["`when`", "line 3", "1 more"]),
        (Split(split=0.5, last_by="when"), [1.5, float("nan")], ["`when`", "line 3", "missing"]),
        (Split(split=0.5, last_by="when"), [[1], [2]], ["`when`", "it holds lists"]),
        (Split(split=0.5, group="who"), [[1], [2]], ["`who`", "it holds lists"]),
        (Split(split=0.5, group="who"), ["1", None], ["`who`", "line 3"]),
        (Marked(column="part"), ["train", "trian"], ["`part`", '"trian"', "line 3", "validation"]),
        (Marked(column="part"), [None, "train"], ["`part`", "line 2"]),
    ],
)
def test_what_says_no_part_is_refused(found: Any, values: list[Any], words: list[str]) -> None:
    name = found.divider[1]
    with pytest.raises(SpecError) as caught:
        if isinstance(found, Marked):
            by_column(found, part(name, values))
        else:
            by_split(found, part(name, values), len(values), 0)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_value_is_a_stratum_of_its_own(tmp_path: Path) -> None:
    values = [None] * 50 + ["a"] * 50
    parts = split(values, 0.2, stratify="kind")
    assert parts[:50].sum() == parts[50:].sum() == 10


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(2, 5), st.integers(0, 9))
def test_folds_of_whole_groups_are_about_as_large(sizes: list[int], folds: int, seed: int) -> None:
    """No two differ by more than the largest group: each goes to the fold that has the fewest rows."""
    folds = min(folds, len(sizes))
    values = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    held = []
    for fold in range(folds):
        division = Split(split=1 / folds, group="who", fold=fold)
        held.append(by_split(division, part("who", values), len(values), seed).astype(bool))
    counts = [int(each.sum()) for each in held]
    assert sum(held, np.zeros(len(values), int)).tolist() == [1] * len(values)
    assert max(counts) - min(counts) <= max(sizes)


TIMES = """\
inputs: {sent: {shape: [1]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data:
  train: t.csv
  validation:
    split: 0.5
    last_by: sent
  features:
    sent: {encode: date, format: "%d.%m.%Y", parts: [day]}
"""


def test_the_last_rows_are_found_in_the_format_of_the_dates(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(TIMES)
    table = tmp_path / "t.csv"
    table.write_text("sent,y\n02.01.2024,1\n31.12.2023,1\n01.02.2024,1\n30.11.2023,1\n")
    program = compile(tmp_path / "s.yaml")
    validation = load(program, None, tmp_path, torch.device("cpu")).validation
    assert isinstance(validation, InMemory)
    assert sorted(validation.arrays["sent"][:, 0].tolist()) == [1, 2]
    for cell, code in (("2023-12-31", "data-dtype"), ("", "data-gap")):
        table.write_text(f"sent,y\n02.01.2024,1\n{cell},1\n01.02.2024,1\n")
        with pytest.raises(SpecError) as caught:
            load(program, None, tmp_path, torch.device("cpu"))
        (found,) = caught.value.diagnostics
        assert found.code == code and found.span is not None and found.labels
        assert (found.span.file, found.span.line) == (str(table), 3)
        assert (found.labels[0].span.file, found.labels[0].span.line) == (str(tmp_path / "s.yaml"), 8)
    table.write_text("sent,y\n02.01.2024,1\n")
    with pytest.raises(SpecError) as caught:
        load(program, None, tmp_path, torch.device("cpu"))
    assert [(d.code, d.span and d.span.line) for d in caught.value.diagnostics] == [("data-empty", 8)]
