"""Answers at a path: from rows of JSON to predictions, or to the mistakes of each; a run of windows reads all
rows of a request as one history.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.data.rows.fields import Row
from graphspec.data.rows.reader import RowArrays, spelled
from graphspec.diagnostics import Diagnostic, SpecError, fail
from graphspec.diagnostics.text import first_line
from graphspec.generate.choosing import chosen, output_of
from graphspec.runs.boxes import is_boxes
from graphspec.runs.masks import is_mask
from graphspec.runs.pictures import Drawings
from graphspec.runs.rows import ArrayReader, RowReader
from graphspec.runs.run import Run
from graphspec.serve.drift import ColumnCounts
from graphspec.serve.options import ServeOptions

if TYPE_CHECKING:
    from graphspec.generate.generating import Maker
    from graphspec.runs.answering import Answering
    from graphspec.runs.prediction import TableAnswering
    from graphspec.runs.recommending import FoundAnswering
    from graphspec.runs.sampling import Samples

MOST = 256
"""Rows that one call of the module takes."""
Answer = dict[str, Any] | list[Diagnostic]
"""The predictions of a row, or its mistakes."""
FAILURES = (SpecError, RuntimeError, ValueError, IndexError, TypeError, MemoryError)
"""Errors of a prediction, through mistakes of rows or in the module."""


class Served:
    """A run under a name. It is replaced, never changed: a request ends with the one that it began with.
    Raises `SpecError` for a run that cannot be read.
    """

    def __init__(self, name: str, path: Path, asked: ServeOptions | None = None):
        self.name, self.path, self._asked = name, path, asked or ServeOptions([path])
        self.seconds = math.inf
        run = Run(path, self._asked.weights, self._asked.allow)
        model = run.model(self._asked.device, self._asked.engine)
        self.answering: Answering | FoundAnswering = model.answering
        self.synthetic = run.files.synthetic
        self.notes: Sequence[str] = model.notes
        """Messages about the engine."""
        program = run.program
        self.history = program.data is not None and program.data.windows is not None
        """Whether the rows of a request are one history, which forecasts go on from."""
        self._table: TableAnswering | None = None
        """Predicts rows that say too little alone."""
        self._program, self._tiles = program, self._asked.tiles
        if self._tiles is not None:
            from graphspec.runs.tiles import Tiles  # imports torch

            Tiles.of(program, model.encoders, self._tiles)
        if model.reader is None or self._tiles is not None:
            from graphspec.runs.prediction import TableAnswering  # imports torch

            self._table = TableAnswering(model, run.files.encoders(program), self._tiles)
            self.reader: RowReader | ArrayReader = RowReader(program, self._table.encoders())
        else:
            self.reader = model.reader
        self.found: Sequence[str] = ()
        """The outputs that answer with what they find for a query."""
        self._find(run)
        self._plain = self.reader.usual() if self._table is None else None
        """Reads plain rows, which are most, without completing them first."""
        na_values = program.data.na_values if program.data is not None else ("",)
        self.drift = ColumnCounts(self.reader.encoders, na_values)
        """Counts the cells of the predicted rows."""
        self.maker: Maker | None = None
        """Makes texts, of a run that goes on."""
        self.silent = ""
        """Why a run makes none."""
        self.samples: Samples | None = None
        """Makes samples of noise, of a run whose `generate` is a loop."""
        self._make_texts(run)
        self.pictures: list[str] = []
        """The columns of pictures: their values are bytes, in base64."""
        self.picture: str | None = None
        """The column that a picture alone fills; None where a row needs more."""
        self.drawings: Drawings | None = None
        """Draws the mask or the boxes of a picture, of a run that predicts them."""
        if self.reader.encoders is not None:
            inputs = [fill for fill in self.reader.encoders.plan.fills if not fill.target]
            encoders = [self.reader.encoders.encoders[fill.field] for fill in inputs]
            self.pictures = [c for each in encoders if each.cell().kind == "picture" for c in each.columns]
            self.picture = self.pictures[0] if len(inputs) == len(self.pictures) == 1 else None
            written = model.answering.written.values()
            if self.picture is not None and any(is_mask(each) or is_boxes(each) for each in written):
                self.drawings = Drawings(program, self.reader.encoders)

    def _find(self, run: Run) -> None:
        """Answers with what suits a query, where so many are asked for."""
        if self._asked.top:
            from graphspec.runs.recommending import FoundAnswering  # imports torch

            finder = run.finder(self._asked.top, self._asked.device, self._asked.engine)
            self.found, self.answering = list(finder.indices), FoundAnswering(finder)
            known = finder.encoders
            self.reader = ArrayReader(finder.program) if known is None else RowReader(finder.program, known)
        elif any(output.ranks_candidates for output in run.program.outputs.values()):
            self.notes = [*self.notes, "it answers with vectors: `--top 10` names the ten that suit a query"]

    def _make_texts(self, run: Run) -> None:
        """Prepares what makes texts, where the run can."""
        try:
            if run.program.loop is not None:
                self.samples = run.sampler(device=self._asked.device)
                return
            output_of(run.program, *chosen(run.program, {}))
            self.maker = run.maker({}, self._asked.device)
            if self.maker.settings.beams > 1:
                self.notes = [*self.notes, "texts are drawn: `beams` is for `graphspec generate`"]
        except SpecError as error:
            self.silent = error.diagnostics[0].message

    def reloaded(self) -> Served:
        """The same run, read again from its directory. Raises `SpecError`."""
        return Served(self.name, self.path, self._asked)

    def png(self, picture: bytes, answer: Mapping[str, Any]) -> bytes:
        """The mask of a picture as PNG, in its size; or the picture with its boxes."""
        assert self.drawings is not None
        drawings, encoders = self.drawings, self.reader.encoders
        if self._tiles is not None and encoders is not None:
            size = drawings.picture.in_tiles(io.BytesIO(picture))
            drawings = Drawings(self._program, encoders.sized(size))
        return drawings.png(io.BytesIO(picture), answer)

    def spelled(self, row: Any) -> Any:
        """A row of JSON, where `true` is no number."""
        return spelled(row, self.reader.numbers) if isinstance(row, Mapping) else row

    def predict(self, rows: Sequence[tuple[int, Any]]) -> list[Any]:
        """The answer to each row, which comes with its number in its request; or to each history."""
        if self._table is not None:
            return [self._through_table(row) for _, row in rows]
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

    def count(self, rows: Sequence[Any], answers: Sequence[Answer]) -> None:
        """Counts, for `/metrics`, the values of the rows that were answered."""
        for given, answer in zip(rows, answers, strict=True):
            if not isinstance(answer, list):
                for row in given if self.history else [given]:
                    self.drift.count(row)

    def _arrays(self, row: Any, number: int) -> RowArrays:
        """The arrays of a row. Raises `SpecError` with its mistakes."""
        _need_object(row)
        arrays = self._plain.read(row) if self._plain is not None else None
        return arrays or self.reader.read(self._with_pictures(row), number)

    def _with_pictures(self, row: Row) -> Row:
        pictures = {name: row[name] for name in self.pictures if isinstance(row.get(name), str)}
        return {**row, **{name: _bytes(name, text) for name, text in pictures.items()}}

    def _together(self, read: Sequence[RowArrays]) -> Sequence[Answer]:
        try:
            return self.answering.answers(read)
        except FAILURES as error:
            if len(read) == 1:
                return [_mistakes(error)]
        return [self._together([each])[0] for each in read]

    def _through_table(self, given: Any) -> Answer:
        """The prediction of a row, or the forecasts of a history."""
        assert self._table is not None
        rows = given if self.history else [given]
        try:
            for number, row in enumerate(rows):
                _need_object(row, number if self.history else None)
            predicted, notes = self._table.answers([self._with_pictures(row) for row in rows])
        except FAILURES as error:
            return _mistakes(error)
        return {"predictions": predicted, "notes": notes} if self.history else predicted[0]


def _need_object(row: Any, number: int | None = None) -> None:
    if not isinstance(row, Mapping):
        which = "a row" if number is None else f"row {number}, counting from 0,"
        verb = "is" if number is None else "is not"
        raise fail("data-format", f"{which} {verb} a JSON object", 'as {"column": value}')


def _mistakes(error: Exception) -> list[Diagnostic]:
    """The mistakes of a row, or of the module that reads it."""
    if isinstance(error, SpecError):
        return list(error.diagnostics)
    return [Diagnostic("run-failed", f"running the module fails: {first_line(error)}", None)]


def _bytes(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise fail("data-format", f"column `{name}` is not a picture in base64") from None
