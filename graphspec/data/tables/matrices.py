"""Arrays as columns: one value a row, a list of as many each, or an array of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from graphspec.data.arrays import open_arrays
from graphspec.data.folders import Found
from graphspec.data.tables.base import CHUNK, Table
from graphspec.diagnostics import Span, fail


class Matrices(Table):
    """The arrays in a `.npz` or `.npy`, or in memory, beside what is learned of their rows."""

    def __init__(self, source: Found, na_values: Sequence[str]):
        super().__init__(source.path, na_values)
        self.archive = open_arrays(source)

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        types = {}
        for name in self.archive.members:
            shape, dtype = self.archive.header(name)
            if shape and 0 not in shape[1:] and dtype.kind in ("biufU" if len(shape) < 3 else "biuf"):
                kind = pa.string() if dtype.kind == "U" else pa.from_numpy_dtype(_of_rows(shape, dtype))
                types[name] = kind if len(shape) == 1 else pa.list_(kind)
                if len(shape) > 2:
                    types[name] = pa.fixed_shape_tensor(kind, shape[1:])
        return types

    def place(self, row: int) -> str:
        return self.archive.place(row)

    def span(self, row: int, name: str) -> Span | None:
        return self.archive.span(row, name)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        arrays = {name: self.archive.read(name) for name in columns}
        rows = max(1, CHUNK // (sum(array[:1].nbytes for array in arrays.values()) or 1))
        length = len(next(iter(arrays.values())))
        for name, array in arrays.items():
            if len(array) != length:
                held = f"`{columns[0]}` {length}, `{name}` {len(array)}"
                raise fail(
                    "data-shape", f"the arrays of `{self.file}` hold different numbers of examples: {held}"
                )
        for first in range(0, length, rows):
            yield pa.table({name: _column(array[first : first + rows]) for name, array in arrays.items()})


def _of_rows(shape: Sequence[int], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of a column's numbers: pyarrow has no arrays of booleans."""
    return np.dtype(np.uint8) if len(shape) > 2 and dtype.kind == "b" else dtype.newbyteorder("=")


def _column(array: Any) -> pa.Array:
    array = array.astype(_of_rows(array.shape, array.dtype), copy=False)
    if array.ndim > 2:
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))
    if array.ndim == 1:
        return pa.array(array.tolist() if array.dtype.kind == "U" else array)
    values = _column(np.ascontiguousarray(array).reshape(-1))
    return pa.ListArray.from_arrays(np.arange(0, len(values) + 1, array.shape[1], dtype=np.int32), values)
