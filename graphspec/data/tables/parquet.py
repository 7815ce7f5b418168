"""`.parquet`: columns with types of their own, in groups of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as reader

from graphspec.data import remote
from graphspec.data.files import DataFile
from graphspec.data.mistakes import in_row
from graphspec.data.tables.base import CHUNK, Share, Table
from graphspec.diagnostics import Span, fail

Run = tuple[int, list[int]]
"""Neighbouring row groups, and the row that they begin with."""


class Parquet(Table):
    """A Parquet file."""

    def __init__(self, path: Path, options: DataFile, na_values: Sequence[str]):
        super().__init__(path, na_values)
        self.path = path
        with self._whole(), self._open() as file:
            self.schema, self._length = file.schema_arrow, file.metadata.num_rows
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        self._rows = min(2**16, max(1, CHUNK * self._length // max(size, 1)))
        self._runs = list(joined_groups([group.num_rows for group in groups], self._rows))
        names = self.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise fail("data-column", f"`{self.file}` has two columns `{twice}`", "rename one of them")

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {field.name: field.type for field in self.schema}

    def span(self, row: int, name: str) -> Span | None:
        return in_row(self.file, row, f"column {name}")

    @property
    def blocks(self) -> int:
        return len(self._runs)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for _, part in self._blocks(columns, self._runs):
            yield part

    def _dealt(self, columns: Sequence[str], share: Share) -> Iterator[tuple[int, pa.Table]]:
        if share.skips:
            yield from self._blocks(columns, [r for i, r in enumerate(self._runs) if share.has(i)])
        else:
            yield from super()._dealt(columns, share)

    def _blocks(self, columns: Sequence[str], runs: Sequence[Run]) -> Iterator[tuple[int, pa.Table]]:
        """The rows of some runs in parts, and the row that each begins with."""
        with self._whole(), self._open() as file:
            for first, groups in runs:
                for batch in file.iter_batches(self._rows, row_groups=groups, columns=list(columns)):
                    yield first, pa.table({name: batch.column(name) for name in columns})
                    first += batch.num_rows

    def _open(self) -> Any:
        source, system = remote.located(self.path)
        return reader.ParquetFile(source, filesystem=system, page_checksum_verification=True)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Turns what a damaged file does to the reader into `SpecError`."""
        try:
            yield
        except (pa.ArrowException, EOFError, ValueError) as error:
            raise self._damaged(error) from None
        except OSError as error:
            if remote.is_remote(self.path):
                raise remote.unreadable(self.path, error) from None
            if error.errno is not None:
                raise
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> Exception:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return fail(
            "data-format",
            f"`{self.file}` is not a complete Parquet file: {reason}",
            "write or download it again",
        )


def joined_groups(counts: Sequence[int], most: int) -> Iterator[Run]:
    """Row groups of these numbers of rows: small ones are joined while together they have at most `most`."""
    first, start, held = 0, 0, 0
    for index, count in enumerate(counts):
        if held and held + count > most:
            yield first, list(range(start, index))
            first, start, held = first + held, index, 0
        held += count
    if held:
        yield first, list(range(start, len(counts)))
