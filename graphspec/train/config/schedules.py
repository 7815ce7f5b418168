"""The base of learning rate schedules. `decays.py` has them, and is imported when one is named."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.diagnostics import by_word
from graphspec.settings import Word, show
from graphspec.settings.families import Family, Members, Named


class Schedule(Named):
    """The learning rate as a function of the steps before; a step is one update of the weights.

    Over the first `warmup_steps` it rises, in a line from 0, to where the schedule starts.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 0

    synonyms: ClassVar = by_word(
        warmup_steps="warmup num_warmup_steps",
        decay_rate="gamma",
        decay_steps="T_max steps total_steps",
        boundaries="milestones",
        first_decay_steps="T_0",
        t_mul="T_mult",
        alpha="eta_min",
        initial_learning_rate="learning_rate",
    )


SCHEDULES = Family(
    "schedule",
    Members(Schedule, __package__),
    by_word(
        cosine_decay="cosine cosine_annealing CosineAnnealingLR",
        cosine_decay_restarts="CosineAnnealingWarmRestarts",
        exponential_decay="exponential ExponentialLR",
        piecewise_constant_decay="MultiStepLR multistep",
        polynomial_decay="linear LinearLR linear_decay PolynomialLR",
        inverse_time_decay="inverse_sqrt",
    ),
    "unknown-schedule",
    {
        "OneCycleLR": (
            "it is a rise and a fall",
            "write {name: cosine_decay, warmup_steps: ...}: it rises in a line, and falls by half a cosine",
        ),
        **dict.fromkeys(
            ("StepLR", "step", "step_lr", "step_decay"),
            (
                "it is a decay by stairs",
                "write {name: exponential_decay, decay_steps: ..., decay_rate: 0.1, staircase: true}; "
                "`decay_steps` counts batches",
            ),
        ),
        "ReduceLROnPlateau": (
            "it follows a metric, not the step",
            "it is a callback: callbacks: {reduce_lr_on_plateau: {patience: 3}}",
        ),
        "LambdaLR": (
            "it takes a function",
            "a callback takes an expression: callbacks: {learning_rate_scheduler: {schedule: lr * 0.9}}",
        ),
    },
)


def as_schedule(value: object) -> str | None:
    """How a schedule is written that is in the place of a learning rate, as Keras has it; None for
    anything else.
    """
    arguments: dict[str, object] = {}
    mapping = isinstance(value, dict)
    if isinstance(value, dict):
        inner = value.get("config")
        arguments = {key: item for key, item in value.items() if key not in ("name", "class_name", "config")}
        arguments |= inner if isinstance(inner, dict) else {}
        value = value.get("name") or value.get("class_name")
    if not isinstance(value, str):
        return None
    name = value if value in SCHEDULES.members else SCHEDULES.synonyms.get(value)
    if name is not None:
        cls = SCHEDULES.members[name]
        value, arguments = cls.canonical, {cls.synonyms.get(key, key): arguments[key] for key in arguments}
    elif not mapping:
        return None
    return f"`schedule: {show({'name': Word(value), **arguments})}`"
