"""Columns of a table as numbers, texts, dates and lists: one value means one thing in every format.

A text format gives text for everything, JSON lines and Parquet give types; missing values are null in all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphspec.data.lookalikes import GAPS, number_remedy
from graphspec.data.mistakes import nowhere, row_in_words, shown
from graphspec.data.ragged import offsets_of
from graphspec.data.rows.numbers import Numbers
from graphspec.data.rows.values import ticks_of
from graphspec.diagnostics import Span, SpecError, fail

Mask = NDArray[np.bool_]
SOME_DAY = datetime(2024, 12, 31, 23, 59, 58)
BESIDE = 1000
"""Cells of a column that tell what a text among numbers means."""


@dataclass(frozen=True, slots=True)
class TablePart:
    """Some rows of a table. `rows` are their numbers in the file, and `place` puts such a number in words.

    Another process gets them without `place` and `span`, which read the file, and without other rows.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    file: str
    place: Callable[[int], str]
    decimal: str = "."
    root: Path = Path()
    """The directory to which paths in its columns are relative."""
    span: Callable[[int, str], Span | None] = nowhere
    """Where a cell stands in a file, by such a number and the column."""
    predicted: bool = False
    """Whether a trained run reads the rows: then a remedy says what to give, and not what a spec needs."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _sent, (ipc_of(self.table), self.rows, self.file, self.decimal, self.root, self.predicted)

    def column(self, name: str) -> pa.Array:
        return flat(self.table.column(name))

    def where(self, name: str, index: int) -> str:
        """A cell, in words; `index` counts within the part."""
        return f"column `{name}` of `{self.file}`, {self.place(int(self.rows[index]))}"

    def fail(
        self, code: str, name: str, index: int, what: str, help: str | None = None, give: str | None = None
    ) -> SpecError:
        """The error of a cell. `help` is the remedy, and `give` that of who has rows to predict, where the
        first one changes the spec.
        """
        help = give if self.predicted and give is not None else help
        span = self.span(int(self.rows[index]), name)
        return fail(code, f"{self.where(name, index)}: {what}", help, span=span)


def _sent(
    content: pa.Buffer, rows: NDArray[np.int64], file: str, decimal: str, root: Path, predicted: bool
) -> TablePart:
    table = pa.ipc.open_stream(content).read_all()
    return TablePart(table, rows, file, row_in_words, decimal, root, nowhere, predicted)


def ipc_of(table: pa.Table) -> pa.Buffer:
    """A table as a stream of Arrow, whose bytes depend on its rows alone."""
    sink, plain = pa.BufferOutputStream(), table.combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return sink.getvalue()


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def missing_in(column: pa.Array) -> Mask:
    """Where a column holds no value."""
    return np.asarray(column.is_null(nan_is_null=pa.types.is_floating(column.type)))


# --- numbers


@dataclass(frozen=True, slots=True)
class Writing:
    """How texts write numbers: the prefix, the suffix, the separator of thousands, and the decimal mark if it
    differs from the table's.
    """

    prefix: str | None = None
    unit: str | None = None
    thousands: str | None = None
    decimal: str | None = None

    def bare(self, texts: pa.Array) -> pa.Array:
        """The texts without the first three; a text without them stays."""
        if self.prefix is not None:
            pattern = rf"^([+-]?)\s*{re.escape(self.prefix)}\s*"
            texts = pc.replace_substring_regex(texts, pattern, r"\1")
        if self.unit is not None:
            texts = pc.replace_substring_regex(texts, rf"([\d.,])\s*{re.escape(self.unit)}$", r"\1")
        if self.thousands is not None:
            mark = re.escape(self.thousands)
            grouped = pc.match_substring_regex(texts, rf"^[+-]?\d{{1,3}}({mark}\d{{3}})+([.,]\d+)?$")
            bare = pc.replace_substring(texts, self.thousands, "")
            texts = pc.if_else(pc.fill_null(grouped, False), bare, texts)
        return texts

    def plain(self, texts: pa.Array, decimal: str = ".") -> pa.Array:
        """The texts as plain numbers, with a point; `decimal` is the mark of their table. A text with a point
        that is not the mark is no number.
        """
        texts = self.bare(pc.utf8_trim_whitespace(texts))
        decimal = self.decimal or decimal
        if decimal != ".":
            point = pc.and_kleene(pc.match_substring(texts, "."), pc.is_valid(texts))
            texts = pc.if_else(point, "?", pc.replace_substring(texts, decimal, "."))
        return texts


PLAIN = Writing()


def numbers(part: TablePart, name: str, writing: Writing = PLAIN) -> Numbers:
    """A column as float64, each value the nearest to its text; NaN if missing. Raises `SpecError`.

    true and false are 1 and 0.
    """
    return numbers_of(part, name, part.column(name), writing=writing)


def numbers_of(
    part: TablePart,
    name: str,
    column: pa.Array,
    row: Callable[[int], int] = int,
    writing: Writing = PLAIN,
) -> Numbers:
    """As `numbers`, of values that came from a column; `row` is the row of a value."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if is_text(kind):
        floats = _parsed(part, name, column, row, writing)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        floats = column.cast(pa.float64(), safe=False)
    elif pa.types.is_decimal(kind):
        floats = _parsed(part, name, column.cast(pa.string()), row)
    else:
        raise part.fail(
            "data-dtype",
            name,
            row(0),
            f"it holds {kind_in_words(kind)}, not numbers",
            _help_of(kind, name),
            "give a number",
        )
    values: NDArray[np.float64] = floats.to_numpy(zero_copy_only=False).astype(np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        index = int(infinite.argmax())
        what = f"{shown(column[index].as_py())} is not a finite number"
        raise part.fail(
            "data-nonfinite", name, row(index), what, "remove or fill such values", "give a finite number"
        )
    return values


def _parsed(
    part: TablePart,
    name: str,
    column: pa.Array,
    row: Callable[[int], int],
    writing: Writing = PLAIN,
) -> pa.Array:
    texts, decimal = writing.plain(column, part.decimal), writing.decimal or part.decimal
    try:
        floats = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        lower = pc.utf8_lower(texts)
        texts = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", texts))
        try:
            floats = texts.cast(pa.float64())
        except pa.ArrowInvalid:
            raise _no_number(part, name, column, texts, row, decimal, writing.unit) from None
    nan = pc.fill_null(pc.is_nan(floats), False)
    if pc.any(nan).as_py():
        raise _no_number(part, name, column, texts, row, decimal, writing.unit)
    return floats


def _no_number(
    part: TablePart,
    name: str,
    column: pa.Array,
    texts: pa.Array,
    row: Callable[[int], int],
    decimal: str,
    unit: str | None,
) -> SpecError:
    """The error for the first text that is not a number."""
    number = f"12{decimal}5"
    give = f"give a number, as {number}" + (f", or as {number} {unit}" if unit is not None else "")
    for index, text in enumerate(texts.to_pylist()):
        if text is None:
            continue
        try:
            value = float(text) if "_" not in text and text.isascii() else np.nan
        except ValueError:
            value = np.nan
        if np.isnan(value):
            cell = column[index].as_py()
            code = "data-nonfinite" if text.lower().lstrip("+-") == "nan" else "data-dtype"
            help = number_remedy(cell, column[:BESIDE].to_pylist(), decimal)
            if cell.strip().lower() in GAPS:
                give = "leave the cell empty, or give null, where a value is missing"
            gap = f'or mark it as missing: na_values: ["", {shown(cell)}]'
            help = help or f"encode text with {{encode: category}}, {gap}"
            return part.fail(code, name, row(index), f"{shown(cell)} is not a number", help, give)
    return part.fail("data-dtype", name, row(0), "it holds no numbers")


def kind_in_words(kind: pa.DataType) -> str:
    if is_list(kind):
        return "lists"
    if isinstance(kind, pa.FixedShapeTensorType):
        return f"arrays of {' x '.join(map(str, kind.shape))}"
    if pa.types.is_temporal(kind):
        return "dates" if not pa.types.is_time(kind) and not pa.types.is_duration(kind) else "times"
    if is_text(kind):
        return "text"
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "objects"
    return str(kind)


def _help_of(kind: pa.DataType, name: str) -> str | None:
    if is_list(kind):
        return f"write `{name}: {{encode: tokens}}`, or give lists of one length to an input of that length"
    if pa.types.is_temporal(kind):
        return f"write `{name}: {{encode: date, parts: [year, month]}}`"
    if pa.types.is_struct(kind):
        return "give each value of the objects a column of its own"
    return None


# --- texts


def texts(part: TablePart, name: str) -> pa.Array:
    """A column as text, null where it is missing. 17 and 17.0 are `17`, true is `true`.

    Raises `SpecError`.
    """
    return texts_of(part, name, part.column(name))


def texts_of(part: TablePart, name: str, column: pa.Array, row: Callable[[int], int] = int) -> pa.Array:
    """As `texts`, of values that came from a column; `row` is the row of a value."""
    kind = column.type
    if is_text(kind):
        return column
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), column.cast(pa.string()))
    if pa.types.is_null(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind) or pa.types.is_temporal(kind):
        return column.cast(pa.string())
    raise part.fail("data-dtype", name, row(0), f"it holds {kind_in_words(kind)}, not single values")


