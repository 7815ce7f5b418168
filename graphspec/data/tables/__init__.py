"""Tables: rows of named columns, from one file, a folder of shards, or a folder of images.

pyarrow reads them. Whatever the format, a column comes as one of a few plain types, and a missing value as
null: the encoders see no difference between formats.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.data.files import DataFile
from graphspec.data.folders import Found
from graphspec.data.mistakes import unreadable
from graphspec.data.tables.base import CHUNK, Table
from graphspec.data.tables.delimited import Delimited
from graphspec.data.tables.frame import FrameTable
from graphspec.data.tables.images import Images
from graphspec.data.tables.lines import Lines
from graphspec.data.tables.matrices import Matrices
from graphspec.data.tables.parquet import Parquet
from graphspec.data.tables.shards import Shards

__all__ = ["CHUNK", "Table", "open_table"]
READERS: dict[str, type[Delimited | Lines | Parquet]] = {
    "delimited": Delimited,
    "lines": Lines,
    "parquet": Parquet,
}


def open_table(found: Found, options: DataFile, na_values: Sequence[str] = ("",)) -> Table:
    """The table of the files that were found, read as `options` say.

    Opening reads no more than headers. Raises `SpecError`: data-missing, data-format, data-empty,
    data-column.
    """
    if found.held is not None and found.held.table is not None:
        return FrameTable(found.held.table, found.held.name, na_values)
    if found.kind == "images":
        return Images(found)
    if found.kind == "arrays":
        return Matrices(found, na_values)
    reader = READERS[found.kind]
    try:
        if found.whole:
            return reader(found.path, options, na_values)
        return Shards(found.path, [reader(file, options, na_values) for file in found.files])
    except OSError as error:
        raise unreadable(found.path, error) from None
