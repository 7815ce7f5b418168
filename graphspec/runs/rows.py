"""A few rows of Python values as the arrays of a program, without the tables that files need.

What a row says plainly `data.rows` reads; of the rest (missing, filled, wrong, of another type) a table of
one row is made, which the encoders read as they read a file: so both ways make the same arrays, and the
second one says what is wrong. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.numbers import NumberEncoder
from graphspec.data.fields import UNIT, Checker, Field, fields
from graphspec.data.mistakes import IN_MEMORY, lacks, remedy, row_in_words
from graphspec.data.ragged import Ragged, padded_lengths
from graphspec.data.rows.fields import Row
from graphspec.data.rows.reader import (
    NUMBER,
    TYPES,
    ArrayField,
    EncodedField,
    FieldOfRow,
    PlainRows,
    RowArrays,
)
from graphspec.data.tables.frame import FrameTable
from graphspec.data.tables.python_values import need_names, table_of
from graphspec.data.tables.values import plain
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.tensor import unit_of

NAME = IN_MEMORY
"""What messages call the rows."""


class RowReader:
    """Reads rows for the inputs of a program, with the encoders that a training has fitted."""

    def __init__(self, program: BaseProgram, encoders: Encoders):
        absent = [name for name in program.defaults if name not in encoders.encoders]
        self.program, self.encoders = program, encoders
        self.wanted: list[Field] = [field for field in fields(program, absent) if field.role == "input"]
        self.keys: Sequence[str] = program.data.key if program.data is not None else ()
        self._na_values: Sequence[str] = program.data.na_values if program.data is not None else ("",)
        self.plain: PlainRows | None = None
        """Reads the plain ones of the rows that the encoders are bound to."""
        self._bound: frozenset[str] | None = None

    def read(self, row: Row, number: int = 0) -> RowArrays:
        """The arrays of one row, the one of that number. Raises `SpecError` with each field's mistake."""
        if self._bound is None or row.keys() != self._bound:
            row = self._trimmed(row)
            row = {**row, **dict.fromkeys(self.lacking(row))}
            if row.keys() != self._bound:
                self._bind(row)
        arrays = self.plain.read(row) if self.plain is not None else None
        return arrays or self.through_table(row, number)

    def _trimmed(self, row: Row) -> Row:
        """The row with names as files have them, without the blanks around them, unless two become one."""
        named = {n.strip() if isinstance(n, str) and n not in self.known else n: v for n, v in row.items()}
        return named if len(named) == len(row) else row

    def lacking(self, keys: Collection[str]) -> list[str]:
        """The columns that rows with these keys lack: their values are missing, as where a line of JSON lacks
        a key. None of them where there are other keys, which are then mistakes.
        """
        lacking = [name for name in self.named if name not in keys]
        others = [str(name) for name in keys if name not in self.known]
        strange = lacking and any(NUMBER.sub("", name) not in self.known for name in others)
        return [] if strange else lacking

    @cached_property
    def named(self) -> list[str]:
        """The columns that features and the key name."""
        columns: list[str] = []
        for fill in self.encoders.plan.fills:
            if fill.feature is not None and not fill.target:
                columns += [*fill.feature.read(fill.field), *self.encoders.encoders[fill.field].beside]
        return list(dict.fromkeys([*columns, *self.keys]))

    @cached_property
    def columns(self) -> list[str]:
        """These, and those of fields that no feature reads."""
        fills = self.encoders.plan.fills
        return [*self.named, *(fill.field for fill in fills if not fill.target and not fill.feature)]

    @cached_property
    def known(self) -> frozenset[str]:
        """The names that mean something: those, the inputs, and the targets."""
        return frozenset((*self.named, *self.program.inputs, *self.targets))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """The fields of numbers that nothing encodes, and the columns of numbers that are no flags."""
        names = set[str]()
        for fill in self.encoders.plan.fills:
            encoder = self.encoders.encoders.get(fill.field)
            if isinstance(encoder, NumberEncoder) and not fill.target:
                names.update(encoder.measured)
            elif not (fill.target or fill.feature) and fill.tensor.dtype != "bool":
                names.add(fill.field)
        return frozenset(names)

    @cached_property
    def targets(self) -> frozenset[str]:
        """The columns of targets, which no prediction reads."""
        targets = (fill for fill in self.encoders.plan.fills if fill.target)
        return frozenset(c for f in targets for c in (f.feature.read(f.field) if f.feature else (f.field,)))

    def usual(self) -> PlainRows | None:
        """What reads the plain ones of rows that have a column for each field, and the others that may be
        there; None where tables have to read all of them.
        """
        self._bind(self.columns)
        return self.plain

    def _plain_rows(self, names: Collection[str]) -> PlainRows | None:
        """For rows of these names, to which the encoders are bound."""
        made = [self._field(field) for field in self.wanted]
        readers = tuple(each for each in made if each is not None)
        if len(readers) < len(made):
            return None
        columns, beside = tuple(self.encoders.columns), tuple(sorted({*names, *self.targets}))
        return PlainRows(readers, columns, tuple(self.keys), beside, tuple(self._na_values))

    def _field(self, field: Field) -> FieldOfRow | None:
        """What reads a field of a row; None where a table has to."""
        encoder, dtype, high = self.encoders.encoders[field.name], field.tensor.dtype, field.high
        encoded = encoder.in_row() if not encoder.beside else None  # rows have scales of their own
        if encoded is None or dtype not in TYPES or isinstance(high, tuple):
            return None
        if field.tensor.rank < 2 or isinstance(size := field.tensor.shape[1], int):
            return EncodedField(field.name, encoded, dtype, field.low, high)
        unit, program = unit_of(size), self.program
        if unit is None or unit[1] != 1:
            return None
        least, most = program.minimum_sizes.get(unit[0], 1), program.maximum_sizes.get(unit[0])
        return EncodedField(field.name, encoded, dtype, field.low, high, unit[0], least, most)

    def _bind(self, names: Collection[str]) -> None:
        """Binds the encoders to the columns of rows with these names. Raises `SpecError` (data-column)."""
        need_names(names, NAME)
        table = FrameTable(pa.table({name: pa.nulls(0) for name in names}), NAME, self._na_values)
        self._bound = self.plain = None
        self.encoders.bind(table, targets=False)
        for name in self.keys:
            if name not in table.columns:
                raise table.lacks(name, self.program.span(("data", "key")))
        self._bound, self.plain = frozenset(names), self._plain_rows(names)

    def through_table(self, row: Row, number: int = 0) -> RowArrays:
        """The arrays of one row of such columns, as a table has them. Raises `SpecError`."""
        table = table_of({name: [row[name]] for name in self.encoders.columns}, NAME, number)
        cells, numbers = plain(table, self._na_values), np.array([number], np.int64)
        part = TablePart(cells, numbers, NAME, row_in_words, predicted=True)
        encoded = self.encoders.encode(part)
        limits = self.program.minimum_sizes, self.program.maximum_sizes
        checker = Checker(NAME, row_in_words, self.wanted, *limits)
        wanted = {name: array for name, array in encoded.arrays.items() if name in checker.wanted}
        arrays = {name: checker.check(name, array, number) for name, array in wanted.items()}
        checker.finish({field.name: 1 for field in self.wanted})
        longest = {name: int(a.lengths.max()) for name, a in arrays.items() if isinstance(a, Ragged)}
        sizes = {name: checker.wanted[name].tensor.shape[1] for name in longest}
        lengths = padded_lengths(sizes, self.program.minimum_sizes, longest)
        padded = {
            name: array.padded(lengths[name]) if isinstance(array, Ragged) else array
            for name, array in arrays.items()
        }
        typed = {name: np.asarray(a).astype(checker.wanted[name].tensor.dtype) for name, a in padded.items()}
        row_sizes = {name: int(lengths[0]) for name, lengths in encoded.sizes.items()}
        keys = self.key_columns([row], number)
        targets = ((name, output.target + UNIT) for name, output in self.program.outputs.items())
        units = {name: np.asarray(encoded.arrays[key]) for name, key in targets if key in encoded.arrays}
        return RowArrays(typed, row_sizes, {} if keys is None else keys.to_pylist()[0], units)

    def key_columns(self, rows: Sequence[Row], first: int = 0) -> pa.Table | None:
        """The columns of the key of rows from that number on; None where the spec names none. Raises
        `SpecError` (data-dtype) where its values are of several types.
        """
        if not self.keys:
            return None
        keys = table_of({name: [row.get(name) for row in rows] for name in self.keys}, NAME, first)
        return plain(keys, self._na_values)


