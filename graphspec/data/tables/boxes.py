"""Boxes in tables: of whatever table, a row for each picture, with a cell that has its boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart, is_list, lists, missing_in, numbers, numbers_of, texts, texts_of
from graphspec.data.features.vision import BOXES, BoxesFeature
from graphspec.data.mistakes import row_in_words
from graphspec.data.tables.base import Table, WrappingTable
from graphspec.diagnostics import Span, SpecError, fail

BOX = pa.struct(
    [
        *((side, pa.float64()) for side in ("left", "top", "right", "bottom")),
        ("label", pa.string()),
        ("order", pa.int64()),
        ("crowd", pa.bool_()),
        ("place", pa.string()),
    ]
)
"""A box: its sides, the text of its class and the number that this has in the file, whether it is a crowd,
and where it stands, in words.
"""
CELL = pa.struct([("size", pa.list_(pa.int64())), (BOXES, pa.list_(BOX))])
"""The boxes of a picture, and its width and height where they are known."""
ROWS = 2**12
"""Rows of a part."""


def corners(values: NDArray[Any], format: str) -> NDArray[Any]:
    """Left, top, right and bottom, [n, 4], of four numbers of a format."""
    if format == "xyxy":
        return values
    first, size = values[:, :2], values[:, 2:]
    start = first - size / 2 if format == "cxcywh" else first
    return np.concatenate((start, start + size), 1)


@dataclass(frozen=True, slots=True)
class BoxList:
    """Boxes one after another, each with the number of its picture."""

    corners: NDArray[np.float64]
    labels: list[str]
    pictures: NDArray[np.int64]
    places: list[str]

    def cells(self, count: int) -> list[list[dict[str, Any]]]:
        """The boxes of each picture."""
        found: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        boxes = zip(self.corners.tolist(), self.labels, self.pictures.tolist(), self.places, strict=True)
        for (left, top, right, bottom), label, picture, place in boxes:
            sides = {"left": left, "top": top, "right": right, "bottom": bottom}
            found[picture].append({**sides, "label": label, "order": 0, "crowd": False, "place": place})
        return found


class BoxTable(WrappingTable):
    """A table with a row for each picture, from one with a row for each box, or with lists of boxes. What
    other columns say of a picture its first row says.
    """

    def __init__(self, table: Table, feature: BoxesFeature, picture: str):
        super().__init__(table)
        self.feature, self.picture = feature, picture
        self.named = list(feature.columns or ())
        self._first: NDArray[np.int64] | None = None

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        there = self.table.columns
        return {**there, BOXES: CELL} if set(self.named) <= set(there) else there

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        missing = next((each for each in self.named if each not in self.table.columns), name)
        return self.table.lacks(missing if name == BOXES else name, span, help)

    def span(self, row: int, name: str) -> Span | None:
        return super().span(row, name if name in self.table.columns else self.named[0])

    def holds_rows(self) -> bool:
        return self.table.holds_rows()

    def original(self, row: int) -> int:
        return row if self._first is None else int(self._first[row])

    @property
    def _by_picture(self) -> bool:
        """Whether a row is a picture already."""
        return len(self.named) == 2 or BOXES not in self.columns

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        plain = [name for name in columns if name != BOXES or name not in self.columns]
        if self._by_picture:
            wanted = dict.fromkeys([*plain, *(self.named if BOXES in columns else ())])
            for start, part in self.table.chunks([*wanted] or [*self.table.columns][:1]):
                rows = self._part(part, np.arange(start, start + part.num_rows))
                yield self._joined(columns, part, self._of_lists(rows) if BOXES in columns else [])
            return
        self.table.read_as_text([self.picture, self.named[-1]])
        read = self.table.read([*dict.fromkeys([self.picture, *self.named, *plain])])
        rows = self._part(read, np.arange(read.num_rows))
        first, of = self._pictures(rows)
        self._first = first
        cells = self._of_rows(rows, of).cells(len(first)) if BOXES in columns else []
        kept = read.take(pa.array(first))
        for start in range(0, len(first), ROWS):
            yield self._joined(columns, kept.slice(start, ROWS), cells[start : start + ROWS])

    def _part(self, table: pa.Table, rows: NDArray[np.int64]) -> TablePart:
        return TablePart(table, rows, self.file, self.table.place, self.decimal, self.root, self.table.span)

    def _joined(self, columns: Sequence[str], plain: pa.Table, cells: list[list[dict[str, Any]]]) -> pa.Table:
        """The columns of pictures, with their boxes where these are asked for."""
        if cells:
            boxes = pa.array([{"size": None, BOXES: each} for each in cells], CELL)
            plain = plain.select([name for name in columns if name != BOXES]).append_column(BOXES, boxes)
        return plain.select(columns)

    def _pictures(self, rows: TablePart) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first row of each picture, and the number of the picture of each row."""
        names = texts(rows, self.picture)
        gone = missing_in(names)
        if gone.any():
            raise rows.fail("data-gap", self.picture, int(gone.argmax()), "the picture is missing")
        encoded = names.dictionary_encode()
        of = np.asarray(encoded.indices).astype(np.int64)
        return np.unique(of, return_index=True)[1], of

    def _of_rows(self, rows: TablePart, of: NDArray[np.int64]) -> BoxList:
        """The boxes of a table with one in each row; a row without numbers is a picture without a box."""
        values = np.stack([numbers(rows, name) for name in self.named[:4]], 1)
        labels = texts(rows, self.named[4])
        gaps = np.isnan(values)
        absent = gaps.all(1)
        for place, name in enumerate(self.named):
            gap = (gaps[:, place] if place < 4 else missing_in(labels)) & ~absent
            if gap.any():
                help = "give all four numbers and the class, or of a picture without boxes none"
                raise rows.fail("data-gap", name, int(gap.argmax()), "the value is missing", help)
        kept = np.flatnonzero(~absent)
        places = [rows.place(int(rows.rows[index])) for index in kept] if len(kept) < ROWS else None
        named = places or [row_in_words(int(rows.rows[index])) for index in kept]
        found = corners(values[kept], self.feature.format)
        return BoxList(found, labels.take(pa.array(kept)).to_pylist(), of[kept], named)

    def _of_lists(self, rows: TablePart) -> list[list[dict[str, Any]]]:
        """The boxes of a table with lists of them."""
        boxes, labels = self.named
        listed, classes = lists(rows, boxes), lists(rows, labels)
        lengths = np.diff(listed.offsets)
        odd = lengths != np.diff(classes.offsets)
        if odd.any():
            index = int(odd.argmax())
            what = f"it has {lengths[index]} boxes, and `{labels}` {np.diff(classes.offsets)[index]} classes"
            raise rows.fail("data-shape", boxes, index, what, "give each box a class")
        if not is_list(listed.values.type) and len(listed.values):
            raise rows.fail(
                "data-dtype", boxes, 0, "it holds no lists of four numbers", "as [[8, 8, 40, 30]]"
            )
        values = np.zeros((len(listed.values), 4))
        if len(values):
            sizes = np.asarray(listed.values.value_lengths())
            if (sizes != 4).any():
                index = int((sizes != 4).argmax())
                what = f"a box has {sizes[index]} numbers, not 4"
                raise rows.fail("data-shape", boxes, listed.row(index), what)
            flat = listed.values.flatten()
            values = numbers_of(rows, boxes, flat, lambda place: listed.row(place // 4)).reshape(-1, 4)
            if np.isnan(values).any():
                index = listed.row(int(np.isnan(values).any(1).argmax()))
                raise rows.fail("data-gap", boxes, index, "a number of a box is missing")
        of = np.repeat(np.arange(len(rows)), lengths)
        first = np.repeat(listed.offsets[:-1], lengths)
        places = [f"box {place}" for place in (np.arange(len(values)) - first).tolist()]
        names = texts_of(rows, labels, classes.values, classes.row).to_pylist()
        return BoxList(corners(values, self.feature.format), names, of, places).cells(len(rows))


def need_coco(file: str) -> SpecError:
    """The error of a file that cannot be COCO's."""
    help = "name the .json with `images`, `annotations` and `categories`, or write another `format`"
    return fail("data-format", f"`format: coco` reads a .json of COCO, which `{file}` is not", help)
