"""A picture for a slide: as deep as its text stays readable, in as many columns as fill the space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphspec.plot.layout import EdgePiece, PlacedBox, Placement, Point, place
from graphspec.plot.picture import Picture, unfold

SLIDE = (1280.0, 720.0)
"""16:9, in pixels: 13.3 by 7.5 inches, as presentations have it."""
FRAME = (40.0, 64.0)
"""Free space at the sides, and for the caption."""
READABLE, LARGEST = 1.0, 2.0
"""Scales: 1 is text of 9 points on the slide."""
WORTH = 1.15
"""By how much a further column must enlarge the text."""
MOST = 8
"""Columns."""
GUTTER = 44.0
"""Between columns, where the line from one to the next runs."""
TURN = 14.0
"""From the ends of a column to that line."""


@dataclass(frozen=True, slots=True)
class Slide:
    """The choice: the picture with some groups open, its coordinates, and the scale."""

    body: Picture
    placed: Placement
    right: bool
    scale: float


def choose(body: Picture, rights: Sequence[bool], depths: Iterable[int]) -> Slide:
    """The deepest view with readable text on a slide; if there is none, the one with the largest text.

    `rights` are the directions to try, `depths` the depths of open groups, in ascending order.
    """
    best: tuple[int, Slide] | None = None
    for depth in depths:
        unfold(body, depth=depth)
        view = max((_fitted(body, right) for right in rights), key=lambda each: each.scale)
        if best is None or view.scale >= READABLE or view.scale > best[1].scale:
            best = depth, view
    assert best is not None
    unfold(body, depth=best[0])
    return best[1]


def _fitted(body: Picture, right: bool) -> Slide:
    placed = place(body, right)
    width, height = (size - free for size, free in zip(SLIDE, FRAME, strict=True))
    if right:
        width, height = height, width
    best: Slide | None = None
    for count in range(1, MOST + 1):
        wrapped = columns(placed, count)
        scale = min(width / wrapped.width, height / wrapped.height, LARGEST)
        if best is None or scale > best.scale * WORTH:
            best = Slide(body, wrapped, right, scale)
    assert best is not None
    return best


def columns(placed: Placement, count: int) -> Placement:
    """The same picture in at most `count` columns of similar height; one line leads into each."""
    ends = _ends(placed)
    low, high = 0.0, placed.height
    for _ in range(24):  # the least height that `count` columns need
        middle = (low + high) / 2
        if len(_parts(ends, placed.height, middle)) < count:
            high = middle
        else:
            low = middle
    cuts = _parts(ends, placed.height, high)
    return _wrapped(placed, [ends[cut] for cut in cuts]) if cuts else placed


Gap = tuple[float, float]


def _ends(placed: Placement) -> list[Gap]:
    """The gaps between ranks that a single line crosses, from the top. A column can end and begin there."""
    crossing: dict[float, list[Gap]] = {}
    for line in placed.lines:
        (_, _), (_, bottom), (_, top) = line.points
        crossing.setdefault(bottom, []).append((bottom, top))
    return [gaps[0] for _, gaps in sorted(crossing.items()) if len(gaps) == 1]


def _parts(ends: list[Gap], height: float, limit: float) -> list[int]:
    """The gaps at which to cut a picture so that its parts are at most `limit` high, if possible."""
    cuts: list[int] = []
    start = 0.0
    for at, (_, top) in enumerate(ends):
        following = ends[at + 1][0] if at + 1 < len(ends) else height
        if following - start > limit:
            cuts.append(at)
            start = top
    return cuts


@dataclass(frozen=True, slots=True)
class _Move:
    """The shift of a part of the picture."""

    x: float
    y: float

    def point(self, point: Point) -> Point:
        return point[0] + self.x, point[1] + self.y

    def box(self, box: PlacedBox) -> PlacedBox:
        return replace(box, x=box.x + self.x, y=box.y + self.y)

    def line(self, line: EdgePiece) -> EdgePiece:
        first, second, third = map(self.point, line.points)
        return replace(line, points=(first, second, third))


def _wrapped(placed: Placement, cuts: list[Gap]) -> Placement:
    """The parts of a picture between cuts, next to each other."""
    starts = [0.0, *(top for _, top in cuts)]
    bottoms = [*(bottom for bottom, _ in cuts), placed.height]
    result = Placement()
    before: tuple[EdgePiece, _Move, float] | None = None
    edge = 0.0
    for start, bottom in zip(starts, bottoms, strict=True):
        boxes = [box for box in placed.boxes if start <= box.y < bottom]
        inside = [line for line in placed.lines if start <= line.points[0][1] and line.points[2][1] <= bottom]
        run = [x for line in inside for x, _ in line.points]
        left = min([box.x - box.left for box in boxes] + run)
        right = max([box.x + box.right for box in boxes] + run)
        move = _Move(edge - left, TURN - start)
        result.boxes += map(move.box, boxes)
        result.lines += map(move.line, inside)
        end = bottom + move.y + TURN
        if before is not None:
            line, moved, last = before
            begin, target = moved.point(line.points[0]), move.point(line.points[2])
            gutter = edge - GUTTER / 2
            corners = [(begin[0], last), (gutter, last), (gutter, 0.0), (target[0], 0.0)]
            result.turns.append([begin, *corners, target])
        leaving = next((line for line in placed.lines if line.points[1][1] == bottom), None)
        before = None if leaving is None else (leaving, move, end)
        result.height = max(result.height, end)
        edge += right - left + GUTTER
    result.width = edge - GUTTER
    return result
