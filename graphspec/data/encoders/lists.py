"""Lists of ids: tokens, texts, and what brings rows to the length of their field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphspec.data.columns import Lists, Mask, TablePart, is_list, lists, texts, texts_of
from graphspec.data.encoders.base import (
    UNSEEN_TOKENS,
    Array,
    Column,
    ColumnCells,
    Encoder,
    names_at,
    scattered,
)
from graphspec.data.encoders.exact import Letters, Lookup
from graphspec.data.encoders.vocabulary import VocabularyEncoder
from graphspec.data.features.plan import Fill
from graphspec.data.features.texts import PADDING, UNSEEN, TextFeature, Tokens
from graphspec.data.mistakes import shown
from graphspec.data.ragged import Ragged, offsets_of
from graphspec.data.rows.cells import CellType
from graphspec.data.rows.fields import ElementsInRow, IdCut, InRow, TextInRow
from graphspec.data.rows.tokenizers import TextIds, library, working
from graphspec.diagnostics import fail

ELEMENTS = 2**20
"""Elements of lists that become texts at a time."""


def marked(word: str, ragged: Ragged, elements: Mask) -> dict[str, Mask]:
    """The rows that have such an element, under that word; empty if there is none."""
    if not elements.any():
        return {}
    rows = np.zeros(len(ragged), bool)
    rows[np.searchsorted(ragged.offsets, np.flatnonzero(elements), side="right") - 1] = True
    return {word: rows}


def to_length(
    fill: Fill, ragged: Ragged, missing: Mask | None, marks: Mapping[str, Mask], cut: IdCut
) -> Column:
    """Rows as `cut` brings them to the length of the field."""
    if cut.most is None:
        return Column(ragged, missing, marks)
    long = ragged.lengths > cut.most
    if long.any():
        ragged, marks = ragged.cut(cut.most, cut.end), {**marks, "cut": long}
    if not cut.padded:
        return Column(ragged, missing, marks)
    mask = np.arange(cut.most) < ragged.lengths[:, None] if fill.target else None
    return Column(ragged.padded(cut.most), missing, marks, mask)


def cut_of(fill: Fill, most: int | None, end: bool) -> IdCut:
    """Rows are truncated to `most`, or to the length of the field, to which they are also padded. `end` says
    that the end is cut off, not the start. In a field of its own length rows keep theirs.
    """
    size = fill.tensor.shape[1]
    return IdCut(size, end, True) if isinstance(size, int) else IdCut(most, end, False)


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of rows, and which rows are missing (those are empty); of texts that go on also which ids a
    model may learn to say (all, or those that are not of a prompt), and which rows were filled.
    """

    ragged: Ragged
    missing: Mask
    counted: Mask | None = None
    filled: Mask | None = None


