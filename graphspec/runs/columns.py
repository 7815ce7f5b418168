"""Converts the outputs of a model to the columns that people read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.decoding import written
from graphspec.data.rows.cells import Columns, as_table
from graphspec.data.rows.outputs import ModelOutputs, OutputColumns
from graphspec.elaborated import BaseProgram
from graphspec.runs.engines import of_rows

Values = Mapping[str, NDArray[Any]]


def columns_of(
    program: BaseProgram,
    encoders: Encoders | None,
    values: Values,
    sizes: Values,
    probabilities: bool,
    units: Values = MappingProxyType({}),
) -> pa.Table:
    """Converts the outputs of a model for some rows to columns, as people read them. `units` are the scales
    that rows have of their own, by target.
    """
    values = of_rows(values)
    if encoders is not None:
        return encoders.decode(values, sizes, probabilities, units)
    columns, outputs = Columns(), ModelOutputs(values, sizes, probabilities)
    for name, one in outputs_written(program, None).items():
        if name in values:
            columns |= one(outputs)
    return as_table(columns)


def outputs_written(program: BaseProgram, encoders: Encoders | None) -> dict[str, OutputColumns]:
    """How each output becomes columns."""
    if encoders is not None:
        return encoders.written()
    return {name: written(name, output, None) for name, output in program.outputs.items()}


def with_keys(keys: pa.Table | None, decoded: pa.Table) -> pa.Table:
    """The columns of the key, then those of the predictions, which win where both have a name."""
    if keys is None or not keys.num_columns:
        return decoded
    columns = {name: keys[name] for name in keys.column_names}
    return pa.table({**columns, **{name: decoded[name] for name in decoded.column_names}})
