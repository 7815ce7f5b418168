"""From a program's `data:` to the examples that training reads."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphspec.data import fields as checks
from graphspec.data.arrays import open_arrays
from graphspec.data.augmented import augmented
from graphspec.data.batches import Examples, InMemory
from graphspec.data.candidates import Candidates, candidates_of, with_shares
from graphspec.data.config import DataConfig
from graphspec.data.features.next_tokens import pack_misfit
from graphspec.data.features.plan import sees_padding
from graphspec.data.features.settings import Date, TextFeature
from graphspec.data.features.shifts import packed
from graphspec.data.features.windows import Windows
from graphspec.data.fields import Checker, Field, absent_inputs, fields
from graphspec.data.files import DataFile, Marked, Split
from graphspec.data.folders import Found, find
from graphspec.data.in_memory_source import Given
from graphspec.data.memory import limit as memory_limit
from graphspec.data.mistakes import lacks, placed
from graphspec.data.mixed import mixing
from graphspec.data.opening import Opening, opening, spanner
from graphspec.data.padding import Padding
from graphspec.data.prepared import LABELS, arrays_of, digest_of, is_prepared, need_same, read_index
from graphspec.data.processes import ALONE, Processes, read_once
from graphspec.data.remote import is_remote
from graphspec.data.store import Budget, Store, folder
from graphspec.data.streamed import Streamed
from graphspec.data.synthetic import BATCHES, synthetic
from graphspec.data.weighed import weighed
from graphspec.diagnostics import Diagnostic, SpecError, did_you_mean, fail
from graphspec.elaborated import BaseProgram
from graphspec.tensor import names_of

if TYPE_CHECKING:
    from graphspec.data.columns import TablePart
    from graphspec.data.encoders import Encoders

SYNTHETIC = "synthetic data: the spec names no data; `--data PATH` gives some"


@dataclass(frozen=True, slots=True)
class Data:
    """What a run reads; validation and test where `data:` has them.

    `notes` are the lines to be said aloud before training: that data are synthetic, what was filled or cut.
    `fingerprint` is a digest of all examples and of how they are kept: equal data in another format have the
    same, and a run that is resumed needs it to be the same.
    """

    training: Examples
    validation: Examples | None
    test: Examples | None
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    encoders: Encoders | None = None
    """What was learned from training rows; None where the examples are arrays, or synthetic."""
    warnings: tuple[Diagnostic, ...] = ()
    candidates: Mapping[str, Candidates] = field(default_factory=dict)
    """By output, the keys of training rows, where a training reads them."""

    def with_candidates(self, program: BaseProgram) -> Data:
        """The same with the keys that the outputs of a program read, and what its losses read of these."""
        known = candidates_of(program, self.training)
        parts = (self.training, self.validation, self.test)
        training, validation, test = (each and with_shares(program, each, known) for each in parts)
        assert training is not None
        return replace(self, training=training, validation=validation, test=test, candidates=known)

    @property
    def is_synthetic(self) -> bool:
        return SYNTHETIC in self.notes


def load(
    program: BaseProgram,
    data: Path | DataFile | Given | None,
    root: Path | None,
    device: torch.device,
    *,
    limit: int | None = None,
    encoders: Encoders | None = None,
    processes: Processes = ALONE,
) -> Data:
    """Examples for training, validation and test.

    `data` replaces the path of the training data. Paths of the spec are relative to `root`, its directory,
    and must stay inside. `limit` is how many rows of each file are read, the first ones. A program without
    data gets synthetic ones. `encoders` are those that learned before; without them they learn from the
    training rows. Of the `processes` of one machine the first reads, for all. Raises `SpecError`, a data-...
    code for each mistake.
    """
    folder = _prepared_folder(program, data, root)
    if folder is not None:  # which each process maps
        dataset = _prepared(program, folder, limit, encoders, memory_limit() // processes.size)
    else:
        dataset = read_once(processes, partial(_read, program, data, root, limit, encoders))
    first, *held = _on(device, (dataset.training, dataset.validation, dataset.test))
    training = weighed(_augmented(program, first, device), dataset.encoders)
    validation, test = (None if each is None else weighed(each, dataset.encoders) for each in held)
    return replace(dataset, training=training, validation=validation, test=test)


def _read(
    program: BaseProgram,
    data: Path | DataFile | Given | None,
    root: Path | None,
    limit: int | None,
    encoders: Encoders | None,
) -> Data:
    """What files hold, on the CPU."""
    loader = Loader(program, limit or sys.maxsize, encoders)
    config = loader.config
    validation = config.validation if isinstance(config.validation, DataFile) else None
    parts = loader.training(opening(program, "train", config.train, root, data))
    held = loader.all(opening(program, "validation", validation, root), "validation", validation)
    test = loader.all(opening(program, "test", config.test, root), "test", config.test)
    if test is not None and parts[2] is not None:
        raise fail(
            "data-range", "`test` is a file, and the column of parts names rows for it", "keep one of them"
        )
    return Data(
        parts[0],
        held or parts[1],
        test or parts[2],
        (*loader.notes, *(loader.encoders.notes if loader.encoders is not None else ())),
        loader.fingerprint,
        loader.encoders,
        (*loader.warnings,),
    )


def _prepared_folder(
    program: BaseProgram, data: Path | DataFile | Given | None, root: Path | None
) -> Path | None:
    """The folder of prepared data that training data are, if they are one."""
    named = program.data.train if program.data is not None else None
    if data is None and named is not None:
        far = is_remote(named.path)
        path = Path(named.path) if far else (root or Path()) / named.path
        if (far and not program.allow_url) or not is_prepared(path):
            return None
    opened = opening(program, "train", named, root, data)
    place = opened.path if opened is not None else None
    return place if isinstance(place, Path) and is_prepared(place) else None


def _prepared(
    program: BaseProgram, folder: Path, limit: int | None, encoders: Encoders | None, most: int
) -> Data:
    """Examples of a folder of prepared data, in memory where they have `most` bytes. Raises `SpecError` where
    it was prepared for another spec, or encoders that learned before differ from its own.
    """
    from graphspec.data import reading  # imports pyarrow
    from graphspec.data.encoding import encoders_of

    index = read_index(folder)
    need_same(program, index, folder)
    if encoders is not None and digest_of(encoders.to_json()) != index.key["encoders"]:
        message = f"the encoders of the run learned from other rows than `{folder}` was prepared of"
        raise fail("data-column", message, "name the data that the run learned from")
    wanted = fields(program, index.absent)
    dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in wanted}
    padding = padding_of(program, wanted)
    size = index.size(folder)

    def part(label: str) -> Examples | None:
        groups = arrays_of(folder, index, label, limit)
        if groups is None:
            return None
        if size <= most:
            every = [
                {name: rows.read([(0, rows.length)]) for name, rows in group.items()}
                for group in groups.values()
            ]
            return reading.held(every, dtypes, padding)
        of = dtypes | {name: torch.float32 for name in groups["arrays"].keys() - dtypes.keys()}
        return Streamed(groups["arrays"], of, groups["weights"], groups["masks"], padding=padding)

    training, validation, test = (part(label) for label in LABELS)
    if training is None:
        raise fail("data-empty", f"`{folder}` holds no rows for training")
    learned = encoders or encoders_of(program, index.encoders)
    notes = (*index.notes, *learned.notes)
    return Data(training, validation, test, notes, index.fingerprint, learned)


def _on(device: torch.device, parts: Sequence[Examples | None]) -> list[Any]:
    """Examples for a model on `device`; the arrays that they share on the CPU, they share there."""
    there: dict[int, InMemory] = {}
    on_device: list[Examples | None] = []
    for part in parts:
        if isinstance(part, InMemory):
            key = id(part.arrays)
            if key not in there:
                there[key] = replace(part, index=None).feeding(device)
            shared = there[key]
            part = shared if part.index is None else shared.select(part.index.to(shared.home))
        elif isinstance(part, Streamed):
            part = replace(part, device=device)
        on_device.append(part)
    return on_device


def _augmented(program: BaseProgram, training: Examples, device: torch.device) -> Examples:
    """Training examples with the `augment` of the features that have one, then mixed."""
    features = program.data.features if program.data is not None else {}
    if any(getattr(feature, "augment", None) for feature in features.values()):
        training = augmented(program, training, device)
    return mixing(program, training)


def load_file(
    program: BaseProgram,
    path: Path | DataFile | Given,
    device: torch.device,
    encoders: Encoders | None,
    *,
    limit: int | None = None,
) -> Examples:
    """The first `limit` examples of a file, with targets, as encoders that have learned make them.

    Raises `SpecError`, a data-... code for each mistake.
    """
    if encoders is None:
        need_no_features(program)
    loader = Loader(program, limit or sys.maxsize, encoders)
    config = loader.config
    opened = opening(program, "train", config.train, None, path)
    assert opened is not None
    examples = loader.all(opened, "test")
    if examples is None:
        raise fail("data-empty", f"`{opened.path}` holds no examples")
    (on_device,) = _on(device, [examples])
    return weighed(on_device, encoders)


def need_no_features(program: BaseProgram) -> None:
    """Refuses a program with features of which nothing was learned."""
    if program.data is not None and program.data.features:
        raise fail(
            "data-format", "the run has no encoders: it was not trained on a table", "train it on a table"
        )


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


Parts = Sequence[Examples | None]
"""Training, validation and test."""


def _selected(whole: InMemory, parts: Any) -> Parts:
    """The examples of each part, which share their arrays; `parts` says of each example for which it is."""
    indices = [torch.from_numpy(np.flatnonzero(parts == number)) for number in range(3)]
    return [whole.select(index) if len(index) else None for index in indices]


@dataclass(frozen=True, slots=True)
class FittedSource:
    """A table, encoders that have learned from it, and of each row the part that it is for, if it is
    divided.
    """

    table: Any
    encoders: Encoders
    parts: Any


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
        self._absent: Collection[str] | None = None
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    @property
    def absent(self) -> Collection[str]:
        """The inputs that their defaults fill."""
        return self._absent or ()

    def source(self, data: Path | DataFile | Given | None, root: Path | None) -> FittedSource:
        """The table of training data, with encoders that have learned from it. Raises `SpecError`
        (not-supported) where examples are not rows of one table.
        """
        from graphspec.data import reading
        from graphspec.data.tables import open_table

        config = self.config
        file = opening(self.program, "train", config.train, root, data)
        help = "train on the data themselves"
        if file is None:
            raise fail("data-missing", "there are no data to prepare", "name some: `--data PATH`")
        others = [key for key in ("validation", "test") if isinstance(getattr(config, key), DataFile)]
        what = (
            "windows" if config.windows is not None
            else "texts that are packed" if packed(config.features) is not None
            else f"`{others[0]}` in a file of its own" if others
            else "bounds of time" if config.train is not None and config.train.bounds
            else None
        )  # fmt: skip
        if what is not None:
            raise fail("not-supported", f"{what}: only rows of one table are prepared", help)
        try:
            found = find(file.path, file.within).first(self.rows)
            self.notes += found.remarks
            table = open_table(found, file.options, config)
            encoders = self._encoders(table, found)
            division = None if isinstance(config.validation, DataFile) else config.validation
            self._warn_of_time(table, division)
            parts = self._row_parts(table, encoders, division) if division is not None else None
            reading.learn(table, encoders, parts, self.rows)
        except SpecError as error:
            raise placed(error, file.span) from None
        return FittedSource(table, encoders, parts)

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
            return self._read(file, division, "training", self.config.train)
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

    def all(self, file: Opening | None, label: str, bounds: DataFile | None = None) -> Examples | None:
        """All examples of a file, or those of the time that is named."""
        return self._read(file, None, label, bounds)[0] if file is not None else None

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
        from graphspec.data.tables import open_table
        from graphspec.data.tables.between import Between

        table = open_table(source, file.options, self.config)
        if bounds is not None:
            time = bounds.time or (self.config.windows.order if self.config.windows is not None else "")
            table = Between(table, bounds, time, self._date_format(time))
            self.notes.append(f"{label}: {len(table):,} of {len(table.table):,} rows, {table.said}")
        learned, encoders = self.encoders, self._encoders(table, source)
        if self.config.windows is not None:
            return self._windows(table, encoders, self.config.windows, learned is None, division, label)
        joined = packed(self.config.features)
        if joined is not None:
            return self._packed(table, encoders, *joined, learned is None, division, label)
        self._warn_of_time(table, division)
        parts = self._row_parts(table, encoders, division) if division is not None else None
        if learned is None:
            reading.learn(table, encoders, parts, self.rows)
        checker = self._checker(table, self.wanted)
        stores = reading.encode(table, encoders, checker, parts, self.rows, label, self.budget)
        return [self._examples(store) for store in stores]

    def _checker(self, table: Any, wanted: Iterable[Field]) -> Checker:
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
        line = timeline(table, windows, self._date_format(windows.order), self.rows)
        parts = None
        if division is not None:
            with self._dividing(division):
                column = self._divider(division, table.columns, table.lacks)
                parts = dividing.row_parts(
                    table, division, column, line, self.program.training.seed, self.rows
                )
        if learns:
            reading.learn(table, encoders, parts, self.rows)
        checker = self._checker(table, examples.row_fields(self.wanted, encoders.plan))
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
        )
        origins = dividing.origins(line, windows, table.file)
        padding = padding_of(self.program, self.wanted)
        self._note_of(store, "rows")
        windowed = examples.windowed(store, self.wanted, encoders, line, origins, padding)
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
        return _selected(windowed, of)

    def _packed(
        self,
        table: Any,
        encoders: Encoders,
        name: str,
        feature: TextFeature,
        learns: bool,
        division: Split | Marked | None,
        label: str,
    ) -> Parts:
        """Rows of a text that goes on from document to document."""
        from graphspec.data import packing, reading
        from graphspec.data.tables.texts import TextFiles

        misfit = pack_misfit(self.program)
        if misfit is not None:
            raise SpecError([misfit])
        parts, rows = self._documents(table, encoders, division)
        if learns:
            reading.learn(table, encoders, parts, rows)
        encoder: Any = encoders.encoders[name]
        stores, unseen = packing.encode(table, encoder, parts, rows, self.budget)
        stream = packing.Stream(name, feature.pack or 0, packing.next_of(encoders), self.rows)
        labels = reading.LABELS if division is not None else (label,)
        self.notes += stream.notes(dict(zip(labels, stores, strict=False)), table.file, unseen)
        alone = isinstance(table, TextFiles) and len(table.files) == 1
        if feature.end is None and not alone:
            help = "give the token after each: `end: <|end|>`"
            self.notes.append(f"warning: {name}: documents run into one another; {help}")
        dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in self.wanted}
        self._digest.update(f"{stream}".encode())
        return [self._streamed(stream, store, dtypes) for store in stores]

    def _streamed(self, stream: Any, store: Store, dtypes: Any) -> Examples | None:
        if not store.length:
            return None
        self._note_of(store, "tokens")
        examples: InMemory = stream.examples(store, dtypes)
        return examples

    def _documents(self, table: Any, encoders: Encoders, division: Split | Marked | None) -> tuple[Any, int]:
        """The part of each row of a table of documents, of which some are read in pieces, and how many rows
        are read.
        """
        from graphspec.data.tables.texts import TextFiles

        if not isinstance(table, TextFiles):
            return (None if division is None else self._row_parts(table, encoders, division)), self.rows
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

    def _row_parts(self, table: Any, encoders: Encoders, division: Split | Marked) -> Any:
        """The part of each row of a table."""
        from graphspec.data import reading

        column = self._divider(division, table.columns, table.lacks)
        read = [*encoders.columns, *([column] if column and column not in encoders.columns else [])]
        values = reading.column(table, read, column, self.rows)
        return self._parts(division, values.rows, values.whole)

    def _warn_of_time(self, table: Any, division: Split | Marked | None) -> None:
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
        from graphspec.data.encoding import new_encoders  # imports pyarrow

        absent = self._settle(table.columns)
        if self.encoders is None:
            self.encoders = new_encoders(self.program, source.kind == "images", absent)
            if self.rows < sys.maxsize:
                self.encoders.limit(self.rows)
        self.encoders.bind(table, spanner(self.program))
        return self.encoders

    def _examples(self, store: Store) -> Examples | None:
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
        return _selected(whole, parts)

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
                seed, format = self.program.training.seed, self._date_format(division.last_by)
                parts = splits.by_split(division, whole, count, seed, format)
            self._all_parts(division, np.bincount(parts, minlength=3).tolist())
        return parts

    def _date_format(self, column: str | None) -> str | None:
        """The format that a feature, or `windows`, gives for the dates of a column."""
        windows = self.config.windows
        if windows is not None and windows.order == column and windows.format is not None:
            return windows.format
        features = self.config.features.items()
        formats = [f.format for name, f in features if isinstance(f, Date) and column in f.read(name)]
        return formats[0] if formats else None

    def _all_parts(self, division: Split | Marked, counts: Sequence[int]) -> None:
        """Raises `SpecError` where a division leaves training or validation without examples."""
        if all(counts[:2]):
            return
        total = sum(counts)
        if isinstance(division, Split):
            what = f"a validation split of {division.split:g} of {total} examples"
            raise fail("data-empty", f"{what} leaves one part empty", "give more examples")
        empty = "validation" if counts[0] else "training"
        raise fail("data-empty", f"column `{division.column}` assigns none of {total} rows to {empty}")
