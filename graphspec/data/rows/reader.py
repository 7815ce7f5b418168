"""Rows of Python values that say all plainly, as the arrays of a program."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graphspec.data.rows.fields import InRow, Row
from graphspec.data.rows.values import is_half, is_int64, numbers_among

SINGLE = frozenset((str, int, float, bool, type(None)))
"""The types of single values."""
KEYS = (str, int, float, bool)
"""The types of the values of a key column."""
TYPES = {name: np.dtype(name) for name in ("float32", "float64", "int32", "int64")}
"""The types of fields whose values are read without a table."""
TEXTS = "OUS"
"""The kinds of arrays of texts: with one among them, arrays are columns of a table."""
IN_ROWS = SINGLE | {list}
NUMBER = re.compile(r"[_.]\d+\Z", re.ASCII)
"""The end of one of several columns of a name."""


def as_rows(data: object) -> list[Row] | None:
    """Data from Python as rows: a dict with a single value among its values, or a list of dicts without
    arrays. None for anything else: a dict that has only lists holds columns.
    """
    if isinstance(data, dict):
        return [_plain(data)] if not all(map(_is_many, data.values())) else None
    if not isinstance(data, list | tuple) or not data or not all(isinstance(row, dict) for row in data):
        return None
    if not all(data) or any(getattr(value, "shape", ()) for row in data for value in row.values()):
        return None
    return [_plain(row) for row in data]


def _is_many(value: object) -> bool:
    """Whether a value has several: a list or an array, those of a column, if it is not the cell of a row."""
    single = isinstance(value, str | bytes | dict) or getattr(value, "shape", None) == ()
    return hasattr(value, "__len__") and not single


def _plain(row: Row) -> Row:
    """The row with what numpy and pandas have for single values and lists as Python has it."""
    if IN_ROWS.issuperset(map(type, row.values())):
        return row
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if type(value) in IN_ROWS:
        return value
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        return value.tolist()
    if type(value).__name__ in ("NAType", "NaTType"):  # those of pandas, which need not be imported
        return None
    return list(value) if isinstance(value, tuple) else value


def spelled(row: Row, numbers: Collection[str]) -> Row:
    """The row with texts in place of booleans in the fields of these names, where they are no numbers."""
    names = [name for name in row if name in numbers or NUMBER.sub("", name) in numbers]
    return {**row, **{name: _without_booleans(row[name]) for name in names}}


def _without_booleans(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_booleans(item) for item in value]
    return f"JSON's {str(value).lower()}" if isinstance(value, bool) else value  # `true` alone is read as 1


@dataclass(eq=False, repr=False)
class RowArrays:
    """The arrays of one row by field, with a batch axis of 1. `sizes` has the length of each named size that
    may be padded, and `keys` the values that are returned with the prediction.
    """

    arrays: dict[str, NDArray[Any]]
    sizes: dict[str, int]
    keys: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """By output, the scale that the row has of its own."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Rows of the same shapes can be in one batch, none padded for another."""
        return tuple(array.shape for array in self.arrays.values())


class FieldOfRow(Protocol):
    """One input: its array of a row, with a batch axis of 1. What the row says of named sizes is added to
    `sizes`. None where the value does not fit, or where that is not plain.
    """

    @property
    def name(self) -> str: ...

    def of(self, row: Row, sizes: dict[str, int]) -> NDArray[Any] | None: ...


@dataclass(eq=False, repr=False)
class EncodedField:
    """The encoding of a row, in the type of its field, each number from `low` to `high`. A list may be of any
    length of `least` to `most`, of the size of that name; a shorter one is padded.
    """

    name: str
    encoded: InRow
    dtype: str
    low: float | None = None
    high: float | None = None
    size: str | None = None
    least: int = 1
    most: int | None = None

    def of(self, row: Row, sizes: dict[str, int]) -> NDArray[Any] | None:
        value = self.encoded(row)
        if value is None:
            return None
        if self.size is not None:
            length = len(value)
            if sizes.setdefault(self.size, length) != length:
                return None
            if self.most is not None and length > self.most:
                return None
            value = value + [0] * (self.least - length)
        if self.high is not None and not self._within(value):
            return None
        try:
            return np.array([value], TYPES[self.dtype])
        except OverflowError:
            return None

    def _within(self, value: Any) -> bool:
        if self.low is None or self.high is None:
            return False
        lowest, highest = (min(value), max(value)) if isinstance(value, list) else (value, value)
        return bool(self.low <= lowest and highest <= self.high)


