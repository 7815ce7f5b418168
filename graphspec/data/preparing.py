"""Encodes the data of a spec once, in parallel, into a folder of shards (`prepared.py`).

A shard is a range of rows of the source: what it becomes depends on these rows and on what the encoders have
learned alone, so that any number of processes write the same bytes. It is written to a temporary name and
renamed, then its `.json`: with that it is whole. What is not whole is made again; `index.json` comes last.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graphspec.data import reading, shards
from graphspec.data.columns import Mask, TablePart, ipc_of
from graphspec.data.encoders import Encoders
from graphspec.data.features.next_tokens import pack_misfit
from graphspec.data.features.shifts import packed
from graphspec.data.fields import Checker
from graphspec.data.files import DataFile
from graphspec.data.in_memory_source import Given
from graphspec.data.loader import FittedSource, Loader
from graphspec.data.mistakes import placed
from graphspec.data.packing import STREAM, borders, last_of, streams, unseen_of
from graphspec.data.prepared import (
    FORMAT,
    INDEX,
    LABELS,
    KeptArray,
    Label,
    Shard,
    ShardFile,
    columns_of,
    digest_of,
    key_of,
    read_record,
    table_of,
)
from graphspec.data.several import SeveralTables, no_rows
from graphspec.data.shards import Prepared
from graphspec.data.store import Array
from graphspec.data.tables import CHUNK
from graphspec.data.workers import Over, Workers
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.files.whole import HALF

TOKENS = 64
"""So many times as many tokens are in a block as rows of tables."""


def holds_other(folder: Path) -> bool:
    """Whether anything but prepared data, or what is left of a preparation, is in a folder."""
    found = os.listdir(folder)
    if INDEX not in found:
        names = (half["file"] if (half := HALF.fullmatch(name)) else name for name in found)
        return not all(map(shards.NAMES.fullmatch, names))
    try:
        content = read_record(folder / INDEX)
    except (OSError, ValueError):
        return True
    return not (isinstance(content, dict) and content.get("format") == FORMAT)


@dataclass(frozen=True, slots=True)
class Work:
    """The input of a process that encodes a shard of one table."""

    folder: Path
    key: str
    encoders: Encoders
    wanted: tuple[Any, ...]
    sizes: tuple[Any, Any]
    source: str
    """The name of the table, where it is one of several sources."""
    packed: str | None = None
    """The feature whose documents are joined."""


Works = tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A shard to make: its number, that of its work, its rows of that table, and of each the part of the data
    that it is for.
    """

    number: int
    work: int
    part: TablePart
    parts: Array
    borders: tuple[Mask, Mask]
    """Which rows begin a document, and which end one, where documents are joined."""
    key: str
    """The digest of what decides the shard."""
    known: Shard | None
    """The shard that an earlier run made of these rows."""


def prepare(
    program: BaseProgram,
    folder: Path,
    data: Path | DataFile | Given | None = None,
    root: Path | None = None,
    *,
    workers: int | None = None,
    ray: bool = False,
    limit: int | None = None,
    tell: Callable[[int, int], None] = lambda made, rows: None,
) -> Prepared:
    """Encodes the data of a spec for training, validation and test into a folder. `workers` processes do, by
    default one for each core; or tasks of `ray`. What an earlier run left there is continued. `tell` gets the
    number of shards and of rows so far.

    Raises `SpecError`: a data-... code for each mistake, package-missing without Ray.
    """
    loader = Loader(program, limit or sys.maxsize, None)
    processes = Workers(workers or os.cpu_count() or 1, ray)
    if loader.config.windows is not None:
        from graphspec.data.preparing_windows import prepare_windows

        return prepare_windows(loader, folder, data, root, processes, tell)
    sources = _sources(loader, data, root)
    first = sources[0]
    about = {**key_of(program), "encoders": digest_of(first.encoders.to_json())}
    works = tuple(_work(folder, program, loader, source, digest_of([about, limit])) for source in sources)
    shards.begin(folder)
    of: list[list[Shard]] = [[] for _ in sources]
    made = rows = count = 0

    def read_here(task: Task, error: SpecError) -> SpecError:
        return placed(error, sources[task.work].span)

    over = Over(_encode, works, partial(_known, works), read_here)
    for task, shard in processes.results(over, _all_tasks(sources, works, _shard_rows(loader))):
        if not shard.key:
            shard = shards.sealed(folder, task.number, task.key, shard)
            made += 1
        of[task.work].append(shard)
        _need_alike(sources, of, task)
        count, rows = count + 1, rows + sum(part.rows for part in shard.parts.values())
        tell(count, rows)
    for source, own in zip(sources, of, strict=True):
        if not any(source.label in shard.parts for shard in own):
            empty = fail("data-empty", f"`{source.table.file}` holds no examples", source.table.empty_help)
            raise placed(no_rows(source.name) if source.name else empty, source.span)
    ordered = [shard for own in of for shard in own]
    examples = {label: sum(_rows(own, label) for own in of) for label in LABELS}
    if works[0].packed is not None:
        examples = _rows_of_texts(loader, sources, of)
    return Prepared(shards.finish(folder, ordered, about, loader, first.encoders), made, examples)


