"""The library of blocks, which every spec may use: `block: std/rope`. A file for each, whose first block it is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PREFIX = "std/"


@cache
def names() -> tuple[str, ...]:
    """The blocks of the library, as specs name them."""
    return tuple(sorted(f"{PREFIX}{file.stem}" for file in Path(__file__).parent.glob("*.yaml")))


@cache
def text(name: str) -> str:
    """The text of a block of the library."""
    return (Path(__file__).parent / f"{name.removeprefix(PREFIX)}.yaml").read_text(encoding="utf-8")
