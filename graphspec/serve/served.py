"""What answers at a path: from rows of JSON to predictions, or to what is wrong with each."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.data.rows.fields import Row
from graphspec.data.rows.reader import PlainRows, RowArrays, spelled
from graphspec.diagnostics import Diagnostic, SpecError, fail
from graphspec.diagnostics.text import first_line
from graphspec.runs.answering import Answering
from graphspec.runs.kept import Kept, kept
from graphspec.serve.options import ServeOptions

if TYPE_CHECKING:
    from graphspec.runs.model import Model
    from graphspec.runs.rows import ArrayReader, RowReader

MOST = 256
"""Rows that one call of the module takes."""
Answer = dict[str, Any] | list[Diagnostic]
"""The predictions of a row, or its mistakes."""


class Unread:
    """In place of the answer to a row that takes the spec of its run, which is not read yet."""


UNREAD = Unread()


class Served:
    """A run under a name. It is replaced, never changed: a request ends with the one that it began with.

    One that keeps what answers plain rows begins with that; `read` reads its spec, too, when a row needs it.
    """

    def __init__(self, name: str, path: Path, asked: ServeOptions | None = None, begun: Kept | None = None):
        self.name, self.path, self._asked = name, path, asked or ServeOptions([path])
        self.seconds = math.inf
        self.reader: RowReader | ArrayReader | None = None
        """Reads every row, and says what is wrong with it; None until the spec is read."""
        self.pictures: list[str] = []
        """The columns of pictures: their values are bytes, in base64."""
        self.picture: str | None = None
        """The column that a picture alone fills; None where a row needs more."""
        self.answering: Answering
        self.notes: Sequence[str]
        """What to say of the engine."""
        self.synthetic: bool
        """Whether the run learned from synthetic data."""
        self._plain: PlainRows | None = None
        """Reads plain rows, which are most, without completing them first."""
        self._kept = begun or kept(path, self._asked.weights, self._asked.device, self._asked.engine)
        if self._kept is not None:
            self._plain, self.answering = self._kept.rows, self._kept.answering
            self.notes, self.synthetic = self._kept.notes, self._kept.synthetic
        else:
            model = self._model()
            self.answering, self.notes = model.answering, model.notes

    def _model(self) -> Model:
        """What predicts, and all that its spec says. Raises `SpecError`."""
        from graphspec.runs.run import Run

        run = Run(self.path, self._asked.weights, self._asked.allow)
        self.synthetic = run.files.synthetic
        model = run.model(self._asked.device, self._asked.engine)
        self._reads(model.reader)
        return model

    def read(self) -> None:
        """Reads the spec. Raises `SpecError`."""
        from graphspec.runs.model import reader_of
        from graphspec.runs.run import Run

        if self.reader is None:
            run = Run(self.path, self._asked.weights, self._asked.allow)
            self._reads(reader_of(run.program, run.encoders()))

    def _reads(self, reader: RowReader | ArrayReader | None) -> None:
        """Raises `SpecError` (not-supported) for a run whose spec has no reader of single rows."""
        from graphspec.data.encoders.images import ImageEncoder

        if reader is None:
            message = f"`{self.path}` predicts from several rows, but a server answers each by itself"
            raise fail("not-supported", message, "`graphspec predict` reads the whole table")
        if reader.encoders is not None:
            inputs = [fill for fill in reader.encoders.plan.fills if not fill.target]
            encoders = [reader.encoders.encoders[fill.field] for fill in inputs]
            self.pictures = [c for each in encoders if isinstance(each, ImageEncoder) for c in each.columns]
            self.picture = self.pictures[0] if len(inputs) == len(self.pictures) == 1 else None
        self.reader = reader
        self._plain = self._plain or reader.usual()

    @property
    def has_changed(self) -> bool:
        """Whether `read` may read another spec than the one that answers now."""
        return self.reader is None and self._kept is not None and not self._kept.is_current

    def reloaded(self) -> Served:
        """The same run and its spec, read again from its directory. Raises `SpecError`."""
        again = Served(self.name, self.path, self._asked)
        again.read()
        return again

    def spelled(self, row: Any) -> Any:
        """A row of JSON, where `true` is no number."""
        source = self.reader or self._plain
        return spelled(row, source.numbers) if isinstance(row, Mapping) and source is not None else row

    def predict(self, rows: Sequence[tuple[int, Any]]) -> list[Any]:
        """The answer to each row, which comes with its number in its request; UNREAD for a row that needs
        `read` first.
        """
        answers: list[Answer | Unread] = [UNREAD] * len(rows)
        alike: dict[Any, list[tuple[int, RowArrays]]] = {}
        for index, (number, row) in enumerate(rows):
            try:
                read = self._arrays(row, number)
            except SpecError as error:
                answers[index] = list(error.diagnostics)
                continue
            if read is not None and len(rows) == 1:
                return [*self._together([read])]
            if read is not None:
                alike.setdefault(read.shapes, []).append((index, read))
        for group in alike.values():
            for first in range(0, len(group), MOST):
                part = group[first : first + MOST]
                predicted = self._together([read for _, read in part])
                for (index, _), answer in zip(part, predicted, strict=True):
                    answers[index] = answer
        return answers

    def _arrays(self, row: Any, number: int) -> RowArrays | None:
        """The arrays of a row; None where only the spec says what they are."""
        if not isinstance(row, Mapping):
            raise fail("data-format", "a row is a JSON object", 'as {"column": value}')
        arrays = self._plain.read(row) if self._plain is not None else None
        if arrays is None and self.reader is not None:
            return self.reader.read(self._with_pictures(row), number)
        return arrays

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
