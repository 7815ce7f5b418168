"""A first spec for a table: inputs, encoders, a network and outputs that its columns suggest, with reasons.

It is text to go on from, written once; nothing of it is guessed again when the spec is trained.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from graphspec.data.columns import flat, is_list, is_text
from graphspec.data.files import DataFile
from graphspec.data.folders import find
from graphspec.data.tables import Table, open_table
from graphspec.diagnostics import fail

ROWS = 20_000
"""How many rows are looked at, the first ones."""
CLASSES = 20
"""A target of whole numbers has at most so many values where it is classes."""
GAPS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
"""What stands for a missing value in columns that are numbers otherwise."""
FORMATS = tuple(
    date + time
    for date in (
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d-%m-%Y",
        "%m-%d-%Y",
        "%Y/%m/%d",
        "%d/%m/%y",
        "%m/%d/%y",
    )
    for time in ("", " %H:%M", " %H:%M:%S")
)
"""Of dates that are not ISO 8601. Where rows fit several, the first is taken; a comment names the others."""
TAKEN = ("index", "logits", "batch", "facts", "kinds", "kind_vectors", "kind_codes", "all", "hidden", "drop")
"""Names that have a meaning in the language, or in what is written here."""
WORDS = 3
"""Words in a row from which on a column is text, on average."""


@dataclass(frozen=True, slots=True)
class Look:
    """The content of a column: `kind` is number, date, category, text, tokens, or left if it is not used."""

    name: str
    kind: str
    reason: str
    distinct: int
    missing: int
    gaps: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    """Of dates: the formats that every row fits; none for ISO 8601."""


@dataclass(slots=True)
class Draft:
    """The parts of the spec, line by line."""

    inputs: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """The nodes that are put together."""


def draft(name: str, data: Path, targets: Sequence[str], folder: Path) -> str:
    """The text of a spec in `folder` that learns the columns `targets` of the table at `data`.

    Raises `SpecError`: data-outside, data-column, data-empty, and what reading gives.
    """
    found = find(data)
    path = os.path.relpath(data, folder)
    if path.startswith(".."):
        message = f"`{data}` lies outside the directory of the spec"
        raise fail("data-outside", message, "write the spec next to it")
    table = open_table(found, DataFile(path=str(data)))
    for target in targets:
        if target not in table.columns:
            raise table.lacks(target, None, "It is to be a target")
    rows = _rows(table)
    if not rows.num_rows:
        raise fail("data-empty", f"`{data}` holds no examples")
    looks = [look(column, flat(rows.column(column))) for column in rows.column_names]
    made, gaps = Draft(), sorted({gap for seen in looks for gap in seen.gaps})
    _inputs(made, [seen for seen in looks if seen.name not in targets], rows)
    if not made.codes:
        raise fail("data-column", f"`{data}` has no column for an input besides the targets")
    _body(made)
    for target in targets:
        _output(made, next(seen for seen in looks if seen.name == target), rows)
    return _text(name, path, targets, made, looks, gaps)


def _rows(table: Table) -> pa.Table:
    parts: list[pa.Table] = []
    count = 0
    for _, part in table.chunks(list(table.columns)):
        parts.append(part.slice(0, ROWS - count))
        count += part.num_rows
        if count >= ROWS:
            break
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def look(name: str, column: pa.Array) -> Look:
    """What a column holds."""
    there = column.drop_null()
    kind, reason, gaps = _kind(there)
    missing = len(column) - len(there)
    if gaps:
        missing += pc.sum(pc.is_in(there, pa.array(gaps))).as_py()
    distinct = _distinct(there) - len(gaps)
    formats = _formats(_bare(there)) if kind == "date" and is_text(there.type) else ()
    return Look(name, kind, reason, distinct, missing, gaps, formats)


def _distinct(there: pa.Array) -> int:
    if pa.types.is_nested(there.type) or pa.types.is_null(there.type):
        return 0
    return int(pc.count_distinct(there).as_py())


def _kind(there: pa.Array) -> tuple[str, str, tuple[str, ...]]:
    """The kind, the reason, and the texts of missing values, of a column without nulls."""
    kind = there.type
    distinct = _distinct(there)

    def seen(found: str, reason: str) -> tuple[str, str, tuple[str, ...]]:
        return found, reason, ()

    if not len(there):
        return seen("left", "it is empty")
    if is_list(kind):
        return seen("tokens", "a list in each row")
    if distinct == 1:
        return seen("left", "it has one value")
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return seen("date", "dates")
    if pa.types.is_boolean(kind):
        return seen("category", "true and false")
    if not is_text(kind):
        return (*_numbers(there), ()) if not pa.types.is_nested(kind) else seen("left", f"it holds {kind}")
    bare = _bare(there)
    gaps = tuple(sorted(set(pc.unique(there).to_pylist()) & set(GAPS)))
    as_numbers = _cast(bare, pa.float64())
    if as_numbers is not None and len(bare):
        return (*_numbers(as_numbers), gaps)
    if len(bare) and (_cast(bare, pa.timestamp("us")) is not None or _formats(bare)):
        return "date", "dates", gaps
    words = pc.mean(pc.list_value_length(pc.split_pattern(there, " "))).as_py()
    if words >= WORDS or (words > 1.5 and distinct > len(there) / 2):
        return seen("text", f"{words:.1f} words a row")
    if distinct > 0.9 * len(there) and distinct > CLASSES:
        return seen("left", "nearly every row has a different value: if it identifies rows, use it as `key`")
    return seen("category", f"{distinct:,} values")


def _bare(texts: pa.Array) -> pa.Array:
    """Texts but those that stand for a missing value."""
    return texts.filter(pc.invert(pc.is_in(texts, pa.array(GAPS))))


def _formats(texts: pa.Array) -> tuple[str, ...]:
    """The formats of dates that all of some texts fit; none for ISO 8601."""
    if _cast(texts, pa.timestamp("us")) is not None:
        return ()
    distinct = pc.unique(texts).to_pylist()
    return tuple(format for format in FORMATS if all(_fits(text, format) for text in distinct))


def _fits(text: str, format: str) -> bool:
    try:
        datetime.strptime(text, format)
    except ValueError:
        return False
    return True


def _numbers(values: pa.Array) -> tuple[str, str]:
    whole, distinct = values.cast(pa.float64()), pc.count_distinct(values).as_py()
    integers = pc.all(pc.equal(whole, pc.floor(whole))).as_py()
    steps = pc.max(whole).as_py() - pc.min(whole).as_py() + 1
    if integers and distinct == len(values) == steps and distinct > CLASSES:
        return "left", "it numbers the rows"
    return "number", f"{distinct:,} numbers"


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.utf8_trim_whitespace(column).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


# --- the parts


def word(name: str) -> str:
    """An identifier for a column's name."""
    found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "column"
    return f"c_{found}" if found[0].isdigit() or found in TAKEN else found


