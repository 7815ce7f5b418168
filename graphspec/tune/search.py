"""The search loop: proposes, trains and evaluates trials, and keeps the best."""

from __future__ import annotations

import math
import queue
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import Trial

from graphspec.files.folder import Folder
from graphspec.files.owners import silence
from graphspec.files.run_folder import RunFolder
from graphspec.tune.launcher import Launcher
from graphspec.tune.study import Finished, Study
from graphspec.tune.trial import Command, Event, Process

NUMBER = re.compile(r"[0-9]{4,}")
"""The name of a trial's directory."""
ALIKE = 3
"""So many first trials that fail for the same reason end a search: what is wrong is not what varies."""
POLL = 0.5
"""Seconds between two looks at what has not spoken."""


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of a search: its trials, the last epoch of each running one, and the total number."""

    trials: list[Finished]
    best: list[Finished]
    running: Mapping[int, int]
    limit: int
    seconds: float


@dataclass(slots=True)
class Running:
    """A trial that is being trained."""

    trial: Trial
    process: Process
    epoch: int = 0
    value: float | None = None
    pruned: bool = False


@dataclass(slots=True)
class Search:
    """Trains the trials of a study, `jobs` at the same time, each in its own directory in `folder`.

    It keeps the weights of the best `keep` trials, and deletes those of the others when they end.
    """

    study: Study
    command: Command
    folder: Path
    jobs: int = 1
    keep: int = 1
    progress: Callable[[Status], None] | None = None
    _running: dict[int, Running] = field(default_factory=dict)
    _reasons: list[str | None] = field(default_factory=list)
    """Of each trial that has ended in this search: why it failed, or None."""
    _events: queue.Queue[Event] = field(default_factory=queue.Queue)
    _launcher: Launcher = field(init=False)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._launcher = self.command.launcher()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Runs until there are enough trials, or `stopping()` is true; running trials then do not count."""
        self.study.close_lost(lambda number: silence(self.run_dir(number)))
        try:
            while self._fill(stopping() or self.common_failure is not None):
                self._handle()
                if stopping():
                    for running in self._running.values():
                        running.process.stop()
        finally:
            for running in self._running.values():
                running.process.kill()
                self.study.give_up(running.trial)
            self._launcher.close()

    @property
    def common_failure(self) -> str | None:
        """The reason why all trials failed, once there are `ALIKE` of them."""
        reasons = set(self._reasons)
        return self._reasons[0] if len(self._reasons) >= ALIKE and len(reasons) == 1 else None

    def _fill(self, stopping: bool) -> bool:
        """Starts as many trials as there are free slots. Returns whether any trial is running."""
        while not stopping and len(self._running) < self.jobs:
            trial = self.study.ask()
            if trial is None:
                break
            place = self.run_dir(trial.number)
            arguments = self.command.arguments(self.study.values(trial), place)
            process = Process(trial.number, self._launcher.start(arguments), self._events)
            self._running[trial.number] = Running(trial, process)
            self._report()
        return bool(self._running)

    def _handle(self) -> None:
        """Handles one event, if there is one within `POLL` seconds."""
        try:
            event = self._events.get(timeout=POLL)
        except queue.Empty:
            for running in self._running.values():
                if running.pruned:
                    running.process.stop()  # again: after a while it is killed
            return
        running = self._running[event.trial]
        if event.epoch is None:
            del self._running[event.trial]
            self._end(running)
        elif not running.pruned:
            self._epoch(running, event)
        self._report()

    def _epoch(self, running: Running, event: Event) -> None:
        value = event.values.get(self.study.config.objective)
        running.epoch = event.epoch or 0
        if not isinstance(value, int | float) or not math.isfinite(value):
            return  # the trial stops on its own if its loss is not finite
        running.value = value
        if self.study.report(running.trial, running.epoch, value):
            running.pruned = True
            running.process.stop()

    def _end(self, running: Running) -> None:
        """Records the end of a process: the trial is complete, pruned, failed, or was only interrupted."""
        process, code = running.process, running.process.code
        reason = None
        if code == 0:
            value = process.result().metrics.get(self.study.config.objective)
            if isinstance(value, int | float) and math.isfinite(value):
                self.study.complete(running.trial, float(value))
            else:
                reason = f"`{self.study.config.objective}` came to {value}"
        elif running.pruned:
            self.study.prune(running.trial)
        elif process.stopped or code in (130, 143):
            self.study.give_up(running.trial)
        else:
            reason = process.reason()
        if reason is not None:
            self.study.fail(running.trial, reason)
        self._reasons.append(reason)
        self._clean()

    def _clean(self) -> None:
        """Deletes the weights of each trial that is not among the best, and which no search is running."""
        with self.alone():
            kept = {trial.number for trial in self.study.ranking()[: self.keep]}
            kept |= self.study.running() | self._running.keys()
            for entry in sorted(self.folder.iterdir()):
                if NUMBER.fullmatch(entry.name) and not entry.is_symlink() and int(entry.name) not in kept:
                    RunFolder(entry).clear_weights()

    def alone(self) -> AbstractContextManager[None]:
        """Where no other search deletes or copies weights of trials. Raises `SpecError` (run-directory)."""
        return Folder(self.folder).alone()

    def run_dir(self, number: int) -> Path:
        """The directory of a trial's run."""
        return self.folder / f"{number:04d}"

    def status(self) -> Status:
        trials = self.study.finished()
        epochs = {number: running.epoch for number, running in self._running.items()}
        seconds = time.monotonic() - self._began
        return Status(trials, self.study.ranking(), epochs, self.study.limit, seconds)

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(self.status())
