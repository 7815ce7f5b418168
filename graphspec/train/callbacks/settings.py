"""What `train.callbacks` may say: Keras' callbacks, with its names, arguments and defaults. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from graphspec.objectives.settings import Named, Problem, SettingError, family, leaves, show

SaveFrequency = Literal["epoch"] | Annotated[int, Field(ge=1)]


class Callback(Named):
    """Something that happens during a training. In a spec its name is its key."""


class BackupAndRestore(Callback):
    """How often a checkpoint is saved, from which `--resume` goes on: every epoch, or every so many steps.

    Without this callback it is saved by time. `delete_checkpoint` removes it when the training has ended;
    Keras' default is true, and then a run cannot be given more epochs.
    """

    name: Literal["backup_and_restore", "BackupAndRestore"] = "backup_and_restore"
    save_freq: SaveFrequency = "epoch"
    delete_checkpoint: bool = False


CALLBACKS = family("callback", leaves(Callback), {"backup": "backup_and_restore"}, "unknown-callback")


def parse_callbacks(value: object) -> tuple[Callback, ...]:
    """The `callbacks` of `train`: a mapping from names to arguments. Raises `SettingError`."""
    if not isinstance(value, dict):
        help = "write {early_stopping: {patience: 3}, csv_logger: {}}"
        raise SettingError(
            Problem("wrong-type", f"`callbacks` is a mapping of callbacks, not {show(value)}", help)
        )
    found, problems = [], list[Problem]()
    for key, arguments in value.items():
        try:
            found.append(_read(key, arguments))
        except SettingError as error:
            problems += error.under(key).problems
    if problems:
        raise SettingError(*problems)
    return tuple(found)


def _read(key: str, arguments: object) -> Callback:
    if key not in CALLBACKS.members:
        raise SettingError(Problem(CALLBACKS.unknown, f"unknown callback `{key}`", CALLBACKS.suggest(key)))
    if not isinstance(arguments, dict):
        help = f"write `{key}: {{}}` where it needs no arguments"
        raise SettingError(Problem("wrong-type", f"`{key}` takes its arguments, not {show(arguments)}", help))
    if "name" in arguments:
        raise SettingError(
            Problem("unknown-key", f"callback `{key}` has no `name`: it is the key", None, ("name",))
        )
    callback: Callback = CALLBACKS.read({"name": key, **arguments})
    return callback