def flow(value: object) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=2**31, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _inputs(made: Draft, looks: list[Look], rows: pa.Table) -> None:
    numbers = [seen for seen in looks if seen.kind == "number"]
    kinds = [seen for seen in looks if seen.kind == "category"]
    if numbers:
        gaps = any(seen.missing for seen in numbers)
        width = len(numbers) * (2 if gaps else 1)
        made.inputs.append(f"  facts: {{shape: [{width}]}}")
        fill = ", fill: median, indicator: true" if gaps else ""
        columns = flow([seen.name for seen in numbers])
        reason = (
            "missing numbers become the median, and a 0/1 column marks them"
            if gaps
            else "mean 0, deviation 1"
        )
        made.features.append(
            f"    # {reason}\n    facts: {{columns: {columns}, encode: number, scale: standard{fill}}}"
        )
        made.codes.append("facts")
    if kinds:
        sizes = [seen.distinct + 2 for seen in kinds]
        fill = ", fill: missing" if any(seen.missing for seen in kinds) else ""
        made.inputs.append(f"  kinds: {{shape: [{len(kinds)}], dtype: int64}}")
        columns = flow([seen.name for seen in kinds])
        made.features.append(
            "    # an id for each value that was found, one for unseen values, one spare\n"
            f"    kinds: {{columns: {columns}, encode: category, vocabulary: {sizes}{fill}}}"
        )
        made.nodes += [
            "  kind_vectors: {layer: Embedding, from: kinds, input_dim: $(vocabulary(kinds)), output_dim: 8}",
            "  kind_codes: {layer: Flatten}",
        ]
        made.codes.append("kind_codes")
    for seen in looks:
        name = word(seen.name)
        column = f"column: {flow(seen.name)}, "
        fill = ", fill: missing" if seen.missing else ""
        if seen.kind == "date":
            gap = ", fill: mean" if seen.missing else ""
            made.inputs.append(f"  {name}: {{shape: [4]}}")
            parts = "parts: [year, month_sin, month_cos, weekday], scale: standard"
            first = f"format: {flow(seen.formats[0])}, " if seen.formats else ""
            if seen.formats[1:]:
                made.features.append(f"    # every row also fits the format {' or '.join(seen.formats[1:])}")
            made.features.append(f"    {name}: {{{column}encode: date, {first}{parts}{gap}}}")
            made.codes.append(name)
        elif seen.kind in ("text", "tokens"):
            made.inputs.append(f"  {name}: {{shape: [{name}_length], dtype: int64}}")
            made.features.append(
                f"    {name}: {{{column}encode: {seen.kind}, vocabulary: 5000, length: 200{fill}}}"
            )
            made.nodes += [
                f"  {name}_vectors: {{layer: Embedding, from: {name}, input_dim: $(vocabulary({name})), "
                "output_dim: 32, mask_zero: true}",
                f"  {name}_mean: {{layer: GlobalAveragePooling1D}}",
            ]
            made.codes.append(f"{name}_mean")


