"""A few rows of Python values as the arrays of a program, without the tables that files need.

What a row says plainly is read here; of the rest (missing, filled, wrong, of another type) a table of one row
is made, which the encoders read as they read a file: so both ways make the same arrays, and the second one
says what is wrong. Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.fields import Checker, Field, fields
from graphspec.data.mistakes import lacks, remedy, row_in_words
from graphspec.data.ragged import Ragged, padded_lengths
from graphspec.data.tables.frame import FrameTable
from graphspec.data.tables.values import plain
from graphspec.diagnostics import fail
from graphspec.program import BaseProgram
from graphspec.tensor import unit_of

Row = Mapping[str, Any]
NUMBER = re.compile(r"[_.]\d+\Z", re.ASCII)
"""The end of one of several columns of a name."""
NAME = "data"
"""What messages call the rows."""
SINGLE = frozenset((str, int, float, bool, type(None)))
"""The types of single values."""
IN_ROWS = SINGLE | {list}


def as_row(data: object) -> Row | None:
    """The row that data from Python are: a dict of values and lists, or a list of one; None where they are
    none, as a dict of lists alone is, which are columns.
    """
    alone = isinstance(data, list) and len(data) == 1
    row = data[0] if isinstance(data, list) and alone else data
    if not isinstance(row, dict) or not row:
        return None
    kinds = {type(value) for value in row.values()}
    return row if kinds <= IN_ROWS and (alone or kinds != {list}) else None


@dataclass(frozen=True, slots=True)
class RowArrays:
    """The arrays of one row by field, with a batch axis of 1; `sizes` are its lengths by the size's name."""

    arrays: dict[str, NDArray[Any]]
    sizes: dict[str, int]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Rows of the same shapes can be in one batch, none padded for another."""
        return tuple(array.shape for array in self.arrays.values())


class RowReader:
    """Reads rows for the inputs of a program, with the encoders that a training has fitted."""

    def __init__(self, program: BaseProgram, encoders: Encoders):
        absent = [name for name in program.defaults if name not in encoders.encoders]
        self.program, self.encoders = program, encoders
        self.wanted: list[Field] = [field for field in fields(program, absent) if field.role == "input"]
        self.keys: Sequence[str] = program.data.key if program.data is not None else ()
        self._na_values: Sequence[str] = program.data.na_values if program.data is not None else ("",)
        self._missing = _missing(self._na_values)
        self._bound: frozenset[str] | None = None

    def read(self, row: Row, number: int = 0) -> RowArrays:
        """The arrays of one row, the one of that number. Raises `SpecError` with each field's mistake."""
        if self._bound is None or row.keys() != self._bound:
            self._bind(row)
        return self.plainly(row) or self.through_table(row, number)

    def complete(self, row: Row) -> Row:
        """The row with null under each key that it lacks, as a line of JSON has it; as it is where it has
        other keys instead, which are then mistakes.
        """
        lacking = [name for name in self.named if name not in row]
        if not lacking or any(NUMBER.sub("", name) not in self.known for name in row.keys() - self.known):
            return row
        return {**dict.fromkeys(lacking), **row}

    @cached_property
    def named(self) -> list[str]:
        """The columns that features and the key name."""
        columns: list[str] = []
        for fill in self.encoders.plan.fills:
            if fill.feature is not None and not fill.target:
                columns += [*fill.feature.read(fill.field), *self.encoders.encoders[fill.field].beside]
        return list(dict.fromkeys([*columns, *self.keys]))

    @cached_property
    def known(self) -> frozenset[str]:
        """The names that mean something: those, the inputs, and the targets."""
        targets = (fill for fill in self.encoders.plan.fills if fill.target)
        of_targets = [c for f in targets for c in (f.feature.read(f.field) if f.feature else (f.field,))]
        return frozenset((*self.named, *self.program.inputs, *of_targets))

    def plainly(self, row: Row) -> RowArrays | None:
        """The arrays of one row of columns that the encoders are bound to; None where a table has to say."""
        for value in row.values():
            if type(value) in SINGLE and value in self._missing:
                return None
        found: dict[str, NDArray[Any]] = {}
        sizes: dict[str, int] = {}
        for field in self.wanted:
            value = self.encoders.encoders[field.name].read_row(row)
            array = None if value is None else self._array(field, value, sizes)
            if array is None:
                return None
            found[field.name] = array
        return RowArrays(found, sizes)

    def _array(self, field: Field, value: Any, sizes: dict[str, int]) -> NDArray[Any] | None:
        """The value in the type of the field; None where it does not fit, or where that is not plain."""
        if field.tensor.rank > 1 and not isinstance(size := field.tensor.shape[1], int):
            unit, most = unit_of(size), len(value)
            if unit is None or unit[1] != 1 or sizes.setdefault(unit[0], most) != most:
                return None
            if most > self.program.maximum_sizes.get(unit[0], most):
                return None
            value = value + [0] * (self.program.minimum_sizes.get(unit[0], 1) - most)
        if field.tensor.dtype not in TYPES:
            return None
        if field.high is not None and not _within(field, value):
            return None
        try:
            return np.array([value], TYPES[field.tensor.dtype])
        except OverflowError:
            return None

    def _bind(self, names: Iterable[str]) -> None:
        """Binds the encoders to the columns of rows with these names. Raises `SpecError` (data-column)."""
        table = FrameTable(pa.table({name: pa.nulls(0) for name in names}), NAME, self._na_values)
        self._bound = None
        self.encoders.bind(table, targets=False)
        for name in self.keys:
            if name not in table.columns:
                raise table.lacks(name, self.program.span(("data", "key")))
        self._bound = frozenset(names)

    def through_table(self, row: Row, number: int = 0) -> RowArrays:
        """The arrays of one row of such columns, as a table has them. Raises `SpecError`."""
        table = pa.table({name: column_of(name, [row[name]]) for name in self.encoders.columns})
        part = TablePart(plain(table, self._na_values), np.array([number], np.int64), NAME, row_in_words)
        encoded = self.encoders.encode(part)
        limits = self.program.minimum_sizes, self.program.maximum_sizes
        checker = Checker(NAME, row_in_words, self.wanted, *limits)
        arrays = {name: checker.check(name, array, number) for name, array in encoded.arrays.items()}
        checker.finish({field.name: 1 for field in self.wanted})
        longest = {name: int(a.lengths.max()) for name, a in arrays.items() if isinstance(a, Ragged)}
        sizes = {name: checker.wanted[name].tensor.shape[1] for name in longest}
        lengths = padded_lengths(sizes, self.program.minimum_sizes, longest)
        found = {
            name: array.padded(lengths[name]) if isinstance(array, Ragged) else array
            for name, array in arrays.items()
        }
        typed = {name: np.asarray(a).astype(checker.wanted[name].tensor.dtype) for name, a in found.items()}
        return RowArrays(typed, {name: int(lengths[0]) for name, lengths in encoded.sizes.items()})

    def key_columns(self, rows: Sequence[Row]) -> pa.Table | None:
        """The columns of the key; None where the spec names none. Raises `SpecError` (data-dtype) where its
        values are of several types.
        """
        if not self.keys:
            return None
        keys = pa.table({name: column_of(name, [row[name] for row in rows]) for name in self.keys})
        return plain(keys, self._na_values)


