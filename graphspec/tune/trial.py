"""One trial: a `graphspec train` process, whose output is read line by line."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from graphspec.tune.launcher import Child, Launcher, launcher

PATIENCE = 60.0
"""Seconds that a trial has to save and leave after SIGTERM before it is killed."""


@dataclass(frozen=True, slots=True)
class Event:
    """A message of a trial: the values of an epoch (counted from 1), or, without both, that it has ended."""

    trial: int
    epoch: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


class EpochLine(BaseModel):
    """A line of `--progress json`. Code of the user's own may print others."""

    event: Literal["epoch"]
    epoch: Annotated[int, Field(ge=1, lt=2**31)]
    values: dict[str, Any] | None = None


class TrialMistake(BaseModel):
    """The keys that each diagnostic has."""

    code: str
    message: str


class TrialResult(BaseModel):
    """The output of `train --json`."""

    metrics: dict[str, Any] = {}
    diagnostics: list[TrialMistake] = []

    @classmethod
    def read(cls, text: str) -> TrialResult:
        """The document of a text; empty where it is another."""
        try:
            return cls.model_validate_json(text, strict=True)
        except ValidationError:
            return cls()


@dataclass(frozen=True, slots=True)
class Command:
    """How trials are trained: `spec`, the `graphspec train` options that all trials share, how many cores
    each has, and the `modules` that the command imports.
    """

    spec: Path
    options: tuple[str, ...]
    cores: int
    modules: tuple[str, ...] = ()

    def arguments(self, values: Mapping[str, Any], run_dir: Path) -> list[str]:
        """The arguments for Python, to train with these values."""
        settings = [text for key, value in values.items() for text in ("--set", f"{key}={json.dumps(value)}")]
        return [
            *("-m", "graphspec", "train", str(self.spec)),
            *settings,
            *self.options,
            *("--run-dir", str(run_dir), "--force", "--json", "--progress", "json"),
        ]

    def launcher(self) -> Launcher:
        """Starts its processes."""
        return launcher(self.spec, self.cores, self.modules)


class Process:
    """A running trial. Its events go to `events`; the last one says that it has ended.

    `code` is then the exit code, negative for a signal, or None if that got lost.
    """

    code: int | None

    def __init__(self, number: int, child: Child, events: queue.Queue[Event]):
        self.number, self.code = number, None
        self._child, self._events = child, events
        self._output: list[str] = []
        self._errors: list[str] = []
        self._stopped_at: float | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Turns lines of progress into events, and keeps the others for `reason`."""
        with self._child.output as output, self._child.errors as errors:
            drain = threading.Thread(target=lambda: self._output.extend(output), daemon=True)
            drain.start()
            for line in errors:
                event = _progress(self.number, line)
                if event is not None:
                    self._events.put(event)
                else:
                    self._errors.append(line.rstrip())
            drain.join()
        self.code = self._child.wait()
        self._events.put(Event(self.number))

    def stop(self) -> None:
        """Asks the trial to save and exit; kills it if it does not."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._signal(signal.SIGTERM)
        elif time.monotonic() - self._stopped_at > PATIENCE:
            self._signal(signal.SIGKILL)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return  # it has ended, and its last event says so

    @property
    def stopped(self) -> bool:
        """Whether it was asked to exit."""
        return self._stopped_at is not None

    def result(self) -> TrialResult:
        """The JSON document that `train --json` printed; empty if it did not get that far."""
        return TrialResult.read("".join(self._output))

    def reason(self) -> str:
        """The reason why the trial failed, in one line."""
        for first in self.result().diagnostics:
            return f"{first.code}: {first.message}"
        code = self.code
        if code is None:
            return "its exit code got lost: the process that started it was ended"
        if code < 0:
            name = signal.Signals(-code).name
            hint = ": the system may have run out of memory" if -code == signal.SIGKILL else ""
            return f"the process was ended by {name}{hint}"
        last = next((line for line in reversed(self._errors) if line.strip()), "it printed nothing")
        return f"exit code {code}: {last.strip()}"


def _progress(trial: int, line: str) -> Event | None:
    """The event of a line of `--progress json`; None for any other line."""
    try:
        told = EpochLine.model_validate_json(line, strict=True)
    except ValidationError:
        return None
    return Event(trial, told.epoch, told.values or {})
