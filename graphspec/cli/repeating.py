"""`train --seeds` and `--folds`: a directory of runs that differ by chance alone, or one for each preset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from graphspec.cli.common import misuse
from graphspec.cli.printing import print_json, print_table
from graphspec.data.files import Split
from graphspec.diagnostics.terminal import cells, columns, say

if TYPE_CHECKING:
    from graphspec.program import Program
    from graphspec.runs.repeats import RunGroup


PLAIN = re.compile(r"\w[\w.-]*")
"""Names of presets that name directories."""


def repeat(
    programs: Mapping[Any, Program],
    one: Callable[..., Any],
    seeds: int | None,
    folds: int | None,
    run_dir: Path | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Trains programs, by their presets, once for each seed or fold; `one` does, with more of `--set`, a
    preset and a directory. Several presets have a directory each, in that of all.
    """
    from graphspec.runs.repeats import list_repeated
    from graphspec.train.run import numbered, numbers

    runs = [
        (preset, name, more)
        for preset, program in programs.items()
        for name, more in (_by_seed(program, seeds) if seeds is not None else _by_fold(program, folds or 0))
    ]
    program, several = next(iter(programs.values())), len(programs) > 1
    for preset in programs if several else ():
        if not PLAIN.fullmatch(preset):
            raise misuse("--preset", f"`{preset}` is to name a directory", "give it letters, digits and _")
    parent = Path("runs")
    if run_dir is None and resume and parent.is_dir():
        known = [path for path in numbers(parent, program.name).values() if list_repeated(path)]
        run_dir = known[-1] if known else None
    folder = run_dir or numbered(parent, program.name)
    try:
        for preset, name, more in runs:
            place = Path(preset, name) if several else Path(name)
            if not (quiet or as_json):
                say(f"{place}:")
            _, interrupted = one(preset, more, folder / place)
            if interrupted is not None:
                raise typer.Exit(interrupted.exit_code)
    finally:
        for empty in (*(folder / str(preset) for preset in programs), folder):
            with suppress(OSError):  # nothing has begun in it
                empty.rmdir()
    groups = list_repeated(folder)
    if as_json:
        found = [group.to_json() for group in groups]
        print_json({"ok": True, **({"repeated": found} if several else found[0])})
    elif not quiet:
        show(groups)
        others = "-o table.md" if several else "RUNS"
        question = "do they differ by more than chance?" if several else "is another run better?"
        say(f"{question} graphspec runs compare {folder} {others}")


def _by_seed(program: Program, count: int) -> Iterator[tuple[str, list[str]]]:
    """Runs from the spec's seed on. Rows for validation that are drawn stay those of the first."""
    first, validation = program.training.seed, program.data and program.data.validation
    drawn = isinstance(validation, Split) and validation.seed is None and validation.last_by is None
    same = [f"data.validation.seed={first}"] if drawn else []
    for seed in range(first, first + count):
        yield f"seed-{seed}", [f"train.seed={seed}", *same]


def _by_fold(program: Program, count: int) -> Iterator[tuple[str, list[str]]]:
    if program.data is None:
        raise misuse("--folds", "the spec has no `data`: of synthetic data there are no folds")
    validation = program.data.validation
    if isinstance(validation, Split) and validation.last_by is not None:
        raise misuse("--folds", "`validation` holds the last rows by `last_by`, and these have no folds")
    if validation is not None and not isinstance(validation, Split):
        message = "`validation` names its rows; folds are drawn: write {split: 0.2}, or leave it out"
        raise misuse("--folds", message)
    for fold in range(count):
        yield f"fold-{fold}", [f"data.validation.split={1 / count!r}", f"data.validation.fold={fold}"]


def show(groups: list[RunGroup]) -> None:
    """Prints a table for each group of directories with the same values."""
    from rich.table import Table

    from graphspec.runs.repeats import scores, spread_text

    alike: dict[tuple[str, ...], list[RunGroup]] = {}
    for group in groups:
        alike.setdefault(tuple(scores([group])), []).append(group)
    for names, some in alike.items():
        table = Table(*columns("runs", "", *names))
        for group in some:
            values = (spread_text(*group.spread(name)) for name in names)
            table.add_row(*cells(str(group.path), f"{len(group.rows)} {group.word}s", *values))
        print_table(table)