class ListEncoder(Encoder):
    """The base of texts and list columns: any number of ids for each row."""

    feature: TextFeature | Tokens
    fill_help = "write `fill: ...` at the feature, a text for missing values"

    @property
    def size(self) -> int:
        """The number of ids, declared or found."""
        raise NotImplementedError

    def ids(self, part: TablePart) -> Ids:
        """The ids of each row."""
        raise NotImplementedError

    def unseen(self, ragged: Ragged) -> Mask:
        """Which of the ids stand for unseen elements."""
        mask: Mask = ragged.values == UNSEEN
        return mask

    def filling(self) -> list[int]:
        """The ids of the `fill` of a row."""
        raise NotImplementedError

    def names(self, count: int) -> list[Any]:
        """The element that each of the first ids stands for; None for padding and unseen ones."""
        raise NotImplementedError

    def cells(self) -> list[ColumnCells]:
        """Without the ids that pad rows."""

        def read(ids: Array) -> list[list[Any]]:
            names = self.names(int(ids.max(initial=0)) + 1)
            return [names_at(np.trim_zeros(row, "b"), names) for row in ids]

        return [ColumnCells(" and ".join(self.columns), None, read)]

    @property
    def row_cut(self) -> IdCut:
        """How the ids of one row come to the length of the field."""
        return cut_of(self.fill, self.feature.most, self.feature.cut == "end")

    def encode(self, part: TablePart) -> Column:
        name = self.columns[0]
        found = self.ids(part)
        ragged, missing = found.ragged, found.missing
        empty = (ragged.lengths == 0) & ~missing
        marks = marked(UNSEEN_TOKENS, ragged, self.unseen(ragged))
        if found.filled is not None:
            marks["filled"] = found.filled
        if self.feature.fill is not None and (missing | empty).any():
            ragged = ragged.filled(missing | empty, np.array(self.filling(), np.int64))
            marks["filled"] = missing | empty
        elif missing.any() and not self.ignore:
            raise self.gap(part, name, missing)
        elif empty.any() and not self.fill.target:
            at = int(empty.argmax())
            raise part.fail("data-gap", name, at, "it is empty", self.fill_help, "give what is not empty")
        gone = missing if self.ignore and missing.any() else None
        return to_length(self.fill, ragged, gone, marks, self.row_cut)

    def check_room(self) -> None:
        """Raises `SpecError` if the layer that reads the ids has too few."""
        if self.fill.limit is not None and self.size > self.fill.limit:
            reader, key = "layer that reads it takes", "input_dim"
            if self.fill.target:
                reader, key = f"output `{self.fill.output}` has units for", "units"
            what = f"the feature `{self.name}` has {self.size} ids, and the {reader}"
            help = f"write `{key}: {self.size}`, or `vocabulary: {self.fill.limit}` at the feature"
            raise fail("data-range", f"{what} {self.fill.limit}", help)


class TokensEncoder(VocabularyEncoder, ListEncoder):
    """`encode: tokens`: the elements of a list column."""

    feature: Tokens
    start = UNSEEN + 1

    @property
    def size(self) -> int:
        return self.feature.feature_type(target=self.fill.target).vocabulary or len(self.vocabulary)

    def learn(self, part: TablePart) -> None:
        (name,) = self.columns
        for values in self._texts(part, name, lists(part, name)):
            self.vocabulary.count(values)

    def finish(self) -> None:
        super().finish()
        self.check_room()

    def ids(self, part: TablePart) -> Ids:
        (name,) = self.columns
        list_column = lists(part, name)
        ids = [self.vocabulary.ids(values, UNSEEN) for values in self._texts(part, name, list_column)]
        ragged = Ragged(np.concatenate([np.zeros(0, np.int64), *ids]), list_column.offsets)
        return Ids(ragged, list_column.missing)

    def _texts(self, part: TablePart, name: str, list_column: Lists) -> Iterator[pa.Array]:
        """The elements of all rows as texts, some at a time: a text takes far more memory than a number."""
        for start in range(0, len(list_column.values), ELEMENTS):
            yield texts_of(part, name, list_column.values.slice(start, ELEMENTS), list_column.row)

    def cell(self, column: int = 0) -> CellType:
        return CellType("text", (None,))

    def in_row(self) -> InRow | None:
        known = self.vocabulary.ids_by_text
        return ElementsInRow(self.columns[0], known, UNSEEN, self.row_cut, empty=False)

    def names(self, count: int) -> list[Any]:
        return [None, None, *self.vocabulary.values][:count]

    def filling(self) -> list[int]:
        ids: list[int] = self.vocabulary.ids(pa.array([self.feature.fill], pa.string()), UNSEEN).tolist()
        return ids


KEPT_BYTES = 2**28
"""Bytes of text that a tokenizer is trained on; of more, so many are drawn."""


