"""Texts that are joined: documents one after another in one stream of tokens, of which rows are views.

A row is `pack` tokens, the next row begins with the token after it, and what comes next is the same stream,
`shift` places later. So nothing is padded, and what comes after the last token of a row is the first one of
the next row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphspec.data import reading
from graphspec.data.batches import InMemory
from graphspec.data.columns import Mask, TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.features.texts import UNSEEN, Shifted
from graphspec.data.ragged import Ragged
from graphspec.data.store import Array, Name, Store
from graphspec.data.streamed import Streamed
from graphspec.data.tables import Table
from graphspec.data.tables.texts import PIECE, TextFiles
from graphspec.data.windows.views import Runs, View, ViewsInFiles
from graphspec.diagnostics import fail

STREAM, COUNTED = ("arrays", "tokens"), ("masks", "tokens")
"""The arrays of a store of tokens: the tokens, and which of them a model may learn to say."""


@dataclass(frozen=True, slots=True)
class Next:
    """A target of outputs: its name, the outputs that have it, and how many places later its tokens are."""

    target: str
    outputs: tuple[str, ...]
    shift: int


def next_of(encoders: Encoders) -> tuple[Next, ...]:
    """The targets of outputs for a text that goes on."""
    return tuple(
        Next(
            fill.field,
            tuple(name for name, output in encoders.outputs.items() if output.target == fill.field),
            fill.feature.shift,
        )
        for fill in encoders.plan.fills
        if isinstance(fill.feature, Shifted)
    )


@dataclass(frozen=True, slots=True)
class Stream:
    """How rows follow from a stream: the input `name` reads `pack` tokens of it; there are `most` rows."""

    name: str
    pack: int
    nexts: tuple[Next, ...]
    most: int

    @property
    def shift(self) -> int:
        """Tokens after a row that have to be there, too."""
        return max((each.shift for each in self.nexts), default=0)

    def rows(self, length: int) -> int:
        """Those of so many tokens."""
        return min(self.most, max(0, (length - self.shift) // self.pack))

    def examples(
        self,
        tokens: Any,
        learned: Any,
        dtypes: Mapping[str, torch.dtype],
        lengths: Sequence[int],
    ) -> InMemory | Streamed:
        """The rows of streams of so many tokens, which lie one after another in an array or in files, on the
        CPU. `learned` says of each token whether a model learns to say it; None of all.
        """
        begins = [np.arange(self.rows(length)) * self.pack for length in lengths]
        starts = accumulate(lengths, initial=0)
        rows = Runs.of(np.concatenate([b + s for b, s in zip(begins, starts, strict=False)]), self.pack)
        offsets = torch.arange(self.pack)
        in_memory = isinstance(tokens, np.ndarray)
        origins = torch.from_numpy(rows.all)

        def view(values: Any, shift: int) -> Any:
            if in_memory:
                return View(torch.from_numpy(values), origins, offsets + shift)
            return ViewsInFiles(values, rows, offsets + shift)

        arrays, masks = {self.name: view(tokens, 0)}, dict[str, Any]()
        for each in self.nexts:
            arrays[each.target] = view(tokens, each.shift)
            if learned is not None:
                masks |= dict.fromkeys(each.outputs, view(learned, each.shift))
        return (InMemory if in_memory else Streamed)(arrays, dtypes, masks=masks)

    def notes(self, lengths: Mapping[str, int], file: str, unseen: Sequence[int]) -> list[str]:
        """Describes the tokens of each part, of which some were not seen in training: a line. Raises
        `SpecError` (data-empty) where a part has no row.
        """
        said = []
        for (label, length), strange in zip(lengths.items(), unseen, strict=False):
            rows = self.rows(length)
            if not rows and (length or label != "test"):
                message = f"{label} has {length:,} tokens of `{file}`, and a row of `pack: {self.pack}` takes"
                help = "write a smaller `pack`" + (", or another `split`" if len(lengths) > 1 else "")
                raise fail("data-empty", f"{message} {self.pack + self.shift}", help)
            if rows:
                left = f" and {length - rows * self.pack:,} left out at the end"
                tokens = f"{length:,} tokens" + (f" ({strange:,} unseen)" if strange else "")
                said.append(f"{label}: {tokens}, {rows:,} rows of {self.pack}{left}")
        return [f"{self.name}: {'; '.join(said)}"]


def encode(
    table: Table, encoder: TextEncoder, parts: Array | None, rows: int, stores: Sequence[Store]
) -> list[int]:
    """Adds the first `rows` rows of a table, as streams, to the stores of their parts; without `parts` all go
    to the first one. A row is a document, or a piece of one. Returns how many tokens of each were not seen in
    training. Raises `SpecError`, as encoders do.
    """
    unseen = [0] * len(reading.LABELS)
    last = last_of(table)
    for part in _parts(table, encoder, rows):
        of = np.zeros(len(part), np.uint8) if parts is None else parts[part.rows]
        for number, some in streams(encoder, part, borders(part.rows, last), of):
            stores[number].add(some, len(some[STREAM]))
            unseen[number] += unseen_of(encoder, some)
    return unseen


def streams(
    encoder: TextEncoder, part: TablePart, borders: tuple[Mask, Mask], of: Array
) -> Iterator[tuple[int, dict[Name, Array]]]:
    """The tokens of some rows by the part of the data that each is for, as `of` says, and which of them a
    model may learn to say.
    """
    small = np.int16 if encoder.size <= 2**15 else np.int32
    ragged, counted = encoder.stream(part, *borders)
    tokens = Ragged(ragged.values.astype(small), ragged.offsets)
    learned = None if counted is None else Ragged(counted, ragged.offsets)
    for number in np.unique(of).tolist():
        chosen = np.flatnonzero(of == number)
        some: dict[Name, Array] = {STREAM: tokens.select(chosen).values}
        if learned is not None:
            some[COUNTED] = learned.select(chosen).values
        yield number, some


def unseen_of(encoder: TextEncoder, some: Mapping[Name, Array | Ragged]) -> int:
    """How many of some tokens were not seen in training."""
    tokens: Any = some[STREAM]
    return int((tokens == UNSEEN).sum()) if encoder.feature.file is None else 0


def last_of(table: Table) -> Mask | None:
    """Which rows of a table of pieces end a document; None where each is one."""
    return table.last if isinstance(table, TextFiles) else None


def _parts(table: Table, encoder: TextEncoder, rows: int) -> Iterator[TablePart]:
    for first, part in reading.sliced(table.chunks(encoder.columns, PIECE), rows, 1):
        yield reading.part_of(table, np.arange(first, first + part.num_rows), part)


def borders(rows: NDArray[np.int64], last: Mask | None) -> tuple[Mask, Mask]:
    """Which rows begin a document, and which end one; `last` says it of the pieces of a table."""
    if last is None:
        return np.ones(len(rows), bool), np.ones(len(rows), bool)
    return (rows == 0) | last[rows - 1], last[rows]
