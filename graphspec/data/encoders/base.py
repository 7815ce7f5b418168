"""The base of every encoder: learn from training rows, turn columns into an array, turn predictions back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter

from graphspec.data.columns import Mask, TablePart
from graphspec.data.features.plan import Fill
from graphspec.data.features.settings import Feature
from graphspec.data.ragged import Ragged
from graphspec.data.rows.cells import CellType
from graphspec.data.rows.fields import InRow
from graphspec.diagnostics import SpecError, fail

Array = NDArray[Any]


def restored(kind: Any, value: Any) -> Any:
    """Converts a value of a file to a type. Raises `ValueError` where it does not fit."""
    return _adapter(kind).validate_python(value)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def damaged(what: str) -> SpecError:
    """The error of encoders that are not as they were written."""
    return fail("data-format", f"the encoders are damaged, or belong to another spec: {what}", "train again")


UNSEEN_TOKENS = "with unseen tokens"
"""The mark of rows of which some tokens have no id of their own."""


@dataclass(frozen=True, slots=True)
class Column:
    """The encoded array of some rows. Where `missing`, a target has no value, and a legal one replaces it.

    `marks` are the rows to report, by reason: unseen, filled, cut.
    """

    values: Array | Ragged
    missing: Mask | None = None
    marks: Mapping[str, Mask] = field(default_factory=dict)
    mask: Mask | None = None
    """Of a target of fixed length, the steps that the row has, [n, steps]."""
    counted: Mask | Ragged | None = None
    """Of tokens that come next, which count: of fixed length [n, steps], else of each row."""
    unit: Array | None = None
    """The shifts and scales of each row, where rows have their own, float32 [n, 2 * columns]."""


@dataclass(frozen=True, slots=True)
class ColumnCells:
    """The way from the array of a field back to the cells of one column, or of columns that share one text:
    its places along the last axis (None: all of it), and what these say of each row.

    A cell is a text or a number, a list of these where a row has several. It is None where the array does not
    say it: of a rare or unseen value, or of a number that was missing. Of a date it is its parts by name.
    """

    name: str
    places: tuple[int, ...] | None
    read: Callable[[Array], list[Any]]

    def of(self, values: Array) -> list[Any]:
        """The cell of each row of the array of the field, rows first."""
        if self.places is None:
            return self.read(values)
        return self.read(values[..., list(self.places) if len(self.places) > 1 else self.places[0]])


def each(values: Array, cell: Callable[[Any], Any]) -> list[Any]:
    """The cell of each number of an array, nested as that is."""

    def nested(value: Any) -> Any:
        return [nested(one) for one in value] if isinstance(value, list) else cell(value)

    return [nested(value) for value in values.tolist()]


def names_at(ids: Array, names: Sequence[Any], first: int = 0) -> list[Any]:
    """The name of each id, of which the first is `first`; None for one without a name."""
    return each(ids, lambda i: names[i] if 0 <= (i := int(i) - first) < len(names) else None)


class Encoder(ABC):
    """One field and the columns that fill it.

    First `learn` takes all training rows, part by part, and `finish` ends that. Or `restore` gives back what
    `state` said of another encoder of the same plan.
    """

    feature: Feature | None
    """Its settings; None where columns need no encoder."""

    def __init__(self, fill: Fill, ignore: bool = False):
        self.fill, self.feature = fill, fill.feature
        self.columns = (fill.field,) if fill.feature is None else fill.feature.read(fill.field)
        self.ignore = ignore
        """Whether a target may be missing."""
        self.root = Path()
        """The directory to which files that its feature names are relative."""
        self.notes: list[str] = []
        self.limit: int | None = None
        """The first rows that it learns from, where `--limit` says how many."""

    @property
    def name(self) -> str:
        return self.fill.field

    names_files = False
    """Whether cells may name files, which decide what rows become, too."""

    def contents(self, part: TablePart) -> Iterator[bytes]:
        """Digests of the files that some rows name."""
        yield from ()

    @property
    def beside(self) -> tuple[str, ...]:
        """Columns that say how the others are encoded, and so how a prediction is read."""
        return ()

    @property
    def scales_rows(self) -> bool:
        """Whether rows have scales of their own, as a target: see `unit`."""
        return bool(self.beside)

    def learn(self, part: TablePart) -> None:
        """Learns from some of the training rows. Raises `SpecError`."""
        return None

    def finish(self) -> None:
        """Ends learning, after all training rows. Raises `SpecError`."""
        return None

    def unit(self, part: TablePart) -> Array | None:
        """The `unit` of some rows, whose values need not be there."""
        return None

    @abstractmethod
    def encode(self, part: TablePart) -> Column:
        """Encodes some rows, of training or not. Raises `SpecError`."""

    def follow(self, other: Encoder) -> None:
        """Says whose rows it reads, of a feature of another feature."""
        raise TypeError(f"{type(self).__name__} reads columns")

    def sized(self, size: tuple[int, int]) -> Self:
        """The same, for pictures of this width and height, if it reads pictures."""
        return self

    def forget(self) -> None:
        """Gives up what it keeps of the rows that it encoded last."""
        return None

    def cell(self, column: int = 0) -> CellType:
        """The type of the cells in one of its columns."""
        return CellType("text")

    def in_row(self) -> InRow | None:
        """Encodes one row, a dict from column names to Python values, as `encode` does a table of that row;
        plain values only, unscaled by columns `beside` it. None where `encode` has to read every row.
        """
        return None

    def cells(self) -> list[ColumnCells]:
        """The inverse of `encode`, for each column."""
        return [ColumnCells(self.columns[0], self.place(0), np.ndarray.tolist)]

    def place(self, column: int) -> tuple[int] | None:
        """Where the number of a column is along the last axis."""
        return None if self.is_single else (column,)

    @property
    def is_single(self) -> bool:
        """Whether the field has one value for a row, without an axis for several."""
        return self.fill.tensor.rank == 1

    def state(self) -> dict[str, Any]:
        """The learned state, as plain JSON data."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the value of `state`."""
        return None

    def id_names(self) -> list[Any] | None:
        """The name of each id, in order; a tuple that ends in None stands for unseen values. None if it gives
        no ids.
        """
        return None

    def classes_of(self, column: Column) -> NDArray[np.int64] | None:
        """The class of each row, of a target that has one; None of any other field."""
        return None

    # --- missing values

    def gap(self, part: TablePart, column: str, missing: Mask) -> SpecError:
        """The error for missing values, at the first of them."""
        index, count = int(missing.argmax()), int(missing.sum())
        more = f", and so {'is' if count == 2 else 'are'} {count - 1} more" if count > 1 else ""
        what = f"the value is missing{more}"
        return part.fail("data-gap", column, index, what, self._remedy(), "give a value")

    def _remedy(self) -> str:
        if self.fill.target:
            ignore = f"{self.fill.output}: {{missing: ignore}}"
            return f"{self.target_help}rows without a target do not count with `{ignore}`"
        return self.fill_help

    target_help = ""
    """Precedes the advice that a target may be missing."""

    fill_help = "write `fill: ...` at the feature"
    """Remedy where a value of an input is missing."""


def any_of(mask: Mask) -> Mask:
    """[n] of [n, k]: whether there is any in a row."""
    return np.asarray(mask.any(1))


def scattered(rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A pseudorandom number for each row (the finalizer of splitmix64)."""
    x = rows.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shaped(fill: Fill, values: Array) -> Array:
    """[n, k] as the field has it, whose shape may be [n] where k is 1."""
    return values[:, 0] if fill.tensor.rank == 1 and values.shape[1] == 1 else values


def with_fill(column: pa.Array, fill: str | None) -> tuple[pa.Array, Mask]:
    """The column with missing values replaced by `fill`, and a mask of them."""
    missing = np.asarray(column.is_null())
    return (column if fill is None else pc.fill_null(column, fill)), missing
