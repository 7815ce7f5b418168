"""Which rows are for training and which for validation."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data.files import Marked, Split
from graphspec.data.splits import by_column, by_split
from graphspec.diagnostics import SpecError

VALUES = st.lists(st.sampled_from("abcde"), min_size=2, max_size=200)
FRACTIONS = st.floats(0.05, 0.95)


def place(row: int) -> str:
    return f"line {row + 2}"


def split(values: Any, fraction: float, seed: int = 0, **by: str) -> np.ndarray:
    column = pa.chunked_array([values]) if values is not None else None
    count = len(values) if values is not None else 100
    found: np.ndarray = by_split(Split(split=fraction, **by), column, count, seed, place)
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
    parts = split(values, fraction, seed, group="who")
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
        ([3, 1, 2, 0], [0]),
    ],
)
def test_the_last_rows_by_a_column_are_those_of_numbers_or_dates(values: list[Any], held: list[int]) -> None:
    assert np.flatnonzero(split(values, 0.25, last_by="when")).tolist() == held


def test_a_column_says_the_part() -> None:
    column = pa.chunked_array([["train", "Val", "test", "TRAINING", "dev"]])
    assert by_column(Marked(column="part"), column, place).tolist() == [0, 1, 2, 0, 1]
    numbers = pa.chunked_array([pa.array([0, 1, 2, 0], pa.int8())])
    assert by_column(Marked(column="part"), numbers, place).tolist() == [0, 1, 2, 0]
    assert by_column(Marked(column="part"), pa.chunked_array([[True, False]]), place).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("found", "values", "words"),
    [
        (Split(split=0.5, last_by="when"), ["1", "x"], ["`when`", "neither numbers nor dates"]),
        (Split(split=0.5, last_by="when"), ["1", None, None], ["`when`", "line 3", "1 more"]),
        (Split(split=0.5, group="who"), ["1", None], ["`who`", "line 3"]),
        (Marked(column="part"), ["train", "trian"], ["`part`", '"trian"', "line 3", "validation"]),
        (Marked(column="part"), [None, "train"], ["`part`", "line 2"]),
    ],
)
def test_what_says_no_part_is_refused(found: Any, values: list[Any], words: list[str]) -> None:
    column = pa.chunked_array([values])
    with pytest.raises(SpecError) as caught:
        if isinstance(found, Marked):
            by_column(found, column, place)
        else:
            by_split(found, column, len(values), 0, place)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_value_is_a_stratum_of_its_own(tmp_path: Path) -> None:
    values = [None] * 50 + ["a"] * 50
    parts = split(values, 0.2, stratify="kind")
    assert parts[:50].sum() == parts[50:].sum() == 10