class ArrayReader:
    """Reads rows of arrays, as nested lists, for a program that has learned from arrays."""

    def __init__(self, program: BaseProgram):
        self.program = program
        self.wanted: list[Field] = [
            field for field in fields(program, program.defaults) if field.role == "input"
        ]

    def read(self, row: Row, number: int = 0) -> RowArrays:
        """The arrays of one row, the one of that number. Raises `SpecError` with each field's mistake."""
        limits = self.program.minimum_sizes, self.program.maximum_sizes
        checker, found = Checker(NAME, row_in_words, self.wanted, *limits), {}
        for field in self.wanted:
            if field.name not in row:
                raise lacks(NAME, "array", field.name, row, remedy("array", field.name))
            array = checker.check(field.name, _nested(field, row[field.name])[None], number)
            if isinstance(array, np.ndarray):
                found[field.name] = array.astype(field.tensor.dtype, copy=False)
        checker.finish({field.name: 1 for field in self.wanted})
        return RowArrays(found, {})

    def key_columns(self, rows: Sequence[Row]) -> pa.Table | None:
        """None: the key of arrays is an array of its own."""
        return None


def _nested(field: Field, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise fail("data-shape", f"`{field.name}` of `{NAME}` is not an array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise fail("data-dtype", f"`{field.name}` of `{NAME}` does not hold numbers alone")
    return array


TYPES = {name: np.dtype(name) for name in ("float32", "float64", "int32", "int64")}
"""The types of fields whose values are read without a table."""


def _within(field: Field, value: Any) -> bool:
    """Whether each number of a value is legal; False where that takes more than two comparisons."""
    low, high = field.low, field.high
    if low is None or not isinstance(high, int | float):
        return False
    return low <= min(value) and max(value) <= high if isinstance(value, list) else low <= value <= high


def _missing(na_values: Sequence[str]) -> frozenset[Any]:
    """The values that stand for a missing one, as texts and as the numbers that they are."""
    found: set[Any] = {None, *na_values}
    for text in na_values:
        try:
            found.add(float(text))
        except ValueError:
            continue
    return frozenset(found)


def column_of(name: str, values: list[Any]) -> pa.Array:
    """Python values as a column. Raises `SpecError` (data-dtype)."""
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        message = f"column `{name}` of `{NAME}` cannot be read: {error}"
        raise fail("data-dtype", message, "give the values of a column one type") from None