class Texts:
    """Texts of training rows: all, or a sample drawn by row number, independent of the parts."""

    def __init__(self) -> None:
        self.parts: list[tuple[NDArray[np.int64], pa.Array]] = []
        self.size = 0
        self.halved = 0

    @property
    def share(self) -> float:
        return 0.5**self.halved

    def add(self, rows: NDArray[np.int64], column: pa.Array) -> None:
        self._keep(rows, column)
        while self.size > KEPT_BYTES:
            self.halved += 1
            before, self.parts, self.size = self.parts, [], 0
            for numbers, kept in before:
                self._keep(numbers, kept)

    def _keep(self, rows: NDArray[np.int64], column: pa.Array) -> None:
        if self.halved:
            kept = scattered(rows) < np.uint64(2**64 // 2**self.halved)
            rows, column = rows[kept], column.filter(pa.array(kept))
        self.parts.append((rows, column))
        self.size += column.nbytes

    def __iter__(self) -> Iterator[list[str]]:
        for _, column in self.parts:
            yield column.drop_null().to_pylist()


class TextEncoder(ListEncoder):
    """`encode: text`: the ids of a tokenizer of the tokenizers library, trained on training rows."""

    feature: TextFeature

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.tokenizer: Any = None
        self._learned: Texts | Letters = Letters() if self.feature.tokenizer == "characters" else Texts()
        self._lookup: Lookup | None = None
        self._latest: tuple[TablePart, Ids] | None = None

    @property
    def size(self) -> int:
        if self.feature.part == "types":
            return 2
        return self.feature.vocabulary or int(self.tokenizer.get_vocab_size())

    def learn(self, part: TablePart) -> None:
        for name in self.columns:
            column = self._column(part, name)
            for mark in self.feature.marks:  # some texts hold the tokens around them already
                column = pc.replace_substring(column, mark, "")
            if self.feature.file is None:
                self._learned.add(part.rows, column)

    def _column(self, part: TablePart, name: str) -> pa.Array:
        if is_list(part.table.schema.field(name).type):
            raise part.fail(
                "data-dtype", name, 0, "it holds lists, not text", "write `encode: tokens`", "give a text"
            )
        return texts(part, name)

    def finish(self) -> None:
        from graphspec.data.encoders.tokenizers import of_file, trained

        column, feature = self.columns[0], self.feature
        if feature.file is not None:
            self.tokenizer = of_file(self.root / feature.file, feature.marks)
            self.notes.append(f"{column}: {self.size:,} tokens of {feature.file}")
            self.check_room()
            return
        self.tokenizer = trained(feature, self._learned)
        if self._learned.share < 1:
            self.notes.append(f"{column}: tokens of {self._learned.share:.1%} of the training rows")
        self._learned = Texts()
        self.notes.append(f"{column}: {self.tokenizer.get_vocab_size():,} tokens")
        self.check_room()

    def ids(self, part: TablePart) -> Ids:
        if self._latest is not None and self._latest[0] is part:
            return self._latest[1]  # what comes next reads the same rows
        columns = [self._column(part, each) for each in self.columns]
        gone = np.logical_or.reduce([np.asarray(column.is_null()) for column in columns])
        if self.feature.goes_on:
            rows, missing = self._filled(columns), gone & (self.feature.fill is None)
            ends = np.zeros(len(part), bool) if part.predicted else ~missing
            ragged, counted = self._around(rows, ~missing, ends)
            found = Ids(ragged, missing, counted, gone & ~missing)
        else:
            rows = [[text or "" for text in column.to_pylist()] for column in columns]
            found = Ids(self._tokens([*zip(*rows, strict=True)] if len(rows) > 1 else rows[0]), gone)
        self._latest = (part, found)
        return found

    def _filled(self, columns: Sequence[pa.Array]) -> list[list[str]]:
        return [pc.fill_null(column, self.feature.fill or "").to_pylist() for column in columns]

    def forget(self) -> None:
        """Gives up the rows that were read last."""
        self._latest = None

    def stream(self, part: TablePart, begins: Mask, ends: Mask) -> tuple[Ragged, Mask | None]:
        """The ids of texts that are joined, and which count where those of prompts do not: where a document
        `begins` and where one `ends`, which pieces of long ones need not.

        Raises `SpecError` (data-gap) where one is missing.
        """
        columns = [self._column(part, each) for each in self.columns]
        for name, column in zip(self.columns, columns, strict=True):
            if column.null_count and self.feature.fill is None:
                raise self.gap(part, name, np.asarray(column.is_null()))
        return self._around(self._filled(columns), begins, ends)

    def _around(self, rows: list[list[str]], begins: Mask, ends: Mask) -> tuple[Ragged, Mask | None]:
        """Texts after their prompts, and between the tokens around them."""
        ragged, counted = self._tokens(rows[0]), None
        if self.feature.prompt is not None:
            prompts = self._tokens(rows[1])
            turns = np.stack((prompts.lengths, ragged.lengths), 1).reshape(-1)
            counted = ~np.repeat(np.tile([True, False], len(prompts)), turns)
            values = np.empty(len(counted), np.int64)
            values[~counted], values[counted] = prompts.values, ragged.values
            ragged = Ragged(values, prompts.offsets + ragged.offsets)
        feature = self.feature
        for mark, where, after in ((feature.begin, begins, False), (feature.end, ends, True)):
            if mark is None:
                continue
            places = ragged.offsets[1:][where] if after else ragged.offsets[:-1][where]
            if counted is not None:
                counted = np.insert(counted, places, after)
            values = np.insert(ragged.values, places, self.tokenizer.token_to_id(mark))
            ragged = Ragged(values, offsets_of(ragged.lengths + where))
        return ragged, counted

    def _tokens(self, texts: Sequence[Any]) -> Ragged:
        """The ids of texts, or of pairs of them, without what is around texts that go on."""
        feature = self.feature
        if feature.tokenizer in ("characters", "bytes"):
            self._lookup = self._lookup or Lookup(self.tokenizer, feature)
            found = self._lookup(texts)
            if found is not None:
                return found
        with working():
            template = not feature.goes_on
            encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=template)
        lengths = [len(one) for one in encoded]
        ids = [np.array(self.text_ids.of(one), np.int64) for one in encoded]
        return Ragged(np.concatenate([np.zeros(0, np.int64), *ids]), offsets_of(lengths))

    @property
    def row_cut(self) -> IdCut:
        cut = super().row_cut
        return cut if self.feature.pack is None else replace(cut, end=False)  # its end says what comes next

    def unseen(self, ragged: Ragged) -> Mask:
        return super().unseen(ragged) & (self.feature.part == "ids")

    def in_row(self) -> InRow | None:
        if self.feature.goes_on:
            return None
        return TextInRow(self.columns, self.text_ids, self.row_cut)

    def names(self, count: int) -> list[Any]:
        if self.feature.part == "types":
            return list(range(count))
        if not self.feature.exact:
            return [self.tokenizer.id_to_token(index) for index in range(count)]
        alone = [[index] for index in range(count)]
        texts: list[Any] = self.tokenizer.decode_batch(alone, skip_special_tokens=False)
        return texts

    @property
    def text_ids(self) -> TextIds:
        """Encodes one text, or a pair, as ids."""
        return TextIds(self.tokenizer, self.feature.part == "types")

    def filling(self) -> list[int]:
        texts = [self.feature.fill or ""] * len(self.columns)
        ids = self.text_ids(*texts)
        if not ids:
            raise fail(
                "data-gap", f"`fill: {shown(self.feature.fill)}` of the feature `{self.name}` is not a token"
            )
        return ids

    def state(self) -> dict[str, Any]:
        import json

        return {"tokenizer": json.loads(self.tokenizer.to_str())}

    def restore(self, state: Mapping[str, Any]) -> None:
        import json

        self._learned, self._lookup = Texts(), None
        with working():
            self.tokenizer = library().Tokenizer.from_str(json.dumps(state["tokenizer"]))


assert PADDING == 0  # what `Ragged.padded` pads with
