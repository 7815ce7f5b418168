"""Which rows are for training and which for validation.

Whatever the format of a file, its rows fall into the same parts: a choice depends on the seed, the number of
rows, and the positions of equal values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from graphspec.data.batches import SPLIT, generator, held_out
from graphspec.data.columns import TablePart, dates, is_text, kind_in_words, missing_in, numbers, texts
from graphspec.data.features.settings import Date, text_of
from graphspec.data.files import Marked, Split
from graphspec.data.mistakes import shown
from graphspec.data.tables import Table
from graphspec.diagnostics import SpecError, fail

Rows = NDArray[np.int64]
LOOKED_AT, DATES = 4096, 20
"""Rows that are looked at for an order in time, and how often their date must change."""
ISO = re.compile(r"\d{4}-\d\d-\d\d")
TRAINING, VALIDATION, TEST = 0, 1, 2
WORDS = {
    "train": TRAINING,
    "training": TRAINING,
    "0": TRAINING,
    "false": TRAINING,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "1": VALIDATION,
    "true": VALIDATION,
    "test": TEST,
    "2": TEST,
}
"""The values of a column of parts, in small or capital letters."""


def of_array(source: Any, name: str, rows: int) -> TablePart:
    """The first `rows` rows of an array of one value a row, as a column. Raises `SpecError`: data-shape."""
    array = source.read(name)[:rows]
    if array.ndim != 1 or array.dtype.kind not in "biufU":
        shape = ", ".join(map(str, array.shape))
        raise fail(
            "data-shape",
            f"the array that defines the split holds {array.dtype} of shape [{shape}]",
            "give one value for each row",
        )
    table = pa.table({name: pa.array(array)})
    return TablePart(table, np.arange(len(array)), source.file, source.place, span=source.span)


def by_split(
    division: Split, whole: TablePart | None, count: int, seed: int, format: str | None = None
) -> Any:
    """For each of `count` rows its part, uint8. `whole` has the column that the split names, of all rows, if
    it names one; `format` is that of the column's dates, where they are not of ISO 8601.

    Raises `SpecError`: data-gap, data-dtype, data-empty.
    """
    parts = np.zeros(count, np.uint8)
    seed = seed if division.seed is None else division.seed
    if division.fold is not None:
        parts[_fold(division, whole, count, seed)] = VALIDATION
        return parts
    if whole is None:
        parts[held_out(count, division.split, seed).numpy()] = VALIDATION
        return parts
    wanted = count - int(count * (1 - division.split))
    if division.last_by is not None:
        held = _order(division.last_by, whole, format)[count - wanted :]
    elif division.group is not None:
        _no_gap(division.group, whole, "group")
        ids, groups = _ids(division.group, whole)
        held = _whole_groups(ids, groups, wanted, seed)
        if not len(held):
            raise _undivided(division, np.bincount(ids, minlength=groups))
    else:
        assert division.stratify is not None
        held = _shares(*_ids(division.stratify, whole), division.split, wanted, seed)
    parts[held] = VALIDATION
    return parts


def _fold(division: Split, whole: TablePart | None, count: int, seed: int) -> Rows:
    """The rows of one fold. Each row is in one; each value has the same share in all, or lies in one."""
    named, folds = division.divider, division.folds
    ids, groups = np.zeros(count, np.int64), 1
    if named is not None:
        assert whole is not None
        if named[0] == "group":
            _no_gap(named[1], whole, "group")
        ids, groups = _ids(named[1], whole)
    draw = generator(seed, SPLIT)
    if named is None or named[0] == "stratify":
        return _by_value(ids, draw)[division.fold :: folds]
    sizes, filled = np.bincount(ids, minlength=groups), np.zeros(folds, np.int64)
    if groups < folds:
        what = f"{folds} folds of whole groups need as many: column `{division.group}` has {groups:,} values"
        raise fail("data-empty", what, "write a larger `split`, or name a column with more values")
    fold_of = np.empty(groups, np.int64)
    drawn = torch.randperm(groups, generator=draw).numpy()
    for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return np.flatnonzero(fold_of[ids] == division.fold)


def _by_value(ids: Rows, draw: torch.Generator) -> Rows:
    """The rows by their values, those of one in an order drawn at random."""
    drawn = torch.randperm(len(ids), generator=draw).numpy()
    order: Rows = drawn[np.argsort(ids[drawn], kind="stable")]
    return order


def by_column(division: Marked, whole: TablePart) -> Any:
    """For each row the part that it names, uint8. Raises `SpecError`: data-gap, data-range, data-dtype."""
    _no_gap(division.column, whole, "part")
    column = texts(whole, division.column)
    if division.values is not None:
        return _held(division, column)
    index = pc.index_in(pc.utf8_lower(column), pa.array(list(WORDS), column.type))
    if index.null_count:
        row = int(missing_in(index).argmax())
        message = f"{shown(column[row].as_py())} names no part of the data"
        help = "write train, validation or test (or 0, 1, 2); or name its values that are for validation: "
        help += f"`{{column: {division.column}, values: [{shown(column[row].as_py())}]}}`"
        raise whole.fail("data-range", division.column, row, message, help)
    return np.array(list(WORDS.values()), np.uint8)[np.asarray(index)]


def _held(division: Marked, column: pa.Array) -> Any:
    """For each row its part: rows with one of the values are for validation."""
    wanted = pa.array([text_of(value) for value in division.values or ()], column.type)
    lacking = wanted.filter(pc.invert(pc.is_in(wanted, column)))
    if len(lacking):
        there = ", ".join(shown(value) for value in pc.unique(column)[:20].to_pylist())
        message = f"no row has {shown(lacking[0].as_py())} in column `{division.column}`"
        raise fail("data-range", message, f"it has {there}")
    return np.where(np.asarray(pc.is_in(column, wanted)), VALIDATION, TRAINING).astype(np.uint8)


def _ids(name: str, whole: TablePart) -> tuple[Rows, int]:
    """For each row the number of its value, counted as they appear, and how many there are; null is one."""
    column = whole.column(name)
    if pa.types.is_nested(column.type):
        raise whole.fail("data-dtype", name, 0, f"it holds {kind_in_words(column.type)}, not single values")
    encoded = column.dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices, np.int64), len(encoded.dictionary)


def _whole_groups(ids: Rows, groups: int, wanted: int, seed: int) -> Rows:
    """Groups in an order drawn at random, until there are about as many rows as wanted."""
    sizes = np.bincount(ids, minlength=groups)
    held: list[int] = []
    total = 0
    for group in torch.randperm(groups, generator=generator(seed, SPLIT)).tolist():
        if abs(total + sizes[group] - wanted) <= abs(total - wanted) and len(held) < groups - 1:
            held.append(group)
            total += sizes[group]
    return np.flatnonzero(np.isin(ids, held))


def _undivided(division: Split, sizes: Rows) -> SpecError:
    """The error of groups, with so many rows each, of which none is small enough for validation."""
    count, least = int(sizes.sum()), int(sizes.min())
    if len(sizes) == 1:
        what = f"all {count:,} rows have one value in column `{division.group}`, and a group is not divided"
        return fail("data-empty", what, "name a column with several values, or leave `group` out")
    what = (
        f"`split: {division.split:g}` of whole groups leaves validation empty: column `{division.group}` has "
        f"{len(sizes):,} values, and the rarest has {least:,} of {count:,} rows"
    )
    help = f"write `split: {math.ceil(100 * least / count) / 100:g}`, or name a column with more values"
    return fail("data-empty", what, help)


def _shares(ids: Rows, groups: int, fraction: float, wanted: int, seed: int) -> Rows:
    """Of the rows of each value the same share, `wanted` in all; one row at least stays for training."""
    sizes = np.bincount(ids, minlength=groups)
    exact = sizes * fraction
    counts = np.floor(exact).astype(np.int64)
    for group in np.argsort(counts - exact, kind="stable"):
        if counts.sum() >= wanted:
            break
        counts[group] += counts[group] < sizes[group] - 1
    order = _by_value(ids, generator(seed, SPLIT))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.concatenate([order[s : s + c] for s, c in zip(starts, counts, strict=True)])


def _order(name: str, whole: TablePart, format: str | None) -> Rows:
    """The rows in the order of a column of numbers or dates; equal ones in that of the file."""
    _no_gap(name, whole, "place in the order")
    column = _comparable(name, whole, format)
    order = pc.sort_indices(
        pa.table({"by": column, "row": np.arange(len(column))}), [("by", "ascending"), ("row", "ascending")]
    )
    return np.asarray(order, np.int64)


def _comparable(name: str, whole: TablePart, format: str | None) -> pa.Array:
    """A column as what can be ordered: text as the numbers or the dates that it says."""
    column = whole.column(name)
    if pa.types.is_nested(column.type):
        what = f"it holds {kind_in_words(column.type)}, not numbers or dates"
        raise whole.fail("data-dtype", name, 0, what)
    if not is_text(column.type):
        return column
    if format is not None:
        return pa.array(dates(whole, name, format)[0])
    try:
        return column.cast(pa.int64())  # exact, where floats are not
    except pa.ArrowInvalid:
        pass
    if _says_number(column[0].as_py(), whole.decimal):
        return pa.array(numbers(whole, name))
    try:
        return pa.array(dates(whole, name, None)[0])
    except SpecError as error:
        help = (
            "write dates as 2024-12-31, or 2024-12-31T23:59:59; those of a feature with `encode: date` are "
            "read in its `format`"
        )
        raise SpecError(replace(diagnostic, help=help) for diagnostic in error.diagnostics) from None


def _says_number(text: str, decimal: str) -> bool:
    try:
        float(text.replace(decimal, "."))
    except ValueError:
        return False
    return True


def _no_gap(name: str, whole: TablePart, what: str) -> None:
    missing = missing_in(whole.column(name))
    if missing.any():
        more = f", and {missing.sum() - 1} more rows" if missing.sum() > 1 else ""
        message = f"this cell is missing, but it gives the row its {what}{more}"
        help = "fill it: every row belongs to one part"
        raise whole.fail("data-gap", name, int(missing.argmax()), message, help)


def dated(table: Table, features: Mapping[str, Any]) -> str | None:
    """A column of dates that the rows of a table follow, as far as its first ones tell; None where there is
    none. Few different dates are no order.
    """
    formats = {
        name: feature.format
        for field, feature in features.items()
        if isinstance(feature, Date)
        for name in feature.read(field)
    }
    names = [name for name, kind in table.columns.items() if pa.types.is_temporal(kind) or is_text(kind)]
    _, part = next(table.chunks(names), (0, None)) if names else (0, None)
    if part is None:
        return None
    for name in names:
        column = part.column(name).slice(0, LOOKED_AT).combine_chunks()
        first = next((value for value in column.slice(0, 1).to_pylist()), None)
        if name not in formats and isinstance(first, str) and not ISO.match(first):
            continue
        try:
            column_part = TablePart(pa.table({name: column}), np.arange(len(column)), table.file, table.place)
            ticks, missing = dates(column_part, name, formats.get(name))
        except SpecError:  # no dates
            continue
        steps = np.diff(ticks[~missing])
        if np.count_nonzero(steps) >= DATES and ((steps >= 0).all() or (steps <= 0).all()):
            return name
    return None
