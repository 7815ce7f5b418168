"""Positions: boxes in ranks from top to bottom, bodies within their boxes, edges between ranks.

An edge runs straight down through a rank and bends only in the gap below it, where there are no boxes, so no
edge crosses a box. `page.js` follows the same rules for groups opened and closed there; a test compares the
two.

A picture that runs to the right is a picture from top to bottom with x and y exchanged: here `x` and `width`
are always across the flow, `y` and `height` along it, and the drawing code exchanges them. Text and the heads
of groups stay upright, so their sizes are exchanged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from graphspec.plot.ordering import BEND, SKIP, Ranks, Segment, ranks
from graphspec.plot.picture import Box, Picture
from graphspec.plot.words import lines, text_width

HEIGHTS = (0, 26, 42)
"""Of a box with so many lines of text."""
MARGIN = 10
LABEL = 18
"""Height of the label of a port."""
BESIDE = 5
"""Between a line and its label."""
LETTERS = 14
"""From a line to the top of a label above it."""
BETWEEN = 20
"""Between boxes of a rank."""
GAP = 26
"""Between ranks, at least."""
STACK = 8
"""How far the boxes behind a stack's first one reach beyond it."""
SIGN = 14
"""Room for the sign of a box that can be opened."""
SWEEPS = 13
"""Odd: the last one goes down, so that chains behind one another end up straight."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """The size of a closed box on the screen, and the widths of its ports' labels."""

    width: float
    height: float
    labels: tuple[float, ...]


@dataclass(eq=False, slots=True)
class PlacedBox:
    """A box in its body: its center, its top, its size.

    Ports and slots are relative to the center. `starts` and `head` are relative to the top: they are where
    the lines of ports and the body begin. `left` and `right` are the extent to both sides of the center, and
    `reach` the extent downward, labels and the boxes of a stack included. The body begins `side` from the
    left and `head` from the top.
    """

    box: Box
    width: float
    height: float
    ports: list[float]
    slots: list[float]
    starts: list[float]
    left: float
    right: float
    reach: float
    body: Placement | None = None
    side: float = 0
    head: float = 0
    x: float = 0
    y: float = 0


@dataclass(frozen=True, slots=True)
class EdgePiece:
    """A piece of an edge: straight down from the first point, then a curve from the second to the third."""

    points: tuple[Point, Point, Point]
    arrow: bool
    weights: bool


@dataclass(eq=False, slots=True)
class Placement:
    """A body with coordinates, relative to its upper left corner."""

    width: float = 0
    height: float = 0
    boxes: list[PlacedBox] = field(default_factory=list)
    lines: list[EdgePiece] = field(default_factory=list)
    turns: list[list[Point]] = field(default_factory=list)
    """Lines with corners, from the end of a column to the beginning of the next; `slide.py` makes columns."""


def face(box: Box) -> Face:
    """The size of a closed box."""
    texts = lines(box)
    if not texts:
        return Face(0, 0, tuple(0 for _ in box.ports))
    width = max(text_width(text, small=at > 0) for at, text in enumerate(texts)) + 2 * MARGIN
    if box.body is not None:
        width = max(width, text_width(texts[0]) + 2 * MARGIN + SIGN)
    return Face(width, HEIGHTS[len(texts)], tuple(text_width(port.label, small=True) for port in box.ports))


def place(body: Picture, right: bool = False, room: float = 0) -> Placement:
    """Lays out a body and those of its open boxes, with a length of at least `room` along the flow."""
    ranking = ranks(body)
    placed = [
        _opened(box, box.body, right) if box.body and box.open else _folded(box, right) for box in body.boxes
    ]
    bends = sum(item >= len(placed) for rank in ranking.ranks for item in rank)
    before = [each.left for each in placed] + [4.0] * bends
    after = [each.right for each in placed] + [4.0] * bends
    x = _columns(ranking, placed, before, after)
    low = min((x[i] - before[i] for i in range(len(x))), default=0)
    x = [at - low for at in x]
    width = max((x[i] + after[i] for i in range(len(x))), default=0)
    result = Placement(width, 0, placed)
    _rows(ranking, result, x, room)
    return result


