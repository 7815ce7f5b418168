"""From the settings of callbacks to callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from graphspec.objectives.history import Direction
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callbacks
from graphspec.train.callbacks.weights import BestWeights
from graphspec.train.config.callbacks import CallbackSettings


def build(
    settings_of_spec: Iterable[CallbackSettings],
    custom: Iterable[Any],
    directions: Mapping[str, Direction],
    is_first: bool = True,
) -> tuple[Callbacks, BestWeights]:
    """The callbacks of a spec in its order, then those of the caller; last the one that keeps the best
    weights. Only the first process has the caller's, and those that write.
    """
    settings_of_spec = list(settings_of_spec)
    shares = {
        each.monitor: each.first_gain for each in settings_of_spec if isinstance(each, settings.EarlyStopping)
    }
    if not is_first:
        settings_of_spec, custom = [callback for callback in settings_of_spec if callback.steers], []
    best: BestWeights | None = None
    callbacks: list[tuple[str, Any]] = []
    for callback in settings_of_spec:
        if isinstance(callback, settings.ModelCheckpoint) and callback.keeps_the_best:
            threshold, share = callback.initial_value_threshold, shares.get(callback.monitor, 0.0)
            best = BestWeights(callback.monitor, callback.down(directions), threshold, share)
        elif callback.made_by:
            callbacks.append((callback.canonical, _callback(callback, directions)))
    callbacks += [(f"{type(item).__name__}.{index}", item) for index, item in enumerate(custom)]
    loss = "val_loss" if "val_loss" in directions else "loss"
    best = best or BestWeights(loss, first_gain=shares.get(loss, 0.0))
    return Callbacks([*callbacks, ("best", best)]), best


def _callback(callback: CallbackSettings, directions: Mapping[str, Direction]) -> Any:
    """The callback of these settings. One that monitors a value is told whether lower is better."""
    file, name = callback.made_by.split(":")
    cls = getattr(import_module(f"graphspec.train.callbacks.{file}"), name)
    if isinstance(callback, settings.Monitor):
        return cls(callback, callback.down(directions))
    return cls(callback)
