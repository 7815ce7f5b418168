"""How much one column alone tells of a target: what tells nearly all may be the answer in other words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.drafting.looks import CLASSES, ColumnProfile, cast

GIVEN_AWAY = 0.99
"""The part of a target from which on a column gives it away."""
MOSTLY = 0.9
"""The share of a class from which on its accuracy says little."""
LOOKED_AT = 10_000
"""Rows that are looked at, the first ones."""
LEAST = 100
"""Rows from which on anything is said."""
BINS = 50
"""Ranges of numbers, at most."""
Array = NDArray[Any]


def skill(cells: Sequence[Any], target: Sequence[Any], classes: bool) -> float:
    """Which part of a constant's error is gone when a column alone is known: 1 is all, 0 is none.
    Every other row is learned from, the others are predicted. Errors are wrong classes, or absolute.

    `cells` and `target` are numbers or texts, None where there is none; other cells tell nothing. The target
    of `classes` may be of either.
    """
    rows = [index for index, value in enumerate(target) if value is not None]
    if len(rows) < LEAST:
        return 0.0
    answers = [target[index] for index in rows]
    names = sorted(set(answers), key=str)
    places = {value: place for place, value in enumerate(names)}
    y = np.array([places[value] if classes else float(value) for value in answers])
    learned = np.arange(len(rows)) % 2 == 0
    other = _error(np.full((~learned).sum(), _middle(y[learned], classes)), y[~learned], classes)
    if other == 0:
        return 0.0
    found = [cells[index] for index in rows]
    least = min(_error(each, y[~learned], classes) for each in _guesses(found, y, learned, classes))
    return max(0.0, 1 - least / other)


def gained(guess: Array, y: Array, classes: bool) -> float:
    """Which part of the error of a constant a model's guesses lack."""
    other = _error(np.full(len(y), _middle(y, classes)), y, classes) if len(y) else 0.0
    return 1 - _error(guess, y, classes) / other if other else 0.0


def _guesses(cells: Sequence[Any], y: Array, learned: Array, classes: bool) -> list[Array]:
    """Predictions of the rows that nothing was learned from, by ways that suit the cells."""
    numbers = [isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells]
    if all(number or cell is None for number, cell in zip(numbers, cells, strict=True)) and any(numbers):
        x = np.array([np.nan if cell is None else float(cell) for cell in cells])
        known = np.isfinite(x) & learned
        if not known.any():
            return [np.full((~learned).sum(), _middle(y[learned], classes))]
        edges = np.unique(np.quantile(x[known], np.linspace(0, 1, BINS + 1)[1:-1]))
        binned = np.where(np.isfinite(x), np.searchsorted(edges, x), -1)
        return [_by_group(binned.tolist(), y, learned, classes), _nearest(x, y, known, learned, classes)]
    flat = [cell if cell is None or isinstance(cell, str | bool) else None for cell in cells]
    return [_by_group(flat, y, learned, classes)]


def _by_group(groups: Sequence[Any], y: Array, learned: Array, classes: bool) -> Array:
    """The middle of the learned rows of the same group; of a group that has none, of all."""
    values: dict[Any, list[float]] = {}
    for group, value, known in zip(groups, y.tolist(), learned.tolist(), strict=True):
        if known:
            values.setdefault(group, []).append(value)
    middles = {group: _middle(np.array(some), classes) for group, some in values.items()}
    middle = _middle(y[learned], classes)
    asked = (group for group, known in zip(groups, learned.tolist(), strict=True) if not known)
    return np.array([middles.get(group, middle) for group in asked])


def _nearest(x: Array, y: Array, known: Array, learned: Array, classes: bool) -> Array:
    """Predicts from the learned rows on both sides: by the line between them, classes by the nearer one."""
    points, first = np.unique(x[known], return_index=True)
    at = np.where(np.isfinite(x), x, points[0])[~learned]
    values = y[known][first]
    if not classes:
        return np.interp(at, points, values)
    middles = (points[1:] + points[:-1]) / 2
    return np.asarray(values[np.searchsorted(middles, at)])


def _middle(values: Array, classes: bool) -> float:
    return float(Counter(values.tolist()).most_common(1)[0][0]) if classes else float(np.median(values))


def _error(guess: Array, y: Array, classes: bool) -> float:
    return float(np.mean(guess != y) if classes else np.mean(np.abs(guess - y)))


def about_targets(
    looks: Sequence[ColumnProfile], columns: Mapping[str, pa.Array], targets: Sequence[str]
) -> list[str]:
    """The notes about columns that give a target away, and about one class that nearly all rows have."""
    notes = []
    cells = {
        seen.name: _cells(columns[seen.name], seen)
        for seen in looks
        if seen.kind in ("number", "category") or seen.name in targets or seen.key
    }
    for target in targets:
        seen = next(seen for seen in looks if seen.name == target)
        if seen.kind not in ("number", "category", "left"):
            continue
        classes = seen.kind != "number" or (seen.writing is None and seen.distinct <= CLASSES)
        values = cells[target]
        if any(isinstance(value, list | dict) for value in values):
            continue
        told = {name: skill(each, values, classes) for name, each in cells.items() if name not in targets}
        notes += [gives_away(name, target, part) for name, part in told.items() if part >= GIVEN_AWAY]
        if classes and (note := mostly_one(target, values)):
            notes.append(note)
    return notes


def _cells(column: pa.Array, seen: ColumnProfile) -> list[Any]:
    """The first cells of a column, as numbers where it holds some."""
    some = column.slice(0, LOOKED_AT)
    plain = some if seen.writing is None else seen.writing.plain(some)
    numbers = cast(plain, pa.float64()) if seen.kind == "number" else None
    cells: list[Any] = (some if numbers is None else numbers).to_pylist()
    return cells


def gives_away(name: str, target: str, part: float) -> str:
    """The note about a column that tells a target without the others."""
    return (
        f"`{name}` alone tells {part:.1%} of `{target}`: is it known when you predict? If not, leave it out"
    )


def mostly_one(target: str, values: Sequence[Any]) -> str | None:
    """The note about a target that has one class in nearly all rows."""
    counts = Counter(value for value in values if value is not None)
    if len(counts) < 2:
        return None
    (most, count), total = counts.most_common(1)[0], counts.total()
    if count < MOSTLY * total:
        return None
    much = f"`{target}` is `{most!s:.40}` in {count / total:.1%} of the rows"
    return f"{much}: so a constant answer has that accuracy; look at `auc`, or write `class_weight: balanced`"
