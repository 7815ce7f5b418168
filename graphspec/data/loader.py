"""The way of one run from the files of its `data:` to examples."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphspec.data import fields as checks
from graphspec.data.arrays import open_arrays
from graphspec.data.batches import Examples, InMemory
from graphspec.data.config import DataConfig
from graphspec.data.features.next_tokens import pack_misfit
from graphspec.data.features.plan import sees_padding
from graphspec.data.features.shifts import packed
from graphspec.data.features.windows import Windows
from graphspec.data.fields import Checker, Field, absent_inputs, fields
from graphspec.data.files import DataFile, Marked, Split
from graphspec.data.folders import Found, find
from graphspec.data.in_memory_source import Given
from graphspec.data.memory import limit as memory_limit
from graphspec.data.mistakes import lacks, placed
from graphspec.data.opening import Opening, opening, spanner, spec_file
from graphspec.data.padding import Padding
from graphspec.data.store import Budget, Store, folder
from graphspec.data.synthetic import BATCHES, synthetic
from graphspec.diagnostics import Diagnostic, Span, SpecError, did_you_mean, fail
from graphspec.elaborated import BaseProgram
from graphspec.tensor import names_of

if TYPE_CHECKING:
    from graphspec.data.columns import TablePart
    from graphspec.data.encoders import Encoders
    from graphspec.data.windows.examples import StreamedWindows
    from graphspec.data.workers import Workers

SYNTHETIC = "synthetic data: the spec names no data; `--data PATH` gives some"


def padding_of(program: BaseProgram, wanted: Iterable[Field]) -> Padding:
    """To what the fields are padded that have a length of their own in each row."""
    sizes = {field.name: field.tensor.shape[1] for field in wanted if field.tensor.rank > 1}
    steps = {
        name: output.target
        for name, output in program.outputs.items()
        if output.mask is None and output.target not in program.inputs and not sees_padding(output)
    }
    bucket = getattr(program.training, "bucket", None)
    known = sorted(
        {name for tensor in program.inputs.values() for s in tensor.shape[1:] for name in names_of(s)}
    )
    if bucket is not None and bucket not in known:
        help = did_you_mean(bucket, known, f"sizes here: {', '.join(known) or 'none'}")
        message = f"`bucket` is `{bucket}`, which is not a size of an input"
        raise fail("unknown-name", message, help, span=program.span(("train", "bucket")))
    targets = {name: output.target for name, output in program.outputs.items()}
    return Padding(sizes, program.minimum_sizes, steps, targets, bucket)


def two_tests() -> SpecError:
    """The error of a file for test beside rows for it in the training data."""
    message = "`test` is a file, and the column of parts names rows for it"
    return fail("data-range", message, "keep one of them")


Parts = Sequence[Examples | None]
"""Training, validation and test."""


def selected(whole: InMemory | StreamedWindows, parts: Any) -> Parts:
    """The examples of each part, which share their arrays; `parts` says of each example which it is for."""
    indices = [torch.from_numpy(np.flatnonzero(parts == number)) for number in range(3)]
    return [whole.select(index) if len(index) else None for index in indices]


@dataclass(frozen=True, slots=True)
class FittedSource:
    """A table with encoders that learned from the training rows and are bound to its columns, and of each row
    the part that it is for: `parts` where it is divided, else `label`. `name` is that of one of several
    sources.
    """

    table: Any
    encoders: Encoders
    parts: Any
    label: str = "training"
    rows: int = sys.maxsize
    """How many rows are read, the first ones."""
    span: Span | None = None
    """The place of the spec that names it."""
    name: str = ""


class Loader:
    """The way of one run from files to examples."""

    def __init__(
        self,
        program: BaseProgram,
        rows: int,
        encoders: Encoders | None,
    ):
        self.program, self.rows, self.encoders = program, rows, encoders
        self.wanted = fields(program)
        self.config: DataConfig = program.data or DataConfig()
        self.notes: list[str] = []
        self.warnings: list[Diagnostic] = []
        self.budget = Budget(memory_limit())
        self.counts: dict[str, int] = {}
        """The training rows of each source."""
        self.workers: Workers | None = None
        """Where the rows of windows are encoded, where many processes do."""
        self._absent: Collection[str] | None = None
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    @property
    def absent(self) -> Collection[str]:
        """The inputs that their defaults fill."""
        return self._absent or ()

    def fitted(self, data: Path | DataFile | Given | None, root: Path | None) -> FittedSource:
        """The table of training data, which is one, whose encoders have learned from it. Raises
        `SpecError`.
        """
        from graphspec.data import reading

        config = self.config
        file = opening(self.program, root, data)
        if file is None:
            raise fail("data-missing", "there are no data to prepare", "name some: `--data PATH`")
        joined = packed(config.features) is not None
        try:
            table, encoders = self._bound(file, "training", config.first)
            division = None if isinstance(config.validation, DataFile) else config.validation
            parts, rows = self.divide(table, encoders, division, joined)
            reading.learn(table, encoders, parts, rows)
        except SpecError as error:
            raise placed(error, file.span) from None
        return FittedSource(table, encoders, parts, rows=rows, span=file.span)

    def fitted_others(self, training: Sequence[FittedSource], root: Path | None) -> Iterator[FittedSource]:
        """The tables of the files for validation and test. Raises `SpecError`."""
        from graphspec.data import reading

        others = {"validation": self.config.validation, "test": self.config.test}
        joined, encoders = packed(self.config.features) is not None, self.encoders
        for label, named in others.items():
            if not isinstance(named, DataFile):
                continue
            number = reading.LABELS.index(label)
            if any(source.parts is not None and (source.parts == number).any() for source in training):
                raise two_tests()
            opened = spec_file(self.program, label, named, root)
            try:
                self.encoders = deepcopy(encoders)
                table, bound = self._bound(opened, label, named)
                rows = self.divide(table, bound, None, joined)[1]
                yield FittedSource(table, bound, None, label, rows, opened.span)
            except SpecError as error:
                raise placed(error, opened.span) from None
            finally:
                self.encoders = encoders

    def divide(
        self, table: Any, encoders: Encoders, division: Split | Marked | None, joined: bool
    ) -> tuple[Any, int]:
        """The part of each row of a table, of documents where they are `joined`, and how many are read."""
        if joined:
            return self.documents(table, encoders, division)
        self.warn_of_time(table, division)
        return None if division is None else self.row_parts(table, encoders, division), self.rows

    def _bound(self, file: Opening, label: str, bounds: DataFile | None) -> tuple[Any, Encoders]:
        """The table of a file, or its rows of the time that is named, and the encoders, bound to its
        columns.
        """
        found = find(file.path, file.within).first(self.rows)
        self.notes += found.remarks
        table = self._opened(found, file, label, bounds)
        return table, self._encoders(table, found)

    def _settle(self, there: Collection[str]) -> Collection[str]:
        """The inputs that their defaults fill: those of which the first file has no column, or of which
        nothing was learned.
        """
        if self._absent is None:
            known = None if self.encoders is None else self.encoders.encoders
            left = absent_inputs(self.program, there)
            self._absent = left if known is None else [n for n in self.program.defaults if n not in known]
            self.wanted = fields(self.program, self._absent)
        return self._absent

    def training(self, file: Opening | None) -> Any:
        """Training examples, and those for validation and test that are taken from the same file."""
        validation = self.config.validation
        division = None if isinstance(validation, DataFile) else validation
        if file is not None:
            return self._read(file, division, "training", self.config.first)
        self.notes.append(SYNTHETIC)
        config = self.program.training
        self._settle(())
        examples = synthetic(
            self.program, self.wanted, min(BATCHES * config.batch_size, self.rows), config.seed
        )
        parts = None
        if isinstance(division, Split):
            parts = self._parts(Split(split=division.split), len(examples), None)
        return self._divided(examples, parts)

    def held(self, training: Parts, root: Path | None) -> Parts:
        """The parts of training data, with files for validation and test in their place. Raises
        `SpecError`.
        """
        parts, config = [*training], self.config
        for number, named in ((1, config.validation), (2, config.test)):
            if not isinstance(named, DataFile):
                continue
            label = ("training", "validation", "test")[number]
            if label == "test" and parts[number] is not None:
                raise two_tests()
            parts[number] = self.all(spec_file(self.program, label, named, root), label, named)
        return parts

    def all(self, file: Opening, label: str, bounds: DataFile | None = None) -> Examples | None:
        """All examples of a file, or those of the time that is named."""
        return self._read(file, None, label, bounds)[0]

    def count(self, source: str, rows: int) -> None:
        """Keeps how many training rows a source has."""
        self.counts[source] = rows
        self._digest.update(f"{source} {rows}".encode())

    def read_table(self, file: Opening, label: str) -> tuple[Any, Found]:
        """The table of a file, and where it was found. Raises `SpecError`."""
        source = find(file.path, file.within).first(self.rows)
        self.notes += source.remarks
        return self._opened(source, file, label, file.options), source

    def _read(
        self, file: Opening, division: Split | Marked | None, label: str, bounds: DataFile | None = None
    ) -> Parts:
        remarks: list[str] = []
        try:
            source = find(file.path, file.within).first(self.rows)
            remarks += source.remarks
            self.notes += remarks
            bounds = bounds if bounds is not None and bounds.bounds else None
            if source.kind == "arrays" and not self._encoded and bounds is None:
                return self._arrays(source, division)
            return self._table(source, file, division, label, bounds)
        except SpecError as error:
            raise placed(error, file.span, *remarks) from None

    @property
    def _encoded(self) -> bool:
        """Whether anything is to be learned from the columns, so that arrays are read as columns, too."""
        weighted = any(output.rows.weighted for output in self.program.outputs.values())
        return bool(self.config.features) or weighted

    def _table(
        self,
        source: Found,
        file: Opening,
        division: Split | Marked | None,
        label: str,
        bounds: DataFile | None,
    ) -> Parts:
        from graphspec.data import reading  # imports pyarrow

        table = self._opened(source, file, label, bounds)
        learned, encoders = self.encoders, self._encoders(table, source)
        if self.config.windows is not None:
            return self._windows(table, encoders, self.config.windows, learned is None, division, label)
        joined = packed(self.config.features)
        if joined is not None:
            return self._packed(table, encoders, joined[0], learned is None, division, label)
        parts, _ = self.divide(table, encoders, division, joined=False)
        if learned is None:
            reading.learn(table, encoders, parts, self.rows)
        checker = self.checker(table, self.wanted)
        stores = reading.encode(table, encoders, checker, parts, self.rows, label, self.budget)
        return [self.examples(store) for store in stores]

    def _opened(self, source: Found, file: Opening, label: str, bounds: DataFile | None) -> Any:
        """The table of a file, or its rows of the time that is named."""
        from graphspec.data.tables import open_table
        from graphspec.data.tables.between import Between, rows_of_time

        table = open_table(source, file.options, self.config)
        between = table if bounds is None else rows_of_time(table, bounds, self.config)
        if isinstance(between, Between):
            self.notes.append(f"{label}: {len(between):,} of {len(table):,} rows, {between.said}")
        return between

    def checker(self, table: Any, wanted: Iterable[Field]) -> Checker:
        sizes = self.program.minimum_sizes, self.program.maximum_sizes
        return Checker(table.file, table.place, wanted, *sizes, span=table.span)

    def _windows(
        self,
        table: Any,
        encoders: Encoders,
        windows: Windows,
        learns: bool,
        division: Split | Marked | None,
        label: str,
    ) -> Parts:
        """The windows of a table's rows, which are kept once for all parts."""
        from graphspec.data import reading
        from graphspec.data.windows import division as dividing
        from graphspec.data.windows import examples, naive
        from graphspec.data.windows.timeline import timeline

        table.keeps = False  # each pass reads columns of its own, and long tables are to fit
        line = timeline(table, windows, self.config.date_format(windows.order), self.rows)
        parts = None
        if division is not None:
            with self._dividing(division):
                column = self._divider(division, table.columns, table.lacks)
                parts = dividing.row_parts(
                    table, division, column, line, self.program.training.seed, self.rows
                )
        if learns:
            reading.learn(table, encoders, parts, self.rows)
        checker = self.checker(table, examples.row_fields(self.wanted, encoders.plan))
        (store, *_) = reading.encode(
            table,
            encoders,
            checker,
            parts,
            self.rows,
            label,
            self.budget,
            True,
            line.inserted,
            workers=self.workers,
        )
        origins = dividing.origins(line, windows, table.file)
        padding = padding_of(self.program, self.wanted)
        self._note_of(store, "rows")
        rows = examples.in_order(store, line)
        windowed = examples.windowed(rows, self.wanted, encoders, line, origins, windows.stride, padding)
        if learns:
            encoders.seasonal = naive.seasonal(windowed, encoders, windows, parts)
            ticks = line.ticks if parts is None else line.ticks[line.in_order(parts) == 0]
            encoders.until = float(ticks.max())
        of = None
        if division is not None:
            assert parts is not None
            of = dividing.window_parts(line, origins, parts, windows)
            self._all_parts(division, np.bincount(of[of >= 0], minlength=3).tolist())
        self.notes += dividing.notes(line, origins, of, windows)
        self._digest.update(origins.data)
        if of is None:
            return [windowed, None, None]
        self._digest.update(of.tobytes())
        return selected(windowed, of)

    def _packed(
        self,
        table: Any,
        encoders: Encoders,
        name: str,
        learns: bool,
        division: Split | Marked | None,
        label: str,
    ) -> Parts:
        """Rows of a text that goes on from document to document."""
        from graphspec.data import packing, reading

        misfit = pack_misfit(self.program)
        if misfit is not None:
            raise SpecError([misfit])
        parts, rows = self.documents(table, encoders, division)
        if learns:
            reading.learn(table, encoders, parts, rows)
        encoder: Any = encoders.encoders[name]
        stores = [Store(self.budget) for _ in reading.LABELS]
        unseen = packing.encode(table, encoder, parts, rows, stores)
        stream = self.stream(encoders)
        labels = reading.LABELS if division is not None else (label,)
        lengths = {each: store.length for each, store in zip(labels, stores, strict=False)}
        self.notes += stream.notes(lengths, table.file, unseen)
        self.warn_of_documents(name, [table])
        self.note_stream(stream)
        return [self.streamed(stream, store, [store.length]) for store in stores]

    def warn_of_documents(self, name: str, tables: Sequence[Any]) -> None:
        """Warns where the documents of a text have no ends."""
        from graphspec.data.tables.texts import TextFiles

        alone = all(isinstance(table, TextFiles) and len(table.files) == 1 for table in tables)
        if getattr(self.config.features[name], "end", None) is None and not alone:
            help = "give the token after each: `end: <|end|>`"
            self.notes.append(f"warning: {name}: documents run into one another; {help}")

    def stream(self, encoders: Encoders) -> Any:
        """How rows follow from texts that are joined."""
        from graphspec.data import packing

        joined = packed(self.config.features)
        assert joined is not None and joined[1].pack is not None
        return packing.Stream(joined[0], joined[1].pack, packing.next_of(encoders), self.rows)

    def note_stream(self, stream: Any) -> None:
        """Keeps how rows follow from a stream, as what is digested."""
        self._digest.update(f"{stream}".encode())

    def streamed(self, stream: Any, store: Store, lengths: Sequence[int]) -> Examples | None:
        """The rows of texts that lie one after another, each of so many tokens."""
        from graphspec.data import packing

        if not any(map(stream.rows, lengths)):
            return None
        self._note_of(store, "tokens")
        dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in self.wanted}
        tokens, learned = (store.whole(*each) for each in (packing.STREAM, packing.COUNTED))
        examples: Examples = stream.examples(tokens, learned, dtypes, lengths)
        return examples

    def documents(self, table: Any, encoders: Encoders, division: Split | Marked | None) -> tuple[Any, int]:
        """The part of each row of a table of documents, of which some are read in pieces, and how many rows
        are read.
        """
        from graphspec.data.tables.texts import TextFiles

        if not isinstance(table, TextFiles):
            return (None if division is None else self.row_parts(table, encoders, division)), self.rows
        count = min(self.rows, len(table.files))
        alone = count == 1 and isinstance(division, Split) and division.divider is None
        if alone and isinstance(division, Split) and division.fold is not None:
            what = f"`fold` is one of several parts of the documents, and `{table.file}` is one document"
            help = "remove it: the end of the text is for validation; or make several files of the text"
            raise fail("data-empty", what, help, span=self.program.span(("data", "validation", "fold")))
        table.cut(division.split if alone and isinstance(division, Split) else None, count)
        of, rows = table.documents, len(table.documents)
        if division is None:
            return None, rows
        if alone:
            return of.astype(np.uint8), rows
        column = self._divider(division, ("file",), table.lacks)
        return self._parts(division, count, table.names() if column else None)[of], rows

    def row_parts(self, table: Any, encoders: Encoders, division: Split | Marked) -> Any:
        """The part of each row of a table."""
        from graphspec.data import reading

        column = self._divider(division, table.columns, table.lacks)
        read = [*encoders.columns, *([column] if column and column not in encoders.columns else [])]
        values = reading.column(table, read, column, self.rows)
        return self._parts(division, values.rows, values.whole)

    def warn_of_time(self, table: Any, division: Split | Marked | None) -> None:
        """Warns where rows in the order of time are divided at random."""
        if not isinstance(division, Split) or division.group is not None or division.last_by is not None:
            return
        from graphspec.data import splits  # imports pyarrow

        column = splits.dated(table, self.config.features)
        if column is not None:
            message = (
                f"the rows of `{table.file}` follow `{column}` in time, and validation is drawn at random"
            )
            help = f"keep the last rows for it: {{split: {division.split:g}, last_by: {column}}}"
            span = self.program.span(("data", "validation"))
            self.warnings.append(Diagnostic("time-split", message, span, severity="warning", help=help))

    def _encoders(self, table: Any, source: Found) -> Encoders:
        """The encoders, bound to a table's columns; those of training data are kept for the others."""
        encoders = self.encoders_for(table.columns, source.kind == "images")
        encoders.bind(table, spanner(self.program))
        return encoders

    def encoders_for(self, columns: Collection[str], images: bool) -> Encoders:
        """The encoders of the run; new ones for these columns where it has none."""
        from graphspec.data.encoding import new_encoders  # imports pyarrow

        absent = self._settle(columns)
        if self.encoders is None:
            self.encoders = new_encoders(self.program, images, absent)
            if self.rows < sys.maxsize:
                self.encoders.limit(self.rows)
        return self.encoders

    def examples(self, store: Store) -> Examples | None:
        from graphspec.data import reading

        if not store.length:
            return None
        self._note_of(store, "examples")
        return reading.examples(store, self.wanted, padding_of(self.program, self.wanted))

    def _note_of(self, store: Store, what: str) -> None:
        self._digest.update(f"{store.digest} {store.filed}".encode())
        if store.filed:
            size = f"{store.size / 2**30:.1f} GiB"
            self.notes.append(
                f"{store.length:,} {what} take {size} and are read from {folder()} as they are used"
            )

    def _arrays(self, source: Found, division: Split | Marked | None) -> Parts:
        archive = open_arrays(source)
        self._settle(archive.members)
        arrays, _ = checks.read(archive, self.wanted, self.program.minimum_sizes, self.program.maximum_sizes)
        arrays = {name: array[: self.rows] for name, array in arrays.items()}
        for name, array in sorted(arrays.items()):
            self._digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            self._digest.update(np.ascontiguousarray(array).data)
        dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in self.wanted}
        examples = InMemory({name: torch.from_numpy(array) for name, array in arrays.items()}, dtypes)
        parts = None
        if division is not None:
            from graphspec.data import splits  # imports pyarrow

            lacking = partial(lacks, archive.file, "array", there=archive.members)
            divider = self._divider(division, archive.members, lacking)
            with self._dividing(division):
                column = splits.of_array(archive, divider, self.rows) if divider else None
            parts = self._parts(division, len(examples), column)
        return self._divided(examples, parts)

    def _divided(self, whole: InMemory, parts: Any) -> Parts:
        """The parts of examples in memory, which share their arrays."""
        if parts is None:
            return [whole, None, None]
        self._digest.update(parts)
        return selected(whole, parts)

    def _divider(self, division: Split | Marked | None, there: Collection[str], lacking: Any) -> str | None:
        """The column that a division names, if it names one."""
        named = division.divider if division is not None else None
        if named is None:
            return None
        key, name = named
        if name not in there:
            raise lacking(name, span=self.program.span(("data", "validation", key)), help="")
        return name

    @contextmanager
    def _dividing(self, division: Split | Marked) -> Iterator[None]:
        """Errors inside are those of the key of `validation` that divides the rows."""
        try:
            yield
        except SpecError as error:
            key = division.divider[0] if division.divider is not None else "split"
            raise placed(error, self.program.span(("data", "validation", key))) from None

    def _parts(self, division: Split | Marked, count: int, whole: TablePart | None) -> Any:
        """For each of `count` rows the part that it is for. `whole` has the column that the division names,
        if it names one.
        """
        from graphspec.data import splits  # imports pyarrow

        with self._dividing(division):
            if isinstance(division, Marked):
                assert whole is not None
                parts = splits.by_column(division, whole)
            else:
                seed, format = self.program.training.seed, self.config.date_format(division.last_by)
                parts = splits.by_split(division, whole, count, seed, format)
            self._all_parts(division, np.bincount(parts, minlength=3).tolist())
        return parts

    def _all_parts(self, division: Split | Marked, counts: Sequence[int]) -> None:
        """Raises `SpecError` where a division leaves training or validation without examples."""
        if all(counts[:2]):
            return
        total = sum(counts)
        if not total:
            raise fail(
                "data-empty", "the training data hold no examples", "a table has rows below its header"
            )
        if isinstance(division, Split):
            what = f"a validation split of {division.split:g} of {total} examples"
            raise fail("data-empty", f"{what} leaves one part empty", "give more examples")
        empty = "validation" if counts[0] else "training"
        raise fail("data-empty", f"column `{division.column}` assigns none of {total} rows to {empty}")
