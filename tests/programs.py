"""The programs of spec files, compiled once for all tests: a program is a value that keeps its source."""

from functools import cache
from pathlib import Path

import graphspec


@cache
def program_of(path: Path, preset: str | None = None) -> graphspec.Program:
    """The program of a file in this checkout."""
    return graphspec.compile(path, preset=preset)