def _sources(loader: Loader, data: Path | DataFile | Given | None, root: Path | None) -> list[FittedSource]:
    """The tables of training data, whose encoders have learned from them, and those of the files for
    validation and test.
    """
    misfit = pack_misfit(loader.program)
    if misfit is not None:
        raise SpecError([misfit])
    if loader.config.sources:
        found = SeveralTables(loader, root, data).fitted()
    else:
        found = [loader.fitted(data, root)]
    return [*found, *loader.fitted_others(found, root)]


def _rows(made: Sequence[Shard], label: Label) -> int:
    return sum(shard.parts[label].rows for shard in made if label in shard.parts)


def _need_alike(sources: Sequence[FittedSource], of: Sequence[Sequence[Shard]], task: Task) -> None:
    """Raises `SpecError` (data-shape) where the last shard of a task has other arrays than the first one of
    all: a training reads one after the other.
    """
    first = next((shard for own in of for shard in own if shard.columns), None)
    columns = of[task.work][-1].columns
    if first is None or not columns or columns == first.columns:
        return
    one, other = ({(each.group, each.name): each for each in found} for found in (first.columns, columns))
    group, name = next(key for key in sorted({*one, *other}) if one.get(key) != other.get(key))
    said = [
        f"{found[group, name].dtype[1:]} of shape {list(found[group, name].shape)}"
        if (group, name) in found
        else "nothing"
        for found in (other, one)
    ]
    source = sources[task.work]
    message = f"a row of `{source.table.file}` has as `{name}` {said[0]}, and one of other files {said[1]}"
    help = "give all files arrays of one shape and type, or train on the files themselves"
    raise fail("data-shape", message, help, span=source.span)


def _rows_of_texts(
    loader: Loader, sources: Sequence[FittedSource], made: Sequence[Sequence[Shard]]
) -> dict[Label, int]:
    """How many rows the streams of tokens have, which is noted. Raises `SpecError` (data-empty)."""
    stream = replace(loader.stream(sources[0].encoders), most=sys.maxsize)
    loader.warn_of_documents(stream.name, [source.table for source in sources])
    others = {source.label for source in sources} - {LABELS[0]}
    for source, own in zip(sources, made, strict=True):
        labels = [source.label] if source.parts is None else [each for each in LABELS if each not in others]
        mine = {label: _rows(own, label) for label in labels}
        unseen = [sum(s.parts[label].unseen for s in own if label in s.parts) for label in mine]
        notes = stream.notes(mine, source.table.file, unseen)
        loader.notes += [f"{source.name}: {note}" for note in notes] if source.name else notes
    return {label: sum(stream.rows(_rows(own, label)) for own in made) for label in LABELS}


