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

    def __init__(self, config: settings.ReduceLROnPlateau, down: bool):
        self.config, self.down = config, down
        self.best: float | None = None
        self.wait = self.cooldown = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        config, value = self.config, logs[self.config.monitor]
        if self.cooldown:
            self.cooldown -= 1
            self.wait = 0
        if improves(value, self.best, self.down, config.min_delta):
            self.best, self.wait = value, 0
        elif not self.cooldown:
            self.wait += 1
            if self.wait >= config.patience:
                self._reduce()

    def _reduce(self) -> None:
        config, before = self.config, self.model.optimizer.learning_rate
        if before <= config.min_lr:
            return
        self.model.optimizer.learning_rate = max(before * config.factor, config.min_lr)
        self.cooldown, self.wait = config.cooldown, 0
        if config.verbose:
            self.model.tell(f"learning rate {plain(before)} -> {plain(self.model.optimizer.learning_rate)}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooldown": self.cooldown}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = number_or_none(state["best"])
        self.wait, self.cooldown = state["wait"], state["cooldown"]


class LearningRateSchedulerCallback(Callback):
    """Sets the learning rate at the start of each epoch."""

    def __init__(self, config: settings.LearningRateScheduler):
        self.config = config

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        try:
            optimizer.learning_rate = self.config.rate(epoch, optimizer.learning_rate)
        except ValueError as error:
            help = "write one that is a rate in every epoch, such as `max(lr - 0.01, 0.001)`, or train fewer"
            raise fail("out-of-range", str(error), help) from None
        if self.config.verbose:
            self.model.tell(f"epoch {epoch + 1}: learning rate {plain(optimizer.learning_rate)}")
