"""From the arrays of rows to their predictions: an engine computes, and outputs are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphspec.data.rows.cells import Columns, as_lists
from graphspec.data.rows.outputs import ModelOutputs, OutputColumns
from graphspec.data.rows.reader import RowArrays
from graphspec.runs.engines import Engine, of_rows


@dataclass(eq=False, repr=False)
class Answering:
    """The engine, and the columns of each output."""

    engine: Engine
    written: Mapping[str, OutputColumns]

    def cells(self, read: Sequence[RowArrays], probabilities: bool = True) -> Columns:
        """The predictions of rows whose arrays have the same shapes, as columns. Raises `SpecError`."""
        first = read[0]
        arrays = first.arrays
        if len(read) > 1:
            arrays = {name: np.concatenate([each.arrays[name] for each in read]) for name in arrays}
        values = of_rows(self.engine(arrays))
        sizes = {name: np.array([each.sizes[name] for each in read], np.int64) for name in first.sizes}
        columns, outputs = Columns(), ModelOutputs(values, sizes, probabilities)
        for name, one in self.written.items():
            if name in values:
                unit = [each.units[name] for each in read if name in each.units]
                columns |= one(outputs, np.concatenate(unit) if unit else None)
        return columns

    def answers(self, read: Sequence[RowArrays]) -> list[dict[str, Any]]:
        """The predictions of such rows, as Python has them, each after its keys. Raises `SpecError`."""
        columns = as_lists(self.cells(read))
        rows = zip(*columns.values(), strict=True)
        return [
            {**of.keys, **dict(zip(columns, row, strict=True))} for of, row in zip(read, rows, strict=True)
        ]
