"""Data that a program holds in memory: arrays by name, a pandas or polars frame, a torch Dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.files import DataFile
from graphspec.data.mistakes import IN_MEMORY, lacks, remedy, row_in_words
from graphspec.data.rows.fields import Row
from graphspec.data.rows.reader import TEXTS, as_rows
from graphspec.diagnostics import fail
from graphspec.diagnostics.arguments import need
from graphspec.settings import a

if TYPE_CHECKING:
    import pyarrow as pa

NAME = IN_MEMORY
"""Its name in messages."""
KINDS = (
    "a path, a dict of arrays, a pandas or polars frame, a pyarrow table, a list of dicts, "
    "or a torch Dataset of dicts"
)


@dataclass(frozen=True, slots=True)
class Given:
    """Arrays by name, or a table. It stands where a path does, and has a `name` as a file has."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    table: pa.Table | None = None
    by_key: bool = False
    """Whether the table is of rows with keys: one that they lack is a missing value."""
    name = NAME

    @property
    def kind(self) -> str:
        return "arrays" if self.table is None else "frame"

    def __str__(self) -> str:
        return NAME


@dataclass(frozen=True, slots=True)
class HeldArrays:
    """Arrays in memory, with the interface of an `Archive`."""

    members: Mapping[str, NDArray[Any]]
    file: str = NAME

    def read(self, name: str) -> NDArray[Any]:
        if name not in self.members:
            raise lacks(self.file, "array", name, self.members, remedy("array", name))
        return self.members[name]

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        return self.members[name].shape, self.members[name].dtype

    def may_hold_rows(self, name: str) -> bool:
        """Whether an array has a row."""
        return self.members[name].shape[:1] != (0,)

    def place(self, row: int) -> str:
        return row_in_words(row)

    def span(self, row: int, name: str) -> None:
        """They have no file."""


def given(data: Any) -> Path | DataFile | Given | None:
    """Data from Python as arrays or a table. Raises `SpecError` for other types than `KINDS`."""
    if data is None or isinstance(data, Path | DataFile | Given):
        return data
    if isinstance(data, str):
        need(path=data)
        return Path(data)
    if isinstance(data, Mapping):
        return _arrays(data)
    library = type(data).__module__.partition(".")[0]
    if library == "pandas" and hasattr(data, "columns"):
        return Given(table=_from_pandas(data))
    if library == "polars" and hasattr(data, "to_arrow") and hasattr(data, "columns"):
        return Given(table=data.to_arrow())
    if library == "pyarrow" and hasattr(data, "column_names"):
        return Given(table=data)
    listed = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if library != "pandas" and listed and getattr(data, "ndim", None) != 0:
        return _of_items(data)
    message = f"`{type(data).__name__}` is not a type of data that graphspec reads"
    row = "a row of a frame is `frame.iloc[[7]]`; " if type(data).__name__ == "Series" else ""
    raise fail("data-format", message, f"{row}give {KINDS}")


def _from_pandas(frame: Any) -> Any:
    """The table of a pandas frame. Raises `SpecError`: data-column, data-dtype."""
    import pyarrow as pa

    names = list(frame.columns)
    for name in names:
        if names.count(name) > 1:
            raise fail("data-column", f"the frame has two columns `{name}`", "rename one of them")
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        *reasons, where = map(str, error.args)
        message = f"the frame cannot be read: {'; '.join([where, *reasons])}"
        help = 'give the values of a column one type: `frame["x"].astype(str)`'
        raise fail("data-dtype", message, help) from None


def _arrays(data: Mapping[Any, Any]) -> Given:
    """Arrays as they are; with text among them, a table."""
    try:
        arrays = {str(name): _array(value) for name, value in data.items()}
    except ValueError as error:
        message = f"a list of the data makes no array: {str(error).partition('. ')[0]}"
        help = 'give rows of different lengths as a list of dicts: [{"x": [1, 2]}, {"x": [3]}]'
        raise fail("data-shape", message, help) from None
    if not arrays:
        raise fail("data-empty", "the dict of arrays is empty")
    texts = [name for name, array in arrays.items() if array.dtype.kind in TEXTS]
    if not texts:
        return Given(arrays)
    wide = next((name for name, array in arrays.items() if array.ndim > 2), None)
    if wide is not None:
        what = f"array `{texts[0]}` holds text, and `{wide}` has {arrays[wide].ndim} axes"
        raise fail("data-shape", what, "give text as class numbers, or images as files")
    from graphspec.data.tables.python_values import table_of

    _need_rows(arrays)
    return Given(table=table_of({name: array.tolist() for name, array in arrays.items()}, NAME))


