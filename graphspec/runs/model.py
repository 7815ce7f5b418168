"""A trained model in use: what reads rows, the engine that computes, and what writes its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from graphspec.data.encoders import Encoders
from graphspec.program import BaseProgram
from graphspec.runs.columns import columns_of, with_keys
from graphspec.runs.engines import Engine
from graphspec.runs.rows import ArrayReader, Row, RowArrays, RowReader


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
        return self.predict_read([row], [self.reader.read(row)], probabilities)

    def predict_read(
        self, rows: Sequence[Row], read: Sequence[RowArrays], probabilities: bool = True
    ) -> pa.Table:
        """The predictions of rows whose arrays have the same shapes."""
        assert self.reader is not None
        first = read[0]
        arrays = first.arrays
        if len(read) > 1:
            arrays = {name: np.concatenate([each.arrays[name] for each in read]) for name in arrays}
        values = self.engine(arrays)
        sizes = {name: np.array([each.sizes[name] for each in read], np.int64) for name in first.sizes}
        found = columns_of(self.program, self.encoders, values, sizes, probabilities)
        return with_keys(self.reader.key_columns(rows), found)


def needs_table(program: BaseProgram, encoders: Encoders) -> bool:
    """Whether the prediction of a row needs other rows, or columns of its own scale."""
    own = any(encoders.encoders[fill.field].beside for fill in encoders.plan.fills if fill.target)
    return own or (program.data is not None and program.data.windows is not None)
