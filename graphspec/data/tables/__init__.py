"""Tables: rows of named columns, from one file, a folder of shards, or a folder of images.

pyarrow reads them. Whatever the format, a column comes as one of a few plain types, and a missing value as
null: the encoders see no difference between formats.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from graphspec.data.files import READ, DataFile, format_of
from graphspec.data.mistakes import fail, missing, unreadable
from graphspec.data.tables.base import CHUNK, Table

__all__ = ["CHUNK", "Table", "open_table"]


def open_table(path: Path, options: DataFile, na_values: Sequence[str] = ("",)) -> Table:
    """The table at `path`, read as `options` say.

    Opening reads no more than a header. Raises `SpecError`: data-missing, data-format, data-empty,
    data-column.
    """
    from graphspec.data.tables.delimited import Delimited
    from graphspec.data.tables.lines import Lines
    from graphspec.data.tables.parquet import Parquet

    readers: dict[str | None, Callable[..., Table]] = {
        "delimited": Delimited,
        "lines": Lines,
        "parquet": Parquet,
    }
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(mode):
        raise fail("data-format", f"`{path}` is neither a file nor a folder")
    kind = format_of(path.name)
    if kind not in readers:
        raise fail("data-format", f"`{path}` is of no kind that is read", f"read are {READ}")
    try:
        return readers[kind](path, options, tuple(na_values))
    except OSError as error:
        raise unreadable(path, error) from None
