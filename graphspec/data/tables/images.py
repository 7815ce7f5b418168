"""A folder of images as a table: a row for each, in the order of classes and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from graphspec.data.folders import Found
from graphspec.data.tables.base import Table
from graphspec.diagnostics import Span, SpecError, fail

ROWS = 2**8
"""Rows of a part."""


class Images(Table):
    """Columns: `file` and `image`, the path in the folder; `label`, the class, where there are any."""

    def __init__(self, source: Found):
        super().__init__(source.path, ())
        self.root = source.path
        self.files, self.labels = source.files, source.labels

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        names = ["file", "image", *(["label"] if self.labels is not None else [])]
        return dict.fromkeys(names, pa.string())

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        if name == "label" and self.labels is None:
            folder = self.root.name
            help = f"a class is a folder of its own: `{folder}/cats/1.png`, `{folder}/dogs/2.png`"
            message = f"`{self.file}` has no classes: its images lie in one folder"
            return fail("data-column", message, help, span=span)
        return super().lacks(name, span, help)

    def place(self, row: int) -> str:
        return f"`{self.files[row].relative_to(self.root)}`" if row < len(self.files) else f"row {row}"

    def span(self, row: int, name: str) -> Span | None:
        return Span(str(self.files[row]), 0, 0, 0, 0) if row < len(self.files) else None

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for first in range(0, len(self.files), ROWS):
            part = self.files[first : first + ROWS]
            values = {
                "file": [str(file.relative_to(self.root)) for file in part],
                "image": [str(file.relative_to(self.root)) for file in part],
                "label": list((self.labels or ())[first : first + ROWS]),
            }
            yield pa.table({name: pa.array(values[name], pa.string()) for name in columns})
