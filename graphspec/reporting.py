"""How a training shows itself: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphspec.train.progress import Progress


class Report:
    """Called with each `Progress`; a context manager, so that the bar is gone in the end.

    `quiet` prints no line, and leaves only the bar.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Report:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
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

    def say(self, note: str) -> None:
        """A line of its own, about the data."""
        if self._bar is not None:
            self._bar.console.print(note, markup=False, highlight=False)
        elif not self._quiet:
            print(note, flush=True)

    def __call__(self, progress: Progress) -> None:
        line = f"{show(progress)}  {progress.examples_per_second:,.0f} examples/s"
        name = f"epoch {progress.epoch}/{progress.epochs}"
        if self._bar is not None:
            done = (progress.epoch - 1) * progress.steps + progress.step
            total = progress.epochs * progress.steps
            self._bar.update(self._task, description=name, completed=done, total=total, values=line)
        if progress.done and not self._quiet:
            if self._bar is not None:
                self._bar.console.print(f"{name}  {line}", markup=False, highlight=False)
            else:
                print(f"{name}  {line}", flush=True)


def show(progress: Progress) -> str:
    """The values of an epoch on one line: `loss 0.0312  val_accuracy 0.9778`."""
    numbers = {name: value for name, value in progress.values.items() if isinstance(value, float)}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
