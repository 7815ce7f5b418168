"""Prints diagnostics, tables, answers and JSON documents of commands."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from graphspec.diagnostics.terminal import say, say_json
from graphspec.diagnostics.text import plain

if TYPE_CHECKING:
    from rich.table import Table

    from graphspec.diagnostics import Diagnostic


@contextmanager
def reporting(as_json: bool = False, sources: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turns errors of a spec, its data or its run into diagnostics and exit code 1. `sources` has the texts
    that they point into.
    """
    from graphspec.diagnostics import SpecError

    try:
        yield
    except SpecError as error:
        from graphspec.train.parallel.launched import speaks

        if not speaks(str(error)):
            pass
        elif as_json:
            print_json(
                {"ok": False, "diagnostics": [diagnostic.to_json() for diagnostic in error.diagnostics]}
            )
        else:
            show(error.diagnostics, sources or {}, sys.stderr)
        raise SystemExit(1) from None
    finally:
        sys.stdout.flush()  # a reader that has gone is found here, and told nothing


def show(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], stream: TextIO) -> None:
    from graphspec.diagnostics import render

    for diagnostic in diagnostics:
        shown = {**_excerpt(diagnostic), **sources}
        text = render(diagnostic, shown, colors(stream), terminal_width(stream))
        say(text, stream, end="\n\n", painted=True)


LONGEST = 100_000
"""Lines of a file of data before the one that is shown."""
WIDEST = 1 << 20
"""Bytes of that line."""


def _excerpt(diagnostic: Diagnostic) -> dict[str, str]:
    """The line of a file of data that a diagnostic is about; compressed ones are not opened for it."""
    span = diagnostic.span
    if span is None or span.line > LONGEST or not span.file.endswith((".csv", ".tsv", ".jsonl")):
        return {}
    from graphspec.files.reading import opened

    try:
        with opened(Path(span.file)) as stream:
            passed = 0
            while passed < span.line - 1 and (part := stream.readline(WIDEST)):
                passed += part.endswith(b"\n")
            line = stream.readline(WIDEST).decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError:
        return {}
    return {span.file: "\n" * (span.line - 1) + line}


def colors(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(table: Table) -> None:
    """Prints a table to stdout, as wide as its longest cells: none is cut off or folded."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(color_system="auto" if colors(sys.stdout) else None, highlight=False)
    needed = Measurement.get(console, console.options.update(max_width=sys.maxsize), table).maximum
    console.size = max(console.width, needed), console.height  # both, or a dumb terminal has 80 columns
    console.print(table)


def terminal_width(stream: TextIO) -> int | None:
    """The width of the terminal; None if the output is not a terminal."""
    if not stream.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns


def answer(as_json: bool, text: str, nl: bool = True, **values: Any) -> None:
    """Prints what a command did: as text, or with `--json` as values by their names."""
    if as_json:
        print_json({"ok": True, **values})
    else:
        say(text, end="\n" if nl else "")


def print_json(value: Mapping[str, Any]) -> None:
    """Prints the document of a command: `ok`, the version of all documents, and what else there is."""
    from graphspec.version import DOCUMENTS

    say_json({"ok": value["ok"], "version": DOCUMENTS, **value}, indent=2)


def count_of(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def figure(value: object) -> str:
    """A number as a table shows it, `-` for anything else."""
    return plain(value) if isinstance(value, int | float) else "-"
