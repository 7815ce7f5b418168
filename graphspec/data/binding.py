"""Which columns of a table fill each field: those of its feature, or those of its name. Opens no file.

A field `x` without a feature is the column `x`; or, for a field of several values an example, the columns
`x_0`, `x_1`, ... (or `x.0`, ..., or counted from 1), in row-major order of its axes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Protocol

from graphspec.data.features.plan import Fill, FillPlan, Outputs, image_misfits
from graphspec.diagnostics import Diagnostic, Span, SpecError, fail

Place = Callable[[Fill, str], Span | None]
"""Where the spec asks for a column of a field."""


class ColumnSource(Protocol):
    """Anything with columns, such as a table."""

    @property
    def file(self) -> str: ...

    @property
    def columns(self) -> Collection[str]: ...

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        """The error for a missing column."""
        ...

    def read_as_text(self, names: Iterable[str]) -> None:
        """Says that all values of these columns are texts where some are."""
        ...


def nowhere(fill: Fill, column: str) -> Span | None:
    return None


def bind(
    plan: FillPlan, source: ColumnSource, place: Place = nowhere, targets: bool = True
) -> dict[str, tuple[str, ...]]:
    """The columns that fill each field. Raises `SpecError`, data-column, with every one that is missing."""
    columns: dict[str, tuple[str, ...]] = {}
    problems: list[Diagnostic] = []
    for fill in plan.fills:
        if fill.target and not targets:
            need_beside(fill, source)
            continue
        try:
            columns[fill.field] = _columns(fill, source, place)
        except SpecError as error:
            problems += error.diagnostics
    if problems:
        raise SpecError(problems)
    return columns


def need_images(plan: FillPlan, place: Place) -> None:
    """Raises `SpecError` (feature-misfit) where a folder of images cannot fill the inputs of its plan."""
    problems = [
        Diagnostic(code, message, place(replace(fill, feature=None), "image"), help=help)
        for fill, (code, message, help, _) in image_misfits(plan)
    ]
    if problems:
        raise SpecError(problems)


def _columns(fill: Fill, source: ColumnSource, place: Place) -> tuple[str, ...]:
    if fill.feature is None:
        name = fill.field
        columns = (name,) if name in source.columns else numbered(name, source.columns, source.file)
        if not columns:
            raise source.lacks(name, place(fill, name))
        return columns
    columns = fill.feature.read(fill.field)
    for column in columns:
        if column not in source.columns:
            raise source.lacks(column, place(fill, column), f"The feature `{fill.field}` reads it")
    need_beside(fill, source)
    return columns


def need_beside(fill: Fill, source: ColumnSource) -> None:
    """Raises `SpecError` where a column is missing that says how the others of a feature are scaled."""
    for column in fill.feature.beside if fill.feature is not None else ():
        if column not in source.columns:
            raise source.lacks(column, None, f"The feature `{fill.field}` scales by it")


def check_weights(
    outputs: Outputs, source: ColumnSource, span: Callable[[str], Span | None] = lambda name: None
) -> None:
    """Raises `SpecError` if the `sample_weight` of an output is not a column; `span` is its place."""
    for name, output in outputs.items():
        column = output.rows.sample_weight
        if column is not None and column not in source.columns:
            raise source.lacks(column, span(name), f"Output `{name}` has it as `sample_weight`")


def numbered(name: str, there: Iterable[str], file: str) -> tuple[str, ...]:
    """The columns `x_0`, `x_1`, ... (or `x.0`, or counted from 1) of the field `x`; none is the empty tuple.

    Raises `SpecError` where one is left out.
    """
    pattern = re.compile(re.escape(name) + r"[_.](\d{1,9})\Z", re.ASCII)
    columns = {int(match[1]): column for column in there if (match := pattern.match(column)) is not None}
    order = sorted(columns)
    if order and order != list(range(order[0], order[0] + len(order))):
        gap = next(n for n in range(order[0], order[-1]) if n not in columns)
        raise fail("data-column", f"`{file}` has columns `{name}_...`, but none with number {gap}")
    return tuple(columns[number] for number in order)
