"""How a program is trained, besides the settings of its `train:`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphspec.data.in_memory_source import Given
from graphspec.data.remote import is_remote, shown
from graphspec.diagnostics import fail
from graphspec.diagnostics.arguments import need
from graphspec.train.batch_size import Auto
from graphspec.train.callbacks.base import METHODS
from graphspec.train.compiled import Way
from graphspec.train.progress import Progress, Start
from graphspec.weights import no_file


def _nobody(line: str) -> None:
    """Discards a report."""


def _silent() -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The arguments of a training."""

    data: Path | Given | None = None
    """Replaces the training data of the spec."""
    root: Path | None = None
    """The directory that the paths in the spec's `data:` are relative to; by default the working directory.
    """
    weights: Path | None = None
    """A `.safetensors` file with all weights of the module, which a new run starts from."""
    device: str = "auto"
    run_dir: Path | None = None
    """A new directory, or that of a run to go on with or to replace; without it `runs/<name>-<n>`."""
    resume: bool = False
    """Goes on exactly where the run of `run_dir`, or the newest one of the spec's name, was last saved, and
    begins one where there is none.
    """
    overwrite: bool = False
    """Replaces the run of `run_dir`."""
    limit: int | None = None
    """How many examples of each file are read."""
    epochs: int | None = None
    """Replaces the spec's number of epochs."""
    callbacks: Iterable[Any] = ()
    """Objects with methods of `Callback`."""
    compile: Way = "off"
    """Whether torch.compile is used; `auto` where the steps ahead repay it."""
    batch_size: Auto | None = None
    """`auto` takes the largest that fits in memory, or that of the run that goes on."""
    baselines: bool = False
    """Whether the result tells what is reached on the validation data without the model."""
    started: Callable[[Start], None] | None = None
    """Called before the first step."""
    progress: Callable[[Progress], None] | None = None
    """Called at most every tenth of a second, and at the end of each epoch."""
    waiting: Callable[[str], None] = _nobody
    """Called with what is next and may take long: reading the data, the first step, validation."""
    stopping: Callable[[], None] = _silent
    """Called at once when a signal asks the training to stop, in the handler of the signal."""
    tell: Callable[[str], None] = print
    """Called with what is to be said aloud."""

    def checked(self) -> TrainOptions:
        """The same, with its callbacks as a tuple. Raises `SpecError` for what no training can have."""
        need(epochs=self.epochs, limit=self.limit, callbacks=self.callbacks)
        callbacks = tuple(self.callbacks)
        for item in callbacks:
            _check_callback(item)
        if self.weights is not None and self.resume:
            message = f"a run that goes on has weights of its own, and `{self.weights}` would replace them"
            raise fail("resume-failed", message, "leave `resume` out: a new run starts from these weights")
        if self.weights is not None and not self.weights.is_file():
            raise no_file(self.weights)
        return replace(self, callbacks=callbacks)

    def silent(self) -> TrainOptions:
        """The same for a process that reports nothing."""
        return replace(self, started=None, progress=None, waiting=_nobody, stopping=_silent, tell=_nobody)

    def compared(self, device: str) -> dict[str, Any]:
        """The options that all processes must have alike."""
        alike = {name: getattr(self, name) for name in ("limit", "epochs", "batch_size", "compile")}
        alike |= {"data": self.data is not None, "weights": self.weights is not None, "device": device}
        return alike | {"resume": self.resume, "overwrite": self.overwrite}

    def origin(self, weights: Path | None, synthetic: bool) -> dict[str, Any]:
        """The origin of a run's data and of its first weights, for its record."""
        named = None
        if isinstance(self.data, Path):
            named = shown(self.data) if is_remote(self.data) else str(self.data.resolve())
        first = str(weights.resolve()) if weights is not None else None
        root = str((self.root or Path()).resolve())
        return {"root": root, "data": named, "weights": first, "synthetic": synthetic}


def _check_callback(item: Any) -> None:
    """Raises `SpecError` (callback-misfit) for what is no callback."""
    if isinstance(item, type):
        message = f"the callback `{item.__name__}` is a class"
        raise fail("callback-misfit", message, f"give an instance: `{item.__name__}()`")
    if not any(hasattr(item, method) for method in METHODS):
        message = f"`{type(item).__name__}` has none of the methods of a callback"
        raise fail("callback-misfit", message, f"it has some of: {', '.join(METHODS)}")
