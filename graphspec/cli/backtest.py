"""`backtest`: the errors of forecasts from several times of the past."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import Allow, Device, Json
from graphspec.cli.printing import print_json, print_table
from graphspec.cli.runs import RunArgument, Weights, using
from graphspec.diagnostics.terminal import cells, columns, say
from graphspec.diagnostics.text import plain

if TYPE_CHECKING:
    from graphspec.runs.backtesting import Backtest


def backtest(
    run: RunArgument,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="Rows to forecast. [default: those of training]"),
    ] = None,
    origins: Annotated[
        int, typer.Option("--origins", min=1, metavar="N", help="Forecast from the last N times.")
    ] = 12,
    every: Annotated[
        int | None,
        typer.Option(
            "--every", min=1, metavar="N", help="Steps between them. [default: those of a forecast]"
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train a model for each, on the rows before it.")
    ] = False,
    weights: Weights = "best",
    device: Device = "auto",
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Show how good forecasts from several times of the past were.

    Example: graphspec backtest runs/load-1 --origins 12 --refit
    """
    from graphspec.runs.backtesting import backtest as backtested
    from graphspec.train.loop import Interrupted

    try:
        with using(run, weights, as_json, allow) as loaded:
            tell = (lambda line: None) if as_json else say
            found = backtested(loaded, data, origins, every, refit, device, tell)
    except Interrupted as error:
        say("stopped", sys.stderr)
        raise typer.Exit(error.exit_code) from None
    if as_json:
        print_json({"ok": True, "refit": refit, **found.to_json()})
    else:
        _show(found, origins)


def _show(found: Backtest, wanted: int) -> None:
    from rich.table import Table

    names = found.names
    table = Table(*columns("origin", "windows", *names))
    for each in found.origins:
        values = (plain(each.values[name]) if name in each.values else "" for name in names)
        mark = " *" if each.learned else ""
        table.add_row(*cells(each.time + mark, f"{each.values['examples']:,}", *values))
    total = sum(each.values["examples"] for each in found.origins)
    table.add_row(
        *cells("mean", f"{total:,}", *(plain(found.mean[n]) if n in found.mean else "" for n in names))
    )
    print_table(table)
    if found.learned:
        say(f"*: the run has learned from rows that it forecasts ({found.learned} origins); see `--refit`")
    if len(found.origins) < wanted:
        say(f"the data have {len(found.origins)} such origins, not {wanted}")
