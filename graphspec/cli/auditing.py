"""`audit`: what a run from elsewhere is, before one uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Allow, Json
from graphspec.cli.printing import print_json, print_table, reporting
from graphspec.diagnostics.terminal import cells, columns, say


def audit(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or folders of them.")
    ],
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Show what runs from elsewhere read and need.

    No code of a run is executed. The exit code is 1 where something is wrong.

    Example: graphspec audit downloads/digits-1
    """
    with reporting(as_json):
        from graphspec.runs.audit import audits

        found = {run: findings for path in paths for run, findings in audits(path, allow or ()).items()}
    wrong = sum(each.verdict == "wrong" for findings in found.values() for each in findings)
    if as_json:
        runs = [
            {"run_dir": str(path), "findings": [e.to_json() for e in each]} for path, each in found.items()
        ]
        print_json({"ok": not wrong, "wrong": wrong, "runs": runs})
    for path, findings in () if as_json else found.items():
        from rich.table import Table

        table = Table(*columns(str(path), "", ""))
        for each in findings:
            table.add_row(
                *cells(each.part, each.verdict, each.said), style="bold" if each.verdict == "wrong" else ""
            )
        print_table(table)
    if not as_json:
        say(f"{wrong} wrong" if wrong else "nothing is wrong")
    if wrong:
        raise typer.Exit(1)
