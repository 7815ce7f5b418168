"""A first spec for a forecast: the windows, features and network that a long table suggests, with reasons."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from graphspec.data.columns import is_text
from graphspec.data.drafting.looks import ColumnProfile
from graphspec.data.drafting.parts import Draft
from graphspec.data.drafting.rhythm import Ask, Rhythm, rhythm_of, sure_gain
from graphspec.data.drafting.words import flow, on_a_line, word
from graphspec.diagnostics import fail

CALENDAR = re.compile(
    r"(?i:(?:^|[\W_])(?:(?:\w+_)?holidays?|events?|vacations?|weekends?|promo\d?|promotions?|weekday|dow|month|quarter"
    r"|(?:business|working|week)_?days?|day_?of_?week|open|closed)(?:$|[\W_]))"
    r"|[a-z](?:Holiday|Event|Weekend|Promo|Weekday|DayOfWeek|Month|Open)s?$"
)
"""Names of columns whose values are known in advance."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns of a forecast, by the time at which they are known."""

    past: list[ColumnProfile]
    """Numbers of each step of the past, those of the targets first."""
    ahead: list[ColumnProfile]
    """Those of them that are known of the steps to come, too."""
    events: list[ColumnProfile]
    """Categories that are known of them."""
    facts: list[ColumnProfile]
    """Numbers of a whole series."""
    kinds: list[ColumnProfile]
    """Categories of a series, or at the last step of the past."""

    @property
    def read(self) -> set[str]:
        every = (*self.past, *self.ahead, *self.events, *self.facts, *self.kinds)
        return {seen.name for seen in every}


def _roles(
    looks: Sequence[ColumnProfile],
    columns: Mapping[str, pa.Array],
    targets: Sequence[str],
    fixed: set[str],
    rhythm: Rhythm,
) -> Roles:
    known = {seen.name: seen for seen in looks}
    roles = Roles([known[target] for target in targets], [], [], [], [])
    for seen in looks:
        rare = seen.kind == "left" and seen.distinct > 0 and is_text(columns[seen.name].type)
        if seen.name in fixed or not (seen.kind in ("number", "category") or (rare and not seen.key)):
            continue
        named = CALENDAR.search(seen.name) is not None
        in_advance = seen.name not in rhythm.by_series and (
            named or (seen.name in rhythm.by_time and seen.distinct == 2)
        )
        if seen.kind == "left":
            if in_advance and seen.missing:
                roles.events.append(seen)
        elif seen.kind == "category":
            (roles.events if in_advance else roles.kinds).append(seen)
        elif seen.writing is None and seen.name in rhythm.by_series:
            roles.facts.append(seen)
        else:
            roles.past.append(seen)
            if in_advance and seen.writing is None:
                roles.ahead.append(seen)
    return roles


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
    time = known[ask.time]
    if time.kind not in ("date", "number") and not time.key:
        message = f"column `{ask.time}` holds no times: {time.reason}"
        help = "name a column of dates or numbers; dates as 2024-12-31, in one column"
        raise fail("data-column", message, help)
    for target in targets:
        if known[target].kind != "number":
            message = f"column `{target}` cannot be forecast: it holds {known[target].reason}"
            raise fail("data-column", message, "name a column of numbers")
    rhythm = rhythm_of(known[targets[0]], columns, known[ask.time], ask, table, tell)
    roles = _roles(looks, columns, targets, {ask.time, *ask.series, *targets}, rhythm)
    if early := [f"`{seen.name}`" for seen in (*roles.ahead, *roles.events)]:
        verb = "is" if len(early) == 1 else "are"
        tell(
            f"{', '.join(early)} {verb} read of the steps to come, as what is known in advance: to predict, "
            "the file has rows for these steps; if it is not known, leave its input out"
        )
    return _text(name, path, train, targets, looks, gaps, ask, rhythm, roles)


def _past(spec_draft: Draft, read: Sequence[ColumnProfile], scale: str, rhythm: Rhythm) -> dict[str, int]:
    """The past of numbers. Returns the place of each column among the numbers of a step."""
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
    return places


