"""Dates as people write them: their text to the parts that a feature asks for, with ONNX alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphspec.data.features.settings import Date
from graphspec.data.rows.calendar import DAY, DateParts, civil, days_of
from graphspec.export.columns.date_formats import fields_of, micros_of, pattern_of, sample_of
from graphspec.export.columns.graph import WHOLE, GraphWriter
from graphspec.export.columns.traced import GraphValue, functions, where

CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
ISO = (
    r"\s*\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    rf"([T ]{CLOCK}(:[0-5]\d(\.\d{{1,6}})?)?(Z|[+-]{CLOCK})?)?\s*"
)
"""The forms of ISO 8601 that are read."""


def parts_of(g: GraphWriter, name: str, text: str, missing: str, feature: Date) -> Iterator[GraphValue]:
    """The parts of a column of dates, doubles [batch] in their order, anything where one is `missing`. A text
    that is no date ends the run.
    """
    format, xp = feature.format, functions(name)
    pattern, sample = (ISO, "1970-01-01") if format is None else (pattern_of(format), sample_of(format))
    fits = g.op("Or", g.op("RegexFullMatch", text, pattern=pattern), missing)
    read = g.op("And", fits, g.op("Not", missing))
    known = g.where(read, text, g.constant(np.array([sample], object)))
    seconds, micros, there = _iso(g, known) if format is None else _formatted(g, fields_of(g, known, format))
    reason = "a text that is not a date in a form that this file reads"
    moments = DateParts(xp.refuse(seconds, ~(there & GraphValue(g, fits)), reason), micros)
    return (moments.part(wanted, xp) for wanted in feature.parts)


Read = tuple[GraphValue, GraphValue, GraphValue]
"""Seconds since 1970 in UTC, microseconds after them, and whether the day exists."""


def _iso(g: GraphWriter, text: str) -> Read:
    first, second = g.split(text, " ", 2)
    t = g.constant(np.array(["T"], object))
    day, clock = g.split(g.op("StringConcat", g.op("StringConcat", first, t), second), "T", 2)
    (clock,) = g.split(clock, "Z", 1)
    clock, ahead = g.split(clock, "+", 2)
    clock, behind = g.split(clock, "-", 2)
    hour, minute, rest = g.split(clock, ":", 3)
    second, fraction = g.split(rest, ".", 2)
    seconds = _minutes(g, hour, minute) * 60 + _whole(g, second)
    for zone, sign in ((ahead, -60), (behind, 60)):
        seconds = seconds + _minutes(g, *g.split(zone, ":", 2)) * sign
    year, month, date = (_whole(g, piece) for piece in g.split(day, "-", 3))
    return _moment(year, month, date, seconds, micros_of(g, fraction))


def _whole(g: GraphWriter, text: str) -> GraphValue:
    return GraphValue(g, g.whole(text), WHOLE)


def _minutes(g: GraphWriter, hours: str, minutes: str) -> GraphValue:
    return _whole(g, hours) * 60 + _whole(g, minutes)


def _moment(
    year: GraphValue, month: GraphValue, day: GraphValue, seconds: GraphValue, micros: GraphValue
) -> Read:
    """A day exists if its number leads back to its month, and its year is one of the calendar."""
    days = days_of(year, month, day)
    _, back_month, back_day = civil(days)
    return days * DAY + seconds, micros, (back_month == month) & (back_day == day) & (year > 0)


def _formatted(g: GraphWriter, named: dict[str, str]) -> Read:
    """The moment that fields say; what none says is that of the first of January 1900."""
    fields = {name: GraphValue(g, value, WHOLE) for name, value in named.items()}
    zero = GraphValue(g, g.constant([0], np.int64), WHOLE)
    year = fields.get("%Y", zero + 1900)
    if (short := fields.get("%y")) is not None:
        year = short + where(short < 69, zero + 2000, 1900)
    month_name = fields.get("%b", fields.get("%B"))
    month = fields.get("%m", zero + 1) if month_name is None else month_name + 1
    hour = fields.get("%H", zero)
    if (half := fields.get("%I")) is not None:
        hour = half % 12 + fields.get("%p", zero) * 12
    seconds = (hour * 60 + fields.get("%M", zero)) * 60 + fields.get("%S", zero)
    if (of_year := fields.get("%j")) is not None:
        seconds = seconds + (of_year - 1) * DAY
    return _moment(year, month, fields.get("%d", zero + 1), seconds, fields.get("%f", seconds - seconds))