def _need_rows(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raises `SpecError` (data-shape) for arrays that have not one number of rows."""
    (first, known), *_ = arrays.items()
    for name, array in arrays.items():
        if not array.ndim:
            raise fail("data-shape", f"`{name}` of `{NAME}` is a single value", "give a list of values")
        if len(array) != len(known):
            what = f"`{name}` of `{NAME}` has {len(array)} rows, and `{first}` has {len(known)}"
            raise fail("data-shape", what, "give each a value for each row")


def _array(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ma.MaskedArray):
        value = _unmasked(value)
    array = np.asarray(value)
    return np.ascontiguousarray(array) if min(array.strides, default=0) < 0 else array


def _unmasked(array: Any) -> NDArray[Any]:
    """A masked array with NaN where values are masked. Raises `SpecError` (data-gap) where no NaN can be."""
    if not np.ma.getmaskarray(array).any():
        return np.asarray(array.data)
    if array.dtype.kind != "f":
        first = int(np.argwhere(np.ma.getmaskarray(array))[0][0])
        message = f"an array of {array.dtype} masks a value at {row_in_words(first)}, and has no NaN for it"
        raise fail("data-gap", message, "fill it: `array.filled(...)`; or leave such rows out")
    return np.asarray(array.filled(np.nan))


def of_rows(rows: Sequence[Row]) -> Given:
    """Rows of Python values as a table, as lines of JSON are read: a key that a row lacks is a missing value.
    Raises `SpecError` (data-column, data-dtype).
    """
    from graphspec.data.tables.python_values import table_of

    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return Given(table=table_of(columns, NAME), by_key=True)


def _of_items(items: Sequence[Any]) -> Given:
    """The items of a Dataset, each a dict, as one array for each of their names; rows of Python values with
    texts or gaps, or whose lists differ in length, as a table.
    """
    rows = as_rows(items) or []
    gaps = any(row.keys() != rows[0].keys() for row in rows)
    if gaps or any(map(_is_no_number, (value for row in rows for value in row.values()))):
        return of_rows(rows)
    columns: dict[str, list[Any]] = {}
    for index, item in enumerate(_items(items)):
        if not isinstance(item, Mapping):
            message = f"item {index} of the dataset is {a(type(item).__name__)}"
            raise fail("data-format", message, 'its items are dicts by name: {"image": ..., "label": ...}')
        if index and item.keys() != columns.keys():
            names = ", ".join(map(str, item))
            message = f"item {index} of the dataset has the names {names}, and the first one others"
            raise fail("data-column", message)
        for name, value in item.items():
            columns.setdefault(name, []).append(value)
    if not columns:
        raise fail("data-empty", f"`{NAME}` holds no examples")
    try:
        arrays = {name: np.stack([_array(value) for value in values]) for name, values in columns.items()}
    except ValueError as error:
        if any(hasattr(value, "shape") for values in columns.values() for value in values):
            raise fail(
                "data-shape", _differing(columns) or f"the items of the dataset differ: {error}"
            ) from None
        from graphspec.data.tables.python_values import table_of

        return Given(table=table_of(columns, NAME))
    return _arrays(arrays)


def _differing(columns: Mapping[str, Sequence[Any]]) -> str | None:
    """Which item of a dataset has another shape than the first one."""
    for name, values in columns.items():
        shapes = [_array(value).shape for value in values]
        other = next((index for index, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is not None:
            shown, first = list(shapes[other]), list(shapes[0])
            return (
                f"`{name}` of item {other} of the dataset has the shape {shown}, and that of item 0 {first}"
            )
    return None


def _is_no_number(value: Any) -> bool:
    """Whether a value, or an element of a list, is no number, and an array would change its type."""
    if isinstance(value, list):
        return any(map(_is_no_number, value))
    return not isinstance(value, int | float)


def _items(items: Sequence[Any]) -> Iterator[Any]:
    """By index up to the length: a Dataset need not end its iteration."""
    for index in range(len(items)):
        yield items[index]
