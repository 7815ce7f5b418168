"""When a run is saved: often enough to lose little work, and seldom enough to cost little time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from graphspec.emit.load import read_weights
from graphspec.files.run_files import ADAPTER, ADAPTER_CONFIG, BEST, LAST
from graphspec.train.adapters import peft_config, peft_tensors
from graphspec.train.callbacks.settings import BackupAndRestore
from graphspec.train.callbacks.weights import copied
from graphspec.train.state import Training

SECONDS = 30.0
"""How much work may be lost, in seconds of training."""
SHARE = 0.02
"""How much of a training's time saving may take, where a save takes long."""


class Saver:
    """Writes weights and a checkpoint, by default every `SECONDS`, or as seldom as `SHARE` asks.

    `backup_and_restore` says otherwise: after every epoch, or after so many steps.
    """

    def __init__(self, training: Training, began: float):
        self.training, self.began, self.best = training, began, training.best
        callbacks = training.program.training.callbacks
        backup = next((callback for callback in callbacks if isinstance(callback, BackupAndRestore)), None)
        self.save_freq = backup.save_freq if backup is not None else None
        self.deletes = backup is not None and backup.delete_checkpoint
        self.checkpoints = training.run.checkpoints
        self._due = time.monotonic() + SECONDS
        self._saved = -1, -1

    @property
    def due(self) -> bool:
        """Whether it is time to save, if saves are timed."""
        return self.save_freq is None and time.monotonic() >= self._due

    @property
    def free_steps(self) -> int:
        """The steps until a save that is due by their number."""
        return -self.training.iterations % self.save_freq if isinstance(self.save_freq, int) else sys.maxsize

    def step(self, due: bool) -> None:
        """A step is over; `due` is what the processes agreed on."""
        if self.save_freq is None:
            if due:
                self.save()
        elif self.save_freq != "epoch" and self.training.iterations % self.save_freq == 0:
            self.save()

    def epoch(self, due: bool) -> None:
        """An epoch is over, with its validation."""
        if self.save_freq == "epoch" or due:
            self.save()

    def save(self) -> None:
        """Saves now, unless this state is already saved. Raises `SpecError` (run-directory)."""
        training = self.training
        if self._saved == (training.epoch, training.seen):
            return
        started = time.monotonic()
        self.weights()
        training.run.settle()
        training.save(self.checkpoints, training.seconds + started - self.began)
        self._saved = training.epoch, training.seen
        now = time.monotonic()
        self._due = now + max(SECONDS, (now - started) / SHARE)

    def finish(self) -> None:
        """Called at the end of training: writes the final weights."""
        self.weights()
        self.training.run.finish()
        if self.deletes:
            self.checkpoints.clear()

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 1, whose weights are in `best.safetensors`; None where there are none."""
        written = (self.training.run_dir / BEST).is_file()
        return self.training.world.of_first(self.best.epoch if written else None)

    @contextmanager
    def at_best(self) -> Iterator[None]:
        """The module with the weights of `best.safetensors`, which `evaluate` and `predict` use; unchanged if
        there are none.
        """
        spread = self.training.spread
        if self.best_epoch is None:
            yield
            return
        best = read_weights(self.training.run_dir / BEST, None) if self.training.world.is_first else {}
        before = copied(spread.weights())
        spread.load(best if spread.sharded else self.training.world.of_first(best))
        try:
            yield
        finally:
            spread.load(before)

    def weights(self) -> None:
        """Write the last weights, and the best if an epoch is over."""
        self.training.run.weights(LAST, self.training.weights())
        self.best.write()
        self._adapter()

    def _adapter(self) -> None:
        """Writes the adapters of the best epoch, or the last, as PEFT reads them."""
        training = self.training
        if not (training.program.training.adapters and training.world.is_first):
            return
        file = training.run_dir / BEST
        tensors = read_weights(file if file.is_file() else training.run_dir / LAST, None)
        training.run.weights(ADAPTER, peft_tensors(tensors))
        base = training.run.about.get("weights")
        training.run.text(ADAPTER_CONFIG, peft_config(training.program, base))
