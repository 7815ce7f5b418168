"""Which columns of a table fill each field: those of its feature, or those of its name. Opens no file.

A field `x` without a feature is the column `x`; or, for a field of several values an example, the columns
`x_0`, `x_1`, ... (or `x.0`, ..., or counted from 1), in row-major order of its axes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from graphspec.data.features.plan import Fill, FillPlan, Outputs, image_misfits
from graphspec.diagnostics import Diagnostic, Span, SpecError, fail

if TYPE_CHECKING:
    from graphspec.elaborated import BaseProgram

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
    plan: FillPlan,
    source: ColumnSource,
    place: Place = nowhere,
    targets: bool = True,
    lacking: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """The columns that fill each field but the targets that are `lacking`. Raises `SpecError`, data-column,
    with every one that is missing.
    """
    columns: dict[str, tuple[str, ...]] = {}
    problems: list[Diagnostic] = []
    for fill in plan.fills:
        if fill.field in lacking:
            continue
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


def without(plan: FillPlan, sources: Sequence[ColumnSource]) -> list[frozenset[str]]:
    """Of each of several sources the targets of which it has no column, and another one has some."""
    lacks = [
        {fill.field for fill in plan.fills if fill.target and not _has_some(fill, source)}
        for source in sources
    ]
    nowhere_there = set.intersection(*lacks)
    return [frozenset(fields - nowhere_there) for fields in lacks]


def _has_some(fill: Fill, source: ColumnSource) -> bool:
    """Whether a source has any of the columns of a field."""
    if fill.feature is None:
        return fill.field in source.columns or bool(numbered(fill.field, source.columns, source.file))
    return any(column in source.columns for column in fill.feature.read(fill.field))


def unlearned(program: BaseProgram, lacking: Mapping[str, Collection[str]]) -> Iterator[Diagnostic]:
    """The steps whose losses need a target that none of their sources has; `lacking` has those of each."""
    for path, part in program.training.written_steps():
        read = part.data or tuple(lacking)
        for index, name in enumerate(part.outputs or program.outputs):
            output = program.outputs[name]
            losing = output.loss is not None and output.loss.takes_target
            if losing and all(output.target in lacking.get(source, ()) for source in read):
                place = (*path, "outputs", index) if part.outputs else (*path, "data") if part.data else path
                sources = f"source `{read[0]}` has" if len(read) == 1 else f"sources {', '.join(read)} have"
                message = f"this step learns output `{name}`, and {sources} no column `{output.target}`"
                others = [each for each, o in program.outputs.items() if o.loss is not None and each != name]
                help = "let it read a source that has it"
                if not part.outputs and others:
                    help += f", or name its outputs: `outputs: [{', '.join(others)}]`"
                span = program.span(("train", *path) if len(part.outputs) == 1 else ("train", *place))
                yield Diagnostic("data-column", message, span, help=help)


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
    outputs: Outputs,
    source: ColumnSource,
    span: Callable[[str], Span | None] = lambda name: None,
    lacking: Collection[str] = (),
) -> None:
    """Raises `SpecError` if the `sample_weight` of an output is not a column; `span` is its place. Outputs
    whose targets are `lacking` need none.
    """
    for name, output in outputs.items():
        column = output.rows.sample_weight
        if column is not None and column not in source.columns and output.target not in lacking:
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
