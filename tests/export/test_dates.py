"""Dates in the formats of people: a file of ONNX reads what Python's `strptime` reads, or ends the run."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from graphspec.data.features.settings import Date
from graphspec.data.rows.calendar import DateParts
from graphspec.data.rows.functions import ONE
from graphspec.data.rows.values import TICKS, ticks_of
from graphspec.export.columns import dates
from graphspec.export.columns.date_formats import unreadable
from graphspec.export.columns.graph import NUMBER, OPSETS, TEXT, GraphWriter

PARTS = ["timestamp", "year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second"]
FORMATS = [
    "%d %b %Y",
    "%Y%m%d",
    "%I:%M %p",
    "%B %d, %Y",
    "%d.%m.%Y %H:%M",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S%f",
    "%A, %d. %B %y, %I.%M.%S %p",
    "%a %b %d %H:%M:%S %Y",
    "%d%b%Y",
    "%b-%y",
    "%Y-%j",
    "%Y%j",
    "%m/%d/%y %I%p",
    "%Y\u5e74%m\u6708%d\u65e5",
    "%H:%M:%S.%f",
    "le %d/%m/%Y \u00e0 %Hh%M",
    " %d\t%m  %Y %%",
]
LETTERS = "0123456789 :/-.,APMamjanJunefb%"


def session_of(format: str) -> onnxruntime.InferenceSession:
    """A file that reads texts of dates, and returns their parts."""
    g = GraphWriter("")
    text = g.column("when", TEXT)
    missing = g.is_text(text, [""])
    feature = Date.model_validate({"encode": "date", "parts": PARTS, "format": format})
    parts = g.joined([g.expanded(part.name) for part in dates.parts_of(g, "when", text, missing, feature)])
    answer = helper.make_tensor_value_info(parts, NUMBER, None)
    given = helper.make_tensor_value_info("when", TEXT, ["batch"])
    graph = helper.make_graph(g.nodes, "dates", [given], [answer], list(g.constants.values()))
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def expected(text: str, format: str) -> list[float] | None:
    """What Python reads; None of what it refuses."""
    try:
        ticks = ticks_of(text, format)
    except ValueError:
        return None
    return [DateParts(*divmod(ticks, TICKS)).part(part, ONE) for part in PARTS]


def moments(draw: random.Random, count: int) -> list[datetime]:
    known = [datetime(2024, 2, 29), datetime(1999, 12, 31, 23, 59, 59, 999_999), datetime(2000, 1, 1, 12)]
    first = datetime(1901, 1, 1)
    return known + [
        first + timedelta(microseconds=draw.randrange(200 * 365 * 86_400 * 10**6)) for _ in range(count)
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_a_format_is_read_as_python_reads_it(format: str) -> None:
    assert unreadable(format) is None
    session, draw = session_of(format), random.Random(1)
    for moment in moments(draw, 60):
        text = moment.strftime(format)
        for way in (text, text.upper(), text.lower()) if "h" not in format and "T" not in format else (text,):
            (found,) = session.run(None, {"when": np.array(["", way], object)})
            assert found[1].tolist() == expected(way, format), way


@pytest.mark.parametrize("format", FORMATS)
def test_no_text_is_read_as_another_date(format: str) -> None:
    """Texts with a letter more, less, or another: the file refuses all that Python refuses."""
    session, draw = session_of(format), random.Random(2)
    refused = read = 0
    for moment in moments(draw, 150):
        letters = list(moment.strftime(format).replace(" 0", draw.choice([" 0", " ", "  "])))
        for _ in range(draw.randint(0, 2)):
            place = draw.randrange(len(letters))
            letters[place : place + draw.randint(0, 1)] = draw.choice(["", *LETTERS])
        text = "".join(letters)
        wanted = expected(text, format)
        try:
            (found,) = session.run(None, {"when": np.array([text], object)})
        except Exception as error:
            assert "column when: a text that is not a date" in str(error)
            refused += 1
            continue
        assert found[0].tolist() == wanted, text
        read += 1
    assert refused > 10 and read > 10


@pytest.mark.parametrize(
    ("format", "why"),
    [
        ("%Y-%m-%d %z", "has %z, which ONNX cannot read"),
        ("%G-W%V-%u", "has %G, %V, %u, which ONNX cannot read"),
        ("%Y %m %Y", "has %Y twice"),
        ("%d %b %m %Y", "has %b and %m"),
        ("%bday %Y", "a name and a letter side by side"),
        ("20%y-%m", "digits of its own"),
    ],
)
def test_a_format_that_stays_outside_says_why(format: str, why: str) -> None:
    assert why in str(unreadable(format))
