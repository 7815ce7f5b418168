"""A first spec for a forecast: the windows, features and network that a long table suggests, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import PLAIN, TablePart, numbers
from graphspec.data.draft import Draft, training
from graphspec.data.drafting_looks import ColumnProfile
from graphspec.data.drafting_notes import out_of_order
from graphspec.data.features.windows import MONTHS, SECONDS, spacing_of
from graphspec.data.spec_words import flow, word
from graphspec.data.windows.stamps import Stamps, counted
from graphspec.diagnostics import fail

USUAL = {"s": (60,), "min": (60, 1440), "h": (24, 168), "d": (7, 365), "w": (52,), "mo": (12,)}
"""Steps of the seasons that are looked for, by the unit of the spacing."""
STRONG = 0.2
"""From this autocorrelation on there is a season."""
MOST_STEPS = 400
"""Of a past that is written without being asked for."""
DAY = 86_400e6
"""Microseconds."""
PERIODS = {"hour": DAY, "weekday": 7 * DAY, "day_of_year": 366 * DAY}
"""The parts of a date that come again, and after how long."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What the command line says of a forecast: the columns of time and of series, and lengths."""

    time: str
    series: tuple[str, ...] = ()
    past: int | None = None
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What the rows say: the spacing as `every` has it, gaps and whether they are to be filled, seasons, the
    lengths of a window, and the parts of dates that come again.
    """

    every: str | None
    gaps: int
    filled: bool
    season: int
    past: int
    next: int
    reason: str
    clock: tuple[str, ...]


def forecast(
    name: str,
    path: str,
    train: str,
    targets: Sequence[str],
    columns: Mapping[str, pa.Array],
    looks: Sequence[ColumnProfile],
    gaps: Sequence[str],
    ask: Ask,
    table: Any,
    tell: Callable[[str], None],
) -> str:
    """The text of a spec that forecasts the columns `targets`, which `columns` holds as the file writes them.
    `tell` is told what the rows need before they can be learned from. Raises `SpecError`: data-column.
    """
    known = {seen.name: seen for seen in looks}
    for column in (ask.time, *ask.series):
        if column not in known:
            raise table.lacks(column, None, "It is named on the command line")
    for target in targets:
        if known[target].kind != "number":
            message = f"column `{target}` cannot be forecast: it holds {known[target].reason}"
            raise fail("data-column", message, "name a column of numbers")
    rhythm = _rhythm(known[targets[0]], columns, known[ask.time], ask, table, tell)
    return _text(name, path, train, targets, looks, gaps, ask, rhythm)


def _rhythm(
    target: ColumnProfile,
    columns: Mapping[str, pa.Array],
    time: ColumnProfile,
    ask: Ask,
    table: Any,
    tell: Callable[[str], None],
) -> Rhythm:
    format = time.formats[0] if time.formats else None
    stamps = Stamps.of(ask.time, columns[ask.time], format)
    arrow_table = pa.table(dict(columns))
    part = TablePart(arrow_table, np.arange(arrow_table.num_rows), table.file, table.place, table.decimal)
    ticks, values = stamps.ticks(part), numbers(part, target.name, target.writing or PLAIN)
    series = _series(columns, ask.series, arrow_table.num_rows)
    if note := out_of_order(ask.time, ticks, series, ask.series):
        tell(note)
    order = np.lexsort((ticks, series))
    ticks, values, series = ticks[order], values[order], series[order]
    same = series[1:] == series[:-1]
    every = _every(ticks, same, stamps.dated)
    spacing = spacing_of(every) if every is not None and stamps.dated else None
    starts = np.append(np.flatnonzero(np.append(True, ~same)), len(ticks))
    apart = counted(ticks, spacing, starts) if spacing is not None else np.ones(len(same))
    gaps = int(((apart != 1) & same).sum())
    season, longest = _seasons(values, series, every if stamps.dated else None)
    shortest = int(np.bincount(series).max())
    next = ask.next or max(1, min(season, shortest // 8))
    past = ask.past or max(2, min(max(2 * season, longest), MOST_STEPS, shortest // 3))
    strong = longest if longest <= past else season if season <= past else 1
    reason = f"values are alike after {season} steps" if season > 1 else "no season was found"
    if longest > season:
        reason += f", and after {longest}"
    filled = gaps > 0 and _is_torn(series, apart, past + next)
    return Rhythm(
        every, gaps, filled, strong, past, next, reason, _clock(ticks, same) if stamps.dated else ()
    )


def _is_torn(series: NDArray[np.int64], apart: NDArray[Any], steps: int) -> bool:
    """Whether gaps, whose steps are fewer than the rows, leave less than half of the windows of `steps` rows.
    `apart` is how far each row is from the one before.
    """
    same = series[1:] == series[:-1]
    lengths = (np.bincount(np.cumsum(np.append(0, cut))) for cut in (~same, ~same | (apart != 1)))
    whole, left = (int(np.maximum(each - steps + 1, 0).sum()) for each in lengths)
    return 2 * left < whole and float((apart[same] - 1).sum()) < len(series)


def _clock(ticks: NDArray[Any], same: NDArray[np.bool_]) -> tuple[str, ...]:
    """The parts of dates that come again: those that differ from step to step, and of whose period there are
    two. Of others, what comes next has values that training has not seen.
    """
    steps = np.diff(ticks)[same]
    if not len(steps):
        return ()
    usual, span = float(np.median(steps)), float(ticks.max() - ticks.min())
    parts = [part for part, period in PERIODS.items() if usual < period and span >= 2 * period]
    return tuple(f"{part}_{wave}" for part in parts for wave in ("sin", "cos"))


def _series(columns: Mapping[str, pa.Array], names: Sequence[str], rows: int) -> NDArray[np.int64]:
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
    if count < 0.5 * len(steps):
        return None
    for unit, seconds in reversed(SECONDS.items()):
        if usual % (seconds * 1_000_000) == 0:
            return f"{int(usual // (seconds * 1_000_000))}{unit}"
    return None


def _seasons(values: NDArray[np.float64], series: NDArray[np.int64], every: str | None) -> tuple[int, int]:
    """The shortest and the longest season that the first long series has; 1 without any."""
    lengths = np.bincount(series)
    longest = values[series == int(lengths.argmax())]
    longest = np.interp(
        np.arange(len(longest)), np.flatnonzero(~np.isnan(longest)), longest[~np.isnan(longest)]
    )
    changes = np.diff(longest)
    unit = "".join(c for c in every or "" if c.isalpha())
    amount = int("".join(c for c in every or "" if c.isdigit()) or 1)
    lags = [lag // amount for lag in USUAL.get(unit, ()) if lag % amount == 0 and lag // amount > 1]
    lags = [lag for lag in lags or range(2, 61) if lag < len(changes) // 3]
    correlations = {lag: _alike(changes, lag) for lag in lags}
    strong = [lag for lag, value in correlations.items() if value >= STRONG]
    if not strong:
        return 1, 1
    if unit:
        return min(strong), max(strong)
    best = max(strong, key=lambda lag: correlations[lag])
    return best, best


def _alike(changes: NDArray[np.float64], lag: int) -> float:
    """The correlation of changes with those `lag` steps before."""
    first, then = changes[:-lag], changes[lag:]
    spread = first.std() * then.std()
    return float(((first - first.mean()) * (then - then.mean())).mean() / spread) if spread > 0 else 0.0


def _read(
    spec_draft: Draft,
    read: Sequence[ColumnProfile],
    looks: Sequence[ColumnProfile],
    ask: Ask,
    scale: str,
    rhythm: Rhythm,
) -> dict[str, int]:
    """The inputs: the past of the columns `read`, the clock and the series at its last step. Returns the
    place of each column among the numbers of a step; none where a step has one number.
    """
    fill = rhythm.filled or any(seen.missing for seen in read)
    filled = ", fill: median, indicator: true" if fill else ""
    writings = dict.fromkeys(seen.writing for seen in read)
    groups = [[seen for seen in read if seen.writing == writing] for writing in writings]
    pasts = ["past"] if len(groups) == 1 else [f"past_{number}" for number in range(1, len(groups) + 1)]
    places, width = dict[str, int](), 0
    for past, group in zip(pasts, groups, strict=True):
        places |= {seen.name: width + place for place, seen in enumerate(group)}
        size = len(group) * (2 if fill else 1)
        width += size
        spec_draft.inputs.append(f"  {past}: {{shape: [$past, {size}]}}")
        columns = f"columns: {flow([seen.name for seen in group])}, encode: number{group[0].keys()}"
        spec_draft.features.append(f"    {past}: {{{columns}, steps: past, scale: {scale}{filled}}}")
    if len(groups) > 1:
        spec_draft.nodes.append(f"  past: {{merge: concatenate, from: [{', '.join(pasts)}]}}")
    spec_draft.nodes += [
        "  level: {layer: GlobalAveragePooling1D, from: past}",
        f"  levels: {{layer: Reshape, target_shape: [1, {width}]}}",
        "  changes: {merge: subtract, from: [past, levels]}  # how the past moves around its mean",
        "  flat: {layer: Flatten}",
        "  steps: {layer: Dropout, rate: 0.1}",
    ]
    time = next(seen for seen in looks if seen.name == ask.time)
    if rhythm.clock:
        spec_draft.inputs.append(f"  clock: {{shape: [{len(rhythm.clock)}]}}")
        column = f"column: {flow(ask.time)}, encode: date, parts: [{', '.join(rhythm.clock)}]{_format(time)}"
        spec_draft.features += [
            "    # of the last step of the past: the steps that come next follow from it",
            f"    clock: {{{column}}}",
        ]
        spec_draft.codes.append("clock")
    if ask.series:
        sizes = [seen.distinct + 2 for seen in looks if seen.name in ask.series]
        spec_draft.inputs.append(f"  who: {{shape: [{len(sizes)}], dtype: int64}}")
        columns = f"columns: {flow(list(ask.series))}"
        spec_draft.features.append(f"    who: {{{columns}, encode: category, vocabulary: {sizes}}}")
        spec_draft.nodes += [
            "  who_vector: {layer: Embedding, from: who, input_dim: $(vocabulary(who)), output_dim: 4}",
            "  who_code: {layer: Flatten}",
        ]
        spec_draft.codes.append("who_code")
    return places if width > 1 else {}


def _predicted(
    spec_draft: Draft,
    targets: Sequence[ColumnProfile],
    scale: str,
    places: Mapping[str, int],
    rhythm: Rhythm,
) -> None:
    """The network and the outputs: the mean of the past, what the clock says, and how the past moved.
    `places` are those of the columns in a step of the past that has several numbers.
    """
    source, clock = "steps", bool(rhythm.clock)
    if spec_draft.codes:
        spec_draft.nodes.append(
            f"  all: {{merge: concatenate, from: [steps, {', '.join(spec_draft.codes)}]}}"
        )
        source = "all"
    spec_draft.nodes += [
        f"  hidden: {{layer: Dense, from: {source}, units: 128, activation: relu}}",
        "  drop: {layer: Dropout, rate: 0.3}",
    ]
    if clock:
        if len(spec_draft.codes) > 1:
            spec_draft.nodes.append(f"  times: {{merge: concatenate, from: [{', '.join(spec_draft.codes)}]}}")
        start = "" if len(spec_draft.codes) > 1 else "from: clock, "
        spec_draft.nodes.append(f"  season: {{layer: Dense, {start}units: 128, activation: relu, repeat: 2}}")
    for seen in targets:
        out = word(seen.name)
        taken = {line.strip().partition(":")[0] for line in (*spec_draft.nodes, *spec_draft.inputs)}
        while taken & {out, *(f"{out}_{part}" for part in ("line", "curve", "season", "level"))}:
            out += "_"
        parts, level = {"line": source, "curve": "drop"}, "level"
        if clock:
            parts["season"] = "season"
        if places:
            level, place = f"{out}_level", places[seen.name]
            spec_draft.nodes.append(
                f"  {level}: {{op: get_item, from: level, key: ':, {place}:{place + 1}'}}"
            )
        spec_draft.nodes += [
            f"  {out}_{part}: {{layer: Dense, from: {node}, units: $next}}" for part, node in parts.items()
        ]
        summed = ", ".join([level, *(f"{out}_{part}" for part in parts)])
        spec_draft.nodes.append(f"  {out}: {{merge: add, from: [{summed}]}}")
        ignore = ", missing: ignore" if seen.missing or rhythm.filled else ""
        spec_draft.outputs.append(f"  {out}: {{loss: mae, metrics: [mae]{ignore}}}")
        column = f"column: {flow(seen.name)}, encode: number{seen.keys()}"
        spec_draft.features.append(f"    {out}: {{{column}, steps: next, scale: {scale}}}")


def _windows(time: ColumnProfile, ask: Ask, rhythm: Rhythm) -> list[str]:
    """The lines of `windows`, with what they do about gaps."""
    by = f"by: {flow(list(ask.series) if len(ask.series) > 1 else ask.series[0])}" if ask.series else ""
    every = f"every: {rhythm.every}" if rhythm.every else ""
    gaps = f"gaps: {'fill' if rhythm.filled else 'skip'}" if rhythm.gaps else ""
    keys = [
        by,
        f"order: {flow(ask.time)}",
        "past: $past",
        "next: $next",
        every,
        gaps,
        f"season: {rhythm.season}",
    ]
    said = f"{', '.join(key for key in keys if key)}{_format(time)}"
    lines = [f"  windows: {{{said}}}"]
    if not rhythm.every:
        lines.insert(0, "  # a row is a step: times have no regular spacing")
    if rhythm.gaps:
        said = "no window crosses one; `gaps: fill` would fill each"
        if rhythm.filled:
            said = "filled, as less than half of the windows cross none; `missing` leaves their targets out"
        lines.insert(0, f"  # {rhythm.gaps:,} {'gap' if rhythm.gaps == 1 else 'gaps'}: {said}")
    return lines


def _left(seen: ColumnProfile) -> str:
    """Why a column is not read."""
    return seen.reason if seen.kind == "left" else f"{seen.reason}, and a first forecast reads numbers"


def _format(time: ColumnProfile) -> str:
    return f", format: {flow(time.formats[0])}" if time.formats else ""


def _text(
    name: str,
    path: str,
    train: str,
    targets: Sequence[str],
    looks: Sequence[ColumnProfile],
    gaps: Sequence[str],
    ask: Ask,
    rhythm: Rhythm,
) -> str:
    fixed, known = {ask.time, *ask.series, *targets}, {seen.name: seen for seen in looks}
    read = [known[target] for target in targets]
    read += [seen for seen in looks if seen.kind == "number" and seen.name not in fixed]
    scale = f"{{standard: {flow(ask.series[0])}}}" if len(ask.series) == 1 else "standard"
    spec_draft = Draft()
    places = _read(spec_draft, read, looks, ask, scale, rhythm)
    _predicted(spec_draft, read[: len(targets)], scale, places, rhythm)
    left = [
        f"#   {seen.name}: {_left(seen)}" for seen in looks if seen.name not in fixed and seen not in read
    ]
    advance = "    # what is known in advance, as holidays are, may be an input of its own with `steps: next`"
    lines = [
        f"# A first forecast for {path}, to start from: {', '.join(targets)}, {rhythm.next} steps ahead.",
        f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`.",
        *(["# Columns that are not read:", *left] if left else []),
        "",
        f"params: {{past: {rhythm.past}, next: {rhythm.next}}}  # {rhythm.reason}",
        *spec_draft.graph(),
        "data:",
        f"  train: {train}",
        f"  validation: {{split: 0.2, last_by: {flow(ask.time)}}}  # no window of training reads it",
        *_windows(known[ask.time], ask, rhythm),
        *([f"  na_values: {flow(['', *gaps])}  # texts that mean a missing value"] if gaps else []),
        "  features:",
        *spec_draft.features,
        *([advance] if len(read) > len(targets) else []),
        "",
        *training(0.002, 100, 128, patience=8, plateau=3),
    ]
    return "\n".join(lines) + "\n"
