"""A picture as SVG: one file without scripts, light and dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from graphspec.plot.layout import BESIDE, MARGIN, STACK, Line, Placed, Placement, face, place
from graphspec.plot.picture import Body
from graphspec.plot.words import FAMILY, caption, heading, second

HEAD = 44
"""Height of the caption."""


def svg(body: Body, name: str) -> str:
    """The text of an SVG file."""
    placed = place(body)
    title = caption(name, body.boxes)
    width = max(placed.width, 7.6 * len(title)) + 4 * MARGIN
    height = placed.height + HEAD + 2 * MARGIN
    style = (files("graphspec.plot") / "graph.css").read_text(encoding="utf-8").strip()
    left = (width - placed.width) / 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}"'
        f' viewBox="0 0 {_n(width)} {_n(height)}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\nsvg {{ font-family: {FAMILY}; }}\n{style}\n</style>",
        '<rect class="page" width="100%" height="100%"/>',
        f'<text class="caption" x="{2 * MARGIN}" y="27">{escape(title)}</text>',
        *_body(placed, left, HEAD),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _body(placed: Placement, x: float, y: float) -> Iterator[str]:
    for box in placed.boxes:
        if box.body is not None:
            yield from _group(box, x + box.x, y + box.y)
    yield from _lines(placed.lines, x, y)
    for box in placed.boxes:
        if box.width:
            yield from _box(box, x + box.x, y + box.y)


def _group(placed: Placed, x: float, y: float) -> Iterator[str]:
    """An open block or model: its frame, and what is in it."""
    assert placed.body is not None
    left = x - placed.width / 2
    yield from _rects(placed, left, y, placed.height, "frame")
    yield from _body(placed.body, x - placed.body.width / 2, y + placed.head)


def _box(placed: Placed, x: float, y: float) -> Iterator[str]:
    box = placed.box
    left = x - placed.width / 2
    height = face(box).height
    yield f'<g class="box {box.kind}{"" if box.params or box.shared else " plain"}">'
    yield f"<title>{escape(box.path)}</title>"
    if placed.body is None:
        yield from _rects(placed, left, y, height, "")
    else:
        yield f'<rect x="{_n(left)}" y="{_n(y)}" width="{_n(placed.width)}" height="{_n(height)}" rx="5"/>'
    name, title = heading(box)
    inside = _n(left + MARGIN)
    kind = f' <tspan class="type">{escape(title)}</tspan>' if title else ""
    yield f'<text x="{inside}" y="{_n(y + 17)}"><tspan class="name">{escape(name)}</tspan>{kind}</text>'
    if text := second(box):
        yield f'<text class="more" x="{inside}" y="{_n(y + 34)}">{escape(text)}</text>'
    yield "</g>"
    if placed.body is None:
        below = y + height + (STACK if box.count > 1 else 0) + 14
        for port, at in zip(box.ports, placed.ports, strict=True):
            if port.label:
                beside = _n(x + at + BESIDE)
                yield f'<text class="shape" x="{beside}" y="{_n(below)}">{escape(port.label)}</text>'


def _rects(placed: Placed, left: float, y: float, height: float, kind: str) -> Iterator[str]:
    """The outline of a box; of a stack, also those behind it."""
    name = f' class="{kind}"' if kind else ""
    size = f'width="{_n(placed.width)}" height="{_n(height)}" rx="5"'
    for shift in (STACK, STACK / 2) if placed.box.count > 1 else ():
        yield f'<rect class="behind" x="{_n(left + shift)}" y="{_n(y + shift)}" {size}/>'
    yield f'<rect{name} x="{_n(left)}" y="{_n(y)}" {size}/>'


def _lines(lines: list[Line], x: float, y: float) -> Iterator[str]:
    for line in lines:
        (x0, y0), (_, y1), (x2, y2) = ((x + at, y + down) for at, down in line.points)
        middle = (y1 + y2) / 2
        path = f"M{_n(x0)} {_n(y0)}V{_n(y1)}C{_n(x0)} {_n(middle)} {_n(x2)} {_n(middle)} {_n(x2)} {_n(y2)}"
        if x0 == x2:
            path = f"M{_n(x0)} {_n(y0)}V{_n(y2)}"
        yield f'<path class="{"weights" if line.weights else "edge"}" d="{path}"/>'
        if line.arrow:
            yield f'<path class="head" d="M{_n(x2)} {_n(y2)}l-4 -7h8z"/>'


def _n(number: float) -> str:
    """A coordinate in tenths."""
    return f"{round(number, 1) + 0:.1f}".removesuffix(".0")  # + 0 makes 0 of -0
