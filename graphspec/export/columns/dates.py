"""Dates as people write them: their text to the parts that a feature asks for, with ONNX alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphspec.data.features.settings import Date
from graphspec.data.rows.numbers import FROM_ONE, PERIODS
from graphspec.export.columns.date_formats import fields_of, pattern_of, sample_of
from graphspec.export.columns.graph import NUMBER, WHOLE, GraphWriter

EPOCH_SHIFT, AHEAD = 719_468, 1_000_000
"""Days from 0000-03-01 to 1970-01-01; days that make all numbers positive, so that a division rounds down."""
DAY = 86_400
CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
ISO = (
    r"\s*\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    rf"([T ]{CLOCK}(:[0-5]\d(\.\d{{1,6}})?)?(Z|[+-]{CLOCK})?)?\s*"
)
"""The forms of ISO 8601 that are read."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Whole numbers, int64 [batch]: seconds since 1970 in UTC, and microseconds after them."""

    seconds: str
    micros: str


def parts_of(g: GraphWriter, name: str, text: str, missing: str, feature: Date) -> Iterator[str]:
    """The parts of a column of dates, doubles [batch] in their order, anything where one is `missing`. A text
    that is no date ends the run.
    """
    format = feature.format
    pattern, sample = (ISO, "1970-01-01") if format is None else (pattern_of(format), sample_of(format))
    fits = g.op("Or", g.op("RegexFullMatch", text, pattern=pattern), missing)
    reason = f"column {name}: a text that is not a date in a form that this file reads"
    read = g.op("And", fits, g.op("Not", missing))
    known = g.where(read, text, g.constant(np.array([sample], object)))
    moment, there = _iso(g, known) if format is None else _formatted(g, fields_of(g, known, format))
    seconds = g.guarded(moment.seconds, WHOLE, g.op("And", fits, there), reason)
    calendar = DateParts(g, Moment(seconds, moment.micros))
    return (calendar.part(wanted) for wanted in feature.parts)


def _iso(g: GraphWriter, text: str) -> tuple[Moment, str]:
    first, second = g.split(text, " ", 2)
    day, clock = g.split(g.op("StringConcat", g.op("StringConcat", first, _t(g)), second), "T", 2)
    year, month, date = map(g.whole, g.split(day, "-", 3))
    (clock,) = g.split(clock, "Z", 1)
    clock, ahead = g.split(clock, "+", 2)
    clock, behind = g.split(clock, "-", 2)
    hour, minute, rest = g.split(clock, ":", 3)
    second, fraction = g.split(rest, ".", 2)
    seconds = _seconds(g, g.whole(hour), g.whole(minute), g.whole(second))
    for zone, kind in ((ahead, "Sub"), (behind, "Add")):
        hours, minutes = g.split(zone, ":", 2)
        seconds = g.op(kind, seconds, _seconds(g, g.whole(hours), g.whole(minutes), None))
    point = g.op("StringConcat", g.constant(np.array(["0."], object)), fraction)
    micros = g.op("Round", g.op("Mul", g.cast(point, NUMBER), g.constant([1e6], np.float64)))
    days = _days(g, year, month, date)
    seconds = g.op("Add", g.op("Mul", days, g.constant([DAY], np.int64)), seconds)
    return Moment(seconds, g.cast(micros, WHOLE)), _exists(g, year, month, date)


def _t(g: GraphWriter) -> str:
    return g.constant(np.array(["T"], object))


def _formatted(g: GraphWriter, fields: dict[str, str]) -> tuple[Moment, str]:
    """The moment that fields say; what none says is that of the first of January 1900."""
    zero, one = g.constant([0], np.int64), g.constant([1], np.int64)
    year = fields.get("%Y", g.constant([1900], np.int64))
    if (short := fields.get("%y")) is not None:
        past = g.op("Less", short, g.constant([69], np.int64))
        year = g.op("Add", short, g.where(past, *(g.constant([y], np.int64) for y in (2000, 1900))))
    named = fields.get("%b", fields.get("%B"))
    month = fields.get("%m", one) if named is None else _plus(g, named, 1)
    date, hour = fields.get("%d", one), fields.get("%H", zero)
    if (half := fields.get("%I")) is not None:
        hour = g.op("Mod", half, g.constant([12], np.int64))
        hour = g.op("Add", hour, _times(g, fields.get("%p", zero), 12))
    clock = _seconds(g, hour, fields.get("%M", zero), fields.get("%S"))
    days, there = _days(g, year, month, date), _exists(g, year, month, date)
    if (of_year := fields.get("%j")) is not None:
        days = _plus(g, g.op("Add", days, of_year), -1)
    seconds = g.op("Add", g.op("Mul", days, g.constant([DAY], np.int64)), clock)
    return Moment(seconds, fields.get("%f", g.op("Sub", seconds, seconds))), there


def _seconds(g: GraphWriter, hours: str, minutes: str, seconds: str | None) -> str:
    total = g.op("Mul", hours, g.constant([3600], np.int64))
    total = g.op("Add", total, g.op("Mul", minutes, g.constant([60], np.int64)))
    return str(total if seconds is None else g.op("Add", total, seconds))


