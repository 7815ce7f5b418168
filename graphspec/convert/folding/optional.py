"""Nodes that a part has at some places and not at others: a projection, a padding, a residual sum.

Where a node is left out it passes on what it reads first, so that the others mean what they did:

    expand  pad  depthwise  drop  sum          the part, with all that is anywhere
       -     -       x       -     -           one place
       x     x       x       -     -           another
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphspec.convert.folding.parts import (
    Item,
    ItemKey,
    Parts,
    RepeatedPart,
    Source,
    Wire,
    Wires,
    mapped,
    targets,
)
from graphspec.convert.folding.search import RunPlace, cohesive, replace

LONGEST = 40
"""Items of a part with optional ones."""


@dataclass(slots=True)
class Shape:
    """What is at a place: keys and wiring, and where each item is in the merged part."""

    keys: list[ItemKey]
    wiring: list[Wires]
    place: RunPlace | None  # None: the part as it was
    positions: list[int]


def merge_variants(parts: Parts) -> bool:
    """Merges into parts the places that differ from them only in some nodes; whether any was merged."""
    changed = False
    for part in sorted(parts.all, key=lambda part: -len(part.instances) * _weight(part)):
        if part is parts.root or part not in parts.all or part.passes_through or part.is_model:
            continue
        if len(part.inputs) == 1 and len(part.outputs) == 1 and len(part.keys) > 2 and part.cohesive:
            changed |= _take_in(part, parts)
    return changed


def _weight(part: RepeatedPart) -> int:
    return sum(1 for _ in part.instances[0].nodes())


def _take_in(part: RepeatedPart, parts: Parts) -> bool:
    """Merges into a part the groups of nodes that are most of it."""
    own_shape = Shape(part.keys, part.wiring, None, list(range(len(part.keys))))
    merged, shapes = own_shape, [own_shape]
    outer = {id(part)}  # the part, and those that hold it or will
    for place, length in _groups(part, parts):
        keys = place.part.keys[place.start : place.start + length]
        shape = Shape(keys, place.wiring(length), place, [])
        if _inner_parts([*merged.keys, *shape.keys], parts) & {*outer, id(place.part)}:
            continue
        combined = _merged(merged, shape, shapes)
        if combined is not None:
            merged, shapes = combined
            outer.add(id(place.part))
    if len(shapes) == 1 or (passes_through := _passing(merged, shapes)) is None:
        return False
    _rewrite(part, merged, shapes, passes_through)
    return True


def _groups(part: RepeatedPart, parts: Parts) -> Iterator[tuple[RunPlace, int]]:
    """The runs of other parts that belong together by name and are half of this part or more."""
    weights = {key: sum(1 for _ in part.instances[0].items[i].nodes()) for i, key in enumerate(part.keys)}
    half = sum(weights.values()) / 2
    inside = _inner_parts(part.keys, parts)
    for host in parts.all:
        if host is part or host.passes_through or id(host) in inside:
            continue
        position = 0
        while position < len(host.keys):
            run_length = 0
            for length in range(min(LONGEST, len(host.keys) - position), 0, -1):
                place = _closed(host, position, length)
                if place is None or any(
                    key.kind == "part" and key.what == id(part)
                    for key in host.keys[position : position + length]
                ):
                    continue
                common = sum(
                    weights[key] for key in set(host.keys[position : position + length]) & set(weights)
                )
                if common >= half and cohesive(place, length):
                    yield place, length
                    run_length = length
                    break
            position += run_length or 1


def _inner_parts(keys: list[ItemKey], parts: Parts) -> set[int]:
    """The parts that are among items, and those inside them."""
    by_id = {id(other): other for other in parts.all}
    part_ids: set[int] = set()
    waiting = [keys]
    while waiting:
        for key in waiting.pop():
            if key.kind == "part" and key.what not in part_ids:
                part_ids.add(key.what)
                waiting.append(by_id[key.what].keys)
    return part_ids


def _closed(host: RepeatedPart, start: int, length: int) -> RunPlace | None:
    """The run as a place, where it has one input and only its last item is read from outside."""
    end = start + length - 1
    if any(key.kind == "alone" for key in host.keys[start : end + 1]):
        return None
    outside: dict[Source, None] = {}
    for wires in host.wiring[start : end + 1]:
        outside |= {target: None for target in targets(wires) if target.position < start}
    if len(outside) != 1 or any(reader > end for reader in host.readers()[start:end]):
        return None
    return RunPlace(host, start, tuple(outside))


def _merged(merged: Shape, shape: Shape, shapes: list[Shape]) -> tuple[Shape, list[Shape]] | None:
    """The shape that holds both, and all shapes with their positions in it; None where none does."""
    pairs = _longest_common(merged.keys, shape.keys)
    if not pairs:
        return None
    old: dict[int, int] = {}
    new: dict[int, int] = {}
    keys: list[ItemKey] = []
    a = b = 0
    for i, j in [*pairs, (len(merged.keys), len(shape.keys))]:
        for k in range(a, i):
            old[k] = len(keys)
            keys.append(merged.keys[k])
        for k in range(b, j):
            new[k] = len(keys)
            keys.append(shape.keys[k])
        if i < len(merged.keys):
            old[i] = new[j] = len(keys)
            keys.append(merged.keys[i])
        a, b = i + 1, j + 1
    wiring: list[Wires] = [()] * len(keys)

    def renumber(numbers: dict[int, int]) -> Any:
        return lambda target: target.moved(numbers[target.position]) if target.input is None else target

    for i, wires in enumerate(merged.wiring):
        wiring[old[i]] = mapped(wires, renumber(old))
    for j, wires in enumerate(shape.wiring):
        wires = mapped(wires, renumber(new))
        before = wiring[new[j]]
        wiring[new[j]] = _later(before, wires) if before else wires
    union = Shape(keys, wiring, None, list(range(len(keys))))
    moved = [Shape(s.keys, s.wiring, s.place, [old[i] for i in s.positions]) for s in shapes]
    moved.append(Shape(shape.keys, shape.wiring, shape.place, [new[j] for j in range(len(shape.keys))]))
    return (union, moved) if _passing(union, moved) is not None else None


def _longest_common(a: list[ItemKey], b: list[ItemKey]) -> list[tuple[int, int]]:
    """The pairs of positions of the longest sequence that both have."""
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            skip = max(best[i + 1][j], best[i][j + 1])
            best[i][j] = best[i + 1][j + 1] + 1 if a[i] == b[j] else skip
    pairs, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _later(a: Wires, b: Wires) -> Wires:
    """For each slot the target that is later: what lies between may be left out."""
    return tuple(Wire(slot, max(x, y)) for (slot, x), (_, y) in zip(a, b, strict=False))


def _passing(merged: Shape, shapes: list[Shape]) -> dict[int, int] | None:
    """For each optional item which of its targets it passes on; None where no choice fits all shapes."""
    everywhere = set.intersection(*(set(shape.positions) for shape in shapes))
    optional = [i for i in range(len(merged.keys)) if i not in everywhere]
    if not all(any(targets(merged.wiring[i])) for i in optional):
        return None  # a parameter or a constant has nothing to pass on
    passes_through = {i: 0 for i in optional}
    for _ in range(len(optional) + 1):
        wrong = next((shape for shape in shapes if not _means(merged, shape, passes_through)), None)
        if wrong is None:
            return passes_through
        for i in optional:
            if i in wrong.positions or passes_through[i] or len(list(targets(merged.wiring[i]))) != 2:
                continue
            if _means(merged, wrong, {**passes_through, i: 1}):
                passes_through[i] = 1
                break
        else:
            return None
    return None


def _means(merged: Shape, shape: Shape, passes_through: dict[int, int]) -> bool:
    """Whether the merged part is the shape where all that the shape lacks is left out."""
    present = {position: i for i, position in enumerate(shape.positions)}

    def seen(target: Source) -> Source:
        while target.input is None and target.position not in present:
            target = list(targets(merged.wiring[target.position]))[passes_through[target.position]]
        return target.moved(present[target.position]) if target.input is None else target

    last = seen(Source(len(merged.keys) - 1))
    if last != Source(len(shape.keys) - 1):
        return False
    return all(mapped(merged.wiring[position], seen) == shape.wiring[i] for position, i in present.items())


def _rewrite(part: RepeatedPart, merged: Shape, shapes: list[Shape], passes_through: dict[int, int]) -> None:
    """Makes the part the merged one, and the places instances of it."""
    first, *others = shapes
    for instance in part.instances:
        instance.items = _spread(instance.items, first.positions, len(merged.keys))
    part.keys, part.wiring = merged.keys, merged.wiring
    part.outputs = [(part.outputs[0][0], Source(len(merged.keys) - 1))]
    part.passes_through = passes_through
    by_host: dict[int, list[Shape]] = {}
    for shape in others:
        assert shape.place is not None
        by_host.setdefault(id(shape.place.part), []).append(shape)
    for group in by_host.values():
        for shape in sorted(group, key=lambda shape: -shape.place.start):  # type: ignore[union-attr]
            assert shape.place is not None
            count = len(part.instances)
            replace(shape.place.part, part, [shape.place], len(shape.keys))
            for instance in part.instances[count:]:
                instance.items = _spread(instance.items, shape.positions, len(merged.keys))


def _spread(items: list[Item], positions: list[int], size: int) -> list[Item]:
    """Items at their positions, and nothing between them."""
    spread = [Item([]) for _ in range(size)]
    for position, item in zip(positions, items, strict=True):
        spread[position] = item
    return spread
