"""Reports of a training: a bar per epoch on a terminal, a line per epoch elsewhere, or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics.terminal import legible, say, say_json
from graphspec.view.summary import show_bytes

if TYPE_CHECKING:
    from graphspec.train.progress import Progress, Result, Start

WAYS = ("auto", "lines", "json", "none")
"""`auto` is a bar where standard error is a terminal."""


class TrainingReport:
    """What a training calls back; a context manager, so that the bar is gone in the end.

    `quiet` leaves standard output alone. JSON lines go to standard error: one object a line, whose `event` is
    start, step, epoch or note.
    """

    def __init__(self, way: str = "auto", quiet: bool = False, verbose: bool = False):
        self._way, self._quiet, self._verbose = way, quiet or way in ("json", "none"), verbose
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> TrainingReport:
        if self._way == "auto" and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=None, values="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def start(self, start: Start) -> None:
        """Everything is in its place; the first step comes next."""
        if self._way == "json":
            return self._write({"event": "start", **start.to_json()})
        for line in _first(start):
            self.say(line)
        if self._verbose:
            for line in _table(start.seen):
                self.say(line)

    def say(self, line: str) -> None:
        """A line of its own."""
        if self._way == "json":
            self._write({"event": "note", "text": line})
        elif not self._quiet and self._bar is not None and sys.stdout.isatty():
            self._bar.console.print(legible(line), markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            say(line)

    def __call__(self, progress: Progress) -> None:
        if self._way == "json":
            return self._write({"event": "epoch" if progress.done else "step", **progress.to_json()})
        line = f"{show(progress.values)}  {progress.examples_per_second:,.0f} examples/s"
        name = f"epoch {progress.epoch}/{progress.epochs}"
        if self._bar is not None:
            if progress.done:
                self._bar.reset(self._task, description=name, total=progress.steps, values="")
            else:
                self._bar.update(
                    self._task,
                    description=name,
                    completed=progress.step,
                    total=progress.steps,
                    values=line,
                )
        if progress.done:
            self.say(f"{name}  {line}")

    def end(self, result: Result, directions: Mapping[str, str]) -> None:
        """The training is over, or was interrupted."""
        if self._way == "json" or self._quiet:
            return
        for line in summary(result.history, result.metrics, directions, result.best_epoch):
            self.say(line)
        if result.best_epoch is not None:
            epoch = f"epoch {result.best_epoch}"
            self.say(f"best.safetensors holds the weights of {epoch}, which evaluate and predict use")
        if result.examples_per_second:
            rate = f"{result.examples_per_second:,.0f} examples/s on {result.device}"
            self.say(f"{rate}, {result.seconds:.1f} s in total")
        else:
            more = f"more: `--set train.epochs={2 * result.epochs}`"
            self.say(f"nothing to train: the run has completed all of its epochs, {result.epochs}; {more}")
        if result.synthetic:
            self.say("it was trained on synthetic data: this is a test, not a useful model")
        self.say(f"run directory: {result.run_dir}")

    def _write(self, event: Mapping[str, Any]) -> None:
        say_json(event, sys.stderr)


def show(values: Mapping[str, Any]) -> str:
    """The values of an epoch on one line: `loss 0.0312  val_accuracy 0.9778`."""
    numbers = {name: value for name, value in values.items() if isinstance(value, float)}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def summary(
    history: Mapping[str, list[Any]],
    metrics: Mapping[str, Any],
    directions: Mapping[str, str],
    best_epoch: int | None = None,
) -> list[str]:
    """A table: each value of the last epoch, the best one, and when that was. Values of test data, which no
    epoch has, are those of `best_epoch`; without one, of the last.
    """
    rows = [["", "last", "best", "epoch"]]
    for name, value in metrics.items():
        if not isinstance(value, float):
            continue
        row = [name, f"{value:.4g}", "", ""]
        if name not in history and best_epoch is not None:
            row[1:] = ["", f"{value:.4g}", str(best_epoch)]
        known = [v for v in history.get(name, []) if isinstance(v, float) and v == v]
        if known and name in directions:
            best = min(known) if directions[name] == "down" else max(known)
            row[2:] = [f"{best:.4g}", str(history[name].index(best) + 1)]
        rows.append(row)
    return _aligned(rows) if len(rows) > 1 else []


def _first(start: Start) -> list[str]:
    """The model, and the data."""
    memory = f"a step takes about {show_bytes(start.memory)} of memory"
    counts = [f"{n:,} for {part}" for part, n in start.examples.items() if n]
    goes_on = [f"resuming after epoch {start.epoch}"] if start.resumed else []
    return [
        f"model {start.name} on {start.device}: {start.parameters:,} parameters; {memory}",
        f"examples in {start.data}: {', '.join(counts)}",
        *goes_on,
    ]


def _table(seen: Iterable[Any]) -> list[str]:
    """What a batch looks like to the model."""
    rows = [["", "", "type", "shape", "min", "mean", "max"]]
    for tensor in seen:
        shape = "x".join(map(str, tensor.shape))
        numbers = (f"{number:.4g}" for number in (tensor.low, tensor.mean, tensor.high))
        rows.append([tensor.role, tensor.name, tensor.dtype, shape, *numbers])
    return _aligned(rows, 4)


def _aligned(rows: list[list[str]], texts: int = 1) -> list[str]:
    """Rows as lines, the first columns to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if index < texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
