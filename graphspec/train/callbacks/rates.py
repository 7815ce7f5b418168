"""Callbacks that set the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.diagnostics import fail
from graphspec.diagnostics.text import plain
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callback
from graphspec.train.callbacks.weights import improves
from graphspec.train.stored import number_or_none


class ReduceLROnPlateauCallback(Callback):
    """Keras': after `patience` epochs without improvement, and then not for `cooldown` epochs."""

    def __init__(self, given: settings.ReduceLROnPlateau, down: bool):
        self.given, self.down = given, down
        self.best: float | None = None
        self.wait = self.cooldown = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        given, value = self.given, logs[self.given.monitor]
        if self.cooldown:
            self.cooldown -= 1
            self.wait = 0
        if improves(value, self.best, self.down, given.min_delta):
            self.best, self.wait = value, 0
        elif not self.cooldown:
            self.wait += 1
            if self.wait >= given.patience:
                self._reduce()

    def _reduce(self) -> None:
        given, before = self.given, self.model.optimizer.learning_rate
        if before <= given.min_lr:
            return
        self.model.optimizer.learning_rate = max(before * given.factor, given.min_lr)
        self.cooldown, self.wait = given.cooldown, 0
        if given.verbose:
            self.model.tell(f"learning rate {plain(before)} -> {plain(self.model.optimizer.learning_rate)}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooldown": self.cooldown}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = number_or_none(state["best"])
        self.wait, self.cooldown = state["wait"], state["cooldown"]


class LearningRateSchedulerCallback(Callback):
    """Sets the learning rate at the start of each epoch."""

    def __init__(self, given: settings.LearningRateScheduler):
        self.given = given

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        try:
            optimizer.learning_rate = self.given.rate(epoch, optimizer.learning_rate)
        except ValueError as error:
            help = "write one that is a rate in every epoch, such as `max(lr - 0.01, 0.001)`, or train fewer"
            raise fail("out-of-range", str(error), help) from None
        if self.given.verbose:
            self.model.tell(f"epoch {epoch + 1}: learning rate {plain(optimizer.learning_rate)}")
