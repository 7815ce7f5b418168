"""A first spec for a table or a folder of images: inputs, encoders, a network and outputs that the columns
suggest, with reasons.

It is text to go on from, written once; nothing of it is guessed again when the spec is trained.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from unicodedata import combining, normalize

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from graphspec.data.columns import flat, is_list, is_text, kind_in_words
from graphspec.data.dialect import dialect
from graphspec.data.drafting_notes import headless, measured
from graphspec.data.files import DataFile
from graphspec.data.folders import Found, find
from graphspec.data.image_drafting import (
    BLOCK,
    ImageProfile,
    holds_images,
    images,
    names_images,
    stored_images,
)
from graphspec.data.image_drafting import feature as image_feature
from graphspec.data.image_drafting import nodes as image_nodes
from graphspec.data.lookalikes import DATES, fits
from graphspec.data.tables import Table, open_table
from graphspec.diagnostics import fail

ROWS = 20_000
"""How many rows are looked at, the first ones."""
CLASSES = 20
"""A target of whole numbers has at most so many values where it is classes."""
GAPS = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", "-")
"""What stands for a missing value in columns that are numbers or dates otherwise. In others, `None` may be a
value. So may `NA` among codes of two letters (Namibia, North America), `-` beside `+`, and each of them where
there is but one other value.
"""
TAKEN = ("index", "logits", "batch", "facts", "kinds", "kind_vectors", "kind_codes", "all", "hidden", "drop")
"""Names that have a meaning in the language, or in what is written here."""
WORDS = 3
"""Words in a row from which on a column is text, on average."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """The content of a column: `kind` is number, date, category, text, tokens, vector or image; left where it
    is not used.
    """

    name: str
    kind: str
    reason: str
    distinct: int
    missing: int
    images: ImageProfile | None = None
    formats: tuple[str, ...] = ()
    """Of dates: the formats that every row fits; none for ISO 8601."""
    timed: bool = False
    """Whether dates have different hours."""
    width: int = 0
    """The numbers of a vector."""


@dataclass(slots=True)
class Draft:
    """The parts of the spec, line by line."""

    inputs: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """The nodes that are put together."""


def draft(
    name: str,
    data: Path,
    targets: Sequence[str],
    folder: Path,
    tell: Callable[[str], None] = lambda note: None,
) -> str:
    """The text of a spec in `folder` that learns the columns `targets` of the table at `data`, or the classes
    of a folder of images. `tell` is told what the table seems to mean and does not say, which the spec notes.

    Raises `SpecError`: data-outside, data-column, data-empty, package-missing, and what reading gives.
    """
    found = find(data)
    path = os.path.relpath(data, folder)
    if path.startswith(".."):
        message = f"`{data}` lies outside the directory of the spec"
        raise fail("data-outside", message, "write the spec next to it")
    options = dialect(found)
    table = open_table(found, DataFile.model_validate({"path": str(data), **options}))
    targets = targets or _classes(found, table)
    for target in targets:
        if target not in table.columns:
            raise table.lacks(target, None, "It is to be a target")
    rows = _rows(table, sys.maxsize if found.kind == "images" else ROWS)
    if found.kind == "images":
        rows = rows.drop_columns("file")  # which `image` is, too
    if not rows.num_rows:
        raise fail("data-empty", f"`{data}` holds no examples")
    columns = {column: _pointed(flat(rows.column(column)), table) for column in rows.column_names}
    gaps = sorted({gap for column in columns.values() for gap in gaps_of(column)})
    columns = {column: _without(values, gaps) for column, values in columns.items()}
    looks = [_look(column, values, table.root) for column, values in columns.items()]
    header = headless(list(columns)) if found.kind == "delimited" else None
    notes = [*([header] if header else []), *measured(columns)]
    for note in notes:
        tell(note)
    made = Draft()
    _inputs(made, [seen for seen in looks if seen.name not in targets])
    if not made.codes:
        why = [f"`{seen.name}`: {seen.reason}" for seen in looks if seen.name not in targets][:20]
        raise fail("data-column", f"`{data}` has no column for an input besides the targets", None, *why)
    _body(made)
    for target in targets:
        _output(made, next(seen for seen in looks if seen.name == target), columns[target])
    train = flow(path)
    if options:
        train = f"{{path: {train}, {', '.join(f'{key}: {flow(value)}' for key, value in options.items())}}}"
    return _text(name, path, train, targets, made, looks, gaps, notes)


def _classes(found: Found, table: Table) -> list[str]:
    """The target where none is named: the classes of a folder of images."""
    if found.labels is not None:
        return ["label"]
    if found.kind == "images":
        message = f"`{found.path}` holds images, and no classes of them"
        help = "make a folder for each class, or name a table with the files in one column: `--data FILE`"
        raise fail("data-column", message, help)
    names = ", ".join(f"`{name}`" for name in list(table.columns)[:20])
    message = f"`{found.path}` is a table, and no column of it is named as the target"
    raise fail("data-column", message, "name it: `--target COLUMN`", f"it has {names}")


def _pointed(column: pa.Array, table: Table) -> pa.Array:
    """A column of texts whose numbers have points where the table has decimal commas."""
    if not is_text(column.type) or getattr(table, "decimal", ".") == ".":
        return column
    return pc.replace_substring_regex(column, r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2")


def _rows(table: Table, most: int) -> pa.Table:
    parts: list[pa.Table] = []
    count = 0
    for _, part in table.chunks(list(table.columns)):
        parts.append(part.slice(0, most - count))
        count += part.num_rows
        if count >= most:
            break
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def look(name: str, column: pa.Array, folder: Path | None = None) -> ColumnProfile:
    """What a column holds; `folder` is what names of images in it start from."""
    return _look(name, _without(column, gaps_of(column)), folder)


def _look(name: str, column: pa.Array, folder: Path | None) -> ColumnProfile:
    there = column.drop_null()
    kind, reason = _kind(there)
    seen = ColumnProfile(name, kind, reason, _distinct(there), len(column) - len(there))
    if is_text(there.type) and kind in ("category", "text", "left") and names_images(there):
        found = images(there.to_pylist(), folder) if folder is not None else None
        if found is None:
            return replace(seen, kind="left", reason=f"there is no image `{there[0]}`")
        return replace(seen, kind="image", reason="names of images", images=found)
    if holds_images(there.type) and len(there):
        found = stored_images(there)
        reason = "images" if found is not None else "its bytes are of no image that is read"
        return replace(seen, kind="image" if found is not None else "left", reason=reason, images=found)
    if is_list(there.type) and pa.types.is_floating(there.type.value_type) and len(there):
        return _vectors(seen, there)
    if kind == "date":
        formats = _formats(there) if is_text(there.type) else ()
        return replace(seen, formats=formats, timed=_timed(there, formats))
    return seen


def _vectors(seen: ColumnProfile, lists: pa.Array) -> ColumnProfile:
    """Lists of numbers, which an input of their name and length reads as they are."""
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    why = None
    if len(lengths) > 1:
        why = "its lists of numbers have different lengths"
    elif seen.missing:
        why = f"{seen.missing:,} of its lists of numbers are missing"
    elif word(seen.name) != seen.name:
        why = "a column of lists of numbers needs a name that an input can have"
    if why is not None:
        return replace(seen, kind="left", reason=why)
    return replace(seen, kind="vector", reason=f"{lengths[0]} numbers a row", width=lengths[0])


def gaps_of(column: pa.Array) -> tuple[str, ...]:
    """The texts of a column that stand for a missing value."""
    if not is_text(column.type):
        return ()
    distinct = set(pc.unique(column.drop_null()).to_pylist())
    gaps, rest = distinct & set(GAPS), pa.array(sorted(distinct - set(GAPS)), pa.string())
    if gaps and _cast(rest, pa.float64()) is None and not _is_date(rest):
        kept = {"None"} if len(rest) > 1 else gaps
        if all(re.fullmatch("[A-Z]{2}", text) for text in rest.to_pylist()):
            kept = kept | {"NA"}
        if "+" in distinct:
            kept = kept | {"-"}
        gaps -= kept
    return tuple(sorted(gaps))


def _without(column: pa.Array, gaps: Sequence[str]) -> pa.Array:
    """A column whose texts that stand for a missing value are missing."""
    if not gaps or not is_text(column.type):
        return column
    return pc.if_else(pc.is_in(column, pa.array(gaps, column.type)), pa.scalar(None, column.type), column)


def _distinct(there: pa.Array) -> int:
    if pa.types.is_nested(there.type) or pa.types.is_null(there.type):
        return 0
    return int(pc.count_distinct(there).as_py())


def _kind(there: pa.Array) -> tuple[str, str]:
    """The kind and the reason of a column without nulls."""
    kind = there.type
    distinct = _distinct(there)
    if not len(there):
        return "left", "it is empty"
    if is_list(kind):
        return "tokens", "a list in each row"
    if distinct == 1:
        return "left", "it has one value"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date", "dates"
    if pa.types.is_boolean(kind):
        return "category", "true and false"
    if not is_text(kind):
        counted = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        return _numbers(there) if counted else ("left", f"it holds {kind_in_words(kind)}")
    as_numbers = _cast(there, pa.float64())
    if as_numbers is not None:
        return _numbers(as_numbers)
    if _is_date(there):
        return "date", "dates"
    words = pc.mean(pc.list_value_length(pc.split_pattern(there, " "))).as_py()
    if words >= WORDS or (words > 1.5 and distinct > len(there) / 2):
        return "text", f"{words:.1f} words a row"
    if distinct > 0.9 * len(there) and distinct > CLASSES:
        return "left", "nearly every row has a different value: if it identifies rows, use it as `key`"
    return "category", f"{distinct:,} values"


def _is_date(texts: pa.Array) -> bool:
    return len(texts) > 0 and (_cast(texts, pa.timestamp("us")) is not None or bool(_formats(texts)))


def _formats(texts: pa.Array) -> tuple[str, ...]:
    """The formats of dates that all of some texts fit; none for ISO 8601."""
    if _cast(texts, pa.timestamp("us")) is not None:
        return ()
    distinct = pc.unique(texts).to_pylist()
    return tuple(format for format in DATES if all(fits(text, format) for text in distinct))


def _timed(dates: pa.Array, formats: tuple[str, ...]) -> bool:
    """Whether dates have different hours."""
    if formats:
        distinct = pc.unique(dates).to_pylist()
        return len({datetime.strptime(text, formats[0]).hour for text in distinct}) > 1
    known = _cast(dates, pa.timestamp("us")) if is_text(dates.type) else dates
    return (
        known is not None
        and pa.types.is_timestamp(known.type)
        and pc.count_distinct(pc.hour(known)).as_py() > 1
    )


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
    plain = "".join(c for c in normalize("NFKD", name.replace("ß", "ss")) if not combining(c))
    found = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_") or "column"
    return f"c_{found}" if found[0].isdigit() or found in TAKEN else found


def flow(value: object) -> str:
    """A value on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=2**31, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _inputs(made: Draft, looks: list[ColumnProfile]) -> None:
    _numbers_input(made, [seen for seen in looks if seen.kind == "number"])
    _kinds_input(made, [seen for seen in looks if seen.kind == "category"])
    for seen in looks:
        name = word(seen.name)
        if seen.kind == "vector":
            made.inputs.append(f"  {name}: {{shape: [{seen.width}]}}")
            made.codes.append(name)
        elif seen.kind == "date":
            _date_input(made, name, seen)
        elif seen.images is not None:
            _images(made, name, seen, seen.images)
        elif seen.kind in ("text", "tokens"):
            _list_input(made, name, seen)