@dataclass(eq=False, repr=False)
class PlainRows:
    """Reads rows that have these columns, and no other but some of `beside`; any other where that is None.
    `missing` are the values that stand for none.
    """

    fields: tuple[FieldOfRow, ...]
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    beside: tuple[str, ...] | None
    missing: tuple[str, ...]

    def __post_init__(self) -> None:
        self._gaps = gaps(self.missing)
        self._wanted = frozenset((*self.columns, *self.keys))
        self._known = self._wanted.union(self.beside or ())
        self._is_whole = all(isinstance(each, ArrayField) for each in self.fields)  # none is padded

    def read(self, row: Row) -> RowArrays | None:
        """The arrays of a row; None where its tables have to say what it is."""
        names = row.keys()
        if names != self._wanted and not (
            self._wanted <= names and (self.beside is None or names <= self._known)
        ):
            return None
        for name in self.columns:
            value = row[name]
            if type(value) in SINGLE and value in self._gaps:
                return None
        keys = {name: row[name] for name in self.keys}
        if keys and not all(map(self._is_key, keys.values())):
            return None
        arrays: dict[str, NDArray[Any]] = {}
        sizes: dict[str, int] = {}
        for each in self.fields:
            array = each.of(row, sizes)
            if array is None:
                return None
            arrays[each.name] = array
        return RowArrays(arrays, {} if self._is_whole else sizes, keys)

    def batch(self, data: Mapping[str, Any], most: int) -> RowArrays | None:
        """Arrays of at most `most` rows, for fields that are arrays; None if a field is not, or an array
        holds texts.
        """
        for field_values in data.values():
            if not isinstance(field_values, np.ndarray) or field_values.dtype.kind in TEXTS:
                return None
        arrays: dict[str, NDArray[Any]] = {}
        sizes: dict[str, int] = {}
        counts = set()
        for each in self.fields:
            field_values = data.get(each.name)
            if not isinstance(each, ArrayField) or field_values is None or field_values.ndim == 0:
                return None
            array = each.of_batch(field_values, sizes)
            if array is None:
                return None
            arrays[each.name] = array
            counts.add(len(array))
        return RowArrays(arrays, {}) if len(counts) == 1 and 0 < min(counts) <= most else None

    def _is_key(self, value: Any) -> bool:
        if type(value) not in KEYS or value in self._gaps:
            return False
        if isinstance(value, str):
            return not is_half(value)
        if isinstance(value, float):
            return bool(np.isfinite(value))
        return not isinstance(value, int) or is_int64(value)


def gaps(na_values: Sequence[str]) -> frozenset[Any]:
    """The values that stand for a missing one, as texts and as the numbers that they are."""
    return frozenset({None, *na_values, *numbers_among(na_values)})


@dataclass(eq=False, repr=False)
class ArrayField:
    """Nested lists of numbers. Each size is a number, or a name with a factor, the least and the greatest
    value of that name.
    """

    name: str
    dtype: str
    shape: tuple[int | tuple[str, int, int, int | None], ...]
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        self._is_fixed = all(isinstance(size, int) for size in self.shape)

    def of(self, row: Row, sizes: dict[str, int]) -> NDArray[Any] | None:
        try:
            return self.of_batch(np.asarray(row.get(self.name))[None], sizes)
        except (ValueError, OverflowError):
            return None

    def of_batch(self, values: NDArray[Any], sizes: dict[str, int]) -> NDArray[Any] | None:
        """As `of`, of an array of several rows."""
        wanted, kind = TYPES[self.dtype], values.dtype.kind
        if kind not in ("if" if wanted.kind == "f" else "i") or values.ndim != len(self.shape) + 1:
            return None
        if not (values.shape[1:] == self.shape if self._is_fixed else self._fits(values.shape[1:], sizes)):
            return None
        array = values
        if array.dtype != wanted:
            with np.errstate(over="ignore"):
                array = values.astype(wanted)
            if kind == "i" and wanted.kind == "i" and not np.array_equal(array, values):
                return None
        if wanted.kind == "f" and not is_finite(array):
            return None
        if self.high is not None and (
            self.low is None or not array.size or array.min() < self.low or array.max() > self.high
        ):
            return None
        return array

    def _fits(self, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
        for size, length in zip(self.shape, shape, strict=True):
            if isinstance(size, int):
                if length != size:
                    return False
                continue
            name, factor, least, most = size
            known = sizes.setdefault(name, length // factor)
            if known * factor != length or known < least or (most is not None and known > most):
                return False
        return True


def is_finite(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite: so is their product with themselves then, unless they are huge."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
