"""A training as a notebook shows it while it runs: a bar, the numbers of the epoch, and curves."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics.text import plain
from graphspec.view.curves import curves

if TYPE_CHECKING:
    from graphspec.train.progress import Progress

SECONDS = 0.5
"""Between two updates within an epoch, at least."""


def live(name: str) -> Callable[[Progress], None] | None:
    """Shows the progress of a training in the notebook that runs it. Returns None outside of one."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    if getattr(running, "kernel", None) is None:  # a script, or a terminal
        return None
    from importlib import import_module

    shown = import_module("IPython.display")
    return Live(name, shown.HTML, lambda html: shown.display(html, display_id=True))


class Live:
    """One cell of output, replaced as the training goes on."""

    def __init__(self, name: str, html: Callable[[str], Any], display: Callable[[Any], Any]):
        self.name, self.html, self.display = name, html, display
        self.history: dict[str, list[object]] = {}
        self.handle: Any = None
        self.shown = 0.0

    def __call__(self, progress: Progress) -> None:
        """Shows a step or the end of an epoch."""
        if progress.done:
            for name, value in progress.values.items():
                self.history.setdefault(name, []).append(value)
        now = time.monotonic()
        if not progress.done and now - self.shown < SECONDS:
            return
        self.shown = now
        page = self.html(self.page(progress))
        if self.handle is None:
            self.handle = self.display(page)
        else:
            self.handle.update(page)

    def page(self, progress: Progress) -> str:
        """The HTML of a moment; curves are there from the second epoch on."""
        steps = max(1, progress.steps)
        done = (progress.epoch - 1) * steps + (steps if progress.done else progress.step)
        values = "  ".join(f"{n} {plain(v)}" for n, v in progress.values.items() if isinstance(v, float))
        left = progress.seconds_left
        most = "at most " if progress.at_most else ""
        rest = f"  {most}{left:,.0f} s left" if left is not None and left >= 1 else ""
        bar = f'<progress max="{progress.epochs * steps}" value="{done}"></progress>'
        text = escape(f"{self.name}: epoch {progress.epoch}/{progress.epochs}  {values}{rest}")
        picture = (
            curves(self.history, self.name) if max(map(len, self.history.values()), default=0) > 1 else ""
        )
        return f"<div>{bar} <code>{text}</code>{picture}</div>"
