"""A picture as SVG: one file without scripts, light and dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from graphspec.plot.layout import BESIDE, MARGIN, STACK, EdgePiece, PlacedBox, Placement, face, place
from graphspec.plot.palette import OF_KINDS, attributes, dark_style
from graphspec.plot.picture import Box, Picture
from graphspec.plot.words import FAMILY, caption, heading, second

HEAD = 44
"""Height of the caption."""


def svg(body: Picture, name: str) -> str:
    """The text of an SVG file."""
    placed = place(body)
    title = caption(name, body.boxes)
    width = max(placed.width, 7.6 * len(title)) + 4 * MARGIN
    height = placed.height + HEAD + 2 * MARGIN
    left, look = (width - placed.width) / 2, attributes("text", "caption")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}"'
        f' viewBox="0 0 {_n(width)} {_n(height)}" role="img" font-family="{FAMILY}">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{dark_style()}\n</style>",
        f'<rect class="page" width="100%" height="100%"{attributes("page")}/>',
        f'<text class="caption" x="{2 * MARGIN}" y="27"{look}>{escape(title)}</text>',
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


def _group(placed: PlacedBox, x: float, y: float) -> Iterator[str]:
    """An open block or model: its frame, and what is in it."""
    assert placed.body is not None
    left = x - placed.width / 2
    yield from _rects(placed, left, y, placed.height, "frame", "frame")
    yield from _body(placed.body, x - placed.body.width / 2, y + placed.head)


def _box(placed: PlacedBox, x: float, y: float) -> Iterator[str]:
    box = placed.box
    left = x - placed.width / 2
    height = face(box).height
    yield f'<g class="box {box.kind}{"" if box.params or box.shared or box.opaque else " plain"}">'
    yield f"<title>{escape(box.path)}</title>"
    if placed.body is None:
        yield from _rects(placed, left, y, height, "", _part(box))
    else:
        yield _rect(left, y, placed.width, height, "", _part(box))
    name, title = heading(box)
    inside = _n(left + MARGIN)
    kind = f' <tspan class="type"{attributes("type")}>{escape(title)}</tspan>' if title else ""
    first = f'<tspan class="name"{attributes("name")}>{escape(name)}</tspan>{kind}'
    yield f'<text x="{inside}" y="{_n(y + 17)}"{attributes("text")}>{first}</text>'
    if text := second(box):
        yield f'<text class="more" x="{inside}" y="{_n(y + 34)}"{attributes("more")}>{escape(text)}</text>'
    yield "</g>"
    if placed.body is None:
        below = y + height + (STACK if box.count > 1 else 0) + 14
        for port, at in zip(box.ports, placed.ports, strict=True):
            if port.label:
                beside = _n(x + at + BESIDE)
                look = attributes("more")
                yield f'<text class="shape" x="{beside}" y="{_n(below)}"{look}>{escape(port.label)}</text>'


def _part(box: Box) -> str:
    """The part of the palette that a box is drawn with."""
    return OF_KINDS.get(box.kind, "layer" if box.params or box.shared or box.opaque else "plain")


def _rects(placed: PlacedBox, left: float, y: float, height: float, name: str, part: str) -> Iterator[str]:
    """The outline of a box; of a stack, also those behind it."""
    for shift in (STACK, STACK / 2) if placed.box.count > 1 else ():
        yield _rect(left + shift, y + shift, placed.width, height, "behind", "behind" if name else part)
    yield _rect(left, y, placed.width, height, name, part)


def _rect(left: float, y: float, width: float, height: float, name: str, part: str) -> str:
    kind = f'class="{name}" ' if name else ""
    size = f'width="{_n(width)}" height="{_n(height)}"'
    return f'<rect {kind}x="{_n(left)}" y="{_n(y)}" {size} rx="5"{attributes(part)}/>'


def _lines(lines: list[EdgePiece], x: float, y: float) -> Iterator[str]:
    for line in lines:
        (x0, y0), (_, y1), (x2, y2) = ((x + at, y + down) for at, down in line.points)
        middle = (y1 + y2) / 2
        path = f"M{_n(x0)} {_n(y0)}V{_n(y1)}C{_n(x0)} {_n(middle)} {_n(x2)} {_n(middle)} {_n(x2)} {_n(y2)}"
        if x0 == x2:
            path = f"M{_n(x0)} {_n(y0)}V{_n(y2)}"
        kind = "weights" if line.weights else "edge"
        yield f'<path class="{kind}" d="{path}"{attributes(kind)}/>'
        if line.arrow:
            yield f'<path class="head" d="M{_n(x2)} {_n(y2)}l-4 -7h8z"{attributes("head")}/>'


def _n(number: float) -> str:
    """A coordinate in tenths."""
    return f"{round(number, 1) + 0:.1f}".removesuffix(".0")  # + 0 makes 0 of -0