def _folded(box: Box, right: bool) -> PlacedBox:
    shape, behind = face(box), STACK if box.count > 1 else 0
    if right:
        width, height = shape.height, shape.width
        ports = [LABEL * (at - (len(shape.labels) - 1) / 2) for at in range(len(shape.labels))]
        ends = [(LETTERS * bool(label), 0.0) for label in shape.labels]
        below = max([label + BESIDE for label in shape.labels if label], default=0.0)
    else:
        width, height = shape.width, shape.height
        ports = _spread(shape.labels)
        ends = [(0, BESIDE + label) for label in shape.labels]
        below = float(LABEL) if any(shape.labels) else 0.0
    if len(ports) > 1:  # every line begins at its box
        width = max(width, 2 * max(map(abs, ports)) + 2 * MARGIN)
    half = max(width / 2, 4)
    before = max([half, *(end - at for at, (end, _) in zip(ports, ends, strict=True))])
    after = max([half + behind, *(at + end for at, (_, end) in zip(ports, ends, strict=True))])
    starts = [height] * len(ports)
    return PlacedBox(box, width, height, ports, [], starts, before, after, height + behind + below)


def _opened(box: Box, body: Picture, right: bool) -> PlacedBox:
    shape, behind = face(box), STACK if box.count > 1 else 0
    border = float(MARGIN) if any(each.kind == "entry" and each.name for each in body.boxes) else 0.0
    if right:
        inner = place(body, right, shape.width - border - MARGIN)
        side, head = shape.height + MARGIN, border
        width, height = side + inner.width + MARGIN, head + inner.height + MARGIN
    else:
        inner = place(body)
        width, head = max(inner.width + 2 * MARGIN, shape.width), shape.height + border
        side, height = (width - inner.width) / 2, head + inner.height + MARGIN
    entries, exits = ([e for e in inner.boxes if e.box.kind == kind] for kind in ("entry", "exit"))
    slots, ports = ([each.x + side - width / 2 for each in ends] for ends in (entries, exits))
    starts = [height - MARGIN if each.width else height for each in exits]
    half, reach = width / 2, height + behind
    return PlacedBox(box, width, height, ports, slots, starts, half, half + behind, reach, inner, side, head)


def _spread(widths: Sequence[float]) -> list[float]:
    """The positions of lines with labels of these widths to their right: the lines are centered around 0."""
    if len(widths) == 1:
        return [0.0]
    at = -(sum(widths[:-1]) + (BESIDE + MARGIN) * (len(widths) - 1)) / 2
    starts = []
    for width in widths:
        starts.append(at)
        at += width + BESIDE + MARGIN
    return starts


def slot_at(placed: PlacedBox, segment: Segment) -> float:
    """The position at which a segment arrives, relative to the center."""
    if segment.weights and placed.body is not None:
        return MARGIN - placed.width / 2
    return 0 if segment.slot is None or not placed.slots else placed.slots[segment.slot]


Neighbour = tuple[int, float, float]


def _columns(ranking: Ranks, placed: list[PlacedBox], left: list[float], right: list[float]) -> list[float]:
    """The centers of all items. Sweeps down and up move each towards its neighbours in the previous rank."""
    boxes = len(placed)
    above: list[list[Neighbour]] = [[] for _ in left]
    below: list[list[Neighbour]] = [[] for _ in left]
    for segment in ranking.segments:
        upper, lower = segment.upper, segment.lower
        start = placed[upper].ports[segment.port] if upper < boxes else 0
        end = slot_at(placed[lower], segment) if lower < boxes else 0
        above[lower].append((upper, start - end, segment.pull))
        below[upper].append((lower, end - start, segment.pull))
    for segment in ranking.segments:  # the ends of a long edge follow the position of its middle
        upper, lower = segment.upper, segment.lower
        if segment.pull == BEND and all(pull == SKIP for _, _, pull in above[upper]):
            above[upper].append((lower, 0, BEND))
        if segment.pull == BEND and all(pull == SKIP for _, _, pull in below[lower]):
            below[lower].append((upper, 0, BEND))
    x = [0.0] * len(left)
    for rank in ranking.ranks:
        at = 0.0
        for item in rank:
            x[item] = at + left[item]
            at += left[item] + right[item] + BETWEEN
        for item in rank:
            x[item] -= at / 2
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for rank in ranking.ranks if down else reversed(ranking.ranks):
            _settle(rank, neighbours, x, left, right)
    return x


