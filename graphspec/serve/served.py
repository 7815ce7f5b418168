"""What answers at a path: from rows of JSON to predictions, or to what is wrong with each."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.rows.fields import Row
from graphspec.data.rows.reader import RowArrays, spelled
from graphspec.diagnostics import Diagnostic, SpecError, fail
from graphspec.diagnostics.text import first_line
from graphspec.runs.masks import Masks, is_mask
from graphspec.runs.run import Run
from graphspec.serve.options import ServeOptions

MOST = 256
"""Rows that one call of the module takes."""
Answer = dict[str, Any] | list[Diagnostic]
"""The predictions of a row, or its mistakes."""


class Served:
    """A run under a name. It is replaced, never changed: a request ends with the one that it began with.
    Raises `SpecError` for a run that cannot be read, or has no reader of single rows (not-supported).
    """

    def __init__(self, name: str, path: Path, asked: ServeOptions | None = None):
        self.name, self.path, self._asked = name, path, asked or ServeOptions([path])
        self.seconds = math.inf
        run = Run(path, self._asked.weights, self._asked.allow)
        model = run.model(self._asked.device, self._asked.engine)
        self.answering, self.synthetic = model.answering, run.files.synthetic
        self.notes: Sequence[str] = model.notes
        """Messages about the engine."""
        if model.reader is None:
            message = f"`{path}` predicts from several rows, but a server answers each by itself"
            raise fail("not-supported", message, "`graphspec predict` reads the whole table")
        self.reader = model.reader
        self._plain = self.reader.usual()
        """Reads plain rows, which are most, without completing them first."""
        self.pictures: list[str] = []
        """The columns of pictures: their values are bytes, in base64."""
        self.picture: str | None = None
        """The column that a picture alone fills; None where a row needs more."""
        if self.reader.encoders is not None:
            inputs = [fill for fill in self.reader.encoders.plan.fills if not fill.target]
            encoders = [self.reader.encoders.encoders[fill.field] for fill in inputs]
            self.pictures = [c for each in encoders if isinstance(each, ImageEncoder) for c in each.columns]
            self.picture = self.pictures[0] if len(inputs) == len(self.pictures) == 1 else None
        self.masks: Masks | None = None
        """Draws the mask of a picture, of a run that predicts one."""
        if self.picture is not None and any(map(is_mask, model.answering.written.values())):
            self.masks = Masks(run.program, self.reader.encoders)

    def reloaded(self) -> Served:
        """The same run, read again from its directory. Raises `SpecError`."""
        return Served(self.name, self.path, self._asked)

    def png(self, picture: bytes, answer: Mapping[str, Any]) -> bytes:
        """The mask of a picture as PNG, in its size."""
        assert self.masks is not None
        name = next(iter(self.masks.encoders))
        return self.masks.png(name, answer[name], io.BytesIO(picture))

    def spelled(self, row: Any) -> Any:
        """A row of JSON, where `true` is no number."""
        return spelled(row, self.reader.numbers) if isinstance(row, Mapping) else row

    def predict(self, rows: Sequence[tuple[int, Any]]) -> list[Any]:
        """The answer to each row, which comes with its number in its request."""
        answers: list[Answer] = [{}] * len(rows)
        alike: dict[Any, list[tuple[int, RowArrays]]] = {}
        for index, (number, row) in enumerate(rows):
            try:
                read = self._arrays(row, number)
            except SpecError as error:
                answers[index] = list(error.diagnostics)
                continue
            if len(rows) == 1:
                return [*self._together([read])]
            alike.setdefault(read.shapes, []).append((index, read))
        for group in alike.values():
            for first in range(0, len(group), MOST):
                part = group[first : first + MOST]
                predicted = self._together([read for _, read in part])
                for (index, _), answer in zip(part, predicted, strict=True):
                    answers[index] = answer
        return answers

    def _arrays(self, row: Any, number: int) -> RowArrays:
        """The arrays of a row. Raises `SpecError` with its mistakes."""
        if not isinstance(row, Mapping):
            raise fail("data-format", "a row is a JSON object", 'as {"column": value}')
        arrays = self._plain.read(row) if self._plain is not None else None
        return arrays or self.reader.read(self._with_pictures(row), number)

    def _with_pictures(self, row: Row) -> Row:
        pictures = {name: row[name] for name in self.pictures if isinstance(row.get(name), str)}
        return {**row, **{name: _bytes(name, text) for name, text in pictures.items()}}

    def _together(self, read: Sequence[RowArrays]) -> Sequence[Answer]:
        try:
            return self.answering.answers(read)
        except SpecError as error:
            if len(read) == 1:
                return [list(error.diagnostics)]
        except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
            if len(read) == 1:
                return [[Diagnostic("run-failed", f"running the module fails: {first_line(error)}", None)]]
        return [self._together([each])[0] for each in read]


def _bytes(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise fail("data-format", f"column `{name}` is not a picture in base64") from None
