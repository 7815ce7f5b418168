"""Tables as files: what `predict` writes, part by part, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from graphspec.diagnostics import fail, nearest
from graphspec.files.reading import LARGEST, opened, parse_json
from graphspec.files.whole import replacing

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".npz")
"""The kinds of files that a table is written to."""


class TableWriter(Protocol):
    """A file that takes a table in parts; all have the same columns."""

    def write(self, part: pa.Table) -> None: ...
    def close(self) -> None: ...


@contextmanager
def writing(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends parts of a table to a file, whose suffix says its kind.

    The file appears when everything is written. Raises `SpecError` (output-file).
    """
    kind = WRITERS.get(path.suffix.lower())
    if kind is None:
        near = nearest(path.suffix, SUFFIXES) or "predictions.csv"
        message = f"`{path}` has a format that graphspec does not write: {', '.join(SUFFIXES)}"
        raise fail("output-file", message, f"did you mean `{near}`?")
    try:
        with replacing(path) as temporary:
            writer = kind(temporary)
            try:
                yield writer.write
            finally:
                writer.close()
    except OSError as error:
        message = f"`{path}` cannot be written: {error.strerror or error}"
        raise fail("output-file", message) from None


def columns_of(path: Path) -> list[str] | None:
    """The names of the columns of a file, as `writing` would have written them; None where there is none, or
    nothing in it, and of a link, whose place is taken. No names of one that is another file.
    """
    if path.is_symlink():
        return None
    try:
        with opened(path) as stream:
            if not stream.seek(0, os.SEEK_END):
                return None
            stream.seek(0)
            return _columns(path.suffix.lower(), stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, csv.Error):
        return []


def _columns(suffix: str, stream: BufferedReader) -> list[str]:
    if suffix == ".parquet":
        from pyarrow import parquet

        return list(parquet.read_schema(stream).names)
    if suffix == ".npz":
        with zipfile.ZipFile(stream) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    first = stream.readline(LARGEST).decode("utf-8")
    if suffix == ".json":
        return list(parse_json(stream.readline(LARGEST).decode("utf-8").rstrip(",\n")).keys())
    if suffix == ".jsonl":
        return list(parse_json(first).keys())
    return next(csv.reader([first], delimiter="\t" if suffix == ".tsv" else ","), [])


class _Text:
    """`.csv` and `.tsv`: numbers in their shortest form, a list as its JSON text, null as an empty cell."""

    def __init__(self, path: Path, delimiter: str = ","):
        self._stream = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._stream, delimiter=delimiter, lineterminator="\n")
        self._empty = True

    def write(self, part: pa.Table) -> None:
        if self._empty:
            self._rows.writerow(part.column_names)
            self._empty = False
        self._rows.writerows(zip(*map(_texts, part.columns), strict=True))

    def close(self) -> None:
        self._stream.close()


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """The cells of a column."""
    import pyarrow as pa

    column = _shortest(column)
    if pa.types.is_nested(column.type):
        values = column.to_pylist()
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    cells: list[str | None] = column.cast(pa.string()).to_pylist()
    return cells


def _shortest(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with float32 as the float64 of the same shortest decimal: 0.1, not 0.10000000149."""
    import pyarrow as pa

    kind, lists = column.type, 0
    while pa.types.is_list(kind):
        kind, lists = kind.value_type, lists + 1
    if kind != pa.float32():
        return column
    for other in (pa.string(), pa.float64()):
        for _ in range(lists):
            other = pa.list_(other)
        column = column.cast(other)
    return column


class _Lines:
    """`.jsonl`: an object a row."""

    def __init__(self, path: Path):
        self._stream = path.open("w", encoding="utf-8")

    def write(self, part: pa.Table) -> None:
        import pyarrow as pa

        for row in pa.table({name: _shortest(part[name]) for name in part.column_names}).to_pylist():
            self._stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        self._stream.close()


class _Objects:
    """`.json`: an array with an object a row, each on a line of its own."""

    def __init__(self, path: Path):
        self._stream = path.open("w", encoding="utf-8")

    def write(self, part: pa.Table) -> None:
        import pyarrow as pa

        for row in pa.table({name: _shortest(part[name]) for name in part.column_names}).to_pylist():
            self._stream.write(",\n" if self._stream.tell() else "[\n")
            self._stream.write(json.dumps(row, ensure_ascii=False, default=str))

    def close(self) -> None:
        self._stream.write("\n]\n" if self._stream.tell() else "[]\n")
        self._stream.close()


class _Parquet:
    """`.parquet`: a row group a part."""

    def __init__(self, path: Path):
        self._path = path
        self._writer: Any = None

    def write(self, part: pa.Table) -> None:
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, part.schema)
        self._writer.write_table(part)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Arrays:
    """`.npz`: an array a column, held until the end."""

    def __init__(self, path: Path):
        self._path = path
        self._parts: list[pa.Table] = []

    def write(self, part: pa.Table) -> None:
        self._parts.append(part)

    def close(self) -> None:
        import numpy as np
        import pyarrow as pa

        if not self._parts:
            return
        table = pa.concat_tables(self._parts)
        arrays = {name: _array(table[name]) for name in table.column_names}
        with self._path.open("wb") as stream:  # numpy appends .npz to a name of another suffix
            np.savez(stream, **arrays)


def _array(column: pa.ChunkedArray) -> Any:
    """A column as an array without Python objects: lists of one length as a matrix, others as JSON text."""
    import numpy as np
    import pyarrow as pa

    values = column.to_pylist()
    if pa.types.is_nested(column.type) and len({-1 if v is None else len(v) for v in values}) > 1:
        values = [json.dumps(value, ensure_ascii=False) for value in values]
    if any(value is None for value in values):
        values = ["" if value is None else str(value) for value in values]
    kind = column.type.value_type if pa.types.is_list(column.type) else column.type
    array = np.array(values)
    return array.astype(np.float32) if kind == pa.float32() and array.dtype.kind == "f" else array


WRITERS: Mapping[str, Callable[[Path], TableWriter]] = {
    ".csv": _Text,
    ".tsv": lambda path: _Text(path, "\t"),
    ".jsonl": _Lines,
    ".json": _Objects,
    ".parquet": _Parquet,
    ".npz": _Arrays,
}
