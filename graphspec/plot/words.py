"""The text in boxes, and its width."""

from __future__ import annotations

from graphspec.diagnostics import visible
from graphspec.plot.picture import TIMES, Box
from graphspec.tensor import Dim, Size
from graphspec.view.summary import show_flops

FONT = 12
SMALL = 11
FAMILY = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
ADVANCE = 0.605
"""The width of a character of these fonts, in parts of their size."""


def text_width(text: str, small: bool = False) -> float:
    """The width of a text in pixels, rounded to tenths."""
    return round(len(text) * ADVANCE * (SMALL if small else FONT), 1)


def heading(box: Box) -> tuple[str, str]:
    """The first line of a box: its name, and its type."""
    return (f"{box.name} {TIMES} {box.count}" if box.count > 1 else box.name), box.title


def second(box: Box) -> str:
    """The second line: weights and arguments. Empty if there are none."""
    parts = []
    if box.shared:
        parts.append(f"weights of {box.shared}")
    elif box.params or box.opaque:
        frozen = "" if box.trainable or not box.params else ", frozen"
        parts.append(f"{count(box.params, box.opaque)} params{frozen}")
    if box.detail:
        parts.append(box.detail)
    return " · ".join(parts)


def lines(box: Box) -> list[str]:
    """The lines of text in a box."""
    return [text for text in (" ".join(filter(None, heading(box))), second(box)) if text]


def caption(name: str, boxes: list[Box]) -> str:
    """The text above a picture: the program's name, weights and forward cost."""
    flops: Dim = 0
    for box in boxes:
        flops = flops + box.flops
    cost = "" if isinstance(flops, Size) else f", {show_flops(flops)} an example"
    params = count(sum(box.params for box in boxes), any(box.opaque for box in boxes))
    return f"{visible(name)}: {params} params{cost}"


def count(params: int, opaque: bool) -> str:
    """The number of parameters; those of custom modules are unknown."""
    return f"{params:,}" if not opaque else f"{params:,} + ?" if params else "?"
