"""A first spec for a table or a folder of images: inputs, encoders, a network and outputs that the columns
suggest, with reasons.

It is text to go on from, written once; nothing of it is guessed again when the spec is trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from graphspec.data.columns import flat, is_text
from graphspec.data.drafting import texts
from graphspec.data.drafting.box_sources import box_data, box_table
from graphspec.data.drafting.boxes import draft_boxes
from graphspec.data.drafting.dialect import dialect
from graphspec.data.drafting.forecasts import forecast
from graphspec.data.drafting.images import BLOCK
from graphspec.data.drafting.inputs import add_inputs, set_feature
from graphspec.data.drafting.leakage import about_targets
from graphspec.data.drafting.looks import (
    CLASSES,
    GAPS,
    ColumnProfile,
    alone,
    cast,
    gaps_of,
    profile,
    spoken_gaps,
    without,
    words_of,
)
from graphspec.data.drafting.masks import draft_masks, of_columns, of_folders
from graphspec.data.drafting.notes import (
    copies,
    headless,
    last_row,
    nameless,
    thousands_in_doubt,
    words_are_classes,
    words_are_gaps,
)
from graphspec.data.drafting.parts import Draft, training
from graphspec.data.drafting.rhythm import Ask
from graphspec.data.drafting.samples import SampledRows, first, spread, whole
from graphspec.data.drafting.towers import Interactions, draft_towers, interactions
from graphspec.data.drafting.words import flow, on_a_line
from graphspec.data.files import DataFile
from graphspec.data.folders import Found, find
from graphspec.data.lookalikes import EXPONENT
from graphspec.data.rows.tokenizers import library as tokenizers
from graphspec.data.tables import Table, open_table
from graphspec.diagnostics import SpecError, fail, hidden_in

DATES = 20
"""Different dates from which on rows are in the order of time."""
RARE = 20
"""Rows of a class up to which training may have none of them, when some are held out."""
MOST_NAMED = 100
"""Classes that are named one by one, at most."""
STEPS = 200
"""Steps without a better validation after which a training ends, at least."""
DECAY = 1.0
"""The weight decay of networks for columns, which learn few rows by heart with less."""
CURVED_ROWS = 1_000
"""Numbers go through curves from this many rows on, as fewer rows do not tell curves from chance."""
DENSE = """\
  dense:
    params: {units: required, rate: 0.3}
    inputs: [x]
    nodes:
      linear: {layer: Dense, units: $units}
      norm:   {layer: LayerNormalization}
      act:    {layer: Activation, activation: relu}
      drop:   {layer: Dropout, rate: $rate}
