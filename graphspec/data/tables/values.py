"""Columns as the encoders see them: a few plain types, and null for what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from graphspec.data.rows.values import numbers_among


def plain(table: pa.Table, na_values: Sequence[str]) -> pa.Table:
    """Each column in its plain type; null where it holds one of `na_values`, or NaN."""
    columns = []
    for column in table.columns:
        wanted = plain_type(column.type)
        column = column if column.type == wanted else column.cast(wanted, safe=False)
        columns.append(_with_nulls(column, na_values))
    return pa.table(columns, names=table.column_names)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """One type for all that hold the same values: text is string, numbers that are not whole are doubles."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_float16(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


def _with_nulls(column: pa.ChunkedArray, na_values: Sequence[str]) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_string(kind):
        gone = pa.array(na_values, pa.string())
    elif pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        gone = pa.array(numbers_among(na_values), pa.float64()).cast(kind, safe=False)
    elif pa.types.is_integer(kind):
        whole = [int(number) for number in numbers_among(na_values) if number.is_integer()]
        gone = pa.array([number for number in whole if _fits(number, kind)], kind)
    else:
        return column
    if not len(gone):
        return column
    return pc.if_else(pc.is_in(column, value_set=gone), pa.scalar(None, kind), column)


def _fits(number: int, kind: pa.DataType) -> bool:
    bits: int = kind.bit_width
    low = -(1 << bits - 1) if pa.types.is_signed_integer(kind) else 0
    return low <= number < low + (1 << bits)