def _about(spec_draft: Draft, roles: Roles, looks: Sequence[ColumnProfile], ask: Ask, rhythm: Rhythm) -> None:
    """The inputs at the last step of the past: the clock, the series, and what is said of it."""
    time = next(seen for seen in looks if seen.name == ask.time)
    if rhythm.clock:
        spec_draft.inputs.append(f"  clock: {{shape: [{len(rhythm.clock)}]}}")
        column = f"column: {flow(ask.time)}, encode: date, parts: [{', '.join(rhythm.clock)}]{_format(time)}"
        spec_draft.features += [
            "    # of the last step of the past: the steps that come next follow from it",
            f"    clock: {{{column}}}",
        ]
        spec_draft.codes.append("clock")
    if roles.facts:
        spec_draft.inputs.append(f"  facts: {{shape: [{len(roles.facts)}]}}")
        fill = ", fill: median" if rhythm.filled or any(seen.missing for seen in roles.facts) else ""
        columns = f"columns: {flow([seen.name for seen in roles.facts])}"
        spec_draft.features += [
            "    # numbers of a whole series",
            f"    facts: {{{columns}, encode: number, scale: standard{fill}}}",
        ]
        spec_draft.codes.append("facts")
    series = [seen for seen in looks if seen.name in ask.series]
    for name, of in (("who", series), ("kinds", roles.kinds)):
        if not of:
            continue
        sizes = [(seen.frequent or seen.distinct + 1) + 1 for seen in of]
        spec_draft.inputs.append(f"  {name}: {{shape: [{len(of)}], dtype: int64}}")
        gaps = rhythm.filled or any(seen.missing for seen in of)
        fill = ", fill: missing" if gaps and name == "kinds" else ""
        columns = f"columns: {flow([seen.name for seen in of])}"
        spec_draft.features.append(f"    {name}: {{{columns}, encode: category, vocabulary: {sizes}{fill}}}")
        spec_draft.nodes += [
            f"  {name}_vector: {{layer: Embedding, from: {name}, input_dim: $(vocabulary({name})), "
            "output_dim: 4}",
            f"  {name}_code: {{layer: Flatten}}",
        ]
        spec_draft.codes.append(f"{name}_code")


def _ahead(spec_draft: Draft, roles: Roles, rhythm: Rhythm) -> list[str]:
    """The inputs of the steps to come. Returns the nodes with their numbers, [next, numbers]."""
    found = []
    if roles.ahead or roles.events:
        spec_draft.features.append("    # known in advance: read of the steps that come next")
    if roles.ahead:
        gaps = rhythm.filled or any(seen.missing for seen in roles.ahead)
        spec_draft.inputs.append(f"  ahead: {{shape: [$next, {len(roles.ahead)}]}}")
        columns = f"columns: {flow([seen.name for seen in roles.ahead])}, encode: number, steps: next"
        fill = ", fill: median" if gaps else ""
        spec_draft.features.append(f"    ahead: {{{columns}, scale: min_max{fill}}}")
        found.append("ahead")
    if roles.events:
        gaps = rhythm.filled or any(seen.missing for seen in roles.events)
        sizes = [(seen.frequent or seen.distinct + 1) + 1 for seen in roles.events]
        spec_draft.inputs.append(f"  events: {{shape: [$next, {len(sizes)}], dtype: int64}}")
        columns = f"columns: {flow([seen.name for seen in roles.events])}, encode: category, steps: next"
        fill = ", fill: missing" if gaps else ""
        spec_draft.features.append(f"    events: {{{columns}, vocabulary: {sizes}{fill}}}")
        spec_draft.nodes += [
            "  event_vectors: {layer: Embedding, from: events, input_dim: $(vocabulary(events)), "
            "output_dim: 4}",
            f"  event_codes: {{layer: Reshape, target_shape: [$next, {4 * len(sizes)}]}}",
        ]
        found.append("event_codes")
    return found


def _repeated(rhythm: Rhythm) -> list[str]:
    """The nodes for the steps of the last season that the next ones repeat."""
    if rhythm.season == 1:
        return ["  before: {op: get_item, from: past, key: ':, -1:'}"]
    season = rhythm.season
    if rhythm.next <= season:
        key = f"':, $(past - {season}):$(past - {season} + next)'"
        return [f"  before: {{op: get_item, from: past, key: {key}}}  # {season} steps before"]
    return [
        f"  season_before: {{op: get_item, from: past, key: ':, $(past - {season}):'}}",
        f"  seasons_before: {{op: tile, repeats: [1, $(-(-next // {season})), 1]}}",
        "  before: {op: get_item, key: ':, :$next'}  # the last season again and again",
    ]


