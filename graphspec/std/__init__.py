"""The library of blocks, which every spec may use: `block: std/rope`.

Each has a file, whose first block it is; the others are parts of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from graphspec.contract import argument_names
from graphspec.diagnostics import Diagnostics
from graphspec.source import Document, read

PREFIX = "std/"


@cache
def names() -> tuple[str, ...]:
    """The blocks of the library, as specs name them."""
    return tuple(sorted(f"{PREFIX}{file.stem}" for file in Path(__file__).parent.glob("*.yaml")))


@cache
def document(name: str) -> Document:
    """The file of a block of the library."""
    text = (Path(__file__).parent / f"{name.removeprefix(PREFIX)}.yaml").read_text(encoding="utf-8")
    found = read(text, name, Diagnostics(), argument_names)
    assert found is not None, f"{name} is YAML"
    return found
