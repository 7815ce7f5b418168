"""Predictions for the rows of a file, part by part and in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from graphspec.data import reading
from graphspec.data.arrays import Arrays, open_arrays
from graphspec.data.batches import InMemory
from graphspec.data.columns import is_text
from graphspec.data.encoders import Encoders
from graphspec.data.encoding import encoders_of, image_encoders
from graphspec.data.fields import UNIT, Checker, Field, fields
from graphspec.data.files import DataFile
from graphspec.data.folders import Found, find
from graphspec.data.in_memory_source import Given, of_rows
from graphspec.data.loader import padding_of
from graphspec.data.mistakes import IN_MEMORY, NAME
from graphspec.data.opening import given_file, spanner
from graphspec.data.ragged import Ragged
from graphspec.data.rows.fields import Row
from graphspec.data.shareable import shareable
from graphspec.data.tables import Table, open_table
from graphspec.data.tables.coco import Coco
from graphspec.data.tables.completed import Completed
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.runs.columns import columns_of, with_keys
from graphspec.runs.engines import Engine
from graphspec.runs.pictures import Drawings, PictureFolder
from graphspec.runs.rows import RowReader
from graphspec.runs.tiles import TiledEngine, TiledExamples, Tiles

if TYPE_CHECKING:
    from graphspec.runs.model import Model

ARRAYS = 4096
"""Rows of arrays that are predicted at a time."""
Sizes = Mapping[str, np.ndarray]


def predictions(
    program: BaseProgram,
    engine: Engine,
    encoders: Encoders | None,
    path: Path | DataFile | Given,
    batch_size: int,
    limit: int,
    probabilities: bool,
    noted: Callable[[list[str]], None] | None = None,
    every_window: bool = False,
    pictures: Path | None = None,
    tiles: int | None = None,
) -> Iterator[pa.Table]:
    """Tables with a row for each of the first `limit` rows of a file: its key columns, and the prediction of
    each output; masks and boxes are drawn in the folder `pictures`, where one is named; with `tiles`,
    pictures keep their size. Of windows over time,
    a row for each step that the last window of each series predicts, or every window. In the end `noted` gets
    what was made of the rows: a line for each feature.

    Raises `SpecError`, a data-... code for each mistake in the inputs.
    """
    predictor = Predictor(program, engine, encoders, batch_size, limit, probabilities)
    if pictures is not None:
        predictor.pictures = PictureFolder(pictures, Drawings(program, encoders))
    if tiles is not None:
        predictor.tiles = Tiles.of(program, encoders, tiles)
        predictor.engine = TiledEngine(engine, predictor.tiles)
    opened = given_file(program, path)
    source = find(opened.path)
    if source.kind == "arrays" and encoders is None:
        yield from predictor.of_arrays(open_arrays(source))
    else:
        yield from predictor.of_table(source, opened.options, every_window)
    if noted is not None:
        noted([*predictor.notes, *(predictor.encoders.counted() if predictor.encoders is not None else ())])


def tiled_examples(
    program: BaseProgram, tiles: Tiles, encoders: Encoders, path: Path | DataFile | Given, limit: int
) -> TiledExamples:
    """The first rows of a file with their targets, for pictures in their own size. Raises `SpecError`."""
    opened = given_file(program, path)
    table = open_table(find(opened.path), opened.options, program.data)
    encoders.bind(table, spanner(program))
    return TiledExamples(tiles, table, encoders, fields(program), limit)


class TableAnswering:
    """Predicts a few rows that say too little alone, as those of a file: forecasts of histories, and targets
    that are scaled by a column of their row. What the encoders learned is read once.
    """

    def __init__(self, model: Model, state: Mapping[str, Any] | None, tiles: int | None = None):
        self.model, self._state, self.tiles = model, state or {}, tiles

    def encoders(self) -> Encoders:
        """The encoders of the run, which have seen nothing yet."""
        return encoders_of(self.model.program, self._state)

    def answers(self, rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str]]:
        """The predictions, and what was made of the rows: lines. Raises `SpecError`."""
        program, notes = self.model.program, list[str]()
        size, found = program.training.batch_size, self.encoders()
        parts = predictions(
            program,
            self.model.engine,
            found,
            of_rows(rows),
            size,
            sys.maxsize,
            True,
            notes.extend,
            tiles=self.tiles,
        )
        return [row for part in parts for row in part.to_pylist()], notes


class Predictor:
    """Predicts with an engine, from rows to rows."""

    def __init__(
        self,
        program: BaseProgram,
        engine: Engine,
        encoders: Encoders | None,
        batch_size: int,
        limit: int,
        probabilities: bool,
    ):
        self.program, self.engine, self.encoders = program, engine, encoders
        self.batch_size, self.limit, self.probabilities = batch_size, limit, probabilities
        self.wanted: list[Field] = []
        self.pictures: PictureFolder | None = None
        """Draws the masks and boxes that are predicted."""
        self.tiles: Tiles | None = None
        """How pictures are cut that keep their size."""
        self.notes: list[str] = []
        """Messages about the data."""
        self.keys: Sequence[str] = program.data.key if program.data is not None else ()

    def of_table(self, source: Found, options: DataFile, every_window: bool) -> Iterator[pa.Table]:
        """The predictions for a table's rows, which need no targets."""
        table = open_table(source, options, self.program.data)
        if source.kind == "images":
            self._read_images(table)
        encoders = self.encoders
        if encoders is None:
            message = f"the run was not trained on a table, and `{table.file}` is one"
            text = next((name for name, kind in table.columns.items() if is_text(kind)), None)
            if text is not None and table.file == IN_MEMORY:
                message = f"`{text}` of `{IN_MEMORY}` holds text, and the run was trained on arrays"
                raise fail("data-format", message, "give it arrays of numbers")
            raise fail("data-format", message, "give it arrays: .npz")
        self._wants([name for name in self.program.defaults if name not in encoders.encoders])
        if source.by_key and (absent := RowReader(self.program, encoders).lacking(table.columns)):
            table = Completed(table, absent)
        encoders.bind(table, spanner(self.program), targets=False)
        if self.program.data is not None and self.program.data.windows is not None:
            yield from self._of_windows(table, encoders, every_window)
            return
        if isinstance(table, Coco) and not self.keys:
            self.keys = ("id", "image")
        self._check_keys(table)
        columns = list(dict.fromkeys([*encoders.columns, *self.keys]))
        if self.tiles is not None:
            yield from self._of_tiles(self.tiles, table, encoders, columns)
            return
        size = reading.row_bytes(self.wanted)
        checker = Checker(
            table.file, table.place, self.wanted, self.program.minimum_sizes, self.program.maximum_sizes
        )
        length = 0
        for first, part in reading.sliced(table.chunks(columns), self.limit, size):
            numbers = np.arange(first, first + part.num_rows)
            cells = replace(reading.part_of(table, numbers, part), predicted=True)
            encoded = reading.checked(encoders, checker, cells)
            units = {
                name: array
                for name, array in encoded.arrays.items()
                if name not in checker.wanted and not isinstance(array, Ragged)
            }
            arrays = reading.tensors({n: a for n, a in encoded.arrays.items() if n in checker.wanted})
            rows = InMemory(arrays, self._dtypes(), padding=padding_of(self.program, self.wanted))
            length += part.num_rows
            decoded = self._decoded(rows, encoded.sizes, units)
            decoded = self.pictures.write(cells, decoded) if self.pictures is not None else decoded
            yield with_keys(part.select(self.keys), decoded)
        checker.finish({field.name: length for field in self.wanted})

    def _of_tiles(
        self, tiles: Tiles, table: Table, encoders: Encoders, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """The predictions of pictures in their own size, one by one."""
        dtypes = self._dtypes()
        for part, own, encoded in tiles.rows(table, encoders, self.wanted, columns, self.limit):
            inputs = {name: np.asarray(encoded.arrays[name]) for name in dtypes}
            values = self.engine({name: torch.from_numpy(a).to(dtypes[name]) for name, a in inputs.items()})
            decoded = columns_of(self.program, own, values, {}, self.probabilities)
            if self.pictures is not None:
                self.pictures.drawings = Drawings(self.program, own)
                decoded = self.pictures.write(part, decoded)
            yield with_keys(part.table.select(self.keys), decoded)

    def _of_windows(self, table: Table, encoders: Encoders, every_window: bool) -> Iterator[pa.Table]:
        """The forecasts of windows, a row for each step."""
        from graphspec.data.windows.forecasts import long
        from graphspec.runs.forecasting import Forecaster, windows_of

        forecaster = Forecaster(self.program, encoders, table, every_window, self.limit)
        self.notes += forecaster.notes
        examples, first = forecaster.examples(self.wanted, self._dtypes()), 0
        steps = windows_of(self.program).rows
        with torch.no_grad():
            for batch in examples.batches(self.batch_size):
                inputs = {name: array for name, array in batch.arrays.items() if not name.endswith(UNIT)}
                values = long(self.engine(inputs), steps, encoders)
                units = {
                    n: a.cpu().numpy().repeat(steps, 0) for n, a in batch.arrays.items() if n.endswith(UNIT)
                }
                decoded = encoders.decode(values, {}, self.probabilities, units)
                yield forecaster.table_of(first, decoded)
                first += len(batch)

    def _read_images(self, table: Table) -> None:
        """Takes the images of a folder, each with the name of its file, for the only input."""
        if not table.columns.keys() >= set(self.keys) or not self.keys:
            self.keys = ("file",) if "file" not in self.program.outputs else ()
        if self.encoders is not None:
            self.encoders.read_images()
            return
        self.encoders = image_encoders(self.program)
        if self.encoders is not None:
            (fill,) = self.encoders.plan.fills
            size = " x ".join(str(size) for size in fill.tensor.shape[1:3])
            self.notes.append(f"{fill.field}: images of {size}, of values from 0 to 255")

    def of_arrays(self, archive: Arrays) -> Iterator[pa.Table]:
        """The predictions for arrays by name."""
        from graphspec.data import fields as checks

        self._wants(checks.absent_inputs(self.program, archive.members))
        arrays, _ = checks.read(archive, self.wanted, self.program.minimum_sizes, self.program.maximum_sizes)
        keys = {name: pa.array(archive.read(name)[: self.limit]) for name in self.keys}
        count, dtypes = min(self.limit, len(next(iter(arrays.values())))), self._dtypes()
        for first in range(0, count, ARRAYS):
            part = slice(first, min(first + ARRAYS, count))
            rows = {name: torch.from_numpy(shareable(a[part])).to(dtypes[name]) for name, a in arrays.items()}
            batches = zip(*(tensor.split(self.batch_size) for tensor in rows.values()), strict=True)
            parts = [self._columns(self.engine(dict(zip(rows, batch, strict=True))), {}) for batch in batches]
            known = pa.table({name: column[part] for name, column in keys.items()}) if keys else None
            yield with_keys(known, pa.concat_tables(parts))

    def _wants(self, absent: Collection[str]) -> None:
        """Reads the inputs but those that are `absent`, which their default fills."""
        read = self.program.inputs.keys() - set(absent)
        self.wanted = [field for field in fields(self.program, absent) if field.name in read]

    def _check_keys(self, table: Table) -> None:
        for name in self.keys:
            if name not in table.columns:
                help = f"{NAME} column `{name}`; it says which row is which, and its cells may be empty"
                raise table.lacks(name, self.program.span(("data", "key")), help)

    def _dtypes(self) -> dict[str, torch.dtype]:
        return {field.name: getattr(torch, field.tensor.dtype) for field in self.wanted}

    def _decoded(self, rows: InMemory, sizes: Sizes, units: Sizes = MappingProxyType({})) -> pa.Table:
        """The predictions for some rows, as columns."""
        parts = []
        first = 0
        for batch in rows.batches(self.batch_size):
            part = slice(first, first + len(batch))
            part_lengths = {name: lengths[part] for name, lengths in sizes.items()}
            scales = {name: unit[part] for name, unit in units.items()}
            parts.append(self._columns(self.engine(batch.arrays), part_lengths, scales))
            first += len(batch)
        return pa.concat_tables(parts)

    def _columns(
        self, values: Mapping[str, np.ndarray], sizes: Sizes, units: Sizes = MappingProxyType({})
    ) -> pa.Table:
        return columns_of(self.program, self.encoders, values, sizes, self.probabilities, units)