def _numbers_input(made: Draft, numbers: list[ColumnProfile]) -> None:
    if not numbers:
        return
    gaps = any(seen.missing for seen in numbers)
    made.inputs.append(f"  facts: {{shape: [{len(numbers) * (2 if gaps else 1)}]}}")
    fill = ", fill: median, indicator: true" if gaps else ""
    columns = flow([seen.name for seen in numbers])
    filled = "missing numbers become the median, and a 0/1 column marks them"
    made.features += [
        f"    # {filled if gaps else 'mean 0, deviation 1'}",
        f"    facts: {{columns: {columns}, encode: number, scale: standard{fill}}}",
    ]
    made.codes.append("facts")


def _kinds_input(made: Draft, kinds: list[ColumnProfile]) -> None:
    if not kinds:
        return
    sizes = [seen.distinct + 2 for seen in kinds]
    fill = ", fill: missing" if any(seen.missing for seen in kinds) else ""
    made.inputs.append(f"  kinds: {{shape: [{len(kinds)}], dtype: int64}}")
    columns = flow([seen.name for seen in kinds])
    made.features += [
        "    # an id for each value that was found, one for unseen values, one spare",
        f"    kinds: {{columns: {columns}, encode: category, vocabulary: {sizes}{fill}}}",
    ]
    made.nodes += [
        "  kind_vectors: {layer: Embedding, from: kinds, input_dim: $(vocabulary(kinds)), output_dim: 8}",
        "  kind_codes: {layer: Flatten}",
    ]
    made.codes.append("kind_codes")