def _body(made: Draft) -> None:
    source = f"from: {made.codes[0]}, " if len(made.codes) == 1 else ""
    if len(made.codes) > 1:
        made.nodes.append(f"  all: {{merge: concatenate, from: [{', '.join(made.codes)}]}}")
    made.nodes += [
        f"  hidden: {{layer: Dense, {source}units: 64, activation: relu}}",
        "  drop: {layer: Dropout, rate: 0.2}",
    ]


def _output(made: Draft, seen: Look, rows: pa.Table) -> None:
    name, column = word(seen.name), f"column: {flow(seen.name)}, "
    while any(line.startswith(f"  {name}: ") for line in (*made.nodes, *made.inputs)):
        name += "_"
    ignore = ", missing: ignore" if seen.missing else ""
    whole = (
        seen.kind == "number" and seen.distinct <= CLASSES and _whole(flat(rows.column(seen.name)), seen.gaps)
    )
    if seen.kind == "number" and not whole:
        made.nodes.append(f"  {name}: {{layer: Dense, from: drop, units: 1}}")
        made.outputs.append(f"  {name}: {{loss: mse, metrics: [mae]{ignore}}}")
        made.features.append(
            f"    {name}: {{{column}encode: number, scale: standard}}  # metrics are in its own units"
        )
        return
    if seen.kind not in ("number", "category", "text", "left") or seen.distinct < 2:
        raise fail("data-column", f"column `{seen.name}` cannot be a target: {seen.reason}", "name another")
    count = seen.distinct
    made.nodes.append(f"  {name}: {{layer: Dense, from: drop, units: {count}, activation: softmax}}")
    made.outputs.append(f"  {name}: {{loss: sparse_categorical_crossentropy, metrics: [accuracy]{ignore}}}")
    made.features.append(f"    {name}: {{{column}encode: category}}  # {count} classes")


def _whole(column: pa.Array, gaps: tuple[str, ...]) -> bool:
    there = column.drop_null()
    if is_text(there.type):
        there = pc.utf8_trim_whitespace(there.filter(pc.invert(pc.is_in(there, pa.array(gaps, pa.string())))))
    values = there.cast(pa.float64())
    return bool(pc.all(pc.equal(values, pc.floor(values))).as_py())


def _text(
    name: str, path: str, targets: Sequence[str], made: Draft, looks: list[Look], gaps: list[str]
) -> str:
    left = [
        f"#   {seen.name}: {seen.reason}"
        for seen in looks
        if seen.kind == "left" and seen.name not in targets
    ]
    parts = [
        f"# A first spec for {path}, to start from. It predicts {', '.join(targets)}.",
        f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`.",
        *(["# Columns that are not read:", *left] if left else []),
        "",
        "inputs:",
        *made.inputs,
        "",
        "nodes:  # each reads the node above it, unless it has `from`",
        *made.nodes,
        "",
        "outputs:",
        *made.outputs,
        "",
        "data:",
        f"  train: {flow(path)}",
        "  validation: {split: 0.2}  # a random fifth of the rows measures the model on unseen rows",
        *([f"  na_values: {flow(['', *gaps])}  # texts that mean a missing value"] if gaps else []),
        "  features:",
        *made.features,
        "",
        "train:",
        "  optimizer: {name: adam, learning_rate: 0.002}",
        "  epochs: 20",
        "  batch_size: 32",
    ]
    return "\n".join(parts) + "\n"
