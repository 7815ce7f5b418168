"""Categories, hashes and sets: texts to ids, or to zeros and ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graphspec.data.columns import Lists, Mask, TablePart, is_list, kind_in_words, lists, texts, texts_of
from graphspec.data.encoders.base import (
    Array,
    Column,
    ColumnCells,
    Encoder,
    each,
    names_at,
    shaped,
    with_fill,
)
from graphspec.data.encoders.lists import cut_of, marked, to_length
from graphspec.data.encoders.vocabulary import DIFFERENCES, Ids, Vocabulary, VocabularyEncoder, look_of
from graphspec.data.features.plan import Fill
from graphspec.data.features.settings import Category, Hash, Set, text_of
from graphspec.data.lookalikes import is_number
from graphspec.data.mistakes import shown
from graphspec.data.ragged import Ragged
from graphspec.data.rows.cells import CellType
from graphspec.data.rows.fields import BinsInRow, ElementsInRow, IdsInRow, InRow, SetInRow
from graphspec.data.rows.values import bin_of
from graphspec.diagnostics import SpecError, fail


class CategoryEncoder(Encoder):
    """`encode: category`: an id for each column, or for each element of a list column; one-hot for targets
    of losses that compare distributions.
    """

    feature: Category
    fill_help = "write `fill: missing` (or another text) at the feature"

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.start = 0 if fill.target else 1
        values = [text_of(value) for value in self.feature.values or ()]
        self.vocabularies = [Vocabulary(self.start, values, self.feature.fill) for _ in self.columns]

    @property
    def per_element(self) -> bool:
        """Whether the field has an id for each element of a list."""
        steps = self.fill.tensor.rank == 2 and self.fill.tensor.shape[1] != 1
        return self.feature.columns is None and steps and not self.fill.one_hot

    @property
    def strict(self) -> bool:
        """Whether an unseen value is an error."""
        return self.fill.target or self.feature.unseen == "error"

    def learn(self, part: TablePart) -> None:
        for name, vocabulary in zip(self.columns, self.vocabularies, strict=True):
            column = self._values(part, name)[0]
            vocabulary.count(column if self.feature.fill is None else pc.fill_null(column, self.feature.fill))

    def _values(self, part: TablePart, name: str) -> tuple[pa.Array, Lists | None]:
        """The values of a column, or of the elements of its lists, as text."""
        if not is_list(part.table.schema.field(name).type):
            return texts(part, name), None
        if not self.per_element:
            what = f"it holds lists, and `{self.name}` is {self.fill.tensor}"
            help = "write `shape: [length]`, or `encode: set`"
            raise part.fail("data-shape", name, 0, what, help, "give a single value")
        list_column = lists(part, name)
        return texts_of(part, name, list_column.values, list_column.row), list_column

    def finish(self) -> None:
        sizes = self.feature.vocabulary
        for position, (name, vocabulary) in enumerate(zip(self.columns, self.vocabularies, strict=True)):
            if not vocabulary.counts:
                raise fail("data-gap", f"column `{name}` is missing in every training row")
            size = sizes[position] if isinstance(sizes, list) else sizes
            self.notes += vocabulary.settle(name, self.feature, size, every=self.fill.target)
        self._fits()

    def _fits(self) -> None:
        """Raises `SpecError` if the ids do not fit the layer that reads them, or a target its units."""
        limit, count = self.fill.limit, sum(self.sizes)
        if limit is None or count == limit or (count < limit and not self.fill.target):
            return
        if not self.fill.target:
            what = f"the feature `{self.name}` has {count} ids, and the layer that reads it takes {limit}"
            help = f"write `input_dim: {count}`, or `vocabulary: {limit}` at the feature"
            raise fail("data-range", what, help)
        values = self.vocabularies[0].values
        listed = ", ".join(shown(value) for value in values[:20]) + (", ..." if count > 20 else "")
        has, help = f"{limit} classes", _enough(values, count)
        if self.fill.one_unit:
            has, help = "one unit, for 2 values", "use a softmax with one unit for each value"
        counted = "one value" if count == 1 else f"{count} values"
        what = f"output `{self.fill.output}` has {has}, and column `{self.columns[0]}` {counted}"
        if self.limit is not None and count < limit:
            what = f"{what} in the {self.limit:,} rows that `--limit` reads"
            help = "read more rows, or list all `values` at the feature"
        raise fail("data-range", what, help, f"values: {listed}")

    @property
    def sizes(self) -> list[int]:
        """The number of ids of each column, declared or found."""
        if self.feature.sizes is not None and not self.fill.target:
            return self.feature.sizes
        return [len(vocabulary) for vocabulary in self.vocabularies]

    def id_names(self) -> list[Any]:
        """Classes by their names; the ids of inputs by column and value, unused ones as None."""
        if self.fill.target:
            return list(self.vocabularies[0].values)
        names: list[Any] = []
        for name, vocabulary, size in zip(self.columns, self.vocabularies, self.sizes, strict=True):
            ids = [(name, None), *((name, value) for value in vocabulary.values)]
            names += ids + [None] * (size - len(ids))
        return names

    def cells(self) -> list[ColumnCells]:
        if self.fill.one_hot:
            (name,), labels = self.columns, self.vocabularies[0].values
            return [ColumnCells(name, None, lambda values: names_at(values.argmax(-1), labels))]
        first = accumulate(self.sizes, initial=self.start)
        return [
            ColumnCells(
                name,
                None if self.per_element else self.place(column),
                partial(names_at, names=vocabulary.values, first=start),
            )
            for column, (name, vocabulary, start) in enumerate(
                zip(self.columns, self.vocabularies, first, strict=False)
            )
        ]

    def encode(self, part: TablePart) -> Column:
        if self.per_element:
            return self._lists(part)
        codes = np.empty((len(part), len(self.columns)), np.int64)
        unseen, gone = np.zeros(len(part), bool), np.zeros(len(part), bool)
        filled, first = np.zeros(len(part), bool), 0
        for position, (name, vocabulary) in enumerate(zip(self.columns, self.vocabularies, strict=True)):
            column, missing = with_fill(self._values(part, name)[0], self.feature.fill)
            if missing.any() and self.feature.fill is None:
                if not self.ignore:
                    raise self.gap(part, name, missing)
                gone |= missing
            elif missing.any():
                filled |= missing
            ids = vocabulary.ids(column, -1)
            new = (ids < 0) & ~(missing & (self.feature.fill is None))
            if new.any() and self.strict:
                index = int(new.argmax())
                raise self._unseen(part, name, index, column[index].as_py(), vocabulary)
            unseen |= new
            codes[:, position] = np.maximum(ids, 0) + first
            first += self.sizes[position]
        marks = {word: mask for word, mask in (("unseen", unseen), ("filled", filled)) if mask.any()}
        return Column(self._typed(codes), gone if gone.any() else None, marks)

    def classes_of(self, column: Column) -> NDArray[np.int64] | None:
        if not self.fill.target or isinstance(column.values, Ragged) or self.per_element:
            return None
        values = column.values.reshape(len(column.values), -1)
        return values.argmax(1) if self.fill.one_hot else values[:, 0].astype(np.int64)

    def _typed(self, ids: Array) -> Array:
        """Ids, [n, columns], as the field has them."""
        if self.fill.one_hot:
            return np.eye(self.sizes[0], dtype=np.float32)[ids[:, 0]]
        return shaped(self.fill, ids.astype(np.float32) if self.fill.tensor.is_float else ids)

    def _lists(self, part: TablePart) -> Column:
        (name,), (vocabulary,) = self.columns, self.vocabularies
        column, list_column = self._values(part, name)
        if list_column is None:
            kind = kind_in_words(part.table.schema.field(name).type)
            what = f"it holds {kind}, and `{self.name}` takes a list for each row"
            raise part.fail("data-shape", name, 0, what, "write `shape: [1]`", "give a list")
        if list_column.missing.any() and not self.ignore:
            raise self.gap(part, name, list_column.missing)
        ids = vocabulary.ids(column, -1)
        if (ids < 0).any() and self.strict:
            index = int((ids < 0).argmax())
            raise self._unseen(part, name, list_column.row(index), column[index].as_py(), vocabulary)
        ragged = Ragged(np.maximum(ids, 0), list_column.offsets)
        gone = list_column.missing if list_column.missing.any() else None
        cut = cut_of(self.fill, None, True)
        return to_length(self.fill, ragged, gone, marked("unseen", ragged, ids < 0), cut)

    def cell(self, column: int = 0) -> CellType:
        values = self.vocabularies[column].values if self.strict else ()
        return CellType("text", (None,) if self.per_element else (), values)

    def in_row(self) -> InRow | None:
        unseen = None if self.strict else 0
        if self.per_element:
            cut = cut_of(self.fill, None, True)
            return ElementsInRow(self.columns[0], self.vocabularies[0].ids_by_text, unseen, cut, empty=True)
        if self.fill.one_hot:
            return None
        first = list(accumulate(self.sizes, initial=0))[: len(self.columns)]
        ids = [
            {text: index + start for text, index in vocabulary.ids_by_text.items()}
            for vocabulary, start in zip(self.vocabularies, first, strict=True)
        ]
        others = [None if self.strict else start for start in first]
        return IdsInRow(self.columns, tuple(ids), tuple(others), self.is_single)

    def _unseen(
        self, part: TablePart, name: str, index: int, value: str, vocabulary: Vocabulary
    ) -> SpecError:
        where = (
            "is not one of the `values`" if self.feature.values is not None else "is not in any training row"
        )
        near = [known for known in vocabulary.values if look_of(known) == look_of(value)]
        help = f'it differs from "{near[0]}" only by {DIFFERENCES}' if near else None
        if help is None and not self.fill.target:
            help = "leave `unseen` out: unseen values get id 0"
        elif help is None:
            help = "list all `values` at the feature"
            if self.feature.values is None:
                help += ", or stratify the split: {split: 0.1, stratify: ...}"
        listed = ", ".join(map(shown, vocabulary.values[:20])) + (", ..." if vocabulary.values[20:] else "")
        give = help if near else f"its values are {listed}"
        return part.fail("data-range", name, index, f"{shown(value)} {where}", help, give)

    def state(self) -> dict[str, Any]:
        return {"columns": [vocabulary.to_json() for vocabulary in self.vocabularies]}

    def restore(self, state: Mapping[str, Any]) -> None:
        fill = self.feature.fill
        self.vocabularies = [Vocabulary.from_json(self.start, item, fill) for item in state["columns"]]
        if len(self.vocabularies) != len(self.columns):
            raise ValueError(f"`{self.name}` has {len(self.vocabularies)} vocabularies")
        limit, count = self.fill.limit, sum(self.sizes)
        if limit is not None and (count > limit or (count < limit and self.fill.target)):
            raise ValueError(f"`{self.name}` has {count} values, and the model {limit}")


class HashEncoder(Encoder):
    """`encode: hash`: the id is a hash of the text; each column has bins of its own."""

    feature: Hash
    fill_help = "write `fill: missing` (or another text) at the feature"

    def in_row(self) -> InRow | None:
        return BinsInRow(self.columns, self.feature.bins, self.is_single)

    def cells(self) -> list[ColumnCells]:
        """The bin, as the text is lost."""

        def read(first: int, ids: Array) -> list[Any]:
            return each(ids, lambda index: f"bin {index - first}")

        return [
            ColumnCells(name, self.place(i), partial(read, i * self.feature.bins))
            for i, name in enumerate(self.columns)
        ]

    def encode(self, part: TablePart) -> Column:
        ids = np.empty((len(part), len(self.columns)), np.int64)
        filled = np.zeros(len(part), bool)
        for position, name in enumerate(self.columns):
            column, missing = with_fill(texts(part, name), self.feature.fill)
            if missing.any() and self.feature.fill is None:
                raise self.gap(part, name, missing)
            filled |= missing
            ids[:, position] = hashed(column, self.feature.bins) + position * self.feature.bins
        return Column(shaped(self.fill, ids), None, {"filled": filled} if filled.any() else {})


def hashed(column: pa.Array, bins: int) -> Ids:
    """A bin for each text, the same on every machine and in every version."""
    encoded = column.dictionary_encode()
    known = [bin_of(text, bins) for text in encoded.dictionary.to_pylist()]
    return np.array(known, np.int64)[np.asarray(encoded.indices).astype(np.int64)]


class SetEncoder(VocabularyEncoder):
    """`encode: set`: for each value of the vocabulary whether the row has it."""

    feature: Set
    start = 0
    fill_help = 'write `fill: ""` (no value), or a text of values, at the feature'
    target_help = 'write `fill: ""` at the feature where no text means no value; '

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.width = self.feature.feature_type(target=fill.target).shape[0] or 0

    def learn(self, part: TablePart) -> None:
        elements, _, _ = self._elements(part)
        self.vocabulary.count(elements)

    def _elements(self, part: TablePart) -> tuple[pa.Array, NDArray[np.int64], Mask]:
        """All elements, the row of each, and the rows without a value."""
        (name,) = self.columns
        if is_list(part.table.schema.field(name).type):
            list_column = lists(part, name)
            rows = np.repeat(np.arange(len(part)), np.diff(list_column.offsets))
            values, missing = texts_of(part, name, list_column.values, list_column.row), list_column.missing
            if self.feature.fill is not None and missing.any():
                added = self._cut(pa.array([self.feature.fill]))[0]
                gaps = np.flatnonzero(missing)
                values = pa.concat_arrays([values, *([added] * len(gaps))])
                rows = np.concatenate((rows, np.repeat(gaps, len(added))))
            return values, rows, missing
        column, missing = with_fill(texts(part, name), self.feature.fill)
        if self.feature.separator is None and pc.any(pc.not_equal(column, "")).as_py():
            what = f"{shown(next(v for v in column.to_pylist() if v))} is a text, and a set takes lists"
            help = 'write `separator: ", "` at the feature'
            raise part.fail("data-dtype", name, 0, what, help, "give a list of texts")
        values, rows = self._cut(column)
        return values, rows, missing

    def _cut(self, column: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
        """Texts cut at the separator: the pieces that are not empty, and the row of each."""
        if self.feature.separator is None:
            values, rows = column, np.arange(len(column))
        else:
            split = pc.split_pattern(pc.fill_null(column, ""), self.feature.separator)
            lengths = np.asarray(pc.list_value_length(split)).astype(np.int64)
            values, rows = split.flatten(), np.repeat(np.arange(len(column)), lengths)
        kept = np.asarray(pc.fill_null(pc.not_equal(values, ""), False))
        return values.filter(pa.array(kept)), rows[kept]

    def cell(self, column: int = 0) -> CellType:
        return CellType("text", (None,) if self.feature.separator is None else ())

    def in_row(self) -> InRow | None:
        return SetInRow(self.columns[0], self.feature.separator, self.vocabulary.ids_by_text, self.width)

    def cells(self) -> list[ColumnCells]:
        names = self.vocabulary.values

        def read(values: Array) -> list[list[str]]:
            return [[name for name, has in zip(names, row, strict=False) if has >= 0.5] for row in values]

        return [ColumnCells(self.columns[0], None, read)]

    def encode(self, part: TablePart) -> Column:
        (name,) = self.columns
        values, rows, missing = self._elements(part)
        gone = None
        if missing.any() and self.feature.fill is None:
            if not self.ignore:
                raise self.gap(part, name, missing)
            gone = missing
        ids = self.vocabulary.ids(values, -1)
        new = ids < 0
        if new.any() and self.fill.target and self.feature.values is not None:
            at = int(new.argmax())
            what = f"{shown(values[at].as_py())} is not one of the `values`"
            raise part.fail("data-range", name, int(rows[at]), what)
        multi_hot = np.zeros((len(part), self.width), np.float32)
        multi_hot[rows[~new], ids[~new]] = 1
        unseen = np.zeros(len(part), bool)
        unseen[rows[new]] = True
        marks = {word: m for word, m in (("unseen", unseen), ("filled", missing)) if m.any() and gone is None}
        return Column(multi_hot, gone, marks)


FEW = 20
"""Different numbers up to which a target may well be classes."""


def _enough(values: Sequence[str], count: int) -> str:
    """Remedy for a target whose number of values differs from the output's classes."""
    if count == 1:
        return "there is nothing to tell apart: give data with rows of each class"
    if count > FEW and all(is_number(value) for value in values):
        classes = f"to tell {count} classes apart, `units: {count}`"
        return f"they are numbers: to predict one, write `units: 1` and `loss: mse`; {classes}"
    return f"write `units: {count}`"
