"""A trained model in use: what reads rows, the engine that computes, and what writes its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphspec.data.encoders import Encoders
from graphspec.data.rows.cells import as_table
from graphspec.data.rows.fields import Row
from graphspec.data.rows.reader import PlainRows
from graphspec.elaborated import BaseProgram
from graphspec.runs.answering import Answering
from graphspec.runs.columns import outputs_written, with_keys
from graphspec.runs.engines import Engine
from graphspec.runs.rows import ArrayReader, RowReader

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Model:
    """A program with an engine; `encoders` are None of one that learned from arrays."""

    program: BaseProgram
    engine: Engine
    encoders: Encoders | None
    notes: Sequence[str] = ()
    """Messages about the engine."""
    reader: RowReader | ArrayReader | None = field(init=False)
    answering: Answering = field(init=False)
    _arrays: PlainRows | None = field(init=False)
    """Reads plain arrays of all inputs, of a model whose predictions have no key."""

    def __post_init__(self) -> None:
        program = self.program
        self.reader = reader_of(program, self.encoders)
        self.answering = Answering(self.engine, outputs_written(program, self.encoders))
        keyed = program.data is not None and program.data.key
        whole = isinstance(self.reader, ArrayReader) and not program.defaults and not keyed
        self._arrays = self.reader.plain if whole and self.reader is not None else None

    def predict_row(self, row: Row, probabilities: bool = True) -> pa.Table | None:
        """The prediction of one row; None where it takes other rows, or is of arrays. Raises `SpecError`."""
        if self.encoders is None or self.reader is None:
            return None
        prediction = as_table(self.answering.cells([self.reader.read(row)], probabilities))
        return with_keys(self.reader.key_columns([row]), prediction)

    def predict_arrays(self, data: Mapping[str, Any], most: int, probabilities: bool) -> pa.Table | None:
        """The predictions of at most so many rows of plain arrays; None of any others."""
        arrays = self._arrays.batch(data, most) if self._arrays is not None else None
        return None if arrays is None else as_table(self.answering.cells([arrays], probabilities))


def reader_of(program: BaseProgram, encoders: Encoders | None) -> RowReader | ArrayReader | None:
    """Reads rows for a program; None where a row alone has too little: of windows, and of targets with a
    scale of each row's own.
    """
    if encoders is None:
        return ArrayReader(program)
    return None if needs_table(program, encoders) else RowReader(program, encoders)


def needs_table(program: BaseProgram, encoders: Encoders) -> bool:
    """Whether the prediction of a row needs other rows, or columns of its own scale."""
    scaled_by_row = any(encoders.encoders[fill.field].beside for fill in encoders.plan.fills if fill.target)
    return scaled_by_row or (program.data is not None and program.data.windows is not None)
