"""Checks of data files without reading rows: they exist, and their headers and schemas have what is needed.

Nothing here imports torch; pyarrow is imported where a file is a table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from graphspec.data.arrays import Arrays, open_arrays
from graphspec.data.binding import bind, check_weights, need_images, unlearned, without
from graphspec.data.features.next_tokens import pack_misfit
from graphspec.data.features.plan import FillPlan, of_images, plan_fills
from graphspec.data.features.texts import TextFeature
from graphspec.data.fields import Checker, Field, absent_inputs, fields
from graphspec.data.files import Marked, Split
from graphspec.data.folders import find
from graphspec.data.mistakes import lacks, placed, remedy
from graphspec.data.opening import Opening, spanner, spec_file
from graphspec.diagnostics import Diagnostic, Remedy, Span, SpecError, become, moved
from graphspec.elaborated import BaseProgram
from graphspec.files.run_files import ENVIRONMENT


def check_files(program: BaseProgram, root: Path | None) -> Iterator[Diagnostic]:
    """The mistakes in the files that a program's `data:` names; paths are relative to `root`."""
    config = program.data
    if config is None:
        return
    try:
        fields(program)
    except SpecError as error:
        yield from error.diagnostics
        return
    if (misfit := pack_misfit(program)) is not None:
        yield misfit
    for name, feature in (config.features or {}).items():
        word = feature.file if isinstance(feature, TextFeature) else None
        if word is not None and root is not None and not (root / word).is_file():
            span = program.span(("data", "features", name, "tokenizer"))
            help = "paths are relative to the spec"
            yield Diagnostic("data-missing", f"there is no file `{root / word}`", span, help=help)
    sources: dict[tuple[str, ...], Opening] = {}
    for place, file in config.files.items():
        try:
            opened = spec_file(program, ".".join(place), file, root)
            if len(place) == 1:
                yield from _check(program, place, opened)
            else:
                find(opened.path, opened.within)
                sources[place] = opened
        except SpecError as error:
            yield from _away(program, place, error, root)
    if sources and len(sources) == len(config.sources):
        yield from _check_sources(program, sources)


def _away(
    program: BaseProgram, place: tuple[str, ...], error: SpecError, root: Path | None
) -> Iterator[Diagnostic]:
    """The mistakes of a file; that it is not there is a warning of a run."""
    for diagnostic in placed(error, program.span(("data", *place))).diagnostics:
        away = diagnostic.code == "data-missing" and root is not None and (root / ENVIRONMENT).is_file()
        yield (
            replace(diagnostic, severity="warning", help="give data with `--data`") if away else diagnostic
        )


def _check_sources(program: BaseProgram, sources: Mapping[tuple[str, ...], Opening]) -> Iterator[Diagnostic]:
    """The mistakes of several sources, each of which may lack targets that another one has."""
    from graphspec.data.tables import open_table

    tables: dict[tuple[str, ...], Any] = {}
    for place, opened in sources.items():
        try:
            tables[place] = open_table(find(opened.path, opened.within), opened.options, program.data)
            _ = tables[place].columns
        except SpecError as error:
            yield from placed(error, program.span(("data", *place))).diagnostics
    if len(tables) < len(sources):
        return
    fills = _plan(program, {column for table in tables.values() for column in table.columns})
    lacking = dict(zip(sources, without(fills, list(tables.values())), strict=True))
    for place, opened in sources.items():
        try:
            yield from _check(program, place, opened, fills, lacking[place])
        except SpecError as error:
            yield from placed(error, program.span(("data", *place))).diagnostics
    yield from unlearned(program, {place[-1]: fields for place, fields in lacking.items()})


