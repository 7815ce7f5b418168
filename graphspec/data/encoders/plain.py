"""Columns that need no encoder: one column, numbered columns, or a list column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from graphspec.data.columns import Lists, Mask, TablePart, is_list, lists, missing_in, numbers_of
from graphspec.data.encoders.base import Array, Column, ColumnCells, Encoder, any_of
from graphspec.data.features.plan import Fill
from graphspec.data.ragged import Ragged
from graphspec.data.rows.cells import CellType
from graphspec.data.rows.fields import InRow, PlainInRow
from graphspec.data.rows.numbers import NumberCurve
from graphspec.diagnostics import SpecError, fail


def plain_cells(values: Array) -> list[Any]:
    """Numbers as they are; of those that become the same float32, the one with the fewest digits."""
    cells: list[Any] = (NumberCurve().cells(values) if values.dtype.kind == "f" else values).tolist()
    return cells


class PlainEncoder(Encoder):
    """Numbers as they are, in the dtype of the field; nothing is learned."""

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.sizes = fill.tensor.shape[1:]
        self.known = [size for size in self.sizes if isinstance(size, int)]
        self.count = math.prod(self.known) if len(self.known) == len(self.sizes) else None
        """The numbers of a row, where that is known."""
        self.free = bool(self.sizes) and not isinstance(self.sizes[0], int)
        """Whether each row has a length of its own."""

    @property
    def fill_help(self) -> str:  # type: ignore[override]
        return f"write under `features`: `{self.name}: {{encode: number, fill: mean}}`"

    def cell(self, column: int = 0) -> CellType:
        single = len(self.columns) > 1 or self.sizes == (1,)
        return CellType("number" if self.fill.tensor.is_float else "integer", () if single else self.sizes)

    def in_row(self) -> InRow | None:
        tensor, count = self.fill.tensor, None if self.free else self.count
        return PlainInRow(self.columns, tensor.is_float, tensor.rank, count) if tensor.rank <= 2 else None

    def cells(self) -> list[ColumnCells]:
        several = len(self.columns) > 1 and len(self.sizes) == 1
        single = several or self.sizes == (1,)
        names = self.columns if several else (self.name,)
        return [ColumnCells(name, (i,) if single else None, plain_cells) for i, name in enumerate(names)]

    def encode(self, part: TablePart) -> Column:
        (first, *others) = self.columns
        if not others and isinstance(part.table.schema.field(first).type, pa.FixedShapeTensorType):
            return Column(part.column(first).to_numpy_ndarray())
        if not others and is_list(part.table.schema.field(first).type):
            return self._lists(part, first)
        values = np.stack([self._numbers(part, name) for name in self.columns], 1)
        missing = self._missing(part, [missing_in(part.column(name)) for name in self.columns])
        if len(self.sizes) > 1 and self.count == values.shape[1]:
            values = values.reshape(len(part), *self.known)
        elif not others and not (self.sizes and len(self.sizes) == 1 and self.sizes[0] == 1):
            values = values[:, 0]
        return Column(values, missing)

    def _missing(self, part: TablePart, masks: list[Mask]) -> Mask | None:
        gone = any_of(np.stack(masks, 1))
        if gone.any() and not self.ignore:
            position = next(i for i, mask in enumerate(masks) if mask.any())
            raise self.gap(part, self.columns[position], masks[position])
        return gone if gone.any() else None

    def _numbers(self, part: TablePart, name: str) -> Array:
        """A column, 0 where it is missing; whole numbers to the last digit where the field wants them."""
        return self._array(part, name, part.column(name))

    def _array(self, part: TablePart, name: str, column: pa.Array, row: Callable[[int], int] = int) -> Array:
        if not self.fill.tensor.is_float:
            try:
                integers = column.cast(pa.int64()).fill_null(0)
                return np.asarray(integers).astype(np.int64)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass  # text, or no whole numbers: of these the check of the field tells the row
        try:
            return np.nan_to_num(numbers_of(part, name, column, row), nan=0.0)
        except SpecError as error:
            raise self._with_remedy(error) from None

    def _with_remedy(self, error: SpecError) -> SpecError:
        """The error for text in a column of numbers, with the line to write."""
        (mistake,) = error.diagnostics
        if "{encode: date" in (mistake.help or ""):
            remedy = f"{mistake.help}, for `{self.name}` under `features`"
            return fail(mistake.code, mistake.message, remedy, span=mistake.span)
        if "encode: category" not in (mistake.help or ""):
            return error
        kinds = "category" if self.fill.target else "category, or text, set, date"
        line = f"write `{self.name}: {{encode: category}}` under `features`"
        help = f"{line} ({kinds}), or, if it means a missing value, `na_values`"
        return fail(mistake.code, mistake.message, help, span=mistake.span)

    def _lists(self, part: TablePart, name: str) -> Column:
        list_column = lists(part, name)
        missing = self._missing(part, [list_column.missing])
        row: Callable[[int], int] = list_column.row
        inner = 1
        if is_list(list_column.values.type):
            list_column, inner = self._nested(part, name, list_column)
        values = self._array(part, name, list_column.values, lambda index: row(index // inner))
        if inner > 1 or len(self.sizes) > 1:
            return self._of_vectors(part, name, Ragged(values, list_column.offsets), missing, inner)
        ragged = Ragged(values, list_column.offsets)
        if self.sizes and isinstance(self.sizes[0], int):
            return Column(self._fixed(part, name, ragged, missing), missing)
        return Column(ragged, missing)

    def _nested(self, part: TablePart, name: str, list_column: Lists) -> tuple[Lists, int]:
        """Lists of lists of one length as their numbers, and that length; without any, the field's."""
        lengths = list_column.values.value_lengths()
        wide = math.prod(self.known) if self.free else 1
        if len(lengths):
            wide = int(lengths[0].as_py() or 0)
        if not wide:
            raise part.fail("data-shape", name, list_column.row(0), "the inner list is empty")
        odd = np.asarray(lengths.fill_null(-1)) != wide
        if odd.any():
            what = f"the inner lists have {wide} and {lengths[int(odd.argmax())].as_py()} elements"
            raise part.fail("data-shape", name, list_column.row(int(odd.argmax())), what)
        return Lists(list_column.values.flatten(), list_column.offsets, list_column.missing), wide

    def _fixed(self, part: TablePart, name: str, ragged: Ragged, missing: Mask | None) -> Array:
        """[n, size] of lists that all have that many elements; rows without a list are 0."""
        size = self.known[0]
        wrong = ragged.lengths != size
        if missing is not None:
            wrong &= ~missing
        if wrong.any():
            index = int(wrong.argmax())
            what = f"the list has {ragged.lengths[index]} elements, and `{self.name}` takes {size}"
            help = "lists of any length fill an input with a named size: `shape: [length]`"
            raise part.fail("data-shape", name, index, what, help, f"give {size} elements")
        return ragged.padded(size)

    def _of_vectors(
        self, part: TablePart, name: str, ragged: Ragged, missing: Mask | None, inner: int
    ) -> Column:
        """Lists of vectors, or lists that hold all elements of an array in row-major order."""
        if self.free and (inner > 1 or math.prod(self.known) == 1):
            return Column(Ragged(ragged.values.reshape(-1, inner), ragged.offsets), missing)
        ragged = Ragged(ragged.values, ragged.offsets * inner)
        wrong = ragged.lengths != self.count
        if missing is not None:
            wrong &= ~missing
        if wrong.any() or self.count is None:
            index = int(wrong.argmax())
            what = f"the list has {ragged.lengths[index]} elements, and `{self.name}` is {self.fill.tensor}"
            raise part.fail("data-shape", name, index, what)
        return Column(ragged.padded(self.count).reshape(len(ragged), *self.known), missing)
