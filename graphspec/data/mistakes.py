"""Errors of data, and the words that several readers have for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from graphspec.diagnostics import Diagnostic, Label, Span, SpecError, did_you_mean, fail, nearest

CLOCKS = "where clocks were set back, write times with their offset, as 2024-10-27T02:00+01:00"
"""Remedy where summer time ends: an hour is there twice."""
SHOWN = 40
"""Characters of a value that a message shows."""


def placed(error: SpecError, span: Span | None, *notes: str) -> SpecError:
    """The same mistakes, at a place of the spec where they have none; one in the data has it as a second.
    All have the further notes.
    """
    diagnostics = (_placed(diagnostic, span) for diagnostic in error.diagnostics)
    return SpecError(replace(each, notes=(*each.notes, *notes)) for each in diagnostics)


def _placed(diagnostic: Diagnostic, span: Span | None) -> Diagnostic:
    if diagnostic.span is None:
        return replace(diagnostic, span=span)
    if diagnostic.code in IN_DATA and span is not None and not diagnostic.labels:
        return (
            replace(diagnostic, labels=(Label(span, "read here"),))
            if _elsewhere(diagnostic, span)
            else diagnostic
        )
    return diagnostic


def _elsewhere(diagnostic: Diagnostic, span: Span) -> bool:
    return diagnostic.span is not None and diagnostic.span.file != span.file


IN_DATA = (
    "data-format",
    "data-dtype",
    "data-range",
    "data-gap",
    "data-nonfinite",
    "data-shape",
    "data-order",
)
"""Mistakes of a cell or a row, whose place may be in a file of data."""


def nowhere(row: int, name: str) -> None:
    """The place of a cell in what is no file."""


def row_in_words(row: int) -> str:
    return f"row {row}, counting from 0"


def in_row(file: str, row: int, part: str) -> Span:
    """A row of a file that is no text, counted from 0, and its part: `column age`."""
    return Span(file, 0, 0, 0, 0, f"row {row}, {part}")


def in_line(file: str, line: int, text: str = "", start: int = 0, end: int | None = None) -> Span:
    """Characters of a line of a text file; of its whole `text` where none are named."""
    return Span(file, line, start + 1, line, max(len(text) if end is None else end, start + 1) + 1)


def missing(path: Path) -> SpecError:
    """A path at which there is nothing."""
    first = path.parts[0] if path.parts else ""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", first):
        address = f"{first}//{'/'.join(path.parts[1:])}"
        help = "download the file; of addresses, s3://BUCKET/FILE.parquet is read"
        return fail("data-missing", f"`{address}` is an address, and not a path", help)
    if first == "~":
        return fail(
            "data-missing",
            f"there is no data file `{path}`: `~` is not a folder",
            f"write `{path.expanduser()}`",
        )
    there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    shown = [name for name in sorted(there) if Path(name).suffix == path.suffix][:8]
    otherwise = f"files there: {', '.join(shown)}" if shown else "paths are relative to the spec's folder"
    if path.suffix == ".json":
        otherwise += "; a .jsonl file has an object on each line"
    return fail("data-missing", f"there is no data file `{path}`", did_you_mean(path.name, there, otherwise))


def not_utf8(likely: str) -> str:
    """Remedy for a text in another encoding."""
    return f"save it as UTF-8, or name its encoding in the spec: {{path: ..., encoding: {likely}}}"


def unreadable(path: object, error: OSError) -> SpecError:
    return fail("data-missing", f"`{path}` cannot be read: {error.strerror or error}")


IN_MEMORY = "data"
"""The name of data that are no file, in messages."""
NAME = "Name the"


_VALUE = re.compile(r"[-+]?\d+([.,]\d+)?|\d{4}-\d\d-\d\d.*")
"""A name of a column that is rather a number or a date."""


def lacks(
    file: str, what: str, name: str, there: Iterable[str], help: str, span: Span | None = None
) -> SpecError:
    """A column or array that is not in the file."""
    names = list(there)
    word = next((each for each in names if each.strip() == name), None) or nearest(name, names)
    shown = ", ".join(f"`{n}`" for n in names[:20]) + (", ..." if len(names) > 20 else "")
    renamed = f"n{help[1:]}" if help.startswith(NAME) else ""
    told = f"did you mean `{word}`? {help}".strip() if word else renamed or None
    if what == "column" and word is None and file != IN_MEMORY and any(map(_VALUE.fullmatch, names)):
        told = "the first line names the columns, and seems to be a row: write names above it"
    if what == "array" and word is None and (names[:1] == ["arr_0"] or file.endswith(".npy")):
        told = f"name the arrays where they are saved: numpy.savez(FILE, {name}=...)"
    elif what == "array" and word is None and renamed and file != IN_MEMORY:
        like = [each for each in names if re.split(r"[\W_]", each)[0].casefold() == name.casefold()]
        told = f"rename it where it is saved: numpy.savez(FILE, {name}={', '.join(like[:1]) or '...'}, ...)"
        told += renamed.partition(f"`{name}`")[2]
    return fail(
        "data-column", f"`{file}` has no {what} `{name}`", told, f"it has {shown or 'none'}", span=span
    )


def remedy(what: str, name: str) -> str:
    """Remedy for a column or array that has another name."""
    return f"{NAME} {what} `{name}`; another name of a target is the output's `target`"


def shown(value: object) -> str:
    """A value as it is written, cut to a readable length."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def need_classes(
    weights: Mapping[str, float], output: str, classes: Collection[str], none: str, all: str
) -> None:
    """Raises `SpecError` where the `class_weight` of an output names an unknown class. `none` is what the
    message says of that name, and `all` what it calls the classes.
    """
    for value in weights:
        if value not in classes:
            listed = ", ".join(shown(each) for each in list(classes)[:20])
            what = f"`class_weight` of output `{output}` names `{value}`, which {none}"
            raise fail("data-range", what, did_you_mean(value, classes, f"{all}: {listed}"))
