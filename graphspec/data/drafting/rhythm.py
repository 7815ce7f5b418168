"""Finds the rhythm of a long table: spacing, gaps, seasons, the lengths of a window, and which naive forecast
is the closest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import PLAIN, TablePart, numbers
from graphspec.data.drafting.looks import ColumnProfile
from graphspec.data.drafting.notes import out_of_order
from graphspec.data.features.windows import MONTHS, SECONDS, spacing_of
from graphspec.data.windows.stamps import Stamps, counted

USUAL = {"s": (60,), "min": (60, 1440), "h": (24, 168), "d": (7, 365), "w": (52,), "mo": (12,)}
"""Steps of the seasons that are looked for, by the unit of the spacing."""
STRONG = 0.2
"""From this autocorrelation on there is a season."""
LEAST_STEPS, MOST_STEPS = 12, 400
"""Of a past that is written without being asked for."""
TRAINING = 0.8
"""The first share of the times, by which naive forecasts are compared: the others are for validation."""
HORIZONS = 24
"""Steps to come at which naive forecasts are compared, at most."""
SURE = 0.4
"""The gain over another forecast that chance explains in one stretch of next steps, as a share of its error;
in more it falls with their root.
"""
DAY = 86_400e6
"""Microseconds."""
PERIODS = {"hour": DAY, "weekday": 7 * DAY, "day_of_year": 366 * DAY}
"""The parts of a date that come again, and after how long."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A forecast, as the options ask for it: the columns of time and of series, and lengths."""

    time: str
    series: tuple[str, ...] = ()
    past: int | None = None
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The rhythm of rows: the spacing as `every` has it, gaps and whether they are to be filled, the season
    of naive forecasts, the lengths of a window, and the parts of dates that come again.
    """

    every: str | None
    gaps: int
    filled: bool
    season: int
    """Steps that repeating the last ones repeats: 1 where the last value is closer than any season."""
    level: bool
    """Whether the mean of the past is closer than both, by more than chance explains."""
    stretches: float
    """How often the next steps fit into the times of validation."""
    past: int
    next: int
    reason: str
    clock: tuple[str, ...]
    by_time: frozenset[str]
    """The columns that have one value at each time, in several series."""
    by_series: frozenset[str]
    """The columns that have one value in each series."""


def rhythm_of(
    target: ColumnProfile,
    columns: Mapping[str, pa.Array],
    time: ColumnProfile,
    ask: Ask,
    table: Any,
    tell: Callable[[str], None],
) -> Rhythm:
    """The rhythm of the rows for a forecast of `target`. `tell` gets the repairs that they need before they
    can be read.
    """
    format = time.formats[0] if time.formats else None
    stamps = Stamps.of(ask.time, columns[ask.time], format)
    arrow_table = pa.table(dict(columns))
    part = TablePart(arrow_table, np.arange(arrow_table.num_rows), table.file, table.place, table.decimal)
    ticks, values = stamps.ticks(part), numbers(part, target.name, target.writing or PLAIN)
    series = _codes(columns, ask.series, arrow_table.num_rows)
    if note := out_of_order(ask.time, ticks, series, ask.series):
        tell(note)
    by_time, by_series = _constant(columns, ticks) if ask.series else (), _constant(columns, series)
    order = np.lexsort((ticks, series))
    ticks, values, series = ticks[order], values[order], series[order]
    same = series[1:] == series[:-1]
    every = _every(ticks, same, stamps.dated)
    spacing = spacing_of(every) if every is not None and stamps.dated else None
    starts = np.append(np.flatnonzero(np.append(True, ~same)), len(ticks))
    apart = counted(ticks, spacing, starts) if spacing is not None else np.ones(len(same))
    gaps = int(((apart != 1) & same).sum())
    known = _scaled(np.where(ticks <= np.quantile(ticks, TRAINING), values, np.nan), series)
    season, further = _seasons(values, known, series, every if stamps.dated else None)
    longest = int(np.bincount(series).max())
    next = ask.next or max(1, min(season, longest // 8))
    past = ask.past or max(2, min(max(2 * season, further, LEAST_STEPS), MOST_STEPS, longest // 3))
    errors = {lag: _error(known, series, lag, past, next) for lag in {0, 1, season, further} if lag <= past}
    repeated = min(errors.keys() - {0}, key=lambda lag: (errors[lag], lag))
    reason = f"values are alike after {season} steps" if season > 1 else "no season was found"
    if further > season:
        reason += f", and after {further}"
    return Rhythm(
        every,
        gaps,
        gaps > 0 and _is_torn(series, apart, past + next),
        repeated,
        errors[0] < errors[repeated] * (1 - sure_gain(TRAINING * longest / next)),
        (1 - TRAINING) * longest / next,
        past,
        next,
        reason,
        _clock(ticks, same, _changes(values, series)) if stamps.dated else (),
        frozenset(by_time),
        frozenset(by_series),
    )


def sure_gain(stretches: float) -> float:
    """The share of its error by which another forecast must be closer in so many stretches of next steps.
    Several series count once, as what moves one moves the others.
    """
    return float(min(SURE, SURE / np.sqrt(max(stretches, 1))))


def _scaled(values: NDArray[Any], series: NDArray[np.int64]) -> NDArray[Any]:
    """Values in deviations of their series, those that do not differ as they are."""
    there = ~np.isnan(values)
    counts = np.maximum(np.bincount(series, there), 1)
    means = np.bincount(series, np.where(there, values, 0)) / counts
    apart = values - means[series]
    deviations = np.sqrt(np.bincount(series, np.where(there, apart, 0) ** 2) / counts)
    return apart / np.where(deviations > 0, deviations, 1)[series]


def _error(values: NDArray[Any], series: NDArray[np.int64], lag: int, past: int, next: int) -> float:
    """How far the next steps are from what was `lag` steps before, once more; of lag 0, from the mean of the
    past. Infinite where no row tells.
    """
    ends = np.arange(past - 1, len(values) - next)  # the last steps of pasts
    ends = ends[series[ends - past + 1] == series[ends + next]]
    if not len(ends):
        return np.inf
    if lag == 0:
        there = ~np.isnan(values)
        sums, counts = (np.append(0, np.cumsum(each)) for each in (np.where(there, values, 0), there))
        sums, counts = (each[ends + 1] - each[ends + 1 - past] for each in (sums, counts))
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    errors = []
    for step in np.unique(np.linspace(1, next, min(next, HORIZONS)).astype(int)).tolist():
        before = means if lag == 0 else values[ends + step - lag * -(-step // lag)]
        apart = np.abs(values[ends + step] - before)
        errors.append(float(np.mean(apart[~np.isnan(apart)])) if not np.isnan(apart).all() else np.inf)
    return float(np.mean(errors))


def _constant(columns: Mapping[str, pa.Array], groups: NDArray[Any]) -> list[str]:
    """The columns that have one value in each of several groups of rows, though not in all rows."""
    _, groups = np.unique(groups, return_inverse=True)
    count, found = int(groups.max()) + 1, []
    if not 1 < count < len(groups):
        return []
    for name, column in columns.items():
        if pa.types.is_nested(column.type):
            continue
        codes = np.asarray(column.dictionary_encode("encode").indices, np.int64)
        first = np.zeros(count, np.int64)
        first[groups] = codes
        if (first[groups] == codes).all():
            found.append(name)
    return found


def _is_torn(series: NDArray[np.int64], apart: NDArray[Any], steps: int) -> bool:
    """Whether gaps, whose steps are fewer than the rows, leave less than half of the windows of `steps` rows.
    `apart` is how far each row is from the one before.
    """
    same = series[1:] == series[:-1]
    lengths = (np.bincount(np.cumsum(np.append(0, cut))) for cut in (~same, ~same | (apart != 1)))
    whole, left = (int(np.maximum(each - steps + 1, 0).sum()) for each in lengths)
    return 2 * left < whole and float((apart[same] - 1).sum()) < len(series)


def _clock(ticks: NDArray[Any], same: NDArray[np.bool_], changes: NDArray[np.float64]) -> tuple[str, ...]:
    """The parts of dates that come again: those that differ from step to step, and of whose period there are
    two. Of others, what comes next has values that training has not seen. Of steps within days the weekday is
    one where a week before is more alike than six days and eight.
    """
    steps = np.diff(ticks)[same]
    if not len(steps):
        return ()
    usual, span = float(np.median(steps)), float(ticks.max() - ticks.min())
    parts = [part for part, period in PERIODS.items() if usual < period and span >= 2 * period]
    six, seven, eight = (round(days * DAY / usual) for days in (6, 7, 8)) if usual > 0 else (0, 0, 0)
    if 0 < 2 * usual <= DAY and eight < len(changes) // 2 and "weekday" in parts:
        beside = max(_alike(changes, six), _alike(changes, eight))
        parts = [part for part in parts if part != "weekday" or _alike(changes, seven) > beside]
    return tuple(f"{part}_{wave}" for part in parts for wave in ("sin", "cos"))


def _codes(columns: Mapping[str, pa.Array], names: Sequence[str], rows: int) -> NDArray[np.int64]:
    keys = np.zeros(rows, np.int64)
    for name in names:
        codes = columns[name].cast(pa.string()).fill_null("").dictionary_encode()
        keys = keys * (len(codes.dictionary) + 1) + np.asarray(codes.indices, np.int64)
    return np.unique(keys, return_inverse=True)[1]


def _every(ticks: NDArray[Any], same: NDArray[np.bool_], dated: bool) -> str | None:
    """The most frequent spacing; None where rows are at no regular times."""
    steps = np.diff(ticks)[same]
    steps = steps[steps > 0]
    if not len(steps):
        return None
    ((usual, count),) = Counter(steps.tolist()).most_common(1)
    if not dated:
        return f"{usual:g}" if count > 0.5 * len(steps) else None
    days = steps / 86_400e6
    for unit, months in reversed(MONTHS.items()):
        low, high = (364, 367) if months == 12 else (27.9, 31.1)
        if ((days >= low) & (days <= high)).mean() > 0.9:
            return f"1{unit}"
    if ((days >= 89.9) & (days <= 92.1)).mean() > 0.9:
        return "3mo"
    if count < 0.5 * len(steps):
        return None
    for unit, seconds in reversed(SECONDS.items()):
        if usual % (seconds * 1_000_000) == 0:
            return f"{int(usual // (seconds * 1_000_000))}{unit}"
    return None


def _seasons(
    values: NDArray[np.float64], known: NDArray[np.float64], series: NDArray[np.int64], every: str | None
) -> tuple[int, int]:
    """The shortest and the longest season of the series with the most values; 1 without any. One
    that no calendar has is none where the last value is closer to what comes next, in the training rows.
    """
    changes = _changes(values, series)
    unit = "".join(c for c in every or "" if c.isalpha())
    amount = int("".join(c for c in every or "" if c.isdigit()) or 1)
    usual = [lag // amount for lag in USUAL.get(unit, ()) if lag % amount == 0 and lag // amount > 1]
    lags = [lag for lag in usual or range(2, 61) if lag < len(changes) // 3]
    correlations = {lag: _alike(changes, lag) for lag in lags}
    strong = [lag for lag, value in correlations.items() if value >= STRONG]
    if not usual:
        best = max(strong, key=lambda lag: correlations[lag], default=1)
        closer = _error(known, series, best, best, best) < _error(known, series, 1, best, best)
        return (best, best) if closer else (1, 1)
    return (min(strong), max(strong)) if strong else (1, 1)


def _changes(values: NDArray[np.float64], series: NDArray[np.int64]) -> NDArray[np.float64]:
    """From step to step of the series with the most values, whose gaps are filled in straight lines."""
    longest = values[series == int(np.bincount(series, ~np.isnan(values)).argmax())]
    there = ~np.isnan(longest)
    return np.diff(np.interp(np.arange(len(longest)), np.flatnonzero(there), longest[there]))


def _alike(changes: NDArray[np.float64], lag: int) -> float:
    """The correlation of changes with those `lag` steps before."""
    first, then = changes[:-lag], changes[lag:]
    spread = first.std() * then.std()
    return float(((first - first.mean()) * (then - then.mean())).mean() / spread) if spread > 0 else 0.0
