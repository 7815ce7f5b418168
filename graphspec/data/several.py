"""The tables of several sources as examples, those of each part one source after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphspec.data import packing, reading
from graphspec.data.binding import unlearned, without
from graphspec.data.columns import TablePart
from graphspec.data.features.shifts import packed
from graphspec.data.files import Marked, Split
from graphspec.data.loader import FittedSource, Loader, Parts
from graphspec.data.mistakes import placed
from graphspec.data.opening import Opening, spanner, spec_file
from graphspec.data.prepared import is_prepared
from graphspec.data.store import Store
from graphspec.data.tables import Table
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram


def no_rows(name: str) -> SpecError:
    """The error of a source without training rows."""
    message = f"source `{name}` has no rows for training"
    return fail("data-empty", message, "leave the source out, or give it rows")


@dataclass(slots=True)
class SourceTable:
    """The table of a source. Of the first `rows` rows `parts` says for which part each is; without it all are
    for training.
    """

    name: str
    table: Table
    file: Opening
    rows: int
    lacking: frozenset[str] = frozenset()
    """The targets of which it has no column, and another source has one."""
    parts: Any = None

    @contextmanager
    def mistakes(self) -> Iterator[None]:
        """Errors inside are at the name of the file in the spec, where they have no other place."""
        try:
            yield
        except SpecError as error:
            raise placed(error, self.file.span) from None


def _files(program: BaseProgram, root: Path | None, data: object) -> dict[str, Opening]:
    """The files of `train` by their names. Raises `SpecError` where `data` would replace all of them."""
    sources = program.data.sources if program.data is not None else {}
    if data is not None:
        name = next(iter(sources))
        message = f"the training data of `{program.name}` are several files: {', '.join(sources)}"
        help = f"name one of them: `--set data.train.{name}.path=FILE`"
        raise fail("not-supported", message, help)
    found = {}
    for name, source in sources.items():
        opened = spec_file(program, f"train.{name}", source, root)
        if isinstance(opened.path, Path) and is_prepared(opened.path):
            help = "name the file that it was prepared of"
            message = f"`{opened.path}` holds prepared data, and is one of several sources"
            raise fail("not-supported", message, help, span=opened.span)
        found[name] = opened
    return found


class SeveralTables:
    """The way from the files of several sources to examples, for a run's `Loader`.

    Encoders learn from the training rows of all. A source may lack targets, whose losses its rows then do not
    count for, but no inputs.
    """

    def __init__(self, loader: Loader, root: Path | None, data: object):
        """`data` is what replaces the training data: nothing can. Raises `SpecError`."""
        files = _files(loader.program, root, data)
        self.loader, self.config = loader, loader.config
        self.sources: list[SourceTable] = []
        kinds = set()
        for name, file in files.items():
            source = SourceTable(name, None, file, loader.rows)  # type: ignore[arg-type]
            with source.mistakes():
                source.table, found = loader.read_table(file, name)
            kinds.add(found.kind)
            self.sources.append(source)
        self.learns = loader.encoders is None
        there = {column for source in self.sources for column in source.table.columns}
        self.encoders = loader.encoders_for(there, kinds == {"images"})
        lacking = without(self.encoders.plan, [source.table for source in self.sources])
        for source, fields in zip(self.sources, lacking, strict=True):
            source.lacking = fields
        self.encoders.partial = frozenset().union(*lacking)
        mistakes = list(unlearned(loader.program, {each.name: each.lacking for each in self.sources}))
        if mistakes:
            raise SpecError(mistakes)

    def read(self) -> Parts:
        """Training, validation and test. Raises `SpecError`."""
        self._learn()
        joined = packed(self.config.features)
        return self._rows() if joined is None else self._packed(joined[0])

    def fitted(self) -> list[FittedSource]:
        """Each table with encoders that are bound to it, after they have learned from all. Raises
        `SpecError`.
        """
        self._learn()
        if packed(self.config.features) is None:
            self._need_legal()
        found = []
        for source in self.sources:
            self._bind(source)
            about = source.table, deepcopy(self.encoders), source.parts
            found.append(FittedSource(*about, rows=source.rows, span=source.file.span, name=source.name))
        return found

    def _learn(self) -> None:
        """Divides the rows of all, and lets the encoders learn."""
        joined = packed(self.config.features)
        for source in self.sources:
            self._bind(source)
            with source.mistakes():
                self._divide(source, is_packed=joined is not None)
        if self.learns and not self.encoders.fit(self._training()):
            raise fail("data-empty", "the sources of `train` hold no examples")

    def _bind(self, source: SourceTable) -> None:
        with source.mistakes():
            self.encoders.bind(source.table, spanner(self.loader.program), lacking=source.lacking)

    def _divide(self, source: SourceTable, is_packed: bool) -> None:
        """Says which rows of a source are for validation, and which for test."""
        of = source.table, self.encoders, self._division(source), is_packed
        source.parts, source.rows = self.loader.divide(*of)

    def _division(self, source: SourceTable) -> Split | Marked | None:
        """The division of a source's rows."""
        division = self.config.validation
        if not isinstance(division, Split | Marked) or division.data not in (None, source.name):
            return None
        named = division.divider
        if named is not None and division.data is None and named[1] not in source.table.columns:
            key, column = named
            others = [each.name for each in self.sources if column in each.table.columns]
            message = f"`validation` is by column `{column}`, which source `{source.name}` lacks"
            help = f"say whose rows are divided: `data: {others[0]}`" if others else None
            raise fail(
                "data-column", message, help, span=self.loader.program.span(("data", "validation", key))
            )
        return division

    def _training(self) -> Iterator[TablePart]:
        """The training rows of all, each with its table bound."""
        for source in self.sources:
            self._bind(source)
            yield from reading.training_parts(source.table, self.encoders, source.parts, source.rows)

    def _need_legal(self) -> None:
        """Keeps a legal value of each target that some source lacks."""
        encoders = self.encoders
        for source in self.sources if encoders.partial else ():
            self._bind(source)
            for part in reading.training_parts(source.table, encoders, source.parts, source.rows):
                encoders.need_legal(reading.part_of(source.table, part.rows[:1], part.table.slice(0, 1)))
                break

    def _rows(self) -> Parts:
        """Examples that are rows."""
        loader, encoders = self.loader, self.encoders
        stores = [Store(loader.budget) for _ in reading.LABELS]
        self._need_legal()
        sizes: dict[str, tuple[int, str]] = {}
        for source in self.sources:
            self._bind(source)
            with source.mistakes():
                before = stores[0].length
                checker = loader.checker(source.table, loader.wanted)
                checker.sizes = sizes
                reading.encode(
                    source.table,
                    encoders,
                    checker,
                    source.parts,
                    source.rows,
                    reading.LABELS[0],
                    loader.budget,
                    after=stores,
                )
                self._count(source, stores[0].length - before)
        return [loader.examples(store) for store in stores]

    def _count(self, source: SourceTable, rows: int) -> None:
        """Keeps how many training rows a source has."""
        if not rows:
            raise no_rows(source.name)
        self.loader.count(source.name, rows)

    def _packed(self, name: str) -> Parts:
        """Rows of the texts of each source."""
        loader, encoder = self.loader, self.encoders.encoders[name]
        stream = loader.stream(self.encoders)
        stores = [Store(loader.budget) for _ in reading.LABELS]
        lengths: list[list[int]] = [[] for _ in stores]
        for source in self.sources:
            self._bind(source)
            before = [store.length for store in stores]
            with source.mistakes():
                unseen = packing.encode(source.table, encoder, source.parts, source.rows, stores)  # type: ignore[arg-type]
                added = [store.length - count for store, count in zip(stores, before, strict=True)]
                labels = reading.LABELS if source.parts is not None else reading.LABELS[:1]
                said = dict(zip(labels, added, strict=False))
                loader.notes += [
                    f"{source.name}: {note}" for note in stream.notes(said, source.table.file, unseen)
                ]
                self._count(source, stream.rows(added[0]))
            for all_of, length in zip(lengths, added, strict=True):
                all_of.append(length)
        loader.warn_of_documents(name, [source.table for source in self.sources])
        loader.note_stream(stream)
        return [loader.streamed(stream, *each) for each in zip(stores, lengths, strict=True)]
