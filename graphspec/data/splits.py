"""Which rows are for training and which for validation.

Whatever the format of a file, its rows fall into the same parts: a choice depends on the seed, the number of
rows, and where values that are equal stand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from graphspec.data.batches import SPLIT, generator, split
from graphspec.data.files import Marked, Split
from graphspec.data.mistakes import shown
from graphspec.diagnostics import fail

Rows = NDArray[np.int64]
Place = Callable[[int], str]
TRAINING, VALIDATION, TEST = 0, 1, 2
WORDS = {
    "train": TRAINING,
    "training": TRAINING,
    "0": TRAINING,
    "false": TRAINING,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "1": VALIDATION,
    "true": VALIDATION,
    "test": TEST,
    "2": TEST,
}
"""What a column of parts may hold, in small or capital letters."""


def values(column: Any) -> pa.ChunkedArray:
    """A column, or an array of one value a row, as a column."""
    if isinstance(column, pa.ChunkedArray):
        return column
    if column.ndim != 1 or column.dtype.kind not in "biufU":
        shape = ", ".join(map(str, column.shape))
        raise fail(
            "data-shape",
            f"the array that defines the split holds {column.dtype} of shape [{shape}]",
            "give one value for each row",
        )
    return pa.chunked_array([pa.array(column)])


def by_split(found: Split, column: pa.ChunkedArray | None, count: int, seed: int, place: Place) -> Any:
    """For each row its part, uint8. `column` is the one that the split names, if it names one."""
    parts = np.zeros(count, np.uint8)
    if column is None:
        parts[split(count, found.split, seed)[1].numpy()] = VALIDATION
        return parts
    wanted = count - int(count * (1 - found.split))
    if found.last_by is not None:
        held = _order(found.last_by, column, place)[count - wanted :]
    else:
        ids, groups = _ids(column)
        if found.group is not None:
            _no_gap(found.group, column, place, "group")
            held = _whole_groups(ids, groups, wanted, seed)
        else:
            held = _shares(ids, groups, found.split, wanted, seed)
    parts[held] = VALIDATION
    return parts


def by_column(found: Marked, column: pa.ChunkedArray, place: Place) -> Any:
    """For each row the part that it names, uint8."""
    _no_gap(found.column, column, place, "part")
    values = pc.utf8_lower(column.cast(pa.string()))
    known = pa.array(list(WORDS))
    index = pc.index_in(values, known)
    if index.null_count:
        row = pc.index(pc.is_null(index), True).as_py()
        message = (
            f"column `{found.column}` is {shown(column[row].as_py())} at {place(row)}, which is not a part"
        )
        raise fail("data-range", message, "write train, validation or test (or 0, 1, 2)")
    return np.array(list(WORDS.values()), np.uint8)[np.asarray(index.combine_chunks())]


def _ids(column: pa.ChunkedArray) -> tuple[Rows, int]:
    """For each row the number of its value, counted as they appear, and how many there are; null is one."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices, np.int64), len(encoded.dictionary)


def _whole_groups(ids: Rows, groups: int, wanted: int, seed: int) -> Rows:
    """Groups in an order drawn at random, until there are about as many rows as wanted."""
    sizes = np.bincount(ids, minlength=groups)
    held: list[int] = []
    total = 0
    for group in torch.randperm(groups, generator=generator(seed, SPLIT)).tolist():
        if abs(total + sizes[group] - wanted) <= abs(total - wanted) and len(held) < groups - 1:
            held.append(group)
            total += sizes[group]
    return np.flatnonzero(np.isin(ids, held))


def _shares(ids: Rows, groups: int, fraction: float, wanted: int, seed: int) -> Rows:
    """Of the rows of each value the same share, `wanted` in all; one row at least stays for training."""
    sizes = np.bincount(ids, minlength=groups)
    exact = sizes * fraction
    counts = np.minimum(np.floor(exact).astype(np.int64), np.maximum(sizes - 1, 0))
    for group in np.argsort(counts - exact, kind="stable"):
        if counts.sum() >= wanted:
            break
        counts[group] += counts[group] < sizes[group] - 1
    drawn = torch.randperm(len(ids), generator=generator(seed, SPLIT)).numpy()
    order = drawn[np.argsort(ids[drawn], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.concatenate([order[s : s + c] for s, c in zip(starts, counts, strict=True)])


def _order(name: str, column: pa.ChunkedArray, place: Place) -> Rows:
    """The rows in the order of a column of numbers or dates; equal ones in that of the file."""
    _no_gap(name, column, place, "last_by")
    if pa.types.is_string(column.type):
        column = _ordered_type(name, column)
    order = pc.sort_indices(
        pa.table({"by": column, "row": np.arange(len(column))}), [("by", "ascending"), ("row", "ascending")]
    )
    return np.asarray(order, np.int64)


def _ordered_type(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as the numbers or the dates that it says."""
    for kind in (pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    message = f"column `{name}`, by which the last rows are kept, is neither numbers nor dates of ISO 8601"
    raise fail("data-dtype", message, "write dates as 2024-12-31, or 2024-12-31T23:59:59")


def _no_gap(name: str, column: pa.ChunkedArray, place: Place, what: str) -> None:
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        more = f", and {column.null_count - 1} more rows" if column.null_count > 1 else ""
        message = f"column `{name}`, which gives the {what} of a row, is missing at {place(row)}{more}"
        raise fail("data-gap", message, "fill it: every row belongs to one part")
