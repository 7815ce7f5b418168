"""Writes shards of prepared data (`prepared.py`): a file in blocks, then its signed record, with which it is
whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from graphspec.data import remote
from graphspec.data.encoders import Encoders
from graphspec.data.loader import Loader
from graphspec.data.prepared import (
    FORMAT,
    INDEX,
    LABELS,
    VERSION,
    Index,
    KeptLine,
    Label,
    Mapped,
    Shard,
    ShardFile,
    checksum_of,
    fingerprint,
    read_record,
)
from graphspec.diagnostics import fail
from graphspec.files.folder import Folder
from graphspec.files.records import record_of
from graphspec.files.remembered import own_record, sealed_record

ROWS, BLOCK_ROWS = 65_536, 4096
"""Rows of the source in a shard, and of a block, at most."""
SHARD_BYTES, BLOCK_BYTES = 2**28, 2**21
"""Bytes of a shard and of a block, at most about."""
NAMES = re.compile(rf"({'|'.join(LABELS)})-([0-9]+|series)\.arrow|shard-[0-9]+\.json|{re.escape(INDEX)}")
"""The names of what is written."""
RECORD = "shard"
"""The kind of a shard's signed record."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of a preparation: the index, how many shards were made, where the others were there, and how
    many examples each part of the data has.
    """

    index: Index
    made: int
    examples: Mapping[str, int]


def begin(folder: Path) -> None:
    """Makes a folder for shards, and deletes what a killed preparation left of files."""
    if not remote.is_remote(folder):
        Folder(folder).folder("")
        Folder(folder).remove_halves("", NAMES.fullmatch)


def known(folder: Path, number: int, key: str) -> Shard | None:
    """A shard with this key that is whole, as this user has signed; None for one to make."""
    try:
        shard = record_of(Shard, own_record(RECORD, read_record(_record(folder, number))))
    except (OSError, ValueError):
        return None
    files = [Mapped(folder, part, shard.columns) for part in shard.parts.values()]
    return shard if shard.key == key and all(file.whole() for file in files) else None


def sealed(folder: Path, number: int, key: str, shard: Shard) -> Shard:
    """A shard with its key, and writes its record, which this user signs, whoever made it."""
    shard = shard.model_copy(update={"key": key})
    record = sealed_record(RECORD, shard.model_dump(mode="json"))
    if record is not None:
        put(_record(folder, number), json.dumps(record).encode())
    return shard


def finish(
    folder: Path,
    made: Sequence[Shard],
    about: dict[str, str],
    loader: Loader,
    encoders: Encoders,
    lines: Mapping[Label, KeptLine] = MappingProxyType({}),
) -> Index:
    """Writes the index of shards, which comes last. `about` has the digest of what decided them."""
    index = Index(
        format=FORMAT,
        version=VERSION,
        key=about,
        encoders=encoders.to_json(),
        absent=tuple(loader.absent),
        notes=tuple(loader.notes),
        columns=next(shard.columns for shard in made if shard.columns),
        shards=tuple(made),
        fingerprint=fingerprint(made, lines),
        lines=dict(lines),
    )
    put(folder / INDEX, index.model_dump_json().encode())
    return index


def _record(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.json"


def put(path: Path, content: Any) -> None:
    """Writes a file. Raises `SpecError` (data-space) where it cannot be."""
    try:
        remote.put(path, content)
    except OSError as error:
        message = f"`{remote.shown(path)}` cannot be written: {error.strerror or error}"
        raise fail("data-space", message, "name another folder") from None


def write(folder: Path, name: str, table: pa.Table, together: int = 1) -> ShardFile:
    """One file of a shard, in blocks, of which a row of a training has as many rows as `together`."""
    most = max(1, min(BLOCK_ROWS * together, BLOCK_BYTES * len(table) // max(1, table.nbytes)))
    batches = table.combine_chunks().to_batches(max_chunksize=most)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    content = sink.getvalue()
    read = pa.ipc.open_file(content)
    blocks = [read.get_batch(number) for number in range(read.num_record_batches)]
    put(folder / name, content)
    return ShardFile(file=name, blocks=tuple((len(block), checksum_of(block)) for block in blocks))
