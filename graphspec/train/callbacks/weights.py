"""Callbacks that save, evaluate and restore weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graphspec.diagnostics.text import plain
from graphspec.files.run_files import BEST
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callback
from graphspec.train.files import untied
from graphspec.train.stored import number_or_none


class BestWeights(Callback):
    """Keeps the weights of the best epoch, as they were evaluated; `write` writes them."""

    def __init__(
        self, monitor: str, down: bool = True, threshold: float | None = None, first_gain: float = 0.0
    ):
        self.monitor, self.down, self.first_gain = monitor, down, first_gain
        self.best = threshold
        self.first: float | None = None
        self.epoch: int | None = None
        """The best epoch, counted from 1; None before the first that counts."""
        self.weights: dict[str, Tensor] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = logs.get(self.monitor)
        if isinstance(value, float) and improves(value, self.best, self.down):
            self.best = value
            if not gains(value, self.first, self.down, self.first_gain):
                return
            self.epoch, self.first = epoch + 1, value if self.first is None else self.first
            with self.model.as_evaluated():
                self.weights = copied(self.model.weights())

    def write(self) -> None:
        """Write what was not yet written, and into the record of the run which epoch that is."""
        if self.weights:
            self.model.run.weights(BEST, self.weights)
            self.weights = {}
        self.model.run.note(best_epoch=self.epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch, "first": self.first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.epoch = number_or_none(state["best"]), state.get("epoch")
        self.first = number_or_none(state.get("first"))


class EarlyStoppingCallback(Callback):
    """Keras': the first epoch that does not improve counts, and `patience` of them end the training."""

    def __init__(self, config: settings.EarlyStopping, down: bool):
        self.config, self.down = config, down
        self.best: float | None = None
        self.first: float | None = None
        self.best_epoch = self.wait = 0
        self.kept = False
        """Whether there are weights to restore; where they are sharded, the first process has them."""
        self.weights: dict[str, Tensor] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        config, value = self.config, logs[self.config.monitor]
        if epoch < config.start_from_epoch:
            return
        if config.restore_best_weights and not self.kept:
            self._keep(epoch)
        self.wait += 1
        if improves(value, self.best, self.down, config.min_delta):
            self.best = value
            if gains(value, self.first, self.down, config.first_gain):
                self.first = value if self.first is None else self.first
                self._keep(epoch)
            if config.baseline is None or improves(value, config.baseline, self.down, config.min_delta):
                self.wait = 0
            return
        if self.wait >= config.patience and epoch > 0:
            self.model.stop_training = True
            best = f"{plain(self.best)} in epoch {self.best_epoch + 1}" if self.best is not None else "none"
            if self.best is not None and not gains(self.best, self.first, self.down, config.first_gain):
                best = f"{plain(self.best)}: no gain of {config.first_gain:.0%}, so the first epoch counts"
            self.model.tell(f"early stopping: `{config.monitor}` does not improve; the best was {best}")

    def on_train_end(self, logs: Any = None) -> None:
        if self.kept:
            self.model.spread.load(self.weights)
            if self.config.verbose:
                self.model.tell(f"the weights are those of epoch {self.best_epoch + 1}")

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.config.restore_best_weights:
            self.kept = True
            with self.model.as_evaluated():
                self.weights = copied(self.model.weights())

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "first", "best_epoch", "wait", "kept")
        numbers: dict[str, Any] = {name: getattr(self, name) for name in names}
        return numbers | {f"weights/{name}": tensor for name, tensor in self.weights.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.first = number_or_none(state["best"]), number_or_none(state.get("first"))
        self.best_epoch, self.wait = state["best_epoch"], state["wait"]
        start = "weights/"
        self.weights = {
            name.removeprefix(start): value for name, value in state.items() if name.startswith(start)
        }
        self.kept = state.get("kept", bool(self.weights))
        if self.weights and not self.model.spread.sharded:
            now = untied(self.model.module.state_dict())[0]
            if _shapes(now) != _shapes(self.weights):
                raise ValueError("the weights of the best epoch are not those of the model")


class ModelCheckpointCallback(Callback):
    """Writes weights at once, under a name of their own."""

    def __init__(self, config: settings.ModelCheckpoint, down: bool):
        self.config, self.down = config, down
        self.best = config.initial_value_threshold
        self.batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.config.save_freq != "epoch":
            self.batches += 1
            if self.batches % self.config.save_freq == 0:
                self._write({"epoch": self.model.epoch + 1, "batch": batch + 1, **logs})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.config.save_freq != "epoch":
            return
        if self.config.save_best_only:
            value = logs[self.config.monitor]
            if not improves(value, self.best, self.down):
                return
            self.best = value
        self._write({**logs, "epoch": epoch + 1})

    def _write(self, values: Mapping[str, Any]) -> None:
        name = self.model.run.claim(self.config.path(values))
        with self.model.as_evaluated():
            self.model.run.weights(name, self.model.weights())
        if self.config.verbose:
            self.model.tell(f"wrote {self.model.run_dir / name}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.batches = number_or_none(state["best"]), state["batches"]


class SwapEMAWeightsCallback(Callback):
    """Puts the averaged weights into the model while it is evaluated."""

    def __init__(self, config: settings.SwapEMAWeights):
        self.config = config

    def on_train_begin(self, logs: Any = None) -> None:
        self.model.evaluates_averages = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.use_averages(False)

    def on_test_begin(self, logs: Any = None) -> None:
        self.model.use_averages(True)

    def on_test_end(self, logs: Any = None) -> None:
        self.model.use_averages(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.use_averages(self.config.swap_on_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"averaged": self.model.averaged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.averaged = state["averaged"]


def improves(value: Any, best: float | None, down: bool, delta: float = 0.0) -> bool:
    """Whether a value is better than the best so far by more than `delta`; NaN and lists never are."""
    if not isinstance(value, float) or math.isnan(value):
        return False
    if best is None:
        return True
    return value + delta < best if down else value - delta > best


def gains(value: float, first: float | None, down: bool, share: float) -> bool:
    """Whether the best value so far is the first, or better than that by more than a share of it."""
    return not share or first is None or value == first or improves(value, first, down, share * abs(first))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict as they are now, each once, in the memory of the CPU."""
    return {name: tensor.clone() for name, tensor in untied(state)[0].items()}
