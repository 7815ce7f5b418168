"""From the settings of callbacks to callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphspec.objectives.history import Direction
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callbacks
from graphspec.train.callbacks.logs import CSVLoggerCallback
from graphspec.train.callbacks.rates import LearningRateSchedulerCallback, ReduceLROnPlateauCallback
from graphspec.train.callbacks.weights import (
    BestWeights,
    EarlyStoppingCallback,
    ModelCheckpointCallback,
    SwapEMAWeightsCallback,
)
from graphspec.train.config.callbacks import CallbackSettings

STEERING = (
    settings.EarlyStopping,
    settings.ModelCheckpoint,
    settings.ReduceLROnPlateau,
    settings.LearningRateScheduler,
    settings.SwapEMAWeights,
)
"""What changes the course of a training, or needs its weights: every process has them."""


def build(
    given: Iterable[CallbackSettings],
    own: Iterable[Any],
    directions: Mapping[str, Direction],
    first: bool = True,
) -> tuple[Callbacks, BestWeights]:
    """The callbacks of a spec in the order in which they are written, then one's own; and what keeps the best
    weights, which comes last. Only the first process has those that write, and one's own.
    """
    if not first:
        given, own = [callback for callback in given if isinstance(callback, STEERING)], []
    best: BestWeights | None = None
    found: list[tuple[str, Any]] = []
    for callback in given:
        if isinstance(callback, settings.ModelCheckpoint) and callback.keeps_the_best:
            best = BestWeights(callback.monitor, callback.down(directions), callback.initial_value_threshold)
        else:
            found += [(callback.canonical, made) for made in _made(callback, directions)]
    found += [(f"{type(item).__name__}.{index}", item) for index, item in enumerate(own)]
    best = best or BestWeights("val_loss" if "val_loss" in directions else "loss")
    return Callbacks([*found, ("best", best)]), best


def _made(callback: CallbackSettings, directions: Mapping[str, Direction]) -> Iterable[Any]:
    match callback:
        case settings.EarlyStopping():
            yield EarlyStoppingCallback(callback, callback.down(directions))
        case settings.ModelCheckpoint():
            yield ModelCheckpointCallback(callback, callback.down(directions))
        case settings.ReduceLROnPlateau():
            yield ReduceLROnPlateauCallback(callback, callback.down(directions))
        case settings.LearningRateScheduler():
            yield LearningRateSchedulerCallback(callback)
        case settings.CSVLogger():
            yield CSVLoggerCallback(callback)
        case settings.SwapEMAWeights():
            yield SwapEMAWeightsCallback(callback)
        case settings.TensorBoard():
            from graphspec.train.callbacks.tensorboard import TensorBoardCallback

            yield TensorBoardCallback(callback)
        case settings.MLflow():
            from graphspec.train.callbacks.trackers import MLflowCallback

            yield MLflowCallback(callback)
        case settings.WandB():
            from graphspec.train.callbacks.trackers import WandBCallback

            yield WandBCallback(callback)