def _date_input(made: Draft, name: str, seen: ColumnProfile) -> None:
    gap = ", fill: mean" if seen.missing else ""
    hours = ["hour_sin", "hour_cos"] if seen.timed else []
    names = ["year", "month_sin", "month_cos", "weekday", *hours]
    made.inputs.append(f"  {name}: {{shape: [{len(names)}]}}")
    parts = f"parts: [{', '.join(names)}], scale: standard"
    first = f"format: {flow(seen.formats[0])}, " if seen.formats else ""
    if seen.formats[1:]:
        made.features.append(f"    # every row also fits the format {' or '.join(seen.formats[1:])}")
    column = f"column: {flow(seen.name)}"
    made.features.append(f"    {name}: {{{column}, encode: date, {first}{parts}{gap}}}")
    made.codes.append(name)


def _list_input(made: Draft, name: str, seen: ColumnProfile) -> None:
    fill = ", fill: missing" if seen.missing else ""
    column = f"column: {flow(seen.name)}"
    made.inputs.append(f"  {name}: {{shape: [{name}_length], dtype: int64}}")
    made.features.append(
        f"    {name}: {{{column}, encode: {seen.kind}, vocabulary: 5000, length: 200{fill}}}"
    )
    made.nodes += [
        f"  {name}_vectors: {{layer: Embedding, from: {name}, input_dim: $(vocabulary({name})), "
        "output_dim: 32, mask_zero: true}",
        f"  {name}_mean: {{layer: GlobalAveragePooling1D}}",
    ]
    made.codes.append(f"{name}_mean")


