"""COCO's JSON as a table: a row for each of its `images`, with the boxes of its `annotations`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from graphspec.data.features.vision import BOXES
from graphspec.data.mistakes import not_utf8, shown, unreadable
from graphspec.data.tables.base import Table
from graphspec.data.tables.boxes import CELL, need_coco
from graphspec.diagnostics import Span, SpecError, did_you_mean, fail
from graphspec.files.reading import content, parse_json

LARGEST = 2**30
"""Bytes of a file that are read."""
ROWS = 2**10
"""Rows of a part."""
IMAGES, ANNOTATIONS, CATEGORIES = "images", "annotations", "categories"
SIDE = 2**31
"""Numbers of a box are smaller."""


class Coco(Table):
    """Columns: `image`, its `file_name`; `id`, `width` and `height`; and its boxes."""

    empty_help = "its `images` are empty: export them together with the annotations"

    def __init__(self, path: Path):
        super().__init__(path, ())
        self.path = path

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        texts = any(isinstance(entry["id"], str) for entry in self._pictures)
        names = {"image": pa.string(), "id": pa.string() if texts else pa.int64()}
        names |= {"width": pa.int64(), "height": pa.int64()}
        return {**names, BOXES: CELL} if ANNOTATIONS in self._document else names

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        if name == BOXES:
            message = f"`{self.file}` has no `{ANNOTATIONS}`"
            help = did_you_mean(
                ANNOTATIONS, self._document, "name the file with the annotations of these images"
            )
            return fail("data-column", message, help, span=span)
        return super().lacks(name, span, help)

    def place(self, row: int) -> str:
        return (
            f"picture `{self._pictures[row]['file_name']}`" if row < len(self._pictures) else f"image {row}"
        )

    def span(self, row: int, name: str) -> Span | None:
        return Span(self.file, 0, 0, 0, 0, f"`{IMAGES}`, number {row}")

    @cached_property
    def _document(self) -> dict[str, Any]:
        """The file, of which `images` are there. Raises `SpecError`."""
        try:
            document = parse_json(content(self.path, LARGEST).decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise fail("data-format", f"`{self.file}` is not UTF-8", not_utf8("latin-1")) from None
        except json.JSONDecodeError as error:
            span = Span(self.file, error.lineno, error.colno, error.lineno, error.colno + 1)
            what = f"line {error.lineno} of `{self.file}` is not JSON: {error.msg}"
            raise fail("data-format", what, "write or download it again", span=span) from None
        except ValueError as error:
            raise fail("data-format", f"`{self.file}` is not JSON: {error}") from None
        except OSError as error:
            raise unreadable(self.path, error) from None
        if not isinstance(document, dict):
            raise need_coco(self.file)
        if IMAGES not in document:
            help = did_you_mean(
                IMAGES, document, f"its keys are {', '.join(map(str, [*document][:8])) or 'none'}"
            )
            raise fail("data-format", f"`{self.file}` has no `{IMAGES}`, which a file of COCO has", help)
        for key in (IMAGES, ANNOTATIONS, CATEGORIES):
            entries = document.get(key, [])
            if not isinstance(entries, list):
                what = f"`{key}` of `{self.file}` is {shown(entries)}, and not a list"
                raise fail(
                    "data-format", what, f"write `{key}` as a list of objects, or export the file again"
                )
            for number, entry in enumerate(entries):
                if not isinstance(entry, dict):
                    self._wrong(key, number, {}, f"it is {shown(entry)}, and not an object")
        return document

    @cached_property
    def _pictures(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._document[IMAGES]
        self._numbered(IMAGES, entries)
        names: dict[str, int] = {}
        for number, entry in enumerate(entries):
            name = self._value(IMAGES, number, entry, "file_name", str)
            if names.setdefault(name, number) != number:
                what = f"its `file_name` {shown(name)} is that of number {names[name]}, too"
                self._wrong(IMAGES, number, entry, what)
            for key in ("width", "height"):
                if (
                    entry.get(key) is not None
                    and not 0 <= self._value(IMAGES, number, entry, key, int) < SIDE
                ):
                    self._wrong(IMAGES, number, entry, f"its `{key}` is {shown(entry[key])}")
        return entries

    @cached_property
    def categories(self) -> dict[int | str, str]:
        """The name of each category, by its id."""
        entries = self._document.get(CATEGORIES)
        if entries is None:
            raise fail(
                "data-format", f"`{self.file}` has no `{CATEGORIES}`", "they say what annotations show"
            )
        ids = self._numbered(CATEGORIES, entries)
        names: dict[str, int] = {}
        for number, entry in enumerate(entries):
            name = self._value(CATEGORIES, number, entry, "name", str)
            if names.setdefault(name, number) != number:
                self._wrong(
                    CATEGORIES, number, entry, f"its name {shown(name)} is that of number {names[name]}"
                )
        return {key: entries[number]["name"] for key, number in ids.items()}

    def _numbered(self, key: str, entries: Sequence[dict[str, Any]]) -> dict[int | str, int]:
        """The number of each entry by its id."""
        ids: dict[int | str, int] = {}
        for number, entry in enumerate(entries):
            value = self._value(key, number, entry, "id", int | str)
            if ids.setdefault(value, number) != number:
                self._wrong(key, number, entry, f"its id {shown(value)} is that of number {ids[value]}, too")
        return ids

    def _value(self, key: str, number: int, entry: Mapping[str, Any], name: str, kind: Any) -> Any:
        if name not in entry:
            self._wrong(key, number, entry, f"it has no `{name}`", did_you_mean(name, entry, None))
        value = entry[name]
        huge = isinstance(value, int) and abs(value) >= 2**63
        if isinstance(value, bool) or not isinstance(value, kind) or value == "" or huge:
            wanted = {int: "a whole number", str: "a text", list: "a list"}.get(kind, "a number or a text")
            self._wrong(key, number, entry, f"its `{name}` is {shown(value)}, and not {wanted}")
        if isinstance(value, str) and (not value.strip() or any("\ud800" <= c <= "\udfff" for c in value)):
            what = "half of a letter" if value.strip() else "of blanks alone"
            self._wrong(key, number, entry, f"its `{name}` {value!a} is {what}")
        return value

    def _wrong(
        self, key: str, number: int, entry: Mapping[str, Any], what: str, help: str | None = None
    ) -> NoReturn:
        named = f" (id {shown(entry['id'])})" if isinstance(entry.get("id"), int | str) else ""
        span = Span(self.file, 0, 0, 0, 0, f"`{key}`, number {number}")
        message = f"`{key}` of `{self.file}`, number {number}{named}: {what}"
        raise fail(
            "data-format", message, help or "correct or remove it, or export the file again", span=span
        )

    @cached_property
    def _boxes(self) -> list[list[dict[str, Any]]]:
        """The boxes of each picture. Raises `SpecError` with the first mistake."""
        pictures = {entry["id"]: number for number, entry in enumerate(self._pictures)}
        texts = any(isinstance(key, str) for key in self.categories)
        orders = {key: number if texts else int(key) for number, key in enumerate(self.categories)}
        cells: list[list[dict[str, Any]]] = [[] for _ in pictures]
        for number, entry in enumerate(self._document[ANNOTATIONS]):
            picture = self._value(ANNOTATIONS, number, entry, "image_id", int | str)
            category = self._value(ANNOTATIONS, number, entry, "category_id", int | str)
            if picture not in pictures:
                what = f"its `image_id` {shown(picture)} is the id of none of the `{IMAGES}`"
                self._wrong(ANNOTATIONS, number, entry, what)
            if category not in self.categories:
                what = f"its `category_id` {shown(category)} is the id of none of the `{CATEGORIES}`"
                known = ", ".join(f"{key} ({name})" for key, name in [*self.categories.items()][:8])
                self._wrong(ANNOTATIONS, number, entry, what, f"these are {known or 'none'}")
            left, top, width, height = self._sides(number, entry)
            crowd = entry.get("iscrowd", 0)
            if crowd not in (0, 1):
                self._wrong(ANNOTATIONS, number, entry, f"its `iscrowd` is {shown(crowd)}, and not 0 or 1")
            named = f" (id {shown(entry['id'])})" if isinstance(entry.get("id"), int | str) else ""
            sides = {"left": left, "top": top, "right": left + width, "bottom": top + height}
            about = {"label": self.categories[category], "order": orders[category], "crowd": bool(crowd)}
            cells[pictures[picture]].append({**sides, **about, "place": f"annotation {number}{named}"})
        return cells

    def _sides(self, number: int, entry: Mapping[str, Any]) -> Sequence[float]:
        box: list[Any] = self._value(ANNOTATIONS, number, entry, "bbox", list)
        fine = [isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < SIDE for n in box]
        if len(box) != 4 or not all(fine):  # NaN is smaller than nothing
            what = f"its `bbox` is {shown(box)}, and not left, top, width and height"
            self._wrong(ANNOTATIONS, number, entry, what)
        return box

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for first in range(0, len(self._pictures), ROWS):
            part = self._pictures[first : first + ROWS]
            values: dict[str, Any] = {
                "image": [entry["file_name"] for entry in part],
                "id": [
                    str(each["id"]) if pa.types.is_string(self.columns["id"]) else each["id"] for each in part
                ],
                "width": [entry.get("width") for entry in part],
                "height": [entry.get("height") for entry in part],
            }
            if BOXES in columns:
                values[BOXES] = [
                    {"size": _size(entry), BOXES: boxes}
                    for entry, boxes in zip(part, self._boxes[first : first + ROWS], strict=True)
                ]
            yield pa.table({name: pa.array(values[name], self.columns[name]) for name in columns})


def _size(entry: Mapping[str, Any]) -> list[int] | None:
    width, height = entry.get("width"), entry.get("height")
    return None if not width or not height else [width, height]
