"""Columns of a table as the arrays of a program, by name alone.

A field `x` is the column `x`; or, for a field of several values an example, the columns `x_0`, `x_1`, ...
(or `x.0`, ..., or counted from 1), in row-major order of its axes; or a column of lists of one length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphspec.data.fields import Field
from graphspec.data.mistakes import fail, shown
from graphspec.data.tables import Table
from graphspec.diagnostics import Diagnostic, Span, SpecError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a part of a table becomes; the groups are those of `Batch`."""

    arrays: Mapping[str, Array]
    counted: Mapping[str, Array] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)


class Columns:
    """The columns of each field."""

    def __init__(self, fields: Iterable[Field], bound: Mapping[str, Sequence[str]]):
        self.fields, self.bound = list(fields), bound

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys(name for names in self.bound.values() for name in names))

    def encode(self, first: int, part: pa.Table, table: Table) -> Encoded:
        """The arrays of a part whose rows begin with `first`. Raises `SpecError`."""
        arrays, problems = {}, list[Diagnostic]()
        for wanted in self.fields:
            try:
                arrays[wanted.name] = self._array(first, part, table, wanted)
            except SpecError as error:
                problems += error.diagnostics
        if problems:
            raise SpecError(problems)
        return Encoded(arrays)

    def _array(self, first: int, part: pa.Table, table: Table, wanted: Field) -> Array:
        names = self.bound[wanted.name]
        read = [
            numbers(part.column(name), name, table, first, whole=not wanted.tensor.is_float) for name in names
        ]
        if len(names) == 1 and names[0] == wanted.name:
            return read[0]
        values = np.stack(read, 1)
        sizes = wanted.tensor.shape[1:]
        known = [size for size in sizes if isinstance(size, int)]
        if len(sizes) > 1 and len(known) == len(sizes) and int(np.prod(known)) == len(names):
            return values.reshape(len(values), *known)
        return values


def bind(table: Table, fields: Iterable[Field], spans: Mapping[str, Span | None]) -> Columns:
    """The columns of a table that fill each field. Raises `SpecError` with each that is not there."""
    wanted, bound, problems = list(fields), dict[str, Sequence[str]](), list[Diagnostic]()
    for item in wanted:
        try:
            bound[item.name] = columns_of(table, item.name, spans.get(item.name))
        except SpecError as error:
            problems += error.diagnostics
    if problems:
        raise SpecError(problems)
    return Columns(wanted, bound)


def columns_of(table: Table, name: str, span: Span | None = None) -> Sequence[str]:
    """The column called `name`, else its numbered columns, in their order."""
    if name in table.columns:
        return [name]
    pattern = re.compile(re.escape(name) + r"[_.](\d{1,9})\Z", re.ASCII)
    numbered = {int(m[1]): column for column in table.columns if (m := pattern.match(column)) is not None}
    numbers = sorted(numbered)
    if not numbers:
        raise table.lacks(name, span)
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        gap = next(n for n in range(numbers[0], numbers[-1]) if n not in numbered)
        message = f"`{table.file}` has columns `{name}_...`, but none with number {gap}"
        raise fail("data-column", message, span=span)
    return [numbered[number] for number in numbers]


def numbers(column: pa.ChunkedArray, name: str, table: Table, first: int, whole: bool = False) -> Array:
    """A column of numbers, or of lists of as many numbers each; text is read to the nearest double.

    `whole` numbers stay exact integers.
    """

    def where(row: int) -> str:
        return f"column `{name}` of `{table.file}`, {table.place(first + row)}"

    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        more = f" (and in {column.null_count - 1} more rows)" if column.null_count > 1 else ""
        help = "fill it, or leave the row out"
        raise fail("data-gap", f"{where(row)}: the cell is empty{more}", help)
    kind = column.type
    if pa.types.is_list(kind):
        return _lists(column, where)
    if pa.types.is_string(kind):
        return _read(column, table.decimal, where, whole)
    if pa.types.is_boolean(kind):
        return np.asarray(column.cast(pa.uint8()).combine_chunks())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(column.combine_chunks())
    raise fail("data-dtype", f"{where(0)}: {shown(column[0].as_py())} is not a number")


def _read(column: pa.ChunkedArray, decimal: str, where: Any, whole: bool) -> Array:
    text = pc.utf8_trim_whitespace(column)
    if decimal != ".":
        text = pc.replace_substring_regex(text, r"^([+-]?[0-9]*),([0-9]*(?:[eE][+-]?[0-9]+)?)$", r"\1.\2")
    text = pc.replace_substring_regex(text, r"^\+", "")
    for kind in [pa.int64(), pa.float64()] if whole else [pa.float64()]:
        try:
            return np.asarray(text.cast(kind).combine_chunks())
        except pa.ArrowInvalid:
            continue
    for row, cell in enumerate(text.to_pylist()):
        try:
            pa.scalar(cell, pa.string()).cast(pa.float64())
        except pa.ArrowInvalid:
            help = None
            if decimal == "." and re.fullmatch(r"[+-]?\d*,\d+", cell):
                help = 'where a comma is the decimal mark: {path: ..., decimal: ","}'
            elif cell in ("NA", "N/A", "null", "NULL", "None", "nan", "NaN", "?", "-"):
                help = f'where this is a missing value: `na_values: ["", "{cell}"]` in `data`'
            raise fail(
                "data-dtype", f"{where(row)}: {shown(column[row].as_py())} is not a number", help
            ) from None
    raise AssertionError("a cell is no number, and each is")


def _lists(column: pa.ChunkedArray, where: Any) -> Array:
    lists = column.combine_chunks()
    lengths = np.asarray(pc.list_value_length(lists))
    odd = np.flatnonzero(lengths != lengths[0]) if len(lengths) else lengths
    if len(odd):
        row = int(odd[0])
        message = f"{where(row)}: the list holds {lengths[row]} values, and the first one {lengths[0]}"
        raise fail("data-shape", message)
    values = lists.flatten()
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        held = "a missing value" if values.null_count else f"values of type {values.type}"
        raise fail("data-dtype", f"{where(0)}: the lists hold {held}, not numbers")
    return np.asarray(values).reshape(len(lists), int(lengths[0]) if len(lengths) else 0)
