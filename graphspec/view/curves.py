"""The curves of a training as a picture: one panel a value, training and validation in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS = 320, 200, 2
LEFT, TOP, RIGHT, BOTTOM = 56, 30, 14, 28
COLORS = {"": "#1f6feb", "val_": "#d1570b"}
SEVERAL = ("#0b57a4", "#b3450a", "#2a7d2e", "#8a2be2", "#a3195b", "#00707a", "#7a5c00", "#444444")
"""The colors of several runs."""
TICKS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a panel: a value for each epoch."""

    label: str
    color: str
    values: list[float]


def curves(history: Mapping[str, Sequence[object]], title: str, best_epoch: int | None = None) -> str:
    """An SVG of a history: values by name, one an epoch; those with `val_` share the panel of the others. A
    dashed line marks the best epoch.
    """
    panels: dict[str, list[Line]] = {}
    for name, values in history.items():
        prefix = "val_" if name.startswith("val_") else ""
        label = "validation" if prefix else "training"
        _add(panels, name.removeprefix("val_"), Line(label, COLORS[prefix], _numbers(values)))
    return _picture(panels, title, best_epoch)


def curves_of(histories: Mapping[str, Mapping[str, Sequence[object]]], title: str) -> str:
    """An SVG of several runs, by their names: a panel for each value, with the curve of each run."""
    panels: dict[str, list[Line]] = {}
    for name in dict.fromkeys(name for history in histories.values() for name in history):
        for index, (run, history) in enumerate(histories.items()):
            if name in history:
                _add(panels, name, Line(run, SEVERAL[index % len(SEVERAL)], _numbers(history[name])))
    return _picture(panels, title)


def _numbers(values: Sequence[object]) -> list[float]:
    return [float(value) if isinstance(value, int | float) else math.nan for value in values]


def _add(panels: dict[str, list[Line]], name: str, line: Line) -> None:
    if any(map(math.isfinite, line.values)):
        panels.setdefault(name, []).append(line)


def _picture(panels: Mapping[str, Sequence[Line]], title: str, best_epoch: int | None = None) -> str:
    rows = -(-len(panels) // COLUMNS)
    width, height = WIDTH * min(COLUMNS, max(1, len(panels))), HEIGHT * rows + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#444">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="16" font-size="13">{escape(title)}</text>',
    ]
    for index, (name, lines) in enumerate(panels.items()):
        x, y = WIDTH * (index % COLUMNS), HEIGHT * (index // COLUMNS) + 24
        parts += [f'<g transform="translate({x} {y})">', *_panel(name, lines, best_epoch), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, some `TICKS` of them, from one at or below `low` to one at or above `high`."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * TICKS >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [
        round(index * step, 12 - math.floor(math.log10(step)))
        for index in range(first, max(last, first + 1) + 1)
    ]


def _panel(name: str, lines: Sequence[Line], best_epoch: int | None) -> Iterator[str]:
    known = [value for line in lines for value in line.values if math.isfinite(value)]
    low, high = min(known), max(known)
    values = ticks(low, high) if low < high else ticks(low - 0.5, high + 0.5)
    low, high = values[0], values[-1]
    epochs = max(len(line.values) for line in lines)

    def across(epoch: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(1, epochs - 1)

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    yield f'<text x="{LEFT}" y="18" font-size="12">{escape(name)}</text>'
    for value in values:
        y = down(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'
    if best_epoch is not None and 1 <= best_epoch <= epochs:
        x = across(best_epoch)
        yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#999" stroke-dasharray="3 3"/>'
        yield f'<text x="{x:.1f}" y="{TOP - 2}" text-anchor="middle" font-size="9">best: {best_epoch}</text>'
    between = ticks(1, epochs)[1:-1] if epochs > 1 else []
    shown = [int(each) for each in between if each == int(each) and 1 < each < epochs - (between[0] - 1) / 2]
    for epoch in sorted({1, *shown, epochs}):
        yield f'<text x="{across(epoch):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{epoch}</text>'
    for index, line in enumerate(lines):
        points = [(across(i + 1), down(v)) if math.isfinite(v) else None for i, v in enumerate(line.values)]
        yield f'<path d="{_path(points)}" fill="none" stroke="{line.color}" stroke-width="1.6"/>'
        yield from (
            f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="1.8" fill="{line.color}"/>'
            for point in points
            if point is not None and epochs <= 60
        )
        yield _label(line, index)


def _label(line: Line, index: int) -> str:
    """The two words of one training are beside each other, the names of runs below each other."""
    apart = line.color in COLORS.values()
    x, y = (WIDTH - RIGHT - 60 * index, 18) if apart else (WIDTH - RIGHT, 18 + 12 * index)
    return f'<text x="{x}" y="{y}" text-anchor="end" fill="{line.color}">{escape(line.label)}</text>'


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Lines through the points, broken where there is none."""
    steps = []
    broken = True
    for point in points:
        if point is not None:
            steps.append(f"{'M' if broken else 'L'}{point[0]:.1f} {point[1]:.1f}")
        broken = point is None
    return "".join(steps)
