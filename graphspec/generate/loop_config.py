"""The settings of a loop in `generate:`: a value that begins as noise, and what each step makes of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphspec.diagnostics import by_word
from graphspec.settings import Setting, unfit, validate

Count = Annotated[int, Field(ge=1)]


class Way(Setting):
    """Values that an input has in the steps of a loop, from one to another at equal distances."""

    start: float = Field(alias="from")
    """Value in the first step."""
    to: float
    """Value after the last step."""
    steps: Count = 50
    """Number of steps."""

    phrases: ClassVar = {"from": "from: 1", "to": "to: 0"}
    synonyms: ClassVar = by_word(
        steps="num_steps n count num_inference_steps", to="end stop final", **{"from": "start begin initial"}
    )

    def values(self, steps: int | None = None) -> list[float]:
        """The value in each step, and the one after the last."""
        count = steps or self.steps
        return [self.start + (self.to - self.start) * number / count for number in range(count + 1)]


class LoopSettings(Setting):
    """How something is made of noise: by a value that each step replaces.

    The value is an input or a node; what a training computes it of is left out. `next` is a formula over the
    value and all nodes and inputs, and makes the value of the next step. Inputs with `default:
    random_normal` are drawn for each step.
    """

    start: Literal["random_normal", "random_uniform"]
    """How the value begins: as noise of its shape."""
    repeat: dict[str, Way | list[float]] | None = None
    """Values of inputs in each step: from one to another, or a list, whose last is that after the last step.

    In `next` an input `time` has its value after the step as `next_time`.
    """
    next: str | None = None
    """Formula that makes the next value; without one there is one step."""
    source: Annotated[str | None, Field(alias="from")] = None
    """Output that is the result; by default the last value."""
    range: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """Values of the result that are black and white in pictures; by default 0 and 1."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of what is drawn."""

    synonyms: ClassVar = by_word(
        repeat="schedule steps times timesteps",
        next="update formula step",
        range="value_range clip",
        seed="random_state",
        **{"from": "output result"},
    )
    phrases: ClassVar = {
        "start": "start: random_normal",
        "repeat": "repeat: {time: {from: 1, to: 0, steps: 50}}",
        "next": "next: noisy + (next_time - time) * velocity",
    }

    def values(self, steps: int | None = None) -> dict[str, list[float]]:
        """By name the values in each step, and the one after the last; of so many steps, if they are given.
        Raises `SettingError` (two-forms) for `steps` beside a list.
        """
        found = dict[str, list[float]]()
        for name, way in (self.repeat or {}).items():
            if steps is not None and isinstance(way, list):
                help = f"leave `steps` out, or write {name}: {{from: {way[0]:g}, to: {way[-1]:g}}}"
                raise unfit("two-forms", f"`{name}` has a list of values, which says how many steps", help)
            found[name] = way if isinstance(way, list) else way.values(steps)
        if steps is not None and not found:
            raise unfit("two-forms", "the loop of the spec has one step", "leave `steps` out")
        return found


def is_loop(value: object) -> bool:
    """Whether an entry of `generate` is a loop, and no sequence of tokens."""
    return isinstance(value, dict) and not value.keys().isdisjoint(("start", "repeat", "next"))


def loop_of(value: Any, what: str) -> LoopSettings:
    """The settings of a loop. Raises `SettingError` with all problems."""
    settings = validate(LoopSettings, value, what)
    if settings.next is None and settings.source is None:
        help = "write `from` with an output, or `next` with a formula"
        raise unfit("missing-key", f"nothing says what {what} becomes", help)
    if (settings.next is None) != (settings.repeat is None):
        lacks, has = ("next", "repeat") if settings.next is None else ("repeat", "next")
        help = f"write {LoopSettings.phrases[lacks]}"
        raise unfit("missing-key", f"{what} has `{has}`, and no `{lacks}`", help, has)
    if settings.repeat == {}:
        help = f"write {LoopSettings.phrases['repeat']}"
        raise unfit(
            "input-count",
            "`repeat` names no input, whose values say how many steps there are",
            help,
            "repeat",
        )
    counts = {name: len(values) - 1 for name, values in settings.values().items()}
    first = next(iter(counts), "")
    for name, count in counts.items():
        if count < 1:
            message = f"`{name}` has one value, or none, and a step goes from one to another"
            raise unfit("out-of-range", message, "write {from: 1, to: 0, steps: 50}", "repeat", name)
        if count != counts[first]:
            message = f"`{name}` has {count} steps, and `{first}` has {counts[first]}"
            raise unfit("two-forms", message, "give all of `repeat` as many", "repeat", name)
    low, high = settings.range
    if not low < high:
        message = f"`range` is black and white, the lower value first, not [{low:g}, {high:g}]"
        raise unfit("out-of-range", message, "write [0, 1]", "range")
    return settings