# --- lists


@dataclass(frozen=True, slots=True)
class Lists:
    """A list column: all elements in sequence, the start of each row, and which rows are missing."""

    values: pa.Array
    offsets: NDArray[np.int64]
    missing: Mask

    def row(self, index: int) -> int:
        """The row, within the part, of an element."""
        return int(np.searchsorted(self.offsets, index, side="right")) - 1


def lists(part: TablePart, name: str) -> Lists:
    """The parts of a list column. A null element is an error, and so is a column without lists."""
    column = part.column(name)
    if not is_list(column.type):
        kind = kind_in_words(column.type)
        help = f"write `{name}: {{encode: text, tokenizer: whitespace}}`" if is_text(column.type) else None
        raise part.fail("data-dtype", name, 0, f"it holds {kind}, not lists", help, "give a list")
    missing = missing_in(column)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
    offsets = offsets_of(lengths)
    list_column = Lists(flat(column.flatten()), offsets, missing)
    gone = missing_in(list_column.values)
    if gone.any():
        index = list_column.row(int(gone.argmax()))
        raise part.fail("data-gap", name, index, "an element of the list is missing")
    return list_column


# --- dates


def dates(part: TablePart, name: str, format: str | None) -> tuple[NDArray[np.int64], Mask]:
    """A column of dates as microseconds since 1970 in UTC, and a mask of missing ones. Raises `SpecError`.

    Text is ISO 8601, or of `format`; a date without a zone is taken as UTC.
    """
    column = part.column(name)
    kind = column.type
    missing = missing_in(column)
    if pa.types.is_null(kind):
        return np.zeros(len(column), np.int64), missing
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        ticks = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    elif is_text(kind):
        ticks = _by_value(column, format, part, name)
    else:
        help = "write dates as text: 2024-12-31, or 2024-12-31T23:59:59"
        raise part.fail("data-dtype", name, 0, f"it holds {kind_in_words(kind)}, not dates", help)
    return np.asarray(pc.fill_null(ticks, 0)).astype(np.int64), missing


def _by_value(column: pa.Array, format: str | None, part: TablePart, name: str) -> pa.Array:
    """The ticks of dates; each distinct text is converted once."""
    encoded = column.dictionary_encode()
    known = []
    for position, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            known.append(ticks_of(text, format))
        except (ValueError, OverflowError):
            index = pc.index(encoded.indices, pa.scalar(position, encoded.indices.type)).as_py()
            wrong, help = f"{shown(text)} is not a date", "correct it, or the `format` of the feature"
            give = f"write it as {SOME_DAY.strftime(format or '%Y-%m-%dT%H:%M:%S')}"
            if format is None:
                help = 'give its format: `format: "%d.%m.%Y"`; without it dates are as 2024-12-31'
            else:
                wrong += f" in the format {format}"
            raise part.fail("data-dtype", name, index, wrong, help, give) from None
    return pa.array(known, pa.int64()).take(encoded.indices)
