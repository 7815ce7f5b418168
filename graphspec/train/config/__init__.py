"""What `train:` in a spec may say: Keras' optimizers, with its names and defaults, and the run's settings.

Nothing here imports torch; what the optimizers compute is in `graphspec.train.optimizers`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from graphspec.objectives.settings import Problem, Setting, SettingError, show, validate
from graphspec.train.callbacks.settings import Callback, parse_callbacks
from graphspec.train.config.optimizers import OPTIMIZERS, Optimizer, RMSprop

__all__ = ["OPTIMIZERS", "Optimizer", "TrainConfig", "parse_train"]

LATER = {
    "schedule": "give `optimizer` one `learning_rate`",
    "parameter_groups": "one `optimizer` serves all weights",
}
"""Keys of the language that this version does not read, and what to do instead."""


class TrainConfig(Setting):
    """How a spec is trained.

    The defaults are Keras' (`fit` and `compile`), with one seed for weights, order and split.
    """

    optimizer: SerializeAsAny[Optimizer] = Field(default_factory=RMSprop)
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["float32"] = "float32"
    callbacks: tuple[SerializeAsAny[Callback], ...] = ()

    synonyms: ClassVar = {
        "optim": "optimizer",
        "batch": "batch_size",
        "num_epochs": "epochs",
        "max_epochs": "epochs",
        "steps": "epochs",
        "learning_rate": "optimizer",
        "lr": "optimizer",
    }


def parse_train(value: object) -> TrainConfig:
    """The `train:` section of a spec; None gives the defaults. Raises `SettingError` with every problem."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise SettingError(Problem("wrong-type", f"`train` is a mapping, not {show(value)}"))
    problems: list[Problem] = []
    rest: dict[str, object] = {}
    for key, item in value.items():
        if key in LATER:
            problems.append(
                Problem("not-supported", f"`train` does not read `{key}` in this version", LATER[key], (key,))
            )
        elif key == "precision" and item in ("bf16", "bfloat16", "float16"):
            problems.append(
                Problem(
                    "not-supported", "this version trains in float32 only", "leave `precision` out", (key,)
                )
            )
        elif key == "optimizer":
            try:
                rest[key] = OPTIMIZERS.read(item)
            except SettingError as error:
                problems += error.under(key).problems
        elif key == "callbacks":
            try:
                rest[key] = parse_callbacks(item)
            except SettingError as error:
                problems += error.under(key).problems
        else:
            rest[key] = item
    try:
        config = validate(TrainConfig, rest, "`train`")
    except SettingError as error:
        problems += error.problems
    if problems:
        raise SettingError(*problems)
    return config
