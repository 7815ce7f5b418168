"""Prepares windows of series: the rows of each table in the order of time, in shards, and its timeline.

What comes next to a row depends on all rows: other processes encode them, and this one brings them into the
order of time, in memory or in temporary files as a training does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.data import reading, shards
from graphspec.data.files import DataFile
from graphspec.data.in_memory_source import Given
from graphspec.data.loader import Loader
from graphspec.data.opening import opening
from graphspec.data.prepared import (
    LABELS,
    LINE,
    TICKS,
    KeptLine,
    Label,
    Shard,
    checksum_of,
    columns_of,
    digest_of,
    key_of,
    table_of,
)
from graphspec.data.ragged import Ragged
from graphspec.data.shards import Prepared
from graphspec.data.store import Array, Name
from graphspec.data.windows.examples import StreamedWindows, Windowed
from graphspec.data.windows.kept import kept, sealed
from graphspec.data.workers import Workers
from graphspec.diagnostics import fail

Windows = Windowed | StreamedWindows
Tell = Callable[[int, int], None]


def prepare_windows(
    loader: Loader,
    folder: Path,
    data: Path | DataFile | Given | None,
    root: Path | None,
    workers: Workers,
    tell: Tell,
) -> Prepared:
    """Encodes the windows of a spec for training, validation and test into a folder; `tell` gets the number
    of shards and of rows so far. Raises `SpecError`, a data-... code for each mistake.
    """
    program, config = loader.program, loader.config
    file = opening(program, root, data)
    if file is None:
        raise fail("data-missing", "there are no data to prepare", "name some: `--data PATH`")
    loader.workers = workers
    found = loader.held(loader.training(file), root)
    parts: dict[Label, Any] = {n: part for n, part in zip(LABELS, found, strict=True) if part is not None}
    assert config.windows is not None and loader.encoders is not None
    about = {**key_of(program), "encoders": digest_of(loader.encoders.to_json())}
    shards.begin(folder)
    tables = _Tables(folder, digest_of(about), parts, tell)
    for owner, labels in tables.owned().items():
        tables.write(owner, labels, config.windows.stride)
    index = shards.finish(folder, tables.shards, about, loader, loader.encoders, tables.lines)
    return Prepared(index, tables.made, {label: len(part) for label, part in parts.items()})


class _Tables:
    """The tables of a preparation, one after another: their shards and timelines."""

    def __init__(self, folder: Path, key: str, parts: dict[Label, Windows], tell: Tell):
        self.folder, self.key, self.parts, self.tell = folder, key, parts, tell
        self.shards: list[Shard] = []
        self.lines: dict[Label, KeptLine] = {}
        self.made = self.rows = 0
        names = {(g, n) for part in parts.values() for g in reading.GROUPS for n in getattr(part, g)}
        self.names = sorted(names)

    def owned(self) -> dict[Label, list[Label]]:
        """The parts that are windows of one table, by the first of them."""
        owned: dict[Label, list[Label]] = {}
        for label, part in self.parts.items():
            owner = next((each for each in owned if self.parts[each].line is part.line), label)
            owned.setdefault(owner, []).append(label)
        return owned

    def write(self, owner: Label, labels: list[Label], stride: int) -> None:
        """Writes the rows of a table, and its timeline."""
        part = self.parts[owner]
        line = part.line
        assert line is not None
        for first in range(0, len(line), shards.ROWS):
            self._shard(owner, part, first, min(first + shards.ROWS, len(line)))
        arrays = kept(line, {label: self.parts[label].positions for label in labels}, stride)
        columns = columns_of(arrays)
        written = shards.write(self.folder, f"{owner}-series.arrow", table_of(columns, arrays))
        self.lines[owner] = KeptLine(
            file=written,
            columns=columns,
            masks=tuple(part.masks),
            stamp=sealed(line.stamps),
            format=line.stamps.format,
        )

    def _shard(self, owner: Label, part: Windows, first: int, stop: int) -> None:
        arrays = {name: self._rows(part, name, first, stop) for name in self.names}
        assert part.line is not None
        arrays[LINE, TICKS] = part.line.ticks[first:stop]
        columns, number = columns_of(arrays), len(self.shards)
        table = table_of(columns, arrays)
        digests = [checksum_of(batch) for batch in table.combine_chunks().to_batches()]
        key = digest_of([self.key, owner, first, *digests])
        shard = shards.known(self.folder, number, key)
        if shard is None:
            file = shards.write(self.folder, f"{owner}-{number:05d}.arrow", table)
            shard = Shard(key="", parts={owner: file}, columns=columns)
            shard = shards.sealed(self.folder, number, key, shard)
            self.made += 1
        self.shards.append(shard)
        self.rows += stop - first
        self.tell(len(self.shards), self.rows)

    @staticmethod
    def _rows(part: Windows, name: Name, first: int, stop: int) -> Array | Ragged:
        if name[1] in getattr(part, name[0]):
            return part.part(*name, first, stop)
        return np.ones(stop - first, bool)  # targets that only another table lacks
