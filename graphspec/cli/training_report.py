"""Reports of a training: a bar per epoch on a terminal, a line per epoch elsewhere, or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics.terminal import at_once, legible, say, say_json
from graphspec.diagnostics.text import plain
from graphspec.view.summary import show_bytes

if TYPE_CHECKING:
    from graphspec.train.progress import Progress, Result, Start

"""`auto` is a bar where standard error is a terminal."""
WIDTH = len("0.03120")
"""Characters of a number in the lines of epochs, at least."""
LEAST = 10.0
"""Seconds from which on the time that is left is told."""


class TrainingReport:
    """Callbacks of a training; a context manager, so that the bar is gone in the end.

    `quiet` leaves standard output alone. JSON lines go to standard error: one object a line, whose `event` is
    start, step, epoch or note.
    """

    def __init__(self, way: str = "auto", quiet: bool = False, verbose: bool = False):
        self._way, self._quiet, self._verbose = way, quiet or way in ("json", "none"), verbose
        self._bar: Any = None
        self._task: Any = None
        self._widths: dict[str, int] = {}
        self._asked = ""

    def __enter__(self) -> TrainingReport:
        if self._way == "auto" and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[values]}", markup=False),
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

    def waiting(self, what: str) -> None:
        """The bar says what is next, until there is progress."""
        if self._bar is not None:
            self._bar.update(self._task, values=f"{what} ...")

    def stopping(self) -> None:
        """A signal asks the training to stop. The bar is drawn by its own thread, which a handler must not
        wait for.
        """
        word = "stopping after this step; Ctrl-C again ends at once"
        self._asked = word
        if self._bar is not None:
            self._bar.update(self._task, description=word)
        else:
            at_once(json.dumps({"event": "note", "text": word}) if self._way == "json" else word)

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
        epochs = str(progress.epochs)
        name = f"epoch {progress.epoch:>{len(epochs)}}/{epochs}"
        rate, left = f"{progress.examples_per_second:,.0f} examples/s", _left(progress)
        if self._bar is not None:
            values = "  ".join(filter(None, [show(progress.values), rate, left]))
            self._bar.update(
                self._task,
                description=self._asked or name,
                completed=0 if progress.done else progress.step,
                total=progress.steps,
                values=left if progress.done else values,
            )
        if progress.done:
            self.say("  ".join(filter(None, [name, show(progress.values, self._widths), rate, left])))

    def end(self, result: Result, directions: Mapping[str, str]) -> None:
        """The training is over, or was interrupted."""
        if self._way == "json" or self._quiet:
            return
        for line in summary(result.history, result.metrics, directions, result.best_epoch):
            self.say(line)
        at = (result.best_epoch or 0) - 1
        model = {name: v[at] for name, v in result.history.items() if name.startswith("val_")}
        for line in beside(model, result.baselines, directions):
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


def show(values: Mapping[str, Any], widths: dict[str, int] | None = None) -> str:
    """The values of an epoch on one line: `loss 0.03120  val_accuracy 0.9778`. With `widths` of the numbers
    so far, which it keeps, one line aligns with the next.
    """
    numbers = {name: plain(value) for name, value in values.items() if isinstance(value, float)}
    if widths is None:
        return "  ".join(f"{name} {number}" for name, number in numbers.items())
    for name, number in numbers.items():
        widths[name] = max(widths.get(name, WIDTH), len(number))
    return "  ".join(f"{name} {number:>{widths[name]}}" for name, number in numbers.items())


def beside(
    model: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]], directions: Mapping[str, str]
) -> list[str]:
    """A table of what the model reaches, and what is reached without it; a line for each value in which that
    is no worse.
    """
    if not baselines:
        return []
    names = [name for name, value in model.items() if isinstance(value, float)]
    rows = [["", *names]]
    for title, values in (("the model", model), *baselines.items()):
        rows.append([title, *(plain(values[name]) if name in values else "" for name in names)])
    lines = _aligned(rows)
    for name in names:
        up = directions.get(name) == "up"
        better = [
            title
            for title, values in baselines.items()
            if name in values and (values[name] >= model[name] if up else values[name] <= model[name])
        ]
        if better:
            lines.append(f"{name}: the model does not beat {' or '.join(better)}")
    return lines


def _left(progress: Progress) -> str:
    """The time that is left as a clock shows it: `1:02:03 left`; nothing where it is not worth a word."""
    if progress.seconds_left is None or progress.seconds_left < LEAST:
        return ""
    seconds, most = round(progress.seconds_left), "at most " if progress.at_most else ""
    return f"{most}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


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
        row = [name, plain(value), "", ""]
        if name not in history and best_epoch is not None:
            row[1:] = ["", plain(value), str(best_epoch)]
        known = [v for v in history.get(name, []) if isinstance(v, float) and v == v]
        if known and name in directions:
            best = min(known) if directions[name] == "down" else max(known)
            row[2:] = [plain(best), str(history[name].index(best) + 1)]
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
    """Describes a batch, as the model gets it."""
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
