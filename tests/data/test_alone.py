"""Columns that alone tell a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphspec.data.drafting import draft
from graphspec.data.drafting.leakage import gained, skill
from graphspec.diagnostics import SpecError

DRAW = np.random.default_rng(3)
X = DRAW.normal(0, 1, 400)
NOISE = DRAW.normal(0, 1, 400)
KINDS = DRAW.choice(list("abc"), 400)


@pytest.mark.parametrize(
    "cells, target, classes, low, high",
    [
        (X.tolist(), (2 * X + 1).tolist(), False, 0.97, 1),
        ((X**3).tolist(), (X > 0).tolist(), True, 0.99, 1),
        (KINDS.tolist(), [f"is {kind}" for kind in KINDS], True, 1, 1),
        (KINDS.tolist(), X.tolist(), False, 0, 0.1),
        (NOISE.tolist(), X.tolist(), False, 0, 0.15),
        ([None, *X.tolist()[1:]], (X + NOISE).tolist(), False, 0.1, 0.6),
        ([f"row {index}" for index in range(400)], KINDS.tolist(), True, 0, 0.05),
        ([[1.0]] * 400, KINDS.tolist(), True, 0, 0),
        ([None] * 400, KINDS.tolist(), True, 0, 0),
        (X.tolist(), ["a"] * 400, True, 0, 0),
        (X.tolist()[:50], X.tolist()[:50], False, 0, 0),
    ],
)
def test_what_a_column_tells(
    cells: list[Any], target: list[Any], classes: bool, low: float, high: float
) -> None:
    assert low <= skill(cells, target, classes) <= high


def test_what_a_model_gains() -> None:
    assert gained(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), True) == 0
    assert gained(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]), False) == 1


def test_a_first_spec_notes_what_gives_the_target_away(tmp_path: Path) -> None:
    bought = X > 1.4
    refund = np.where(bought, 50, 5) + NOISE
    lines = (f"{x:.3f},{r:.2f},{'yes' if b else 'no'}" for x, r, b in zip(NOISE, refund, bought, strict=True))
    (tmp_path / "t.csv").write_text("age,refund,bought\n" + "\n".join(lines) + "\n")
    notes: list[str] = []
    draft("t", tmp_path / "t.csv", ["bought"], tmp_path, notes.append)
    given, mostly = notes[-2:]
    assert given.startswith("`refund` alone tells 100.0% of `bought`: is it known when you predict?")
    assert mostly.startswith("`bought` is `no` in 9")


def test_a_target_with_a_currency_is_compared_by_its_numbers(tmp_path: Path) -> None:
    """Its texts are no numbers; a column that is the same in other words gives it away."""
    rows = "".join(f'{n / 7:.3f},"${n:,.2f}",{n % 3}\n' for n in range(900, 1100))
    (tmp_path / "t.csv").write_text(f"cents,price,kind\n{rows}")
    told: list[str] = []
    text = draft("t", tmp_path / "t.csv", ["price"], tmp_path, told.append)
    assert "prefix: $" in str(text)
    assert any(note.startswith("`cents` alone tells") for note in told), told


def test_a_target_with_another_value_in_each_row_is_refused(tmp_path: Path) -> None:
    """There is nothing to learn of it; numbers are measured."""
    (tmp_path / "t.csv").write_text("a,id\n" + "".join(f"{n % 7},row {n:x}\n" for n in range(120)))
    with pytest.raises(SpecError, match="another value in each row"):
        draft("t", tmp_path / "t.csv", ["id"], tmp_path)
