"""The curves of a training as a picture: one panel a value, training and validation in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS = 320, 200, 2
LEFT, TOP, RIGHT, BOTTOM = 56, 30, 14, 28
COLORS = {"": "#1f6feb", "val_": "#d1570b"}
TICKS = 4


def curves(history: Mapping[str, Sequence[object]], title: str) -> str:
    """An SVG of a history: values by name, one an epoch; those with `val_` share the panel of the others."""
    panels: dict[str, dict[str, list[float]]] = {}
    for name, values in history.items():
        numbers = [value if isinstance(value, int | float) else math.nan for value in values]
        prefix = "val_" if name.startswith("val_") else ""
        if any(map(math.isfinite, numbers)):
            panels.setdefault(name.removeprefix("val_"), {})[prefix] = [float(n) for n in numbers]
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
        parts += [f'<g transform="translate({x} {y})">', *_panel(name, lines), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(name: str, lines: Mapping[str, list[float]]) -> Iterator[str]:
    known = [value for values in lines.values() for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 0.5, high + 0.5
    epochs = max(map(len, lines.values()))

    def across(epoch: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(1, epochs - 1)

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    yield f'<text x="{LEFT}" y="18" font-size="12">{escape(name)}</text>'
    for tick in range(TICKS + 1):
        value = low + (high - low) * tick / TICKS
        y = down(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    for epoch in sorted({1, (epochs + 1) // 2, epochs}):
        yield f'<text x="{across(epoch):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{epoch}</text>'
    for index, (prefix, values) in enumerate(lines.items()):
        color = COLORS[prefix]
        points = [(across(i + 1), down(v)) if math.isfinite(v) else None for i, v in enumerate(values)]
        yield f'<path d="{_path(points)}" fill="none" stroke="{color}" stroke-width="1.6"/>'
        yield from (
            f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="1.8" fill="{color}"/>'
            for point in points
            if point is not None and epochs <= 60
        )
        label = "validation" if prefix else "training"
        yield f'<text x="{WIDTH - RIGHT - 60 * index}" y="18" text-anchor="end" fill="{color}">{label}</text>'


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Lines through the points, broken where there is none."""
    steps = []
    broken = True
    for point in points:
        if point is not None:
            steps.append(f"{'M' if broken else 'L'}{point[0]:.1f} {point[1]:.1f}")
        broken = point is None
    return "".join(steps)
