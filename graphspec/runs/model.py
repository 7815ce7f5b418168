"""A trained model in use: what reads rows, the engine that computes, and what writes its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.cells import Cells, as_table
from graphspec.program import BaseProgram
from graphspec.runs.columns import cells_of, with_keys
from graphspec.runs.engines import Engine
from graphspec.runs.rows import ArrayReader, Row, RowArrays, RowReader

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Model:
    """A program with an engine; `encoders` are None of one that learned from arrays."""

    program: BaseProgram
    engine: Engine
    encoders: Encoders | None
    notes: Sequence[str] = ()
    """What to say of the engine."""
    reader: RowReader | ArrayReader | None = field(init=False)
    """None where a row alone says too little: of windows, and of targets with a scale of each row's own."""

    def __post_init__(self) -> None:
        if self.encoders is None:
            self.reader = ArrayReader(self.program)
        else:
            whole = needs_table(self.program, self.encoders)
            self.reader = None if whole else RowReader(self.program, self.encoders)

    def predict_row(self, row: Row, probabilities: bool = True) -> pa.Table:
        """The prediction of one row. Raises `SpecError`."""
        assert self.reader is not None
        found = as_table(self._cells([self.reader.read(row)], probabilities))
        return with_keys(self.reader.key_columns([row]), found)

    def answers(self, rows: Sequence[Row], read: Sequence[RowArrays]) -> list[dict[str, Any]]:
        """The predictions of rows whose arrays have the same shapes, by column as Python has them. Raises
        `SpecError`.
        """
        assert self.reader is not None
        keys = self.reader.key_columns(rows)
        columns = {} if keys is None else keys.to_pydict()
        columns |= {name: cells.python() for name, cells in self._cells(read, True).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _cells(self, read: Sequence[RowArrays], probabilities: bool) -> dict[str, Cells]:
        """What the engine computes for rows whose arrays have the same shapes."""
        first = read[0]
        arrays = first.arrays
        if len(read) > 1:
            arrays = {name: np.concatenate([each.arrays[name] for each in read]) for name in arrays}
        values = self.engine(arrays)
        sizes = {name: np.array([each.sizes[name] for each in read], np.int64) for name in first.sizes}
        return cells_of(self.program, self.encoders, values, sizes, probabilities)


def needs_table(program: BaseProgram, encoders: Encoders) -> bool:
    """Whether the prediction of a row needs other rows, or columns of its own scale."""
    own = any(encoders.encoders[fill.field].beside for fill in encoders.plan.fills if fill.target)
    return own or (program.data is not None and program.data.windows is not None)
