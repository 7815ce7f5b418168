"""`runs`: lists trained runs, and compares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import (
    Json,
    misuse,
)
from graphspec.cli.outputs import (
    Force,
    check_output,
    marked,
    of_format,
    write,
)
from graphspec.cli.printing import figure, print_json, print_table, reporting
from graphspec.diagnostics.terminal import cells, columns, say
from graphspec.diagnostics.text import plain

if TYPE_CHECKING:
    from rich.table import Table

    from graphspec.runs.directory import RunRow
    from graphspec.runs.repeats import Difference, RunGroup

COMPARE = "compare"
SETTINGS = 6
"""Settings that a table of runs shows in columns."""


def runs(
    words: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR | compare RUN...]",
            help="Directory of runs; or `compare` and two runs or more.",
            show_default=False,
        ),
    ] = None,
    outputs: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="With compare: curves as .svg, or a table as .md or .tex; may be repeated.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """List runs with their best epochs, or compare runs.

    It also shows the settings that differ, and of runs repeated with `train --seeds` or `--folds` whether a
    difference is more than chance.

    Example: graphspec runs compare runs/digits-1 runs/digits-2 -o curves.svg
    """
    from graphspec.cli.repeating import show as show_repeated
    from graphspec.runs.directory import list_runs, list_studies
    from graphspec.runs.repeats import list_repeated

    arguments = list(words or [])
    comparing = len(arguments) > 1 and str(arguments[0]) == COMPARE
    if outputs and not comparing:
        raise misuse("-o", "it is of `compare`", "write `graphspec runs compare A B -o FILE`")
    if len(arguments) > 1 and not comparing:
        raise misuse("[DIR]", "one directory is listed", "to compare runs: `graphspec runs compare RUN RUN`")
    with reporting(as_json):
        if comparing:
            _compare(arguments[1:], outputs or [], force, as_json)
            return
        folder = arguments[0] if arguments else Path("runs")
        if arguments and not folder.is_dir():
            raise misuse("[DIR]", f"there is no directory {folder}")
        rows, studies, groups = list_runs(folder), list_studies(folder), list_repeated(folder)
        if as_json:
            listing = {"runs": _as_json(rows), "studies": [each.to_json() for each in studies]}
            print_json({"ok": True, **listing, "repeated": [each.to_json() for each in groups]})
            return
        _show(rows)
        show_repeated(groups)
        for study in studies:
            count = f"{study.trials} trial{'s' * (study.trials > 1)}"
            say(f"{study.path}: a search of {count}: graphspec runs {study.runs}")
        if not rows and not studies and not groups:
            say(f"no run in {folder}: graphspec train SPEC makes one")


def _as_json(rows: list[RunRow]) -> list[dict[str, Any]]:
    """The runs, each with the settings in which it differs from others of the list."""
    from graphspec.runs.settings import differing

    columns = differing([row.path for row in rows])
    return [
        {**row.to_json(), "settings": {path: values[index] for path, values in columns.items()}}
        for index, row in enumerate(rows)
    ]


def _compare(paths: list[Path], outputs: list[Path], force: bool, as_json: bool) -> None:
    """Shows settings that differ beside the values of the best epochs, runs in columns; of repeated runs
    means, and whether these differ by more than chance.
    """
    from graphspec.compare.table import show_value
    from graphspec.runs.directory import RunFiles
    from graphspec.runs.repeats import differences, members, presets_of, repeated

    paths = [inner for path in paths for inner in presets_of(path)]
    firsts = [(members(path) or [path])[0] for path in paths]
    files = [RunFiles(path) for path in firsts]
    groups, different = [repeated(path) for path in paths], _settings(firsts, paths)
    for output in outputs:
        if output.suffix not in (".svg", ".md", ".tex"):
            raise misuse("-o", f"{output} ends in none of .svg, .md and .tex")
        check_output(output, of_format(output.suffix[1:]), force)
    found = differences(groups)
    for output in outputs:
        if output.suffix == ".svg":
            from graphspec.view.curves import curves_of

            histories = {str(path): each.history() for path, each in zip(paths, files, strict=True)}
            text = curves_of(histories, "runs")
        else:
            text = _table(output.suffix, groups, different)
        write(output, marked(text.encode("utf-8"), output.suffix[1:]))
    if as_json:
        tested = {"repeated": [g.to_json() for g in groups], "differences": [d.to_json() for d in found]}
        rows = [row.to_json() for group in groups for row in group.rows if group.word == "run"]
        print_json({"ok": True, "runs": rows, "settings": different, **tested})
        return
    print_table(_compared(groups, {name: [*map(show_value, each)] for name, each in different.items()}))
    for each in found:
        if any(group.word != "run" for group in groups):
            say(_verdict(each))
    for path in outputs:
        say(f"wrote {path}")


def _settings(firsts: list[Path], paths: list[Path]) -> dict[str, list[Any]]:
    """The settings in which runs differ, without those that number repeated ones."""
    from graphspec.runs.settings import differing

    numbers = () if firsts == paths else ("train.seed", "data.validation.fold", "data.validation.seed")
    return {name: values for name, values in differing(firsts).items() if name not in numbers}


def _compared(groups: list[RunGroup], settings: dict[str, list[str]]) -> Table:
    from rich.table import Table

    from graphspec.runs.repeats import spread_text

    table = Table(*columns("", *(str(group.path) for group in groups)))
    for name, values in settings.items():
        table.add_row(*cells(name, *values))
    if settings:
        table.add_section()
    single = [group.rows[0] if group.rows and group.word == "run" else None for group in groups]
    if any(single):
        table.add_row(*cells("best epoch", *(str((row and row.best_epoch) or "-") for row in single)))
    if not all(single):
        counts = (f"{len(group.rows)} {group.word}s" if group.word != "run" else "1" for group in groups)
        table.add_row(*cells("runs", *counts))
    for name in dict.fromkeys(name for group in groups for name in group.names):
        values = [
            figure(row.values.get(name)) if row else spread_text(*group.spread(name))
            for row, group in zip(single, groups, strict=True)
        ]
        table.add_row(*cells(name, *values))
    return table


def _verdict(found: Difference) -> str:
    """Whether a difference is more than chance, as a sentence."""
    if found.difference == 0:
        return f"{found.name}: {found.run} is as high as {found.other}"
    way = "higher" if found.difference > 0 else "lower"
    apart = f"{found.name}: {found.run} is {plain(abs(found.difference))} {way} than {found.other}"
    if found.p is None:
        return f"{apart}; too few runs, or other folds, to tell whether by chance: train both with --seeds 5"
    chance = f"p {plain(found.p)}" if found.p >= 1e-4 else "p below 0.0001"
    return f"{apart}, {'more than' if found.significant else 'no more than'} chance explains ({chance})"


def _table(suffix: str, groups: list[RunGroup], different: dict[str, list[Any]]) -> str:
    from graphspec.compare.table import show_value
    from graphspec.runs.repeats import ablation, latex, markdown

    rows = ablation(groups, {name: [*map(show_value, each)] for name, each in different.items()})
    return markdown(rows) if suffix == ".md" else latex(rows)


def _show(rows: list[RunRow]) -> None:
    """Prints a table for each group of runs with the same values, which can be compared."""
    from rich.table import Table

    from graphspec.compare.table import show_value
    from graphspec.runs.settings import differing

    alike: dict[tuple[str, ...], list[RunRow]] = {}
    for row in rows:
        names = tuple(row.values)
        alike.setdefault(tuple(name for name in names if name.startswith("val_")) or names, []).append(row)
    for names, group in alike.items():
        different = differing([row.path for row in group])
        shown = dict(list(different.items())[:SETTINGS]) if len(different) <= 2 * SETTINGS else {}
        table = Table(*columns("run", *shown, "epochs", "best", *names, "written"))
        for index, row in enumerate(group):
            epochs = str(row.epochs) if row.state == "finished" else f"{row.epochs}, {row.state}"
            epochs += ", synthetic data" if row.synthetic else ""
            best = "-" if row.best_epoch is None else str(row.best_epoch)
            figures = (figure(row.values.get(name)) for name in names)
            settings = (show_value(values[index]) for values in shown.values())
            table.add_row(*cells(str(row.path), *settings, epochs, best, *figures, _ago(row.age)))
        print_table(table)
        if len(different) > len(shown):
            say(f"{len(different) - len(shown)} more settings differ: graphspec runs compare RUN RUN")


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
