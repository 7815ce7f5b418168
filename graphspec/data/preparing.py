"""Encodes the data of a spec once, in parallel, into a folder of shards (`prepared.py`).

A shard is a range of rows of the source: what it becomes depends on these rows and on what the encoders have
learned alone, so that any number of processes write the same bytes. It is written to a temporary name and
renamed, then its `.json`: with that it is whole. What is not whole is made again; `index.json` comes last.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from graphspec.data import reading, remote
from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.fields import Checker
from graphspec.data.files import DataFile
from graphspec.data.in_memory_source import Given
from graphspec.data.loader import Loader
from graphspec.data.mistakes import nowhere, row_in_words
from graphspec.data.prepared import (
    BLOCK_ROWS,
    FORMAT,
    INDEX,
    LABELS,
    ROWS,
    VERSION,
    Index,
    Label,
    Mapped,
    Shard,
    ShardFile,
    checksum_of,
    columns_of,
    digest_of,
    fingerprint,
    key_of,
    read_record,
    table_of,
)
from graphspec.data.store import Array
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.files.folder import Folder
from graphspec.files.records import record_of
from graphspec.files.remembered import own_record, sealed_record
from graphspec.files.whole import HALF

PATIENCE = 5.0
"""Seconds of encoding until other processes are started."""
NAMES = re.compile(rf"({'|'.join(LABELS)})-[0-9]+\.arrow|shard-[0-9]+\.json|{re.escape(INDEX)}")
"""The names of what is written."""
SHARD = "shard"
"""What the record of a shard is signed for."""
RETRIES = 3
"""So often a pool of processes of which one died is made again."""


def holds_other(folder: Path) -> bool:
    """Whether anything but prepared data, or what is left of a preparation, is in a folder."""
    found = os.listdir(folder)
    if INDEX not in found:
        names = (half["file"] if (half := HALF.fullmatch(name)) else name for name in found)
        return not all(map(NAMES.fullmatch, names))
    try:
        content = read_record(folder / INDEX)
    except (OSError, ValueError):
        return True
    return not (isinstance(content, dict) and content.get("format") == FORMAT)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation gave: the index, and how many shards were made; the others were there."""

    index: Index
    made: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a process needs to encode a shard."""

    folder: Path
    key: str
    encoders: Encoders
    wanted: tuple[Any, ...]
    sizes: tuple[Any, Any]
    file: str
    decimal: str
    root: Path


@dataclass(frozen=True, slots=True)
class Task:
    """A shard to make: its number, its rows in the source, and of each the part that it is for."""

    number: int
    first: int
    rows: pa.Table
    parts: Array


def prepare(
    program: BaseProgram,
    folder: Path,
    data: Path | DataFile | Given | None = None,
    root: Path | None = None,
    *,
    workers: int | None = None,
    limit: int | None = None,
    tell: Callable[[int, int], None] = lambda made, rows: None,
) -> Prepared:
    """Encodes the training data of a spec, and those for validation and test that are taken from the same
    table, into a folder; `workers` processes do, by default one for each core. What an earlier run left
    there is continued. `tell` gets the number of shards and of rows so far.

    Raises `SpecError`: a data-... code for each mistake, not-supported for what has no rows of one table.
    """
    loader = Loader(program, limit or 2**62, None)
    source = loader.source(data, root)
    table, encoders, parts = source.table, source.encoders, source.parts
    about = {**key_of(program), "encoders": digest_of(encoders.to_json())}
    sizes = program.minimum_sizes, program.maximum_sizes
    key = digest_of([about, table.file, limit])
    work = Work(folder, key, encoders, tuple(loader.wanted), sizes, table.file, table.decimal, table.root)
    if not remote.is_remote(folder):
        Folder(folder).folder("")
        Folder(folder).remove_halves("", NAMES.fullmatch)
    shards: dict[int, Shard] = {}
    made = rows = 0
    waiting = _tasks(table, encoders, parts, limit or 2**62)
    for number, shard, new in _made(work, waiting, workers or os.cpu_count() or 1):
        shards[number] = shard
        made, rows = made + new, rows + sum(part.rows for part in shard.parts.values())
        tell(len(shards), rows)
    if not rows:
        raise fail("data-empty", f"`{table.file}` holds no examples", table.empty_help)
    index = _finished(work, [shards[number] for number in sorted(shards)], about, loader, encoders)
    return Prepared(index, made)


def _finished(
    work: Work, shards: list[Shard], about: dict[str, str], loader: Loader, encoders: Encoders
) -> Index:
    """Writes the index."""
    columns = next(shard.columns for shard in shards if shard.columns)
    index = Index(
        format=FORMAT,
        version=VERSION,
        key=about,
        encoders=encoders.to_json(),
        absent=tuple(loader.absent),
        notes=tuple(loader.notes),
        columns=columns,
        shards=tuple(shards),
        fingerprint=fingerprint(shards),
    )
    _put(work.folder / INDEX, index.model_dump_json().encode())
    return index


def _tasks(table: Any, encoders: Encoders, parts: Array | None, rows: int) -> Iterator[Task]:
    """The rows of a table in ranges, each a shard."""
    held: list[pa.Table] = []
    first = count = number = 0

    def task(size: int) -> Task:
        nonlocal held, count
        whole = pa.concat_tables(held, promote_options="permissive")
        held, count = ([whole.slice(size)] if len(whole) > size else []), len(whole) - size
        of = np.zeros(size, np.uint8) if parts is None else parts[first : first + size]
        return Task(number, first, whole.slice(0, size), of)

    for _, part in reading.sliced(table.chunks(encoders.columns), rows, 1):
        held.append(part)
        count += part.num_rows
        while count >= ROWS:
            yield task(ROWS)
            first, number = first + ROWS, number + 1
    if count:
        yield task(count)


def _made(work: Work, tasks: Iterator[Task], workers: int) -> Iterator[tuple[int, Shard, bool]]:
    """Each shard with its number, and whether it was made now: here at first, then by so many processes,
    which take as long to start as `PATIENCE`.
    """
    spent = 0.0
    for task in tasks:
        known = _known(work, task)
        begin = perf_counter()
        yield task.number, known or encode(work, task), known is None
        spent += perf_counter() - begin
        if workers > 1 and spent > PATIENCE:
            yield from _in_processes(work, tasks, workers)


def _in_processes(work: Work, tasks: Iterator[Task], workers: int) -> Iterator[tuple[int, Shard, bool]]:
    """The same by several processes; where one of them dies, what it was to make is made again."""
    left: list[Task] = []
    for _ in range(RETRIES):
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (work,))
        running: dict[Future[Shard], Task] = {}
        try:
            while True:
                while len(running) < 2 * workers:
                    task = left.pop(0) if left else next(tasks, None)
                    if task is None:
                        break
                    known = _known(work, task)
                    if known is not None:
                        yield task.number, known, False
                    else:
                        running[pool.submit(_encode_here, task)] = task
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    shard = _shard_of(future, work, running[future])
                    yield running.pop(future).number, shard, True
        except BrokenProcessPool:
            left = [*running.values(), *left]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    message = f"processes that encode rows were killed {RETRIES} times"
    raise fail("data-space", message, "give them more memory, or run fewer: `--workers 2`")


def _shard_of(future: Future[Shard], work: Work, task: Task) -> Shard:
    """What a process made. Its mistakes are those of this process, which knows where rows are written."""
    try:
        return future.result()
    except SpecError:
        return encode(work, task)


_HERE: list[Work] = []
"""What this process was given when it began."""


def _begin(work: Work) -> None:
    import torch

    torch.set_num_threads(1)
    _HERE[:] = [work]


def _encode_here(task: Task) -> Shard:
    return encode(_HERE[0], task)


def _known(work: Work, task: Task) -> Shard | None:
    """A shard that is whole, of the same data, as this user has signed; None for one to make."""
    path = work.folder / f"shard-{task.number:05d}.json"
    try:
        shard = record_of(Shard, own_record(SHARD, read_record(path)))
    except (OSError, ValueError):
        return None
    files = [Mapped(work.folder, part, shard.columns) for part in shard.parts.values()]
    return shard if shard.key == _key(work, task) and all(file.whole() for file in files) else None


def _key(work: Work, task: Task) -> str:
    """The digest of what decides a shard: the rows of the source, and what they are for."""
    sink = pa.BufferOutputStream()
    plain = task.rows.combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return digest_of([work.key, task.first, _digest(sink.getvalue()), _digest(task.parts)])


def _digest(content: Any) -> str:
    import hashlib

    return hashlib.blake2b(memoryview(content), digest_size=16).hexdigest()


def encode(work: Work, task: Task) -> Shard:
    """Encodes the rows of a shard and writes it. Raises `SpecError` with the first mistake of each field."""
    numbers = np.arange(task.first, task.first + len(task.rows))
    part = TablePart(task.rows, numbers, work.file, row_in_words, work.decimal, work.root, nowhere)
    checker = Checker(work.file, row_in_words, work.wanted, *work.sizes, span=nowhere)
    labels = {name: task.parts == number for number, name in enumerate(LABELS)}
    arrays = reading.by_name(reading.checked(work.encoders, checker, part, labels))
    checker.finish(dict.fromkeys(checker.wanted, len(part)))
    columns = columns_of(arrays)
    files: dict[Label, ShardFile] = {}
    for number, label in enumerate(LABELS):
        chosen = np.flatnonzero(task.parts == number)
        if not len(chosen):
            continue
        some = {name: reading.rows_of(array, chosen) for name, array in arrays.items()}
        files[label] = _write(work.folder, f"{label}-{task.number:05d}.arrow", table_of(columns, some))
    shard = Shard(key=_key(work, task), parts=files, columns=columns)
    record = sealed_record(SHARD, shard.model_dump(mode="json"))
    if record is not None:
        _put(work.folder / f"shard-{task.number:05d}.json", json.dumps(record).encode())
    return shard


def _put(path: Path, content: Any) -> None:
    """Writes a file. Raises `SpecError` (data-space) where it cannot be."""
    try:
        remote.put(path, content)
    except OSError as error:
        message = f"`{remote.shown(path)}` cannot be written: {error.strerror or error}"
        raise fail("data-space", message, "name another folder") from None


def _write(folder: Path, name: str, table: pa.Table) -> ShardFile:
    """One file of a shard, in blocks."""
    batches = table.combine_chunks().to_batches(max_chunksize=BLOCK_ROWS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    content = sink.getvalue()
    read = pa.ipc.open_file(content)
    blocks = [read.get_batch(number) for number in range(read.num_record_batches)]
    _put(folder / name, content)
    return ShardFile(file=name, blocks=tuple((len(block), checksum_of(block)) for block in blocks))
