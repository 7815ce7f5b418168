"""The encoders' work on one row of plain values. Each record returns None for any other row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphspec.data.rows.calendar import DateParts
from graphspec.data.rows.functions import ONE
from graphspec.data.rows.numbers import LARGEST, NumberCurve
from graphspec.data.rows.tokenizers import TextIds
from graphspec.data.rows.values import TICKS, bin_of, is_int64, row_number, row_text, ticks_of_row

Row = Mapping[str, Any]


class InRow(Protocol):
    """From a row of Python values by column to a number, or nested lists without the batch axis."""

    def __call__(self, row: Row) -> Any: ...


def _squeezed(values: list[Any], single: bool) -> Any:
    """The values, or the only one where the field has no axis for it."""
    return values[0] if single and len(values) == 1 else values


@dataclass(eq=False, repr=False)
class NumbersInRow:
    """`encode: number`: with `indicator` followed by whether each was filled, which none is."""

    columns: tuple[str, ...]
    curves: tuple[NumberCurve, ...]
    indicator: bool
    single: bool

    def __call__(self, row: Row) -> Any:
        made = []
        for name, curve in zip(self.columns, self.curves, strict=True):
            value = row_number(row.get(name))
            known = curve.of_one(value) if value is not None else None
            if known is None:
                return None
            made.append(known)
        if self.indicator:
            made += [0.0] * len(made)
        return _squeezed(made, self.single)


@dataclass(eq=False, repr=False)
class DatesInRow:
    """`encode: date`: the parts of the first column, then those of the next."""

    columns: tuple[str, ...]
    format: str | None
    parts: tuple[str, ...]
    curves: tuple[NumberCurve, ...]
    single: bool

    def __call__(self, row: Row) -> Any:
        made: list[float] = []
        for name in self.columns:
            ticks = ticks_of_row(row.get(name), self.format)
            if ticks is None:
                return None
            moments = DateParts(*divmod(ticks, TICKS))
            for wanted in self.parts:
                known = self.curves[len(made)].of_one(moments.part(wanted, ONE))
                if known is None:
                    return None
                made.append(known)
        return _squeezed(made, self.single)


@dataclass(eq=False, repr=False)
class IdsInRow:
    """`encode: category`: an id for each column, of values that are not known `unseen`; None refuses them."""

    columns: tuple[str, ...]
    ids: tuple[Mapping[str, int], ...]
    unseen: tuple[int | None, ...]
    single: bool

    def __call__(self, row: Row) -> Any:
        made = []
        for name, ids, unseen in zip(self.columns, self.ids, self.unseen, strict=True):
            text = row_text(row.get(name))
            index = None if text is None else ids.get(text, unseen)
            if index is None:
                return None
            made.append(index)
        return _squeezed(made, self.single)


@dataclass(eq=False, repr=False)
class IdCut:
    """How ids come to the length of their field: cut to `most`, at the end or at the start, and `padded` to
    it with zeros where the field has one length.
    """

    most: int | None
    end: bool
    padded: bool

    def __call__(self, ids: list[int]) -> list[int]:
        if self.most is None:
            return ids
        ids = ids[: self.most] if self.end else ids[max(0, len(ids) - self.most) :]
        return ids + [0] * (self.most - len(ids)) if self.padded else ids


@dataclass(eq=False, repr=False)
class ElementsInRow:
    """Ids of the elements of a list: `encode: tokens`, which refuses an empty one, or categories."""

    column: str
    ids: Mapping[str, int]
    unseen: int | None
    cut: IdCut
    empty: bool

    def __call__(self, row: Row) -> Any:
        ids = known_of(row.get(self.column), self.ids, self.unseen)
        if ids is None or (None in ids) or not (ids or self.empty):
            return None
        return self.cut(ids)


def known_of(elements: object, ids: Mapping[str, int], unseen: int | None) -> list[Any] | None:
    """The ids of the elements of one row; None if it is not a list of texts."""
    if not isinstance(elements, list) or not all(isinstance(element, str) for element in elements):
        return None
    return [ids.get(element, unseen) for element in elements]


@dataclass(eq=False, repr=False)
class BinsInRow:
    """`encode: hash`: each column has bins of its own."""

    columns: tuple[str, ...]
    bins: int
    single: bool

    def __call__(self, row: Row) -> Any:
        made = []
        for position, name in enumerate(self.columns):
            text = row_text(row.get(name))
            if text is None:
                return None
            made.append(bin_of(text, self.bins) + position * self.bins)
        return _squeezed(made, self.single)


@dataclass(eq=False, repr=False)
class SetInRow:
    """`encode: set`: zeros and ones."""

    column: str
    separator: str | None
    ids: Mapping[str, int]
    width: int

    def __call__(self, row: Row) -> Any:
        value = row.get(self.column)
        if isinstance(value, str) and self.separator is not None:
            value = [piece for piece in value.split(self.separator) if piece]
        ids = known_of(value, self.ids, -1)
        if ids is None:
            return None
        made = [0.0] * self.width
        for index in ids:
            if index >= 0:
                made[index] = 1.0
        return made


@dataclass(eq=False, repr=False)
class TextInRow:
    """`encode: text`, of one column or of a pair."""

    columns: tuple[str, ...]
    ids: TextIds
    cut: IdCut

    def __call__(self, row: Row) -> Any:
        texts = [row_text(row.get(name)) for name in self.columns]
        ids = None if None in texts else self.ids(*texts)
        return self.cut(ids) if ids else None


@dataclass(eq=False, repr=False)
class PlainInRow:
    """Unscaled numbers: of one column, of one column for each number, or of a list. `count` is their number,
    None where it differs between rows.
    """

    columns: tuple[str, ...]
    is_float: bool
    rank: int
    count: int | None

    def __call__(self, row: Row) -> Any:
        (first, *others) = self.columns
        values = [row.get(name) for name in self.columns] if others else row.get(first)
        if not isinstance(values, list):
            if self.rank == 2 and self.count == 1:
                values = [values]
            elif self.rank == 1 and self._fit([values]):
                return values
            else:
                return None
        if self.rank != 2 or not values or not self._fit(values):
            return None
        if not others and len({isinstance(value, bool) for value in values}) > 1:
            return None
        any_count = self.count is None and not others
        return values if any_count or len(values) == self.count else None

    def _fit(self, elements: Sequence[Any]) -> bool:
        """Whether they are numbers of the type of the field."""
        if self.is_float:
            return all(row_number(value) is not None and abs(value) <= LARGEST for value in elements)
        return all(type(value) is int and is_int64(value) for value in elements)