def _predicted(
    spec_draft: Draft,
    targets: Sequence[ColumnProfile],
    scale: str,
    places: Mapping[str, int],
    ahead: list[str],
    rhythm: Rhythm,
) -> None:
    """The network and the outputs. `places` are those of the columns in a step of the past."""
    source, clock = "steps", bool(rhythm.clock)
    if spec_draft.codes:
        spec_draft.nodes.append(
            f"  all: {{merge: concatenate, from: [steps, {', '.join(spec_draft.codes)}]}}"
        )
        source = "all"
    spec_draft.nodes += [
        f"  hidden: {{layer: Dense, from: {source}, units: 32, activation: relu}}",
        "  drop: {layer: Dropout, rate: 0.3}",
    ]
    if clock:
        if len(spec_draft.codes) > 1:
            spec_draft.nodes.append(f"  times: {{merge: concatenate, from: [{', '.join(spec_draft.codes)}]}}")
        start = "" if len(spec_draft.codes) > 1 else "from: clock, "
        spec_draft.nodes.append(f"  season: {{layer: Dense, {start}units: 32, activation: relu, repeat: 2}}")
    if not rhythm.level:
        spec_draft.nodes += _repeated(rhythm)
    if ahead:
        known = [*(["before"] if not rhythm.level and rhythm.season > 1 else []), *ahead]
        start = f"from: {known[0]}, "
        if len(known) > 1:
            spec_draft.nodes.append(f"  coming: {{merge: concatenate, from: [{', '.join(known)}]}}")
            start = ""
        spec_draft.nodes.append(f"  each_step: {{layer: Dense, {start}units: 32, activation: relu}}")
    inputs = {"line": source, "curve": "drop"} | ({"season": "season"} if clock else {})
    for seen in targets:
        _output(spec_draft, seen, scale, places[seen.name], inputs, bool(ahead), rhythm)


def _output(
    spec_draft: Draft,
    seen: ColumnProfile,
    scale: str,
    place: int,
    inputs: Mapping[str, str],
    ahead: bool,
    rhythm: Rhythm,
) -> None:
    """A forecast: the naive one, and what the nodes `inputs` and the steps to come say of its error, which
    begins as 0.
    """
    out = word(seen.name, "target")
    taken = {line.strip().partition(":")[0] for line in (*spec_draft.nodes, *spec_draft.inputs)}
    while taken & {
        out,
        *(f"{out}_{part}" for part in ("naive", "line", "curve", "season", "step", "steps")),
    }:
        out += "_"
    naive = f"from: level, key: ':, {place}:{place + 1}'"
    if not rhythm.level:
        naive = f"from: before, key: ':, :, {place}'"
    why = (
        "the mean of the past"
        if rhythm.level
        else "the last value"
        if rhythm.season == 1
        else "the last season"
    )
    spec_draft.nodes.append(
        f"  {out}_naive: {{op: get_item, {naive}}}  # {why}: of what is simple, the closest in training"
    )
    zero = "kernel_initializer: zeros"
    spec_draft.nodes += [
        f"  {out}_{part}: {{layer: Dense, from: {node}, units: $next, {zero}}}"
        for part, node in inputs.items()
    ]
    if ahead:
        spec_draft.nodes += [
            f"  {out}_step: {{layer: Dense, from: each_step, units: 1, {zero}}}",
            f"  {out}_steps: {{layer: Flatten}}",
        ]
    summed = ", ".join(f"{out}_{part}" for part in ("naive", *inputs, *(["steps"] if ahead else [])))
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
    return (
        seen.reason
        if seen.kind == "left"
        else f"{seen.reason}, and a first forecast reads numbers and categories"
    )


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
    roles: Roles,
) -> str:
    known = {seen.name: seen for seen in looks}
    scale = f"{{standard: {flow(ask.series[0])}}}" if len(ask.series) == 1 else "standard"
    spec_draft = Draft()
    places = _past(spec_draft, roles.past, scale, rhythm)
    _about(spec_draft, roles, looks, ask, rhythm)
    ahead = _ahead(spec_draft, roles, rhythm)
    _predicted(spec_draft, roles.past[: len(targets)], scale, places, ahead, rhythm)
    used = {ask.time, *ask.series, *roles.read}
    left = [f"#   {on_a_line(seen.name)}: {_left(seen)}" for seen in looks if seen.name not in used]
    forecast = ", ".join(map(on_a_line, targets))
    lines = [
        f"# A first forecast for {path}, to start from: {forecast}, {rhythm.next} steps ahead.",
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
        "",
        *_training("val_mae" if len(targets) == 1 else "val_loss", sure_gain(rhythm.stretches)),
    ]
    return "\n".join(lines) + "\n"


def _training(monitor: str, gain: float) -> list[str]:
    """The section `train`: the best epoch is by the error in the units of the target, where there is one."""
    return [
        "train:",
        "  optimizer: {name: adamw, learning_rate: 0.002, weight_decay: 0.01}",
        "  epochs: 100  # at most: it ends where validation gets no better",
        "  batch_size: 128",
        "  callbacks:",
        "    # the rate of the first epoch is 0: it measures the naive forecast, which later ones improve",
        "    learning_rate_scheduler: {schedule: '0.002 * min(epoch, 1) * 0.95 ** epoch'}",
        f"    # a smaller gain than {gain:.0%} may be chance in so few steps: then the naive forecast stays",
        "    early_stopping:",
        f"      {{monitor: {monitor}, patience: 10, first_gain: {gain:.2g}, restore_best_weights: true}}",
        f"    model_checkpoint: {{monitor: {monitor}, save_best_only: true}}",
    ]
