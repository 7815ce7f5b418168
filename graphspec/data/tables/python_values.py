"""Columns of Python values, by the rules of JSON lines: a column has one kind, numbers in a column with texts
are texts, and integers beyond 64 bits become floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from graphspec.data.mistakes import row_in_words, shown
from graphspec.data.rows.values import is_half
from graphspec.diagnostics import fail
from graphspec.settings import a

DEPTH = 64
"""Levels of lists in lists that are read: pyarrow overflows the stack where there are very many."""
HALF = "it holds half of a character"
Cell = tuple[int, Any]
"""A value, or an element of one, with its row."""
REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""Errors of pyarrow for values that make no column."""


def table_of(columns: Mapping[str, Sequence[Any]], file: str, first: int = 0) -> pa.Table:
    """Columns of Python values as a table; `first` is the number of its first row. Raises `SpecError`
    (data-column, data-dtype).
    """
    need_names(columns, file)
    return pa.table({name: column_of(name, values, file, first) for name, values in columns.items()})


def column_of(name: str, values: Sequence[Any], file: str, first: int = 0) -> pa.Array:
    """Python values as a column; `first` is the number of the first one's row. Raises `SpecError`
    (data-dtype).
    """
    try:
        return pa.array(values)
    except REFUSED:
        levels = levels_of([*enumerate(values, first)])
    row, what = _mistake(levels)
    if what is None:
        elements = [value for level in levels for _, value in level if not isinstance(value, list)]
        text = any(isinstance(value, str) for value in elements)
        try:
            return pa.array(_each(values, _text if text else _number))
        except REFUSED:
            what = "its values make no column"
    where = f"column `{name}` of `{file}`, {row_in_words(row)}"
    help = "write the whole character" if what == HALF else "give the values of a column one type"
    raise fail("data-dtype", f"{where}: {what}", help)


def need_names(names: Collection[Any], file: str) -> None:
    """Raises `SpecError` (data-column) for what is not the name of a column."""
    for name in names:
        if not isinstance(name, str) or is_half(name):
            what = "holds half of a character" if isinstance(name, str) else "is not text"
            raise fail("data-column", f"the name {name!r} of a column of `{file}` {what}", "rename it")


def levels_of(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The values, then the elements of those that are lists, and so on; none that is missing."""
    levels: list[list[Cell]] = []
    level = [(row, value) for row, value in cells if value is not None]
    while level and len(levels) <= DEPTH:
        levels.append(level)
        lists = [(row, value) for row, value in level if isinstance(value, list)]
        level = [(row, item) for row, items in lists for item in items if item is not None]
    return levels


def _mistake(levels: Sequence[Sequence[Cell]]) -> tuple[int, str | None]:
    """The row of the first value that does not go with the others, and what is wrong; else the first row."""
    for level in levels:
        other = next((value for _, value in level if isinstance(value, str)), level[0][1])
        for row, value in level:
            if not isinstance(value, str | bool | int | float | list | dict):
                return row, f"it holds {a(type(value).__name__)}"
            if isinstance(value, str) and is_half(value):
                return row, HALF
            kinds = kind_of(other), kind_of(value)
            if kinds[0] != kinds[1] and not as_text(*kinds):
                return row, f"it holds {in_words(other)} and {in_words(value)}"
    row = levels[0][0][0] if levels else 0
    return row, f"its lists are nested deeper than {DEPTH}" if len(levels) > DEPTH else None


def _each(value: Any, of: Callable[[Any], Any]) -> Any:
    """The value of each element of lists in lists."""
    return [_each(item, of) for item in value] if isinstance(value, list) else of(value)


def _text(value: Any) -> Any:
    """A number, true or false as JSON writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else value


def _number(value: Any) -> Any:
    """Any whole number as another number: one of them has no 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def kind_of(value: Any) -> str:
    """The kind of a value of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def as_text(*kinds: str) -> bool:
    """Whether a column may hold values of these kinds, as text."""
    return "text" in kinds and {"text", "a number", "true or false"}.issuperset(kinds)


def in_words(value: Any) -> str:
    """A value of JSON as messages show it."""
    kind = kind_of(value)
    if kind in ("a list", "an object"):
        return kind
    if isinstance(value, bool):
        return str(value).lower()
    return f"{kind} ({shown(value)})" if kind == "text" else shown(value)
