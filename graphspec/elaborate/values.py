"""The targets of names in a body: a value of its graph, nothing, or a failure that is reported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from graphspec.diagnostics import Span
from graphspec.graph import Value


class Absent(Enum):
    """Why there is no value."""

    NOTHING = "left out, with `else: null`: a merge leaves it out, any other reader refuses it"
    FAILED = "reported already: whoever reads it stays silent"


NOTHING: Final = Absent.NOTHING
FAILED: Final = Absent.FAILED

Resolved = Value | Absent
"""The target of a reference to one thing."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A value bound to an input, and its text and place in the spec."""

    value: Resolved
    text: str
    span: Span | None
