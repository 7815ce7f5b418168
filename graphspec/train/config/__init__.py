"""What `train:` in a spec may say: Keras' optimizers, with its names and defaults, and the run's settings.

Nothing here imports torch; what the optimizers compute is in `graphspec.train.optimizers`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from graphspec.objectives.settings import Problem, Setting, SettingError, show, validate
from graphspec.train.callbacks.settings import (
    CALLBACKS,
    SETTING_RATES,
    Callback,
    misfits,
    parse_callbacks,
)
from graphspec.train.config.groups import ParameterGroup, parse_groups
from graphspec.train.config.optimizers import OPTIMIZERS, Optimizer, RMSprop
from graphspec.train.config.schedules import SCHEDULES, Schedule

__all__ = [
    "CALLBACKS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Optimizer",
    "Schedule",
    "TrainConfig",
    "effective_batch",
    "misfits",
    "parse_train",
]

READERS = {
    "optimizer": OPTIMIZERS.read,
    "schedule": SCHEDULES.read,
    "parameter_groups": parse_groups,
    "callbacks": parse_callbacks,
}
"""What reads the keys whose values have names of their own."""


Precision = Literal["float32", "tf32", "bf16"]
_PRECISIONS = {"float16": "bf16", "fp16": "bf16", "half": "bf16", "mixed_float16": "bf16", "fp32": "float32"}
_PRECISIONS |= {"bfloat16": "bf16", "mixed_bfloat16": "bf16", "bf16-mixed": "bf16", "16-mixed": "bf16"}


def _precision(value: object) -> object:
    if isinstance(value, str) and value in _PRECISIONS:
        raise ValueError(f"`precision` is float32, tf32 or bf16: write `{_PRECISIONS[value]}`, not `{value}`")
    return value


class TrainConfig(Setting):
    """How a spec is trained.

    The defaults are Keras' (`fit` and `compile`), with one seed for weights, order and split.
    """

    optimizer: SerializeAsAny[Optimizer] = Field(default_factory=RMSprop)
    schedule: SerializeAsAny[Schedule] | None = None
    parameter_groups: tuple[ParameterGroup, ...] = ()
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    bucket: Annotated[str, Field(min_length=1)] | None = None
    """A size with a name: rows that are about as long come into one batch."""
    precision: Annotated[Precision, BeforeValidator(_precision)] = "float32"
    callbacks: tuple[SerializeAsAny[Callback], ...] = ()

    synonyms: ClassVar = {
        "optim": "optimizer",
        "scheduler": "schedule",
        "lr_schedule": "schedule",
        "param_groups": "parameter_groups",
        "groups": "parameter_groups",
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
        if key in READERS and item is not None:
            try:
                rest[key] = READERS[key](item)
            except SettingError as error:
                problems += error.under(key).problems
        else:
            rest[key] = item
    try:
        config = validate(TrainConfig, rest, "`train`")
        problems += _two_rates(config)
    except SettingError as error:
        problems += error.problems
    if problems:
        raise SettingError(*problems)
    return config


def effective_batch(config: TrainConfig) -> int:
    """How many examples one step takes: those of the batches whose gradients it adds up."""
    return config.batch_size * (config.optimizer.gradient_accumulation_steps or 1)


def _two_rates(config: TrainConfig) -> list[Problem]:
    """Callbacks that set a learning rate which a schedule gives."""
    if config.schedule is None:
        return []
    return [
        Problem(
            "out-of-range",
            f"`{callback.name}` sets the learning rate, and so does `schedule`",
            "keep one of them",
            ("callbacks", callback.name),
        )
        for callback in config.callbacks
        if isinstance(callback, SETTING_RATES)
    ]
