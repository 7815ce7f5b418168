"""Encodes the data of a spec once, in parallel, into a folder of shards (`prepared.py`).

A shard is a range of rows of the source: what it becomes depends on these rows and on what the encoders have
learned alone, so that any number of processes write the same bytes. It is written to a temporary name and
renamed, then its `.json`: with that it is whole. What is not whole is made again; `index.json` comes last.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from graphspec.data import reading, shards
from graphspec.data.columns import Mask, TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.features.shifts import packed
from graphspec.data.fields import Checker
from graphspec.data.files import DataFile
from graphspec.data.in_memory_source import Given
from graphspec.data.loader import FittedSource, Loader
from graphspec.data.mistakes import nowhere, row_in_words
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
from graphspec.data.shards import Prepared
from graphspec.data.store import Array
from graphspec.data.tables import CHUNK
from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line
from graphspec.elaborated import BaseProgram
from graphspec.files.whole import HALF

PATIENCE = 5.0
"""Seconds of encoding until other processes are started."""
TOKENS = 64
"""So many times as many tokens are in a block as rows of tables."""
RETRIES = 3
"""So often a pool of processes of which one died is made again."""


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
    file: str
    decimal: str
    root: Path
    packed: str | None = None
    """The feature whose documents are joined."""


Works = tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A shard to make: its number, that of its work, its rows in that table, and of each the part that it is
    for.
    """

    number: int
    work: int
    first: int
    rows: pa.Table
    parts: Array
    borders: tuple[Mask, Mask]
    """Which rows begin a document, and which end one, where documents are joined."""
    key: str
    """The digest of what decides the shard."""


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

    Raises `SpecError`: a data-... code for each mistake, not-supported for what is not one table,
    package-missing without Ray.
    """
    loader = Loader(program, limit or sys.maxsize, None)
    if loader.config.windows is not None:
        from graphspec.data.preparing_windows import prepare_windows

        return prepare_windows(loader, folder, data, root, tell)
    sources = loader.sources(data, root)
    first = sources[0]
    about = {**key_of(program), "encoders": digest_of(first.encoders.to_json())}
    works = tuple(_work(folder, program, loader, source, digest_of([about, limit])) for source in sources)
    shards.begin(folder)
    found: dict[int, Shard] = {}
    made = rows = 0
    tasks = _all_tasks(sources, works, _shard_rows(loader))
    making = _by_ray(works, tasks) if ray else _made(works, tasks, workers or os.cpu_count() or 1)
    for task, shard, new in making:
        if new:
            shard = shards.sealed(folder, task.number, task.key, shard)
        found[task.number] = shard
        made, rows = made + new, rows + sum(part.rows for part in shard.parts.values())
        tell(len(found), rows)
    ordered = [found[number] for number in sorted(found)]
    for source in sources:
        if not any(source.label in shard.parts for shard in ordered):
            raise fail("data-empty", f"`{source.table.file}` holds no examples", source.table.empty_help)
    examples = {label: sum(s.parts[label].rows for s in ordered if label in s.parts) for label in LABELS}
    if works[0].packed is not None:
        examples = _rows_of_texts(loader, sources, ordered, examples)
    return Prepared(shards.finish(folder, ordered, about, loader, first.encoders), made, examples)


def _rows_of_texts(
    loader: Loader, sources: Sequence[FittedSource], made: Sequence[Shard], tokens: Mapping[Label, int]
) -> dict[Label, int]:
    """How many rows streams of so many tokens have, which is noted. Raises `SpecError` (data-empty)."""
    stream = replace(loader.stream(sources[0].encoders), most=sys.maxsize)
    loader.warn_of_documents(stream.name, [source.table for source in sources])
    others = [source.label for source in sources[1:]]
    for source in sources:
        labels = [source.label] if source.parts is None else [each for each in LABELS if each not in others]
        mine = {label: tokens[label] for label in labels}
        unseen = [sum(s.parts[label].unseen for s in made if label in s.parts) for label in mine]
        loader.notes += stream.notes(mine, source.table.file, unseen)
    return {label: stream.rows(count) for label, count in tokens.items()}


def _shard_rows(loader: Loader) -> int:
    """Rows of a shard: fewer where they become long ones, as pictures do."""
    return max(1, min(shards.ROWS, shards.SHARD_BYTES // reading.row_bytes(loader.wanted)))


def _work(folder: Path, program: BaseProgram, loader: Loader, source: FittedSource, key: str) -> Work:
    table, sizes = source.table, (program.minimum_sizes, program.maximum_sizes)
    about = table.file, table.decimal, table.root
    joined = packed(loader.config.features)
    name = None if joined is None else joined[0]
    key = digest_of([key, table.file])
    return Work(folder, key, source.encoders, tuple(loader.wanted), sizes, *about, name)


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
            yield Task(number, work, first, table, of, ends, _key(works[work], first, table, of))
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


Made = Iterator[tuple[Task, Shard, bool]]
"""Each task with its shard, and whether that was made now."""


def _made(works: Works, tasks: Iterator[Task], workers: int) -> Made:
    """The shards of tasks: made here at first, then by so many processes, which take as long to start as
    `PATIENCE`.
    """
    spent = 0.0
    for task in tasks:
        known = _known(works, task)
        begin = perf_counter()
        yield task, known or encode(works[task.work], task), known is None
        spent += perf_counter() - begin
        if workers > 1 and spent > PATIENCE:
            yield from _in_processes(works, tasks, workers)


def _in_processes(works: Works, tasks: Iterator[Task], workers: int) -> Made:
    """The same by several processes; where one of them dies, what it was to make is made again."""
    left: list[Task] = []
    for _ in range(RETRIES):
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (works,))
        running: dict[Future[Shard], Task] = {}
        try:
            while True:
                while len(running) < 2 * workers:
                    task = left.pop(0) if left else next(tasks, None)
                    if task is None:
                        break
                    known = _known(works, task)
                    if known is not None:
                        yield task, known, False
                    else:
                        running[pool.submit(_encode_here, task)] = task
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    shard = _shard_of(future.result, works, running[future])
                    yield running.pop(future), shard, True
        except BrokenProcessPool:
            left = [*running.values(), *left]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    message = f"processes that encode rows were killed {RETRIES} times"
    raise fail("data-space", message, "give them more memory, or run fewer: `--jobs 2`")


def _by_ray(works: Works, tasks: Iterator[Task]) -> Made:
    """The same by tasks of Ray: on the cluster that `RAY_ADDRESS` or this machine names, else on this machine
    alone. Ray makes a task again whose process or machine dies.
    """
    with needing("preparing by Ray", "ray", "or let processes of this machine do it: leave `--ray` out"):
        ray = import_module("ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    encode_there = ray.remote(max_retries=RETRIES)(_encode_there)
    given = ray.put(works)
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    running: dict[Any, Task] = {}
    while True:
        while len(running) < most and (task := next(tasks, None)) is not None:
            known = _known(works, task)
            if known is not None:
                yield task, known, False
            else:
                running[encode_there.remote(given, task)] = task
        if not running:
            return
        (done, *_), _ = ray.wait(list(running))
        task = running.pop(done)
        try:
            shard = _shard_of(partial(ray.get, done), works, task)
        except ray.exceptions.RayError as error:
            message = f"a task of Ray failed: {first_line(error)}"
            help = "run the command again: it continues; graphspec must be installed on all machines"
            raise fail("data-space", message, help) from None
        yield task, shard, True


def _encode_there(works: Works, task: Task) -> Shard:
    import torch

    torch.set_num_threads(1)
    return encode(works[task.work], task)


def _shard_of(result: Callable[[], Shard], works: Works, task: Task) -> Shard:
    """The shard of a process. Its mistakes are raised in this process, which knows the places of rows."""
    try:
        return result()
    except SpecError:
        return encode(works[task.work], task)


_HERE: list[Works] = []
"""The work of this process, set when it begins."""


def _begin(works: Works) -> None:
    _HERE[:] = [works]


def _encode_here(task: Task) -> Shard:
    return _encode_there(_HERE[0], task)


def _known(works: Works, task: Task) -> Shard | None:
    return shards.known(works[task.work].folder, task.number, task.key)


def _key(work: Work, first: int, rows: pa.Table, parts: Array) -> str:
    """The digest of what decides a shard: the rows of the source, the files that they name, and what they are
    for.
    """
    sink = pa.BufferOutputStream()
    plain = rows.combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    part = _part(work, first, rows)
    files = b"".join(each for encoder in work.encoders.used.values() for each in encoder.contents(part))
    named = [_digest(files)] if files else []
    return digest_of([work.key, first, _digest(sink.getvalue()), _digest(parts), *named])


def _part(work: Work, first: int, rows: pa.Table) -> TablePart:
    """Rows of a table, counted from `first`."""
    numbers = np.arange(first, first + len(rows))
    return TablePart(rows, numbers, work.file, row_in_words, work.decimal, work.root, nowhere)


def _digest(content: Any) -> str:
    import hashlib

    return hashlib.blake2b(memoryview(content), digest_size=16).hexdigest()


def encode(work: Work, task: Task) -> Shard:
    """Encodes the rows of a shard, which has no key yet, and writes it. Raises `SpecError` with the first
    mistake of each field.
    """
    part = _part(work, task.first, task.rows)
    if work.packed is not None:
        return _tokens(work, task, part)
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
        files[label] = shards.write(work.folder, f"{label}-{task.number:05d}.arrow", table_of(columns, some))
    return Shard(key="", parts=files, columns=columns)


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
    return Shard(key="", parts=files, columns=columns)
