"""The progress of a training: values by epoch, speed, reports, and the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphspec.diagnostics import Diagnostic
from graphspec.diagnostics.notebook import table
from graphspec.diagnostics.terminal import entries_for_json
from graphspec.diagnostics.text import plain
from graphspec.train.batch_inspection import SeenTensor
from graphspec.train.meter import Meter, Values

REPORT = 0.1
"""Seconds between two reports of progress within an epoch."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a training. `epoch` and `step` (within the epoch) count from 1.

    `values` are the epoch's at its end, and the running loss before.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    values: Values
    examples_per_second: float
    done: bool = False
    """Whether the epoch is over."""
    seconds_left: float | None = None
    """About how long the rest of the training takes, all of its epochs; None before there is a measure."""
    at_most: bool = False
    """Whether a callback may end the training before."""

    def to_json(self) -> dict[str, Any]:
        """Its numbers; what is not finite is null."""
        numbers = {key: getattr(self, key) for key in ("epoch", "epochs", "step", "steps", "values")}
        rest = {key: getattr(self, key) for key in ("examples_per_second", "seconds_left", "at_most")}
        return entries_for_json({**numbers, **rest})


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a training, new or resumed: `epoch` counts the completed epochs.

    `memory` is about how many bytes a step takes, `examples` are those for training, validation and test,
    `seen` is what a batch of them looks like to the model, `warnings` what is wrong with that.
    """

    name: str
    run_dir: Path
    device: str
    parameters: int
    memory: int
    data: str
    examples: dict[str, int]
    epoch: int
    epochs: int
    resumed: bool
    seen: tuple[SeenTensor, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON; what is not finite is null."""
        return entries_for_json(
            {
                "name": self.name,
                "run_dir": str(self.run_dir),
                "device": self.device,
                "parameters": self.parameters,
                "memory": self.memory,
                "data": self.data,
                "examples": self.examples,
                "epoch": self.epoch,
                "epochs": self.epochs,
                "resumed": self.resumed,
                "seen": [tensor.to_json() for tensor in self.seen],
                "warnings": [warning.to_json() for warning in self.warnings],
            }
        )


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The result of a training.

    `metrics` are the last epoch's, and those of test data, `test_...`, the best epoch's; `history` has each
    of the others for every whole epoch. `best_epoch`, counted from 1, is that of `best.safetensors`.
    """

    run_dir: Path
    epochs: int
    steps: int
    device: str
    metrics: Values
    history: dict[str, list[float | list[float]]]
    seconds: float
    examples_per_second: float
    best_epoch: int | None = None
    synthetic: bool = False
    """Whether it learned from synthetic data."""
    baselines: dict[str, Values] = field(default_factory=dict)
    """The metrics of baselines on the validation data."""

    def __repr__(self) -> str:
        values = ", ".join(
            f"{name} {plain(value)}" for name, value in self.metrics.items() if isinstance(value, float)
        )
        return f"<Result {self.run_dir}: {self.epochs} epochs, {values}>"

    def _repr_html_(self) -> str:
        at = (self.best_epoch or 0) - 1
        best = {name: values[at] for name, values in self.history.items()}
        rows = [(name, value, best.get(name)) for name, value in self.metrics.items()]
        baselines = [
            (f"{name}: {title}", None, value)
            for title, values in self.baselines.items()
            for name, value in values.items()
        ]
        title = f"{self.run_dir}: {self.epochs} epochs"
        return table(title, ("", "last", f"epoch {self.best_epoch or self.epochs}"), [*rows, *baselines])

    def to_json(self) -> dict[str, Any]:
        """The shape of `train --json`; what is not finite is null."""
        return entries_for_json(
            {
                "run_dir": str(self.run_dir),
                "epochs": self.epochs,
                "steps": self.steps,
                "best_epoch": self.best_epoch,
                "device": self.device,
                "metrics": self.metrics,
                "history": self.history,
                "seconds": self.seconds,
                "examples_per_second": self.examples_per_second,
                "synthetic_data": self.synthetic,
                "baselines": self.baselines,
            }
        )


@dataclass(slots=True)
class History:
    """The values of every completed epoch, by name."""

    values: dict[str, list[float | list[float]]] = field(default_factory=dict)

    def add(self, values: Values) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def __len__(self) -> int:
        return max(map(len, self.values.values()), default=0)

    def epochs(self) -> list[dict[str, Any]]:
        """One entry for each epoch, as in `history.jsonl`."""
        return [
            {"epoch": index + 1, **{name: values[index] for name, values in self.values.items()}}
            for index in range(len(self))
        ]

    @property
    def last(self) -> Values:
        """The values of the last epoch; empty before the end of the first."""
        return {name: values[-1] for name, values in self.values.items()}


@dataclass(slots=True)
class Clock:
    """Steady training: the first epoch, which warms up, does not count when there are more."""

    examples: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, examples: int, seconds: float) -> None:
        """Adds the training time of an epoch, without its validation."""
        self.examples.append(examples)
        self.seconds.append(seconds)

    @property
    def rate(self) -> float:
        """Examples per second."""
        first = 1 if len(self.seconds) > 1 else 0
        return sum(self.examples[first:]) / max(sum(self.seconds[first:]), 1e-9)


@dataclass(slots=True)
class Reporter:
    """Calls back with progress, within an epoch not more often than every `REPORT` seconds."""

    callback: Callable[[Progress], None] | None
    waiting: Callable[[str], None]
    epochs: int
    steps: int
    at_most: bool = False
    """Whether a callback may end the training before its last epoch."""
    _step: int = 0
    _started: float = 0.0
    _counted: int = 0
    _reported: float = 0.0
    _made: int = 0
    _measured: float | None = None
    """When the first step was over, which warms up: the others measure the training, with validations."""

    def begin(self, step: int, count: int) -> None:
        """Called when an epoch starts after `step` of its steps, which had `count` examples."""
        self._step, self._counted, self._started = step, count, time.perf_counter()

    def _left(self, epoch: int) -> tuple[float | None, bool]:
        """The seconds that are left in the epoch that counts from 0, and whether that is the most."""
        if self._measured is None or not self._made:
            return None, self.at_most
        rest = self.steps - self._step + self.steps * (self.epochs - epoch - 1)
        return rest * (time.perf_counter() - self._measured) / self._made, self.at_most

    def step(self, epoch: int, meter: Meter, count: int = 1) -> None:
        """Called after so many steps; `epoch` counts from 0."""
        if self.callback is None:
            return
        now = time.perf_counter()
        self._step += count
        if self._measured is None:
            self._measured = now
        else:
            self._made += count
        if now - self._reported >= REPORT:
            self._reported = now
            rate = (meter.count - self._counted) / max(now - self._started, 1e-9)
            values: Values = {"loss": meter.loss()}
            place = epoch + 1, self.epochs, self._step, self.steps
            self.callback(Progress(*place, values, rate, False, *self._left(epoch)))

    def epoch(self, epoch: int, values: Values, clock: Clock, over: bool) -> None:
        """Called after an epoch, with its `values`; `over` where no other follows."""
        if self.callback is not None:
            rate = clock.examples[-1] / max(clock.seconds[-1], 1e-9)
            left = (0.0, False) if over else self._left(epoch)
            self.callback(Progress(epoch + 1, self.epochs, self.steps, self.steps, values, rate, True, *left))