def _shard_rows(loader: Loader) -> int:
    """Rows of a shard: fewer where they become long ones, as pictures do."""
    return max(1, min(shards.ROWS, shards.SHARD_BYTES // reading.row_bytes(loader.wanted)))


def _work(folder: Path, program: BaseProgram, loader: Loader, source: FittedSource, key: str) -> Work:
    sizes, joined = (program.minimum_sizes, program.maximum_sizes), packed(loader.config.features)
    name = None if joined is None else joined[0]
    key = digest_of([key, source.table.file])
    return Work(folder, key, source.encoders, tuple(loader.wanted), sizes, source.name, name)


def _all_tasks(sources: Sequence[FittedSource], works: Works, rows: int) -> Iterator[Task]:
    """The rows of all tables in ranges, each a shard."""
    number = 0
    for work, source in enumerate(sources):
        last = last_of(source.table)
        size = min(CHUNK, shards.SHARD_BYTES)
        chunks = reading.sliced(source.table.chunks(source.encoders.columns, size), source.rows, 1)
        for first, table in _ranges(chunks, rows):
            of = np.full(len(table), LABELS.index(source.label), np.uint8)
            if source.parts is not None:
                of = source.parts[first : first + len(table)]
            ends = borders(np.arange(first, first + len(table)), last)
            part = reading.part_of(source.table, np.arange(first, first + len(table)), table)
            key = _key(works[work], part, of)
            yield Task(number, work, part, of, ends, key, shards.known(works[work].folder, number, key))
            number += 1


def _ranges(chunks: Iterable[tuple[int, pa.Table]], rows: int) -> Iterator[tuple[int, pa.Table]]:
    """Rows, so many at a time or of about `SHARD_BYTES`, each with the number of the first."""
    held: list[pa.Table] = []
    first = count = size = 0
    for _, part in chunks:
        held.append(part)
        count, size = count + part.num_rows, size + part.nbytes
        while count >= rows or size >= shards.SHARD_BYTES:
            whole, some = pa.concat_tables(held, promote_options="permissive"), min(rows, count)
            yield first, whole.slice(0, some)
            held, first, count = [whole.slice(some)], first + some, count - some
            size = held[0].nbytes
    if count:
        yield first, pa.concat_tables(held, promote_options="permissive")


def _key(work: Work, part: TablePart, of: Array) -> str:
    """The digest of what decides a shard: the rows of the source, and what they are for. Of files that they
    name the record of the shard has another one.
    """
    rows = [int(part.rows[0]), _digest(ipc_of(part.table)), _digest(of)]
    return digest_of([work.key, *rows])


def _digest(content: Any) -> str:
    import hashlib

    return hashlib.blake2b(memoryview(content), digest_size=16).hexdigest()


def _encode(works: Works, task: Task) -> Shard:
    return encode(works[task.work], task)


def _known(works: Works, task: Task) -> Shard | None:
    """The shard that an earlier run made, where rows name no files, which may have changed since."""
    return None if works[task.work].encoders.names_files else task.known


def encode(work: Work, task: Task) -> Shard:
    """Encodes the rows of a shard, which has no key yet, and writes it; or the shard that is known, where
    the files that rows name are what they were. Raises `SpecError` with the first mistake of each field.
    """
    part, digest = task.part, work.encoders.contents(task.part)
    if task.known is not None and task.known.files == digest:
        return task.known
    if work.packed is not None:
        return _tokens(work, task, part)
    checker = Checker(part.file, part.place, work.wanted, *work.sizes, span=part.span)
    labels = {name: task.parts == number for number, name in enumerate(LABELS)}
    encoded = reading.checked(work.encoders, checker, part, labels)
    arrays = reading.by_name(reading.typed(encoded, checker.wanted) if work.source else encoded)
    checker.finish(dict.fromkeys(checker.wanted, len(part)))
    columns = columns_of(arrays)
    files: dict[Label, ShardFile] = {}
    for number, label in enumerate(LABELS):
        chosen = np.flatnonzero(task.parts == number)
        if not len(chosen):
            continue
        some = {name: reading.rows_of(array, chosen) for name, array in arrays.items()}
        files[label] = shards.write(work.folder, f"{label}-{task.number:05d}.arrow", table_of(columns, some))
    return Shard(key="", parts=files, columns=columns, files=digest, source=work.source)


def _tokens(work: Work, task: Task, part: TablePart) -> Shard:
    """The same of documents that are joined, as tokens."""
    encoder: Any = work.encoders.encoders[work.packed or ""]
    files: dict[Label, ShardFile] = {}
    columns: tuple[KeptArray, ...] = ()
    for number, some in streams(encoder, part, task.borders, task.parts):
        label, columns = LABELS[number], columns_of(some)
        if len(some[STREAM]):
            name = f"{label}-{task.number:05d}.arrow"
            written = shards.write(work.folder, name, table_of(columns, some), TOKENS)
            files[label] = written.model_copy(update={"unseen": unseen_of(encoder, some)})
    return Shard(key="", parts=files, columns=columns, source=work.source)
