"""The weight of each row: `sample_weight`, a column, times `class_weight`, by the value of the target. Where
a row has many targets, pixels of a mask or steps of a list, their weights are those of a table by class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart, is_list, lists, numbers, texts, texts_of
from graphspec.data.encoders.base import Encoder, restored
from graphspec.data.encoders.categories import CategoryEncoder
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.encoders.plain import PlainEncoder
from graphspec.data.encoders.vocabulary import VocabularyEncoder
from graphspec.data.mistakes import need_classes
from graphspec.data.ragged import Ragged
from graphspec.diagnostics import fail
from graphspec.language.row_settings import RowSettings

BOOLEANS = ("false", "true")


def is_boolean(type: pa.DataType) -> bool:
    """Whether a column holds booleans, also in lists."""
    return bool(pa.types.is_boolean(type)) or (is_list(type) and is_boolean(type.value_type))


class RowWeights:
    """The weights of one output's rows. Balanced ones are learned from training rows."""

    def __init__(self, output: str, rows: RowSettings, target: str | None):
        self.output, self.sample, self.target = output, rows.sample_weight, target
        self.encoder: Encoder | None = None
        """The encoder of the target, where classes have weights."""
        self.ignored: int | None = None
        """The number of a class that does not count."""
        self.class_weight, self.rows = rows.class_weight, rows
        self.classes: dict[str, float] = (
            dict(self.class_weight) if isinstance(self.class_weight, dict) else {}
        )
        self.counts: Counter[str] = Counter()
        self.total = 0.0
        self.notes: list[str] = []

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.sample, self.target) if name is not None)

    def learn(self, part: TablePart) -> None:
        if self.sample is not None:
            self.total += float(self._samples(part).sum())
        if isinstance(self.encoder, MaskEncoder):
            self.counts.update(self.encoder.pixels(part))
        elif isinstance(self.encoder, PlainEncoder) and self.by_position:
            self.counts.update(self._numbers(part))
        elif self.class_weight is not None:
            for pair in self._values(part).drop_null().value_counts().to_pylist():
                self.counts[pair["values"]] += pair["counts"]

    def _numbers(self, part: TablePart) -> dict[str, int]:
        """How many positions of some rows have each class, in a column that holds class numbers or shares."""
        assert self.encoder is not None and self.target is not None
        column, fill = self.encoder.encode(part), self.encoder.fill
        encoded = column.values
        flat = encoded.values if isinstance(encoded, Ragged) else np.asarray(encoded)
        if column.missing is not None and not isinstance(encoded, Ragged):
            flat = flat[~column.missing]
        if fill.tensor.is_float and fill.tensor.shape[-1] == fill.limit:
            counts = flat.reshape(-1, fill.limit).sum(0)
            return {str(number): int(count) for number, count in enumerate(counts) if count}
        values, counts = np.unique(flat, return_counts=True)
        words = BOOLEANS if is_boolean(part.table.schema.field(self.target).type) else ()
        names = [words[int(value)] if words else str(int(value)) for value in values]
        return dict(zip(names, map(int, counts), strict=True))

    def _samples(self, part: TablePart) -> NDArray[np.float64]:
        assert self.sample is not None
        values = numbers(part, self.sample)
        for wrong, what in ((np.isnan(values), "a weight is missing"), (values < 0, "a weight is negative")):
            if wrong.any():
                raise part.fail("data-range", self.sample, int(wrong.argmax()), what, "weights are 0 or more")
        return values

    def _values(self, part: TablePart) -> pa.Array:
        assert self.target is not None
        if isinstance(self.encoder, TextEncoder):
            what = "it is cut into tokens, but `class_weight` is for a column of classes"
            raise part.fail("data-shape", self.target, 0, what, "leave `class_weight` out")
        if not is_list(part.table.schema.field(self.target).type):
            return texts(part, self.target)
        if not self.by_position:
            what = "it holds lists, but `class_weight` is for a column of classes"
            raise part.fail("data-shape", self.target, 0, what, "leave `class_weight` out")
        list_column = lists(part, self.target)
        return texts_of(part, self.target, list_column.values, list_column.row)

    @property
    def by_position(self) -> bool:
        """Whether a row has many targets, each of a class."""
        return self.encoder is not None and self.encoder.fill.positions

    def table(self, classes: int) -> NDArray[np.float32]:
        """The weights of the classes of positions by their numbers."""
        weights = np.ones(classes, np.float32)
        for value, weight in self.classes.items():
            number = self._number(value)
            if 0 <= number < classes:
                weights[number] = weight
        return weights

    def _number(self, value: str) -> int:
        if isinstance(self.encoder, CategoryEncoder):
            return self.encoder.vocabularies[0].ids_by_text.get(value, -1)
        if isinstance(self.encoder, VocabularyEncoder):
            return self.encoder.vocabulary.ids_by_text.get(value, -1)
        if isinstance(self.encoder, MaskEncoder):
            return self.encoder.number(value)
        return BOOLEANS.index(value) if value in BOOLEANS else int(value)

    def finish(self) -> None:
        if self.sample is not None and self.total == 0:
            what = f"the weights of output `{self.output}`, column `{self.sample}`, are all 0"
            raise fail("data-range", what, "at least one row of training data must count")
        if self.ignored is not None and self.by_position:
            for value in [each for each in self.counts if self._number(each) == self.ignored]:
                del self.counts[value]
        if self.class_weight == "balanced":
            count = sum(self.counts.values())
            self.classes = {value: count / (len(self.counts) * n) for value, n in sorted(self.counts.items())}
        elif self.class_weight is not None:
            self._known()

    def _known(self) -> None:
        values = sorted(self.counts)
        need_classes(self.classes, self.output, values, "no training row has", "values of training rows")
        if not any(self.classes.get(value, 1.0) for value in self.counts):
            raise fail("data-range", f"the weights of all classes of output `{self.output}` are 0")

    def weigh(self, part: TablePart) -> NDArray[np.float32]:
        """[n]; a class without a weight has 1."""
        weights = np.ones(len(part)) if self.sample is None else self._samples(part)
        if self.class_weight is not None and not self.by_position:
            encoded = self._values(part).dictionary_encode()
            known = [self.classes.get(value, 1.0) for value in encoded.dictionary.to_pylist()]
            weights = weights * np.array([*known, 1.0])[np.asarray(encoded.indices.fill_null(len(known)))]
        return weights.astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.classes = restored(dict[str, float], state["classes"])