def _check(
    program: BaseProgram,
    place: tuple[str, ...],
    opened: Opening,
    fills: FillPlan | None = None,
    lacking: frozenset[str] = frozenset(),
) -> Iterator[Diagnostic]:
    """The mistakes of a file; of a source with what `fills` the fields of all, but for the targets that are
    `lacking` in it.
    """
    source, config = find(opened.path, opened.within), program.data
    assert config is not None
    for remark in source.remarks:
        help = "put images into it, or remove it"
        yield Diagnostic("data-empty", remark, program.span(("data", *place)), severity="warning", help=help)
    extra: list[tuple[tuple[str, ...], str]] = []
    if opened.options.time is not None:
        extra.append((("data", *place, "time"), opened.options.time))
    if place[0] == "train":
        division = config.validation if isinstance(config.validation, Split | Marked) else None
        named = division.divider if division is not None else None
        if division is not None and named is not None and division.data in (None, *place[1:]):
            extra.append((("data", "validation", named[0]), named[1]))
        extra += [(("data", "key"), name) for name in config.key]
    if config.windows is not None:
        extra.append((("data", "windows", "order"), config.windows.order))
        extra += [(("data", "windows", "by"), name) for name in config.windows.by]
    span = spanner(program)
    encoded = config.features or any(output.rows.weighted for output in program.outputs.values())
    if source.kind == "arrays" and not encoded and fills is None:
        archive = open_arrays(source)
        fills = _plan(program, archive.members)
        needed = fields(program, absent_inputs(program, archive.members))
        mistakes = [(field.name, each) for field in needed for each in _array(archive, field)]
        for name, mistake in mistakes:
            yield placed(SpecError([mistake]), span(fills.of(name), name)).diagnostics[0]
        if not mistakes and not any(archive.may_hold_rows(field.name) for field in needed):
            yield _empty(program, place, archive.file)
        names, lacks_column = set(archive.members), _lacking(archive)
    else:
        from graphspec.data.tables import open_table

        table = open_table(source, opened.options, config)
        names, lacks_column = set(table.columns), table.lacks
        fills = _plan(program, table.columns) if fills is None else fills
        try:
            if source.kind == "images":
                fills = of_images(fills)
                need_images(fills, span)
            bind(fills, table, span, lacking=lacking)
            check_weights(program.outputs, table, partial(_weight, program), lacking)
        except SpecError as error:
            yield from (_with_delimiter(program, place, mistake) for mistake in error.diagnostics)
        if not table.holds_rows():
            yield _empty(program, place, table.file, table.empty_help)
    for path, name in extra:
        if name not in names:
            yield from lacks_column(name, program.span(path), "").diagnostics


def _with_delimiter(program: BaseProgram, place: tuple[str, ...], mistake: Diagnostic) -> Diagnostic:
    """The same mistake: a delimiter that it advises is written where the spec names the file."""
    at = program.span(("data", *place))
    written: Any = program.document
    for key in ("data", *place):
        written = written.get(key) if isinstance(written, dict) else None
    help = moved(mistake.help, "delimiter", at)
    if isinstance(help, Remedy) and help is not mistake.help and isinstance(written, str):
        help = become({"path": written, **help.change.value}, help, at=at, safe=help.change.safe)
    return replace(mistake, help=help)


def _empty(program: BaseProgram, place: tuple[str, ...], file: str, help: str | None = None) -> Diagnostic:
    return Diagnostic("data-empty", f"`{file}` holds no examples", program.span(("data", *place)), help=help)


def _plan(program: BaseProgram, there: Collection[str]) -> FillPlan:
    """The plan of a program's fields, from the columns that exist."""
    absent = absent_inputs(program, there)
    config = program.data
    assert config is not None
    return plan_fills(
        program.inputs, program.outputs, config.features, program.ranges, absent, windows=config.windows
    )


def _weight(program: BaseProgram, output: str) -> Span:
    return program.span(("outputs", output, "sample_weight"))


def _array(archive: Arrays, field: Field) -> Iterator[Diagnostic]:
    if field.name not in archive.members:
        error = lacks(archive.file, "array", field.name, archive.members, remedy("array", field.name))
        yield from error.diagnostics
        return
    try:
        shape, dtype = archive.header(field.name)
        checker = Checker(archive.file, archive.place, [field], typed=True)
        checker.check_header(field.name, shape, dtype)
    except SpecError as error:
        yield from error.diagnostics


def _lacking(archive: Arrays) -> Any:
    def error(name: str, span: Any, help: str) -> SpecError:
        return lacks(archive.file, "array", name, archive.members, help, span)

    return error
