"""Finding what repeats: runs of nodes that are at several places with the same wiring, best first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphspec.convert.folding.parts import (
    Instance,
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
from graphspec.convert.folding.words import common_name, without_numbers
from graphspec.convert.nodes import ConvertedNode
from graphspec.convert.writing import WIDTH, flow

LONGEST = 150
"""Nodes of a part before parts are found inside it."""
MOST_INPUTS = 3
LEAST = 3
"""Lines that a block must save."""
HEAD = 3
"""Lines that a block has beside its nodes: its name, its inputs, `nodes`."""
CANDIDATES = 200
FAR = 1 << 40
MOST_LISTS = 3
"""Arguments that may differ in one repetition: more lists are harder to read than more lines."""


@dataclass(slots=True)
class RunPlace:
    """The place of a run: `part.keys[start : start + length]`, and what it reads from outside."""

    part: RepeatedPart
    start: int
    inputs: tuple[Source, ...]

    def wiring(self, length: int) -> list[Wires]:
        """The wiring of the run as a part of its own."""
        inputs = {target: Source.of_input(number) for number, target in enumerate(self.inputs)}

        def inner(target: Source) -> Source:
            return inputs.get(target) or target.moved(target.position - self.start)

        return [mapped(wires, inner) for wires in self.part.wiring[self.start : self.start + length]]


def fold(parts: Parts) -> None:
    """Makes parts of all repetitions that are worth a block."""
    for part in parts.all:
        collapse(part, parts.root)
    while (best := _best(parts)) is not None:
        length, places = best
        together = sum(cohesive(place, length) for place in places) * 2 > len(places)
        part = _split_off(length, places, parts.root)
        if part not in parts.all:
            part.cohesive = together
            parts.all.insert(0, part)
        for each in parts.all:
            collapse(each, parts.root)


def _best(parts: Parts) -> tuple[int, list[RunPlace]] | None:
    """The run that saves most lines, and its places."""
    runs: dict[tuple[int, int], list[RunPlace]] = defaultdict(list)
    for part in parts.all:
        for length, code, place in _runs(part):
            runs[length, code].append(place)
    lines = {id(part): _lines(part) for part in parts.all}
    readers = {id(part): part.readers() for part in parts.all}
    ranked = []
    for (length, _), places in runs.items():
        places = _apart(places, length)
        if len(places) > 1:
            ranked.append((_saved(length, places, lines, readers), length, places))
    ranked.sort(key=lambda entry: -entry[0])
    best, least = None, 0.0
    for saved, length, places in ranked[:CANDIDATES]:
        places = [place for place in places if _belongs(place, length)]
        saved = _saved(length, places, lines, readers) if len(places) > 1 else 0
        if saved < LEAST:
            continue
        saved *= _named(length, places)
        if best is None or saved > least:
            best, least = (length, places), saved
    return best


def _runs(part: RepeatedPart) -> Iterator[tuple[int, int, RunPlace]]:
    """All runs of a part that have one result, with a code that equal runs share."""
    last, size = part.readers(), len(part.keys)
    read = [*(t for wires in part.wiring for t in targets(wires)), *(t for _, t in part.outputs)]
    several = {
        target.position for target in read if target.output
    }  # of which other outputs than the first are read
    for start in range(size):
        if part.keys[start].kind == "alone":
            continue
        outside: dict[Source, int] = {}
        code, open_until = 0, -1
        for end in range(start, min(start + LONGEST, size)):
            if part.keys[end].kind == "alone":
                break

            def near(target: Source, start: int = start, outside: dict[Source, int] = outside) -> Source:
                if target.position >= start:
                    return target.moved(target.position - start)
                return Source(FAR + outside.setdefault(target, len(outside)))  # hash(-1) is hash(-2)

            code = hash((code, part.keys[end], mapped(part.wiring[end], near)))
            if len(outside) > MOST_INPUTS:
                break
            if open_until <= end and end > start and outside and end not in several:
                yield end - start + 1, code, RunPlace(part, start, tuple(outside))
            open_until = max(open_until, last[end])


def _apart(places: list[RunPlace], length: int) -> list[RunPlace]:
    """Those of the places that do not overlap, from the start of each part."""
    kept: list[RunPlace] = []
    for place in places:
        before = kept[-1] if kept else None
        if before is None or before.part is not place.part or place.start >= before.start + length:
            kept.append(place)
    return kept


def _chained(before: RunPlace, place: RunPlace, length: int, readers: dict[int, list[int]]) -> bool:
    """Whether a place takes the result of the one before it, and nothing else does."""
    end = before.start + length - 1
    return (
        before.part is place.part
        and place.start == end + 1
        and place.inputs[0] == Source(end)
        and place.inputs[1:] == before.inputs[1:]
        and readers[id(place.part)][end] < place.start + length
    )


def _lines(part: RepeatedPart) -> list[int]:
    """The number of lines of each item of a part."""
    counts = []
    for item in part.instances[0].items:
        unit = item.units[0]
        long = isinstance(unit, ConvertedNode) and len(unit.name) + len(flow(unit.arguments)) > WIDTH - 30
        counts.append(len(unit.arguments) + 2 if long and isinstance(unit, ConvertedNode) else 1)
    return counts


def _saved(
    length: int, places: list[RunPlace], lines: dict[int, list[int]], readers: dict[int, list[int]]
) -> float:
    """How many lines a part saves: what is written but once, less its uses and its head."""
    totals = [sum(lines[id(place.part)][place.start : place.start + length]) for place in places]
    runs = sum(
        not (position and _chained(places[position - 1], place, length, readers))
        for position, place in enumerate(places)
    )
    return sum(totals) - totals[0] - runs - HEAD - 2 * (max(len(place.inputs) for place in places) - 1)


def _named(length: int, places: list[RunPlace]) -> float:
    """A half more for a run whose nodes have names that begin alike, where those around it do not."""
    return 1 + 0.5 * sum(cohesive(place, length) for place in places) / len(places)


def cohesive(place: RunPlace, length: int) -> bool:
    """Whether the nodes of a place have a name in common that those around it have not."""
    items = place.part.instances[0].items
    end = place.start + length
    inside = common_name(unit for item in items[place.start : end] for unit in item.named())
    if not inside:
        return False
    around = [items[i] for i in (place.start - 1, end) if 0 <= i < len(items)]
    other = [unit.name for item in around for unit in item.named() if not unit.automatic]
    if inside.startswith("..."):
        return not any(name.endswith(inside[3:]) for name in other)
    return not any(f"{name}_".startswith(inside) for name in other)


def _belongs(place: RunPlace, length: int) -> bool:
    """Whether the names of a place do not tell that it is parts of several things."""
    items = place.part.instances[0].items[place.start : place.start + length]
    return common_name(unit for item in items for unit in item.named()) is not None


def _split_off(length: int, places: list[RunPlace], root: RepeatedPart) -> RepeatedPart:
    """Makes a part of a run, in place of all the nodes that it stands for; one that is this run is taken."""
    existing = next((place.part for place in places if _is_whole(place, length, root)), None)
    part = existing or _part_of(places[0], length)
    by_part: dict[int, list[RunPlace]] = defaultdict(list)
    for place in places:
        if place.part is not part:
            by_part[id(place.part)].append(place)
    for group in by_part.values():
        replace(group[0].part, part, group, length)
    return part


def _is_whole(place: RunPlace, length: int, root: RepeatedPart) -> bool:
    part = place.part
    inputs = tuple(map(Source.of_input, range(len(part.inputs))))
    outputs = [target for _, target in part.outputs]
    return (
        part is not root
        and length == len(part.keys)
        and place.inputs == inputs
        and outputs == [Source(length - 1)]
    )


def _part_of(first: RunPlace, length: int) -> RepeatedPart:
    window = slice(first.start, first.start + length)
    return RepeatedPart(
        list(first.part.keys[window]),
        first.wiring(length),
        [("x", "skip", "other")[k] for k in range(len(first.inputs))],
        [("y", Source(length - 1))],
    )


def replace(part: RepeatedPart, inner: RepeatedPart, places: list[RunPlace], length: int) -> None:
    """Puts one item in the place of each run of a part."""
    starts = {place.start: place for place in places}
    moved: dict[int, int] = {}
    keys: list[ItemKey] = []
    wiring: list[Wires] = []
    items: list[list[Item]] = [[] for _ in part.instances]
    position = 0
    while position < len(part.keys):
        place = starts.get(position)
        count = length if place is not None else 1
        for offset in range(count):
            moved[position + offset] = len(keys)
        for listed, instance in zip(items, part.instances, strict=True):
            window = instance.items[position : position + count]
            if place is not None:
                inner_instance = Instance(inner, window)
                inner.instances.append(inner_instance)
                listed.append(Item([inner_instance]))
            else:
                listed += window
        keys.append(ItemKey("part", id(inner)) if place is not None else part.keys[position])
        wires: Wires = part.wiring[position]
        wiring.append(tuple(Wire("", target) for target in place.inputs) if place is not None else wires)
        position += count

    def renumber(target: Source) -> Source:
        return target.moved(moved[target.position]) if target.input is None else target

    part.keys, part.wiring = keys, [mapped(wires, renumber) for wires in wiring]
    part.outputs = [(name, renumber(target)) for name, target in part.outputs]
    for instance, listed in zip(part.instances, items, strict=True):
        instance.items = listed


def collapse(part: RepeatedPart, root: RepeatedPart) -> None:
    """Makes one repeated item of items that are alike, each fed by the one before it and by nothing else.

    Those that differ in arguments stay apart inside a part, unless they are many: lists of lists read badly.
    """
    position = 0
    while position < len(part.keys):
        end = position + 1
        while end < len(part.keys) and _repeats(part, end):
            end += 1
        alike = all(_alike(part, each) for each in range(position + 1, end))
        few = end - position < 3 and part is not root
        if not alike and (few or len(_differing(part, position, end)) > MOST_LISTS):
            end = position + 1
            while end < len(part.keys) and _repeats(part, end) and _alike(part, end):
                end += 1
            alike = True
        for _ in range(position + 1, end):
            _join(part, position)
        if not alike:  # the lists of what differs must have one length wherever the part is
            count = len(part.instances[0].items[position].units)
            part.keys[position] = part.keys[position]._replace(repeats=count)
        position += 1


def _join(part: RepeatedPart, position: int) -> None:
    """Makes the item after one a repetition of it."""
    for instance in part.instances:
        instance.items[position].units += instance.items.pop(position + 1).units
    del part.keys[position + 1]
    del part.wiring[position + 1]

    def renumber(target: Source) -> Source:
        return target.moved(target.position - 1) if target.position > position else target

    part.wiring = [mapped(wires, renumber) for wires in part.wiring]
    part.outputs = [(name, renumber(target)) for name, target in part.outputs]


def _alike(part: RepeatedPart, position: int) -> bool:
    """Whether an item has the arguments of the item before it, wherever the part is."""
    return all(
        list(_arguments(instance.items[position - 1].units[-1]))
        == list(_arguments(instance.items[position].units[0]))
        for instance in part.instances
    )


def _differing(part: RepeatedPart, start: int, end: int) -> set[str]:
    """The arguments in which items differ; "" where one has nodes that another lacks."""
    differing: set[str] = set()
    for instance in part.instances:
        listed = [list(_arguments(unit)) for item in instance.items[start:end] for unit in item.units]
        for other in listed[1:]:
            differing |= {""} if [w for w, _ in other] != [w for w, _ in listed[0]] else set()
            for (_, a), (_, b) in zip(listed[0], other, strict=False):
                differing |= {key for key in {*a, *b} if a.get(key) != b.get(key)}
    return differing


def _arguments(unit: ConvertedNode | Instance) -> Iterator[Any]:
    for node in [unit] if isinstance(unit, ConvertedNode) else unit.nodes():
        yield (node.what, node.arguments)


def _repeats(part: RepeatedPart, position: int) -> bool:
    """Whether an item is one more of the item before it."""
    before, key = position - 1, part.keys[position]
    if part.keys[before] != key or key.kind == "alone":
        return False
    wires, other = part.wiring[position], part.wiring[before]
    if not wires or wires[0].read != Source(before) or wires[1:] != other[1:] or len(wires) != len(other):
        return False
    if part.readers()[before] != position or sum(t.position == before for t in targets(wires)) != 1:
        return False
    if not all(_same_word(instance.items[before], instance.items[position]) for instance in part.instances):
        return False
    return key.repeats is None if key.kind == "part" else key.what[0] == "layer" and _alike(part, position)


def _same_word(before: Item, item: Item) -> bool:
    """Whether two items are called the same but for numbers, as far as their names were chosen."""
    words = [
        dict.fromkeys(
            without_numbers(node) for node in ([unit] if isinstance(unit, ConvertedNode) else unit.nodes())
        )
        for unit in (before.units[-1], item.units[0])
    ]
    return list(words[0]) == list(words[1])
