"""The section `train.callbacks`. `callbacks/settings.py` has the callbacks, and is imported when one is
named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from graphspec.diagnostics import become, did_you_mean
from graphspec.objectives.history import Direction
from graphspec.settings import Problem, Problems, show, unfit
from graphspec.settings.families import Family, Members, Named


class CallbackSettings(Named):
    """The settings of a callback. In a spec its name is its key."""

    made_by: ClassVar[str] = ""
    """The class that runs it, as `file:class` of `graphspec.train.callbacks`; "" where the loop does it."""
    steers: ClassVar[bool] = False
    """Whether it changes the course of a training, or needs its weights: then every process has it."""
    ends: ClassVar[bool] = False
    """Whether it may end a training before its last epoch."""
    sets_rate: ClassVar[bool] = False
    """Whether it sets the learning rate, which then is among the values of an epoch, as in Keras."""

    @property
    def monitored(self) -> str | None:
        """The value that it monitors."""
        return None

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Where it writes to outside of the working directory, each with the setting that says so."""
        yield from ()

    def misfits(self, config: Any, directions: Mapping[str, Direction]) -> Iterator[Problem]:
        """Problems of it in a `train:` section, given the values of an epoch; paths are its own."""
        yield from ()


CALLBACKS = Family(
    "callback",
    Members(CallbackSettings, "graphspec.train.callbacks"),
    {
        "backup": "backup_and_restore",
        "checkpoint": "model_checkpoint",
        "reduce_lr": "reduce_lr_on_plateau",
        "lr_scheduler": "learning_rate_scheduler",
        "wandb_metrics_logger": "wandb",
        "WandbMetricsLogger": "wandb",
        "ema": "swap_ema_weights",
    },
    "unknown-callback",
)


def _by_name(item: dict[str, Any] | str) -> dict[str, Any]:
    """An item of a list as an entry: `{name: early_stopping, patience: 3}`, or a name alone."""
    if isinstance(item, str):
        return {item: {}}
    key = next((key for key in ("name", "type", "class_name") if isinstance(item.get(key), str)), None)
    return item if key is None else {item[key]: {word: item[word] for word in item if word != key}}


def parse_callbacks(value: object) -> tuple[CallbackSettings, ...]:
    """The `callbacks` of `train`: a mapping from names to arguments. Raises `SettingError`."""
    if not isinstance(value, dict):
        help = "write {early_stopping: {patience: 3}, csv_logger: {}}"
        items = value if isinstance(value, list) else [value]
        named = [_by_name(item) for item in items if isinstance(item, dict | str)]
        if named and len(named) == len(items) and all(isinstance(key, str) for each in named for key in each):
            written = {CALLBACKS.called(key): inner for each in named for key, inner in each.items()}
            help = become(written, f"write {show(written)}")
        raise unfit("wrong-type", f"`callbacks` is a mapping of callbacks, not {show(value)}", help)
    callbacks, problems = dict[str, CallbackSettings](), Problems()
    for key, arguments in value.items():
        with problems.under(key):
            callback = _read(key, arguments)
            known = callbacks.setdefault(callback.canonical, callback)
            if known is not callback:
                raise unfit("duplicate-name", f"`{key}` is `{known.name}` again", "keep one of them")
    problems.raise_any()
    return tuple(callbacks.values())


def _read(key: str, arguments: object) -> CallbackSettings:
    if key not in CALLBACKS.members:
        raise unfit(CALLBACKS.unknown, f"unknown callback `{key}`", CALLBACKS.suggest(key))
    if not isinstance(arguments, dict):
        waits = type(arguments) is int and "patience" in CALLBACKS.members[key].model_fields
        help = f"write `{key}: {{patience: {arguments}}}`" if waits else ""
        help = help or f"write `{key}: {{}}` where it needs no arguments"
        raise unfit("wrong-type", f"`{key}` takes its arguments, not {show(arguments)}", help)
    if "name" in arguments:
        raise unfit("unknown-key", f"callback `{key}` has no `name`: its key is its name", None, "name")
    callback: CallbackSettings = CALLBACKS.read({"name": key, **arguments})
    return callback


def misfits(config: Any, directions: Mapping[str, Direction]) -> Iterator[Problem]:
    """The errors in the callbacks of a `train:` section, given the values of an epoch and the better
    direction of each; paths begin below `train`.
    """
    for callback in config.callbacks:
        monitor = callback.monitored
        if monitor is not None and monitor not in directions:
            yield _unknown_monitor(callback, monitor, directions)
        for problem in callback.misfits(config, directions):
            yield replace(problem, path=("callbacks", callback.name, *problem.path))


def _unknown_monitor(callback: CallbackSettings, monitor: str, names: Iterable[str]) -> Problem:
    names = list(names)
    path = ("callbacks", callback.name, *(["monitor"] if "monitor" in callback.model_fields_set else []))
    monitored = re.sub("^(validation|valid|test|eval)_", "val_", monitor)
    if monitored.removeprefix("val_") in names and not any(name.startswith("val_") for name in names):
        message = f"`{callback.name}` watches `{monitor}`, but no data are held out for validation"
        help = f"write data: {{validation: {{split: 0.1}}}}, or monitor: {monitored.removeprefix('val_')}"
        return Problem("unknown-monitor", message, help, path)
    help = did_you_mean(monitored, names, f"values of an epoch: {', '.join(names)}")
    message = f"`{callback.name}` watches `{monitor}`, which an epoch does not have"
    return Problem("unknown-monitor", message, help, path)