def _settle(
    rank: list[int],
    neighbours: list[list[Neighbour]],
    x: list[float],
    left: list[float],
    right: list[float],
) -> None:
    """Moves the items of a rank as close to their wishes as their order and sizes allow.

    It minimizes the sum of squares, by pooling neighbours that would overlap.
    """
    offset = 0.0
    offsets = []
    pools: list[list[float]] = []  # for each pool: its wish, its weight, its number of items
    for at, item in enumerate(rank):
        if at:
            offset += right[rank[at - 1]] + BETWEEN + left[item]
        offsets.append(offset)
        wish = _median(neighbours[item], x)
        pull = max([weight for _, _, weight in neighbours[item]], default=0.1)
        pools.append([(x[item] if wish is None else wish) - offset, pull, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            wish_, weight_, count_ = pools.pop()
            last = pools[-1]
            total = last[1] + weight_
            last[0] = (last[0] * last[1] + wish_ * weight_) / total
            last[1] = total
            last[2] += count_
    at = 0
    for middle, _, count in pools:
        for _ in range(int(count)):
            x[rank[at]] = middle + offsets[at]
            at += 1


def _median(neighbours: list[Neighbour], x: list[float]) -> float | None:
    """The weighted median of where the neighbours want an item; between two equal ones, their middle."""
    if not neighbours:
        return None
    wishes = sorted((x[other] + shift, weight) for other, shift, weight in neighbours)
    half = sum(weight for _, weight in wishes) / 2
    total = 0.0
    for (wish, weight), (after, _) in pairwise([*wishes, wishes[-1]]):
        total += weight
        if total > half:
            return wish
        if total == half:
            return (wish + after) / 2
    return wishes[-1][0]


def _rows(ranking: Ranks, result: Placement, x: list[float], room: float) -> None:
    """The tops of boxes, and the lines between them. A gap is higher if its lines run far to the side."""
    placed, boxes = result.boxes, len(result.boxes)
    gaps: list[list[Segment]] = [[] for _ in ranking.ranks]
    depth = {item: number for number, rank in enumerate(ranking.ranks) for item in rank}
    for segment in ranking.segments:
        gaps[depth[segment.upper]].append(segment)
    heights, spaces = [], []
    for rank, gap in zip(ranking.ranks, gaps, strict=True):
        heights.append(max([placed[item].reach for item in rank if item < boxes], default=0))
        far = max([abs(_start(s, placed, x) - _end(s, placed, x)) for s in gap], default=0)
        spaces.append(GAP + min(40, far / 12))
    result.height = sum(heights) + sum(spaces[:-1])
    if len(spaces) > 1 and result.height < room:  # lines that leave the body reach its border
        spaces[-2] += room - result.height
        result.height = room
    y = 0.0
    tops = []
    for rank, height, space in zip(ranking.ranks, heights, spaces, strict=True):
        for item in rank:
            if item < boxes:
                placed[item].x, placed[item].y = x[item], y
        tops.append((y, y + height, y + height + space))
        y = tops[-1][2]
    for gap, (top, bottom, following) in zip(gaps, tops, strict=True):
        for segment in gap:
            start, end = _start(segment, placed, x), _end(segment, placed, x)
            begin = top if segment.upper >= boxes else top + placed[segment.upper].starts[segment.port]
            target = placed[segment.lower] if segment.lower < boxes else None
            arrow = target is not None and target.box.kind not in ("exit", "entry") and not segment.weights
            leaves = target is not None and target.box.kind == "exit" and not target.width
            border = MARGIN if leaves else 0  # which the line reaches
            points = ((start, begin), (start, bottom), (end, following + border))
            result.lines.append(EdgePiece(points, arrow, segment.weights))


def _start(segment: Segment, placed: list[PlacedBox], x: list[float]) -> float:
    return x[segment.upper] + (
        placed[segment.upper].ports[segment.port] if segment.upper < len(placed) else 0
    )


def _end(segment: Segment, placed: list[PlacedBox], x: list[float]) -> float:
    return x[segment.lower] + (slot_at(placed[segment.lower], segment) if segment.lower < len(placed) else 0)