class ArrayReader:
    """Reads rows of arrays, as nested lists, for a program that has learned from arrays."""

    encoders = None

    def __init__(self, program: BaseProgram):
        self.program = program
        self.wanted: list[Field] = [
            field for field in fields(program, program.defaults) if field.role == "input"
        ]
        made = [self._field(field) for field in self.wanted]
        plainly = tuple(each for each in made if each is not None)
        self.plain = PlainRows(plainly, (), (), None, ()) if len(plainly) == len(made) else None
        self.numbers = frozenset(field.name for field in self.wanted if field.tensor.dtype != "bool")
        """The fields of numbers."""

    def usual(self) -> PlainRows | None:
        """What reads plain rows; None where `Checker` has to read all of them."""
        return self.plain

    def _field(self, field: Field) -> ArrayField | None:
        """What reads a plain array of a field; None where `Checker` has to read all of them."""
        tensor, high, program = field.tensor, field.high, self.program
        if tensor.dtype not in TYPES or isinstance(high, tuple):
            return None
        shape: list[int | tuple[str, int, int, int | None]] = []
        for size in tensor.shape[1:]:
            unit = None if isinstance(size, int) else unit_of(size)
            if isinstance(size, int):
                shape.append(size)
            elif unit is not None:
                least, most = program.minimum_sizes.get(unit[0], 1), program.maximum_sizes.get(unit[0])
                shape.append((*unit, least, most))
            else:
                return None
        return ArrayField(field.name, tensor.dtype, tuple(shape), field.low, high)

    def read(self, row: Row, number: int = 0) -> RowArrays:
        """The arrays of one row, the one of that number. Raises `SpecError` with each field's mistake."""
        return (self.plain.read(row) if self.plain is not None else None) or self.checked(row, number)

    def checked(self, row: Row, number: int = 0) -> RowArrays:
        """As `read`, of any row."""
        limits = self.program.minimum_sizes, self.program.maximum_sizes
        checker, arrays = Checker(NAME, row_in_words, self.wanted, *limits), {}
        for field in self.wanted:
            if field.name not in row:
                raise lacks(NAME, "array", field.name, row, remedy("array", field.name))
            array = checker.check(field.name, _nested(field, row[field.name])[None], number)
            if isinstance(array, np.ndarray):
                arrays[field.name] = array.astype(field.tensor.dtype, copy=False)
        checker.finish({field.name: 1 for field in self.wanted})
        return RowArrays(arrays, {})

    def key_columns(self, rows: Sequence[Row], first: int = 0) -> pa.Table | None:
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
