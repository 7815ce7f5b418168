"""The value that emission returns."""

from __future__ import annotations

from dataclasses import dataclass

from graphspec.diagnostics import Span


@dataclass(frozen=True, slots=True)
class Emitted:
    """A Python file.

    `places` maps its line numbers, from 1, to the places in the spec that the lines come from. `nodes` maps
    the lines that compute something to all nodes in them.
    """

    source: str
    places: dict[int, Span]
    nodes: dict[int, list[Span]]
    class_name: str
    program: str  # the program's name
