"""Notes on a table, beside its first spec: a header that is a row, a row that is a footer, words among
numbers, times that do not rise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphspec.data.columns import Writing, flat, is_text
from graphspec.data.mistakes import CLOCKS

WIDE = 3
"""Columns from which on a row with half of its cells tells something."""
COMPARED = 2**26
"""Bytes of rows that are compared with one another, at most."""
TOLD_APART = 0.9
"""The share of different rows that a column tells apart."""
SHOWN = 3
"""How many names or values a note shows."""


def headless(names: Sequence[str]) -> str | None:
    """The note about names of columns that are a row of numbers; None where they seem to be names.

    Numbers that count the columns are names.
    """
    numbers = [number for name in names if (number := _number(name)) is not None]
    counted = any(numbers == [float(first + n) for n in range(len(names))] for first in (0, 1))
    fractions = any(not number.is_integer() for number in numbers)
    if counted or not (fractions or len(numbers) == len(names)):
        return None
    share = "all names" if len(numbers) == len(names) else "some names"
    which = [name.strip() for name in names if _number(name) is not None]
    named = ", ".join(map(_quoted, which[:SHOWN])) + (", ..." if which[SHOWN:] else "")
    return (
        f"{share} of columns are numbers: {named}. The first line of the file is read as the header: "
        "if it is a row, write a line with names above it"
    )


def nameless(places: Sequence[int]) -> str | None:
    """The note about columns without a name, by their places."""
    if not places:
        return None
    which = ", ".join(map(str, places[:SHOWN])) + (", ..." if places[SHOWN:] else "")
    what = f"column {which} has no name" if len(places) == 1 else f"columns {which} have no names"
    return f"{what} in the first line of the file, and cannot be read: write one there if it is to be"


def last_row(rows: pa.Table) -> str | None:
    """The note about a last row that lacks more cells than any other, and at least half of them."""
    if rows.num_columns < WIDE or rows.num_rows < WIDE:
        return None
    texts = [column for column in rows.columns if is_text(column.type)]
    empty = [np.asarray(pc.equal(pc.fill_null(column, ""), "")) for column in texts]
    gone = np.sum([np.zeros(rows.num_rows), *empty], 0)
    if gone[-1] * 2 < rows.num_columns or gone[-1] <= gone[:-1].max():
        return None
    cells = [str(text)[:40] for text in rows.slice(rows.num_rows - 1).to_pylist()[0].values() if text]
    held = f"only {', '.join(map(_quoted, cells[:SHOWN]))}" if cells else "nothing"
    return f"the last row holds {held}: if it is a footer, remove it from the file"


def copies(rows: pa.Table) -> str | None:
    """The note about rows that repeat another one. None where rows may be alike by chance: no column tells
    nearly all of them apart, and there are not many more combinations of values than pairs of rows.
    """
    if rows.nbytes > COMPARED or any(isinstance(kind, pa.BaseExtensionType) for kind in rows.schema.types):
        return None  # pictures, and arrays as large
    codes = np.stack([_codes(flat(column)) for column in rows.columns], 1)
    unique, values = len(np.unique(codes, axis=0)), [int(most) + 1 for most in codes.max(0)]
    if max(values) < TOLD_APART * unique and math.prod(values) < len(codes) ** 2:
        return None
    repeated = len(codes) - unique
    if not repeated:
        return None
    verb = "row repeats" if repeated == 1 else "rows repeat"
    return (
        f"{repeated:,} {verb} another in every column: if they are the same case, leave one of each, "
        "as the model is measured on rows that it may have learned from"
    )


def _codes(column: pa.Array) -> NDArray[Any]:
    """The values of a column as numbers that differ where they do."""
    if pa.types.is_nested(column.type):
        column = pa.array([repr(value) for value in column.to_pylist()])
    codes: NDArray[Any] = np.asarray(column.dictionary_encode(null_encoding="encode").indices)
    return codes


def out_of_order(
    column: str, ticks: NDArray[Any], series: NDArray[np.int64], named: Sequence[str]
) -> str | None:
    """The note about times that do not rise from row to row of a series; None where they do. `named` are the
    columns that tell series apart.
    """

    def changes(order: NDArray[np.int64]) -> NDArray[Any]:
        found: NDArray[Any] = np.diff(ticks[order])[np.diff(series[order]) == 0]
        return found

    repeated = int((changes(np.lexsort((ticks, series))) == 0).sum())
    fallen = int((changes(np.argsort(series, kind="stable")) < 0).sum())
    if repeated:
        series_apart = "name what tells series apart: --series COLUMN; " + CLOCKS
        remedy = "leave one row of each time" if named else series_apart
        return f"times in `{column}` repeat in {_rows(repeated)} of the same series: {remedy}"
    if fallen:
        return f"times in `{column}` fall in {_rows(fallen)} of the same series: sort the file by it"
    return None


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def words_are_gaps(column: str, values: pa.Array, words: Sequence[str]) -> str:
    """The note about words of a column of numbers or dates that are read as missing values."""
    named = ", ".join(map(_quoted, words))
    verb = "are" if len(words) > 1 else "is"
    count = pc.sum(pc.is_in(values, pa.array(words, values.type))).as_py()
    return (
        f"{named} in `{column}` {verb} read as missing, in {count:,} of {len(values):,} rows: "
        "if a word is a value of its own, write another one in the file"
    )


def words_are_classes(column: str, words: Sequence[str], classes: int) -> str:
    """The note about words of a target of numbers or dates otherwise that are not read as missing values."""
    named = ", ".join(map(_quoted, words))
    return (
        f"{named} in `{column}`, as each of its other values, is one of {classes:,} classes: "
        "if a word means a missing value, leave its cells empty in the file"
    )


def thousands_in_doubt(column: str, values: pa.Array, writing: Writing) -> str | None:
    """The note about a mark that is read as one of thousands, which each number has once, as `48,137` has: so
    may a decimal mark be. None where the numbers, or their unit, say which it is.
    """
    mark = writing.thousands
    bare = mark is not None and replace(writing, decimal=None) == Writing(thousands=mark)
    texts = pc.unique(values.drop_null()).to_pylist() if bare else []
    if not texts or any(sum(map(text.count, ",.")) != 1 or mark not in text for text in texts):
        return None
    return (
        f"numbers such as {_quoted(texts[0])} in `{column}` are read with `{mark}` between thousands: "
        f"if it is the decimal mark, write `decimal: '{mark}'` instead of `thousands`"
    )


def _quoted(text: str) -> str:
    """A text for a message, and for a comment of a spec, which takes no control characters."""
    return f"`{text}`" if text.isprintable() else f"`{ascii(text)[1:-1]}`"


def _number(name: str) -> float | None:
    """The number that a name is."""
    try:
        return float(name) if re.fullmatch(r"\s*[+-]?[\d.]+(e[+-]?\d+)?\s*", name, re.I) else None
    except ValueError:
        return None
