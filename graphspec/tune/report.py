"""Reports of a search: a table of the best trials, and the running trials."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics.terminal import cells, columns, legible, say, say_json
from graphspec.diagnostics.text import plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from graphspec.tune.search import Status
    from graphspec.tune.study import Finished

SHOWN = 5
"""How many of the best trials are shown while a search runs; in the end there are twice as many."""


class SearchReport:
    """Reports each `Status` that it is called with; a context manager.

    On a terminal it shows a table that updates in place and a progress bar, elsewhere one line for each
    finished trial. `quiet` prints no lines. `lines` prints JSON lines to standard error: an object for each
    finished trial, and for each epoch of the running trials.
    """

    def __init__(self, objective: str, quiet: bool = False, lines: bool = False):
        self._objective, self._quiet, self._lines = objective, quiet or lines, lines
        self._told: dict[int, int] = {}
        self._live: Any = None
        self._bar: Any = None
        self._seen: set[int] = set()

    def __enter__(self) -> SearchReport:
        if sys.stderr.isatty() and not self._lines:
            from rich.console import Console
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("trials"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
            )
            self._bar.add_task("", total=None)
            self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, status: Status) -> None:
        if self._live is not None:
            self._live.update(self._picture(status))
        if self._lines:
            self._write(status)
        if not self._quiet:
            for trial in status.trials:
                if trial.state != "running" and trial.number not in self._seen:
                    self._seen.add(trial.number)
                    self._print(f"trial {trial.number}  {line(trial, self._objective)}")

    def _write(self, status: Status) -> None:
        """Prints news as JSON lines."""
        best = status.best[0].number if status.best else None
        for number, epoch in status.running.items():
            if epoch and self._told.get(number) != epoch:
                self._told[number] = epoch
                self._event({"event": "epoch", "trial": number, "epoch": epoch})
        for trial in status.trials:
            if trial.state != "running" and trial.number not in self._seen:
                self._seen.add(trial.number)
                over = {"trials": len(self._seen), "limit": status.limit, "best": best}
                self._event({"event": "trial", **trial.to_json(), **over})

    @staticmethod
    def _event(event: dict[str, Any]) -> None:
        say_json(event, sys.stderr)

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(legible(text), markup=False, highlight=False)
        else:
            say(text)

    def _picture(self, status: Status) -> RenderableType:
        from rich.console import Group

        over = sum(trial.state != "running" for trial in status.trials)
        tried = [trial for trial in status.trials if trial.number in status.running]
        now = "; ".join(f"{parameters(t)} (epoch {status.running[t.number]})" for t in tried)
        self._bar.update(self._bar.task_ids[0], completed=over, total=status.limit, description=legible(now))
        return Group(table(status.best[:SHOWN], self._objective), self._bar)


def table(trials: Sequence[Finished], objective: str) -> Table:
    """A table of trials: number, objective, and a column for each key that varies."""
    from rich.table import Table

    keys = list(trials[0].params) if trials else []
    trial_table = Table(*columns("trial", objective, *keys))
    for trial in trials:
        value = _objective(trial)
        trial_table.add_row(*cells(str(trial.number), value, *(shown(trial.params[key]) for key in keys)))
    return trial_table


def line(trial: Finished, objective: str) -> str:
    """A finished trial, on one line."""
    if trial.state == "failed":
        return f"failed  {parameters(trial)}  {trial.reason or ''}".rstrip()
    value = _objective(trial)
    stopped = f"pruned after epoch {trial.epochs}  " if trial.state == "pruned" else ""
    return f"{stopped}{objective} {value}  {parameters(trial)}"


def parameters(trial: Finished) -> str:
    return "  ".join(f"{key.rpartition('.')[2]}={shown(value)}" for key, value in trial.params.items())


def shown(value: Any) -> str:
    """A value as readable text, numbers with four digits."""
    return plain(value) if isinstance(value, float) else str(value)


def _objective(trial: Finished) -> str:
    return "-" if trial.value is None else f"{trial.value:.6g}"
