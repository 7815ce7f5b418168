"""`runs`: the runs of a directory as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import Json, colors, print_json, reporting

if TYPE_CHECKING:
    from graphspec.runs.directory import RunRow


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the runs are.", show_default=False)
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs with the figures of their best epochs.

    Example: graphspec runs
    """
    from graphspec.runs.directory import list_runs

    with reporting(as_json, {}):
        rows = list_runs(folder)
        if as_json:
            print_json({"ok": True, "runs": [row.to_json() for row in rows]})
        elif not rows:
            typer.echo(f"no run in {folder}: graphspec train SPEC makes one")
        else:
            _show(rows)


def _show(rows: list[RunRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row.values))
    names = [name for name in names if name.startswith("val_")] or names
    table = Table("run", "epochs", "best", *names, "written")
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True
    for row in rows:
        epochs = str(row.epochs) if row.state == "finished" else f"{row.epochs}, unfinished"
        best = "-" if row.best_epoch is None else str(row.best_epoch)
        figures = (_number(row.values.get(name)) for name in names)
        table.add_row(str(row.path), epochs, best, *figures, _ago(row.age))
    Console(no_color=not colors(sys.stdout), highlight=False).print(table)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
