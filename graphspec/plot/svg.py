"""A picture as SVG: one file without scripts, in light or dark colours as the viewer's system is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise

from graphspec.plot.layout import BESIDE, MARGIN, STACK, EdgePiece, PlacedBox, Placement, Point, face, place
from graphspec.plot.palette import OF_KINDS, attributes, dark_style
from graphspec.plot.picture import Box, Picture
from graphspec.plot.slide import SLIDE, Slide
from graphspec.plot.words import FAMILY, caption, heading, second

HEAD = 44
"""Height of the caption."""
CORNER = 6
"""The radius of a line's turns."""


def svg(body: Picture, name: str, right: bool = False) -> str:
    """The text of an SVG file, as large as the picture."""
    placed = place(body, right)
    across, along = (placed.height, placed.width) if right else (placed.width, placed.height)
    title = caption(name, body.boxes)
    width = max(across, 7.6 * len(title)) + 4 * MARGIN
    drawn = _Drawing(right).body(placed, (width - across) / 2, HEAD)
    return _file(title, width, along + HEAD + 2 * MARGIN, drawn)


def slide_svg(chosen: Slide, name: str) -> str:
    """The text of an SVG file of the size of a slide."""
    width, height = SLIDE
    placed, scale = chosen.placed, chosen.scale
    across, along = (placed.height, placed.width) if chosen.right else (placed.width, placed.height)
    x, y = (width - across * scale) / 2, HEAD + (height - HEAD - MARGIN - along * scale) / 2
    drawn = _Drawing(chosen.right).body(placed, 0, 0)
    place = f'<g transform="translate({_n(x)} {_n(y)}) scale({scale:.4f})">'
    title = caption(name, chosen.body.boxes)
    return _file(title, width, height, [place, *drawn, "</g>"], ' style="font-size: 18px"')


def _file(title: str, width: float, height: float, drawn: Iterable[str], large: str = "") -> str:
    look = attributes("text", "caption") + large
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}"'
        f' viewBox="0 0 {_n(width)} {_n(height)}" role="img" font-family="{FAMILY}">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{dark_style()}\n</style>",
        f'<rect class="page" width="100%" height="100%"{attributes("page")}/>',
        f'<text class="caption" x="{2 * MARGIN}" y="27"{look}>{escape(title)}</text>',
        *drawn,
        "</svg>",
    ]
    return "\n".join(out) + "\n"


