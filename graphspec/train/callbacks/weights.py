"""Callbacks that keep weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graphspec.train.callbacks.base import Callback
from graphspec.train.files import untied
from graphspec.train.run import BEST


class BestWeights(Callback):
    """Holds on to the weights of the best epoch; `write` writes them.

    `down` says that less is better.
    """

    def __init__(self, monitor: str, down: bool = True, threshold: float | None = None):
        self.monitor, self.down = monitor, down
        self.best = threshold
        self.weights: dict[str, Tensor] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = logs.get(self.monitor)
        if isinstance(value, float) and improves(value, self.best, self.down):
            self.best = value
            self.weights = copied(self.model.module.state_dict())

    def write(self) -> None:
        """Write what was not yet written."""
        if self.weights:
            self.model.run.weights(BEST, self.weights)
            self.weights = {}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]


def improves(value: float, best: float | None, down: bool, delta: float = 0.0) -> bool:
    """Whether a value is better than the best so far by more than `delta`; NaN never is."""
    if best is None:
        return not math.isnan(value)
    return value + delta < best if down else value - delta > best


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict as they are now, each once, in the memory of the CPU."""
    return {name: tensor.clone() for name, tensor in untied(state)[0].items()}