def _exists(g: GraphWriter, year: str, month: str, date: str) -> str:
    """Whether the day exists: its number leads back to its month, and the year is one of the calendar."""
    back = CivilDate(g, _days(g, year, month, date))
    same = g.op("And", g.op("Equal", back.month, month), g.op("Equal", back.day, date))
    return str(g.op("And", same, g.op("Greater", year, g.constant([0], np.int64))))


def _days(g: GraphWriter, year: str, month: str, day: str) -> str:
    """Days since 1970-01-01, counted in years that begin in March, so that a leap day is the last of one."""
    late = g.cast(g.op("LessOrEqual", month, g.constant([2], np.int64)), WHOLE)
    y = g.op("Sub", year, late)
    era = _over(g, y, 400)
    of_era = g.op("Sub", y, _times(g, era, 400))
    turned = g.op("Add", month, _times(g, late, 12))
    of_year = _over(g, _plus(g, _times(g, _plus(g, turned, -3), 153), 2), 5)
    of_year = _plus(g, g.op("Add", of_year, day), -1)
    leaps = g.op("Sub", _over(g, of_era, 4), _over(g, of_era, 100))
    in_era = g.op("Add", g.op("Add", _times(g, of_era, 365), leaps), of_year)
    return _plus(g, g.op("Add", _times(g, era, 146_097), in_era), -EPOCH_SHIFT)


def _plus(g: GraphWriter, value: str, number: int) -> str:
    return str(g.op("Add", value, g.constant([number], np.int64)))


def _times(g: GraphWriter, value: str, number: int) -> str:
    return str(g.op("Mul", value, g.constant([number], np.int64)))


def _over(g: GraphWriter, value: str, number: int) -> str:
    """Of numbers that are not negative."""
    return str(g.op("Div", value, g.constant([number], np.int64)))


class CivilDate:
    """Year, month and day of days since 1970-01-01."""

    def __init__(self, g: GraphWriter, days: str):
        z = _plus(g, days, EPOCH_SHIFT)
        era = _over(g, z, 146_097)
        doe = g.op("Sub", z, _times(g, era, 146_097))
        leaps = g.op("Sub", _over(g, doe, 36_524), _over(g, doe, 1_460))
        yoe = _over(g, g.op("Sub", g.op("Add", doe, leaps), _over(g, doe, 146_096)), 365)
        before = g.op("Sub", _over(g, yoe, 4), _over(g, yoe, 100))
        doy = g.op("Sub", doe, g.op("Add", _times(g, yoe, 365), before))
        turned = _over(g, _plus(g, _times(g, doy, 5), 2), 153)
        past = _over(g, _plus(g, _times(g, turned, 153), 2), 5)
        self.day = _plus(g, g.op("Sub", doy, past), 1)
        late = g.cast(g.op("GreaterOrEqual", turned, g.constant([10], np.int64)), WHOLE)
        self.month = g.op("Sub", _plus(g, turned, 3), _times(g, late, 12))
        self.year = g.op("Add", g.op("Add", yoe, _times(g, era, 400)), late)


class DateParts:
    """The parts of moments."""

    def __init__(self, g: GraphWriter, moment: Moment):
        self.g, self.moment = g, moment
        ahead = _over(g, _plus(g, moment.seconds, AHEAD * DAY), DAY)
        self.days = _plus(g, ahead, -AHEAD)
        self.clock = g.op("Sub", moment.seconds, _times(g, self.days, DAY))
        self.civil = CivilDate(g, self.days)

    def part(self, wanted: str) -> str:
        """A part of the dates, or its sine or cosine, as doubles."""
        g, base = self.g, wanted.removesuffix("_sin").removesuffix("_cos")
        if base == "timestamp":
            ticks = g.op("Add", _times(g, self.moment.seconds, 1_000_000), self.moment.micros)
            return str(g.op("Div", g.cast(ticks, NUMBER), g.constant([1e6], np.float64)))
        value = g.cast(self._integer(base), NUMBER)
        if base == wanted:
            return value
        angle = g.op("Sub", value, g.constant([float(base in FROM_ONE)], np.float64))
        angle = g.op("Mul", angle, g.constant([2 * np.pi], np.float64))
        angle = g.op("Div", angle, g.constant([float(PERIODS[base])], np.float64))
        return str(g.op("Sin" if wanted.endswith("_sin") else "Cos", angle))

    def _integer(self, part: str) -> str:
        g = self.g
        if part in ("year", "month", "day"):
            return str(getattr(self.civil, part))
        if part == "weekday":
            monday = _plus(g, self.days, 3 + 7 * AHEAD)
            return str(g.op("Mod", monday, g.constant([7], np.int64)))
        if part == "day_of_year":
            one = g.constant([1], np.int64)
            return _plus(g, g.op("Sub", self.days, _days(g, self.civil.year, one, one)), 1)
        if part == "hour":
            return _over(g, self.clock, 3600)
        size = 60 if part == "minute" else 1
        return str(g.op("Mod", _over(g, self.clock, size), g.constant([60], np.int64)))
