"""Numbers that vary over a training, written in the place of a number: {from: 0, to: 1, epochs: 5}."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializeAsAny, model_validator

from graphspec.diagnostics import by_word
from graphspec.settings import Problem, Problems, Setting, SettingError, validate
from graphspec.train.config.schedules import SCHEDULES, Schedule


class Varying(Setting):
    """A number that goes from one value to another while training lasts. Evaluation takes `to`, as does what
    is exported.
    """

    start: float = Field(alias="from")
    """Value at the first step.

    Example: {from: 0, to: 1}
    """
    to: float
    """Value at the end, in evaluation and in what is exported.

    Example: {from: 1.0, to: 0.1}
    """
    steps: Annotated[int, Field(ge=1)] | None = None
    """Steps until it is there; by default all of the training.

    Example: {from: 0, to: 1, steps: 1000}
    """
    epochs: Annotated[int, Field(ge=1)] | None = None
    """The same in epochs.

    Example: {from: 0, to: 1, epochs: 5}
    """
    schedule: SerializeAsAny[Schedule] | None = None
    """Schedule of learning rates that says what is left of the way; by default a line.

    Example: {from: 1, to: 0, schedule: cosine_decay}
    """

    phrases: ClassVar = {"from": "from: 0", "to": "to: 1"}
    synonyms: ClassVar = by_word(
        **{"from": "start initial begin init", "to": "end final stop", "steps": "decay_steps length"},
        epochs="num_epochs",
        schedule="name shape kind",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Varying:
        own = self.schedule is not None and (
            getattr(self.schedule, "decay_steps", None) or getattr(self.schedule, "first_decay_steps", None)
        )
        if sum(bool(each) for each in (self.steps, self.epochs, own)) > 1:
            raise ValueError(
                "its length is given twice: keep one of `steps`, `epochs` and the schedule's own"
            )
        if self.schedule is not None and self.schedule.warmup_steps:
            raise ValueError("a number that varies has no warm-up: it begins with `from`")
        return self

    def __str__(self) -> str:
        return f"{self.start:g} to {self.to:g}"


def read_varying(
    settings: dict[str, Any], key: str, least: float = -math.inf, most: float = math.inf
) -> Varying | None:
    """The number of a key that varies, which is taken out of the settings; None where it is no mapping.
    Raises `SettingError` with every problem.
    """
    value = settings.get(key)
    if not isinstance(value, dict):
        return None
    del settings[key]
    problems, varying = Problems(), None
    with problems.under(key):
        varying = _varying(value, key, least, most)
    problems.raise_any()
    return varying


def _varying(value: dict[str, Any], key: str, least: float, most: float) -> Varying | None:
    problems, varying = Problems(), None
    rest = dict(value)
    if rest.get("schedule") is not None:
        with problems.under("schedule"):
            rest["schedule"] = SCHEDULES.read(rest.pop("schedule"))
    with problems.under():
        varying = validate(Varying, rest, f"`{key}`")
        for word, number in (("from", varying.start), ("to", varying.to)):
            if not least <= number <= most:
                message = f"`{key}` must be from {least:g} to {most:g}, and `{word}` is {number:g}"
                raise SettingError(Problem("out-of-range", message, path=(word,)))
    problems.raise_any()
    return varying
