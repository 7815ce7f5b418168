"""A search as a picture: the value of each trial, and the importance of each key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Literal

from graphspec.tune.study import Finished

WIDTH, HEIGHT = 860, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 560, 50, 270
"""The frame of the history."""
INK, SOFT, GRID, POINT, LINE = "#1f2328", "#59636e", "#d1d9e0", "#54aeff", "#bf8700"
DARK = """<style>
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 } text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
}
</style>"""


def picture(
    trials: Sequence[Finished],
    direction: Literal["minimize", "maximize"],
    objective: str,
    importances: Mapping[str, float],
) -> str:
    """The text of an SVG file: complete trials as points, the best so far as a line, importances as bars."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="12">',
        DARK,
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 28, objective, weight=600),
        *_history([trial for trial in trials if trial.state == "complete"], direction, len(trials)),
        *_bars(importances),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _history(complete: Sequence[Finished], direction: str, count: int) -> Iterator[str]:
    values = [trial.value for trial in complete if trial.value is not None]
    if not values:
        yield _text(LEFT, TOP + 20, "no trial is complete", soft=True)
        return
    low, high = min(values), max(values)
    if low == high:
        low, high = low - abs(low or 1) / 10, high + abs(high or 1) / 10

    def x(number: int) -> float:
        return LEFT + 10 + (RIGHT - LEFT - 20) * number / max(1, count - 1)

    def y(value: float) -> float:
        return BOTTOM - 10 - (BOTTOM - TOP - 20) * (value - low) / (high - low)

    for value in (low, (low + high) / 2, high):
        yield f'<path class="grid" d="M{LEFT} {y(value):.1f}H{RIGHT}" stroke="{GRID}"/>'
        yield _text(LEFT - 8, y(value) + 4, f"{value:.4g}", soft=True, anchor="end")
    better = min if direction == "minimize" else max
    best, path = values[0], f"M{x(complete[0].number):.1f} {y(values[0]):.1f}"
    for trial, value in zip(complete[1:], values[1:], strict=True):
        best = better(best, value)
        path += f"H{x(trial.number):.1f}V{y(best):.1f}"
    yield f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5"/>'
    for trial, value in zip(complete, values, strict=True):
        tip = escape("  ".join(f"{key}={item}" for key, item in trial.params.items()))
        yield (
            f'<circle cx="{x(trial.number):.1f}" cy="{y(value):.1f}" r="4" fill="{POINT}">'
            f"<title>trial {trial.number}: {value:.6g}  {tip}</title></circle>"
        )
    yield _text(LEFT, BOTTOM + 22, "trials, in their order; the line is the best so far", soft=True)


def _bars(importances: Mapping[str, float]) -> Iterator[str]:
    if not importances:
        return
    left, width = RIGHT + 40, WIDTH - RIGHT - 60
    yield _text(left, 28, "what matters", weight=600)
    largest = max(importances.values()) or 1.0
    for index, (key, share) in enumerate(importances.items()):
        top = TOP + 4 + index * 36
        if top > BOTTOM:
            return
        yield _text(left, top + 10, f"{key[-32:]}  {share:.0%}", soft=True)
        length = max(1.0, width * share / largest)
        yield f'<rect x="{left}" y="{top + 15}" width="{length:.1f}" height="8" rx="2" fill="{POINT}"/>'


def _text(
    x: float, y: float, text: str, *, soft: bool = False, weight: int = 400, anchor: str = "start"
) -> str:
    kind = ' class="soft"' if soft else ""
    return (
        f'<text{kind} x="{x:.1f}" y="{y:.1f}" fill="{SOFT if soft else INK}" font-weight="{weight}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )
