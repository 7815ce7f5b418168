"""The order of an epoch whose examples lie in files: it follows from the seed and the epoch alone.

Blocks of neighbours are shuffled, and `BLOCKS` of them at a time are a window, which is in memory as a
whole. The rows of a window are cut into `LANES`, each with an order of its own, which take turns: the row
at place `p` of a window is that of lane `p % LANES`. Of `size` processes that train together, process
`rank` has each lane whose number modulo `size` is `rank`, and reads these alone. So no order of all rows is
kept, and any number of processes sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCKS = 48
"""Blocks of neighbours that are in memory together."""
LANES = 48
"""Parts of a window that take turns; so many processes may share it."""
ODD, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The constants of splitmix64."""
Numbers = NDArray[np.int64]


def keys(seed: int, epoch: int, stream: int, numbers: Numbers) -> NDArray[np.uint64]:
    """A random number for each of `numbers`, of splitmix64: the same with every version of every library."""
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for word in (seed, epoch, stream):
            state = _mixed(state ^ np.uint64(word % 2**64))
        return _mixed(state ^ numbers.astype(np.uint64))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(ODD)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(SECOND)
    return state ^ (state >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Window:
    """Some rows of an epoch: `begin` of it come before. `places` are those of this process in the window, in
    their order; the rows of `ranges` (start and stop) in the order of `rows` are there. `count` is how many
    rows the window has in all.
    """

    begin: int
    count: int
    ranges: list[tuple[int, int]]
    rows: Numbers
    places: Numbers


def windows(
    borders: Numbers, shuffle: tuple[int, int] | None, rank: int = 0, size: int = 1, start: int = 0
) -> Iterator[Window]:
    """The windows of an epoch of rows that lie in blocks between `borders`, which rise from the first row to
    the last one, but for those that end before its row `start`. Without `shuffle`, a seed and an epoch, rows
    stay in their order.
    """
    order = np.arange(len(borders) - 1)
    if shuffle is not None:
        order = np.argsort(keys(*shuffle, 0, order), kind="stable")
    begin = 0
    for number, first in enumerate(range(0, len(order), BLOCKS)):
        blocks = order[first : first + BLOCKS]
        starts, counts = borders[blocks], borders[blocks + 1] - borders[blocks]
        total = int(counts.sum())
        begin += total
        if begin <= start:
            continue
        rows = np.arange(total)
        if shuffle is not None:
            rows = _in_lanes(keys(*shuffle, number + 1, rows))
        places = np.arange(total)
        ranges = [(int(start), int(start + count)) for start, count in zip(starts, counts, strict=True)]
        if size > 1:
            places = np.flatnonzero(places % LANES % size == rank)
            ranges, rows = _of_lanes(ranges, rows[places])
        yield Window(begin - total, total, ranges, rows, places)


def lane_starts(count: int) -> Numbers:
    """Where lanes of `count` rows begin, and the last one ends; the first ones may have a row more."""
    lanes = np.arange(LANES + 1)
    return lanes * (count // LANES) + np.minimum(lanes, count % LANES)


def _in_lanes(drawn: NDArray[np.uint64]) -> Numbers:
    """The row at each place of a window. So few that lanes would hardly mix them have one order."""
    if len(drawn) < LANES * LANES:
        return np.argsort(drawn, kind="stable")
    rows, starts = np.empty(len(drawn), np.int64), lane_starts(len(drawn))
    for lane in range(LANES):
        start, stop = starts[lane], starts[lane + 1]
        rows[lane::LANES] = start + np.argsort(drawn[start:stop], kind="stable")
    return rows


def _of_lanes(ranges: list[tuple[int, int]], rows: Numbers) -> tuple[list[tuple[int, int]], Numbers]:
    """The parts of ranges that have some rows, counted over all ranges, and where these lie in the parts."""
    sizes = [stop - start for start, stop in ranges]
    known = np.zeros(sum(sizes) + 1, np.int8)
    known[rows] = 1
    parts, first = [], 0
    for (start, _), count in zip(ranges, sizes, strict=True):
        edges = np.flatnonzero(np.diff(known[first : first + count], prepend=0, append=0))
        parts += [(start + int(a), start + int(b)) for a, b in edges.reshape(-1, 2)]
        first += count
    return parts, (np.cumsum(known, dtype=np.int64) - 1)[rows]
