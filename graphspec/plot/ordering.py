"""The ranks of a body: the vertical and horizontal order of boxes, without sizes.

Edges that pass a rank have a bend there. All edges of one port share their bends, so a value with many
readers is one line that branches. Items are first the boxes, by number, then the bends.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

from graphspec.plot.picture import Picture

SWEEPS = 8
BEND, BRANCH, SKIP = 8.0, 3.0, 0.01
"""How strongly an edge stays straight: between bends; of a branch; past a longer way to the same box."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an edge between items of neighbouring ranks. `slot` is as in `Edge`; a bend has port 0.

    `pull` is the weight with which its ends are aligned.
    """

    upper: int
    port: int
    lower: int
    slot: int | None
    weights: bool
    pull: float


@dataclass(eq=False, slots=True)
class Ranks:
    """The items of each rank from left to right, and the segments between ranks."""

    ranks: list[list[int]]
    segments: list[Segment]
    boxes: int
    above: list[list[tuple[int, float]]] = field(default_factory=list)
    below: list[list[tuple[int, float]]] = field(default_factory=list)


def ranks(body: Picture) -> Ranks:
    """The ranks of a body, ordered for few crossings."""
    rank = _depths(body)
    ranking = _bent(body, rank)
    _connect(body, ranking)
    best, fewest = ranking.ranks, _crossings(ranking, ranking.ranks)
    current = ranking.ranks
    for sweep in range(SWEEPS):
        if not fewest:
            break
        current = _swept(ranking, current, downward=sweep % 2 == 0)
        count = _crossings(ranking, current)
        if count < fewest:
            best, fewest = current, count
    ranking.ranks = best
    return ranking


def _depths(body: Picture) -> list[int]:
    """Ranks by the longest path. A box without inputs is placed directly above its first reader, and exits
    have the last rank for themselves.
    """
    depth = [0] * len(body.boxes)
    nearest = [len(body.boxes)] * len(body.boxes)
    sources = [True] * len(body.boxes)
    incoming: list[list[int]] = [[] for _ in body.boxes]
    for edge in body.edges:
        incoming[edge.target].append(edge.source)
        sources[edge.target] = False
    for index, above in enumerate(incoming):
        depth[index] = max((depth[source] + 1 for source in above), default=0)
    for edge in body.edges:
        nearest[edge.source] = min(nearest[edge.source], depth[edge.target])
    deepest = max(depth, default=0)
    last = max((at + (box.kind != "exit") for at, box in zip(depth, body.boxes, strict=True)), default=0)
    for index, box in enumerate(body.boxes):
        if box.kind == "exit":
            depth[index] = last
        elif sources[index] and box.kind != "entry" and nearest[index] <= deepest:
            depth[index] = nearest[index] - 1
    return depth


def _bent(body: Picture, rank: list[int]) -> Ranks:
    """The ranks, with bends where edges pass a rank, in depth-first order along the edges."""
    ends: dict[tuple[int, int, bool], dict[tuple[int, int | None], None]] = {}
    for edge in body.edges:
        ends.setdefault((edge.source, edge.port, edge.weights), {})[edge.target, edge.slot] = None
    levels: list[list[int]] = [[] for _ in range(max(rank, default=0) + 1)]
    for index, level in enumerate(rank):
        levels[level].append(index)
    segments = []
    count = len(body.boxes)
    skips = _skips(body, rank)
    for (source, port, weights), targets in ends.items():
        upper, at = (source, port), rank[source]
        pulls = {target: SKIP if weights or (source, target) in skips else BRANCH for target, _ in targets}
        for level in range(at + 1, max(rank[target] for target, _ in targets) + 1):
            for target, slot in targets:
                if rank[target] == level:
                    segments.append(Segment(*upper, target, slot, weights, pulls[target]))
            further = [pull for target, pull in pulls.items() if rank[target] > level]
            if further:
                pull = BEND if upper[0] >= len(body.boxes) else max(further)
                segments.append(Segment(*upper, count, None, weights, pull))
                levels[level].append(count)
                upper = (count, 0)
                count += 1
    return Ranks(levels, segments, len(body.boxes))


def _skips(body: Picture, rank: list[int]) -> set[tuple[int, int]]:
    """The long edges whose ends are also connected by another path."""
    following: list[set[int]] = [set() for _ in body.boxes]
    for edge in body.edges:
        following[edge.source].add(edge.target)
    skips = set()
    for source, targets in enumerate(following):
        far = {target for target in targets if rank[target] > rank[source] + 1}
        reached: set[int] = set()
        waiting = list(targets) if far else []
        deepest = max((rank[target] for target in far), default=0)
        while waiting:
            for further in following[waiting.pop()]:
                if further not in reached and rank[further] <= deepest:
                    reached.add(further)
                    waiting.append(further)
        skips |= {(source, target) for target in far & reached}
    return skips


def _connect(body: Picture, ranking: Ranks) -> None:
    """For each item its neighbours above and below, with the fraction of a position that ports add."""
    count = ranking.boxes + sum(item >= ranking.boxes for rank in ranking.ranks for item in rank)
    ranking.above, ranking.below = [[] for _ in range(count)], [[] for _ in range(count)]
    for segment in ranking.segments:
        ports = len(body.boxes[segment.upper].ports) if segment.upper < ranking.boxes else 1
        ranking.above[segment.lower].append((segment.upper, (segment.port + 1) / (ports + 1) - 0.5))
        ranking.below[segment.upper].append(
            (segment.lower, 0.0 if segment.slot is None else segment.slot / 1000)
        )


def _swept(ranking: Ranks, order: list[list[int]], downward: bool) -> list[list[int]]:
    """Sorts each rank by the mean position of the neighbours in the previous rank."""
    place: dict[int, float] = {}
    swept = []
    neighbours = ranking.above if downward else ranking.below
    for rank in order if downward else reversed(order):
        positions = {item: float(at) for at, item in enumerate(rank)}
        wish = {
            item: sum(place[other] + shift for other, shift in neighbours[item]) / len(neighbours[item])
            if neighbours[item]
            else positions[item]
            for item in rank
        }
        ordered = sorted(rank, key=lambda item: (wish[item], positions[item]))
        place |= {item: float(at) for at, item in enumerate(ordered)}
        swept.append(ordered)
    return swept if downward else swept[::-1]


def _crossings(ranking: Ranks, order: list[list[int]]) -> int:
    place = {item: at for rank in order for at, item in enumerate(rank)}
    count = 0
    for rank in order:
        ends: list[float] = []
        for item in rank:
            below = sorted(place[other] + shift for other, shift in ranking.below[item])
            for end in below:
                count += len(ends) - bisect_right(ends, end)
            for end in below:
                insort(ends, end)
    return count
