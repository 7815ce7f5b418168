"""The numbers in a date, by integer arithmetic: of arrays, of one number, and of values of a graph."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from graphspec.data.rows.functions import ARRAYS, Functions

PERIODS = {"month": 12, "day": 31, "weekday": 7, "day_of_year": 366, "hour": 24, "minute": 60, "second": 60}
"""How many steps each cyclic part has; those of a year and of a month count from 1."""
FROM_ONE = ("month", "day", "day_of_year")
SECONDS = {"hour": 3600, "minute": 60, "second": 1}
DAY = 86_400
AHEAD = 320_000
"""Years, in cycles of 400, that make all numbers positive: so a division that truncates rounds down, too."""
DAYS_AHEAD = AHEAD // 400 * 146_097
EPOCH_SHIFT = DAYS_AHEAD + 719_468
"""Days to 1970-01-01 from the first of March of the year `-AHEAD`."""


def days_of(year: Any, month: Any, day: Any) -> Any:
    """Days since 1970-01-01, counted in years that begin in March: a leap day is the last of its year."""
    before = (14 - month) // 12  # January and February
    year, month = year + AHEAD - before, month + 12 * before - 3
    return _days_before(year) + year // 400 + (153 * month + 2) // 5 + day - 1 - EPOCH_SHIFT


def civil(days: Any) -> tuple[Any, Any, Any]:
    """Year, month and day of days since 1970-01-01."""
    cycle, of_cycle = (days + EPOCH_SHIFT) // 146_097, (days + EPOCH_SHIFT) % 146_097
    year = (of_cycle - of_cycle // 1_460 + of_cycle // 36_524 - of_cycle // 146_096) // 365
    of_year = of_cycle - _days_before(year)
    month = (5 * of_year + 2) // 153
    before = month // 10
    day = of_year - (153 * month + 2) // 5 + 1
    return year + 400 * cycle + before - AHEAD, month + 3 - 12 * before, day


def _days_before(year: Any) -> Any:
    return 365 * year + year // 4 - year // 100


class DateParts:
    """DateParts as whole numbers: seconds since 1970 in UTC, and the microseconds after them."""

    def __init__(self, seconds: Any, micros: Any):
        self.seconds, self.micros = seconds, micros

    @cached_property
    def days(self) -> Any:
        return (self.seconds + DAYS_AHEAD * DAY) // DAY - DAYS_AHEAD

    @cached_property
    def civil(self) -> tuple[Any, Any, Any]:
        return civil(self.days)

    def part(self, wanted: str, xp: Functions = ARRAYS) -> Any:
        """A part, or its sine or cosine, as doubles. Monday is weekday 0."""
        base = wanted.removesuffix("_sin").removesuffix("_cos")
        if base == "timestamp":
            return xp.number(self.seconds * 1_000_000 + self.micros) / 1e6
        value = xp.number(self._whole(base))
        if base == wanted:
            return value
        angle = 2 * math.pi * (value - float(base in FROM_ONE)) / PERIODS[base]
        return xp.sin(angle) if wanted.endswith("_sin") else xp.cos(angle)

    def _whole(self, part: str) -> Any:
        if part in ("year", "month", "day"):
            return self.civil[("year", "month", "day").index(part)]
        if part == "day_of_year":
            return self.days - days_of(self.civil[0], 1, 1) + 1
        if part == "weekday":
            return (self.days + DAYS_AHEAD + 3) % 7
        return (self.seconds + DAYS_AHEAD * DAY) // SECONDS[part] % PERIODS[part]