class _Drawing:
    """Draws what `layout` placed. In a picture that runs to the `right`, x and y are exchanged there."""

    def __init__(self, right: bool):
        self._right = right

    def body(self, placed: Placement, left: float, top: float) -> Iterator[str]:
        """The boxes and lines of a body whose upper left corner is at (left, top) of the file."""
        shown = [(box, *self._at((box.x - box.width / 2, box.y), left, top)) for box in placed.boxes]
        for box, x, y in shown:
            if box.body is not None:
                yield from self._group(box, box.body, x, y)
        for line in placed.lines:
            yield from self._line(line, left, top)
        for turn in placed.turns:
            yield from self._turn(turn, left, top)
        for box, x, y in shown:
            if box.width:
                yield from self._box(box, x, y)

    def _at(self, point: Point, left: float, top: float) -> Point:
        return (left + point[1], top + point[0]) if self._right else (left + point[0], top + point[1])

    def _size(self, box: PlacedBox) -> tuple[float, float]:
        return (box.height, box.width) if self._right else (box.width, box.height)

    def _group(self, placed: PlacedBox, body: Placement, x: float, y: float) -> Iterator[str]:
        """An open block or model: its frame, and its body."""
        yield from _rects(placed.box, x, y, self._size(placed), "frame", "frame")
        yield from self.body(body, *self._at((placed.side, placed.head), x, y))

    def _box(self, placed: PlacedBox, x: float, y: float) -> Iterator[str]:
        box, (width, _) = placed.box, self._size(placed)
        height = face(box).height
        yield f'<g class="box {box.kind}{"" if box.params or box.shared or box.opaque else " plain"}">'
        yield f"<title>{escape(box.path)}</title>"
        if placed.body is None:
            yield from _rects(box, x, y, (width, height), "", _part(box))
        else:
            yield _rect(x, y, (width, height), "", _part(box))
        name, title = heading(box)
        inside = _n(x + MARGIN)
        kind = f' <tspan class="type"{attributes("type")}>{escape(title)}</tspan>' if title else ""
        first = f'<tspan class="name"{attributes("name")}>{escape(name)}</tspan>{kind}'
        yield f'<text x="{inside}" y="{_n(y + 17)}"{attributes("text")}>{first}</text>'
        if text := second(box):
            look = attributes("more")
            yield f'<text class="more" x="{inside}" y="{_n(y + 34)}"{look}>{escape(text)}</text>'
        yield "</g>"
        if placed.body is None:
            yield from self._labels(placed, x, y)

    def _labels(self, placed: PlacedBox, x: float, y: float) -> Iterator[str]:
        end = placed.height + (STACK if placed.box.count > 1 else 0)
        for port, at in zip(placed.box.ports, placed.ports, strict=True):
            beside = placed.width / 2 + at
            down, along = (beside - BESIDE, end + BESIDE) if self._right else (end + 14, beside + BESIDE)
            if port.label:
                place = f'x="{_n(x + along)}" y="{_n(y + down)}"'
                yield f'<text class="shape" {place}{attributes("more")}>{escape(port.label)}</text>'

    def _line(self, line: EdgePiece, left: float, top: float) -> Iterator[str]:
        (x0, y0), (x1, y1), (x2, y2) = (self._at(point, left, top) for point in line.points)
        if self._right:
            middle = (x1 + x2) / 2
            bend = f"H{_n(x1)}C{_n(middle)} {_n(y0)} {_n(middle)} {_n(y2)} {_n(x2)} {_n(y2)}"
            bend = f"H{_n(x2)}" if y0 == y2 else bend
        else:
            middle = (y1 + y2) / 2
            bend = f"V{_n(y1)}C{_n(x0)} {_n(middle)} {_n(x2)} {_n(middle)} {_n(x2)} {_n(y2)}"
            bend = f"V{_n(y2)}" if x0 == x2 else bend
        kind = "weights" if line.weights else "edge"
        yield f'<path class="{kind}" d="M{_n(x0)} {_n(y0)}{bend}"{attributes(kind)}/>'
        if line.arrow:
            yield self._head(x2, y2)

    def _turn(self, points: list[Point], left: float, top: float) -> Iterator[str]:
        """A line with corners, from the end of a column to the beginning of the next."""
        (x, y), *others = (self._at(point, left, top) for point in points)
        path = f"M{_n(x)} {_n(y)}"
        for (x1, y1), (x2, y2) in pairwise(others):
            (xa, ya), (xb, yb) = _towards((x1, y1), (x, y)), _towards((x1, y1), (x2, y2))
            path += f"L{_n(xa)} {_n(ya)}Q{_n(x1)} {_n(y1)} {_n(xb)} {_n(yb)}"
            x, y = x1, y1
        x, y = others[-1]
        yield f'<path class="edge" d="{path}L{_n(x)} {_n(y)}"{attributes("edge")}/>'
        yield self._head(x, y)

    def _head(self, x: float, y: float) -> str:
        wings = "l-7 -4v8z" if self._right else "l-4 -7h8z"
        return f'<path class="head" d="M{_n(x)} {_n(y)}{wings}"{attributes("head")}/>'


def _towards(start: Point, end: Point) -> Point:
    """The point at a distance of `CORNER` from the start of a straight line, or its middle if it is short."""
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    part = min(CORNER, length / 2) / (length or 1)
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part


def _part(box: Box) -> str:
    """The part of the palette that a box uses."""
    return OF_KINDS.get(box.kind, "layer" if box.params or box.shared or box.opaque else "plain")


def _rects(
    box: Box, left: float, top: float, size: tuple[float, float], name: str, part: str
) -> Iterator[str]:
    """The outline of a box, and for a stack also those behind it."""
    for shift in (STACK, STACK / 2) if box.count > 1 else ():
        yield _rect(left + shift, top + shift, size, "behind", "behind" if name else part)
    yield _rect(left, top, size, name, part)


def _rect(left: float, top: float, size: tuple[float, float], name: str, part: str) -> str:
    kind = f'class="{name}" ' if name else ""
    extent = f'width="{_n(size[0])}" height="{_n(size[1])}"'
    return f'<rect {kind}x="{_n(left)}" y="{_n(top)}" {extent} rx="5"{attributes(part)}/>'


def _n(number: float) -> str:
    """A coordinate, rounded to tenths."""
    return f"{round(number, 1) + 0:.1f}".removesuffix(".0")  # + 0 turns -0 into 0
