"""`drift`: whether new rows are like those that a run learned from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import Allow, Device, Json
from graphspec.cli.printing import print_json, print_table
from graphspec.cli.runs import RunArgument, Weights, using
from graphspec.diagnostics.terminal import cells, columns, say

if TYPE_CHECKING:
    from graphspec.runs.drift import Drift


def drift(
    run: RunArgument,
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="New rows; targets in them are compared, too.")
    ],
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if a column drifted.")] = False,
    weights: Weights = "best",
    device: Device = "auto",
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Show whether new rows are like those of training.

    Example: graphspec drift runs/cars-1 --data today.csv --exit-code
    """
    from graphspec.runs.drift import drift as compared

    with using(run, weights, as_json, allow) as loaded:
        found = compared(loaded, data, device)
    if as_json:
        content = {"rows": found.rows, "before": found.before, "drifted": len(found.drifted)}
        print_json(
            {
                "ok": True,
                **content,
                "columns": [e.to_json() for e in found.columns],
                "left_out": found.left_out,
            }
        )
    else:
        _show(found)
    if exit_code and found.drifted:
        raise typer.Exit(1)


def _show(found: Drift) -> None:
    from rich.table import Table

    table = Table(*columns("column", "", "change", "p", "missing", "unseen", "what changed most"))
    for each in found.columns:
        missing = f"{each.missing_before:.1%} -> {each.missing:.1%}"
        row = [each.column, each.role, f"{each.change:.3f}", f"{each.p:.2g}", missing, f"{each.unseen:.1%}"]
        table.add_row(*cells(*row, each.shown), style="bold" if each.drifted else "")
    print_table(table)
    names = ", ".join(f"{each.column} ({each.role})" for each in found.drifted)
    said = f"drifted: {names}" if names else "no column drifted"
    say(f"{said}; {found.rows:,} rows compared with {found.before:,} of training")
    if found.left_out:
        say(f"not compared, as they hold dates, lists, pictures or names: {', '.join(found.left_out)}")
