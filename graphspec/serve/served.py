"""What answers at a path: from rows of JSON to predictions, or to what is wrong with each."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from graphspec.data.encoders.images import ImageEncoder
from graphspec.diagnostics import Diagnostic, SpecError, fail
from graphspec.diagnostics.text import first_line
from graphspec.runs.model import Model
from graphspec.runs.rows import ArrayReader, Row, RowArrays, RowReader
from graphspec.runs.run import Run

MOST = 256
"""Rows that one call of the module takes."""
Answer = dict[str, Any] | list[Diagnostic]
"""The predictions of a row, or its mistakes."""


class Served:
    """A run under a name. It is replaced, never changed: a request ends with the one that it began with."""

    def __init__(self, name: str, run: Run, device: str = "auto", engine: str = "torch"):
        self.name, self.run, self.device, self.engine = name, run, device, engine
        self.model: Model = run.model(device, engine)
        if self.model.reader is None:
            message = f"`{run.path}` predicts from several rows, and a server answers each row for itself"
            raise fail("not-supported", message, "`graphspec predict` reads the whole table")

    def reloaded(self) -> Served:
        """The same run, read again from its directory. Raises `SpecError`."""
        return Served(self.name, self.run.again(), self.device, self.engine)

    @property
    def reader(self) -> RowReader | ArrayReader:
        assert self.model.reader is not None
        return self.model.reader

    @property
    def path(self) -> Path:
        return self.run.path

    @cached_property
    def pictures(self) -> list[str]:
        """The columns of pictures: their values are bytes, in base64."""
        encoders = self.model.encoders
        if encoders is None:
            return []
        return [
            column
            for fill in encoders.plan.fills
            if not fill.target and isinstance(encoder := encoders.encoders[fill.field], ImageEncoder)
            for column in encoder.columns
        ]

    @cached_property
    def picture(self) -> str | None:
        """The column that a picture alone fills; None where a row needs more."""
        encoders = self.model.encoders
        if encoders is None or len(self.pictures) != 1:
            return None
        inputs = [fill for fill in encoders.plan.fills if not fill.target]
        return self.pictures[0] if len(inputs) == 1 else None

    def predict(self, rows: list[tuple[int, Any]]) -> list[Any]:
        """The answer to each row, which comes with its number in its request."""
        answers: list[Answer | None] = [None] * len(rows)
        alike: dict[Any, list[tuple[int, Row, RowArrays]]] = {}
        for index, (number, given) in enumerate(rows):
            try:
                row = self._row(given)
                read = self.reader.read(row, number)
            except SpecError as error:
                answers[index] = list(error.diagnostics)
                continue
            alike.setdefault(read.shapes, []).append((index, row, read))
        for group in alike.values():
            for first in range(0, len(group), MOST):
                part = group[first : first + MOST]
                found = self._together([row for _, row, _ in part], [read for _, _, read in part])
                for (index, _, _), answer in zip(part, found, strict=True):
                    answers[index] = answer
        return answers

    def _row(self, given: Any) -> Row:
        if not isinstance(given, Mapping):
            raise fail("data-format", "a row is a JSON object", 'as {"column": value}')
        row = dict(given)
        for name in self.pictures:
            if isinstance(row.get(name), str):
                row[name] = _bytes(name, row[name])
        return self.reader.complete(row) if isinstance(self.reader, RowReader) else row

    def _together(self, rows: Sequence[Row], read: Sequence[RowArrays]) -> Sequence[Answer]:
        try:
            return self.model.answers(rows, read)
        except SpecError as error:
            if len(rows) == 1:
                return [list(error.diagnostics)]
            return [self._together([row], [each])[0] for row, each in zip(rows, read, strict=True)]
        except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
            if len(rows) > 1:
                return [self._together([row], [each])[0] for row, each in zip(rows, read, strict=True)]
            return [[Diagnostic("run-failed", f"running the module fails: {first_line(error)}", None)]]


def _bytes(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise fail("data-format", f"column `{name}` is not a picture in base64") from None
