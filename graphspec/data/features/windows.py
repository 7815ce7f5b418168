"""The settings of `data.windows`: which rows of a long table an example reads. Nothing here imports numpy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from graphspec.data.features.settings import Count, Feature, Text
from graphspec.diagnostics import by_word
from graphspec.settings import Problem, Setting, validate

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
"""Units of `every` that are always as long."""
MONTHS = {"mo": 1, "y": 12}
"""Units of `every` that the calendar counts."""
UNIT_WORDS = by_word(
    s="S sec secs second seconds secondly",
    min="T minute minutes minutely mins",
    h="H hr hrs hour hours hourly",
    d="D day days daily",
    w="W wk week weeks weekly",
    mo="M MS ME month months monthly mon",
    y="Y A YS YE yr year years yearly annual annually",
)
"""By the words of people and of other libraries, the units of `every`."""
SPACING = re.compile(r"\s*(\d{1,6})?\s*([a-z]+)\s*")


@dataclass(frozen=True, slots=True)
class Spacing:
    """The difference between two steps: microseconds of dates, a difference of numbers, or months."""

    amount: float
    months: bool = False


class Windows(Setting):
    """Examples are windows over the rows of each series, in the order of time."""

    synonyms: ClassVar[Mapping[str, str]] = by_word(
        by="series group group_by item_id unique_id",
        order="time ts timestamp time_idx date",
        past="lookback history context context_length input_size max_encoder_length window",
        next="horizon prediction_length h output_chunk_length max_prediction_length ahead",
        stride="step",
        every="freq frequency spacing",
        season="seasonality period m",
    )
    phrases: ClassVar[Mapping[str, str]] = {"order": "order: ts", "past": "past: 168", "every": "every: 1h"}

    order: Text
    """Column of dates or numbers that rises within a series."""
    past: Count
    """Steps that the model reads."""
    next: Annotated[int, Field(ge=0)] = 0
    """Steps that it predicts."""
    by: tuple[str, ...] = ()
    """Columns whose values name a series; without them the file is one."""
    stride: Count = 1
    """Steps from one window to the next."""
    every: Annotated[str, Field(min_length=1)] | Annotated[float, Field(gt=0)] | None = None
    """Time between two steps: 1h, 15min, 1d, 1mo, or a number."""
    gaps: Literal["error", "skip", "fill"] = "error"
    """Treatment of missing steps: `error`, `skip` or `fill`."""
    season: Count = 1
    """Steps of a season: 24 for the hours of a day."""
    format: Text | None = None

    @field_validator("every")
    @classmethod
    def _known(cls, value: str | float | None) -> str | float | None:
        if isinstance(value, str) and spacing_of(value) is None:
            units = ", ".join([*SECONDS, *MONTHS])
            wrong = f"`every` is `{value}`, but must be a number, or one with a unit: {units}"
            if (meant := _meant(value)) is None:
                raise ValueError(wrong)
            raise PydanticCustomError("other_word", "{wrong}", {"wrong": wrong, "instead": meant})
        return value

    @property
    def spacing(self) -> Spacing | None:
        """The difference between two steps; None where rows are steps, however far apart they are."""
        if isinstance(self.every, str):
            return spacing_of(self.every)
        return Spacing(float(self.every)) if self.every is not None else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that say which row is which step."""
        return (*self.by, self.order)

    @property
    def rows(self) -> int:
        """The number of rows that `predict` writes for a window: one for each step to come, or one for its
        last step.
        """
        return self.next or 1

    def steps(self, feature: Feature | None) -> Steps | None:
        """The rows that a feature reads; None for the one row of the last step of the past."""
        wanted = feature.steps if feature is not None else None
        if wanted == "next":
            return Steps(1, self.next)
        if wanted is None:
            return None
        count = self.past if wanted == "past" else int(wanted)
        return Steps(1 - count, count)


@dataclass(frozen=True, slots=True)
class Steps:
    """Neighbouring rows: `first` counts from the last step of the past, which is 0."""

    first: int
    count: int


def _meant(text: str) -> str | None:
    """The spacing that a word of another library says, with its number: `1mo` for `month`."""
    match = re.fullmatch(r"\s*(\d{0,6})\s*([A-Za-z]+)\s*", text)
    unit = (UNIT_WORDS.get(match[2]) or UNIT_WORDS.get(match[2].lower())) if match else None
    spacing = f"{int(match[1] or 1)}{unit}" if match and unit else ""
    return spacing if spacing_of(spacing) is not None else None


def spacing_of(text: str) -> Spacing | None:
    """The spacing that a text such as `15min` says; None where it says none."""
    match = SPACING.fullmatch(text)
    if match is None or match[2] not in SECONDS | MONTHS:
        return None
    count = int(match[1] or 1)
    if match[2] in MONTHS:
        return Spacing(count * MONTHS[match[2]], months=True) if count else None
    return Spacing(count * SECONDS[match[2]] * 1_000_000) if count else None


def parse_windows(value: Any) -> Windows:
    """`data.windows`. Raises `SettingError` with every problem."""
    if isinstance(value, dict) and isinstance(by := value.get("by"), str | list):
        value = {**value, "by": (by,) if isinstance(by, str) else tuple(by)}
    return validate(Windows, value, "`windows`")


def window_misfits(config: Any) -> Iterator[Problem]:
    """Problems of `data` with `windows`; of the paths of the keys in `data`."""
    windows, features = config.windows, config.features
    for name, feature in features.items():
        if feature.steps is not None and windows is None:
            message = f"the feature `{name}` has `steps`, and there are no `windows` whose steps they are"
            help = "write data: {windows: {order: TIME, past: 168, next: 24}}"
            yield Problem("windows-misfit", message, help, ("features", name, "steps"))
        if isinstance(feature.steps, int) and windows is not None and feature.steps > windows.past:
            message = f"the feature `{name}` reads {feature.steps} steps, and `past` has {windows.past}"
            yield Problem("windows-misfit", message, None, ("features", name, "steps"))
        if feature.steps == "next" and windows is not None and not windows.next:
            message = f"the feature `{name}` reads the steps of `next`, and `windows` has none"
            yield Problem("windows-misfit", message, "write `next: 24`", ("features", name, "steps"))
    if windows is None:
        return
    if windows.season > windows.past:
        message = f"`season` is {windows.season}, and `past` has {windows.past} steps"
        yield Problem("windows-misfit", message, "the past must hold a season", ("windows", "season"))
    division = config.validation
    if getattr(division, "split", None) is not None and division.divider is None:
        message = "windows overlap: drawn at random, those of validation would repeat rows of training"
        help = f"keep the last part in time: {{split: {division.split:g}, last_by: {windows.order}}}"
        if windows.by:
            help += f"; or whole series: {{split: {division.split:g}, group: {windows.by[0]}}}"
        yield Problem("windows-misfit", message, help, ("validation", "split"))
    elif getattr(division, "stratify", None) is not None:
        message = "windows overlap, and `stratify` draws them at random"
        help = f"write `last_by: {windows.order}` in its place"
        yield Problem("windows-misfit", message, help, ("validation", "stratify"))
    elif getattr(division, "last_by", None) not in (None, windows.order):
        message = f"windows are split in the order of `{windows.order}`, not of `{division.last_by}`"
        help = (
            f"write `last_by: {windows.order}`, or `order: {division.last_by}` if that is the column of times"
        )
        yield Problem("windows-misfit", message, help, ("validation", "last_by"))
    if config.key:
        message = "the predictions of windows are named by `by` and `order`, and not by a `key`"
        yield Problem("windows-misfit", message, "leave `key` out", ("key",))