def _images(made: Draft, name: str, seen: ColumnProfile, found: ImageProfile) -> None:
    made.inputs.append(f"  {name}: {{shape: [{found.height}, {found.width}, {found.channels}]}}")
    made.blocks = [BLOCK]
    made.nodes += image_nodes(name, found)
    made.features += image_feature(name, flow(seen.name), found, seen.missing > 0)
    made.codes.append(f"{name}_mean")


def _body(made: Draft) -> None:
    source = f"from: {made.codes[0]}, " if len(made.codes) == 1 else ""
    if len(made.codes) > 1:
        made.nodes.append(f"  all: {{merge: concatenate, from: [{', '.join(made.codes)}]}}")
    made.nodes += [
        f"  hidden: {{layer: Dense, {source}units: 64, activation: relu}}",
        "  drop: {layer: Dropout, rate: 0.2}",
    ]


def _output(made: Draft, seen: ColumnProfile, values: pa.Array) -> None:
    name, column = word(seen.name), f"column: {flow(seen.name)}, "
    while any(line.startswith(f"  {name}: ") for line in (*made.nodes, *made.inputs)):
        name += "_"
    ignore = ", missing: ignore" if seen.missing else ""
    whole = seen.kind == "number" and seen.distinct <= CLASSES and _whole(values)
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


def _whole(column: pa.Array) -> bool:
    there = column.drop_null()
    if is_text(there.type):
        there = pc.utf8_trim_whitespace(there)
    values = there.cast(pa.float64())
    return bool(pc.all(pc.equal(values, pc.floor(values))).as_py())


def _text(
    name: str,
    path: str,
    train: str,
    targets: Sequence[str],
    made: Draft,
    looks: list[ColumnProfile],
    gaps: list[str],
    notes: Sequence[str],
) -> str:
    left = [
        f"#   {seen.name}: {seen.reason}"
        for seen in looks
        if seen.kind == "left" and seen.name not in targets
    ]
    parts = [
        f"# A first spec for {path}, to start from. It predicts {', '.join(targets)}.",
        f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`.",
        *(f"# Note: {note}." for note in notes),
        *(["# Columns that are not read:", *left] if left else []),
        "",
        "inputs:",
        *made.inputs,
        "",
        *made.blocks,
        "nodes:  # each reads the node above it, unless it has `from`",
        *made.nodes,
        "",
        "outputs:",
        *made.outputs,
        "",
        "data:",
        f"  train: {train}",
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
