"""Cells of columns as a report tells of them: short texts, and the groups that examples fall into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphspec.data.encoders.base import Array, Encoder
from graphspec.data.encoders.lists import ListEncoder
from graphspec.data.encoders.numbers import Floats

WORDS = 16
"""Words of a text that are shown."""
GROUPS = 8
"""Groups of a column, the largest."""
UNKNOWN, MISSING = "(rare or unseen)", "(missing)"


def grouped(cells: Sequence[Any]) -> tuple[Array, list[str]]:
    """The group of each example, and the groups to tell of, in their order: the most frequent texts, or
    ranges of numbers, a quarter of the examples in each. Lists and parts of dates have none.
    """
    numbers = [cell for cell in cells if isinstance(cell, float)]
    if numbers:
        edges = np.unique(np.quantile(numbers, (0.25, 0.5, 0.75)))
        shown = [f"{edge:.4g}" for edge in edges]
        between = [f"above {low} to {high}" for low, high in pairwise(shown)]
        ranges = [f"up to {shown[0]}", *between, f"above {shown[-1]}"]
        texts = [MISSING if cell is None else ranges[np.searchsorted(edges, cell)] for cell in cells]
        return np.array(texts), [*dict.fromkeys(ranges), MISSING]
    if not all(cell is None or isinstance(cell, str) for cell in cells):
        return np.array([]), []
    texts = [UNKNOWN if cell is None else cell for cell in cells]
    return np.array(texts), [text for text, _ in Counter(texts).most_common(GROUPS)]


def cell_text(cell: Any, encoder: Encoder | None = None) -> str:
    """A cell as people read it: of a list its first elements, of a text its first words."""
    if isinstance(cell, dict):
        return ", ".join(f"{part} {number:.4g}" for part, number in cell.items())
    if not isinstance(cell, list):
        if cell is None:
            return MISSING if isinstance(encoder, Floats) else UNKNOWN
        text = f"{cell:.4g}" if isinstance(cell, float) else str(cell)
        return f"{text} (scaled)" if encoder is not None and encoder.beside else text
    most, between, flat = 4, ", ", list(_flat(cell))
    if isinstance(encoder, ListEncoder):
        most, between, flat = WORDS, " ", [word for word in flat if word is not None]
    shown = [cell_text(each, encoder) for each in flat[:most]]
    return between.join(shown) + (f"{between}..." if len(flat) > most else "")


def _flat(cells: list[Any]) -> Iterator[Any]:
    """The elements of nested lists."""
    for cell in cells:
        yield from _flat(cell) if isinstance(cell, list) else (cell,)
