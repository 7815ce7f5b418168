"""The cells of a column: their type, and those of predictions before they are Arrow's or Python's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphspec.data.ragged import Offsets, offsets_of
from graphspec.tensor import Dim

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class CellType:
    """The type of a column's cells: a value of that kind, or nested lists of such values."""

    kind: Literal["number", "integer", "date", "text", "picture"]
    sizes: tuple[Dim | None, ...] = ()
    """Of nested lists, from the outer one; None where a list may have any number of elements."""
    values: Sequence[Any] = ()
    """The only values that are legal; none where all are."""
    format: str | None = None
    """Of a date, if it is not that of ISO 8601."""


@dataclass(slots=True, eq=False)
class Cells:
    """The elements of all rows, one after another: numbers or texts. A row is one of them; with `offsets`,
    which say where each row begins, a list. With `inner` its elements are nested lists of these sizes.
    """

    elements: Array | list[str]
    offsets: Offsets | None = None
    inner: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Array, lengths: Array | None = None) -> Cells:
        """Numbers, rows first, each a list where it has several; of the second axis a row keeps `lengths`."""
        if values.ndim < 2:
            return cls(values)
        count, steps, *inner = values.shape
        if lengths is None:
            return cls(values.reshape(-1), np.arange(count + 1) * steps, tuple(inner))
        kept = values[np.arange(steps) < lengths[:, None]]
        return cls(kept.reshape(-1), offsets_of(lengths), tuple(inner))

    def named(self, labels: Sequence[Any]) -> Cells:
        """The cells of numbers, of which each stands for a label: a text, or a number."""
        values = [labels[index] for index in np.asarray(self.elements).tolist()]
        texts = bool(labels) and isinstance(labels[0], str)
        return Cells(values if texts else np.array(values, np.int64), self.offsets, self.inner)

    def python(self) -> list[Any]:
        """Each row as Python has it."""
        elements = self.elements if isinstance(self.elements, list) else self.elements.tolist()
        for size in reversed(self.inner):
            elements = [elements[first : first + size] for first in range(0, len(elements), max(size, 1))]
        if self.offsets is None:
            return elements
        return [elements[first:end] for first, end in pairwise(self.offsets.tolist())]

    def arrow(self) -> pa.Array:
        """The column of a table."""
        column = _texts(self.elements) if isinstance(self.elements, list) else _numbers(self.elements)
        for size in reversed(self.inner):
            column = _lists(np.arange(0, len(column) + 1, size) if size else np.zeros(1), column)
        return column if self.offsets is None else _lists(self.offsets, column)


Columns = dict[str | tuple[str, ...], Cells]
"""By name; under several names a column of numbers for each, all in one array, rows first."""


def as_lists(columns: Columns) -> dict[str, list[Any]]:
    """Each column as Python has it."""
    lists: dict[str, list[Any]] = {}
    for name, cells in columns.items():
        if isinstance(name, str):
            lists[name] = cells.python()
        else:
            lists.update(zip(name, np.asarray(cells.elements).T.tolist(), strict=True))
    return lists


def as_table(columns: Columns) -> pa.Table:
    """Columns as a table."""
    import pyarrow as pa

    arrays: dict[str, pa.Array] = {}
    for name, cells in columns.items():
        if isinstance(name, str):
            arrays[name] = cells.arrow()
        else:
            count = len(cells.elements)
            flat = _numbers(np.asarray(cells.elements).T.reshape(-1))
            arrays.update((each, flat.slice(index * count, count)) for index, each in enumerate(name))
    return pa.table(arrays)


def _lists(offsets: Array, elements: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.ListArray.from_arrays(_numbers(offsets.astype(np.int32)), elements)


def _texts(cells: list[str]) -> pa.Array:
    import pyarrow as pa

    texts = [text.encode() for text in cells]
    offsets = offsets_of([len(text) for text in texts]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    )


def _numbers(values: Array) -> pa.Array:
    """From their buffer: `pa.array` imports pandas to ask whether they are a series."""
    import pyarrow as pa

    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])
