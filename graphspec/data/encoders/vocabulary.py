"""Values and their ids: counted on training rows, cut to a size, looked up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.encoders.base import Encoder, restored
from graphspec.data.features.plan import Fill
from graphspec.data.features.settings import Category, Set, text_of
from graphspec.data.features.texts import Tokens
from graphspec.data.lookalikes import is_number

Ids = NDArray[np.int64]
WHOLE = re.compile(r"(-?[0-9]+)(\.0)?")
BOOLEANS = {form(word): word for word in ("true", "false") for form in (str.lower, str.title, str.upper)}
"""How texts say true and false: as JSON, as pandas, and as spreadsheets."""
SHOWN = 3
"""Pairs of values that a warning shows."""
DIFFERENCES = "spaces, case or how accents are encoded"


class Vocabulary:
    """The values of one column, and the id of each: `start` for the first, then by one more."""

    def __init__(self, start: int, values: Iterable[str] = (), fill: str | None = None):
        self.start, self.fill = start, fill
        self.values = list(values)
        self.distinct = len(self.values)
        """How many distinct values training rows have."""
        self.rare = 0
        """How many of them have no id: too rare, or beyond the size."""
        self.counts: Counter[str] = Counter()
        self._ids: dict[str, int] = {}

    def __len__(self) -> int:
        """The number of ids, those before the first value included."""
        return self.start + len(self.values)

    def count(self, column: pa.Array) -> None:
        """Counts more values of training rows, without nulls."""
        for pair in column.drop_null().value_counts().to_pylist():
            self.counts[pair["values"]] += pair["counts"]

    def settle(
        self, name: str, feature: Category | Set | Tokens, size: int | None, every: bool = False
    ) -> list[str]:
        """Takes the values that were counted, unless the feature lists its own: the most frequent ones, or
        `every` one. Returns the notes about them.
        """
        notes = []
        if feature.values is None:
            if every:
                self.by_text()
            else:
                self.by_frequency(size, feature.min_count)
            rare = f", {self.rare:,} of them rare" if self.rare else ""
            notes.append(f"{name}: {self.distinct:,} values{rare}")
        return notes + _alike_note(name, self)

    def by_frequency(self, size: int | None, min_count: int) -> None:
        """The most frequent values, ties by text: all, or so many that there are `size` ids at most."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [value for value, count in ordered if count >= min_count]
        self.values = kept if size is None else kept[: max(size - self.start, 0)]
        self.distinct, self.rare = len(ordered), len(ordered) - len(self.values)

    def by_text(self) -> None:
        """All values, sorted by text."""
        self.values = sorted(self.counts)
        self.distinct, self.rare = len(self.values), 0

    def ids(self, column: pa.Array, unknown: int) -> Ids:
        """The id of each value; `unknown` for null and for values without an id."""
        encoded = column.dictionary_encode()
        known = [self.ids_by_text.get(value, unknown) for value in encoded.dictionary.to_pylist()]
        table = np.array([*known, unknown], np.int64)  # the last is that of null
        return table[np.asarray(encoded.indices.fill_null(len(known))).astype(np.int64)]

    @property
    def are_numbers(self) -> bool:
        """Whether all values are numbers, but for what fills a missing one."""
        return all(is_number(value) for value in self.values if value != self.fill)

    @property
    def ids_by_text(self) -> dict[str, int]:
        """The id of each value. Where all are numbers, 17 and 17.0 have that of the one that is a value.
        Where all say true or false, in one way each as `True` does, booleans and the other ways have it, too.
        """
        if not self._ids:
            ids = {value: self.start + index for index, value in enumerate(self.values)}
            known = self.values if self.are_numbers else []
            also = [match for match in map(WHOLE.fullmatch, known) if match]
            others = {match[1] if match[2] else f"{match[1]}.0": ids[match[0]] for match in also}
            said = {value: BOOLEANS.get(value) for value in self.values if value != self.fill}
            if None not in said.values() and len({*said.values()}) == len(said):
                words = {word: ids[value] for value, word in said.items()}
                others |= {text: words[word] for text, word in BOOLEANS.items() if word in words}
            self._ids = others | ids
        return self._ids

    def look_alike(self) -> list[tuple[str, str]]:
        """Pairs of training values that look alike; the more frequent comes first."""
        groups: dict[str, list[str]] = {}
        for value in sorted(self.counts):  # in whatever order they were counted
            groups.setdefault(look_of(value), []).append(value)
        pairs = []
        for group in groups.values():
            first, *others = sorted(group, key=lambda value: (-self.counts[value], value))
            pairs += [(first, other) for other in others]
        return pairs

    def to_json(self) -> dict[str, Any]:
        return {"values": self.values, "found": self.distinct, "rare": self.rare}

    @classmethod
    def from_json(cls, start: int, value: Mapping[str, Any], fill: str | None = None) -> Vocabulary:
        vocabulary = cls(start, restored(list[str], value["values"]), fill)
        if len(set(vocabulary.values)) < len(vocabulary.values):
            raise ValueError("a value has two ids")
        vocabulary.distinct, vocabulary.rare = restored(int, value["found"]), restored(int, value["rare"])
        return vocabulary


class VocabularyEncoder(Encoder):
    """The base of encoders with one vocabulary, whose values count from the id `start`."""

    feature: Set | Tokens
    start: ClassVar[int]

    def __init__(self, fill: Fill, ignore: bool = False):
        super().__init__(fill, ignore)
        self.vocabulary = Vocabulary(self.start, [text_of(value) for value in self.feature.values or ()])

    def finish(self) -> None:
        self.notes += self.vocabulary.settle(self.columns[0], self.feature, self.feature.vocabulary)

    def id_names(self) -> list[Any]:
        """Values by their text; before them padding and what was not seen, where ids begin so."""
        special: list[Any] = [("padding",), ("value", None)]
        values: list[Any] = [("value", value) if self.start else value for value in self.vocabulary.values]
        return special[: self.start] + values

    def state(self) -> dict[str, Any]:
        return self.vocabulary.to_json()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.vocabulary = Vocabulary.from_json(self.start, state)


def _alike_note(name: str, vocabulary: Vocabulary) -> list[str]:
    """A warning about values that are probably meant to be the same."""
    pairs = vocabulary.look_alike()
    if not pairs:
        return []
    shown = ", ".join(f'"{a}" and "{b}"' for a, b in pairs[:SHOWN])
    more = f", and {len(pairs) - SHOWN} more pairs" if len(pairs) > SHOWN else ""
    return [f"warning: {name}: values differ only by {DIFFERENCES}: {shown}{more}"]


def look_of(value: str) -> str:
    """A form that values share if they differ only by `DIFFERENCES`."""
    return normalize("NFC", " ".join(value.split()).casefold())