"""
"""The block that tables go through, twice."""
UNSEEN = "its name holds an invisible character, which no spec may hold"


def draft(
    name: str,
    data: Path,
    targets: Sequence[str],
    folder: Path,
    tell: Callable[[str], None] = lambda note: None,
    ask: Ask | None = None,
) -> str:
    """The text of a spec in `folder` that learns the columns `targets` of the table at `data`, the classes of
    a folder of images, or the masks in a folder beside it; with `ask`, that forecasts them. `tell` is told
    what the table seems to mean and does not say, which the spec notes.

    Raises `SpecError`: data-outside, data-column, data-empty, package-missing, and what reading gives.
    """
    pairs = of_folders(data, targets[0]) if len(targets) == 1 else None
    path = os.path.relpath(data if pairs is None else pairs[0], folder)
    if path.startswith(".."):
        message = f"`{data}` lies outside the directory of the spec"
        raise fail("data-outside", message, "write the spec next to it")
    if pairs is not None:
        return draft_masks(name, pairs[1], path, flow(path))
    if not targets and (found := box_data(data, folder)) is not None:
        return draft_boxes(name, path, found)
    source = find(data)
    options = dialect(source)
    if source.kind == "texts":
        return _of_text(name, path, targets, source, options, tell)
    table = open_table(source, DataFile.model_validate({"path": str(data), **options}))
    train = _file(path, options)
    if not targets and (found := box_table(table, train)) is not None:
        return draft_boxes(name, path, found)
    if not targets and ask is None and (pairs_of := _pairs(source, table)) is not None:
        return draft_towers(name, path, train, pairs_of)
    return _of_columns(name, path, train, targets, source, table, ask, tell)


def _of_columns(
    name: str,
    path: str,
    train: str,
    targets: Sequence[str],
    source: Found,
    table: Table,
    ask: Ask | None,
    tell: Callable[[str], None],
) -> str:
    """The spec that learns columns of a table from its others; with `ask`, that forecasts them."""
    targets = list(dict.fromkeys(targets)) or _classes(source, table)
    for target in targets:
        _need_target(source, table, target)
    sample = _examples(source, table)
    rows, hidden = _legible(sample.rows, targets)
    columns, looks, gaps, spoken = _looks(rows, table, targets, sample.step)
    notes = [f"column `{ascii(name)[1:-1]}` is not read: {UNSEEN}" for name in hidden]
    notes += [
        note for note in (*_about_file(source, table, sample), copies(rows) if ask is None else None) if note
    ]
    notes += [words_are_gaps(each, flat(rows.column(each)), found) for each, found in spoken.items()]
    notes += _about_columns(looks, columns, targets)
    notes += about_targets(looks, columns, targets) if ask is None else []
    for note in (*notes, *_lacking(looks)):
        tell(note)
    if ask is not None:
        rows = _legible(first(table), targets)[0]  # in the order of time, with nothing left out
    written = {column: without(flat(rows.column(column)), gaps) for column in columns}
    if ask is not None:
        return forecast(name, path, train, targets, written, looks, gaps, ask, table, tell)
    if any(seen.images is not None for seen in looks if seen.name in targets):
        return draft_masks(name, of_columns(looks, columns, targets[0], table.root), path, train)
    spec_draft = _columns_draft(looks, targets, sample.count)
    if not spec_draft.codes:
        why = [f"`{seen.name}`: {seen.reason}" for seen in looks if seen.name not in targets][:20]
        message = f"`{source.path}` has no column for an input besides the targets"
        raise fail("data-column", message, "add one whose values differ from row to row, and repeat", *why)
    _body(spec_draft)
    for target in targets:
        seen = next(seen for seen in looks if seen.name == target)
        found = columns[target], written[target]
        if sample.step > 1 and seen.writing is None and (seen.kind == "category" or seen.distinct <= CLASSES):
            values = without(flat(table.read([target]).column(target)), gaps)  # for no class is left out
            seen, found = profile(target, values, table.root, table.decimal, asked=True), (values, values)
        _output(spec_draft, seen, *found)
    return _text(name, path, train, targets, spec_draft, looks, gaps, notes, sample.count)


def _columns_draft(looks: Sequence[ColumnProfile], targets: Sequence[str], rows: int) -> Draft:
    """The inputs of columns that are no targets."""
    inputs = [seen for seen in looks if seen.name not in targets]
    spec_draft = Draft(gaps=any(seen.missing and seen.kind != "left" for seen in inputs))
    spec_draft.curves = rows >= CURVED_ROWS
    add_inputs(spec_draft, inputs)
    return spec_draft


def _of_text(
    name: str,
    path: str,
    targets: Sequence[str],
    source: Found,
    options: Mapping[str, str],
    tell: Callable[[str], None],
) -> str:
    """The spec that learns what comes next in texts."""
    if targets:
        message = f"`{source.path}` is a text, in which a model learns what comes next"
        raise fail("data-column", message, "leave `--target` out; a table of text ends in .csv or .tsv")
    return texts.draft(name, path, _file(path, options), source, options.get("encoding", "utf-8"), tell)


def _examples(source: Found, table: Table) -> SampledRows:
    """The rows that are looked at."""
    sample = whole(table) if source.kind == "images" else spread(table)
    if not sample.count:
        raise fail("data-empty", f"`{source.path}` holds no examples")
    if source.kind == "images":  # `file` is `image`, too
        sample = replace(sample, rows=sample.rows.drop_columns("file"))
    return sample


def _legible(rows: pa.Table, targets: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """The rows without the columns whose names no spec may hold, and these names."""
    hidden = [name for name in rows.column_names if any(hidden_in(name))]
    for target in {*hidden} & {*targets}:
        raise fail("data-column", f"column {target!a} cannot be a target: {UNSEEN}", "rename it")
    return rows.drop_columns(hidden), hidden


def _pairs(source: Found, table: Table) -> Interactions | None:
    """The two columns of a table that says who has what."""
    return interactions(table, first(table)) if source.kind != "images" else None


def _file(path: str, options: Mapping[str, str]) -> str:
    """A file as `train` names it."""
    if not options:
        return flow(path)
    return f"{{path: {flow(path)}, {', '.join(f'{key}: {flow(value)}' for key, value in options.items())}}}"


def _need_target(source: Found, table: Table, target: str) -> None:
    """Refuses a target that is no column."""
    if target in table.columns:
        return
    if not target.strip():
        help = "name a column: `--target COLUMN`"
        if table.unnamed:
            help = f"write one in the first line of the file above column {table.unnamed[0]}, and {help}"
        raise fail("data-column", "a target is a column with a name", help)
    several = [part.strip() for part in target.split(",")]
    if len(several) > 1 and {*several} <= table.columns.keys():
        words = " ".join(f"--target {each}" for each in several)
        message = f"`{table.file}` has no column `{target}`"
        raise fail("data-column", message, f"each target has its option: `{words}`")
    if source.kind == "images" and target != "label":
        message = f"neither in `{source.path}` nor next to it is a folder `{target}` of masks"
        raise fail("data-column", message, "name that folder, or give a table that names both files")
    raise table.lacks(target, None, "It is to be a target")


def _looks(
    rows: pa.Table, table: Table, targets: Sequence[str], step: int
) -> tuple[dict[str, pa.Array], list[ColumnProfile], list[str], dict[str, list[str]]]:
    """The columns without gaps and with decimal points, what each holds, the texts that are gaps, and those
    of them that are words among numbers, by column.
    """
    columns = {column: flat(rows.column(column)) for column in rows.column_names}
    spoken = spoken_gaps(columns, targets)
    words = sorted(set().union(*spoken.values()))
    columns = {column: without(values, words) for column, values in columns.items()}
    marks = {column: _decimal_of(values, table) for column, values in columns.items()}
    columns = {column: _pointed(values, marks[column]) for column, values in columns.items()}
    gaps = sorted({gap for column in columns.values() for gap in gaps_of(column)}.union(words))
    columns = {column: without(values, gaps) for column, values in columns.items()}
    looks = [
        profile(column, values, table.root, table.decimal, column in targets, step)
        for column, values in columns.items()
    ]
    if all(each.kind == "left" or each.name in targets for each in looks):
        looks = [
            each if each.name in targets else alone(each, columns[each.name], table.root, table.decimal)
            for each in looks
        ]
    looks = [each.marked(marks[each.name]) if marks[each.name] != table.decimal else each for each in looks]
    return columns, looks, gaps, spoken


def _classes(source: Found, table: Table) -> list[str]:
    """The target where none is named: the classes of a folder of images."""
    if source.labels is not None:
        return ["label"]
    if source.kind == "images":
        message = f"`{source.path}` holds images, and no classes of them"
        help = "make a folder for each class, or name a table with the files in one column: `--data FILE`"
        raise fail("data-column", message, help)
    names = ", ".join(f"`{name}`" for name in list(table.columns)[:20])
    message = f"`{source.path}` is a table, and no column of it is named as the target"
    raise fail("data-column", message, "name it: `--target COLUMN`", f"it has {names}")


def _about_file(source: Found, table: Table, sample: SampledRows) -> list[str | None]:
    """The notes about the first and the last line of a file."""
    if source.kind != "delimited":
        return []
    return [
        headless(sample.rows.column_names),
        nameless(table.unnamed),
        last_row(sample.rows) if sample.step == 1 else None,
    ]


def _about_columns(
    looks: Sequence[ColumnProfile], columns: Mapping[str, pa.Array], targets: Sequence[str]
) -> list[str]:
    """The notes about what texts of columns may mean besides."""
    notes: list[str | None] = []
    for seen in looks:
        if seen.name in targets and (words := sorted(words_of(columns[seen.name], 1.0))):
            notes.append(words_are_classes(seen.name, words, seen.distinct))
        if seen.writing is not None:
            notes.append(thousands_in_doubt(seen.name, columns[seen.name], seen.writing))
    return [note for note in notes if note]


def _lacking(looks: Sequence[ColumnProfile]) -> list[str]:
    """The note about what training lacks here. It is of this machine, and no comment of the spec."""
    if all(seen.kind not in ("text", "letters") for seen in looks):
        return []
    try:
        tokenizers()
    except SpecError as error:
        return [f"{each.message}: {each.help}" for each in error.diagnostics]
    return []


def _decimal_of(column: pa.Array, table: Table) -> str:
    """The decimal mark of a column of texts: that of the table, or the other one where all cells but gaps are
    numbers that have it, and more of them than names of kinds.
    """
    if not is_text(column.type):
        return table.decimal
    there = without(column, GAPS).drop_null()
    other, point = (",", ",") if table.decimal == "." else (".", r"\.")
    form = rf"^\s*[+-]?(\d*{point}\d+|\d+){EXPONENT}\s*$"
    grouped = rf"^\s*[+-]?([1-9]\d{{0,2}}({point}\d{{3}})+|\d+)\s*$"
    if (
        pc.count_distinct(there).as_py() <= CLASSES
        or not pc.all(pc.match_substring_regex(there, form)).as_py()
    ):
        return table.decimal
    return table.decimal if pc.all(pc.match_substring_regex(there, grouped)).as_py() else other


def _pointed(column: pa.Array, decimal: str) -> pa.Array:
    """A column of texts with points in its numbers where it has decimal commas; one whose numbers have more
    than that stays.
    """
    if not is_text(column.type) or decimal == ".":
        return column
    number = rf"^(\s*[+-]?\d*),(\d+{EXPONENT}\s*)$"
    with_points = pc.replace_substring_regex(column, number, r"\1.\2")
    changed = pc.any(pc.not_equal(with_points, column)).as_py()
    more = pc.match_substring_regex(with_points, r"\d.*,|,.*\d")
    grouped = pc.match_substring_regex(column, r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$")
    return with_points if changed and not pc.any(pc.or_(more, grouped)).as_py() else column


# --- the parts


def _body(spec_draft: Draft) -> None:
    source = f"from: {spec_draft.codes[0]}, " if len(spec_draft.codes) == 1 else ""
    if len(spec_draft.codes) > 1:
        spec_draft.nodes.append(f"  all: {{merge: concatenate, from: [{', '.join(spec_draft.codes)}]}}")
    if BLOCK in spec_draft.blocks:  # pictures, whose stages are normalized
        spec_draft.nodes += [
            f"  hidden: {{layer: Dense, {source}units: 128, activation: relu, repeat: 2}}",
            "  drop: {layer: Dropout, rate: 0.2}",
        ]
        return
    spec_draft.blocks.append(DENSE)
    spec_draft.body = "hidden"
    spec_draft.nodes += [f"  hidden: {{block: dense, {source}units: 256, repeat: 2}}"]


def _output(spec_draft: Draft, seen: ColumnProfile, values: pa.Array, written: pa.Array) -> None:
    """The output for a column, of its values and of these as the file has them."""
    name, column = spec_draft.name(seen.name, "target"), f"column: {flow(seen.name)}, "
    while any(line.startswith(f"  {name}: ") for line in (*spec_draft.nodes, *spec_draft.inputs)):
        name += "_"
    ignore = ", missing: ignore" if seen.missing else ""
    is_class = seen.kind == "number" and seen.writing is None and seen.distinct <= CLASSES and _whole(values)
    if seen.kind == "number" and not is_class:
        spec_draft.nodes.append(f"  {name}: {{layer: Dense, from: {spec_draft.body}, units: 1}}")
        spec_draft.outputs.append(f"  {name}: {{loss: mse, metrics: [mae]{ignore}}}")
        spec_draft.features.append(
            f"    {name}: {{{column}encode: number{seen.keys()}, scale: standard}}"
            "  # metrics are in its own units"
        )
        return
    if seen.kind == "set":
        none = seen.missing > 0 and seen.separator is not None
        ignore = "" if none else ignore
        spec_draft.nodes.append(
            f"  {name}: {{layer: Dense, from: {spec_draft.body}, units: {seen.width}, activation: sigmoid}}"
        )
        spec_draft.outputs.append(
            f"  {name}: {{loss: binary_crossentropy, metrics: [binary_accuracy]{ignore}}}"
        )
        if none:
            spec_draft.features.append(
                f"    # {seen.missing:,} empty cells have no value of it; without `fill`, "
                "`missing: ignore` at the output leaves them out"
            )
        spec_draft.features += set_feature(name, seen, ', fill: ""' if none else "")
        return
    if seen.kind == "vector":
        spec_draft.nodes.append(f"  {name}: {{layer: Dense, from: {spec_draft.body}, units: {seen.width}}}")
        spec_draft.outputs.append(f"  {name}: {{loss: mse, metrics: [mae]{ignore}}}")
        return
    bytes_ = pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)
    classes = seen.kind in ("number", "category", "text", "left") and not pa.types.is_nested(values.type)
    if not classes or seen.distinct < 2 or bytes_:
        raise fail("data-column", f"column `{seen.name}` cannot be a target: {seen.reason}", "name another")
    count = seen.distinct
    if seen.kind != "number" and CLASSES < count == len(values) - values.null_count:
        message = f"column `{seen.name}` cannot be a target: it has another value in each row"
        raise fail("data-column", message, "name one whose values repeat")
    spec_draft.nodes.append(
        f"  {name}: {{layer: Dense, from: {spec_draft.body}, units: {count}, activation: softmax}}"
    )
    spec_draft.outputs.append(
        f"  {name}: {{loss: sparse_categorical_crossentropy, metrics: [accuracy]{ignore}}}"
    )
    spec_draft.features.append(f"    {name}: {{{column}encode: category{_rare(written)}}}  # {count} classes")


def _rare(column: pa.Array) -> str:
    """The key that names all classes, where there is one of which training may have no row."""
    there = column.drop_null()
    texts = there if is_text(there.type) else there.cast(pa.string())
    counts = {each["values"]: each["counts"] for each in pc.value_counts(texts).to_pylist()}
    if min(counts.values()) >= RARE or len(counts) > MOST_NAMED or any(any(hidden_in(v)) for v in counts):
        return ""
    are_numbers = cast(pa.array(list(counts)), pa.float64()) is not None
    return f", values: {flow(sorted(counts, key=float if are_numbers else None))}"


def _whole(column: pa.Array) -> bool:
    there = column.drop_null()
    if is_text(there.type):
        there = pc.utf8_trim_whitespace(there)
    values = there.cast(pa.float64(), safe=False)
    return bool(pc.all(pc.equal(values, pc.floor(values))).as_py())


def _text(
    name: str,
    path: str,
    train: str,
    targets: Sequence[str],
    spec_draft: Draft,
    looks: list[ColumnProfile],
    gaps: list[str],
    notes: Sequence[str],
    rows: int,
) -> str:
    keys = [seen.name for seen in looks if seen.key and seen.name not in targets]
    left = [
        f"#   {on_a_line(seen.name)}: {seen.reason}"
        for seen in looks
        if seen.kind == "left" and seen.name not in targets
    ]
    parts = [
        f"# A first spec for {path}, to start from. It predicts {', '.join(map(on_a_line, targets))}.",
        f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`.",
        *(f"# Note: {note}." for note in notes),
        *(["# Columns that are not read:", *left] if left else []),
        "",
        *spec_draft.graph(),
        "data:",
        f"  train: {train}",
        f"  validation: {_validation(looks, targets)}",
        *([f"  key: {flow(keys[0])}  # says which row is which: predictions have it"] if keys else []),
        *([f"  na_values: {flow(['', *gaps])}  # texts that mean a missing value"] if gaps else []),
        "  features:",
        *spec_draft.features,
        "",
        *_training(rows, BLOCK in spec_draft.blocks),
    ]
    return "\n".join(parts) + "\n"


def _validation(looks: Sequence[ColumnProfile], targets: Sequence[str]) -> str:
    """How the rows are divided, with the reason."""
    dates = [seen for seen in looks if seen.kind == "date" and not seen.missing and seen.name not in targets]
    dates = [seen for seen in dates if seen.distinct >= DATES]
    if not dates:
        return "{split: 0.2}  # a random fifth of the rows measures the model on unseen rows"
    time = flow(max(dates, key=lambda seen: seen.rank).name)
    return f"{{split: 0.2, last_by: {time}}}  # rows have dates: the model is measured on the last fifth"


def _training(rows: int, pictures: bool) -> list[str]:
    sizes = (16, 32, 64, 128) if pictures else (32, 64, 128, 256)
    batch = next(size for most, size in zip((500, 3_000, 20_000, 10**12), sizes, strict=True) if rows <= most)
    steps = -(-rows * 4 // (5 * batch))
    patience = max(12 if pictures else 20, -(-STEPS // steps))
    return training(0.002, 200, batch, patience, patience // 2, decay=0.01 if pictures else DECAY)
